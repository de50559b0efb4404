"""Architectures of the supervised experiments, by number: log-mel patches (N, F, M) -> logits (N, C).

Sources: SB-CNN is that of Salamon and Bello (2017); TIMBRE and VGG are those of the study (arXiv 1810.10274, section 2).
Sizes are time x frequency; kernels are Glorot uniform. Evaluation computes many patches at once with these layers (sliding.py); a
model with a layer that is unknown there is evaluated patch by patch.
"""
from backend import keras
from layers import BatchNormalization, LogLearn, NormalizedConv2D, Seeds, StrongestMatch
from shared import UserError


def conv2d(filters, size, activation, seeds, padding='valid'):
    """A convolution with a kernel of size x size."""
    return keras.layers.Conv2D(filters, size, padding=padding, activation=activation, kernel_initializer=seeds.glorot())


def dense(outputs, seeds, activation=None):
    """A dense layer behind dropout of 0.5, as a function."""
    dropout = keras.layers.Dropout(0.5, seed=seeds())
    layer = keras.layers.Dense(outputs, activation=activation, kernel_initializer=seeds.glorot())
    return lambda x: layer(dropout(x))


def sb_cnn(x, num_classes, seeds, normalize_input):
    """Three convolutions 5 x 5 and a dense layer; with or without batch normalisation of the input."""
    if normalize_input:
        x = NormalizedConv2D(24, (5, 5), 'valid', 'relu', seeds.glorot())(x)
    else:
        x = conv2d(24, 5, 'relu', seeds)(x)
    x = keras.layers.MaxPooling2D((4, 2))(x)
    x = conv2d(48, 5, 'relu', seeds)(x)
    x = keras.layers.MaxPooling2D((4, 2))(x)
    x = conv2d(48, 5, 'relu', seeds)(x)
    x = keras.layers.Flatten()(x)
    x = dense(64, seeds, 'relu')(x)
    return dense(num_classes, seeds)(x)


def timbre(x, num_classes, seeds):
    """One tall filter per class, whose strongest response over time and frequency is the class's logit."""
    return StrongestMatch(num_classes, (7, 108), seeds.glorot())(BatchNormalization()(x))


def vgg(x, num_classes, seeds, filters):
    """Five convolutions 3 x 3, each followed by a halving of time and frequency, and a dense layer."""
    x = NormalizedConv2D(filters, (3, 3), 'same', 'elu', seeds.glorot())(x)
    return vgg_from_first_convolution(x, num_classes, seeds, filters)


def vgg_from_first_convolution(x, outputs, seeds, filters):
    """What follows the first convolution of VGG: (N, F, M, filters) -> (N, outputs)."""
    x = keras.layers.MaxPooling2D()(BatchNormalization()(x))
    for _ in range(4):
        x = conv2d(filters, 3, 'elu', seeds, padding='same')(x)
        x = keras.layers.MaxPooling2D()(BatchNormalization()(x))
    return dense(outputs, seeds)(keras.layers.Flatten()(x))


# number -> (name in tables, behind log-learn?, smallest input, builder from (N, F, M, 1), the configuration and the seeds)
MODELS = {
    0: ('SB-CNN', False, (100, 32), lambda x, c, seeds: sb_cnn(x, c['num_classes_dataset'], seeds, normalize_input=False)),
    1: ('SB-CNN BN', False, (100, 32), lambda x, c, seeds: sb_cnn(x, c['num_classes_dataset'], seeds, normalize_input=True)),
    2: ('TIMBRE', False, (7, 108), lambda x, c, seeds: timbre(x, c['num_classes_dataset'], seeds)),
    3: ('VGG', False, (32, 32), lambda x, c, seeds: vgg(x, c['num_classes_dataset'], seeds, filters=32)),
    11: ('log-learn SB-CNN BN', True, (100, 32),
         lambda x, c, seeds: sb_cnn(x, c['num_classes_dataset'], seeds, normalize_input=True)),
    12: ('log-learn TIMBRE', True, (7, 108), lambda x, c, seeds: timbre(x, c['num_classes_dataset'], seeds)),
    13: ('log-learn VGG', True, (32, 32), lambda x, c, seeds: vgg(x, c['num_classes_dataset'], seeds, filters=32)),
    14: ('log-learn VGG-128', True, (32, 32), lambda x, c, seeds: vgg(x, c['num_classes_dataset'], seeds, filters=128)),
}


def build(config, bands, seed=0, models=MODELS):
    """The Keras model that `config` names: patches (N, F, M) -> logits (N, C), or embeddings (N, D).

    Args:
        config: with model_number, n_frames, pre_processing, normalize, and what the model's builder reads.
        bands: M of the representation.
        seed: of the initial weights and of dropout.
        models: a dictionary like MODELS.

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
    return keras.Model(patches, architecture(keras.layers.Reshape((n_frames, bands, 1))(x), config, Seeds(seed)))


def name(config):
    """The model's name in tables."""
    return MODELS[config['model_number']][0] + variant(config)


def variant(config):
    """What a name in tables has behind it when the best epoch is kept, or the statistics of batch normalisation are estimated anew."""
    return (', validated' if config.get('gt_val') else '') + (', new statistics' if config.get('statistics_passes') else '')
