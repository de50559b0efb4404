"""Transfer learning from the command line: what the scripts write, with its numbers checked by a second calculation."""
import json
import os
import re
import shutil

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import commands
import embeddings
import models_transfer
from backend import set_up_device, tf
from commands import Started, experiments, models, refused, rows, succeeded, temporary_files, tree, warm, weights
from conftest import CLASSES, EXAMPLES_FOR_VGGISH, make_representation, plain_vggish, vggish_values
from experiment import find_experiment
from patches import Clips, all_patches, patch_batches, sample_patches
from pretrained import complete as configuration, digest
from representation import Representation, save_array
from shared import UserError
from vggish_slim import VARIABLES

FOLDER = 'audio_representation/toy__audioset'
TRAIN = {str(i): i % 3 for i in range(9)}
TEST = {str(i): i % 3 for i in range(9, 15)}
VAL = {str(i): i % 3 for i in range(15, 18)}
LABELS = {**TRAIN, **TEST, **VAL}
LENGTHS = {key: 1 + int(key) // 3 % 3 for key in LABELS}  # examples of the clips, in each class 1, 2, 3, ...


def clip_examples(key, label, length, seed=0):
    """Examples (length, 96, 64) like log-mel values: a class has its own bands and rhythm. Each fourth clip sounds like another."""
    sound = (label + (int(key) % 4 == 0)) % 3
    array = np.random.default_rng([seed, int(key)]).normal(-2, 1, (length, 96, 64))
    array[..., 20 * sound:20 * sound + 20] += 8
    array[:, sound::4 * sound + 4] += 8
    return array.astype(np.float32)


@pytest.fixture(scope='module', autouse=True)
def device():
    set_up_device()
    yield
    commands.end_warm_processes()  # it has grown, and later tests need memory, too


@pytest.fixture(scope='module')
def data():
    """A data folder with examples of 18 clips of 3 classes, to which tests add experiments."""
    folder = commands.temporary_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DATA_FOLDER', str(folder))
        clips = {key: clip_examples(key, label, LENGTHS[key]) for key, label in LABELS.items()}
        make_representation(folder, clips, TRAIN, TEST, VAL, kind='audioset')
    return folder


def arrays(data):
    """Examples of all clips: dictionary id -> array."""
    return {key: np.load(data / path) for key, path, _ in rows(data / FOLDER / 'index.tsv')}


def linked(data, target):
    """A copy of a data folder whose files are links; it may be changed by what replaces files, as all scripts do."""
    return shutil.copytree(data, target, copy_function=os.link)


def arguments(checkpoint, *more):
    """The usual overrides, or more and others."""
    usual = {'dataset': 'toy', 'checkpoint': checkpoint, 'n_shot': 2, 'num_experiment_runs': 2, 'test_batch_size': 4}
    usual.update(argument.split('=') for argument in more)
    return [f'{key}={value}' for key, value in usual.items()]


def run(data, script, *arguments):
    """Run a script; returns the experiment it made and what it printed."""
    before = set(experiments(data))
    text = succeeded(warm(script, *arguments, data_folder=data))
    made, = set(experiments(data)) - before
    return made, text


def results(data, experiment):
    """Rows of an experiment in results.tsv as dictionaries."""
    header, *table = rows(data / 'experiments/results.tsv')
    return [row for row in (dict(zip(header, cells)) for cells in table) if row['experiment'] == experiment.name]


def predictions(model):
    """Scores (C,) of each test clip: dictionary id -> array."""
    header, *table = rows(model / 'test_predictions.tsv')
    assert header[6:] == [f'score: {name}' for name in CLASSES]
    return {row[0]: np.array(row[6:], float) for row in table}


def stored_network(model):
    """A function from examples (N, 96, 64) to outputs (N, D): a plain computation with the weights of a model folder."""
    found = weights(model)
    values = {name: found[f'layers/vg_gish/vars/{i}'] for i, name in enumerate(VARIABLES)}
    kernel, bias = (found[f'layers/dense/vars/{i}'] for i in range(2))
    return lambda examples: tf.nn.relu(plain_vggish(values, examples)).numpy() @ kernel + bias


def by_clip(function, clips):
    """function(examples) of all clips at once, cut into clips again: dictionary id -> array."""
    outputs = function(np.concatenate(list(clips.values())))
    ends = np.cumsum([len(examples) for examples in clips.values()])
    return dict(zip(clips, np.split(outputs, ends[:-1])))


def stored(data):
    """The embeddings on disk: dictionary path -> inode, another one for a file that was replaced."""
    return {path: path.stat().st_ino for path in data.glob(f'{FOLDER}__vggish_*/[!.]*.npy')}


def clip_of(path):
    """Id of the clip whose embeddings are in a file, which is named by the digest of its sound: sound-<id>."""
    return path.stem.removeprefix('sound-')


# ---- examples as patches ---------------------------------------------------------------------------------------------

@pytest.fixture
def opened(data, monkeypatch):
    monkeypatch.setenv('DATA_FOLDER', str(data))
    return Representation(FOLDER, 'toy', EXAMPLES_FOR_VGGISH)


def example_at(data, frames, start):
    """(id, number) of the example of the data that these frames hold at `start`."""
    found = [(key, number) for key, array in arrays(data).items() for number, example in enumerate(array)
             if np.array_equal(frames[start:start + 96], example)]
    assert len(found) == 1
    return found[0]


def test_random_examples_begin_at_examples_and_reach_every_one(data, opened):
    keys = ['8', '0', '4', '7']  # of 3, 1, 2 and 3 examples
    clips = Clips(opened, keys, configuration({'network': 'vggish', 'checkpoint': None}))
    config = configuration({'network': 'vggish', 'checkpoint': None, 'train_sampling': 'random', 'param_train_sampling': 50})
    starts, clip = sample_patches(clips, config, np.random.default_rng(0))
    assert not (starts % 96).any() and len(starts) == 200 and np.bincount(clip).tolist() == [50] * 4
    seen, counts = np.unique(starts, return_counts=True)
    assert seen.tolist() == list(range(0, 9 * 96, 96))
    assert counts[3] == 50 and counts[np.arange(9) != 3].min() > 5
    places = {(start, number) for start, number in zip(starts, clip)}
    assert {(*example_at(data, clips.frames, start), keys[number]) for start, number in places} == \
        {(key, number, key) for key in keys for number in range(LENGTHS[key])}


@pytest.mark.parametrize('hop, kept', [(1, [0, 1, 2]), (2, [0, 2]), (3, [0])])
def test_hops_count_examples(data, opened, hop, kept):
    keys = ['8', '0', '4']
    config = configuration({'network': 'vggish', 'checkpoint': None, 'train_sampling': 'overlap_sampling', 'param_train_sampling': hop})
    clips = Clips(opened, keys, config)
    expected = [(key, number) for key in keys for number in kept if number < LENGTHS[key]]
    starts, clip = all_patches(clips, config, hop)
    assert [example_at(data, clips.frames, start) for start in starts] == expected
    assert [keys[number] for number in clip] == [key for key, _ in expected]
    starts, clip = sample_patches(clips, config, np.random.default_rng(0))
    assert sorted((example_at(data, clips.frames, start), keys[number]) for start, number in zip(starts, clip)) == \
        sorted(((key, number), key) for key, number in expected)
    for size in (1, 2, 4, 100):
        batches = list(patch_batches(opened, keys, config, hop, size))
        assert [len(starts) for _, starts, _ in batches[:-1]] == [size] * (len(batches) - 1) and len(batches[-1][1]) <= size
        found = [(example_at(data, frames, start), keys[number])
                 for frames, starts, clip in batches for start, number in zip(starts, clip)]
        assert found == [((key, number), key) for key, number in expected]


# ---- transfer_train.py, transfer_evaluate.py -------------------------------------------------------------------------

FINE = ('epochs=2', 'batch_size=4', 'learning_rate=0.1')


def epochs_logged(experiment):
    """Rows in the log of the run that is not finished yet."""
    logs = [path for path in experiment.glob('model_*/train_log.tsv') if path.parent not in models(experiment)]
    return sum(len(rows(path)) - 1 for path in logs)


@pytest.fixture(scope='module')
def killed(data, vggish_checkpoint):
    """A command that keeps no weights, its experiment, killed in the second run, and a copy of the data as it was then."""
    command = ['transfer_train.py', 'audioset', *arguments(vggish_checkpoint, *FINE, 'save_weights=False')]
    before = set(experiments(data))
    begun = lambda: set(experiments(data)) - before
    with Started(*command, data_folder=data) as script:
        script.wait_until(lambda: any((folder / 'models.list').exists() and epochs_logged(folder) == 1 for folder in begun()))
        script.process.kill()
        script.wait()
    experiment, = begun()
    return command, experiment, linked(data, commands.temporary_folder() / 'data')


@pytest.fixture(scope='module')
def killed_embeddings(data, vggish_checkpoint):
    """A command of knn_audioset.py that was killed while it computed embeddings, and the embeddings that were there then."""
    command = ['knn_audioset.py', *arguments(vggish_checkpoint, 'test_batch_size=1')]
    with Started(*command, data_folder=data) as script:
        script.wait_until(lambda: len(stored(data)) >= 3)
        script.process.kill()
        script.wait()
    return command, stored(data)


@pytest.fixture(scope='module')
def kept(data, vggish_checkpoint, killed, killed_embeddings):
    """The same experiment with its weights, undisturbed and evaluated; and what the scripts printed.

    What is killed goes first: a process more would need much memory at the same time.
    """
    experiment, trained = run(data, 'transfer_train.py', 'audioset', *arguments(vggish_checkpoint, *FINE))
    evaluated = succeeded(warm('transfer_evaluate.py', 'latest', data_folder=data))
    return experiment, trained, evaluated


@pytest.fixture(scope='module')
def lean(data, kept, killed):
    """The killed experiment after the same command was given again; and what the script printed."""
    command, experiment, _ = killed
    number = len(experiments(data))
    text = succeeded(warm(*command, data_folder=data))
    assert len(experiments(data)) == number
    return experiment, text


RESULTS = ['class_report.tsv', 'confusion_matrix.tsv', 'test.result', 'test_predictions.tsv']


def test_files_and_log(data, kept, vggish_checkpoint):
    experiment, trained, evaluated = kept
    assert {path.name for path in experiment.iterdir()} == \
        {'config.json', 'models.list', 'experiment.result', 'confusion_matrix.png', 'training.png', 'sounds.tsv', '.lock',
         *[model.name for model in models(experiment)]}
    config = json.loads((experiment / 'config.json').read_text())
    wanted = {'method': 'transfer_train', 'weights_sha256': digest(vggish_checkpoint), 'n_frames': 96, 'grid': 96}
    assert config.items() >= wanted.items()
    assert len(models(experiment)) == 2
    for model in models(experiment):
        assert sorted(path.name for path in model.iterdir()) == \
            sorted(['train_ids.tsv', 'train_log.tsv', 'model.weights.h5', 'model.json', 'result.json', *RESULTS])
        header, *log = rows(model / 'train_log.tsv')
        assert header == ['epoch', 'train_cost', 'epoch_time', 'learning_rate']
        assert [(row[0], row[3]) for row in log] == [(str(epoch), '0.1') for epoch in (1, 2)]
        costs = [float(row[1]) for row in log]
        assert np.isnan(costs[0]) and np.isfinite(costs[1])
    for line in ('model: transfer, 72141571 trainable parameters', f'experiment: {experiment}',
                 f'next: python transfer_evaluate.py {experiment.name}'):
        assert f'\n{line}\n' in trained
    assert re.search(r'\ndisk: the weights of 2 run\(s\) will take 0\.6 GB, \S+ GB are free\n', trained)
    assert f'\nresults: {experiment}\n' in evaluated and 'transfer, toy fold 0, n_shot 2: accuracy' in evaluated
    assert temporary_files(experiment) == []


def test_scores_are_means_over_examples_with_the_stored_weights(data, kept):
    tested = {key: array for key, array in arrays(data).items() if key in TEST}
    accuracies = []
    for model in models(kept[0]):
        logits = by_clip(stored_network(model), tested)
        found = predictions(model)
        assert list(found) == list(TEST)
        for key in TEST:
            np.testing.assert_allclose(found[key], softmax(logits[key], axis=1).mean(axis=0), atol=1e-4)
        accuracies.append(np.mean([found[key].argmax() == label for key, label in TEST.items()]))
    assert [float(row['accuracy']) for row in results(data, kept[0])] == pytest.approx(accuracies, abs=1e-6)
    text = (kept[0] / 'experiment.result').read_text()
    assert float(re.search(r'\nMean: (\S+) ', text).group(1)) == pytest.approx(np.mean(accuracies), abs=1e-6)


def test_without_weights_the_results_are_the_same_to_the_last_bit(data, kept, lean):
    """The first run tells that of save_weights=False, the second one that of going on after a kill, too."""
    experiment, printed = lean
    for one, other in zip(models(kept[0]), models(experiment), strict=True):
        assert sorted(path.name for path in other.iterdir()) == \
            sorted(['train_ids.tsv', 'train_log.tsv', 'head.npz', 'model.json', 'result.json', *RESULTS])
        for name in ('train_ids.tsv', *RESULTS):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        assert [row[:2] for row in rows(one / 'train_log.tsv')] == [row[:2] for row in rows(other / 'train_log.tsv')]
        stored = weights(one)
        with np.load(other / 'head.npz') as head:
            assert sorted(head) == ['bias', 'kernel']
            np.testing.assert_array_equal(head['kernel'], stored['layers/dense/vars/0'])
            np.testing.assert_array_equal(head['bias'], stored['layers/dense/vars/1'])
    same = ('run', 'method', 'dataset', 'fold', 'n_shot', 'seed', 'accuracy', 'correct', 'clips', 'config_hash')
    pick = lambda experiment: [{key: row[key] for key in same} for row in results(data, experiment)]
    assert pick(experiment) == pick(kept[0])
    assert [row['run'] for row in pick(experiment)] == ['0', '1'] and pick(experiment)[0]['method'] == 'transfer'
    summary = [(folder / 'experiment.result').read_text().splitlines()[1:-1] for folder in (experiment, kept[0])]
    assert summary[0] == summary[1]
    assert f'\nresults: experiments/{experiment.name}\nnext: python report.py dataset=toy\n' in printed and 'disk:' not in printed


def test_an_experiment_without_weights_is_not_evaluated_again(data, lean):
    before = tree(lean[0])
    refused(warm('transfer_evaluate.py', lean[0].name, data_folder=data), lean[0].name, 'save_weights=False', 'results are in',
            'save_weights=True')
    assert tree(lean[0]) == before


def test_an_evaluation_with_other_keys(data, kept):
    """At a hop of three examples, the first one of each clip is left. Here the second run is not finished yet."""
    copy = linked(data, commands.temporary_folder() / 'data')
    experiment = copy / 'experiments' / kept[0].name
    model = models(experiment)[0]
    (experiment / 'models.list').unlink()
    (experiment / 'models.list').write_text(f'{model.name}\n')
    refused(warm('transfer_evaluate.py', kept[0].name, 'epochs=3', data_folder=copy), "'epochs=3'", 'test_hop')
    before = results(copy, experiment)
    text = succeeded(warm('transfer_evaluate.py', kept[0].name, 'test_hop=3', 'test_batch_size=5', data_folder=copy))
    assert 'note: 1 of 2 runs are trained so far\noverrides: test_hop=3, test_batch_size=5\n' in text
    logits = by_clip(stored_network(model), {key: array[:1] for key, array in arrays(data).items() if key in TEST})
    for key, found in predictions(model).items():
        np.testing.assert_allclose(found, softmax(logits[key][0]), atol=1e-4)
    after = results(copy, experiment)
    assert sorted(row['run'] for row in after) == ['0', '0', '1'] and all(row in after for row in before)  # it replaces nothing
    row, = [row for row in after if row not in before]
    assert row['config_hash'] != before[0]['config_hash']
    overrides = (experiment / 'experiment.result').read_text().splitlines()[-1]
    assert "'test_hop': 3" in overrides and "'test_batch_size': 5" in overrides and "'epochs': 2" in overrides


def test_a_killed_experiment_goes_on(data, killed, lean):
    """What was finished stays; that the end is as if nobody had killed it is shown above."""
    _, experiment, copy = killed
    before = copy / 'experiments' / experiment.name
    first, = models(before)
    assert len(list(before.glob('model_*'))) == 2 and [row['run'] for row in results(copy, before)] == ['0']
    assert tree(first) == tree(experiment / first.name)
    assert f'continuing {experiment.name}: 1 of 2 runs are finished' in lean[1]
    assert sorted(models(experiment)) == sorted(experiment.glob('model_*')) and len(models(experiment)) == 2
    assert temporary_files(experiment) == []


def test_the_first_epoch_trains_nothing_and_the_best_weights_are_kept(data, vggish_checkpoint):
    """Validation clips get the labels that the untrained network gives them: the next epoch is not as good."""
    model = models_transfer.CLASSIFIER.build({'network': 'vggish', 'checkpoint': str(vggish_checkpoint), 'num_classes_dataset': 3},
                                             64, seed=2 * 100_003)  # run 0 of seed 2
    kernel = model.get_layer('logits').kernel.numpy()
    del model
    values, copy = vggish_values(), commands.temporary_folder() / 'data'
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns('experiments'))
    logits = by_clip(lambda x: tf.nn.relu(plain_vggish(values, x)).numpy() @ kernel, {key: arrays(copy)[key] for key in VAL})
    truth = {key: int(softmax(found, axis=1).mean(axis=0).argmax()) for key, found in logits.items()}
    path = copy / 'index/toy/gt_toy_fold0_val.tsv'
    path.write_text(''.join(f'{key}\t{[float(c == label) for c in range(3)]}\n' for key, label in truth.items()))

    experiment, _ = run(copy, 'transfer_train.py', 'audioset',
                        *arguments(vggish_checkpoint, 'n_shot=1', 'num_experiment_runs=1', 'seed=2', 'epochs=2',
                                   'learning_rate=0.5', f'gt_val={path.relative_to(copy)}'))
    model, = models(experiment)
    header, *log = rows(model / 'train_log.tsv')
    assert header == ['epoch', 'train_cost', 'val_cost', 'val_accuracy', 'epoch_time', 'learning_rate']
    costs = np.concatenate([-log_softmax(logits[key], axis=1)[:, label] for key, label in truth.items()])
    assert log[0][1] == 'nan' and float(log[0][2]) == pytest.approx(costs.mean(), rel=1e-4)
    accuracies = [float(row[3]) for row in log]
    assert accuracies[0] == 1 and accuracies[1] < 1, f'the best epoch is not the first one alone: {accuracies}'
    found = weights(model)
    for i, name in enumerate(VARIABLES):
        np.testing.assert_array_equal(found[f'layers/vg_gish/vars/{i}'], values[name])
    np.testing.assert_array_equal(found['layers/dense/vars/0'], kernel)
    assert not found['layers/dense/vars/1'].any()


