"""Frozen embeddings: frozen.py, knn_audioset.py and the others with mn04 and YAMNet, and the classifiers by another way."""
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import analysis
import classifier
import commands
import embeddings
import mobilenet
import page
import pretrained
import shallow
import yamnet
from commands import ROOT, experiments, models, refused, rows, succeeded, warm
from config_file import config_frozen, config_knn_audioset, config_methods, config_transfer, config_transfer_proto
from results import results_so_far
from shared import UserError
from test_torch_file import write_tensors
from test_yamnet import write_weights

# ---- classifiers -----------------------------------------------------------------------------------------------------

@pytest.fixture
def vectors():
    """Vectors (N, 5), their clips (N,), and labels of 9 clips of 3 classes; the same for 4 test clips."""
    random = np.random.default_rng(0)
    counts = random.integers(1, 4, 13)
    clip = np.repeat(np.arange(13), counts)
    labels = np.arange(13) % 3
    values = random.normal(size=(len(clip), 5)) + 2 * np.eye(5)[labels][clip]
    return (values[clip < 9], clip[clip < 9], labels[:9]), (values[clip >= 9], clip[clip >= 9] - 9)


def fitted(classifier, vectors, clip, labels, config):
    head = shallow.CLASSIFIERS[classifier]
    return head.scorer(head.fit(vectors, clip, labels, config), config)


def test_class_mean_by_hand(vectors):
    train, (values, clip) = vectors
    scores = fitted('class_mean', *train, {})(values, clip)
    unit = lambda v: v / np.linalg.norm(v)
    clips = [unit(train[0][train[1] == i].mean(axis=0)) for i in range(9)]
    prototypes = [unit(np.mean([clips[i] for i in range(9) if train[2][i] == c], axis=0)) for c in range(3)]
    for i in range(4):
        np.testing.assert_allclose(scores[i], [unit(values[clip == i].mean(axis=0)) @ p for p in prototypes], atol=1e-12)


@pytest.mark.parametrize('C', [1.0, 0.01])
def test_logistic_regression_by_hand(vectors, C):
    """The minimum of C x cross-entropy + half the squared norm of the weights, found by another optimiser."""
    (x, owner, labels), (values, clip) = vectors
    y = labels[owner]

    def cost(flat):
        w = flat.reshape(6, 3)
        return -C * log_softmax(x @ w[:5] + w[5], axis=1)[np.arange(len(y)), y].sum() + 0.5 * np.square(w[:5]).sum()

    w = minimize(cost, np.zeros(18), tol=1e-10).x.reshape(6, 3)
    expected = softmax(values @ w[:5] + w[5], axis=1)
    scores = fitted('logistic_regression', x, owner, labels, {'C': C})(values, clip)
    for i in range(4):
        np.testing.assert_allclose(scores[i], expected[clip == i].mean(axis=0), atol=2e-3)


# ---- the registry ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', pretrained.NETWORKS)
def test_every_entry_is_complete(name):
    network = pretrained.NETWORKS[name]
    assert network.address.startswith('https://') and network.licence in ('Apache-2.0', 'MIT') and 'YouTube' in network.trained_on
    assert network.type in pretrained.FRONT_ENDS and f'download.py {name}' in network.remedy
    entry = 'audioset' if name == 'vggish' else name
    for group in (config_frozen, config_knn_audioset, config_transfer, config_transfer_proto):
        assert group[entry]['network'] == name and network.type in group[entry]['audio_representation_folder']
    if name != 'vggish':  # 288 MB of random weights: tested in test_vggish.py
        for output, size in network.outputs.items():
            config = {'network': name, 'checkpoint': None, 'embedding_layer': output}
            layer = pretrained.make_layer(config, seed=0)
            samples = np.random.default_rng(0).normal(0, 0.1, 3 * network.front_end.sample_rate)
            windows = network.front_end.windows(network.front_end.from_samples(samples))
            assert windows.shape[2] == network.shape[1] and windows.shape[1] == (network.shape[0] or windows.shape[1])
            assert layer(windows).shape == (len(windows), size)


