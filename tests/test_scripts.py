"""Every script from the command line: what it reads, prints and writes, with its numbers checked by a second calculation."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

import commands
import diagnosis
import runner
import shared
from commands import (
    CLASSES,
    FAST,
    GROUPS,
    MEL,
    RATE,
    ROOT,
    Started,
    arrays,
    copy_of,
    environment,
    experiments,
    labels,
    make_sounds,
    models,
    refused,
    rows,
    run_script,
    same_weights,
    script_path,
    succeeded,
    temporary_files,
    tree,
    warm,
    weights,
)
from conftest import tone, write_sound
from results import read_results
from shared import UserError

ESC10 = os.environ.get('ESC10')
TRAIN = ('spec', 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=3', 'seed=1', 'model_number=2', 'epochs=5')
TRUTH = 'index/tones/gt_tones_fold0_train.tsv'
EPS = np.finfo(np.float64).eps


@pytest.fixture(scope='module')
def tones():
    return commands.tones()


@pytest.fixture
def copy(tones, tmp_path):
    """A copy of the small data set that the test may change."""
    return copy_of(tones, tmp_path / 'data')


# ---- the whole chain, each script in a process of its own, from a foreign folder --------------------------------------

class Chain:
    def __init__(self, folder):
        make_sounds(folder / 'audio')
        self.data, self.elsewhere = folder / 'data', folder / 'elsewhere'
        self.elsewhere.mkdir()
        self.done = {}
        self.run('index_folder.py', '../audio', 'tones', '--folds', 3, '--val-fraction', 0.2, without_tensorflow=True)
        self.run('preprocess.py', 'spec', 'dataset=tones', without_tensorflow=True)
        self.run('knn_mfcc.py', 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=3', 'seed=1',
                 without_tensorflow=True)
        self.run('sl_train.py', *TRAIN)
        self.knn, self.sl = experiments(self.data)
        self.run('sl_evaluate.py', self.sl.name, start=warm)  # TensorFlow has started in a process of its own once: that will do
        self.run('report.py', 'dataset=tones', without_tensorflow=True)

    def run(self, name, *arguments, start=run_script, **options):
        self.done[name] = start(name, *arguments, data_folder=self.data, cwd=self.elsewhere, **options)
        succeeded(self.done[name])

    def truth(self, part):
        return labels(self.data / f'index/tones/gt_tones_fold1_{part}.tsv')


@pytest.fixture(scope='module')
def chain(tmp_path_factory):
    return Chain(tmp_path_factory.mktemp('chain'))


def test_nothing_but_own_lines_is_printed(chain):
    folder, representations, name = chain.data.resolve(), r'.*/audio_representation/tones__', chain.sl.name
    expected = {
        'index_folder.py': ['recordings: 27 in 27 clips; 27 not grouped, each a recording of its own .*',
                            f'{folder}/index/tones: 27 clips, 3 classes, 3 fold\\(s\\)']
        + [fr'  fold {k}: train \d+, val \d+, test \d+' for k in range(3)]
        + ['next: cd src && python preprocess.py spec dataset=tones'],
        'preprocess.py': ["overrides: dataset='tones'", f'{representations}time-freq: 27 of 27 clips',
                          r'next: python sl_train.py spec dataset=tones n_shot=\d+'],
        'knn_mfcc.py': ["overrides: dataset='tones', fold=1, n_shot=2, num_experiment_runs=3, seed=1",
                        f'{representations}mfcc: 27 of 27 clips', *[fr'run {run} of 3: accuracy .*' for run in (1, 2, 3)],
                        r'knn_mfcc, tones fold 1, n_shot 2: accuracy .* \(3 runs(, 95 % interval of the mean .*)?\)',
                        f'results: experiments/{chain.knn.name}', 'next: python report.py dataset=tones'],
        'sl_train.py': ["overrides: dataset='tones', fold=1, n_shot=2, num_experiment_runs=3, seed=1, model_number=2, epochs=5",
                        'device: .*; TensorFlow .*', 'model 2: TIMBRE, 2273 trainable parameters',
                        f'experiment: {folder}/experiments/{name}', f'next: python sl_evaluate.py {name}'],
        'sl_evaluate.py': ['device: .*; TensorFlow .*', 'scoring: sliding window',
                           *[fr'run {run} of 3: accuracy .*' for run in (1, 2, 3)],
                           r'TIMBRE, tones fold 1, n_shot 2: accuracy .* \(3 runs(, 95 % interval of the mean .*)?\)',
                           f'results: {folder}/experiments/{name}', 'next: python report.py dataset=tones'],
        'report.py': ['', *[r'\|.*\|'] * 4, '', f'report: {folder}/experiments/report_tones/report.html .open it in a browser., '
                      f'{folder}/experiments/report_tones/report.md'],
    }
    for script, patterns in expected.items():
        lines = chain.done[script].stdout.split('\n')[:-1]
        assert len(lines) == len(patterns) and all(map(re.fullmatch, patterns, lines)), f'{script}: {lines}'
        for line in re.split(r'[\r\n]+', chain.done[script].stderr):  # progress bars
            assert re.fullmatch(r'|(time-freq|mfcc|run|model)[ \d,a-z()]*: +\d+%\|.*\|.*', line), f'{script}: {line!r}'


def test_nothing_is_written_elsewhere(chain):
    assert list(chain.elsewhere.iterdir()) == []
    assert temporary_files(chain.data) == []
    assert {path.name for path in chain.data.iterdir()} == {'index', 'audio_representation', 'experiments'}


def test_stored_spectrograms_are_those_of_librosa(chain):
    import librosa
    paths = rows(chain.data / 'index/tones/index_tones_folds_all.tsv')
    index = rows(chain.data / MEL / 'index.tsv')
    assert index == [[key, f'{MEL}/{audio[:-4]}.npy', audio] for key, audio in paths]
    assert index == rows(chain.data / MEL / 'index_0.tsv')
    assert len(list((chain.data / MEL).rglob('*.npy'))) == 27 and not list((chain.data / MEL).glob('errors*'))
    config = json.loads((chain.data / MEL / 'config.json').read_text())
    assert config == {'type': 'time-freq', 'spectrogram_type': 'mel', 'resample_sr': 44100, 'resampler': 'soxr_hq', 'hop': 1024,
                      'n_fft': 1024, 'n_mels': 128, 'dataset': 'tones', 'convert_id': False, 'identifier': 'tones',
                      'configuration': 'spec', 'overrides': {'dataset': 'tones'}}
    for _, path, audio in index[:3]:  # 1, 3.2 and 0.3 s
        samples, rate = soundfile.read(chain.elsewhere.parent / 'audio' / audio, dtype='float32')
        wanted = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=1024, hop_length=1024, n_mels=128).T
        stored = np.load(chain.data / path)
        assert stored.dtype == np.float32 and stored.shape == (1 + len(samples) // 1024, 128)
        np.testing.assert_allclose(stored, wanted, rtol=1e-4, atol=1e-9)


def test_train_ids_are_n_shot_clips_of_each_class(chain):
    truth = chain.truth('train')
    draws = [rows(model / 'train_ids.tsv') for model in models(chain.sl)]
    assert len(draws) == 3
    for draw in draws:
        assert [name for _, name in draw] == [name for name in CLASSES for _ in range(2)]
        assert len({key for key, _ in draw}) == 6
        assert all(CLASSES[truth[key]] == name for key, name in draw)
    assert draws[0] != draws[1] != draws[2] != draws[0]


def test_all_methods_learn_from_the_same_clips(chain):
    for network, baseline in zip(models(chain.sl), models(chain.knn), strict=True):
        assert (network / 'train_ids.tsv').read_bytes() == (baseline / 'train_ids.tsv').read_bytes()


def test_overrides_are_stored_and_used(chain):
    config = json.loads((chain.sl / 'config.json').read_text())
    wanted = {'dataset': 'tones', 'fold': 1, 'n_shot': 2, 'num_experiment_runs': 3, 'seed': 1, 'model_number': 2, 'epochs': 5}
    assert config['overrides'] == wanted and config.items() >= wanted.items()
    assert config['experiment'] == chain.sl.name and config['num_classes_dataset'] == 3
    assert config['gt_train'] == 'index/tones/gt_tones_fold1_train.tsv' and config['gt_val'] is None
    settings = json.loads((chain.data / MEL / 'config.json').read_text())
    assert len(config['representation']) == 7 and config['representation'].items() <= settings.items()
    assert re.fullmatch(r'fold_1_\d{10,}', chain.sl.name)
    assert all(re.fullmatch(r'model_fold1_\d{10,}', model.name) for model in models(chain.sl))
    assert sorted(models(chain.sl)) == sorted(chain.sl.glob('model_*'))
    assert [json.loads((model / 'model.json').read_text())['run'] for model in models(chain.sl)] == [0, 1, 2]


def test_train_log_has_a_row_per_epoch(chain):
    for model in models(chain.sl):
        header, *epochs = rows(model / 'train_log.tsv')
        assert header == ['epoch', 'train_cost', 'epoch_time', 'learning_rate']
        assert [row[0] for row in epochs] == ['1', '2', '3', '4', '5']
        costs = [float(row[1]) for row in epochs]
        assert np.isnan(costs[0]) and np.isfinite(costs[1:]).all() and costs[4] < costs[1]
        assert all(float(row[2]) >= 0 and row[3] == '0.1' for row in epochs)


def test_weights_are_complete_and_differ_between_runs(chain):
    one, two, three = models(chain.sl)
    for model in (one, two, three):
        assert sum(array.size for array in weights(model).values()) == 2273 + 2  # and two moving statistics
    assert not same_weights(one, two) and not same_weights(one, three) and not same_weights(two, three)


def timbre_scores(model, spectrogram):
    """Mean softmax over all patches of 128 frames, from the stored weights, by plain NumPy."""
    found = weights(model)
    gamma, beta, mean, variance = (found[f'layers/batch_normalization/vars/{i}'] for i in range(4))
    kernel, bias = found['layers/strongest_match/vars/0'][:, :, 0], found['layers/strongest_match/vars/1']
    if len(spectrogram) < 128:
        spectrogram = np.tile(spectrogram, (128 // len(spectrogram) + 1, 1))[:128]
    x = gamma * (np.log10(spectrogram + EPS) - mean) / np.sqrt(variance + 0.001) + beta
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2])  # (frames, bands, 7, 108)
    match = np.tensordot(windows, kernel, 2).max(axis=1)                     # (frames, classes)
    logits = np.stack([match[s:s + 122].max(axis=0) + bias for s in range(len(x) - 127)])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)


def test_scores_are_those_of_the_stored_weights(chain):
    paths = arrays(chain.data)
    for model in models(chain.sl):
        _, *predictions = rows(model / 'test_predictions.tsv')
        for row in predictions:
            np.testing.assert_allclose(np.array(row[6:], float), timbre_scores(model, np.load(paths[row[0]])),
                                       atol=1e-3)
    assert len({len(np.load(paths[row[0]])) > 128 for row in predictions}) == 2  # short and long clips


@pytest.mark.parametrize('method', ['sl', 'knn'])
def test_files_of_a_model_agree(chain, method):
    truth = chain.truth('test')
    audio = dict(rows(chain.data / 'index/tones/index_tones_folds_all.tsv'))
    accuracies = []
    for model in models(getattr(chain, method)):
        header, *table = rows(model / 'test_predictions.tsv')
        assert header == ['id', 'audio', 'true', 'predicted', 'correct', 'score'] + [f'score: {name}' for name in CLASSES]
        assert [row[:3] for row in table] == [[key, audio[key], CLASSES[label]] for key, label in truth.items()]
        matrix = np.zeros((3, 3), int)
        for key, _, true, predicted, correct, score, *scores in table:
            scores = np.array(scores, float)
            assert predicted == CLASSES[scores.argmax()] and float(score) == scores.max()
            assert abs(scores.sum() - 1) < 1e-4 and correct == str(int(true == predicted))
            matrix[CLASSES.index(true), CLASSES.index(predicted)] += 1
        assert rows(model / 'confusion_matrix.tsv') == [['true \\ predicted', *CLASSES]] + \
            [[name, *map(str, line)] for name, line in zip(CLASSES, matrix)]
        right, clips = np.trace(matrix), len(truth)
        text = (model / 'test.result').read_text().splitlines()
        assert text[0] == f'Accuracy: {right / clips}' and text[1] == f'Correct: {right} of {clips} clips'
        header, *report = rows(model / 'class_report.tsv')
        assert header == ['class', 'clips', 'recall', 'precision', 'f1']
        for label, (name, support, recall, precision, f1) in enumerate(report):
            hit, told, there = matrix[label, label], matrix[:, label].sum(), matrix[label].sum()
            assert (name, support) == (CLASSES[label], str(there))
            np.testing.assert_allclose([float(recall), float(precision), float(f1)],
                                       [hit / there, hit / max(told, 1), 2 * hit / (told + there)], rtol=1e-5)
        accuracies.append(right / clips)

    folder = getattr(chain, method)
    assert (folder / 'confusion_matrix.png').read_bytes().startswith(b'\x89PNG')
    assert (folder / 'training.png').is_file() == (folder / models(folder)[0] / 'train_log.tsv').is_file()
    lines = dict(line.split(': ', 1) for line in (folder / 'experiment.result').read_text().splitlines())
    assert lines['Experiment'] == folder.name
    np.testing.assert_allclose(json.loads(lines['Accuracies']), accuracies, atol=1e-6)
    np.testing.assert_allclose(float(lines['Max']), max(accuracies), atol=1e-6)
    mean, std = lines['Mean'].split(' +- ')
    np.testing.assert_allclose([float(mean), float(std)], [np.mean(accuracies), np.std(accuracies)], atol=1e-6)
    header, *results = rows(chain.data / 'experiments/results.tsv')
    results = [dict(zip(header, row)) for row in results if row[1] == folder.name]
    assert [row['model'] for row in results] == [model.name for model in models(folder)]
    for run, (row, accuracy) in enumerate(zip(results, accuracies)):
        wanted = {'run': run, 'method': {'sl': 'TIMBRE', 'knn': 'knn_mfcc'}[method], 'dataset': 'tones', 'fold': 1, 'n_shot': 2,
                  'seed': 1, 'correct': round(accuracy * 9), 'clips': 9}
        assert row.items() >= {key: str(value) for key, value in wanted.items()}.items()
        assert abs(float(row['accuracy']) - accuracy) < 1e-6
        assert float(row['accuracy_low']) < accuracy <= float(row['accuracy_high'])


def test_report_is_the_table_of_results(chain):
    header, *results = rows(chain.data / 'experiments/results.tsv')
    assert len(results) == 6
    folder = chain.data / 'experiments/report_tones'
    text = (folder / 'report.md').read_text().partition('### 95')[0]
    head, _, *lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if '|' in line]
    assert head == ['accuracy, mean +- std (runs)', 'n = 2']
    wanted, summary = [], []
    for method in ('TIMBRE', 'knn_mfcc'):
        accuracies = [float(dict(zip(header, row))['accuracy']) for row in results if method in row]
        wanted.append([method, f'{np.mean(accuracies):.3f} +- {np.std(accuracies):.3f} (3)'])
        summary.append(['tones', method, '2', f'{np.mean(accuracies):.6g}', f'{np.std(accuracies):.6g}'])
    assert lines == wanted
    header, *table = rows(folder / 'accuracy.tsv')
    assert header[:5] == ['dataset', 'method', 'n_shot', 'mean', 'std'] and [row[:5] for row in table] == summary
    assert {path.name for path in folder.iterdir()} == {
        '.lock', 'report.html', 'report.md', 'accuracy.tsv', 'paired.tsv', 'verdicts.tsv', 'costs.tsv', 'accuracy_tones.png', 'accuracy_tones.pdf',
        'confusion_tones_TIMBRE.png', 'confusion_tones_knn_mfcc.png'}


def test_the_same_command_gives_identical_results(chain, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(chain.data, data, ignore=shutil.ignore_patterns('fold_*', 'results.tsv'))
    succeeded(warm('sl_train.py', *TRAIN, data_folder=data))
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    for first, second in zip(models(chain.sl), models(experiments(data)[0]), strict=True):
        assert same_weights(first, second)
        for name in ('test_predictions.tsv', 'train_ids.tsv', 'test.result', 'confusion_matrix.tsv'):
            assert (first / name).read_bytes() == (second / name).read_bytes()


def test_latest_is_the_newest_experiment(chain, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(chain.data, data)
    done = warm('sl_evaluate.py', 'latest', 'test_hop=200', data_folder=data)
    assert f'results: {data.resolve()}/experiments/{chain.sl.name}\n' in succeeded(done)
    before, after = rows(chain.data / 'experiments/results.tsv'), rows(data / 'experiments/results.tsv')
    assert after[:len(before)] == before and len(after) == len(before) + 3  # other results, which replace nothing
    assert [row[1:4] for row in after[-3:]] == [row[1:4] for row in before[-3:]] and after[-1][-1] != before[-1][-1]


def test_a_test_hop_scores_only_these_patches(chain, tmp_path):
    """With a hop beyond the clips' lengths, only the first patch of each counts."""
    data = tmp_path / 'data'
    shutil.copytree(chain.data, data)
    succeeded(warm('sl_evaluate.py', chain.sl.name, 'test_hop=200', data_folder=data))
    model = models(data / 'experiments' / chain.sl.name)[0]
    paths = arrays(data)
    for row in rows(model / 'test_predictions.tsv')[1:]:
        wanted = timbre_scores(model, np.load(paths[row[0]])[:128])
        np.testing.assert_allclose(np.array(row[6:], float), wanted, atol=1e-3)


