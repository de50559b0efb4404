"""VGGish: network, checkpoint and training step against plain computations; what an experiment with it begins with and keeps."""
import dataclasses
import gc
import hashlib
import os
import re
import resource
import shutil
import sys
import types
import weakref

import numpy as np
import pytest

import models_proto
import models_sl
import models_transfer
import network
import pretrained
import training
import vggish_smoke_test
from backend import keras, set_up_device, tf
from commands import ROOT, refused, succeeded, temporary_files, warm
from configuration import configure
from conftest import make_representation, plain_vggish, vggish_values, write_checkpoint
from methods import METHODS
from network import Network, save_weights, weights_size
from shared import UserError
from vggish_slim import VARIABLES, VGGish, define_vggish_slim, read_checkpoint

# Keras's own, when it stores weights under NumPy 2
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

SHAPES = {'conv1': (3, 3, 1, 64), 'conv2': (3, 3, 64, 128), 'conv3/conv3_1': (3, 3, 128, 256), 'conv3/conv3_2': (3, 3, 256, 256),
          'conv4/conv4_1': (3, 3, 256, 512), 'conv4/conv4_2': (3, 3, 512, 512), 'fc1/fc1_1': (12288, 4096),
          'fc1/fc1_2': (4096, 4096), 'fc2': (4096, 128)}


@pytest.fixture(scope='module', autouse=True)
def device():
    set_up_device()


@pytest.fixture(scope='module')
def values():
    """The content of the checkpoint."""
    return vggish_values()


@pytest.fixture(scope='module')
def classifier(vggish_checkpoint):
    """A network for three classes that starts from the checkpoint."""
    config = {'network': 'vggish', 'checkpoint': str(vggish_checkpoint), 'num_classes_dataset': 3, 'seed': 1}
    return Network(models_transfer.CLASSIFIER, config, 64)


@pytest.fixture
def begun(classifier):
    """The same as its run 0 begins."""
    gc.collect()  # what earlier tests left behind is large
    classifier.start_run(0)
    return classifier


def examples(number, seed=0):
    """Examples (number, 96, 64) with the mean and spread of log-mel values."""
    return np.random.default_rng(seed).normal(-2, 1.5, (number, 96, 64)).astype(np.float32)


