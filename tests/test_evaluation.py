"""From scores to decisions, accuracy, intervals, and the files that keep them."""
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import representation
import shallow
from conftest import CLASSES, make_representation
from evaluation import MeanPerClip, accuracy_interval, add_confusions, describe, mean_interval, write_decisions, write_summary
from methods import METHODS
from results import COLUMNS, add_results, experiments_folder, read_results, result_row

# ---- clip scores -----------------------------------------------------------------------------------------------------

def test_mean_per_clip_over_batches():
    means = MeanPerClip(3, 2)
    means.add(np.float32([[1, 0], [0.5, 0.5], [0, 1]]), np.int32([2, 0, 2]))
    means.add(np.float32([[0.25, 0.75]]), np.int32([0]))
    means.add(np.float32([[0, 1], [0.5, 0.5]]), np.int32([2, 1]))
    result = means.result()
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[0.375, 0.625], [0.5, 0.5], [1 / 3, 2 / 3]])


def test_mean_per_clip_of_many_patches_is_exact():
    """In float32 a sum of 10 million times 0.1 is off by 9 %."""
    means = MeanPerClip(1, 1)
    for _ in range(100):
        means.add(np.full((20000, 1), np.float32(0.1)), np.zeros(20000, np.int32))
    assert means.result()[0, 0] == pytest.approx(float(np.float32(0.1)), rel=1e-9)


