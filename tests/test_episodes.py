"""Prototypical networks in parts: embedding, prototypes and distances, episodes, the update, the stop rule, the loop."""
import subprocess
import sys
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import figures
import models_proto
from backend import keras, set_up_device, tf
from commands import ROOT, environment
from fewshot import Episodes, at_most
from layers import FrameNormalization
from network import Network, count_parameters, randomise
from patches import all_patches
from prototypical import StopRule, train_epoch
from shared import UserError
from training import apply_episode, check_cost, cut_patches, log_learn_values, make_episode_step


@pytest.fixture(scope='module', autouse=True)
def device():
    set_up_device()


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(number=2, filters=4, n_frames=32, bands=32, classes=3, seed=0, **options):
    config = {'model_number': number, 'filters': filters, 'n_frames': n_frames, 'num_classes_dataset': classes,
              'pre_processing': None if number == 12 else 'logEPS', 'normalize': None, **options}
    return models_proto.build(config, bands, seed)


def squared_distances(a, b):
    """Mean of the squared differences, (A, B) float64."""
    return cdist(a, b, 'sqeuclidean') / a.shape[1]


def values(model):
    """All values of a model, the state of its dropout too."""
    return [variable.numpy() for variable in model.variables]


def restore(model, state):
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)


# ---- the network -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('number, parameters', [(2, 613642), (12, 613644)])
@pytest.mark.parametrize('classes', [2, 10, 15])
def test_trainable_parameters(number, parameters, classes):
    model = build(number, 128, 128, 128, classes)
    assert count_parameters(model) == parameters
    assert model.input_shape == (None, 128, 128) and model.output_shape == (None, 10)


@pytest.mark.parametrize('number', [2, 12])
def test_the_network_is_the_published_one(number):
    """Built once more of layers that come with Keras; one frame and one band are odd in a pooling."""
    model, layers = build(number, 3, 40, 36), keras.layers
    inputs = keras.Input((40, 36, 1))
    x = layers.BatchNormalization(axis=1, momentum=0.99, epsilon=0.001)(inputs)
    for _ in range(5):
        x = layers.Conv2D(3, 3, padding='same', activation='elu')(x)
        x = layers.MaxPooling2D()(layers.BatchNormalization(momentum=0.99, epsilon=0.001)(x))
    reference = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    rng, trainable = np.random.default_rng(number), [v for v in model.trainable_variables if v.name not in ('ta', 'ba')]
    frozen = [v for v in model.non_trainable_variables if v.name != 'seed_generator_state']
    for ours, other in zip(trainable + frozen, reference.trainable_variables + reference.non_trainable_variables, strict=True):
        assert ours.shape == other.shape and ours.name == other.name
        value = rng.uniform(0.5, 1.5, ours.shape) if 'variance' in ours.name else other.numpy() + rng.normal(0, 0.05, ours.shape)
        ours.assign(value)
        other.assign(value)
    x = np.abs(random(3, 40, 36))
    log_x = np.log(np.exp(7) * x + np.log(1 + np.e)) if number == 12 else x
    np.testing.assert_allclose(model(x, training=False), reference(log_x[..., None], training=False), rtol=1e-3, atol=1e-4)
    assert [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)] == [0.5]
    assert not np.array_equal(model(x, training=True), model(x, training=True))


@pytest.mark.parametrize('options, message', [
    ({'number': 3}, r'model_number=3 does not exist; there are: 2 \(proto\), 12 \(log-learn proto\)'),
    ({'number': 12, 'pre_processing': 'logEPS'}, r'model_number=12 .*set pre_processing=None and normalize=None'),
    ({'number': 12, 'normalize': 'train'}, r'model_number=12 .*set pre_processing=None and normalize=None'),
    ({'n_frames': 31}, r'model_number=2 \(proto\) needs patches of at least 32 frames x 32 bands, these have 31 x 32'),
    ({'bands': 31}, r'model_number=2 \(proto\) needs patches of at least 32 frames x 32 bands, these have 32 x 31'),
])
def test_networks_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