def test_patch_by_patch_gives_the_same_results(chain, tmp_path):
    """And so does an experiment of before there was a choice."""
    data = tmp_path / 'data'
    shutil.copytree(chain.data, data)
    experiment = data / 'experiments' / chain.sl.name
    done = warm('sl_evaluate.py', chain.sl.name, 'sliding=False', data_folder=data)
    assert 'scoring: patch by patch (sliding=False)\n' in succeeded(done)
    results = rows(data / 'experiments/results.tsv')
    config = json.loads((experiment / 'config.json').read_text())
    assert config.pop('sliding') is True
    (experiment / 'config.json').write_text(json.dumps(config))
    for old, new in zip(rows(chain.data / 'experiments/results.tsv'), results, strict=True):
        assert old[1:-3] + old[-1:] == new[1:-3] + new[-1:]  # all but date and seconds; the recipe is the same
    for first, second in zip(models(chain.sl), models(experiment), strict=True):
        ours, expected = (np.array([row[5:] for row in rows(model / 'test_predictions.tsv')[1:]], float)
                          for model in (first, second))
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert 'scoring: sliding window\n' in succeeded(warm('sl_evaluate.py', chain.sl.name, data_folder=data))
    for first, second in zip(models(chain.sl), models(experiment), strict=True):
        assert (first / 'test_predictions.tsv').read_bytes() == (second / 'test_predictions.tsv').read_bytes()
    again = rows(data / 'experiments/results.tsv')
    assert [row[-1] for row in again] == [row[-1] for row in results]


