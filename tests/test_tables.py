"""Tables of accuracy from the rows of results.tsv."""
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from experiment import RESULT_COLUMNS, experiments_folder, read_results, record
from shared import UserError, write_dataset
from tables import markdown, report, summarise


def rows(*values):
    """A DataFrame of results; each row is given by what differs from the first run of VGG on fold 0."""
    default = {'date': '2024-01-01 00:00:00', 'experiment': 'fold_0_1', 'model': 'm', 'run': 0, 'method': 'VGG',
               'dataset': 'toy', 'fold': 0,
               'n_shot': '5', 'seed': 0, 'accuracy': 0.5, 'accuracy_low': 0.4, 'accuracy_high': 0.6, 'correct': 5, 'clips': 10,
               'train_seconds': 10.0, 'test_seconds': 1.0, 'recipe': 'aaaaaaaa'}
    return pd.DataFrame([{**default, 'model': f'm{number}', **row} for number, row in enumerate(values)], columns=RESULT_COLUMNS)


def table(summary, *columns):
    return summary[list(columns)].values.tolist()


def test_mean_std_interval_runs_and_seconds():
    summary = summarise(rows({'run': 0, 'accuracy': 0.4, 'train_seconds': 1.0, 'test_seconds': 2.0},
                             {'run': 1, 'accuracy': 0.5, 'train_seconds': 2.0},
                             {'run': 2, 'accuracy': 0.6, 'train_seconds': 6.0}))
    assert list(summary.columns) == ['method', 'n_shot', 'mean', 'std', 'low', 'high', 'runs', 'folds', 'train_seconds',
                                     'test_seconds']
    assert len(summary) == 1 and table(summary, 'method', 'n_shot', 'runs', 'folds') == [['VGG', '5', 3, 1]]
    np.testing.assert_allclose(table(summary, 'mean', 'std', 'low', 'high', 'train_seconds', 'test_seconds'),
                               [[0.5, 0.0816497, 0.2515862, 0.7484138, 3, 4 / 3]], atol=1e-6)


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_a_repeated_run_the_newest_counts(order):
    repeated = [{'date': '2024-01-01 00:00:00', 'accuracy': 0.1},
                {'date': '2024-01-02 00:00:00', 'accuracy': 0.2, 'experiment': 'fold_0_2'},
                {'date': '2024-02-01 00:00:00', 'accuracy': 0.3, 'experiment': 'fold_0_3'}]
    summary = summarise(rows(*(repeated[i] for i in order), {'run': 1, 'accuracy': 0.5}))
    assert table(summary, 'runs') == [[2]] and summary['mean'][0] == pytest.approx(0.4)


def test_of_runs_of_the_same_second_the_last_row_counts():
    assert summarise(rows({'accuracy': 0.1}, {'accuracy': 0.2}))['mean'].tolist() == [0.2]


@pytest.mark.parametrize('other', [{'run': 1}, {'fold': 1}, {'seed': 1}])
def test_runs_folds_and_seeds_are_averaged(other):
    summary = summarise(rows({'accuracy': 0.2}, {'accuracy': 0.4, **other}))
    assert table(summary, 'runs', 'folds') == [[2, 2 if 'fold' in other else 1]]
    assert summary['mean'][0] == pytest.approx(0.3) and summary['std'][0] == pytest.approx(0.1)


def test_recipes_are_told_apart():
    summary = summarise(rows({'accuracy': 0.1}, {'accuracy': 0.2, 'recipe': 'bbbbbbbb'},
                             {'accuracy': 0.3, 'recipe': 'bbbbbbbb', 'n_shot': '10'},
                             {'accuracy': 0.4, 'method': 'TIMBRE', 'recipe': 'cccccccc'}))
    assert table(summary, 'method', 'n_shot', 'mean') == [['TIMBRE', '5', 0.4], ['VGG [aaaaaaaa]', '5', 0.1],
                                                          ['VGG [bbbbbbbb]', '5', 0.2],
                                                          ['VGG [bbbbbbbb]', '10', 0.3]]


def test_order_of_n():
    summary = summarise(rows(*({'n_shot': n, 'method': method} for n in ('all', '100', '5', '20', '1') for method in ('b', 'a'))))
    assert table(summary, 'method', 'n_shot') == [[method, n] for method in 'ab' for n in ('1', '5', '20', '100', 'all')]


def test_markdown():
    summary = summarise(rows({'accuracy': 0.25}, {'accuracy': 0.75, 'run': 1}, {'accuracy': 1 / 3, 'n_shot': 'all'},
                             {'accuracy': 0.125, 'n_shot': '20', 'method': 'knn_mfcc'}))
    assert markdown(summary).splitlines() == [
        '| accuracy, mean +- std (runs) | n = 5              | n = 20             | n = all            |',
        '|------------------------------|--------------------|--------------------|--------------------|',
        '| VGG                          | 0.500 +- 0.250 (2) |                    | 0.333 +- 0.000 (1) |',
        '| knn_mfcc                     |                    | 0.125 +- 0.000 (1) |                    |']
    assert markdown(summary).endswith('|\n')


@pytest.fixture
def toy(data_folder):
    write_dataset('toy', data_folder, ['a.wav'] * 4, [0, 1, 2, 3], list('abcd'), [{'train': [0, 1, 2, 3]}], {})


def test_report(toy, capsys):
    record(rows({'accuracy': 0.25}, {'accuracy': 0.75, 'run': 1}, {'n_shot': '10'}, {'n_shot': 'all'},
                {'dataset': 'other', 'accuracy': 0.9}).to_dict('records'))
    paths = report(read_results(), 'toy')
    assert paths == [experiments_folder() / f'report_toy.{ending}' for ending in ('md', 'tsv', 'png')]
    text = paths[0].read_text()
    assert text.startswith('Accuracy on toy\n\n| accuracy') and '0.500 +- 0.250 (2)' in text and '0.9' not in text
    assert text.partition('\n\n')[2] in capsys.readouterr().out
    stored = pd.read_csv(paths[1], sep='\t', dtype={'n_shot': str})
    assert stored[['method', 'n_shot', 'mean', 'runs']].values.tolist() == [['VGG', '5', 0.5, 2], ['VGG', '10', 0.5, 1],
                                                                            ['VGG', 'all', 0.5, 1]]
    picture = matplotlib.image.imread(paths[2])
    assert min(picture.shape[:2]) > 300 and picture[..., :3].std() > 0.05


def test_report_of_all_clips_alone(toy):
    """There is no n to draw: the table must come all the same."""
    record(rows({'n_shot': 'all'}).to_dict('records'))
    assert 'n = all' in report(read_results(), 'toy')[0].read_text()


def test_report_without_results(toy):
    record(rows({'dataset': 'other'}).to_dict('records'))
    with pytest.raises(UserError,
                       match=r"no result on 'toy': train and evaluate first, e\.g\. python sl_train\.py spec dataset=toy"):
        report(read_results(), 'toy')