@pytest.mark.parametrize('number, filters, name', [(2, 128, 'proto'), (12, 128, 'log-learn proto'), (2, 4, 'proto, 4 filters'),
                                                   (12, 32, 'log-learn proto, 32 filters')])
def test_names(number, filters, name):
    assert models_proto.name({'model_number': number, 'filters': filters}) == name


def test_every_run_begins_with_weights_of_its_own():
    """They follow from seed and run alone, not from what the network did before."""
    config = {'model_number': 2, 'filters': 4, 'n_frames': 32, 'pre_processing': None, 'normalize': None, 'load_model': None}
    begun = {}
    for seed in (0, 3):
        network = Network(models_proto, {**config, 'seed': seed}, 32)
        for run in (0, 1, 0):
            network.start_run(run)
            state = b''.join(value.tobytes() for value in values(network.model))
            assert begun.setdefault((seed, run), state) == state
            network.model(random(3, 32, 32), training=True)
    assert len(set(begun.values())) == 4


@pytest.fixture
def normalization():
    """A layer whose variables are not 0 and 1, and an input of 3 patches of 5 frames x 7 bands."""
    layer, rng = FrameNormalization(), np.random.default_rng(5)
    layer.build((None, 5, 7, 1))
    for variable in layer.variables:
        assert variable.shape == (5,)
        variable.assign(rng.uniform(0.5, 2, 5))
    return layer, random(3, 5, 7, 1) * np.float32([1, 2, 3, 4, 5])[:, None, None] + 2


def frame_normalised(x, mean, variance, layer):
    shape = lambda v: np.asarray(v, np.float64)[None, :, None, None]
    return (x - shape(mean)) / np.sqrt(shape(variance) + 0.001) * shape(layer.gamma.numpy()) + shape(layer.beta.numpy())


def test_frames_are_normalised_over_patches_and_bands_in_training(normalization):
    layer, x = normalization
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    frames = x[..., 0].transpose(1, 0, 2).reshape(5, -1).astype(np.float64)
    expected = frame_normalised(x, frames.mean(axis=1), frames.var(axis=1), layer)
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.99 * before[0] + 0.01 * frames.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.99 * before[1] + 0.01 * frames.var(axis=1, ddof=1), rtol=1e-5)


def test_frames_are_normalised_by_the_moving_statistics_in_evaluation(normalization):
    layer, x = normalization
    before = [v.numpy() for v in layer.variables]
    expected = frame_normalised(x, layer.moving_mean.numpy(), layer.moving_variance.numpy(), layer)
    for y in (layer(x), layer(x, training=False)):
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert all(map(np.array_equal, [v.numpy() for v in layer.variables], before))


def test_gradients_of_the_normalisation_of_frames_are_those_of_keras(normalization):
    layer, x = normalization
    reference = keras.layers.BatchNormalization(axis=1, epsilon=0.001)
    reference.build(x.shape)
    gradients = []
    for candidate in (layer, reference):
        candidate.gamma.assign(layer.gamma)
        candidate.beta.assign(layer.beta)
        source = tf.Variable(x)
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(candidate(source, training=True) * random(*x.shape, seed=1))
        gradients.append(tape.gradient(cost, [source, candidate.gamma.value, candidate.beta.value]))
    for ours, theirs in zip(*gradients):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


# ---- prototypes, distances, probabilities ----------------------------------------------------------------------------

def test_a_prototype_is_the_mean_of_its_class():
    """Classes of 1, 4 and 2 patches, in any order."""
    embeddings, labels = random(7, 10), np.int64([1, 2, 1, 0, 1, 2, 1])
    found = models_proto.prototypes(embeddings, labels, 3)
    np.testing.assert_allclose(found, [embeddings[labels == c].mean(axis=0) for c in range(3)], rtol=1e-5)


def test_the_distance_is_the_mean_of_squared_differences():
    a, b = random(4, 10), random(3, 10, seed=1)
    np.testing.assert_allclose(models_proto.distances(a, b, 'euclidean'), squared_distances(a, b), rtol=1e-5)
    assert models_proto.distances(np.zeros((1, 10)), np.full((1, 10), 3.0), 'euclidean').numpy() == 9