# ---- options of sl_train ---------------------------------------------------------------------------------------------

def train(data, *arguments, configuration='spec'):
    """Run sl_train.py; returns the first model folder of the new experiment and the rows of its log as dictionaries."""
    keys = {argument.partition('=')[0] for argument in arguments}
    fast = [argument for argument in FAST[1:] if argument.partition('=')[0] not in keys]
    succeeded(warm('sl_train.py', configuration, *fast, *arguments, data_folder=data))
    model = models(experiments(data)[-1])[0]
    header, *table = rows(model / 'train_log.tsv')
    return model, [dict(zip(header, row)) for row in table]


@pytest.fixture(scope='module')
def untrained(tones):
    """A model folder with the random weights of seed 0."""
    return train(tones, 'epochs=1')[0]


def test_the_first_epoch_trains_nothing(tones, untrained):
    log = rows(untrained / 'train_log.tsv')
    assert len(log) == 2 and log[1][:2] == ['1', 'nan']
    assert not weights(untrained)['layers/strongest_match/vars/1'].any()  # biases are still zero
    assert not same_weights(untrained, train(tones, 'epochs=2')[0])


def test_new_statistics_change_nothing_else(tones):
    """spec_plus trains as spec does, then estimates the statistics of batch normalisation anew, the same ones every time."""
    arguments = 'epochs=4', 'statistics_passes=3'
    (plain, log), (new, new_log), (again, _) = (train(tones, *more, configuration=name) for name, more in (
        ('spec', arguments[:1]), ('spec_plus', arguments), ('spec_plus', (*arguments, 'resume=False'))))
    assert [row['train_cost'] for row in log] == [row['train_cost'] for row in new_log]
    ours, others = weights(new), weights(plain)
    differing = {name for name in ours if ours[name].tobytes() != others[name].tobytes()}
    assert len(differing) == 2  # mean and variance of the one normalised layer
    assert same_weights(new, again)
    succeeded(warm('sl_evaluate.py', new.parent.name, data_folder=tones))
    assert rows(tones / 'experiments/results.tsv')[-1][4] == 'TIMBRE, new statistics'


def test_prototypical_networks_with_new_statistics(tones):
    """The moving averages of every layer of batch normalisation differ, and so may the epoch at which training stops."""
    found = []
    for entry in ('spec', 'spec_plus'):
        succeeded(warm('proto.py', entry, 'dataset=tones', 'n_shot=2', 'max_epochs=1', 'filters=4', data_folder=tones))
        found.append(weights(models(experiments(tones)[-1])[0]))
    assert rows(tones / 'experiments/results.tsv')[-1][4] == 'proto, 4 filters, new statistics'
    differing = {name for name in found[0] if found[0][name].tobytes() != found[1][name].tobytes()}
    assert len(differing) == 2 * 6  # mean and variance; the first epoch trains the same weights


