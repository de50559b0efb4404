"""Architectures of the supervised experiments, by number: log-mel patches (N, F, M) -> logits (N, C).

Sources: SB-CNN is that of Salamon and Bello (2017); TIMBRE and VGG are those of the study (arXiv 1810.10274, section 2).
Sizes are time x frequency; kernels are Glorot uniform, Keras's default. Evaluation computes many patches at once by these layers
(sliding.py); a model with a layer that is not known there is evaluated patch by patch.
"""
from backend import keras
from layers import BatchNormalization, LogLearn, NormalizedConv2D, StrongestMatch
from shared import UserError


def sb_cnn(x, num_classes, normalize_input):
    """Three convolutions 5 x 5 and a dense layer; with or without batch normalisation of the input."""
    if normalize_input:
        x = NormalizedConv2D(24, (5, 5), 'valid', 'relu')(x)
    else:
        x = keras.layers.Conv2D(24, 5, activation='relu')(x)
    x = keras.layers.MaxPooling2D((4, 2))(x)
    x = keras.layers.Conv2D(48, 5, activation='relu')(x)
    x = keras.layers.MaxPooling2D((4, 2))(x)
    x = keras.layers.Conv2D(48, 5, activation='relu')(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(64, activation='relu')(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.layers.Dense(num_classes)(x)


def timbre(x, num_classes):
    """One tall filter per class, whose strongest response over time and frequency is the class's logit."""
    return StrongestMatch(num_classes, (7, 108))(BatchNormalization()(x))


def vgg(x, num_classes, filters):
    """Five convolutions 3 x 3, each halving time and frequency, and a dense layer."""
    return vgg_from_first_convolution(NormalizedConv2D(filters, (3, 3), 'same', 'elu')(x), num_classes, filters)


def vgg_from_first_convolution(x, outputs, filters):
    """What follows the first convolution of VGG: (N, F, M, filters) -> (N, outputs)."""
    x = keras.layers.MaxPooling2D()(BatchNormalization()(x))
    for _ in range(4):
        x = keras.layers.Conv2D(filters, 3, padding='same', activation='elu')(x)
        x = keras.layers.MaxPooling2D()(BatchNormalization()(x))
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.layers.Dense(outputs)(x)


# number -> (name in tables, behind log-learn?, smallest input, builder from (N, F, M, 1) and the configuration)
MODELS = {
    0: ('SB-CNN', False, (100, 32), lambda x, c: sb_cnn(x, c['num_classes_dataset'], normalize_input=False)),
    1: ('SB-CNN BN', False, (100, 32), lambda x, c: sb_cnn(x, c['num_classes_dataset'], normalize_input=True)),
    2: ('TIMBRE', False, (7, 108), lambda x, c: timbre(x, c['num_classes_dataset'])),
    3: ('VGG', False, (32, 32), lambda x, c: vgg(x, c['num_classes_dataset'], filters=32)),
    11: ('log-learn SB-CNN BN', True, (100, 32), lambda x, c: sb_cnn(x, c['num_classes_dataset'], normalize_input=True)),
    12: ('log-learn TIMBRE', True, (7, 108), lambda x, c: timbre(x, c['num_classes_dataset'])),
    13: ('log-learn VGG', True, (32, 32), lambda x, c: vgg(x, c['num_classes_dataset'], filters=32)),
    14: ('log-learn VGG-128', True, (32, 32), lambda x, c: vgg(x, c['num_classes_dataset'], filters=128)),
}


def build(config, bands, models=MODELS):
    """The Keras model that `config` names: patches (N, F, M) -> logits (N, C), or embeddings (N, D).

    Args:
        config: with model_number, n_frames, pre_processing, normalize, and what the model's builder reads.
        bands: M of the representation.
        models: a dictionary as MODELS.

    Raises UserError for a number that does not exist, input too small for it, or input that log-learn cannot take.
    """
    number, n_frames = config['model_number'], config['n_frames']
    if number not in models:
        raise UserError(f'model_number={number} does not exist; there are: ' +
                        ', '.join(f'{n} ({name})' for n, (name, *_) in models.items()))
    name, log_learn, (least_frames, least_bands), architecture = models[number]
    if log_learn and (config['pre_processing'] or config['normalize']):
        raise UserError(f'model_number={number} ({name}) compresses its input itself and cannot take negative values: '
                        f'set pre_processing=None and normalize=None')
    if n_frames < least_frames or bands < least_bands:
        raise UserError(f'model_number={number} ({name}) needs patches of at least {least_frames} frames x {least_bands} '
                        f'bands, these have {n_frames} x {bands}: set n_frames, or n_mels in config_preprocess')
    patches = keras.Input((n_frames, bands))
    x = LogLearn(name='log_learn')(patches) if log_learn else patches
    return keras.Model(patches, architecture(keras.layers.Reshape((n_frames, bands, 1))(x), config))


def name(config):
    """The model's name in tables."""
    return MODELS[config['model_number']][0]
