"""proto.py from the command line: what it reads, prints and writes, with its numbers checked by a second calculation."""
import functools
import json
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

import commands
from commands import (
    CLASSES,
    FAST,
    MEL,
    Started,
    arrays,
    experiments,
    labels,
    models,
    refused,
    rows,
    same_weights,
    succeeded,
    temporary_files,
    tree,
    warm,
    weights,
)

FEW = ('dataset=tones', 'fold=1', 'n_shot=2', 'filters=4', 'n_frames=32', 'max_accuracy=1', 'max_epochs=3')  # a second
TWO = ('proto.py', 'spec', *FEW[:-2], 'num_experiment_runs=2', 'seed=1', 'max_accuracy=4', 'max_epochs=12')
TRAIN, TEST = (f'index/tones/gt_tones_fold1_{part}.tsv' for part in ('train', 'test'))
TIMES = ('epoch_accuracies.tsv', 'model.json', 'result.json', 'model.weights.h5')  # of a model folder: these may differ in times


def usual(*arguments):
    """The usual command with some keys set otherwise."""
    keys = {argument.partition('=')[0] for argument in arguments}
    return ['proto.py', 'spec', *(argument for argument in FEW if argument.partition('=')[0] not in keys), *arguments]


def folder_of(data, output):
    """The folder of the experiment that a command says it has made."""
    return data / 'experiments' / re.search(r'^(?:experiment|results): \S*experiments/(\S+)$', output, re.MULTILINE).group(1)


def run(data, *command):
    """Run a command that must succeed; returns the folder of its experiment."""
    return folder_of(data, succeeded(warm(*command, data_folder=data)))


def proto(data, *arguments):
    """Run proto.py with some keys set otherwise; returns its first model folder."""
    return models(run(data, *usual(*arguments)))[0]


@pytest.fixture(scope='module')
def tones():
    return commands.tones()


@pytest.fixture
def data(tones, tmp_path):
    """A data folder without experiments that the test may change."""
    for name in ('index/tones', MEL):
        shutil.copytree(tones / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope='module')
def output(tones):
    """What an experiment of two runs prints."""
    return succeeded(warm(*TWO, data_folder=tones))


@pytest.fixture(scope='module')
def two(tones, output):
    """The folder of that experiment."""
    return folder_of(tones, output)


# ---- files and figures of a run --------------------------------------------------------------------------------------

def table(path):
    """Rows of a TSV file as dictionaries, and their keys."""
    header, *lines = rows(path)
    return [dict(zip(header, line, strict=True)) for line in lines], header