@pytest.mark.parametrize('clips, missing', [([0, 2], [1]), ([1], [0, 2]), ([], [0, 1, 2])])
def test_a_clip_without_prediction_raises(clips, missing):
    means = MeanPerClip(3, 2)
    means.add(np.ones((len(clips), 2)), np.array(clips, int))
    with pytest.raises(ValueError, match=re.escape(f'clips without a prediction: {missing}')):
        means.result()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_raise(bad):
    means = MeanPerClip(2, 2)
    means.add(np.array([[1, 0], [0, bad], [0, 1]]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match='not finite'):
        means.result()


# ---- intervals -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('correct, clips', [(0, 10), (10, 10), (1, 1), (0, 1), (5, 10), (43, 80), (81, 263), (4000, 8732)])
def test_wilson_interval(correct, clips):
    wanted = stats.binomtest(correct, clips).proportion_ci(0.95, method='wilson')
    np.testing.assert_allclose(accuracy_interval(correct, clips), wanted, atol=1e-12)


def test_wilson_interval_of_a_share():
    """Of 5 recordings, 0.7, 0.8 and 0.9 of the clips are right: three intervals."""
    ends = np.array([accuracy_interval(share * 5, 5) for share in (0.6, 0.7, 0.8, 0.9, 1)])
    assert (np.diff(ends, axis=0) > 0.01).all()


def test_wilson_interval_of_the_literature():
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3."""
    np.testing.assert_allclose(accuracy_interval(81, 263), [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose(accuracy_interval(15, 148), [0.0624, 0.1605], atol=5e-5)
    np.testing.assert_allclose(accuracy_interval(0, 20), [0.0000, 0.1611], atol=5e-5)


def test_mean_interval_by_hand():
    # mean 0.5; squares 0.01 + 0 + 0.01: std with n = 0.0816497, with n - 1 = 0.1; t(0.975, 2) = 4.302653, half = 4.302653 x 0.1 / sqrt(3)
    np.testing.assert_allclose(mean_interval([0.4, 0.5, 0.6]), [0.5, 0.0816497, 0.5 - 0.2484138, 0.5 + 0.2484138], atol=1e-6)
    # t(0.975, 1) = 12.706205, std with n - 1 = 0.01414214, half = 12.706205 x 0.01
    np.testing.assert_allclose(mean_interval([0.39, 0.41]), [0.4, 0.01, 0.4 - 0.12706205, 0.4 + 0.12706205], atol=1e-6)


def test_mean_interval_ends_at_0_and_1():
    np.testing.assert_allclose(mean_interval([0.3, 0.5]), [0.4, 0.1, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(mean_interval([0.3, 0.3, 0.3]), [0.3, 0, np.nan, np.nan])  # would be of no width
    np.testing.assert_array_equal(mean_interval([1, 1, 0.99])[3], 1)


def test_mean_interval_of_one_value():
    np.testing.assert_array_equal(mean_interval([0.7]), [0.7, 0, np.nan, np.nan])


def test_describe():
    assert describe([0.4, 0.5, 0.6]) == '0.500 +- 0.082 (3 runs, 95 % interval of the mean 0.252 to 0.748)'
    assert describe([0.5]) == '0.500 +- 0.000 (1 run)'


# ---- files of a model ------------------------------------------------------------------------------------------------

SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.6, 0.2], [0.25, 0.5, 0.25]])
TRUTH = [0, 1, 0, 1, 2]  # decisions are 0, 1, 1, 1, 1


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / 'model'
    assert write_decisions(folder, list('abcde'), [f'{c}.wav' for c in 'abcde'], TRUTH, SCORES, CLASSES) == 0.6
    return folder


def test_predictions(model):
    assert (model / 'test_predictions.tsv').read_text().splitlines() == [
        'id\taudio\ttrue\tpredicted\tcorrect\tscore\tscore: bird\tscore: engine\tscore: rain',
        'a\ta.wav\tbird\tbird\t1\t0.7\t0.7\t0.2\t0.1',
        'b\tb.wav\tengine\tengine\t1\t0.8\t0.1\t0.8\t0.1',
        'c\tc.wav\tbird\tengine\t0\t0.4\t0.3\t0.4\t0.3',
        'd\td.wav\tengine\tengine\t1\t0.6\t0.2\t0.6\t0.2',
        'e\te.wav\train\tengine\t0\t0.5\t0.25\t0.5\t0.25']


def test_confusion_matrix(model):
    assert (model / 'confusion_matrix.tsv').read_text().splitlines() == [
        'true \\ predicted\tbird\tengine\train', 'bird\t1\t1\t0', 'engine\t0\t2\t0', 'rain\t0\t1\t0']


def test_class_report(model):
    assert (model / 'class_report.tsv').read_text().splitlines() == [
        'class\tclips\trecall\tprecision\tf1', 'bird\t2\t0.5\t1\t0.666667', 'engine\t2\t1\t0.5\t0.666667', 'rain\t1\t0\t0\t0']


def test_result(model):
    assert (model / 'test.result').read_text() == 'Accuracy: 0.6\nCorrect: 3 of 5 clips\n95 % interval: 0.2307 to 0.8824\n'


def test_sum_of_confusion_matrices(model, tmp_path):
    write_decisions(tmp_path / 'other', ['a', 'b'], ['a.wav', 'b.wav'], [2, 2], np.eye(3)[[2, 0]], CLASSES)
    classes, counts = add_confusions([model, tmp_path / 'other'])
    assert (classes, counts.tolist()) == (CLASSES, [[1, 1, 0], [0, 2, 0], [1, 1, 1]])
    write_decisions(tmp_path / 'third', ['a'], ['a.wav'], [1], np.eye(2)[[1]], ['bird', 'rain'])
    with pytest.raises(ValueError, match='other classes'):
        add_confusions([model, tmp_path / 'third'])


def test_nothing_else_is_left(model):
    assert {path.name for path in model.iterdir()} == {'test_predictions.tsv', 'confusion_matrix.tsv', 'class_report.tsv',
                                                       'test.result'}


def test_a_class_without_test_clips_is_in_every_table(tmp_path):
    accuracy = write_decisions(tmp_path, ['a'], ['a.wav'], [0], np.array([[1.0, 0, 0]]), CLASSES)
    assert accuracy == 1
    assert (tmp_path / 'class_report.tsv').read_text().splitlines()[1:] == ['bird\t1\t1\t1\t1', 'engine\t0\t0\t0\t0',
                                                                            'rain\t0\t0\t0\t0']
    assert (tmp_path / 'confusion_matrix.tsv').read_text().splitlines()[3] == 'rain\t0\t0\t0'


@pytest.mark.filterwarnings('ignore:Glyph')
def test_names_with_special_characters(tmp_path):
    names = ['cafe/restaurant', 'Straßen$lärm', '雨 _x_']
    write_decisions(tmp_path, ['a'], ['ä b.wav'], [1], np.array([[0, 1.0, 0]]), names)
    assert pd.read_csv(tmp_path / 'confusion_matrix.tsv', sep='\t').columns.tolist()[1:] == names
    assert (tmp_path / 'test_predictions.tsv').read_text(encoding='utf-8').splitlines()[1].startswith('a\tä b.wav\tStraßen$lärm\t')


def test_names_that_look_like_formulas(tmp_path):
    assert write_decisions(tmp_path, ['a'], ['a.wav'], [1], np.array([[0, 1.0]]), ['$^$', 'a_{b']) == 1


# ---- an experiment ---------------------------------------------------------------------------------------------------

def test_experiment_result(data_folder, capsys):
    folder = experiments_folder() / 'fold_0_1'
    config = {**configure_toy(data_folder, 'seed=3', n_shot=5), 'data': {'train': 'a', 'test': 'b'}}
    rows = [result_row(folder / f'm{run}', run, 'VGG', config, accuracy, 10, 1.234, 5.678)
            for run, accuracy in enumerate((0.4, 0.5, 0.6))]
    assert list(rows[0]) == COLUMNS
    expected = {'correct': 5, 'clips': 10, 'accuracy': 0.5, 'accuracy_low': 0.2366, 'accuracy_high': 0.7634,
                'train_seconds': 1.23, 'test_seconds': 5.68}
    assert {key: rows[1][key] for key in expected} == expected
    write_summary(folder / 'experiment.result', 'fold_0_1', [0.4, 0.5, 0.6], {'n_shot': 5})
    add_results(rows)
    lines = (folder / 'experiment.result').read_text().splitlines()
    assert lines[:3] == ['Experiment: fold_0_1', 'Accuracies: [0.4, 0.5, 0.6]', 'Max: 0.6']
    numbers = [float(x) for x in re.findall(r'-?[0-9.]+(?:e-?\d+)?', ' '.join(line.split(':')[1] for line in lines[3:5]))]
    assert lines[5:] == ["Overrides: {'n_shot': 5}"]
    write_summary(folder / 'one.result', 'fold_0_1', [0.5], {})
    assert (folder / 'one.result').read_text().splitlines()[4] == '95 % interval of the mean: not defined (one run, or equal accuracies)'
    np.testing.assert_allclose(numbers, [0.5, 0.0816497, 0.2515862, 0.7484138], atol=1e-6)
    assert read_results()[['run', 'correct', 'seed']].values.tolist() == [[0, 4, 3], [1, 5, 3], [2, 6, 3]]


def configure_toy(data_folder, *overrides, n_shot=2):
    """Configuration of knn_mfcc on a data set of 9 training and 3 test clips whose features are their labels, almost."""
    labels = {str(i): i % 3 for i in range(12)}
    train, test = {k: v for k, v in labels.items() if int(k) < 9}, {k: v for k, v in labels.items() if int(k) >= 9}
    features = {key: np.eye(3)[label] + 0.01 * np.cos(int(key) + np.arange(3)) for key, label in labels.items()}
    make_representation(data_folder, features, train, test, kind='mfcc')
    return METHODS['config_knn_mfcc'].configure('mfcc', ['dataset=toy', f'n_shot={n_shot}', 'num_experiment_runs=2', *overrides])


def run_baseline(config):
    """knn_mfcc on stored features; returns the experiment's id."""
    task = METHODS['config_knn_mfcc'].load_split(config)
    return shallow.train('knn_mfcc', shallow.stored_vectors(task), config, task)


@pytest.mark.parametrize('metric', ['cosine', 'euclidean'])
@pytest.mark.parametrize('n_shot', [1, 3, 'all'])
def test_features_that_are_the_labels_give_accuracy_1(data_folder, metric, n_shot):
    config = configure_toy(data_folder, f'metric={metric}', n_shot=n_shot)
    experiment = run_baseline(config)
    results = read_results()
    assert results['accuracy'].tolist() == [1, 1] and results['experiment'].tolist() == [experiment] * 2
    assert results['correct'].tolist() == results['clips'].tolist() == [3, 3]


def test_features_that_are_the_wrong_labels_give_accuracy_0(data_folder):
    config = configure_toy(data_folder)
    for key in range(9, 12):  # test clips
        representation.save_array(data_folder / f'audio_representation/toy__mfcc/{key}.npy', np.eye(3, dtype=np.float32)[(key + 1) % 3],
                                  f'sound-{key}')
    run_baseline(config)
    assert read_results()['accuracy'].tolist() == [0, 0]


def test_nearest_neighbour_keeps_its_clips_and_scores(data_folder):
    config = configure_toy(data_folder)
    task = METHODS['config_knn_mfcc'].load_split(config)
    folder = experiments_folder() / run_baseline(config)
    models = (folder / 'models.list').read_text().split()
    assert len(models) == 2
    for model in models:
        rows = [line.split('\t') for line in (folder / model / 'train_ids.tsv').read_text().splitlines()]
        assert [name for _, name in rows] == ['bird', 'bird', 'engine', 'engine', 'rain', 'rain']
        assert all(CLASSES[task.train[key]] == name for key, name in rows)
        predictions = pd.read_csv(folder / model / 'test_predictions.tsv', sep='\t')
        expected = [[9, 'bird', 'bird', 1], [10, 'engine', 'engine', 1], [11, 'rain', 'rain', 1]]
        assert predictions[['id', 'true', 'predicted', 'score']].values.tolist() == expected


def test_metrics_differ(data_folder):
    """A test clip that points to one training clip and lies beside another."""
    config = configure_toy(data_folder, n_shot=3)
    features = data_folder / 'audio_representation/toy__mfcc'
    for key in range(9):
        representation.save_array(features / f'{key}.npy', np.float32([[10, 0, 0], [1, 1, 0], [0, 0, 9]][key % 3]), f'sound-{key}')
    for key in range(9, 12):
        representation.save_array(features / f'{key}.npy', np.float32([2, 0, 0]), f'sound-{key}')
    predicted = {}
    for metric in ('cosine', 'euclidean'):
        folder = experiments_folder() / run_baseline({**config, 'metric': metric})
        table = pd.read_csv(next(folder.glob('model_*')) / 'test_predictions.tsv', sep='\t')
        predicted[metric] = set(table['predicted'])
    assert predicted == {'cosine': {'bird'}, 'euclidean': {'engine'}}


@pytest.mark.parametrize('votes,winner', [('aab', 'bird'), ('abb', 'engine'), ('ab', 'bird'), ('ba', 'bird'), ('cb', 'engine'),
                                          ('abc', 'bird'), ('bcbc', 'engine'), ('c', 'rain')])
def test_the_vectors_of_a_clip_vote(data_folder, votes, winner):
    """Of equally many votes the smaller label wins."""
    config = configure_toy(data_folder, n_shot=3)
    task = METHODS['config_knn_mfcc'].load_split(config)
    features = {key: np.repeat(np.eye(3)[[label]], 1 + int(key) % 2, axis=0) for key, label in task.train.items()}
    features.update((key, np.eye(3)[['abc'.index(vote) for vote in votes]]) for key in task.test)
    folder = experiments_folder() / shallow.train('knn_audioset', features, config, task)
    table = pd.read_csv(next(folder.glob('model_*')) / 'test_predictions.tsv', sep='\t')
    assert set(table['predicted']) == {winner}
    shares = [votes.count(letter) / len(votes) for letter in 'abc']
    np.testing.assert_allclose(table.loc[0, [f'score: {name}' for name in CLASSES]].astype(float), shares, atol=1e-5)