def some(variable):
    """About 100000 values of a variable or tensor, from all over it, or all of a smaller one: (n,) float64."""
    return variable.numpy().ravel()[::max(1, int(np.prod(variable.shape)) // 100_003)].astype(np.float64)


# ---- the network -----------------------------------------------------------------------------------------------------

def test_the_variables_are_those_of_the_published_checkpoint():
    expected = {f'vggish/{name}/weights': shape for name, shape in SHAPES.items()}
    expected.update((f'vggish/{name}/biases', shape[-1:]) for name, shape in SHAPES.items())
    assert VARIABLES == expected and len(VARIABLES) == 18
    assert sum(np.prod(shape) for shape in VARIABLES.values()) == 72141184


@pytest.mark.filterwarnings('ignore:.*is deprecated:UserWarning')  # so TensorFlow calls what tf-slim calls
def test_the_network_in_a_graph_of_tensorflow_1(vggish_checkpoint, values):
    """As its authors use it: tf-slim makes the variables, a Saver restores them. A second call takes the same ones."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(0)
        place = tf.compat.v1.placeholder(tf.float32, (None, 96, 64))
        outputs = define_vggish_slim(place), define_vggish_slim(place[::-1], last_activation=None)
        variables = tf.compat.v1.global_variables()
        assert {variable.op.name: tuple(variable.shape) for variable in variables} == VARIABLES and len(variables) == 18
        assert len(tf.compat.v1.trainable_variables()) == 18
        tf.compat.v1.train.Saver(variables).restore(session, str(vggish_checkpoint))
        embeddings, reverse = session.run(outputs, {place: examples(3)})
    plain = plain_vggish(values, examples(3)).numpy()
    assert plain.shape == (3, 128) and (plain > 0.05).mean() > 0.2 and (plain < -0.05).mean() > 0.2
    np.testing.assert_allclose(embeddings, np.maximum(plain, 0), atol=1e-4)
    np.testing.assert_allclose(reverse, plain[::-1], atol=1e-4)


def test_the_layer_is_a_plain_computation_and_serves_several_calls(begun, values):
    layer, one, other = begun.model.get_layer('vggish'), examples(3), examples(2, seed=1)
    assert list(layer.by_name) == list(VARIABLES) and len(layer.variables) == len(layer.trainable_variables) == 18

    @tf.function
    def twice(one, other):
        return layer(one), layer(other)

    for found, given in zip(twice(one, other), (one, other)):
        np.testing.assert_allclose(found, np.maximum(plain_vggish(values, given), 0), atol=1e-4)
    assert len(layer.variables) == 18


def test_networks_in_one_process_have_weights_of_their_own(begun, values):
    """Also after the first one was used, and one that nobody uses any more leaves memory."""
    begun.model(examples(2))
    other = VGGish({name: value * np.float32(0.9) for name, value in values.items()}, last_activation=None)
    found = other(examples(2))
    own = {name: variable.value for name, variable in other.by_name.items()}
    np.testing.assert_allclose(found, plain_vggish(own, examples(2)), atol=1e-4)
    alive = weakref.ref(other.by_name['vggish/fc1/fc1_1/weights'])
    del other, own
    gc.collect()
    assert alive() is None


# ---- the checkpoint --------------------------------------------------------------------------------------------------

def test_a_checkpoint_of_either_version_is_read_whole(vggish_checkpoint, values, tmp_path):
    """Whatever else is in it."""
    def check(path):
        found = read_checkpoint(path)
        assert list(found) == list(VARIABLES)
        for name, value in found.items():
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, values[name])

    check(vggish_checkpoint)
    assert pretrained.files_of(vggish_checkpoint) == [vggish_checkpoint]
    path = write_checkpoint(tmp_path / 'two', {'something': np.ones(3), **values}, version=2)
    check(path)
    data, index = sorted(tmp_path.iterdir())
    assert pretrained.path_of({'network': 'vggish', 'checkpoint': str(path)}) == path and pretrained.files_of(path) == [index, data]
    digest = pretrained.digest(path)
    os.truncate(data, 10 ** 8)  # the index still knows all names
    with pytest.raises(UserError, match='cannot be read as a checkpoint'):
        read_checkpoint(path)
    assert pretrained.digest(path) != digest
    data.unlink()
    with pytest.raises(UserError, match='cannot be read as a checkpoint'):
        read_checkpoint(path)


FIRST = {name: np.zeros(shape, np.float32) for name, shape in list(VARIABLES.items())[:4]}


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('change, message', [
    ({'vggish/conv1/weights': None}, 'vggish/conv1/weights is missing'),
    ({'vggish/conv2/biases': None}, 'vggish/conv2/biases is missing'),
    ({}, 'vggish/conv3/conv3_1/weights is missing'),
    ({'vggish/conv1/weights': np.zeros((3, 3, 64, 1))}, r'vggish/conv1/weights has shape (3, 3, 64, 1), not (3, 3, 1, 64)'),
    ({'vggish/conv1/biases': np.zeros((1, 64))}, r'vggish/conv1/biases has shape (1, 64), not (64,)'),
    ({'vggish/conv2/biases': np.float32(0)}, r'vggish/conv2/biases has shape (), not (128,)'),
])
def test_a_checkpoint_of_another_network(tmp_path, version, change, message):
    path = write_checkpoint(tmp_path / 'a.ckpt', {name: v for name, v in {**FIRST, **change, 'x': 1.0}.items() if v is not None},
                            version)
    with pytest.raises(UserError, match=re.escape(f'{path} is no checkpoint of VGGish: {message}. {VGGISH.remedy}')):
        read_checkpoint(path)


def test_a_damaged_checkpoint(vggish_checkpoint, tmp_path):
    def refuse():
        with pytest.raises(UserError, match='cannot be read as a checkpoint .*') as error:
            read_checkpoint(path)
        assert str(path) in str(error.value) and VGGISH.remedy in str(error.value) and '\n' not in str(error.value)

    path = shutil.copyfile(vggish_checkpoint, tmp_path / 'copy')
    size = path.stat().st_size
    with open(path, 'r+b') as file:  # a bit in the middle of the largest variable
        file.seek(size // 2)
        byte = file.read(1)
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 1]))
    refuse()
    with open(path, 'r+b') as file:
        file.seek(size // 2)
        file.write(byte)
    read_checkpoint(path)
    for left in (size - 1, size // 2, 100, 0):
        os.truncate(path, left)
        refuse()
    path.write_text('<html><body>Not found</body></html>\n' * 1000)
    refuse()


def test_digest(vggish_checkpoint, tmp_path):
    assert pretrained.digest(vggish_checkpoint) == hashlib.sha256(vggish_checkpoint.read_bytes()).hexdigest()
    config = pretrained.complete({'network': 'vggish', 'checkpoint': str(vggish_checkpoint), 'n_shot': 3})
    assert config == {'network': 'vggish', 'checkpoint': str(vggish_checkpoint), 'n_shot': 3, 'n_frames': 96, 'grid': 96, 'pre_processing': None,
                      'normalize': None, 'pad_short': 'repeat-pad', 'weights_sha256': pretrained.digest(vggish_checkpoint)}
    assert pretrained.complete({'network': 'vggish', 'checkpoint': None})['weights_sha256'] is None
    for name, content in (('a.index', b'1'), ('a.data-00000-of-00001', b'2'), ('ab.index', b'3')):
        (tmp_path / name).write_bytes(content)
    assert pretrained.digest(tmp_path / 'a') == hashlib.sha256(b'12').hexdigest()


VGGISH = pretrained.NETWORKS['vggish']
HELP = (VGGISH.address, str(VGGISH.size), VGGISH.sha256, 'python ../aux/download.py vggish')


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A data folder with 2 training clips and 1 test clip in each of 3 classes, an example each."""
    folder = tmp_path_factory.mktemp('toy')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DATA_FOLDER', str(folder))
        make_representation(folder, dict(zip('012345678', examples(9)[:, None])), {str(i): i % 3 for i in range(6)},
                            {str(i): i % 3 for i in range(6, 9)}, kind='audioset')
    return folder


SCRIPTS = {'transfer_train.py': ['audioset'], 'transfer_proto.py': ['audioset'], 'knn_audioset.py': [], 'vggish_smoke_test.py': []}


@pytest.mark.parametrize('script, arguments', SCRIPTS.items())
def test_a_missing_checkpoint_is_named_before_tensorflow_starts(toy, script, arguments):
    data = ['dataset=toy', 'n_shot=1'] * (script != 'vggish_smoke_test.py')
    done = warm(script, *arguments, *data, 'checkpoint=nothing.ckpt', data_folder=toy, without_tensorflow=True)
    refused(done, ROOT / 'src/nothing.ckpt', 'does not exist', *HELP)
    assert not (toy / 'experiments').exists()


def test_tensorflow_starts_only_after_the_checks(toy, vggish_checkpoint):
    command = ['transfer_train.py', 'audioset', 'dataset=toy', f'checkpoint={vggish_checkpoint}']
    refused(warm(*command, 'n_shot=9', data_folder=toy, without_tensorflow=True), 'n_shot=9', 'bird (2)')
    done = warm(*command, 'n_shot=1', data_folder=toy, without_tensorflow=True)
    assert done.returncode == 1 and re.search('(keras|tensorflow) was imported', done.stderr)


def test_what_is_no_checkpoint(toy, tmp_path):
    (tmp_path / 'a.index').write_bytes(b'')  # as of version 2, but empty
    (tmp_path / 'b.data-00000-of-00001').write_bytes(b'')  # without the index
    (tmp_path / 'text').write_text('nothing')
    train = ('transfer_train.py', 'audioset', 'dataset=toy', 'n_shot=1')
    for name, reason in (('.', 'does not exist'), ('b', 'does not exist'), ('a', 'cannot be read as a checkpoint'),
                         ('text', 'cannot be read as a checkpoint')):
        refused(warm(*train, f'checkpoint={tmp_path / name}', data_folder=toy), tmp_path / name, reason, *HELP)
    assert not (toy / 'experiments').exists()


# ---- what an experiment begins with ----------------------------------------------------------------------------------

def is_the_checkpoint(model, values):
    return all(np.array_equal(variable, values[name]) for name, variable in model.get_layer('vggish').by_name.items())


def test_every_run_begins_with_the_checkpoint_and_a_head_of_its_own(classifier, values):
    heads = []
    for variable in classifier.model.trainable_variables:  # as if another run had trained them
        variable.assign_add(tf.ones_like(variable.value))
    for run in (0, 1, 0):
        classifier.start_run(run)
        assert is_the_checkpoint(classifier.model, values)
        kernel, bias = (variable.numpy() for variable in classifier.model.get_layer('logits').variables)
        assert kernel.shape == (128, 3) and 0.1 < np.abs(kernel).max() < 0.22 and not bias.any()  # Glorot's limit: 0.214
        heads.append(kernel)
    assert np.array_equal(heads[0], heads[2]) and not np.array_equal(heads[0], heads[1])
    assert len(classifier.model.trainable_variables) == 20 and classifier.model.output_shape == (None, 3)
    assert network.count_parameters(classifier.model) == 72141184 + 128 * 3 + 3


def test_a_new_model_has_the_checkpoint_or_random_weights(vggish_checkpoint, values):
    """Random as in the original training: normal with deviation 0.01, nothing beyond two deviations; biases zero."""
    config = {'network': 'vggish', 'checkpoint': str(vggish_checkpoint), 'num_classes_dataset': 3, 'seed': 1}
    model = models_transfer.EMBEDDING.build(config, 64)
    assert model.input_shape == (None, 96, 64) and model.output_shape == (None, models_proto.EMBEDDING_SIZE) == (None, 10)
    assert is_the_checkpoint(model, values)
    del model
    gc.collect()
    model = models_transfer.CLASSIFIER.build({**config, 'checkpoint': None}, 64)
    for name, variable in model.get_layer('vggish').by_name.items():
        value = some(variable)
        if name.endswith('biases'):
            assert not value.any()
        else:
            assert 0.015 < np.abs(value).max() <= 0.02 and abs(value.mean()) < 0.002
            assert value.std() == pytest.approx(0.0088, rel=0.1)  # of what is left of the normal distribution


@pytest.mark.parametrize('kind, group, entry, message', [
    ('time-freq', 'config_transfer', 'audioset', 'the input of VGGish: .*preprocess.py audioset dataset=toy'),
    ('time-freq', 'config_knn_audioset', 'audioset', 'the input of VGGish: .*preprocess.py audioset dataset=toy'),
    ('audioset', 'config_sl', 'spec', 'spectrograms: .*preprocess.py spec dataset=toy'),
    ('audioset', 'config_proto', 'spec', 'spectrograms: .*preprocess.py spec dataset=toy')])
def test_the_other_kind_of_representation(data_folder, kind, group, entry, message):
    arrays = {str(i): np.zeros((96, 64)) if kind == 'time-freq' else np.zeros((1, 96, 64)) for i in range(6)}
    make_representation(data_folder, arrays, {str(i): i for i in range(3)}, {str(i): i - 3 for i in range(3, 6)}, kind=kind)
    config = configure(group, entry, ['dataset=toy', 'n_shot=1', f'audio_representation_folder=audio_representation/toy__{kind}'])
    with pytest.raises(UserError, match=f'does not hold {message}'):
        METHODS[group].load_split(config)


# ---- learning rates --------------------------------------------------------------------------------------------------

NAMES = [*VARIABLES, 'kernel', 'bias']  # of a network's variables, in order


def plain_gradients(model, inputs, labels):
    """Softmax cross-entropy, some() of the gradients of all trainable variables (list), and the global norm of all of them."""
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        *vggish, kernel, bias = variables
        logits = tf.nn.relu(plain_vggish(dict(zip(VARIABLES, vggish)), inputs)) @ kernel + bias
        cost = -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, logits.shape[1]) * tf.nn.log_softmax(logits), axis=1))
    gradients = tape.gradient(cost, variables)
    norm = np.sqrt(sum(np.linalg.norm(gradient.numpy().ravel()) ** 2 for gradient in gradients))
    return float(cost), [some(gradient) for gradient in gradients], norm


