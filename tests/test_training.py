"""The training step against a plain computation, the training loop, seeding and scoring."""
import random as python_random
import threading
import types

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import models_proto
import models_sl
import scoring
from backend import keras, set_up_device, tf
from layers import BatchNormalization, FrameNormalization, NormalizedConv2D, Seeds
from network import count_parameters, load_weights, randomise
from patches import Clips, sample_patches
from scoring import Forms, Scorer, make_scorer, score_clips
from shared import UserError
from supervised import train_epoch
from training import check_cost, cut_patches, estimate_statistics, make_statistics_step, make_train_step, normalised_layers

# Keras's own, when it stores weights under NumPy 2
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


@pytest.fixture(scope='module', autouse=True)
def device():
    set_up_device()


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tiny(hidden=5, classes=3, seed=0):
    """Patches (4, 6) -> dense ReLU -> logits."""
    inputs, seeds = keras.Input((4, 6)), Seeds(seed)
    x = keras.layers.Dense(hidden, activation='relu', kernel_initializer=seeds.glorot())(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_initializer=seeds.glorot())(x))


def build(number, bands=128, seed=0, **options):
    config = {'model_number': number, 'n_frames': 128, 'num_classes_dataset': 3, 'pre_processing': None, 'normalize': None,
              **options}
    return models_sl.build(config, bands, seed)


def weights(model):
    """All values of a model but the state of its dropout."""
    return [variable.numpy() for variable in model.weights]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ---- cutting and scoring ---------------------------------------------------------------------------------------------

def test_patches_are_cut_where_they_begin():
    frames, starts = random(20, 6), np.int64([0, 16, 3, 3])
    patches = cut_patches(tf.constant(frames), tf.constant(starts), 4)
    np.testing.assert_array_equal(patches, [frames[s:s + 4] for s in starts])


@pytest.mark.parametrize('number', [0, 2, 3, 13])
def test_scores_are_the_models_predictions(number):
    model, frames, starts = build(number), np.abs(random(200, 128)), np.int64([0, 72, 5, 33, 5])
    for variable in model.variables:  # statistics that training would have moved
        if 'moving' in variable.name:
            variable.assign(np.random.default_rng(0).uniform(0.5, 1.5, variable.shape))
    expected = model.predict(np.stack([frames[s:s + 128] for s in starts]), verbose=0)
    np.testing.assert_allclose(make_scorer(model)(frames, starts), expected, rtol=1e-4, atol=1e-5)


def test_scoring_changes_nothing_and_is_traced_once():
    model = build(3)
    before, score = weights(model), make_scorer(model)
    for number in (5, 2, 1):
        score(random(200, 128), np.arange(number, dtype=np.int64))
    assert equal(weights(model), before) and score.experimental_get_tracing_count() == 1


# ---- one step --------------------------------------------------------------------------------------------------------

def plain_step(parameters, patches, labels, learning_rate, weight_decay):
    """One step of SGD on `tiny` in float64: cost before it, parameters after it, global norm of the gradient."""
    w1, b1, w2, b2 = (p.astype(np.float64) for p in parameters)
    x = patches.reshape(len(patches), -1).astype(np.float64)
    hidden = np.maximum(x @ w1 + b1, 0)
    logits = hidden @ w2 + b2
    cost = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    d_logits = (softmax(logits, axis=1) - np.eye(3)[labels]) / len(labels)
    d_hidden = d_logits @ w2.T * (hidden > 0)
    gradients = [x.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ d_logits, d_logits.sum(axis=0)]
    if weight_decay is not None:  # kernels alone
        cost += weight_decay * (np.square(w1).sum() + np.square(w2).sum()) / 2
        gradients[0] += weight_decay * w1
        gradients[2] += weight_decay * w2
    norm = np.sqrt(sum(np.square(g).sum() for g in gradients))
    gradients = [g * min(1, 5 / norm) for g in gradients]
    return cost, [p - learning_rate * g for p, g in zip((w1, b1, w2, b2), gradients)], norm


@pytest.mark.parametrize('loudness, clipped', [(0.1, False), (1, False), (100, True)])
@pytest.mark.parametrize('weight_decay', [None, 0.0, 0.001, 0.5])
@pytest.mark.parametrize('learning_rate', [0.1, 1.0])
def test_a_step_equals_a_plain_computation(loudness, clipped, weight_decay, learning_rate):
    model = tiny()
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(0.5 * random(*variable.shape, seed=number))  # also biases are not 0: they must not decay
    frames, starts, labels = loudness * random(30, 6), np.int64([0, 26, 7, 7, 11]), np.int64([0, 1, 2, 1, 0])
    cost, expected, norm = plain_step(weights(model), np.stack([frames[s:s + 4] for s in starts]), labels, learning_rate,
                                      weight_decay)
    assert (norm > 5) == clipped
    found = make_train_step(model, weight_decay)(frames, starts, labels, tf.constant(learning_rate, tf.float32))
    assert float(found) == pytest.approx(cost, rel=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4, atol=1e-5)