def test_the_cosine_distance():
    a, b = random(4, 10), random(3, 10, seed=1)
    np.testing.assert_allclose(models_proto.distances(a, b, 'cosine'), cdist(a, b, 'cosine'), rtol=1e-4, atol=1e-6)
    assert models_proto.distances(a, -7 * a, 'cosine').numpy().diagonal() == pytest.approx(2)


@pytest.mark.parametrize('distance, expected', [('euclidean', [[0, 1]]), ('cosine', [[1, 1]])])
def test_zero_vectors_have_finite_distances_and_gradients(distance, expected):
    a, b = tf.Variable(np.zeros((1, 10), np.float32)), tf.Variable(np.float32([[0] * 10, [1] * 10]))
    with tf.GradientTape() as tape:
        found = models_proto.distances(a, b, distance)
        cost = tf.reduce_sum(found * [[2.0, 3.0]])
    np.testing.assert_allclose(found, expected)
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(cost, [a, b]))


@pytest.mark.parametrize('distance, compute', [('euclidean', squared_distances), ('cosine', lambda a, b: cdist(a, b, 'cosine'))])
@pytest.mark.parametrize('size', [0.1, 1, 100])
def test_log_probabilities_are_the_log_softmax_of_minus_the_distance(distance, compute, size):
    a, b = size * random(4, 10), size * random(3, 10, seed=1)
    found = models_proto.log_probabilities(a, b, distance).numpy()
    np.testing.assert_allclose(found, log_softmax(-compute(a, b), axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)


# ---- random members of groups ----------------------------------------------------------------------------------------

GROUPS = np.random.default_rng(3).permutation([0] * 20 + [1] * 3 + [4] * 7)  # no member of 2 and 3


@pytest.mark.parametrize('most, sizes', [(1, (1, 1, 1)), (3, (3, 3, 3)), (5, (5, 3, 5)), (50, (20, 3, 7)), ('all', (20, 3, 7))])
def test_at_most_so_many_of_each_group(most, sizes):
    drawn = at_most(most, GROUPS, np.random.default_rng(0))
    assert GROUPS[drawn].tolist() == [0] * sizes[0] + [1] * sizes[1] + [4] * sizes[2]  # group by group
    assert len(set(drawn.tolist())) == len(drawn)                                      # without replacement


def test_draws_follow_from_the_seed():
    draw = lambda rng: at_most(3, GROUPS, rng).tolist()
    rng = np.random.default_rng(8)
    first, second = draw(rng), draw(rng)
    assert first == draw(np.random.default_rng(8)) and first != second
    assert at_most(3, GROUPS.tolist(), np.random.default_rng(8)).tolist() == first  # a list will do
    assert at_most(3, [], rng).tolist() == []


def test_every_member_is_drawn_equally_often():
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([at_most(2, GROUPS, rng) for _ in range(600)]), minlength=len(GROUPS))
    for group, size in ((0, 20), (1, 3), (4, 7)):
        expected = 600 * 2 / size
        assert (abs(counts[GROUPS == group] - expected) < 5 * np.sqrt(expected)).all()


# ---- episodes --------------------------------------------------------------------------------------------------------

# of each class the number of patches of its clips; the 42 patches are mixed
CLIPS = [[1, 4, 4], [10, 1, 1, 1, 1, 1, 15], [3]]
ORDER = np.random.default_rng(4).permutation(sum(map(sum, CLIPS)))
CLIP = np.repeat(np.arange(11), np.concatenate(CLIPS))[ORDER]
LABELS = np.repeat([0, 1, 2], [sum(sizes) for sizes in CLIPS])[ORDER]


def episodes(clip=CLIP, labels=LABELS, prototype=5, query=5, seed=0):
    config = {'patches_per_prototype': prototype, 'max_patches_per_class': query}
    return Episodes(np.asarray(clip), np.asarray(labels), config, np.random.default_rng(seed))


@pytest.mark.parametrize('prototype, sizes', [(1, (1, 1, 1)), (2, (2, 2, 1)), (5, (3, 5, 1)), (99, (3, 7, 1)), ('all', (3, 7, 1))])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_support_set_has_one_patch_of_some_clips(prototype, sizes, seed):
    support = episodes(prototype=prototype, seed=seed).support
    assert LABELS[support].tolist() == [0] * sizes[0] + [1] * sizes[1] + [2] * sizes[2]
    assert len(set(CLIP[support].tolist())) == sum(sizes)


