"""Prototypical networks: embedding networks by number, prototypes, and the distance to them.

Sources: Snell, Swersky and Zemel, Prototypical networks for few-shot learning (arXiv 1703.05175); the study (arXiv
1810.10274, section 2) for the network.
"""
import numpy as np

import models_sl
from backend import tf
from layers import FrameNormalization

EMBEDDING_SIZE = 10  # D, for any number of classes


def vgg(x, seeds, filters):
    """The supervised VGG with more filters, and an input that is normalised per time frame."""
    x = models_sl.conv2d(filters, 3, 'elu', seeds, padding='same')(FrameNormalization()(x))
    return models_sl.vgg_from_first_convolution(x, EMBEDDING_SIZE, seeds, filters)


# like models_sl.MODELS
MODELS = {
    2: ('proto', False, (32, 32), lambda x, config, seeds: vgg(x, seeds, config['filters'])),
    12: ('log-learn proto', True, (32, 32), lambda x, config, seeds: vgg(x, seeds, config['filters'])),
}


def build(config, bands, seed=0):
    """The embedding network that `config` names, a Keras model: patches (N, F, M) -> embeddings (N, D).

    Args and errors as models_sl.build; `config` also has filters (128 in the study).
    """
    return models_sl.build(config, bands, seed, MODELS)


def name(config):
    """The method's name in tables."""
    return MODELS[config['model_number']][0] + ('' if config['filters'] == 128 else f', {config["filters"]} filters') + models_sl.variant(config)


def prototypes(embeddings, labels, num_classes):
    """Mean embedding of each class: embeddings (P, D) and labels (P,) of the support set -> (C, D)."""
    return tf.math.unsorted_segment_mean(embeddings, labels, num_classes)


def read_prototypes(folder):
    """The prototypes (C, D) in a model folder."""
    with np.load(folder / 'prototypes.npz') as file:
        return file['arr_0']


def distances(a, b, distance):
    """Distances (A, B) between the rows of a (A, D) and b (B, D).

    'euclidean': squared Euclidean, the mean over the D dimensions and not their sum. 'cosine': 1 - cosine similarity.
    """
    if distance == 'cosine':
        return 1 - tf.reduce_sum(tf.math.l2_normalize(a, -1)[:, None] * tf.math.l2_normalize(b, -1), -1)
    return tf.reduce_mean(tf.math.squared_difference(a[:, None], b), -1)


def log_probabilities(embeddings, class_prototypes, distance):
    """Logarithm of the probability of each class, (N, C): log-softmax of minus the distance to its prototype."""
    return tf.nn.log_softmax(-distances(embeddings, class_prototypes, distance))
