"""Networks that transfer from AudioSet: VGGish and a new linear layer on its embeddings.

Source: the study (arXiv 1810.10274, section 2).
"""
from types import SimpleNamespace

import checkpoint
import models_proto
import vggish_params
import vggish_slim
from backend import keras


def build(config, outputs=None):
    """A Keras model: examples (N, 96, 64) -> (N, outputs), VGGish with the checkpoint's weights, the new layer random.

    Args:
        config: with checkpoint; None: VGGish with random weights.
        outputs: of the new layer; None: there is none, the model gives VGGish's embeddings (N, 128).
    """
    examples = keras.Input((vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS))
    values = config['checkpoint'] and vggish_slim.read_checkpoint(checkpoint.path_of(config))
    embeddings = vggish_slim.VGGish(values, name='vggish')(examples)
    return keras.Model(examples, keras.layers.Dense(outputs, name='logits')(embeddings) if outputs else embeddings)


# fewshot.Task has seen to it that the representation holds VGGish's examples, whose number of bands is always the same
CLASSIFIER = SimpleNamespace(build=lambda config, bands: build(config, config['num_classes_dataset']),
                             name=lambda config: 'transfer')
EMBEDDING = SimpleNamespace(build=lambda config, bands: build(config, models_proto.EMBEDDING_SIZE),
                            name=lambda config: 'transfer proto')