def test_several_steps_equal_a_plain_computation():
    model, step, frames = tiny(), None, random(40, 6)
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(0.5 * random(*variable.shape, seed=number))
    step, parameters = make_train_step(model, 0.01), weights(model)
    for number in range(5):
        starts, labels = np.int64([number, 30 - number, 12]), np.int64([0, 1, 2])
        cost, parameters, _ = plain_step(parameters, np.stack([frames[s:s + 4] for s in starts]), labels, 0.1, 0.01)
        assert float(step(frames, starts, labels, tf.constant(0.1))) == pytest.approx(cost, rel=1e-4)
    for variable, value in zip(model.trainable_variables, parameters, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('number', [0, 2, 13])
def test_weight_decay_is_on_the_kernels_of_every_layer_and_on_nothing_else(number):
    make = lambda seed=0: build(number, seed=seed)
    model = make()
    data = np.abs(random(130, 128)), np.int64([0, 1]), np.int64([0, 2]), tf.constant(0.0)
    costs = []
    for weight_decay in (None, 1.0):
        randomise(model, make, seed=0)  # the same dropout in both
        for variable in model.trainable_variables:
            if variable.name in ('bias', 'beta'):
                variable.assign(np.full(variable.shape, 0.1))
        costs.append(float(make_train_step(model, weight_decay)(*data)))
    # filters and matrices have two dimensions or more, everything else fewer
    expected = sum(np.square(v.numpy().astype(np.float64)).sum() / 2 for v in model.trainable_variables if len(v.shape) > 1)
    assert costs[1] - costs[0] == pytest.approx(expected, rel=1e-4)


def test_weight_decay_spares_pretrained_layers():
    inputs, data = keras.Input((4, 6)), (random(30, 6), np.int64([0, 26]), np.int64([0, 1]), tf.constant(0.0))
    x = keras.layers.Dense(5, name='mn04')(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    costs = [float(make_train_step(model, weight_decay)(*data)) for weight_decay in (None, 1.0)]
    assert costs[1] - costs[0] == pytest.approx(np.square(model.layers[-1].kernel.numpy()).sum() / 2, rel=1e-4)


def test_a_smaller_batch_does_not_trace_again():
    model = tiny()
    step = make_train_step(model, 0.001)
    for number in (5, 3, 1, 5):
        step(random(30, 6), np.arange(number, dtype=np.int64), np.zeros(number, np.int64), tf.constant(0.1))
    step(random(31, 6), np.int64([0]), np.int64([0]), tf.constant(0.2))
    assert step.experimental_get_tracing_count() == 1


def operations_in_use(graph):
    """Types of the operations that a function's results and assignments depend on; TensorFlow drops the others before it runs."""
    pending, used = [*[tensor.op for tensor in graph.outputs], *graph.control_outputs], {}
    while pending:
        operation = pending.pop()
        if operation.name not in used:
            used[operation.name] = operation.type
            pending += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return list(used.values())


@pytest.mark.parametrize('number, filters, inputs', [(0, 3, 2), (1, 4, 2), (2, 0, 0), (3, 6, 4), (13, 6, 5)])
def test_the_gradient_stops_at_the_first_layer(number, filters, inputs):
    """No work for gradients that nobody uses: of the frames, or of a first convolution's input where nothing learns before it."""
    step = make_train_step(build(number), 0.001)
    operations = operations_in_use(step.get_concrete_function().graph)
    assert operations.count('Conv2DBackpropFilter') == filters  # NormalizedConv2D has two convolutions
    assert operations.count('Conv2DBackpropInput') == inputs
    # what the gradient of cutting would need; one is that of the cross-entropy, and StrongestMatch has a gather of its own
    assert operations.count('UnsortedSegmentSum') == (2 if number == 2 else 1)


def test_frames_are_not_changed():
    frames = tf.constant(random(30, 6))
    step, before = make_train_step(tiny(), 0.001), frames.numpy()
    for _ in range(3):
        step(frames, np.int64([0, 5]), np.int64([0, 1]), tf.constant(1.0))
    np.testing.assert_array_equal(frames, before)


# ---- seeding ---------------------------------------------------------------------------------------------------------

def test_randomise_gives_the_weights_of_a_new_model():
    make = lambda seed=0: build(3, seed=seed)
    model = make()
    randomise(model, make, seed=4)
    first = weights(model)
    assert equal(first, weights(make(seed=4))) and len(first) == len(model.weights) > 20
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    randomise(model, make, seed=4)
    assert equal(weights(model), first)
    randomise(model, make, seed=5)
    for variable, old in zip(model.trainable_variables, first):
        assert variable.name != 'kernel' or not np.array_equal(variable.numpy(), old)


def train(model, make, seed, config=None, epochs=4):
    """Train from a seed on clips that are always the same; returns all variables and the costs."""
    config = config or {'n_frames': 128, 'pad_short': 'repeat-pad', 'pre_processing': 'logEPS', 'train_sampling': 'random',
                        'param_train_sampling': 1, 'batch_size': 4, 'learning_rate': 0.1, 'epochs': epochs}
    arrays = {str(i): np.abs(random(140 + 3 * i, 128, seed=i)) for i in range(6)}
    clips = Clips(types.SimpleNamespace(open=arrays.__getitem__), list(arrays), config)
    randomise(model, make, seed)
    rng, costs = np.random.default_rng(seed), []
    for _ in range(config['epochs'] - 1):
        costs.append(train_epoch(train.steps[id(model)], tf.constant(clips.frames), np.int64([0, 1, 2] * 2),
                                 *sample_patches(clips, config, rng), tf.constant(config['learning_rate']), config))
    return weights(model), costs


train.steps = {}


@pytest.mark.parametrize('number', [0, 2, 3])
def test_the_same_seed_trains_bit_identical_weights(number):
    """Also with the model and step of another run, as in an experiment of several runs."""
    make = lambda seed=0: build(number, seed=seed)
    results = []
    for seeds in ((7, 8), (7,)):
        model = make()
        train.steps[id(model)] = make_train_step(model, 0.001)
        results += [train(model, make, seed) for seed in seeds]
    (first, costs), (other, _), (again, costs_again) = results
    assert equal(first, again) and costs == costs_again and len(costs) == 3
    assert not equal(first, other)


# ---- the loop --------------------------------------------------------------------------------------------------------

def loop(epochs, batch_size=4, step=None, learning_rate=0.1, clips=10, labels=None):
    """Epochs 2 to `epochs` on `clips` patches whose number is their start; returns the arguments of step and the costs."""
    steps, costs = [], []

    def note(frames, starts, labels, rate):
        steps.append((starts.tolist(), labels.tolist(), float(rate)))
        return tf.constant(float(len(steps)))

    order, config = np.arange(clips, dtype=np.int64)[::-1], {'batch_size': batch_size, 'learning_rate': learning_rate}
    frames, labels = tf.constant(random(clips + 3, 6)), np.int64(labels or [i % 3 for i in range(clips)])
    for epoch in range(2, epochs + 1):
        costs.append(train_epoch(step or note, frames, labels, order, order, tf.constant(learning_rate), config))
        check_cost(costs[-1], epoch, config)
    return steps, costs


def test_batches_labels_and_mean_costs():
    steps, costs = loop(3)
    labels = [0, 2, 1, 0, 2, 1, 0, 2, 1, 0]  # of clips 9, 8, ..., 0
    expected = [([9, 8, 7, 6], labels[:4], np.float32(0.1)), ([5, 4, 3, 2], labels[4:8], np.float32(0.1)),
                ([1, 0], labels[8:], np.float32(0.1))]
    assert steps == expected * 2
    assert costs == [2, 5]  # of 1, 2, 3 and 4, 5, 6


@pytest.mark.parametrize('batch_size, sizes', [(1, [1] * 10), (9, [9, 1]), (10, [10]), (256, [10])])
def test_the_last_batch_is_smaller(batch_size, sizes):
    assert [len(starts) for starts, *_ in loop(2, batch_size)[0]] == sizes


def test_training_learns():
    model = tiny(hidden=20)
    _, costs = loop(150, step=make_train_step(model, None), learning_rate=0.5)
    assert costs[0] > 0.8 and costs[-1] < 0.05


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_divergence_is_an_error(bad):
    costs = iter([1.0, 0.9, 0.8, 0.7, bad, 0.5])
    with pytest.raises(UserError,
                       match=r'training diverged: the cost of epoch 3 is (nan|inf|-inf)\. Choose a smaller learning_rate than 0\.25'):
        loop(9, step=lambda *_: tf.constant(next(costs)), learning_rate=0.25)


def test_a_huge_learning_rate_diverges():
    with pytest.raises(UserError, match='training diverged'):
        loop(50, step=make_train_step(tiny(), 0.001), learning_rate=1e30)


# ---- scores of clips -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('hop', [1, 5])
@pytest.mark.parametrize('batch_size', [3, 100])
def test_clip_scores_are_mean_probabilities_over_patches(hop, batch_size):
    arrays = {key: random(length, 6, seed=length) for key, length in (('a', 2), ('b', 4), ('c', 30))}
    model, labels = tiny(), {'c': 2, 'a': 0, 'b': 1}
    representation = types.SimpleNamespace(open=arrays.__getitem__)
    config = {'n_frames': 4, 'pad_short': 'repeat-pad', 'pre_processing': None, 'test_hop': hop, 'test_batch_size': batch_size}
    scorer = Scorer(Forms(model), config, representation, test=labels)
    scores, cost = score_clips(scorer, representation, labels, config, 'test', (0.5, 2.0))
    expected, costs = [], []
    for key, label in labels.items():
        clip = (np.resize(arrays[key], (max(4, len(arrays[key])), 6)) - 0.5) / 2
        patches = np.stack([clip[s:s + 4] for s in range(0, len(clip) - 3, hop)])
        probabilities = softmax(model.predict(patches, verbose=0).astype(np.float64), axis=1)
        expected.append(probabilities.mean(axis=0))
        costs += list(-np.log(probabilities[:, label]))
    assert scores.shape == (3, 3) and scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert cost == pytest.approx(np.mean(costs), rel=1e-4)


def test_a_set_that_stays_on_the_device_has_the_same_scores(monkeypatch):
    arrays = {key: random(length, 6, seed=length) for key, length in (('a', 2), ('b', 4), ('c', 30))}
    labels = {'c': 2, 'a': 0, 'b': 1}
    representation = types.SimpleNamespace(open=arrays.__getitem__, bands=lambda key: arrays[key].shape[1])
    config = {'n_frames': 4, 'pad_short': 'repeat-pad', 'pre_processing': None, 'val_hop': 1, 'val_batch_size': 5}
    scorer = Scorer(Forms(tiny()), config, representation, val=labels)
    kept = scorer.keep(representation, labels, config, 'val', 0.5, 2.0)
    read, again = (score_clips(scorer, representation, labels, config, 'val', (0.5, 2.0), kept=given) for given in (None, kept))
    assert len(kept) > 2
    np.testing.assert_array_equal(read[0], again[0])
    assert read[1] == again[1]
    monkeypatch.setattr(scoring, 'MOST_KEPT', 38 * 6 * 4 - 1)  # one byte less than what the padded clips take
    assert scorer.keep(representation, labels, config, 'val', 0.5, 2.0) is None


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    """Every model, and the file of its weights."""
    folder, models = tmp_path_factory.mktemp('weights'), {number: build(number) for number in models_sl.MODELS}
    for number, model in models.items():
        model.save_weights(folder / f'{number}.weights.h5')
    return folder, models


@pytest.mark.parametrize('number', models_sl.MODELS)
def test_weights_are_loaded_whole(stored, number):
    folder, models = stored
    other = build(number)
    for variable in other.variables:
        variable.assign(tf.zeros_like(variable))
    load_weights(other, folder / f'{number}.weights.h5')
    assert equal(weights(other), weights(models[number]))


@pytest.mark.filterwarnings('ignore:Skipping nested container')
@pytest.mark.parametrize('number', models_sl.MODELS)
def test_weights_of_another_model_are_refused(stored, number):
    folder, models = stored
    for other in models_sl.MODELS:
        if other != number:
            with pytest.raises(UserError, match='does not fit the model'):
                load_weights(models[number], folder / f'{other}.weights.h5')
                print(f'weights of {other} were taken')


@pytest.mark.filterwarnings('ignore:Skipping nested container')
@pytest.mark.parametrize('options', [{'num_classes_dataset': 4}, {'n_frames': 160}])
def test_weights_of_another_shape_are_refused(stored, options):
    with pytest.raises(UserError, match='does not fit the model'):
        load_weights(build(3, **options), stored[0] / '3.weights.h5')


@pytest.mark.parametrize('damage', [lambda content: b'', lambda content: content[:5000], lambda content: content[:-5000],
                                    lambda content: b'text' * 99])
def test_damaged_weights_are_refused(stored, tmp_path, damage):
    path = tmp_path / 'model.weights.h5'
    path.write_bytes(damage((stored[0] / '3.weights.h5').read_bytes()))
    with pytest.raises(UserError, match='does not fit the model'):
        load_weights(build(3), path)


def test_parameters_are_counted():
    assert count_parameters(tiny()) == 24 * 5 + 5 + 5 * 3 + 3


def test_other_threads_do_not_disturb_the_weights_that_a_run_begins_with():
    """A Dask worker's other threads draw from Python's global random numbers all the time."""
    def build(seed=0):
        return models_sl.build({'model_number': 3, 'n_frames': 32, 'num_classes_dataset': 3, 'pre_processing': 'logEPS',
                                'normalize': None}, 32, seed)

    model, stop = build(), threading.Event()
    randomise(model, build, 5)
    alone = [variable.numpy() for variable in model.variables]

    def draw():
        while not stop.is_set():
            python_random.random()

    other = threading.Thread(target=draw)
    other.start()
    try:
        randomise(model, build, 5)
    finally:
        stop.set()
        other.join()
    assert all(np.array_equal(a, variable.numpy()) for a, variable in zip(alone, model.variables))
    randomise(model, build, 6)
    assert not all(np.array_equal(a, variable.numpy()) for a, variable in zip(alone, model.variables))


# ---- statistics of batch normalisation, estimated anew -----------------------------------------------------------------

def layer_by_layer(model, patches):
    """Statistics of each layer of batch normalisation on patches, by NumPy, each on what the normalised layers before it give."""
    x, found = patches, []
    for layer in model.layers[1:]:
        if not isinstance(layer, BatchNormalization):
            x = layer(x, training=False)
            continue
        x = np.asarray(x, np.float64)
        axes, shape = ((0, 2, 3), (1, -1, 1, 1)) if isinstance(layer, FrameNormalization) else ((0, 1, 2), (1, 1, 1, -1))
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
        found.append((mean, variance * (x.size / mean.size) / (x.size / mean.size - 1)))  # unbiased
        scale, offset = (np.asarray(values).reshape(shape) for values in (layer.gamma, layer.beta))
        x = ((x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3) * scale + offset).astype(np.float32)
        if isinstance(layer, NormalizedConv2D):
            x = layer.activation(tf.nn.bias_add(tf.nn.conv2d(x, layer.kernel, 1, layer.padding), layer.bias))
    return found


@pytest.mark.parametrize('models, number', [(models_sl, 1), (models_sl, 2), (models_sl, 3), (models_sl, 13), (models_proto, 2), (models_proto, 12)])
def test_estimated_statistics_are_those_of_numpy(models, number):
    config = {'model_number': number, 'n_frames': 128, 'pre_processing': None if number > 10 else 'logEPS', 'normalize': None,
              'num_classes_dataset': 3, 'filters': 8}
    rng, model = np.random.default_rng(0), models.build(config, 128, seed=1)
    for layer in normalised_layers(model):
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    frames = (rng.normal(-3, 2, (600, 128)) + np.sin(np.arange(128))).astype(np.float32)
    frames = np.exp(frames) if number > 10 else frames  # log-learn takes powers
    passes = [rng.integers(0, 600 - 128, 6) for _ in range(2)]
    statistics = {id(variable) for layer in normalised_layers(model) for variable in (layer.moving_mean, layer.moving_variance)}
    before = [variable.numpy() for variable in model.variables if id(variable) not in statistics]
    estimate_statistics(model, make_statistics_step(model), tf.constant(frames), passes, batch_size=4)
    assert all((a == b.numpy()).all() for a, b in zip(before, (v for v in model.variables if id(v) not in statistics), strict=True))
    batches = [starts[i:i + 4] for starts in passes for i in (0, 4)]
    each = [layer_by_layer(model, np.stack([frames[start:start + 128] for start in batch])) for batch in batches]
    assert len(each[0]) == {1: 1, 2: 1, 3: 6}.get(number if models is models_sl else None, 6)
    for place, layer in enumerate(normalised_layers(model)):
        for variable, kind in ((layer.moving_mean, 0), (layer.moving_variance, 1)):
            expected = np.average([values[place][kind] for values in each], axis=0, weights=[len(batch) for batch in batches])
            np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-4, atol=2e-5)
    once = [variable.numpy() for variable in model.variables]
    estimate_statistics(model, make_statistics_step(model), tf.constant(frames), passes, batch_size=4)
    assert all((a == b.numpy()).all() for a, b in zip(once, model.variables, strict=True))  # deterministic, and its own fixed point