def test_validation_scores_the_new_statistics(tones, monkeypatch):
    """The best epoch is chosen by the network as it will be used: its stored weights give the accuracy in the log."""
    part = 'index/tones/gt_tones_fold0_val.tsv'
    model, log = train(tones, 'epochs=3', 'statistics_passes=2', 'val_hop=1', f'gt_val={part}', configuration='spec_plus')
    monkeypatch.setenv('DATA_FOLDER', str(tones))
    import classifier
    paths = {key: path for key, path in rows(tones / 'index/tones/index_tones_folds_all.tsv')}
    files = [tones / 'audio' / paths[line.split('\t')[0]] for line in (tones / part).read_text().splitlines()]
    decided = classifier.load(model.parent.name).predict(files)
    right = np.mean([Path(file).parent.name == best for file, best in zip(decided['file'], decided['best'])])
    assert right == pytest.approx(max(float(row['val_accuracy']) for row in log), abs=1e-6)


@pytest.mark.parametrize('as_path', [lambda model: model.relative_to(model.parents[2]), lambda model: Path(*model.parts[-2:]),
                                     lambda model: model], ids=['below DATA_FOLDER', 'below experiments', 'absolute'])
def test_load_model_starts_from_those_weights(tones, untrained, as_path):
    other = train(tones, 'epochs=1', 'seed=5')[0]
    assert not same_weights(other, untrained)
    assert same_weights(train(tones, 'epochs=1', f'load_model={as_path(other)}')[0], other)


def test_weight_decay_adds_half_the_squared_norm_of_the_kernels(tones, untrained):
    kernel = weights(untrained)['layers/strongest_match/vars/0'].astype(float)
    costs = [float(train(tones, 'epochs=2', f'weight_decay={value}')[1][1]['train_cost']) for value in (None, 0.001, 0.5)]
    decay = 0.5 * np.square(kernel).sum()
    np.testing.assert_allclose([costs[1] - costs[0], costs[2] - costs[0]], [0.001 * decay, 0.5 * decay], atol=2e-5)


def prepared(data, keys, pad, compress):
    paths = arrays(data)
    clips = [np.load(paths[key]).astype(float) for key in keys]
    return np.concatenate([compress(clip if len(clip) >= 128 else pad(clip)).ravel() for clip in clips])


def repeat_pad(clip):
    return np.tile(clip, (128, 1))[:128]


def zero_pad(clip):
    before = (128 - len(clip)) // 2
    return np.concatenate([np.zeros((before, 128)), clip, np.zeros((128 - len(clip) - before, 128))])


@pytest.mark.parametrize('options, keys, pad, compress', [
    (['normalize=train'], 'all', repeat_pad, lambda x: np.log10(x + EPS)),
    (['normalize=chosen', 'pad_short=zero-pad', 'pre_processing=log10000'], 'chosen', zero_pad,
     lambda x: np.log10(10000 * x + 1)),
], ids=['train', 'chosen'])
def test_normalisation_is_that_of_the_prepared_training_clips(tones, options, keys, pad, compress):
    model, log = train(tones, 'epochs=3', *options)
    ids = labels(tones / TRUTH) if keys == 'all' else [key for key, _ in rows(model / 'train_ids.tsv')]
    values = prepared(tones, ids, pad, compress)
    about = json.loads((model / 'model.json').read_text())
    np.testing.assert_allclose([about['normalize_mean'], about['normalize_std']], [values.mean(), values.std()], rtol=1e-4)
    assert np.isfinite(float(log[2]['train_cost']))
    if keys == 'chosen':  # the network's input has mean 0 and variance 1, so its moving statistics stay there
        mean, variance = (weights(model)[f'layers/batch_normalization/vars/{i}'][0] for i in (2, 3))
        assert abs(mean) < 0.01 and abs(variance - 1) < 0.02
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=tones))


def test_without_normalisation_the_network_sees_log10_of_the_spectrogram(tones):
    """The moving mean after one update is a hundredth of the batch mean, which is that of the chosen clips."""
    model, _ = train(tones, 'epochs=2', 'train_sampling=overlap_sampling', 'param_train_sampling=200')
    ids = [key for key, _ in rows(model / 'train_ids.tsv')]
    paths = arrays(tones)
    clips = [np.log10(np.tile(np.load(paths[key]), (128, 1))[:128].astype(float) + EPS) for key in ids]
    np.testing.assert_allclose(weights(model)['layers/batch_normalization/vars/2'], 0.01 * np.mean(clips), rtol=1e-4)


def test_overlap_sampling_takes_all_patches_at_that_hop(tones):
    model, _ = train(tones, 'epochs=2', 'train_sampling=overlap_sampling', 'param_train_sampling=4', 'n_shot=all')
    ids = [key for key, _ in rows(model / 'train_ids.tsv')]
    truth = labels(tones / TRUTH)
    assert ids == sorted(truth, key=truth.get)
    paths, patches = arrays(tones), []
    for clip in (np.load(paths[key]).astype(float) for key in ids):
        clip = np.tile(clip, (128, 1))[:max(len(clip), 128)]
        patches += [np.log10(clip[start:start + 128] + EPS) for start in range(0, len(clip) - 127, 4)]
    assert len(patches) > len(ids)
    np.testing.assert_allclose(weights(model)['layers/batch_normalization/vars/2'], 0.01 * np.mean(patches), rtol=1e-4)


def test_log_learn_writes_alpha_and_beta(tones):
    _, log = train(tones, 'epochs=4', 'model_number=12', 'pre_processing=None')
    assert list(log[0]) == ['epoch', 'train_cost', 'epoch_time', 'learning_rate', 'alpha', 'beta']
    np.testing.assert_allclose([float(log[0]['alpha']), float(log[0]['beta'])], [np.exp(7), np.log(1 + np.e)], rtol=1e-5)
    assert log[3]['alpha'] != log[0]['alpha'] and log[3]['beta'] != log[0]['beta']
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=tones))


def test_with_a_validation_part_the_best_weights_are_kept(copy):
    """Validation clips with the labels of other classes: the better the network learns, the worse it does on them."""
    path = copy / 'index/tones/gt_tones_fold0_val.tsv'
    others = {key: [float(c == (label + 1) % 3) for c in range(3)] for key, label in labels(path).items()}
    path.write_text(''.join(f'{key}\t{onehot}\n' for key, onehot in others.items()))
    model, log = train(copy, 'epochs=6', 'learning_rate=0.03', configuration='spec_val')
    assert list(log[0]) == ['epoch', 'train_cost', 'val_cost', 'val_accuracy', 'epoch_time', 'learning_rate']
    accuracies = [float(row['val_accuracy']) for row in log]
    best = max(epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy == max(accuracies))  # the latest of equal ones
    assert 1 < best < 6, f'the first or last weights are the best, which shows nothing: {accuracies}'
    assert same_weights(model, train(copy, f'epochs={best}', 'learning_rate=0.03')[0])
    refused(warm('sl_evaluate.py', model.parent.name, f'gt_test={path.relative_to(copy)}', data_folder=copy),
            'test clips are training or validation clips of')


# ---- preprocess ------------------------------------------------------------------------------------------------------

def librosa_representation(kind, samples):
    import librosa
    if kind == 'waveform':
        return samples[:, None]
    if kind == 'cqt':
        return np.abs(librosa.cqt(samples, sr=RATE, hop_length=1024, n_bins=84)).T
    return np.abs(librosa.stft(samples, n_fft=512, hop_length=1024)).T


@pytest.mark.parametrize('kind, options', [('waveform', ['type=waveform']), ('cqt', ['spectrogram_type=cqt']),
                                           ('stft', ['spectrogram_type=stft', 'n_fft=512'])])