def test_the_support_set_stays_while_queries_change():
    drawn = episodes()
    before = drawn.support.copy()
    queries = [drawn.query().tolist() for _ in range(5)]
    np.testing.assert_array_equal(drawn.support, before)
    assert len({tuple(sorted(query)) for query in queries}) == 5


def test_the_support_set_is_random():
    drawn = np.concatenate([episodes(prototype=1, seed=seed).support for seed in range(300)])
    assert set(drawn.tolist()) == set(range(len(CLIP)))
    # of 300 draws for each class; a clip of many patches does not come oftener than one of few
    counts = np.bincount(CLIP[drawn], minlength=11)
    for first, last in ((0, 3), (3, 10), (10, 11)):
        expected = 300 / (last - first)
        assert (abs(counts[first:last] - expected) < 5 * np.sqrt(expected)).all(), counts


@pytest.mark.parametrize('query, sizes', [(1, (1, 1, 1)), (5, (5, 5, 3)), (12, (9, 12, 3)), (99, (9, 30, 3)), ('all', (9, 30, 3))])
def test_a_query_set_has_some_of_all_patches(query, sizes):
    drawn = episodes(query=query)
    sets = [drawn.query() for _ in range(100)]
    for found in sets:
        assert LABELS[found].tolist() == [0] * sizes[0] + [1] * sizes[1] + [2] * sizes[2]
        assert len(set(found.tolist())) == sum(sizes)
    # the support patches too
    assert set(np.concatenate(sets).tolist()) == set(range(len(CLIP)))
    assert drawn.updates == 42 // sum(sizes)


@pytest.mark.parametrize('query, updates', [(1, 9), (2, 4), (3, 3), (4, 2), (5, 2), (6, 1), (99, 1), ('all', 1)])
def test_updates_are_the_patches_over_the_query_set(query, updates):
    """14 and 4 patches: never 0 updates, and what is left over is left out."""
    assert episodes(np.arange(18), [0] * 14 + [1] * 4, query=query).updates == updates


@pytest.mark.parametrize('patches', [1, 2, 7])
@pytest.mark.parametrize('prototype, query', [(5, 5), (1, 1), ('all', 'all')])
def test_one_clip_per_class(patches, prototype, query):
    clip = np.repeat([0, 1, 2], patches)
    drawn = episodes(clip, clip, prototype, query)
    assert clip[drawn.support].tolist() == [0, 1, 2]
    size = patches if query == 'all' else min(query, patches)
    assert clip[drawn.query()].tolist() == np.repeat([0, 1, 2], size).tolist()
    assert drawn.updates == patches // size >= 1


def test_episodes_follow_from_the_seed():
    one, again, other = episodes(seed=4), episodes(seed=4), episodes(seed=5)
    assert one.support.tolist() == again.support.tolist() != other.support.tolist()
    for _ in range(3):
        query = one.query().tolist()
        assert query == again.query().tolist() != other.query().tolist()


# ---- one update ------------------------------------------------------------------------------------------------------

SUPPORT_LABELS, QUERY_LABELS = np.int64([0, 0, 1, 2, 2]), np.int64([0, 1, 2, 2, 1, 0, 1, 1])


@pytest.fixture(scope='module', params=[2, 12])
def network(request):
    """A network with random weights, everything that is 0 or 1 at first moved a little, and its state."""
    model = build(request.param)
    keras.utils.set_random_seed(1)
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(variable + 0.1 * random(*variable.shape, seed=number))
    return model, values(model)


def patches(scale=1.0, offset=0.0):
    """Support and query patches, positive as log-learn needs them."""
    return scale * np.abs(random(5, 32, 32)) + np.float32(offset), np.abs(random(8, 32, 32, seed=1))