@pytest.mark.parametrize('name', ['mn04', 'yamnet'])
def test_an_embedding_is_the_same_bits_in_every_batch(name):
    random, compiled = np.random.default_rng(1), embeddings.compiled(pretrained_network(name))
    shape = (96, 128) if name == 'mn04' else (1, 96, 64)  # as stored
    arrays = {key: random.normal(size=shape).astype(np.float32) for key in 'abcdefg'}
    stand_in = SimpleNamespace(open=lambda key, flat: arrays[key])
    embed = lambda keys, size: dict(embeddings.embed_clips(compiled, keys, stand_in, {'network': name, 'test_batch_size': size}))
    together = embed(list(arrays), 7)
    assert len({values.tobytes() for values in together.values()}) == 7
    for keys, size in ((list(arrays), 3), (['e', 'c'], 2), *((list(key), 7) for key in arrays)):  # also batches of one window
        for key, values in embed(keys, size).items():
            np.testing.assert_array_equal(values, together[key])


def pretrained_network(name):
    """A network with random weights, which is used as embeddings.embedder uses it."""
    model = embeddings.network({'network': name, 'checkpoint': None, 'embedding_layer': 'embedding', 'pretrained_factor': 1.0})
    mobilenet.fold_normalisation(model)
    return model


def test_embedding_layers_that_a_network_does_not_have():
    with pytest.raises(UserError, match="embedding_layer='hidden': YAMNet has embedding"):
        pretrained.complete({'network': 'yamnet', 'checkpoint': None, 'embedding_layer': 'hidden'})


@pytest.mark.parametrize('script, network', [(script, network) for network in ('mn04', 'yamnet') for script in (
    'frozen.py', 'knn_audioset.py', 'transfer_train.py', 'transfer_proto.py', 'smoke_test.py')])
def test_missing_weights_are_named_before_anything_else(data, script, network):
    dataset = ['dataset=tones'] * (script != 'smoke_test.py')
    done = warm(script, network, *dataset, 'checkpoint=none.pt', data_folder=data, without_tensorflow=True)
    refused(done, ROOT / 'src/none.pt', 'does not exist', f'python ../aux/download.py {network}')
    assert not list(data.glob('audio_representation/*__*__*'))


# ---- scripts, with random weights ------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A data folder with `tones`, and files of random weights of mn04 and YAMNet beside it."""
    folder = tmp_path_factory.mktemp('frozen') / 'data'
    commands.copy_of(commands.tones(), folder)
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    random, models = np.random.default_rng(5), (mobilenet.build(output='logits', seed=5), yamnet.build(output='logits', seed=5))
    for variable in (variable for model in models for variable in model.variables):
        if 'kernel' not in variable.name:  # without offsets, hardly anything passes the many layers
            variable.assign(variable + random.uniform(0, 0.1, variable.shape))
    write_tensors(folder.parent / 'mn04.pt', {name: np.transpose(variable.numpy(), np.argsort(axes))
                                              for name, (variable, axes) in mobilenet.variables_by_name(models[0]).items()})
    write_weights(folder.parent / 'yamnet.h5', {name: variable.numpy() for name, variable in yamnet.variables_by_name(models[1]).items()})
    for network in ('mn04', 'yamnet'):
        succeeded(warm('preprocess.py', network, 'dataset=tones', data_folder=folder))
    return folder


def checkpoint(data, network):
    return f'checkpoint={data.parent / {"mn04": "mn04.pt", "yamnet": "yamnet.h5"}[network]}'


def embeddings_of(data):
    """Embeddings on disk: dictionary folder name -> {file name: array}."""
    found = {}
    for path in sorted(data.glob('audio_representation/*__*__*/*.npy')):
        found.setdefault(path.parent.name, {})[path.name] = np.load(path)
    return found