# ---- transfer_proto.py -----------------------------------------------------------------------------------------------

PROTO = ('n_shot=1', 'num_experiment_runs=1', 'max_epochs=1', 'learning_rate=0.05', 'max_patches_per_class=2', 'seed=3')


@pytest.fixture(scope='module')
def proto(data, vggish_checkpoint):
    """The experiments with and without weights, of one run each."""
    return {keep: run(data, 'transfer_proto.py', 'audioset', *arguments(vggish_checkpoint, *PROTO), f'save_weights={keep}')[0]
            for keep in (True, False)}


def test_files_of_prototypical_networks(data, proto):
    ids = [key for key, _ in rows(models(proto[False])[0] / 'train_ids.tsv')]
    number = {part: sum(LENGTHS[key] for key in keys) for part, keys in (('train', ids), ('test', TEST))}
    common = ['train_ids.tsv', 'support.tsv', 'train_log.tsv', 'epoch_accuracies.tsv', 'model.json', 'result.json',
              'prototypes.npz', 'embeddings_train_set.npz', 'gt_train_set.npz', 'embeddings_test_set.npz', 'gt_test_set.npz',
              'embeddings.png', *RESULTS]
    for keep, experiment in proto.items():
        model, = models(experiment)
        assert sorted(path.name for path in model.iterdir()) == sorted([*common, 'model.weights.h5' if keep else 'head.npz'])
        assert np.load(model / 'prototypes.npz')['arr_0'].shape == (3, 10)
        for part in ('train', 'test'):
            assert np.load(model / f'embeddings_{part}_set.npz')['arr_0'].shape == (number[part], 10)
            assert np.load(model / f'gt_{part}_set.npz')['arr_0'].shape == (number[part], 3)
        header, *support = rows(model / 'support.tsv')
        assert header == ['id', 'class', 'first_frame']
        assert [name for _, name, _ in support] == CLASSES
        assert [key for key, _, _ in support] == ids and number['train'] > 3  # one example of a clip, though some have more
        assert all(int(frame) in range(0, 96 * LENGTHS[key], 96) for key, _, frame in support)
        updates = number['train'] // sum(min(2, sum(LENGTHS[key] for key in ids if TRAIN[key] == label)) for label in range(3))
        assert [row[:2] for row in rows(model / 'train_log.tsv')[1:]] == \
            [[str(update), '1'] for update in range(1, updates + 1)]
        row, = results(data, experiment)
        assert row['method'] == 'transfer proto' and row['clips'] == '6'