def step(model, optimizer, inputs, labels, learning_rate, weight_decay=None):
    """One step of training on the examples: its cost, and of each variable some values before it and what they lost."""
    before = [some(variable) for variable in model.trainable_variables]
    update = training.make_train_step(model, weight_decay, optimizer)
    cost = update(inputs.reshape(-1, 64), 96 * np.arange(len(inputs)), np.int64(labels), tf.constant(learning_rate, tf.float32))
    return float(cost), before, [old - some(variable) for old, variable in zip(before, model.trainable_variables)]


@pytest.mark.parametrize('optimizer, learning_rate', [('many_lr_audioset', 0.5), ('SGD_clip', 500)])
def test_a_step_with_huge_gradients_by_hand(begun, optimizer, learning_rate):
    """many_lr_audioset: plain descent with two rates. SGD_clip: one rate, and all gradients together shrunk to norm 5."""
    model, inputs, labels = begun.model, examples(3), [0, 1, 1]
    kernel = model.trainable_variables[-2]
    kernel.assign(1000 * kernel.value)
    wanted_cost, gradients, norm = plain_gradients(model, inputs, labels)
    assert norm > 500
    cost, before, lost = step(model, optimizer, inputs, labels, learning_rate)
    assert cost == pytest.approx(wanted_cost, rel=1e-4)
    rates = [5 / norm] * 20 if optimizer == 'SGD_clip' else [0.0001] * 18 + [1] * 2
    for name, old, found, rate, gradient in zip(NAMES, before, lost, rates, gradients, strict=True):
        wanted, rounding = learning_rate * rate * gradient, np.spacing(np.float32(np.abs(old)))
        assert np.abs(wanted).max() > 100 * np.median(rounding), f'the step of {name} cannot be seen'
        # float32: weights are rounded after the step, and gradients are sums in another order
        assert (np.abs(found - wanted) <= rounding + 3e-4 * np.abs(wanted).max()).all(), name