def by_hand(model, distance, support, query):
    """Support and query through the network one after the other: cost, its gradients, prototypes and embeddings."""
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        embedded, embeddings = model(support, training=True), model(query, training=True)
        prototypes = tf.stack([tf.reduce_mean(tf.gather(embedded, np.flatnonzero(SUPPORT_LABELS == c)), 0) for c in range(3)])
        if distance == 'euclidean':
            distances = tf.reduce_mean((embeddings[:, None] - prototypes) ** 2, 2)
        else:
            norms = tf.norm(embeddings, axis=1)[:, None] * tf.norm(prototypes, axis=1)
            distances = 1 - tf.matmul(embeddings, prototypes, transpose_b=True) / norms
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(QUERY_LABELS, -distances))
    gradients = [gradient.numpy().astype(np.float64) for gradient in tape.gradient(cost, variables)]
    return float(cost), gradients, prototypes.numpy(), embeddings.numpy()


def update(model, distance, support, query, learning_rate=0.1):
    return apply_episode(model, distance, 3, support, SUPPORT_LABELS, query, QUERY_LABELS, learning_rate).numpy()


@pytest.mark.parametrize('distance, loudness, clipped', [('euclidean', 0.1, False), ('euclidean', 30, True), ('cosine', 1, False)])
def test_an_update_equals_a_plain_computation(network, distance, loudness, clipped):
    model, state = network
    restore(model, state)
    dense = model.trainable_variables[-2]
    dense.assign(loudness * dense)
    state, (support, query) = values(model), patches()
    log_learn = [float(value) for value in log_learn_values(model).values()]
    cost, gradients, prototypes, embeddings = by_hand(model, distance, support, query)
    moved = values(model)  # moving statistics and dropout; no parameter
    norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
    assert (norm > 5) == clipped
    expected = [v.numpy() - 0.1 * gradient * min(1, 5 / norm) for v, gradient in zip(model.trainable_variables, gradients)]

    restore(model, state)
    found = update(model, distance, support, query)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-3, atol=1e-5)
    trainable = {id(variable) for variable in model.trainable_variables}
    for variable, value in zip(model.variables, moved, strict=True):
        assert id(variable) in trainable or np.array_equal(variable.numpy(), value), variable.path

    compute = squared_distances if distance == 'euclidean' else (lambda a, b: cdist(a, b, 'cosine'))
    log_probabilities = log_softmax(-compute(embeddings, prototypes), axis=1)
    between = compute(prototypes, prototypes).mean()
    accuracy = (log_probabilities.argmax(axis=1) == QUERY_LABELS).mean()
    assert cost == pytest.approx(-log_probabilities[np.arange(8), QUERY_LABELS].mean(), rel=1e-4)
    np.testing.assert_allclose(found, [cost, between, accuracy, *log_learn], rtol=1e-4)  # all before the update


def test_several_updates_equal_a_plain_computation():
    """So does what a first update leaves behind for the next."""
    model = build()
    keras.utils.set_random_seed(1)
    state, (support, query), expected = values(model), patches(), []
    for _ in range(4):
        cost, gradients, *_ = by_hand(model, 'euclidean', support, query)
        factor = min(1, 5 / np.sqrt(sum(np.square(gradient).sum() for gradient in gradients)))
        for variable, gradient in zip(model.trainable_variables, gradients):
            variable.assign(variable - 0.01 * factor * gradient)
        expected.append(cost)
    restore(model, state)
    found = [update(model, 'euclidean', support, query, 0.01)[0] for _ in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert len(set(found)) == 4


def test_support_and_query_have_batch_statistics_of_their_own():
    """Normalisation undoes any gain and offset of the support patches, as long as no query patch is in the same batch."""
    model = build()
    for variable in model.trainable_variables[2:]:
        variable.assign(random(*variable.shape, seed=int(np.prod(variable.shape))))
    state = values(model)
    plain = update(model, 'euclidean', *patches())
    restore(model, state)
    louder = update(model, 'euclidean', *patches(scale=20, offset=50))
    np.testing.assert_allclose(louder, plain, rtol=0.02)


def test_both_move_the_moving_averages_the_query_after_the_support():
    model = build()
    layer = next(layer for layer in model.layers if isinstance(layer, FrameNormalization))
    mean, variance = np.zeros(32), np.ones(32)
    support, query = patches(scale=20, offset=50)
    update(model, 'euclidean', support, query)
    for batch in (support, query):
        frames = batch.transpose(1, 0, 2).reshape(32, -1).astype(np.float64)
        mean, variance = 0.99 * mean + 0.01 * frames.mean(axis=1), 0.99 * variance + 0.01 * frames.var(axis=1, ddof=1)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-5)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