@pytest.mark.parametrize('network', ['mn04', 'yamnet'])
def test_frozen(data, network):
    """Decisions are those of a nearest class mean over the network's outputs, computed from the arrays anew."""
    text = succeeded(warm('frozen.py', network, 'dataset=tones', 'fold=1', 'n_shot=3', 'num_experiment_runs=2', checkpoint(data, network),
                          data_folder=data))
    assert f'{network} class mean, tones fold 1, n_shot 3: accuracy ' in text
    experiment = experiments(data)[-1]
    config = json.loads((experiment / 'config.json').read_text())
    layer = pretrained.make_layer({**config}, seed=0)
    folder = data / config['audio_representation_folder']
    clips = {key: np.load(data / path) for key, path, _ in rows(folder / 'index.tsv')}
    means = {key: np.asarray(layer(array if array.ndim == 3 else array[None])).mean(axis=0) for key, array in clips.items()}
    unit = lambda v: v / np.linalg.norm(v)
    for model in models(experiment):
        chosen = rows(model / 'train_ids.tsv')
        names = sorted({name for _, name in chosen})
        prototypes = [unit(np.mean([unit(means[key]) for key, name in chosen if name == wanted], axis=0)) for wanted in names]
        header, *table = rows(model / 'test_predictions.tsv')
        assert len(chosen) == 9 and len(table) == 9
        for key, _, _, predicted, _, _, *scores in table:
            np.testing.assert_allclose(np.array(scores, float), [unit(means[key]) @ p for p in prototypes], atol=2e-5)
    used = sum(len(rows(data / config[part])) for part in ('gt_train', 'gt_test'))
    assert used == sum(len(arrays) for name, arrays in embeddings_of(data).items() if f'__{network}_' in name)


def test_embeddings_are_computed_once_and_anew_for_another_layer(data):
    before = {path: path.stat().st_ino for path in data.glob('audio_representation/*__mn04_*/*.npy')}
    common = 'mn04', 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=1', checkpoint(data, 'mn04')
    succeeded(warm('frozen.py', *common, 'classifier=logistic_regression', data_folder=data))
    succeeded(warm('knn_audioset.py', *common, data_folder=data))
    assert before and all(path.stat().st_ino == inode for path, inode in before.items())
    succeeded(warm('knn_audioset.py', *common, 'embedding_layer=hidden', data_folder=data))
    sizes = {array.shape[1] for name, arrays in embeddings_of(data).items() if '__mn04_' in name for array in arrays.values()}
    assert sizes == {384, 512}
    methods = {row[4] for row in rows(data / 'experiments/results.tsv')[1:]}
    assert {'mn04 nearest', 'mn04 logistic regression'} <= methods