def test_natural_steps_move_every_variable_and_decay_concerns_the_head_alone(begun):
    model, inputs, labels = begun.model, examples(3), [0, 1, 1]
    wanted_cost, gradients, _ = plain_gradients(model, inputs, labels)
    kernel = some(model.trainable_variables[-2])
    cost, _, lost = step(model, 'many_lr_audioset', inputs, labels, 0.1, weight_decay=0.01)
    assert cost == pytest.approx(wanted_cost + 0.01 * np.square(kernel).sum() / 2, rel=1e-5)
    for name, found in zip(NAMES, lost, strict=True):
        assert found.any(), f'{name} did not move'
    np.testing.assert_allclose(lost[-2], 0.1 * (gradients[-2] + 0.01 * kernel), atol=1e-6)
    np.testing.assert_allclose(lost[-1], 0.1 * gradients[-1], atol=1e-6)


def small(**layers):
    """Examples (4, 6) -> dense layers of the given names and sizes."""
    inputs = keras.Input((4, 6))
    x = keras.layers.Flatten()(inputs)
    for name, size in layers.items():
        x = keras.layers.Dense(size, kernel_initializer=keras.initializers.GlorotUniform(seed=size), name=name)(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize('learning_rate', [0.1, 10.0])
def test_episodes_descend_with_the_same_two_rates(learning_rate):
    model, frames = small(vggish=5, logits=2), 30 * np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    support, query, labels = np.int64([0, 8, 16]), np.int64([4, 20, 30, 35]), np.int64([0, 1, 1, 0])
    variables = [variable.value for variable in model.trainable_variables]
    cut = lambda starts: np.stack([frames[s:s + 4].ravel() for s in starts])
    with tf.GradientTape() as tape:
        embed = lambda x: (x @ variables[0] + variables[1]) @ variables[2] + variables[3]
        points, asked = embed(cut(support)), embed(cut(query))
        prototypes = tf.stack([points[0], (points[1] + points[2]) / 2])
        scores = tf.nn.log_softmax(-tf.reduce_mean((asked[:, None] - prototypes) ** 2, axis=2))
        cost = -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, 2) * scores, axis=1))
    gradients, before = tape.gradient(cost, variables), [variable.numpy() for variable in model.trainable_variables]
    assert float(tf.linalg.global_norm(gradients)) > 50
    figures = training.make_episode_step(model, 'euclidean', 2, 'many_lr_audioset')(
        frames, support, np.int64([0, 1, 1]), query, labels, tf.constant(learning_rate))
    assert float(figures[0]) == pytest.approx(float(cost), rel=1e-4)
    for variable, old, gradient, factor in zip(model.trainable_variables, before, gradients, (1e-4, 1e-4, 1, 1), strict=True):
        np.testing.assert_allclose(old - variable.numpy(), learning_rate * factor * gradient.numpy(), rtol=1e-3, atol=1e-6)