def test_other_representations(tones, kind, options):
    name, folder = f'tones_{kind}', f'audio_representation/tones_{kind}__{"waveform" if kind == "waveform" else "time-freq"}'
    succeeded(warm('preprocess.py', 'spec', 'dataset=tones', f'identifier={name}', *options, data_folder=tones))
    index = rows(tones / folder / 'index.tsv')
    assert len(index) == 27
    for _, path, audio in (index[1], index[3]):
        samples, _ = soundfile.read(tones / 'audio' / audio, dtype='float32')
        stored, wanted = np.load(tones / path), librosa_representation(kind, samples)
        assert stored.dtype == np.float32
        np.testing.assert_allclose(stored, wanted, rtol=1e-4, atol=1e-5)
    if kind == 'stft':  # 257 bands: another input than the usual one for the network
        train(tones, 'epochs=2', f'audio_representation_folder={folder}')
        succeeded(warm('sl_evaluate.py', 'latest', data_folder=tones))


@pytest.mark.parametrize('together', [False, True], ids=['in turn', 'at the same time'])
def test_two_machines_make_what_one_makes(tones, tmp_path, together):
    shutil.copytree(tones / 'index', tmp_path / 'index')
    share = [('preprocess.py', 'spec', 'dataset=tones', 'n_machines=2', f'machine_i={i}') for i in range(2)]
    folder = tmp_path / MEL
    if together:
        with Started(*share[0], data_folder=tmp_path) as one, Started(*share[1], data_folder=tmp_path) as other:
            assert one.wait() == 0, one.text()
            assert other.wait() == 0, other.text()
    else:
        assert 'index.tsv is written when all 2 machines' in succeeded(warm(*share[1], data_folder=tmp_path))
        assert not (folder / 'index.tsv').exists()
        assert 'index.tsv is written when all 2 machines' not in succeeded(warm(*share[0], data_folder=tmp_path))
    whole = (tones / MEL / 'index.tsv').read_text().splitlines(keepends=True)
    assert [(folder / f'index_{i}.tsv').read_text() for i in range(2)] == [''.join(whole[:13]), ''.join(whole[13:])]
    assert (folder / 'index.tsv').read_text() == ''.join(whole)
    assert tree(folder, '*.npy') == tree(tones / MEL, '*.npy')


def test_changed_sounds_are_done_again_and_all_others_stay(copy):
    before = {path: path.stat().st_ctime_ns for path in (copy / MEL).rglob('*.npy')}
    changed, older = copy / 'audio/low/low_3.wav', copy / 'audio/mid/mid_0.wav'
    soundfile.write(changed, np.zeros(3000), RATE)
    soundfile.write(older, np.ones(5000) * 0.1, RATE)
    os.utime(older, (1e9, 1e9))
    assert '25 of 27 clips are there already' in succeeded(warm('preprocess.py', 'spec', 'dataset=tones', data_folder=copy))
    again = {path.name for path, time in before.items() if path.stat().st_ctime_ns != time}
    assert again == {'low_3.npy', 'mid_0.npy'}
    assert not np.load(copy / MEL / 'low/low_3.npy').any() and np.load(copy / MEL / 'mid/mid_0.npy').shape == (5, 128)


def test_overwrite_replaces_what_was_made_with_other_parameters(copy):
    succeeded(warm('preprocess.py', 'spec', 'dataset=tones', 'n_mels=64', 'overwrite=True', data_folder=copy))
    assert {np.load(path).shape[1] for path in (copy / MEL).rglob('*.npy')} == {64}
    assert json.loads((copy / MEL / 'config.json').read_text())['n_mels'] == 64


def test_convert_id_names_the_files_by_id(tones):
    succeeded(warm('preprocess.py', 'spec', 'dataset=tones', 'identifier=numbers', 'convert_id=True', data_folder=tones))
    folder = 'audio_representation/numbers__time-freq'
    assert [path for _, path, _ in rows(tones / folder / 'index.tsv')] == [f'{folder}/{i}.npy' for i in range(27)]
    for (_, one, _), (_, other, _) in zip(rows(tones / folder / 'index.tsv'), rows(tones / MEL / 'index.tsv'), strict=True):
        assert (tones / one).read_bytes() == (tones / other).read_bytes()


# ---- other data sets -------------------------------------------------------------------------------------------------

