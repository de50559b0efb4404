"""Networks that transfer from AudioSet: a pretrained network and a new linear layer on its embeddings.

Source: the study (arXiv 1810.10274, section 2).
"""
from types import SimpleNamespace

import models_proto
import pretrained
from backend import keras
from layers import Seeds


def build(config, outputs=None, seed=0):
    """A Keras model: examples (N, F, M) -> (N, outputs). The pretrained network has its weights, the new layer random ones.

    Args:
        config: with network and checkpoint; checkpoint None: the network has random weights, too.
        outputs: of the new layer; None: no new layer, the model returns embeddings (N, D).
        seed: of the random weights.
    """
    network, seeds = pretrained.of(config), Seeds(seed)
    examples = keras.Input(network.shape)
    layer = network.make_layer(config['checkpoint'] and pretrained.path_of(config), seeds())
    embeddings = layer(examples)
    head = keras.layers.Dense(outputs, kernel_initializer=seeds.glorot(), name='logits') if outputs else None
    return keras.Model(examples, head(embeddings) if head else embeddings)


# DataSplit has checked the kind of the representation, so `bands` is known
CLASSIFIER = SimpleNamespace(build=lambda config, bands, seed=0: build(config, config['num_classes_dataset'], seed),
                             name=lambda config: 'transfer')
EMBEDDING = SimpleNamespace(build=lambda config, bands, seed=0: build(config, models_proto.EMBEDDING_SIZE, seed),
                            name=lambda config: 'transfer proto')