# ---- weights on disk -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('models, config', [(models_sl, {'model_number': 2}), (models_sl, {'model_number': 0}),
                                            (models_sl, {'model_number': 13}), (models_proto, {'model_number': 2, 'filters': 4})])
def test_the_announced_size_is_enough(models, config, tmp_path):
    model = models.build({'n_frames': 128, 'num_classes_dataset': 3, 'pre_processing': None, 'normalize': None, **config}, 128)
    save_weights(model, tmp_path / 'model.weights.h5')
    size = (tmp_path / 'model.weights.h5').stat().st_size
    assert size <= weights_size(model) <= size + 300_000


def test_the_weights_of_vggish_take_what_was_announced_and_are_whole_or_not_there(begun, tmp_path):
    """The limit for the size of files stands for a disk that is full."""
    path = tmp_path / 'model/model.weights.h5'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (weights_size(begun.model) - 1, 10_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(OSError, match='File too large'):
                save_weights(begun.model, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(path.parent.iterdir()) == []
    save_weights(begun.model, path)
    assert 4 * 72141571 < path.stat().st_size <= weights_size(begun.model) < 289e6
    assert temporary_files(tmp_path) == []
    path.unlink()


def test_disk_space_is_announced_and_asked_for(classifier, data_folder, monkeypatch, capsys):
    def announce(runs, free, keep=True):
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=int(free)))
        monkeypatch.setattr(classifier, 'save_weights', keep)
        classifier.announce_disk(runs)
        return capsys.readouterr().out

    capsys.readouterr()
    assert announce(5, 4e9) == 'disk: the weights of 5 run(s) will take 1.4 GB, 4.0 GB are free\n'
    with pytest.raises(UserError, match=re.escape(f'the weights of 5 run(s) need 1.44 GB, {data_folder} has 1.43 GB free: '
                                                  f'make room, '
                                                  f'choose another DATA_FOLDER, or set save_weights=False')):
        announce(5, 1.43e9)
    capsys.readouterr()
    assert announce(0, 1000) == announce(5, 1000, keep=False) == ''
    little = types.SimpleNamespace(model=small(logits=3), save_weights=True)
    announce(0, 4e9)
    Network.announce_disk(little, 5)
    assert capsys.readouterr().out == ''