def noise(path, length, rate, channels=1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(length).standard_normal((length, channels))
    soundfile.write(path, samples, rate, **options)


def test_urbansound8k(tmp_path):
    """Ten folders of ten classes, with rates, channels and bit depths as they come."""
    classes = ['air_conditioner', 'car_horn', 'children_playing', 'dog_bark', 'drilling', 'engine_idling', 'gun_shot',
               'jackhammer', 'siren', 'street_music']
    source, data = tmp_path / 'UrbanSound8K', tmp_path / 'data'
    forms = [(44100, 2, 'PCM_16'), (48000, 2, 'PCM_24'), (96000, 1, 'PCM_16'), (22050, 1, 'FLOAT'), (8000, 1, 'PCM_U8')]
    lines = ['slice_file_name,fsID,start,end,salience,fold,classID,class']
    for i in range(100):
        fold, label = i // 10 + 1, i % 10
        rate, channels, subtype = forms[(i + fold) % 5]
        noise(source / f'audio/fold{fold}/{i}-{label}-0-0.wav', 500 + 200 * i, rate, channels, subtype=subtype)
        lines.append(f'{i}-{label}-0-0.wav,{i},0.0,4.0,1,{fold},{label},{classes[label]}')
    (source / 'metadata').mkdir()
    (source / 'metadata/UrbanSound8K.csv').write_text('\n'.join(lines) + '\n')

    succeeded(warm('index_us8k.py', source, data_folder=data))
    succeeded(warm('preprocess.py', 'us8k_spec', 'num_processing_units=1', data_folder=data))
    for i in range(5):  # frames are counted at 44.1 kHz
        length, rate = 500 + 200 * i, forms[(i + 1) % 5][0]
        shape = np.load(data / f'audio_representation/us8k__time-freq/fold1/{i}-{i}-0-0.npy').shape
        assert shape == (1 + -(-length * 44100 // rate) // 1024, 128)
    assert 'TIMBRE, validated, 7572 trainable parameters' in succeeded(
        warm('sl_train.py', 'spec_val', 'dataset=us8k', 'fold=3', 'n_shot=2', 'model_number=2', 'epochs=2', data_folder=data))
    experiment = experiments(data)[0]
    assert experiment.name.startswith('fold_3_')
    drawn = [int(key) for key, _ in rows(models(experiment)[0] / 'train_ids.tsv')]
    assert [i % 10 for i in drawn] == [label for label in range(10) for _ in range(2)] and len(set(drawn)) == 20
    assert not {i // 10 + 1 for i in drawn} & {4, 5}  # folder 4 is test, folder 5 validation
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    tested = [row[0] for row in rows(models(experiment)[0] / 'test_predictions.tsv')[1:]]
    assert tested == [str(i) for i in range(30, 40)]


def test_tut_acoustic_scenes(tmp_path):
    scenes = ['beach', 'bus', 'cafe/restaurant', 'car', 'city_center', 'forest_path', 'grocery_store', 'home', 'library',
              'metro_station', 'office', 'park', 'residential_area', 'train', 'tram']
    source, data = tmp_path / 'tut', tmp_path / 'data'
    for part, count in (('development', 2), ('evaluation', 1)):
        folder, lines = source / f'TUT-acoustic-scenes-2017-{part}', []
        for i in range(15 * count):
            noise(folder / f'audio/{part[0]}{i}.wav', 4000 + i, 44100, 2, subtype='PCM_24')
            lines.append(f'audio/{part[0]}{i}.wav\t{scenes[i % 15]}\tplace{i}\n')
        (folder / 'meta.txt').write_text(''.join(lines))

    succeeded(warm('index_asc.py', source, data_folder=data))
    succeeded(warm('preprocess.py', 'asc_spec', 'num_processing_units=1', data_folder=data))
    assert 'TIMBRE, 11357 trainable parameters' in succeeded(
        warm('sl_train.py', 'spec', 'n_shot=1', 'model_number=2', 'epochs=2', data_folder=data))
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    model = models(experiments(data)[0])[0]
    assert [name for _, name in rows(model / 'train_ids.tsv')] == scenes
    assert [row[0:3:2] for row in rows(model / 'test_predictions.tsv')[1:]] == [[str(30 + i), scenes[i]] for i in range(15)]


@pytest.mark.parametrize('name', ['2024', 'True', 'None'])
def test_a_name_is_refused_at_once_or_works(tones, tmp_path, name):
    """Names that Python reads as something else: the next command that index_folder.py prints is taken at its word."""
    done = warm('index_folder.py', tones / 'audio', name, data_folder=tmp_path)
    if done.returncode:
        commands.refused(done, repr(name))
    else:
        arguments = done.stdout.splitlines()[-1].partition('preprocess.py ')[2].split()
        succeeded(warm('preprocess.py', *arguments, data_folder=tmp_path))
        succeeded(warm('knn_mfcc.py', f'dataset={name}', 'n_shot=1', 'num_experiment_runs=1', data_folder=tmp_path))
        succeeded(warm('report.py', f'dataset={name}', data_folder=tmp_path))


def test_class_names_with_foreign_letters_and_signs(tmp_path):
    """Nothing a folder may be called spoils tables or figures."""
    names = ['$rain_$', 'a & <b>', 'Vögel "früh"', '猫']
    make_sounds(tmp_path / 'audio', 3, (0.3,), {name: 300 * 3 ** i for i, name in enumerate(names)}.items())
    succeeded(warm('index_folder.py', tmp_path / 'audio', 'odd', data_folder=tmp_path))
    done = warm('knn_mfcc.py', 'dataset=odd', 'n_shot=1', 'num_experiment_runs=1', data_folder=tmp_path)
    succeeded(done)
    model = models(experiments(tmp_path)[0])[0]
    assert [name for _, name in rows(model / 'train_ids.tsv')] == sorted(names)
    assert 'arning' not in done.stderr


def test_demo_with_a_broken_file(tmp_path):
    audio = make_sounds(tmp_path / 'audio', 6, (1.0, 0.5))
    (audio / 'low/low_2.wav').write_text('this is no sound')
    data = tmp_path / 'data'
    succeeded(warm('index_folder.py', audio, 'mine', data_folder=data))
    done = warm('reproduce.py', 'demo', 'datasets=mine', 'n_shots=2', 'methods=knn_mfcc,TIMBRE,proto', 'num_experiment_runs=2', 'epochs=3',
                'filters=4', 'max_accuracy=0', data_folder=data)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith('0 of 6 runs failed, 1 sound files were refused, see above')
    assert re.search(r'id \d+: \S*low/low_2.wav: not readable as audio', done.stdout)
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in done.stdout.splitlines() if line.startswith('|')]
    assert table[0] == ['accuracy, mean +- std (runs)', 'n = 2']
    assert [line[0] for line in table[2:]] == ['TIMBRE', 'knn_mfcc', 'proto, 4 filters']
    assert all(re.fullmatch(r'[01]\.\d{3} \+- 0\.\d{3} \(2\)', cell) for line in table[2:] for cell in line[1:])
    assert (data / 'experiments/report_demo_mine_part/accuracy_mine.png').read_bytes().startswith(b'\x89PNG')
    header, *results = rows(data / 'experiments/results.tsv')
    assert len(results) == 6
    bad = next(key for key, path in rows(data / 'index/mine/index_mine_folds_all.tsv') if path == 'low/low_2.wav')
    draws = {}
    for row in (dict(zip(header, row)) for row in results):
        model = data / 'experiments' / row['experiment'] / row['model']
        draws.setdefault(row['run'], []).append((model / 'train_ids.tsv').read_text())
        used = [row[0] for name in ('train_ids.tsv', 'test_predictions.tsv') for row in rows(model / name)]
        assert bad not in used
    assert len(draws) == 2 and all(len(texts) == 3 and len(set(texts)) == 1 for texts in draws.values())
    for word in ('oneDNN', 'cuda', 'WARNING', 'retracing'):
        assert word not in done.stdout + done.stderr


# ---- help, start-up, pipes -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('script', [*GROUPS, 'sl_evaluate.py', 'transfer_evaluate.py', 'vggish_smoke_test.py', 'smoke_test.py', 'report.py',
                                    'index_folder.py', 'index_us8k.py', 'index_asc.py', 'index_esc.py', 'make_demo_sounds.py',
                                    'download.py', 'index_table.py', 'check.py', 'fit.py', 'classify.py', 'export.py'])
def test_help_tells_usage_and_keys(tmp_path, script):
    text = succeeded(warm(script, '--help', data_folder=tmp_path))
    assert text.startswith('usage:') and re.search(fr'Usage:\s+.*python \S*{re.escape(script)}', text), text
    import config_file
    group = getattr(config_file, GROUPS.get(script, ''), {})
    for key, value in next(iter(group.values()), {}).items():
        assert f'{key}={value!r}' in text
    if script == 'sl_evaluate.py':
        assert re.search(r'gt_test,\s+skip_missing,\s+sliding,\s+test_batch_size,\s+test_hop', text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('script, entry, told', [('frozen.py', 'mn04', "network='mn04'"), ('transfer_train.py', 'mn04', 'epochs=16'),
                                                 ('reproduce.py', 'esc10', "datasets=['esc10']"),
                                                 ('sl_train.py', 'spec_plus', 'statistics_passes=30')])
def test_help_tells_the_values_of_the_entry(tmp_path, script, entry, told):
    text = succeeded(warm(script, entry, '--help', data_folder=tmp_path))
    assert f'[{entry!r}]:\n' in text and told in text and f'for another entry: {script} <entry> --help' in text
    assert told not in succeeded(warm(script, '--help', data_folder=tmp_path))


@pytest.mark.parametrize('script, entry, key, meaning', [
    ('proto.py', 'spec', 'model_number', '2, or 12: the same with log-learn'), ('sl_train.py', 'spec', 'model_number', '2 TIMBRE, 3 VGG; 11'),
    ('transfer_train.py', 'audioset', 'weight_decay', "the new layer's kernel"), ('sl_train.py', 'spec', 'weight_decay', 'all kernels'),
    ('transfer_proto.py', 'mn04', 'save_weights', 'The results do not need them'), ('knn_audioset.py', 'mn04', 'checkpoint', 'its weights\n'),
    ('frozen.py', 'mn04', 'test_batch_size', 'windows of up to 10 s'),
    ('preprocess.py', 'us8k_audioset', 'resampler', 'the default of resampy until 0.3'),
    ('reproduce.py', 'esc10', 'max_accuracy', 'patience of prototypical networks')])
def test_help_tells_what_a_key_means_in_this_entry(tmp_path, script, entry, key, meaning):
    """Entries explain some keys in their own way."""
    text = succeeded(warm(script, entry, '--help', data_folder=tmp_path)) + '\n'
    told = re.search(rf'^  {key}=.*\n((?:      .*\n)*)', text, re.M)[1]
    assert meaning in told, told


def test_weights_in_the_environment_reach_the_tests():
    """A variable that the Makefile sets would hide them, and their tests would be skipped."""
    done = subprocess.run(['make', '--no-print-directory', '--eval', 'show: ; @echo "[$$MN04]"', 'show'], cwd=ROOT, text=True, capture_output=True,
                          env={'PATH': os.environ['PATH'], 'MN04': '/x y.pt'})
    assert done.stdout == '[/x y.pt]\n', done.stderr


@pytest.fixture
def make(tmp_path):
    """make(arguments...): runs the Makefile where .venv has a Python 3.11 that only says what it is called with, as has the PYTHON `same`."""
    for path, version in (('.venv/bin/python', '3.11'), ('same', '3.11'), ('other', '3.12')):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f'#!/bin/sh\ntest "$1" = -c && echo {version} || echo "$@"\n')
        (tmp_path / path).chmod(0o755)
    for folder in ('src', 'sounds/-birds'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('Makefile', 'requirements.txt'):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / '.venv/ready').touch()

    def call(*arguments, **more):
        return subprocess.run(['make', '--no-print-directory', *arguments], cwd=tmp_path, text=True, capture_output=True,
                              env={'PATH': os.environ['PATH'], **more})
    return call


def test_make_does_not_ignore_python(make):
    for done in (make('test'), make('PYTHON=./same', 'test'), make('test', PYTHON='./same')):
        assert (done.returncode, done.stdout, done.stderr) == (0, '-m pytest tests -n 2 --dist loadfile\n', '')
    for done in (make('PYTHON=./other', 'test'), make('test', PYTHON='./other')):
        assert done.returncode and 'error: .venv has Python 3.11, PYTHON=./other is 3.12: run make clean first' in done.stderr and not done.stdout
    assert make('PYTHON=./other', 'clean').returncode == 0


def test_make_own_with_a_folder_that_looks_like_an_option(make, tmp_path):
    folder = tmp_path / 'sounds/-birds'
    done = make('own', f'AUDIO={folder}', f'MN04={tmp_path / "same"}')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [f'check.py {folder} --name=_birds', f'aux/index_folder.py --folds auto -- {folder} _birds',
                                            f'reproduce.py own datasets=_birds checkpoint={tmp_path / "same"}']


def test_every_script_is_covered_by_the_test_of_help():
    sources = [*(ROOT / 'src').glob('*.py'), *(ROOT / 'aux').glob('*.py')]
    scripts = {path.name for path in sources if 'def main' in path.read_text()}
    tested = test_help_tells_usage_and_keys.pytestmark[0].args[1]
    assert scripts - {'check_python.py'} == set(tested)


def test_tensorflow_starts_only_after_the_checks(tones):
    """The other scripts of the chain above ran where TensorFlow cannot be imported; here is the proof that it cannot be."""
    done = warm('sl_train.py', *FAST, data_folder=tones, without_tensorflow=True)
    assert done.returncode == 1 and re.search('(keras|tensorflow) was imported', done.stderr)
    done = warm('sl_train.py', *FAST, 'fold=9', data_folder=tones, without_tensorflow=True)
    commands.refused(done, 'gt_tones_fold9_train.tsv does not exist')


@pytest.mark.parametrize('encoding', ['latin-1', 'ascii'])
def test_file_names_that_the_terminal_cannot_show(tmp_path, encoding):
    """Also names that are not valid UTF-8."""
    for label in 'ab':
        path = write_sound(tmp_path / f'audio/雨{label}/x.wav', tone(1000 + ord(label)))
        os.rename(path, path.with_name(b'\xff.wav'.decode(errors='surrogateescape')))
    done = subprocess.run([sys.executable, script_path('index_folder.py'), tmp_path / 'audio', 'mine'], capture_output=True,
                          env=commands.environment(tmp_path, PYTHONIOENCODING=encoding))
    assert done.returncode == 1 and b'Traceback' not in done.stderr
    assert b'u96e8' in done.stderr and b'udcff' in done.stderr and b'rename the file' in done.stderr


def test_a_processor_without_avx_is_named(tmp_path):
    from backend import check_processor
    for flags, lacking in (('fpu sse4_2 avx f16c', False), ('fpu sse4_2 avx2', True), ('fpu', True)):
        (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n')
        check_processor('aarch64', tmp_path / 'cpuinfo')
        if lacking:
            with pytest.raises(UserError, match='lacks AVX instructions'):
                check_processor('x86_64', tmp_path / 'cpuinfo')
        else:
            check_processor('x86_64', tmp_path / 'cpuinfo')


def test_a_gpu_that_tensorflow_does_not_find_is_told(tmp_path, monkeypatch):
    import backend
    driver = tmp_path / 'gpus'
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert backend.unused_gpu(driver) == ''
    (driver / '0000:01:00.0').mkdir(parents=True)
    assert backend.unused_gpu(driver).endswith(f"(.venv/bin/pip install 'tensorflow[and-cuda]=={backend.tf.__version__}'). "
                                               'CUDA_VISIBLE_DEVICES=-1 hides the GPU and this warning')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3')
    assert ', or CUDA_VISIBLE_DEVICES=3 names none of those' in backend.unused_gpu(driver)
    for hidden in ('', '-1'):
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', hidden)
        assert backend.unused_gpu(driver) == ''


def test_memory_of_a_device_that_is_not_enough(monkeypatch):
    from backend import tf
    error = tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating\nhint')

    def fail(*_):
        raise error
    with pytest.raises(SystemExit, match=r'error: the memory of the device is not enough \(OOM when allocating\): .*nvidia-smi.*smaller'):
        shared.run_script(fail)
    monkeypatch.setattr(runner, 'run_experiment', fail)
    monkeypatch.setattr(runner, 'results_so_far', lambda: None)
    monkeypatch.setattr(runner.plans, 'rows_of', lambda *_: pd.DataFrame())
    run = lambda: runner.run_job(SimpleNamespace(config={}), str(shared.data_folder()))
    assert run().device_failed and run().message.startswith('the memory of the device is not enough (OOM')
    error = tf.errors.InternalError(None, None, 'cuDNN failed')
    assert run().device_failed and run().message == 'InternalError: cuDNN failed'
    error = tf.errors.InvalidArgumentError(None, None, 'shapes')
    assert not run().device_failed


def test_computations_are_repeatable_and_exact():
    import backend
    backend.set_up_device()
    assert not backend.tf.config.experimental.tensor_float_32_execution_enabled()
    with pytest.raises(RuntimeError, match='require a seed to be set when determinism is enabled'):
        backend.tf.random.normal((3,))


def test_a_reader_that_has_seen_enough(tones):
    """`python preprocess.py ... | true`: no complaint about the closed pipe."""
    arguments = [sys.executable, script_path('preprocess.py'), 'spec', 'dataset=tones']
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=commands.environment(tones), stdin=subprocess.DEVNULL)
    process.stdout.close()
    assert process.stderr.read() == ''
    assert process.wait() == 141


# ---- ESC-10 ----------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not ESC10, reason='the environment variable ESC10 does not name the folder of the recordings')
def test_esc10(tmp_path):
    """Real recordings give the accuracies that were measured with the released experiments (knn_mfcc: 0.523 +- 0.073)."""
    def mean(experiment):
        return float(re.search(r'Mean: (\S+)', (experiment / 'experiment.result').read_text()).group(1))

    succeeded(warm('index_esc.py', Path(ESC10).resolve(), data_folder=tmp_path))
    succeeded(warm('knn_mfcc.py', 'dataset=esc10', 'n_shot=5', data_folder=tmp_path))
    assert 0.42 < mean(experiments(tmp_path)[0]) < 0.62


# ---- an experiment and data that have changed since -------------------------------------------------------------------

@pytest.fixture
def trained(tmp_path):
    """A data folder with an experiment on three classes of tones that was evaluated, and a function that indexes anew."""
    sounds = tmp_path / 'sounds'
    for number, name in enumerate(('a', 'b', 'c')):
        make_tones(sounds / name, 300 * 3 ** number)

    def index(*options):
        succeeded(warm('index_folder.py', sounds, 'mine', *options, data_folder=tmp_path))
        succeeded(warm('preprocess.py', 'spec', 'dataset=mine', data_folder=tmp_path))

    index()
    succeeded(warm('sl_train.py', 'spec', 'dataset=mine', 'n_shot=2', 'epochs=3', 'batch_size=16', 'model_number=2',
                   data_folder=tmp_path))
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=tmp_path))
    return tmp_path, sounds, index