def test_every_variable_has_a_gradient(network, distance):
    model, state = network
    restore(model, state)
    _, gradients, *_ = by_hand(model, distance, *patches())
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


def test_log_learn_values():
    assert log_learn_values(build(2)) == {}
    found = log_learn_values(build(12))
    assert list(found) == ['alpha', 'beta']
    np.testing.assert_allclose([float(found['alpha']), float(found['beta'])], [np.exp(7), np.log(1 + np.e)], rtol=1e-6)


def test_the_compiled_step_is_an_update_on_patches_cut_there():
    model, frames, rate = build(), tf.constant(random(90, 32)), tf.constant(0.1)
    starts, places = np.int64([0, 58, 7, 7, 20]), np.int64([3, 40, 41, 0, 58, 11, 12, 13])
    state, step = values(model), make_episode_step(model, 'euclidean', 3)
    found, after = step(frames, starts, SUPPORT_LABELS, places, QUERY_LABELS, rate), values(model)
    restore(model, state)
    expected = update(model, 'euclidean', cut_patches(frames, starts, 32), cut_patches(frames, places, 32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for value, other in zip(after, values(model), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-5)

    np.testing.assert_array_equal(frames, random(90, 32))
    for support, query, length in ((3, 2, 90), (2, 7, 90), (6, 6, 99), (1, 1, 32)):
        step(tf.constant(random(length, 32)), np.zeros(support, np.int64), np.arange(support) % 3,
             np.zeros(query, np.int64), np.arange(query) % 3, tf.constant(0.2))
    assert step.experimental_get_tracing_count() == 1


# ---- when it stops ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('max_accuracy, max_epochs, accuracies, failures', [
    (0, None, [0.5, 0.5], 1),                              # not better is a failure
    (0, None, [0.5, 0.4], 1),
    (0, None, [0.5, 0.6, 0.7, 1.0, 1.0], 1),
    (1, None, [0.5, 0.4, 0.4], 2),
    (1, None, [0.5, 0.4, 0.6, 0.7, 0.6], 2),               # not in a row
    (2, None, [0.5, 0.4, 0.6, 0.5, 0.55], 3),            # 0.55 is better than before, and not the best
    (2, None, [0.0, 0.0, 0.0, 0.0], 3),                    # the first one never fails
    (0, 1, [0.5], 0), (9, 3, [0.5, 0.5, 0.5], 2), (0, 3, [0.5, 0.5], 1), (1, 3, [0.5, 0.5, 0.5], 2),
])
def test_the_stop_rule(max_accuracy, max_epochs, accuracies, failures):
    rule = StopRule({'max_accuracy': max_accuracy, 'max_epochs': max_epochs})
    for accuracy in accuracies:
        assert not rule.reached
        rule.add(accuracy)
    assert rule.reached
    assert (rule.epoch, rule.best, rule.failures) == (len(accuracies), max(accuracies), failures)


def test_the_study_stops_at_the_201st_failure():
    rule = StopRule({'max_accuracy': 200, 'max_epochs': None})
    for epoch in range(1, 1000):
        rule.add(min(epoch, 500) / 500 if epoch % 2 else 0.0)  # every other epoch is the best so far
        if rule.reached:
            break
    assert (rule.epoch, rule.failures) == (402, 201)


# ---- the loop --------------------------------------------------------------------------------------------------------

STARTS = 100 + np.arange(len(CLIP), dtype=np.int64)  # of the patches of CLIP