# ---- vggish_smoke_test.py --------------------------------------------------------------------------------------------

FIGURES = r'before the last ReLU, (.*): (\S+), expected (\S+)'


def test_the_smoke_test_refuses_other_weights_and_takes_those_with_the_published_figures(vggish_checkpoint, values, monkeypatch,
                                                                                         capsys, tmp_path):
    done = warm('vggish_smoke_test.py', f'checkpoint={vggish_checkpoint}', data_folder=tmp_path)
    assert f'{vggish_checkpoint}: sha256 {pretrained.digest(vggish_checkpoint)}\n' in done.stdout
    assert 'input: shape (3, 96, 64), expected (3, 96, 64)\n' in done.stdout
    figures = {name: (float(found), float(published)) for name, found, published in re.findall(FIGURES, done.stdout)}
    assert {name: published for name, (_, published) in figures.items()} == {'mean': 0.000657, 'standard deviation': 0.343}
    wrong = [f'the {name} of the embeddings is {found:.6f}, not {right:.6f}' for name, (found, right) in figures.items()]
    refused(done, *wrong, 'These are other weights', *HELP)

    import vggish_input
    sine = np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000)
    plain = plain_vggish(values, vggish_input.waveform_to_examples(sine, 16000, rounded=False)).numpy()
    np.testing.assert_allclose([found for found, _ in figures.values()], [plain.mean(), plain.std()], atol=2e-6)

    monkeypatch.setattr(sys, 'argv', ['vggish_smoke_test.py', f'checkpoint={vggish_checkpoint}'])
    for mean, deviation, wrong in ((1.09, 0.92, None), (1, 0.89, 'standard deviation')):
        vggish = pretrained.NETWORKS['vggish']
        sine = dataclasses.replace(vggish.sine, mean=plain.mean() / mean, standard_deviation=plain.std() / deviation)
        monkeypatch.setitem(pretrained.NETWORKS, 'vggish', dataclasses.replace(vggish, sine=sine))
        if wrong:
            with pytest.raises(UserError, match=f'^the {wrong} of the embeddings is ') as error:
                vggish_smoke_test.main()
            assert 'the mean' not in str(error.value)
        else:
            vggish_smoke_test.main()
            assert capsys.readouterr().out.endswith('VGGish computes what it should\n')