def make_tones(folder, frequency):
    """Eight clips of half a second, each a little different."""
    import soundfile
    folder.mkdir(parents=True)
    time = np.arange(RATE // 2) / RATE
    for number in range(8):
        soundfile.write(folder / f'{folder.name}{number}.wav', 0.3 * np.sin(2 * np.pi * (frequency + number) * time), RATE)


def test_a_model_is_not_scored_on_clips_it_learned_from(trained):
    data, _, index = trained
    before = (data / 'experiments/results.tsv').read_bytes()
    index('--seed', 7)
    refused(warm('sl_evaluate.py', 'latest', data_folder=data), 'test clips are training or validation clips of', 'train again')
    assert (data / 'experiments/results.tsv').read_bytes() == before
    model, = models(experiments(data)[0])
    refused(warm('sl_train.py', 'spec', 'dataset=mine', 'n_shot=2', 'epochs=3', 'model_number=2', f'load_model={model}', data_folder=data),
            'test clips are training or validation clips of', 'load_model')


def test_what_the_first_weights_were_trained_on_counts_along_a_chain_of_experiments(trained):
    """Experiment B starts from A's weights, on other sounds; C, which starts from B's, is tested on sounds that A learned from."""
    data, sounds, index = trained
    first, = experiments(data)
    for number, name in enumerate(('a', 'b', 'c')):
        make_tones(sounds.with_name('others') / name, 500 * 3 ** number)
    succeeded(warm('index_folder.py', sounds.with_name('others'), 'others', data_folder=data))
    succeeded(warm('preprocess.py', 'spec', 'dataset=others', data_folder=data))
    common = ['spec', 'n_shot=2', 'epochs=1', 'model_number=2']
    succeeded(warm('sl_train.py', *common, 'dataset=others', f'load_model={models(first)[0]}', data_folder=data))
    second, = set(experiments(data)) - {first}
    assert {line.partition('\t')[0] for line in (second / 'sounds.tsv').read_text().splitlines()} == {'train', 'test', 'before'}
    index('--seed', 7)
    refused(warm('sl_train.py', *common, 'dataset=mine', f'load_model={models(second)[0]}', data_folder=data),
            'test clips are training or validation clips of', 'load_model')


def test_a_result_of_an_earlier_training_set_is_not_among_those_of_the_present_one(trained):
    data, *_ = trained
    results, path = data / 'experiments/results.tsv', data / 'index/mine/gt_mine_fold0_train.tsv'
    before, lines = results.read_text(), path.read_text().splitlines(keepends=True)
    results.write_text(before.splitlines(keepends=True)[0])
    path.write_text(''.join(lines[1:]))
    done = succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    assert 'note: the training set of the fold has changed since the training: the result is not added to results.tsv' in done
    assert len(results.read_text().splitlines()) == 1
    path.write_text(''.join(lines))
    assert 'not added' not in succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    assert [line.split('\t')[9] for line in results.read_text().splitlines()] == [line.split('\t')[9] for line in before.splitlines()]


def test_a_result_on_another_test_set_is_not_among_the_others(trained, monkeypatch):
    data, *_ = trained
    monkeypatch.setenv('DATA_FOLDER', str(data))
    before = (data / 'experiments/results.tsv').read_bytes()
    path = data / 'index/mine/gt_mine_fold0_test.tsv'
    lines = path.read_text().splitlines(keepends=True)
    path.with_name('half.tsv').write_text(''.join(lines[::2]))
    done = succeeded(warm('sl_evaluate.py', 'latest', 'gt_test=index/mine/half.tsv', data_folder=data))
    assert 'index/mine/half.tsv): the result is not added to results.tsv' in done
    assert (data / 'experiments/results.tsv').read_bytes() == before
    assert f'of {len(lines[::2])} clips' in (models(experiments(data)[0])[0] / 'test.result').read_text()
    with pytest.raises(ValueError, match='was evaluated again since'):  # figures of classes would be those of the other test set
        diagnosis.class_recalls(read_results())


def test_a_model_is_not_scored_on_other_classes(trained):
    data, sounds, index = trained
    before = (data / 'experiments/results.tsv').read_bytes()
    shutil.rmtree(sounds / 'a')
    make_tones(sounds / 'z', 5000)
    index()
    refused(warm('sl_evaluate.py', 'latest', data_folder=data), 'was trained on the classes a, b, c', 'b, c, z')
    assert (data / 'experiments/results.tsv').read_bytes() == before


def test_training_on_features_of_replaced_sounds_is_refused(trained):
    data, sounds, _ = trained
    sound = sounds / 'a/a3.wav'
    times = sound.stat()
    shutil.copy(sounds / 'b/b1.wav', sound)
    os.utime(sound, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = warm('sl_train.py', 'spec', 'dataset=mine', 'n_shot=2', 'epochs=3', 'model_number=2', data_folder=data)
    refused(done, '1 sound files in', 'were replaced since', 'preprocess.py')


# ---- settings of other projects ---------------------------------------------------------------------------------------

@pytest.mark.long
def test_settings_of_other_projects_change_nothing(trained, tmp_path):
    """Keras set to other back ends, layouts and types; a notebook's matplotlib back end; LaTeX in figures."""
    data, _, _ = trained
    (tmp_path / 'keras').mkdir()
    (tmp_path / 'keras/keras.json').write_text(
        '{"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1, "backend": "jax"}')
    (tmp_path / 'matplotlibrc').write_text('text.usetex: True\n')
    hostile = {'KERAS_HOME': str(tmp_path / 'keras'), 'KERAS_BACKEND': 'torch', 'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
               'MATPLOTLIBRC': str(tmp_path / 'matplotlibrc')}
    found = []
    for more in ({}, hostile):
        command = ['sl_train.py', 'spec', 'dataset=mine', 'n_shot=1', 'epochs=2', 'batch_size=4',
                   'model_number=3', 'n_frames=32', 'resume=False']
        for script, *arguments in (command, ['sl_evaluate.py', 'latest']):
            done = subprocess.run([sys.executable, script_path(script), *arguments], env=environment(data, **more), capture_output=True,
                                  text=True) if more else warm(script, *arguments, data_folder=data)
            assert done.returncode == 0 and 'warning' not in done.stdout, done.stdout + done.stderr
        model, = models(experiments(data)[0])
        found.append((weights(model), (model / 'test_predictions.tsv').read_bytes()))
        assert (model.parent / 'confusion_matrix.png').is_file()
    (ours, text), (theirs, other) = found
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours) and text == other