def episodic_loop(step, frames, starts, labels, drawn, config, after_epoch):
    """Epochs of updates until the stop rule is reached; `after_epoch` (epoch, figures) returns the accuracy."""
    rule, learning_rate = StopRule(config), tf.constant(config['learning_rate'], tf.float32)
    support = tf.constant(starts[drawn.support]), tf.constant(labels[drawn.support])
    with tqdm(disable=True) as bar:
        while not rule.reached:
            figures = train_epoch(step, frames, support, starts, labels, drawn, learning_rate, bar)
            check_cost(figures, rule.epoch + 1, config)
            rule.add(after_epoch(rule.epoch + 1, figures))
    return rule


def loop(accuracies, step=None, max_accuracy=99, **options):
    """The episodic loop around train_epoch: `run` runs it; returns the rule, the episodes and what step and after_epoch were given."""
    steps, epochs, drawn, frames = [], [], episodes(), tf.constant(random(9, 6))
    config = {'max_accuracy': max_accuracy, 'max_epochs': len(accuracies), 'learning_rate': 0.25, **options}

    def note(*arguments):
        steps.append([np.asarray(argument) for argument in arguments])
        return tf.constant([len(steps), len(steps) / 2, 0.5]) if step is None else step(len(steps))

    def after_epoch(*arguments):
        epochs.append(arguments)
        return accuracies[len(epochs) - 1]

    return types.SimpleNamespace(steps=steps, epochs=epochs, drawn=drawn, frames=frames.numpy(),
                                 run=lambda: episodic_loop(note, frames, STARTS, LABELS, drawn, config, after_epoch))


def test_support_and_query_of_every_update():
    training = loop([0.1, 0.5, 0.4])
    rule = training.run()
    assert (rule.epoch, rule.best, rule.failures) == (3, 0.5, 1)
    assert training.drawn.updates == 3 and len(training.steps) == 9
    queries, expected = [], episodes()  # the same draws, since the seed is the same
    for frames, support, support_labels, query, labels, learning_rate in training.steps:
        np.testing.assert_array_equal(frames, training.frames)
        np.testing.assert_array_equal(support - 100, expected.support)
        np.testing.assert_array_equal(support_labels, LABELS[expected.support])
        np.testing.assert_array_equal(query - 100, expected.query())
        np.testing.assert_array_equal(labels, LABELS[query - 100])
        assert {array.dtype for array in (support, support_labels, query, labels)} == {np.dtype(np.int64)}
        assert learning_rate == np.float32(0.25)
        queries.append(tuple(query))
    assert len(set(queries)) == 9


def test_after_every_epoch_its_figures_are_told():
    training = loop([0.1, 0.5, 0.4])
    training.run()
    assert [epoch for epoch, *_ in training.epochs] == [1, 2, 3]
    for number, (_, found) in enumerate(training.epochs):
        updates = np.arange(3 * number + 1, 3 * number + 4)
        np.testing.assert_allclose(found, np.stack([updates, updates / 2, np.full(3, 0.5)], axis=1))


@pytest.mark.parametrize('max_accuracy, max_epochs, epochs', [(0, None, 3), (1, None, 5), (1, 4, 4), (9, 1, 1)])
def test_the_loop_ends_by_the_stop_rule(max_accuracy, max_epochs, epochs):
    training = loop([0.1, 0.5, 0.5, 0.6, 0.3, 0.9], max_accuracy=max_accuracy, max_epochs=max_epochs)
    assert training.run().epoch == epochs == len(training.epochs) and len(training.steps) == 3 * epochs


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_divergence_is_an_error(bad):
    """In the second of three updates, and the cost of the third is finite again."""
    training = loop([0.1] * 9, step=lambda number: tf.constant([bad if number == 5 else 1.0, 1.0, 0.5]))
    with pytest.raises(UserError, match=r'training diverged: the cost of epoch 2 is (nan|inf|-inf)\. '
                                        r'Choose a smaller learning_rate than 0\.25'):
        training.run()
    assert len(training.steps) == 6 and len(training.epochs) == 1