def test_the_smoke_test_needs_a_path(tmp_path):
    done = warm('vggish_smoke_test.py', 'checkpoint=None', data_folder=tmp_path, without_tensorflow=True)
    refused(done, 'checkpoint=None')


@pytest.mark.real_checkpoint
@pytest.mark.skipif(not (ROOT / 'src/vggish_model.ckpt').exists(),
                    reason='src/vggish_model.ckpt is not there: python aux/download.py vggish')
def test_the_published_checkpoint(tmp_path):
    text = succeeded(warm('vggish_smoke_test.py', data_folder=tmp_path))
    assert ', as published\n' in text and text.endswith('VGGish computes what it should\n')


# ---- help ------------------------------------------------------------------------------------------------------------

GROUPS = {'transfer_train.py': 'config_transfer', 'transfer_proto.py': 'config_transfer_proto',
          'knn_audioset.py': 'config_knn_audioset', 'transfer_evaluate.py': None, 'vggish_smoke_test.py': None}


@pytest.mark.parametrize('script, group', GROUPS.items())
def test_help_tells_usage_and_keys(tmp_path, script, group):
    text = succeeded(warm(script, '--help', data_folder=tmp_path))
    assert text.startswith('usage:') and re.search(fr'Usage:\s+.*python {re.escape(script)}', text), text
    import config_file
    for key, value in getattr(config_file, group)['audioset'].items() if group else ():
        assert f'{key}={value!r}' in text
    if script == 'transfer_evaluate.py':
        assert re.search(r'gt_test,\s+skip_missing,\s+test_batch_size,\s+test_hop', text)
    if group:
        assert METHODS[group].script + '.py' == script
    assert list(tmp_path.iterdir()) == []