def test_a_random_split_learns_from_as_many_clips_as_the_folds_do(data, monkeypatch):
    """Of the frozen network at the largest n; without results there, nothing is told."""
    monkeypatch.setenv('DATA_FOLDER', str(data))
    succeeded(warm('frozen.py', 'mn04', 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=1', checkpoint(data, 'mn04'), data_folder=data))
    found = analysis.newest(results_so_far())
    found = found[(found['dataset'] == 'tones') & (found['method'] == 'mn04 class mean') & (found['n_shot'] == '2')]
    recordings, stacked = {str(i): str(i // 2) for i in range(27)}, []
    stack = shallow.stack
    monkeypatch.setattr(shallow, 'stack', lambda features, keys: stacked.append(len(keys)) or stack(features, keys))
    text = page.naive_split(found, recordings)
    assert text.startswith('21 clips come from') and 'reaches' in text and 'A random split' in text
    assert set(stacked[::2]) == {6} and sum(stacked[1::2]) == 21  # 2 of each of 3 classes; every clip is tested once
    assert page.naive_split(found, {}) is None
    larger = found.iloc[:1].assign(n_shot='5', method='TIMBRE', label='TIMBRE')
    assert page.naive_split(pd.concat([found, larger]), recordings) is None


def test_files_to_embed_must_be_named():
    with pytest.raises(UserError, match='no sound file was named'):
        embeddings.embed_files([])


def test_a_long_clip_is_the_mean_of_its_windows():
    """11 s: windows of 10 s at 0 s and at the end; `batches` keeps the windows of a clip together."""
    from mobilenet_input import windows
    spectrogram = np.random.default_rng(0).normal(size=(1100, 128)).astype(np.float32)
    cut = windows(spectrogram)
    assert cut.shape == (2, 1000, 128)
    np.testing.assert_array_equal(cut[1], spectrogram[100:])


def check_decisions(name, data, tmp_path):
    """classify.py on the test files gives the scores that the experiment's own test has written."""
    told = pd.read_csv(models(data / 'experiments' / name)[0] / 'test_predictions.tsv', sep='\t')
    source = json.loads((data / 'index/tones/source_tones.json').read_text())['audio_folder']
    files = [f'{source}/{path}' for path in told['audio']]
    text = succeeded(warm('classify.py', name, *files, '--csv', tmp_path / 'out.csv', data_folder=data))
    assert 'an experiment is not calibrated' in text
    found = pd.read_csv(tmp_path / 'out.csv', keep_default_na=False)
    assert found['file'].tolist() == files and found['class'].tolist() == told['predicted'].tolist()
    opened = classifier.load(name)
    scores = opened.scores([opened.array_of(file) for file in files])
    np.testing.assert_allclose(scores, told[[f'score: {label}' for label in opened.classes]], atol=2e-5)


@pytest.mark.parametrize('network', ['mn04', 'yamnet'])
def test_fine_tuning(data, network, tmp_path, monkeypatch):
    """Weights of the network move, its statistics stay; classify.py gives the scores of the evaluation."""
    monkeypatch.setenv('DATA_FOLDER', str(data))
    arguments = network, 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=1', 'epochs=3', 'batch_size=4', 'learning_rate=0.01', \
        'pretrained_factor=1'
    frames = ['n_frames=50', 'val_hop=50', 'test_hop=50'] if network == 'mn04' else []
    succeeded(warm('transfer_train.py', *arguments, *frames, checkpoint(data, network), data_folder=data))
    experiment = experiments(data)[-1]
    model, = models(experiment)
    build = mobilenet.build if network == 'mn04' else yamnet.build
    start = build(path=data.parent / checkpoint(data, network).partition('=')[2])
    trained = commands.weights(model)
    values = [value for name, value in sorted(trained.items())]
    same = {variable.path: any(value.shape == tuple(variable.shape) and np.array_equal(value, variable.numpy()) for value in values)
            for variable in start.variables}
    assert all(stays for path, stays in same.items() if 'moving_' in path)
    last = start.layers[-2].name  # random weights let only small gradients through to the first layers
    assert not any(stays for path, stays in same.items() if path.startswith(last) and 'moving_' not in path)
    succeeded(warm('transfer_evaluate.py', experiment.name, data_folder=data))
    assert rows(data / 'experiments/results.tsv')[-1][4] == f'{network} transfer'
    check_decisions(experiment.name, data, tmp_path)


def test_prototypes(data):
    succeeded(warm('transfer_proto.py', 'mn04', 'dataset=tones', 'fold=1', 'n_shot=2', 'max_accuracy=0', 'max_epochs=2', 'n_frames=50',
                   'learning_rate=0.01', 'param_train_sampling=50', 'test_hop=50', checkpoint(data, 'mn04'), data_folder=data))
    assert rows(data / 'experiments/results.tsv')[-1][4] == 'mn04 transfer proto'


def test_silent_patches_and_levels_are_parameters_of_the_representation(data):
    for network, key, value in (('yamnet', 'skip_silence', True), ('mn04', 'level', None)):
        folder = data / config_frozen[network]['audio_representation_folder'].format(dataset='tones')
        assert json.loads((folder / 'config.json').read_text())[key] == value
    refused(warm('preprocess.py', 'mn04', 'dataset=tones', 'level=-20', data_folder=data), 'other parameters: level=None (asked: -20)')
    assert '27 of 27 clips are there already and up to date' in succeeded(warm('preprocess.py', 'mn10', 'dataset=tones', data_folder=data))  # mn04's
    assert {path.name for path in (data / 'audio_representation').iterdir() if path.name.startswith('tones__')} >= {
        'tones__mobilenet', 'tones__yamnet'}


def test_a_plan_with_frozen_networks(data):
    """The same rows as the scripts; methods without weights are left out with a line."""
    plan = ('reproduce.py', 'demo', 'datasets=tones', 'folds=1', 'n_shots=2', 'num_experiment_runs=1')
    text = succeeded(warm(*plan, 'methods=mn04 class mean,mn04 logistic regression,knn_mfcc', checkpoint(data, 'mn04'), data_folder=data))
    assert 'mn04 class mean' in text and 'mn04 logistic regression' in text
    if not (ROOT / 'src/mn10_as_mAP_471.pt').exists():
        text = succeeded(warm(*plan, 'methods=knn_mfcc,mn10 class mean', data_folder=data))
        assert 'mn10 class mean: left out, no weights of mn10.' in text and 'needs the weights of mn10' in text
    assert set(config_methods) >= {f'{network} {head}' for network in ('mn04', 'mn10', 'yamnet') for head in (
        'class mean', 'logistic regression', 'nearest', 'transfer', 'transfer proto')}