def archive(path):
    """The arrays of an npz file; none needs pickle."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file}


@functools.cache
def last_starts(data):
    """The last frame that a patch of 32 frames can begin at: dictionary id -> number."""
    return {key: max(len(np.load(path)) - 32, 0) for key, path in arrays(data).items()}


def check_latents(data, model, part, ids, truth, config):
    """One part's embeddings and ground truth; returns the mean log-probabilities of its clips."""
    latents, about = archive(model / f'embeddings_{part}_set.npz'), archive(model / f'gt_{part}_set.npz')
    assert list(latents) == ['arr_0'] and sorted(about) == ['arr_0', 'ids']
    embeddings, onehot = latents['arr_0'], about['arr_0']
    patches = [1 + last_starts(data)[key] // config['test_hop'] for key in ids]
    assert about['ids'].tolist() == np.repeat(ids, patches).tolist()
    assert embeddings.shape == (sum(patches), 10) and embeddings.dtype == np.float32
    np.testing.assert_array_equal(onehot, np.eye(3)[[truth[key] for key in about['ids']]])
    prototypes = archive(model / 'prototypes.npz')['arr_0']
    assert prototypes.shape == (3, 10) and prototypes.dtype == np.float32
    distance = cdist(embeddings, prototypes, 'cosine' if config['distance'] == 'cosine' else 'sqeuclidean')
    log_probabilities = log_softmax(-distance / (1 if config['distance'] == 'cosine' else 10), axis=1)
    return np.stack([log_probabilities[about['ids'] == key].mean(axis=0) for key in ids])


def check_run(data, model):
    """Everything that a run left behind agrees; returns its support set, log, epochs and ids."""
    config, about = (json.loads(path.read_text()) for path in (model.parent / 'config.json', model / 'model.json'))
    assert {path.name for path in model.iterdir()} == {
        'train_ids.tsv', 'support.tsv', 'train_log.tsv', 'epoch_accuracies.tsv', 'model.weights.h5', 'model.json', 'prototypes.npz',
        'result.json', 'embeddings_train_set.npz', 'gt_train_set.npz', 'embeddings_test_set.npz', 'gt_test_set.npz',
        'embeddings.png', 'test.result', 'test_predictions.tsv', 'confusion_matrix.tsv', 'class_report.tsv'}
    truth, tested = labels(data / config['gt_train']), labels(data / config['gt_test'])
    ids = [key for key, name in rows(model / 'train_ids.tsv')]
    shots = np.bincount(list(truth.values())) if config['n_shot'] == 'all' else [config['n_shot']] * 3
    assert [name for _, name in rows(model / 'train_ids.tsv')] == np.repeat(CLASSES, shots).tolist()
    assert len(set(ids)) == sum(shots) and all(CLASSES[truth[key]] == name for key, name in rows(model / 'train_ids.tsv'))

    most = lambda key, counts: sum(counts if config[key] == 'all' else np.minimum(counts, config[key]))
    support, header = table(model / 'support.tsv')
    assert header == ['id', 'class', 'first_frame'] and len(support) == most('patches_per_prototype', shots)
    assert [row['class'] for row in support] == sorted(row['class'] for row in support)
    assert len({row['id'] for row in support}) == len(support)
    for row in support:
        assert row['id'] in ids and row['class'] == CLASSES[truth[row['id']]]
        assert 0 <= int(row['first_frame']) <= last_starts(data)[row['id']]

    if config['train_sampling'] == 'random':
        patches = config['param_train_sampling'] * np.array(shots)
    else:
        counts = [1 + last_starts(data)[key] // config['param_train_sampling'] for key in ids]
        patches = np.bincount([truth[key] for key in ids], counts).astype(int)
    updates = sum(patches) // most('max_patches_per_class', patches)
    epochs, header = table(model / 'epoch_accuracies.tsv')
    assert header == ['epoch', 'accuracy', 'epoch_time'] and all(float(row['epoch_time']) >= 0 for row in epochs)
    log, header = table(model / 'train_log.tsv')
    assert header == ['update', 'epoch', 'loss', 'mean_distance_protos', 'accuracy'] + ['alpha', 'beta'] * (len(header) > 5)
    assert [row['update'] for row in log] == [str(i + 1) for i in range(len(epochs) * updates)]
    assert [row['epoch'] for row in log] == [str(i + 1) for i in range(len(epochs)) for _ in range(updates)]
    assert [row['epoch'] for row in epochs] == [str(i + 1) for i in range(len(epochs))]
    for row in log:
        assert float(row['loss']) > 0 and float(row['mean_distance_protos']) > 0 and 0 <= float(row['accuracy']) <= 1

    accuracies = [float(row['accuracy']) for row in epochs]  # they end where the stop rule says
    failures = np.cumsum([i > 0 and accuracy <= max(accuracies[:i]) for i, accuracy in enumerate(accuracies)])
    assert failures[-1] > config['max_accuracy'] or len(epochs) == config['max_epochs']
    assert (failures[:-1] <= config['max_accuracy']).all() and len(epochs) <= config['max_epochs']
    assert about.items() >= {'epochs': len(epochs), 'updates': len(log)}.items()
    assert about['best_accuracy'] == pytest.approx(max(accuracies), abs=1e-5)

    scores = check_latents(data, model, 'train', ids, truth, config)
    assert accuracies[-1] == pytest.approx((scores.argmax(axis=1) == [truth[key] for key in ids]).mean(), abs=1e-5)
    scores = check_latents(data, model, 'test', list(tested), tested, config)
    header, *predictions = rows(model / 'test_predictions.tsv')
    assert header == ['id', 'audio', 'true', 'predicted', 'correct', 'score'] + [f'score: {name}' for name in CLASSES]
    audio = dict(rows(data / 'index/tones/index_tones_folds_all.tsv'))
    assert [row[:3] for row in predictions] == [[key, audio[key], CLASSES[label]] for key, label in tested.items()]
    assert [row[3] for row in predictions] == [CLASSES[label] for label in scores.argmax(axis=1)]
    np.testing.assert_allclose([list(map(float, row[5:])) for row in predictions],
                               np.concatenate([scores.max(axis=1)[:, None], scores], axis=1), rtol=1e-4, atol=1e-5)
    right = [row[2] == row[3] for row in predictions]
    assert [row[4] for row in predictions] == [str(int(correct)) for correct in right]
    assert (model / 'test.result').read_text().startswith(f'Accuracy: {sum(right) / 9}\nCorrect: {sum(right)} of 9 clips\n')
    assert json.loads((model / 'result.json').read_text())['correct'] == sum(right)

    picture = plt.imread(model / 'embeddings.png')
    assert picture.shape[0] in range(400, 1200) and picture.shape[1] in range(500, 1600)
    assert len(np.unique(picture @ [1, 2, 4, 8])) > 50  # colours
    return support, log, epochs, ids


@pytest.mark.parametrize('number', [0, 1])
def test_files_of_a_run_agree(tones, two, number):
    model = models(two)[number]
    check_run(tones, model)
    assert re.fullmatch(r'fold_1_\d{10,}', two.name) and re.fullmatch(r'model_fold1_\d{10,}', model.name)
    assert json.loads((model / 'model.json').read_text())['run'] == number
    assert sorted(models(two)) == sorted(two.glob('model_*')) and len(models(two)) == 2
    assert temporary_files(two) == []


def test_prototypes_are_the_means_of_the_support_patches(tones, two):
    """They are among the scored training patches, since both are cut at hop 42."""
    for model in models(two):
        support, _ = table(model / 'support.tsv')
        embeddings, ids = archive(model / 'embeddings_train_set.npz')['arr_0'], archive(model / 'gt_train_set.npz')['ids']
        chosen = [np.flatnonzero(ids == row['id'])[int(row['first_frame']) // 42] for row in support]
        assert all(int(row['first_frame']) % 42 == 0 for row in support)
        expected = [embeddings[[place for place, row in zip(chosen, support) if row['class'] == name]].mean(axis=0)
                    for name in CLASSES]
        np.testing.assert_allclose(archive(model / 'prototypes.npz')['arr_0'], expected, rtol=1e-5, atol=1e-6)


def test_stored_weights_give_the_embeddings(tones, two):
    import models_proto
    from network import load_weights
    model, config = models(two)[0], json.loads((two / 'config.json').read_text())
    network, patches = models_proto.build(config, 128), []
    load_weights(network, model / 'model.weights.h5')
    for key in labels(tones / TEST):
        clip = np.load(arrays(tones)[key]).astype(np.float64)
        clip = np.tile(clip, (32, 1))[:max(len(clip), 32)]
        patches += [np.log10(clip[start:start + 32] + np.finfo(float).eps) for start in range(0, len(clip) - 31, 42)]
    embeddings = archive(model / 'embeddings_test_set.npz')['arr_0']
    np.testing.assert_allclose(network.predict(np.stack(patches), verbose=0), embeddings, rtol=1e-3, atol=1e-3)


def test_results_of_the_experiment(tones, two, output):
    accuracies = [float((model / 'test.result').read_text().split()[1]) for model in models(two)]
    lines = dict(line.split(': ', 1) for line in (two / 'experiment.result').read_text().splitlines())
    assert lines['Experiment'] == two.name and float(lines['Max']) == pytest.approx(max(accuracies), abs=1e-6)
    assert json.loads(lines['Accuracies']) == pytest.approx(accuracies, abs=1e-6)
    mean, std = map(float, lines['Mean'].split(' +- '))
    assert (mean, std) == (pytest.approx(np.mean(accuracies), abs=1e-6), pytest.approx(np.std(accuracies), abs=1e-6))
    results = [row for row in table(tones / 'experiments/results.tsv')[0] if row['experiment'] == two.name]
    assert [row['model'] for row in results] == [model.name for model in models(two)]
    for number, (row, accuracy) in enumerate(zip(results, accuracies)):
        wanted = {'run': number, 'method': 'proto, 4 filters', 'dataset': 'tones', 'fold': 1, 'n_shot': 2, 'seed': 1,
                  'correct': round(9 * accuracy), 'clips': 9}
        assert row.items() >= {key: str(value) for key, value in wanted.items()}.items()
        assert float(row['accuracy']) == pytest.approx(accuracy, abs=1e-6)
        assert float(row['train_seconds']) > 0 and float(row['test_seconds']) > 0

    patterns = ["overrides: dataset='tones', .*, num_experiment_runs=2, seed=1, max_accuracy=4, max_epochs=12",
                'device: .*; TensorFlow .*', 'model 2: proto, 4 filters, 906 trainable parameters', f'experiment: {two}',
                *[f'run {run} of 2: accuracy {accuracies[run - 1]:.3f}' for run in (1, 2)],
                r'proto, 4 filters, tones fold 1, n_shot 2: accuracy .* \(2 runs(, 95 % interval of the mean .*)?\)',
                f'results: experiments/{two.name}', 'next: python report.py dataset=tones']
    assert len(output.splitlines()) == len(patterns) and all(map(re.fullmatch, patterns, output.splitlines())), output
    assert '| proto, 4 filters ' in succeeded(warm('report.py', 'dataset=tones', data_folder=tones))


def test_all_methods_learn_from_the_same_clips(tones, two):
    for command in (('sl_train.py', *FAST, 'epochs=1'), ('knn_mfcc.py', 'dataset=tones', 'n_shot=2')):
        others = models(run(tones, *command, 'fold=1', 'seed=1', 'num_experiment_runs=2'))
        for ours, other in zip(models(two), others, strict=True):
            assert (ours / 'train_ids.tsv').read_bytes() == (other / 'train_ids.tsv').read_bytes()
    assert (models(two)[0] / 'train_ids.tsv').read_bytes() != (models(two)[1] / 'train_ids.tsv').read_bytes()


# ---- repetition and interruption -------------------------------------------------------------------------------------

def same_run(one, other):
    """Whether two model folders are the same apart from times."""
    files, others = tree(one), tree(other)
    assert files.keys() == others.keys()
    epochs = [[row[:2] for row in rows(model / 'epoch_accuracies.tsv')] for model in (one, other)]
    return same_weights(one, other) and epochs[0] == epochs[1] and all(files[name] == others[name] for name in files.keys() - TIMES)


def test_a_finished_experiment_is_trained_anew_and_gives_the_same(tones, two):
    before = tree(two)
    again = run(tones, *TWO)
    assert again != two and tree(two) == before
    assert [same_run(*pair) for pair in zip(models(two), models(again), strict=True)] == [True, True]
    first, second = models(two)
    for name in ('support.tsv', 'train_log.tsv', 'prototypes.npz', 'embeddings_test_set.npz'):
        assert (first / name).read_bytes() != (second / name).read_bytes()


def test_another_seed_gives_something_else(tones, two):
    other, model = proto(tones, 'seed=2', 'max_epochs=1'), models(two)[0]
    assert rows(other / 'train_ids.tsv') != rows(model / 'train_ids.tsv')
    first = [json.dumps(table(folder / 'train_log.tsv')[0][0]) for folder in (other, model)]
    assert first[0] != first[1] and not same_weights(other, model)


def logged(data, number):
    """Epochs of run `number` that have been logged so far."""
    folders = sorted(data.glob('experiments/fold_*/model_*'))
    path = folders[number] / 'epoch_accuracies.tsv' if len(folders) > number else None
    return len(rows(path)) - 1 if path and path.exists() else 0


def test_a_killed_experiment_goes_on(data, two):
    """Killed in its second run, it ends as the one that nobody disturbed."""
    with Started(*TWO, data_folder=data) as script:
        script.wait_until(lambda: logged(data, 1) > 1)
        script.process.kill()
        script.wait()
        for line in re.split(r'[\r\n]+', script.text()):  # a process of its own, so TensorFlow would tell what it has to tell
            known = r'overrides: |device: |model 2: |experiment: |proto, .*\(1 run\)$|run [12] of 2: |test set: |$'
            assert re.match(known, line), line
    experiment, = experiments(data)
    first, = models(experiment)
    before, moments = tree(first), {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert len(list(experiment.glob('model_*'))) == 2
    assert [row['run'] for row in table(data / 'experiments/results.tsv')[0]] == ['0']

    text = succeeded(warm(*TWO, data_folder=data))
    assert f'continuing {experiment.name}: 1 of 2 runs are finished' in text and '(2 runs' in text
    assert experiments(data) == [experiment]
    assert tree(first) == before and {path: path.stat().st_mtime_ns for path in first.iterdir()} == moments
    check_whole(data, experiment, two)


def check_whole(data, experiment, two):
    """An experiment is like `two`, and has its two rows in the table."""
    assert sorted(models(experiment)) == sorted(experiment.glob('model_*')) and temporary_files(data) == []
    assert [same_run(*pair) for pair in zip(models(experiment), models(two), strict=True)] == [True, True]
    result, reference = ((folder / 'experiment.result').read_text().splitlines()[1:] for folder in (experiment, two))
    assert result == reference
    results = table(data / 'experiments/results.tsv')[0]
    assert [(row['run'], row['model']) for row in results if row['experiment'] == experiment.name] == [
        (str(number), model.name) for number, model in enumerate(models(experiment))]


def test_a_run_that_was_recorded_but_not_finished(data, two):
    """Killed between results.tsv and models.list: the run is trained once more and its row replaced."""
    experiment = shutil.copytree(two, data / 'experiments' / two.name)
    shutil.copy(two.parent / 'results.tsv', experiment.parent)
    others = [row for row in rows(two.parent / 'results.tsv') if two.name not in row]
    (experiment / 'models.list').write_text(f'{models(two)[0].name}\n')
    assert f'continuing {two.name}: 1 of 2 runs are finished' in succeeded(warm(*TWO, data_folder=data))
    check_whole(data, experiment, two)
    assert [row for row in rows(experiment.parent / 'results.tsv') if two.name not in row] == others


# ---- options ---------------------------------------------------------------------------------------------------------

def test_log_learn(tones):
    model = proto(tones, 'model_number=12', 'pre_processing=None')
    _, log, *_ = check_run(tones, model)
    np.testing.assert_allclose([float(log[0]['alpha']), float(log[0]['beta'])], [np.exp(7), np.log(1 + np.e)], rtol=1e-5)
    assert log[1]['alpha'] != log[0]['alpha'] and log[1]['beta'] != log[0]['beta']
    assert table(tones / 'experiments/results.tsv')[0][-1]['method'] == 'log-learn proto, 4 filters'


def test_random_patches(tones):
    model = proto(tones, 'train_sampling=random', 'param_train_sampling=7', 'patches_per_prototype=1', 'max_patches_per_class=6')
    support, log, epochs, _ = check_run(tones, model)
    assert len(support) == 3 and len(log) == 2 * len(epochs)  # 42 patches, 18 in a query


def test_all_clips_and_all_patches(tones):
    model = proto(tones, 'n_shot=all', 'patches_per_prototype=all', 'max_patches_per_class=all')
    support, log, epochs, ids = check_run(tones, model)
    assert sorted(row['id'] for row in support) == sorted(ids) == sorted(labels(tones / TRAIN)) and len(log) == len(epochs)


def test_one_clip_of_a_class_and_cosine(tones):
    """With all else that changes input and scoring."""
    model = proto(tones, 'n_shot=1', 'distance=cosine', 'max_patches_per_class=1', 'test_hop=10', 'test_batch_size=4',
                  'normalize=chosen', 'pad_short=zero-pad')
    _, log, _, _ = check_run(tones, model)
    assert all(float(row['mean_distance_protos']) < 2 for row in log)
    about = json.loads((model / 'model.json').read_text())
    assert np.isfinite([about['normalize_mean'], about['normalize_std']]).all()


def test_load_model_starts_from_those_weights(tones, two):
    """With hardly a learning rate, all that training moves are the moving statistics."""
    source = models(two)[0]
    found = weights(proto(tones, f'load_model={source}', 'seed=5', 'learning_rate=1e-30', 'max_epochs=1'))
    moved = {name for name, array in weights(source).items() if not np.allclose(array, found[name], atol=1e-20)}
    layers = ['frame_normalization', 'batch_normalization', *(f'batch_normalization_{i}' for i in range(1, 5))]
    expected = {f'layers/{layer}/vars/{i}' for layer in layers for i in (2, 3)}
    assert {name for name in moved if 'seed_generator' not in name} == expected


# ---- what a user can get wrong ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('arguments, parts', [
    (['epochs=3'], ["'epochs=3'", 'max_epochs', 'n_shot']),
    (['gt_val=x'], ["'gt_val=x'"]),
    (['model_number=3'], ['model_number=3', '2 (proto)', '12 (log-learn proto)']),
    (['model_number=12'], ['model_number=12', 'pre_processing=None']),
    (['model_number=12', 'pre_processing=None', 'normalize=train'], ['model_number=12', 'normalize=None']),
    (['n_frames=16'], ['n_frames', '32 frames x 32 bands', '16 x 128']),
    (['distance=manhattan'], ["distance='manhattan' is not valid", "'euclidean', 'cosine'"]),
    (['projection=umap'], ["projection='umap' is not valid", "'pca', 'tsne'"]),
    (['max_epochs=0'], ['max_epochs=0 is not valid', 'None or a whole number from 1']),
    (['max_accuracy=-1'], ['max_accuracy=-1 is not valid', 'a whole number from 0']),
    (['filters=0'], ['filters=0 is not valid', 'a whole number from 1']),
    (['patches_per_prototype=0'], ['patches_per_prototype=0 is not valid', "'all' or a whole number from 1"]),
    (['max_patches_per_class=0.5'], ['max_patches_per_class=0.5 is not valid', "'all' or a whole number from 1"]),
    (['n_shot=7'], ['n_shot=7', 'high (', 'n_shot up to ']),
    (['fold=9'], ['gt_tones_fold9_train.tsv does not exist']),
    (['load_model=nowhere'], ["load_model='nowhere'", 'model.weights.h5', 'finished model']),
], ids=str)
def test_commands_that_cannot_work(data, arguments, parts):
    refused(warm(*usual(*arguments), data_folder=data), *parts)
    assert not (data / 'experiments').exists()


@pytest.mark.parametrize('arguments', [['filters=5'], ['n_frames=64'], ['model_number=12', 'pre_processing=None']], ids=str)
def test_load_model_of_another_network(tones, two, arguments):
    model, before = models(two)[0], experiments(tones)
    refused(warm(*usual(*arguments, f'load_model={model}'), data_folder=tones), model / 'model.weights.h5',
            arguments[0].partition('=')[0])
    assert experiments(tones) == before


def test_clips_without_representation(data):
    index, missing = data / MEL / 'index.tsv', []
    for part in (TEST, TRAIN):
        missing.append(list(labels(data / part))[-1])
        index.write_text(''.join('\t'.join(row) + '\n' for row in rows(index) if row[0] not in missing))
        refused(warm(*usual(), data_folder=data), f'1 clips of {part}', f'ids {missing[-1]} ', 'skip_missing=True')
    assert not (data / 'experiments').exists()
    model = proto(data, 'skip_missing=True', 'n_shot=all', 'max_epochs=1')
    for part, name in ((TRAIN, 'train_ids.tsv'), (TEST, 'test_predictions.tsv')):
        assert {row[0] for row in rows(model / name)} - {'id'} == set(labels(data / part)) - set(missing)


def test_a_value_of_a_test_clip_that_is_not_finite(data):
    """A single one, which poolings may hide as if it were just very large."""
    key = list(labels(data / TEST))[3]
    array = np.load(arrays(data)[key])
    array[5, 7] = np.nan
    commands.replace_array(arrays(data)[key], array)
    refused(warm(*usual(), data_folder=data), f'ids {key}.', 'not finite', 'preprocess.py spec dataset=tones')
    experiment, = experiments(data)
    assert not (experiment / 'models.list').exists() and not (data / 'experiments/results.tsv').exists()


def test_values_of_a_training_clip_that_are_not_finite(data):
    key = next(iter(labels(data / TRAIN)))
    commands.replace_array(arrays(data)[key], np.nan * np.load(arrays(data)[key]))
    refused(warm(*usual('n_shot=all'), data_folder=data), 'the cost of epoch 1 is nan', 'check the input')


def test_a_learning_rate_that_diverges(data):
    """With one update in an epoch, the embeddings tell before any cost does."""
    done = warm(*usual('learning_rate=1000', 'max_epochs=9', 'max_accuracy=99'), data_folder=data)
    refused(done, 'diverged', 'smaller learning_rate than 1000')
    experiment, = experiments(data)
    assert not (experiment / 'models.list').exists()


def test_experiments_of_other_scripts(tones, two):
    refused(warm('sl_evaluate.py', two.name, data_folder=tones), two.name, 'made by proto.py, not by sl_train.py')


def test_a_place_that_cannot_be_written(data):
    (data / 'experiments').write_text('')
    refused(warm(*usual(), data_folder=data), data / 'experiments', 'DATA_FOLDER')


def test_tensorflow_starts_only_after_the_checks(data):
    refused(commands.warm(*usual('n_shot=7'), data_folder=data, without_tensorflow=True), 'n_shot=7')
