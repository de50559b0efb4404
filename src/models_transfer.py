"""Networks that transfer from AudioSet: a pretrained network and a new linear layer on its embeddings.

Source: the study (arXiv 1810.10274, section 2).
"""
from types import SimpleNamespace

import models_proto
import models_sl
import pretrained
from backend import keras
from layers import Seeds


def build(config, outputs=None, seed=0):
    """A Keras model: examples (N, F, M) -> (N, outputs). The pretrained network has its weights, the new layer random ones.

    Args:
        config: from pretrained.complete; checkpoint None: the network has random weights, too. The model takes examples of
            n_frames frames, without that key of any number that the network takes.
        outputs: of the new layer; None: no new layer, the model returns embeddings (N, D).
        seed: of the random weights.
    """
    seeds, (frames, bands) = Seeds(seed), pretrained.of(config).shape
    examples = keras.Input((config.get('n_frames', frames), bands))
    embeddings = pretrained.make_layer(config, seeds())(examples)
    head = keras.layers.Dense(outputs, kernel_initializer=seeds.glorot(), name='logits') if outputs else None
    return keras.Model(examples, head(embeddings) if head else embeddings)


def title(method, config):
    """Name of a method in tables: 'transfer' for the study's network, 'mn04 transfer' for another one."""
    return ('' if config['network'] == 'vggish' else f'{config["network"]} ') + method + models_sl.variant(config)


# DataSplit has checked the kind of the representation, so `bands` is known
CLASSIFIER = SimpleNamespace(build=lambda config, bands, seed=0: build(config, config['num_classes_dataset'], seed),
                             name=lambda config: title('transfer', config))
EMBEDDING = SimpleNamespace(build=lambda config, bands, seed=0: build(config, models_proto.EMBEDDING_SIZE, seed),
                            name=lambda config: title('transfer proto', config))
