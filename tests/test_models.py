"""Architectures: sizes of the published table, and layers against the plain ones they stand for, values and gradients."""
import numpy as np
import pytest

import models_sl
from backend import keras, tf
from layers import BatchNormalization, LogLearn, NormalizedConv2D, StrongestMatch
from network import count_parameters
from shared import UserError

PARAMETERS = {0: (241434, 241759), 1: (241436, 241761), 2: (7572, 11357), 3: (42764, 45329), 11: (241438, 241763),
              12: (7574, 11359),
              13: (42766, 45331), 14: (613390, 623635)}


def build(number, classes=10, n_frames=128, bands=128, **options):
    config = {'model_number': number, 'n_frames': n_frames, 'num_classes_dataset': classes,
              'pre_processing': None if number > 10 else 'logEPS',
              'normalize': None, **options}
    return models_sl.build(config, bands)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(ours, expected, tolerance=1e-4):
    """Equal up to `tolerance` of the largest value."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= tolerance * np.abs(expected).max()


# ---- architectures ---------------------------------------------------------------------------------------------------

def test_all_models_of_the_table_are_there():
    assert sorted(models_sl.MODELS) == sorted(PARAMETERS)


@pytest.mark.parametrize('number', PARAMETERS)
@pytest.mark.parametrize('column, classes', [(0, 10), (1, 15)])
def test_trainable_parameters(number, column, classes):
    model = build(number, classes)
    assert count_parameters(model) == PARAMETERS[number][column]
    assert model.input_shape == (None, 128, 128) and model.output_shape == (None, classes)


def plain(number, classes, n_frames, bands):
    """The published architecture of layers that come with Keras."""
    layers = keras.layers
    inputs = keras.Input((n_frames, bands, 1))
    x = inputs if number == 0 else layers.BatchNormalization(momentum=0.99, epsilon=0.001)(inputs)
    if number == 2:
        return keras.Model(inputs, layers.GlobalMaxPooling2D()(layers.Conv2D(classes, (7, 108))(x)))
    if number == 3:
        for _ in range(5):
            x = layers.Conv2D(32, (3, 3), padding='same', activation='elu')(x)
            x = layers.BatchNormalization(momentum=0.99, epsilon=0.001)(x)
            x = layers.MaxPooling2D((2, 2))(x)
    else:
        x = layers.MaxPooling2D((4, 2))(layers.Conv2D(24, (5, 5), activation='relu')(x))
        x = layers.MaxPooling2D((4, 2))(layers.Conv2D(48, (5, 5), activation='relu')(x))
        x = layers.Dropout(0.5)(layers.Flatten()(layers.Conv2D(48, (5, 5), activation='relu')(x)))
        return keras.Model(inputs, layers.Dense(classes)(layers.Dropout(0.5)(layers.Dense(64, activation='relu')(x))))
    return keras.Model(inputs, layers.Dense(classes)(layers.Dropout(0.5)(layers.Flatten()(x))))


@pytest.mark.parametrize('number', [0, 1, 2, 3])
@pytest.mark.parametrize('log_learn', [False, True])
def test_the_network_is_the_published_one(number, log_learn):
    if number == 0 and log_learn:
        return
    model, reference = build(number + 10 * log_learn, 4, 104, 112), plain(number, 4, 104, 112)
    rng, trainable = np.random.default_rng(number), [v for v in model.trainable_variables if v.name not in ('ta', 'ba')]
    frozen = [v for v in model.non_trainable_variables if v.name != 'seed_generator_state']
    theirs = [v for v in reference.non_trainable_variables if v.name != 'seed_generator_state']
    for ours, other in zip(trainable + frozen, reference.trainable_variables + theirs, strict=True):
        assert ours.shape == other.shape and ours.name == other.name
        value = rng.uniform(0.5, 1.5, ours.shape) if 'variance' in ours.name else other.numpy() + rng.normal(0, 0.05, ours.shape)
        ours.assign(value)
        other.assign(value)
    x = np.abs(random(3, 104, 112))
    log_x = np.log(np.exp(7) * x + np.log(1 + np.e)) if log_learn else x
    same(model(x, training=False), reference(log_x[..., None], training=False))


@pytest.mark.parametrize('number, dropout', [(0, True), (1, True), (2, False), (3, True), (13, True)])
def test_dropout_is_active_in_training_alone(number, dropout):
    model, x = build(number), np.abs(random(4, 128, 128))
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    np.testing.assert_array_equal(model(x, training=False), model(x))
    different = not np.array_equal(model(x, training=True), model(x, training=True))
    assert different == dropout
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == {0: [0.5, 0.5], 1: [0.5, 0.5], 2: [], 3: [0.5], 13: [0.5]}[number]


@pytest.mark.parametrize('number', PARAMETERS)
def test_kernels_are_glorot_uniform_and_the_rest_neutral(number):
    for variable in build(number).trainable_variables:
        value = variable.numpy()
        if variable.name == 'kernel':
            field = np.prod(value.shape[:-2])
            limit = np.sqrt(6 / (field * value.shape[-2] + field * value.shape[-1]))
            assert np.abs(value).max() <= limit * 1.0001 and abs(value.std() / (limit / np.sqrt(3)) - 1) < 0.1
            assert np.abs(value).max() > 0.95 * limit
        else:
            assert (value == {'bias': 0, 'beta': 0, 'gamma': 1, 'ta': 7, 'ba': 1}[variable.name]).all()


# ---- refusals --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('number', PARAMETERS)
def test_too_small_input_is_refused_and_the_smallest_is_not(number):
    frames, bands = models_sl.MODELS[number][2]
    assert build(number, 3, frames, bands)(np.ones((1, frames, bands), np.float32)).shape == (1, 3)
    for small in ((frames - 1, bands), (frames, bands - 1)):
        with pytest.raises(UserError,
                           match=rf'model_number={number} .*needs patches of at least {frames} frames x {bands} bands, '
                                            rf'these have {small[0]} x {small[1]}: set n_frames, or n_mels'):
            build(number, 3, *small)


@pytest.mark.parametrize('number', [11, 12, 13, 14])
@pytest.mark.parametrize('options', [{'pre_processing': 'logEPS'}, {'pre_processing': 'log10000'}, {'normalize': 'train'}])
def test_log_learn_takes_uncompressed_input_alone(number, options):
    with pytest.raises(UserError, match=rf'model_number={number} .*set pre_processing=None and normalize=None'):
        build(number, **options)


@pytest.mark.parametrize('number', [4, 10, 15, 99])
def test_numbers_that_do_not_exist(number):
    with pytest.raises(UserError,
                       match=rf'model_number={number} does not exist; there are: 0 \(SB-CNN\), .*14 \(log-learn VGG-128\)'):
        build(number)


# ---- layers ----------------------------------------------------------------------------------------------------------

def values_and_gradients(function, x, variables, seed=1):
    """function(x), and the gradients of a random weighting of it with respect to x and to the variables."""
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = function(x)
        cost = tf.reduce_sum(y * random(*y.shape, seed=seed))
    return y.numpy(), [tf.convert_to_tensor(g).numpy() for g in tape.gradient(cost, [x, *variables])]


def test_log_learn():
    layer = LogLearn()
    x = np.float32([[0, 1e-4, 1, 100]])
    layer.build(x.shape)
    assert layer.ta.numpy() == 7 and layer.ba.numpy() == 1
    for ta, ba in ((7, 1), (2.5, -0.5)):
        layer.ta.assign(ta)
        layer.ba.assign(ba)
        alpha, beta = np.exp(ta), np.log(1 + np.exp(ba))
        assert float(layer.alpha) == pytest.approx(alpha) and float(layer.beta) == pytest.approx(beta)
        y, (dx, dta, dba) = values_and_gradients(layer, x, [layer.ta, layer.ba])
        weights = random(1, 4, seed=1).astype(np.float64)
        np.testing.assert_allclose(y, np.log(alpha * x + beta), rtol=1e-5)
        np.testing.assert_allclose(dx, weights * alpha / (alpha * x + beta), rtol=1e-5)
        assert dta == pytest.approx((weights * alpha * x / (alpha * x + beta)).sum(), rel=1e-4)
        assert dba == pytest.approx((weights / (alpha * x + beta) / (1 + np.exp(-ba))).sum(), rel=1e-4)


def randomised(layer, x):
    """Build a layer and give it known values; statistics, scale and offset are not 0 and 1."""
    layer.build(x.shape)
    rng = np.random.default_rng(5)
    for variable in layer.variables:
        if variable.name in ('gamma', 'moving_variance'):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        else:
            variable.assign(rng.uniform(-1, 1, variable.shape))
    return layer


def keras_normalization(layer, x):
    reference = keras.layers.BatchNormalization(momentum=0.99, epsilon=0.001)
    reference.build(x.shape)
    for name in ('gamma', 'beta', 'moving_mean', 'moving_variance'):
        getattr(reference, name).assign(getattr(layer, name))
    return reference


def check_moving_statistics(layer, before, x):
    """After one step in training: momentum 0.99, variance with divisor n - 1."""
    x = x.astype(np.float64).reshape(-1, x.shape[-1])
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.99 * before[0] + 0.01 * x.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.99 * before[1] + 0.01 * x.var(axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize('shape', [(2, 3, 5, 4), (7, 6, 1, 1), (1, 2, 1, 3)])
def test_batch_normalisation_is_that_of_keras(shape):
    x = 3 * random(*shape) + 2
    layer = randomised(BatchNormalization(), x)
    reference = keras_normalization(layer, x)
    same(layer(x), reference(x))
    same(layer(x, training=False), reference(x, training=False))
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    ours = values_and_gradients(lambda x: layer(x, training=True), x, [layer.gamma, layer.beta])
    theirs = values_and_gradients(lambda x: reference(x, training=True), x, [reference.gamma, reference.beta])
    same(ours[0], theirs[0])
    for gradient, expected in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
    check_moving_statistics(layer, before, x)


def test_evaluation_does_not_move_the_statistics():
    x = random(2, 3, 4, 1)
    for layer in (randomised(BatchNormalization(), x), randomised(NormalizedConv2D(2, (3, 3), 'same', 'elu'), x)):
        before = [v.numpy() for v in layer.variables]
        layer(x, training=False)
        layer(x)
        assert all(np.array_equal(v.numpy(), old) for v, old in zip(layer.variables, before, strict=True))


def normalisation_then_convolution(layer, x, training):
    """BatchNormalization and Conv2D of Keras with the variables of a NormalizedConv2D."""
    mean, variance = tf.nn.moments(x, [0, 1, 2]) if training else (layer.moving_mean.value, layer.moving_variance.value)
    x = (x - mean) / tf.sqrt(variance + 0.001) * layer.gamma + layer.beta
    y = tf.nn.conv2d(x, layer.kernel, 1, layer.padding.upper()) + layer.bias
    return keras.activations.get(layer.activation)(y)


@pytest.mark.parametrize('size, padding, activation', [((5, 5), 'valid', 'relu'), ((3, 3), 'same', 'elu'),
                                                       ((5, 3), 'same', 'relu'),
                                                       ((1, 4), 'valid', None)])
@pytest.mark.parametrize('shape', [(6, 12, 10, 1), (1, 9, 15, 1)])
def test_normalised_convolution(size, padding, activation, shape):
    x = 3 * random(*shape) + 2
    layer = randomised(NormalizedConv2D(4, size, padding, activation), x)
    assert layer.gamma.numpy() != 1 and layer.beta.numpy() != 0
    same(layer(x, training=False), normalisation_then_convolution(layer, x, training=False))
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    variables = [layer.kernel, layer.bias, layer.gamma, layer.beta]
    ours = values_and_gradients(lambda x: layer(x, training=True), x, variables)
    check_moving_statistics(layer, before, x)
    theirs = values_and_gradients(lambda x: normalisation_then_convolution(layer, x, training=True), x, variables)
    same(ours[0], theirs[0])
    for gradient, expected in zip(ours[1], theirs[1], strict=True):
        same(gradient, expected)


def test_normalised_convolution_behind_a_variable():
    """As behind log-learn: the gradient passes through to what comes before."""
    x = np.abs(random(4, 12, 10, 1))
    layer, log_learn = randomised(NormalizedConv2D(4, (3, 3), 'same', 'elu'), x), LogLearn()
    log_learn.build(x.shape)
    log_learn.ta.assign(-1)  # at 7 the normalisation takes away nearly all that alpha does, and rounding is all that is left
    variables = [log_learn.ta, log_learn.ba, layer.kernel]
    ours = values_and_gradients(lambda x: layer(log_learn(x), training=True), x, variables)
    theirs = values_and_gradients(lambda x: normalisation_then_convolution(layer, log_learn(x), training=True), x, variables)
    same(ours[0], theirs[0])
    for gradient, expected in zip(ours[1], theirs[1], strict=True):
        same(gradient, expected)


def test_the_reference_is_kerass():
    """normalisation_then_convolution and the layers of Keras agree, so the tests above compare with the right thing."""
    x = 3 * random(6, 12, 10, 1) + 2
    layer = randomised(NormalizedConv2D(4, (5, 5), 'valid', 'relu'), x)
    convolution = keras.layers.Conv2D(4, 5, activation='relu')
    convolution.build(x.shape)
    convolution.kernel.assign(layer.kernel)
    convolution.bias.assign(layer.bias)
    for training in (False, True):
        same(convolution(keras_normalization(layer, x)(x, training=training)), normalisation_then_convolution(layer, x, training))


def convolution_then_maximum(layer, x):
    match = tf.nn.conv2d(x, layer.kernel, 1, 'VALID') + layer.bias
    return tf.nn.max_pool2d(match, match.shape[1:3], 1, 'VALID')[:, 0, 0]


@pytest.mark.parametrize('shape, size, filters', [((5, 20, 128, 1), (7, 108), 6), ((3, 9, 11, 1), (3, 4), 5),
                                                  ((2, 7, 12, 1), (7, 12), 3),
                                                  ((1, 12, 7, 1), (1, 1), 2), ((4, 8, 30, 1), (8, 3), 1)])
def test_strongest_match(shape, size, filters):
    x = random(*shape)
    layer = randomised(StrongestMatch(filters, size), x)
    theirs = values_and_gradients(lambda x: convolution_then_maximum(layer, x), x, [layer.kernel, layer.bias])
    for training in (False, True):
        ours = values_and_gradients(lambda x: layer(x, training=training), x, [layer.kernel, layer.bias])
        same(ours[0], theirs[0])
        for gradient, expected in zip(ours[1], theirs[1], strict=True):
            same(gradient, expected)


@pytest.mark.parametrize('x', [np.ones((2, 9, 11, 1), np.float32), np.zeros((2, 9, 11, 1), np.float32),
                               np.tile(np.arange(3, dtype=np.float32), (2, 9, 4))[..., :11, None]],
                               ids=['constant', 'silence', 'periodic'])
def test_strongest_match_of_equal_places(x):
    """Repeated and zero-padded clips have them: the gradient goes to the first, as that of max-pooling does."""
    layer = randomised(StrongestMatch(5, (3, 4)), x)
    # whole numbers: equal places are exactly equal
    layer.kernel.assign(np.random.default_rng(0).integers(-3, 4, layer.kernel.shape))
    layer.bias.assign(np.arange(5))
    ours = values_and_gradients(lambda x: layer(x, training=True), x, [layer.kernel, layer.bias])
    theirs = values_and_gradients(lambda x: convolution_then_maximum(layer, x), x, [layer.kernel, layer.bias])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    for gradient, expected in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('number', PARAMETERS)
def test_every_variable_has_a_gradient(number):
    """Nothing is cut off from training by a layer of one's own."""
    model, x = build(number, 3), np.abs(random(4, 128, 128)) * np.float32(0.01)
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 0], model(x, training=True)))
    for variable, gradient in zip(model.trainable_variables, tape.gradient(cost, model.trainable_variables), strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path