def test_training_learns():
    """Classes that differ by where the energy is; support and queries of clips of one patch."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(3), 6)
    frames = 0.5 * rng.normal(size=(18, 32, 32)).astype(np.float32)
    for number, label in enumerate(labels):
        frames[number, :, 10 * label:10 * label + 10] += 1
    model, seen = build(), []
    randomise(model, build, seed=0)
    drawn = episodes(np.arange(18), labels, query='all')
    config = {'max_accuracy': 99, 'max_epochs': 30, 'learning_rate': 0.1}
    episodic_loop(make_episode_step(model, 'euclidean', 3), tf.constant(frames.reshape(-1, 32)), 32 * np.arange(18), labels, drawn,
                  config, lambda epoch, figures: seen.append(figures[0]) or 0.0)
    costs, between, accuracies = np.transpose(seen)
    assert costs[:4].mean() > 0.8 and costs[-10:].mean() < 0.5
    assert accuracies[:4].mean() < 0.6 and accuracies[-10:].mean() > 0.75
    assert between[-10:].mean() > 2 * between[:4].mean()


# ---- patches at a hop ------------------------------------------------------------------------------------------------

def test_all_patches_at_a_hop():
    clips = types.SimpleNamespace(lengths=np.array([32, 43, 138, 116]), offsets=np.array([0, 32, 75, 213]))
    starts, clip = all_patches(clips, {'n_frames': 32}, 42)
    assert clip.tolist() == [0, 1, 2, 2, 2, 3, 3, 3]  # the last one ends with its clip
    assert starts.tolist() == [0, 32, 75, 75 + 42, 75 + 84, 213, 213 + 42, 213 + 84]
    assert starts.dtype == clip.dtype == np.int64


# ---- the picture of embeddings ---------------------------------------------------------------------------------------

def test_principal_components():
    vectors = random(40, 10) @ np.diag([9, 5, 1, 1, 1, 1, 1, 1, 1, 1]) + 3
    points, names = figures.project(vectors.astype(np.float64), {'projection': 'pca', 'seed': 0})
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ directions[:2].T), atol=1e-4)
    shares = 100 * sizes ** 2 / (sizes ** 2).sum()
    assert names == [f'first principal component ({shares[0]:.0f} % of the variance)',
                     f'second principal component ({shares[1]:.0f} % of the variance)']


@pytest.mark.parametrize('projection', ['pca', 'tsne'])
@pytest.mark.parametrize('patches, classes', [(1, 2), (12, 3)])
def test_embeddings_are_drawn(tmp_path, projection, patches, classes):
    """From the fewest that there can be: one patch, two prototypes."""
    names = [f'$c_{i}' for i in range(classes)]
    arguments = random(patches, 10), np.arange(patches) % classes, random(classes, 10, seed=1), names
    pictures = []
    for number in range(2):
        with threadpool_limits(1):  # threads that wait for each other on a busy machine need most of a minute
            figures.embeddings(*arguments, {'projection': projection, 'seed': 3}, 'a title', tmp_path / f'{number}.png')
        pictures.append((tmp_path / f'{number}.png').read_bytes())
    assert pictures[0].startswith(b'\x89PNG') and pictures[0] == pictures[1]
    picture = plt.imread(tmp_path / '0.png')
    assert picture.shape[0] in range(400, 1200) and picture.shape[1] in range(500, 1600)
    for label in range(classes):  # every class has its colour in the picture
        colour = plt.matplotlib.colors.to_rgb(figures.style(label)['color'])
        assert (np.abs(picture[..., :3] - colour).max(axis=2) < 0.02).sum() > 50
    assert not plt.get_fignums()


def test_embeddings_that_are_all_the_same(tmp_path):
    """As of silent clips. In a process of its own, because t-SNE may take the whole process with it; and no warnings."""
    code = """if True:
        import figures, numpy as np
        for projection in ('pca', 'tsne'):
            figures.embeddings(np.ones((20, 10), np.float32), np.arange(20) % 2, np.ones((2, 10), np.float32), ['a', 'b'],
                               {'projection': projection, 'seed': 0}, 'title', projection + '.png')"""
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, timeout=120, capture_output=True, text=True,
                          env=environment(tmp_path, PYTHONPATH=str(ROOT / 'src'), OMP_NUM_THREADS='1'))
    assert (done.returncode, done.stderr) == (0, '')
    assert all((tmp_path / f'{projection}.png').read_bytes().startswith(b'\x89PNG') for projection in ('pca', 'tsne'))
