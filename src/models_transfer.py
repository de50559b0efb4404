"""Networks that transfer from AudioSet: VGGish and a new linear layer on its embeddings.

Source: the study (arXiv 1810.10274, section 2).
"""
from types import SimpleNamespace

import checkpoint
import models_proto
import vggish_params
import vggish_slim
from backend import keras
from shared import UserError

def build(config, bands, outputs):
    """A Keras model: examples (N, 96, 64) -> (N, outputs), VGGish with the checkpoint's weights, the new layer random.

    Args:
        config: with checkpoint; None: VGGish with random weights.
        bands: M of the representation.
    """
    if bands != vggish_params.NUM_BANDS:
        raise UserError(f'VGGish needs {vggish_params.NUM_BANDS} mel bands, the representation has {bands}: set '
                        f'audio_representation_folder to one of type audioset')
    examples = keras.Input((vggish_params.NUM_FRAMES, bands))
    values = config['checkpoint'] and vggish_slim.read_checkpoint(checkpoint.path_of(config))
    embeddings = vggish_slim.VGGish(values, name='vggish')(examples)
    return keras.Model(examples, keras.layers.Dense(outputs, name='logits')(embeddings))


CLASSIFIER = SimpleNamespace(build=lambda config, bands: build(config, bands, config['num_classes_dataset']),
                             name=lambda config: 'transfer')
EMBEDDING = SimpleNamespace(build=lambda config, bands: build(config, bands, models_proto.EMBEDDING_SIZE),
                            name=lambda config: 'transfer proto')