def test_the_results_of_prototypical_networks_do_not_need_the_weights(data, proto):
    (one,), (other,) = models(proto[True]), models(proto[False])
    for name in ('train_ids.tsv', 'support.tsv', 'train_log.tsv', 'test_predictions.tsv', 'test.result'):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ('prototypes', 'embeddings_test_set', 'embeddings_train_set'):
        np.testing.assert_array_equal(np.load(one / f'{name}.npz')['arr_0'], np.load(other / f'{name}.npz')['arr_0'])
    stored = weights(one)
    with np.load(other / 'head.npz') as head:
        assert head['kernel'].shape == (128, 10)
        np.testing.assert_array_equal(head['kernel'], stored['layers/dense/vars/0'])
        np.testing.assert_array_equal(head['bias'], stored['layers/dense/vars/1'])
    assert results(data, proto[True])[0]['config_hash'] == results(data, proto[False])[0]['config_hash']


def test_prototypes_embeddings_and_scores_by_hand(data, proto):
    model, = models(proto[True])
    clips, outputs = arrays(data), stored_network(model)
    support = rows(model / 'support.tsv')[1:]
    embedded = outputs(np.stack([clips[key][int(frame) // 96] for key, _, frame in support]))
    prototypes = np.stack([embedded[[name == row[1] for row in support]].mean(axis=0) for name in CLASSES])
    np.testing.assert_allclose(np.load(model / 'prototypes.npz')['arr_0'], prototypes, atol=1e-3)
    tested = by_clip(outputs, {key: clips[key] for key in TEST})
    found = np.load(model / 'embeddings_test_set.npz')['arr_0']
    np.testing.assert_allclose(found, np.concatenate(list(tested.values())), atol=1e-3)
    assert np.load(model / 'gt_test_set.npz')['ids'].tolist() == [key for key in TEST for _ in range(LENGTHS[key])]
    for key, scores in predictions(model).items():
        distances = np.square(tested[key][:, None] - prototypes).mean(axis=2)
        np.testing.assert_allclose(scores, log_softmax(-distances, axis=1).mean(axis=0), atol=1e-3)


# ---- knn_audioset.py -------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def knn(data, killed_embeddings):
    """An experiment whose embeddings were killed."""
    return run(data, *killed_embeddings[0])[0]


def test_killed_embeddings_go_on_and_are_those_of_the_network(data, killed_embeddings, knn, vggish_checkpoint):
    before = killed_embeddings[1]
    after, expected = stored(data), by_clip(lambda x: tf.nn.relu(plain_vggish(vggish_values(), x)).numpy(), arrays(data))
    assert 3 <= len(before) < 15 and before.items() <= after.items()
    folder, = data.glob(f'{FOLDER}__vggish_*')
    assert set(after) == {folder / f'sound-{key}.npy' for key in [*TRAIN, *TEST]}  # no experiment asked for validation clips
    for path in after:
        found = np.load(path)
        assert found.shape == (LENGTHS[clip_of(path)], 128) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected[clip_of(path)], atol=1e-4)
    about = {'weights_sha256': digest(vggish_checkpoint), 'type': 'audioset', 'resampler': 'kaiser_2018', 'LOG_OFFSET': 0.01}
    assert json.loads((folder / 'config.json').read_text()).items() >= about.items()
    assert temporary_files(folder) == []


def nearest_votes(model, vectors, distances):
    """Shares (C,) of the votes of each test clip: dictionary id -> array."""
    train = [(vector, CLASSES.index(name)) for key, name in rows(model / 'train_ids.tsv') for vector in vectors[key]]
    votes = {key: np.zeros(3) for key in TEST}
    for key in TEST:
        for vector in vectors[key]:
            apart = [distances(vector.astype(float), other.astype(float)) for other, _ in train]
            votes[key][train[int(np.argmin(apart))][1]] += 1 / len(vectors[key])
    return votes


@pytest.mark.parametrize('metric, distances', [('cosine', lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
                                               ('euclidean', lambda a, b: np.linalg.norm(a - b))])
def test_nearest_neighbours_by_hand_and_embeddings_stored_once(data, knn, vggish_checkpoint, metric, distances):
    before = stored(data)
    experiment = knn
    if metric == 'euclidean':
        experiment, text = run(data, 'knn_audioset.py', *arguments(vggish_checkpoint, 'metric=euclidean'))
        assert 'knn_audioset, toy fold 0, n_shot 2: accuracy' in text
    assert stored(data) == before
    vectors = {clip_of(path): np.load(path) for path in before}
    for model in models(experiment):
        votes = nearest_votes(model, vectors, distances)
        for key, scores in predictions(model).items():
            np.testing.assert_allclose(scores, votes[key], atol=1e-5)
    accuracies = [np.mean([votes.argmax() == TEST[key] for key, votes in predictions(model).items()])
                  for model in models(experiment)]
    assert [float(row['accuracy']) for row in results(data, experiment)] == pytest.approx(accuracies, abs=1e-6)


def test_all_methods_learn_from_the_same_clips(kept, knn):
    draws = [[(model / 'train_ids.tsv').read_text() for model in models(experiment)] for experiment in (kept[0], knn)]
    assert draws[0] == draws[1] and draws[0][0] != draws[0][1]


def plain(examples):
    """What stands for the network where a test needs no other: (N, 96, 64) -> (N, 128)."""
    return np.repeat(examples.mean(axis=(1, 2))[:, None], 128, axis=1)


class Embeddings:
    """A copy of the data with the embeddings of knn_audioset.py, and a way to ask for them, or others, without a network.

    Attributes: data (Path), known (sha256 of the checkpoint whose embeddings are there), asked (examples that were embedded).
    """

    def __init__(self, data, known, monkeypatch):
        self.data, self.known, self.asked = data, known, 0
        monkeypatch.setenv('DATA_FOLDER', str(data))
        monkeypatch.setattr(embeddings, 'embedder', lambda config: self.embed)

    def embed(self, examples):
        self.asked += len(examples)
        return tf.constant(plain(examples))

    def get(self, keys, weights_sha256=None, test_batch_size=4):
        """embeddings_of the clips."""
        self.asked = 0
        config = {**configuration({'network': 'vggish', 'checkpoint': None}), 'checkpoint': 'a.ckpt', 'test_batch_size': test_batch_size,
                  'weights_sha256': weights_sha256 or self.known}
        return embeddings.embeddings_of(keys, Representation(FOLDER, 'toy', EXAMPLES_FOR_VGGISH), config)

    def changed(self, before):
        """Ids of the clips whose files are not as before."""
        return {clip_of(path) for path, inode in stored(self.data).items() if before.get(path) != inode}


@pytest.fixture
def files(data, knn, vggish_checkpoint, tmp_path, monkeypatch):
    copy = shutil.copytree(data, tmp_path / 'data', ignore=shutil.ignore_patterns('experiments'))
    return Embeddings(copy, digest(vggish_checkpoint), monkeypatch)


def test_what_is_there_is_not_computed_again(files):
    before = stored(files.data)
    assert list(files.get([*TEST, *TRAIN])) == [*TEST, *TRAIN]
    assert files.asked == 0 and stored(files.data) == before


def test_other_clips_and_other_checkpoints_are_computed(files):
    before = stored(files.data)
    files.get(['4', '15', '16'])  # two of them are validation clips
    assert files.asked == LENGTHS['15'] + LENGTHS['16'] and files.changed(before) == {'15', '16'}
    before, other = stored(files.data), '0123456789abcdef' * 4
    found = files.get(['4', '5'], other)
    assert files.asked == LENGTHS['4'] + LENGTHS['5'] and files.changed(before) == {'4', '5'}
    assert stored(files.data).items() > before.items()  # those of the first checkpoint stay
    assert len({path.parent for path in stored(files.data)}) == 2
    np.testing.assert_array_equal(found['5'], plain(arrays(files.data)['5']))


def test_a_clip_that_was_made_again_is_computed_again(files):
    """As if its sound file had been replaced."""
    before, array = stored(files.data), clip_examples('4', TRAIN['4'], 4, seed=5)
    save_array(files.data / FOLDER / '4.npy', array, 'sound-new')
    found = files.get([*TRAIN, *TEST])
    assert files.asked == 4 and files.changed(before) == {'new'}
    np.testing.assert_array_equal(found['4'], plain(array))


@pytest.mark.parametrize('damage', [lambda content: content[:-100], lambda content: b'', lambda content: b'text'],
                         ids=['shorter', 'empty', 'text'])
def test_a_damaged_embedding_is_computed_again(files, damage):
    before, path = stored(files.data), next(path for path in stored(files.data) if clip_of(path) == '7')
    moment = path.stat().st_mtime_ns
    path.write_bytes(damage(path.read_bytes()))
    os.utime(path, ns=(moment, moment))
    found = files.get([*TRAIN])
    assert files.asked == LENGTHS['7'] and files.changed(before) == {'7'}
    np.testing.assert_array_equal(found['7'], plain(arrays(files.data)['7']))


def test_examples_made_with_other_parameters_are_embedded_again(files):
    """Arrays made with other parameters belong to the same sounds."""
    arrays_now = {}
    for key in LENGTHS:
        path = files.data / FOLDER / f'{key}.npy'
        arrays_now[key] = np.load(path) + np.float32(0.01)
        save_array(path, arrays_now[key], f'sound-{key}')
    path = files.data / FOLDER / 'config.json'
    settings = {**json.loads(path.read_text()), 'resampler': 'soxr_hq', 'overrides': {'dataset': 'toy', 'resampler': 'soxr_hq'}}
    path.write_text(json.dumps(settings))
    found = files.get([*TRAIN, *TEST])
    for key in found:
        np.testing.assert_array_equal(found[key], plain(arrays_now[key]))


def test_embeddings_that_are_not_finite_are_refused_by_id_and_not_kept(files):
    path = files.data / FOLDER / '4.npy'
    save_array(path, np.full((2, 96, 64), np.nan, np.float32), 'sound-damaged')
    with pytest.raises(UserError, match=r'\b4\b.*preprocess\.py'):
        files.get([*TRAIN, *TEST])
    assert files.asked == 2
    save_array(path, clip_examples('4', TRAIN['4'], 2), 'sound-4')
    assert np.isfinite(files.get([*TRAIN, *TEST])['4']).all()


@pytest.mark.parametrize('size, alone', [(1, 2), (2, 2), (3, 1), (7, 1), (100, 0)])
def test_clips_across_batches(files, size, alone):
    """A batch in a clip, clips in a batch, and a clip that goes on. An example that would be alone in its batch is computed twice."""
    lengths = {'0': 1, '4': 9, '8': 2, '1': 1, '7': 12}
    for key, length in lengths.items():
        save_array(files.data / FOLDER / f'{key}.npy', clip_examples(key, TRAIN[key], length), f'sound-{key}')
    found = files.get(list(lengths), 'e' * 64, test_batch_size=size)
    assert files.asked == 25 + alone and list(found) == list(lengths)
    for key, length in lengths.items():
        assert found[key].shape == (length, 128)
        np.testing.assert_array_equal(found[key], plain(arrays(files.data)[key]))


# ---- what cannot be --------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def spectrograms(tmp_path_factory):
    """A data folder with spectrograms of 64 and of 128 bands."""
    folder = tmp_path_factory.mktemp('spectrograms')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DATA_FOLDER', str(folder))
        for bands in (64, 128):
            make_representation(folder, {key: np.ones((130, bands)) for key in LABELS}, TRAIN, TEST, name=f'bands{bands}')
    return folder


@pytest.mark.parametrize('bands', [64, 128])
@pytest.mark.parametrize('script', ['transfer_train.py', 'transfer_proto.py', 'knn_audioset.py'])
def test_spectrograms_are_no_examples(spectrograms, vggish_checkpoint, script, bands):
    name = f'bands{bands}'
    more = {'transfer_train.py': ['audioset', 'epochs=1'], 'transfer_proto.py': ['audioset', 'max_epochs=1'], 'knn_audioset.py': []}
    done = warm(script, *more[script], f'dataset={name}', f'checkpoint={vggish_checkpoint}', 'n_shot=1', 'num_experiment_runs=1',
                f'audio_representation_folder=audio_representation/{name}__time-freq/', data_folder=spectrograms)
    refused(done, 'audioset', 'audio_representation_folder')


def test_a_network_without_pretrained_layers_has_one_learning_rate(spectrograms):
    refused(warm('sl_train.py', 'spec', 'dataset=bands128', 'n_shot=1', 'model_number=2', 'epochs=2', 'optimizer=many_lr_audioset',
                 data_folder=spectrograms), 'optimizer', 'many_lr_audioset', 'SGD_clip')


def test_nearest_neighbours_need_a_trained_network(data):
    refused(warm('knn_audioset.py', 'dataset=toy', 'n_shot=1', 'checkpoint=None', data_folder=data), 'checkpoint=None', 'trained')


def test_nothing_to_evaluate_tells_the_command_that_trains(data_folder):
    with pytest.raises(UserError, match=r'python transfer_train\.py audioset'):
        find_experiment('latest', 'transfer_train', 'python transfer_train.py audioset')
