"""Tables from the rows of results.tsv: averages, paired comparisons, verdicts, times, and their Markdown."""
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import analysis
from analysis import REFERENCE_COLUMNS, compare, costs, holm, left_out, newest, read_references, summarise, verdicts, with_most_shots
from conftest import results
from reporting import accuracy_markdown, comparison_markdown, cost_markdown, interval_markdown, verdict_markdown
from shared import UserError, write_json


def table(frame, *columns):
    return frame[list(columns)].values.tolist()


# ---- averages --------------------------------------------------------------------------------------------------------

def test_mean_std_interval_runs_and_seconds():
    summary = summarise(results({'run': 0, 'accuracy': 0.4, 'train_seconds': 1.0, 'test_seconds': 2.0},
                                {'run': 1, 'accuracy': 0.5, 'train_seconds': 2.0},
                                {'run': 2, 'accuracy': 0.6, 'train_seconds': 6.0}))
    assert list(summary.columns) == ['dataset', 'method', 'n_shot', 'mean', 'std', 'low', 'high', 'runs', 'folds',
                                     'train_seconds', 'test_seconds']
    assert table(summary, 'dataset', 'method', 'n_shot', 'runs', 'folds') == [['toy', 'VGG', '5', 3, 1]]
    np.testing.assert_allclose(table(summary, 'mean', 'std', 'low', 'high', 'train_seconds', 'test_seconds'),
                               [[0.5, 0.0816497, 0.2515862, 0.7484138, 3, 4 / 3]], atol=1e-6)


def test_several_folds_are_the_measurements():
    """Means of folds: 0.5, 0.6, 0.55; their standard deviation is 0.05 (divisor 2), t of 2 degrees of freedom 4.3026527."""
    accuracies = {0: [0.4, 0.6], 1: [0.6], 2: [0.5, 0.55, 0.6]}
    summary = summarise(results(*({'fold': fold, 'run': run, 'accuracy': accuracy}
                                  for fold, runs in accuracies.items() for run, accuracy in enumerate(runs))))
    assert table(summary, 'runs', 'folds') == [[6, 3]]
    half = 4.3026527 * 0.05 / 3 ** 0.5
    np.testing.assert_allclose(table(summary, 'mean', 'low', 'high'), [[0.55, 0.55 - half, 0.55 + half]], atol=1e-7)
    assert summary['std'][0] == pytest.approx(np.std([0.4, 0.6, 0.6, 0.5, 0.55, 0.6]))


def test_a_single_value_has_no_interval():
    assert np.isnan(table(summarise(results({})), 'low', 'high')).all()
    assert table(summarise(results({})), 'mean', 'std') == [[0.5, 0]]


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_a_repeated_run_the_newest_counts(order):
    repeated = [{'date': '2024-01-01 00:00:00', 'accuracy': 0.1},
                {'date': '2024-01-02 00:00:00', 'accuracy': 0.2, 'experiment': 'fold_0_2'},
                {'date': '2024-02-01 00:00:00', 'accuracy': 0.3, 'experiment': 'fold_0_3', 'data': 'dddddddd.eeeeeeee'}]
    rows = results(*(repeated[i] for i in order), {'run': 1, 'accuracy': 0.5, 'data': 'dddddddd.eeeeeeee', 'date': '2024-02-01 00:00:00'})
    summary = summarise(rows)
    assert table(summary, 'runs') == [[2]] and summary['mean'][0] == pytest.approx(0.4)
    assert sorted(newest(rows)['accuracy']) == [0.3, 0.5] and costs(rows)['runs'].tolist() == [2]


def test_a_mean_holds_one_state_of_the_data():
    """Labels were corrected before run 3: the three runs before are left out, and named."""
    rows = results(*({'run': run, 'accuracy': 0.2, 'data': 'wwwwwwww.aaaaaaaa', 'date': '2024-01-01 00:00:00'} for run in range(3)),
                   {'run': 3, 'accuracy': 0.9, 'data': 'rrrrrrrr.aaaaaaaa', 'date': '2024-01-02 00:00:00'},
                   {'run': 0, 'method': 'proto', 'accuracy': 0.5, 'data': 'wwwwwwww.aaaaaaaa'})
    summary = summarise(rows)
    assert summary[['method', 'mean', 'runs']].values.tolist() == [['VGG', 0.9, 1], ['proto', 0.5, 1]]
    first, second = left_out(rows)
    assert first == 'toy, VGG: 3 results on an earlier state of the data (other sounds or labels) are left out.'
    assert 'different states of the data' in second and 'VGG [rrrrrrrr]' in second and 'proto [wwwwwwww]' in second
    assert left_out(rows[3:4]) == []


def divided(method='VGG', **values):
    """Three folds, then a new division into two of which one was measured: the sets of fold 1 differ, and fold 2 is no more."""
    old = [{'fold': fold, 'data': f'wwwwwwww.{fold}aaaaaaa', 'accuracy': 0.9} for fold in range(3)]
    return [{'method': method, 'date': '2024-01-02 00:00:00', **row, **values} for row in
            (*({**row, 'date': f'2024-01-01 00:00:0{row["fold"]}'} for row in old), {'fold': 0, 'data': 'wwwwwwww.0bbbbbbb', 'accuracy': 0.4})]


def test_a_mean_holds_one_division_into_folds():
    rows = results(*divided(), {'fold': 1, 'data': 'wwwwwwww.1bbbbbbb', 'accuracy': 0.5, 'date': '2024-01-03 00:00:00'},
                   {'fold': 2, 'data': 'wwwwwwww.2aaaaaaa', 'accuracy': 0.7, 'method': 'proto'})
    assert newest(rows)[['method', 'fold', 'accuracy']].values.tolist() == [['proto', 2, 0.7], ['VGG', 0, 0.4], ['VGG', 1, 0.5]]
    assert table(summarise(rows), 'method', 'mean', 'runs') == [['VGG', 0.45, 2], ['proto', 0.7, 1]]
    assert left_out(rows) == ['toy, VGG: 3 results on an earlier division into training and test sets are left out.']
    assert newest(rows)['outdated'].eq('').all() and newest(newest(rows)).equals(newest(rows))
    rows = results(*divided(), {'method': 'proto', 'fold': 0, 'data': 'wwwwwwww.0aaaaaaa'})
    assert left_out(rows)[-1] == 'toy: the methods were measured on different divisions into training and test sets (folds 0).'


def test_a_division_that_comes_back():
    """Division A, then B, then A again of which fold 0 was measured: fold 1 of B, which is its newest row, does not count."""
    rows = results(*({'fold': fold, 'data': f'wwwwwwww.{fold}{name}', 'date': f'2024-01-0{day} 00:00:00', 'accuracy': day / 10}
                     for day, name, folds in ((1, 'A', (0, 1)), (2, 'B', (0, 1)), (3, 'A', (0,))) for fold in folds))
    assert newest(rows)[['fold', 'accuracy']].values.tolist() == [[0, 0.3]]


def on_divisions(*rows):
    """Results in the order of their times, each as (method, division, fold, accuracy)."""
    return results(*({'method': method, 'fold': fold, 'accuracy': accuracy, 'data': f'wwwwwwww.{fold}{division}',
                      'date': f'2024-01-01 00:00:{second:02}'} for second, (method, division, fold, accuracy) in enumerate(rows)))


def test_of_three_divisions_the_newest_counts():
    """Fold 0 changes from A to B, then fold 1 from B to C: fold 0 of B is no result on C."""
    rows = on_divisions(('VGG', 'A', 0, 0.9), ('VGG', 'B', 0, 0.8), ('VGG', 'B', 1, 0.7), ('VGG', 'C', 1, 0.2))
    assert newest(rows)['accuracy'].tolist() == [0.2]


@pytest.mark.parametrize('first', [('VGG', 'proto'), ('proto', 'VGG')])
def test_what_one_method_tells_of_a_division_counts_for_the_others(first):
    """VGG's fold 0 was measured before the division changed, its folds 1 and 2 after that; the rows of proto show when it changed."""
    rows = on_divisions(*((method, 'A', 0, 0.9) for method in first), ('VGG', 'B', 1, 0.5), ('VGG', 'B', 2, 0.4),
                        *(('proto', 'B', fold, 0.3) for fold in range(3)))
    assert newest(rows)[['method', 'accuracy']].values.tolist() == [['VGG', 0.5], ['VGG', 0.4], *[['proto', 0.3]] * 3]


def test_of_runs_of_the_same_second_the_last_row_counts():
    assert summarise(results({'accuracy': 0.1}, {'accuracy': 0.2}))['mean'].tolist() == [0.2]


@pytest.mark.parametrize('other', ['ssssssss.aaaaaaaa', 'ssssssss.aaaaaaaa.cccccccc', 'ssssssss.bbbbbbbb'])
def test_only_runs_on_the_same_data_are_paired(other):
    measured = [{'run': run, 'method': method, 'accuracy': 0.1 * run, 'data': data}
                for method, data in (('VGG', 'ssssssss.aaaaaaaa'), ('proto', other)) for run in range(3)]
    assert compare(results(*measured))['pairs'].tolist() == ([3] if 'aaaaaaaa' in other else [])


@pytest.mark.parametrize('other', [{'run': 1}, {'fold': 1}, {'seed': 1}])
def test_runs_folds_and_seeds_are_averaged(other):
    summary = summarise(results({'accuracy': 0.2}, {'accuracy': 0.4, **other}))
    assert table(summary, 'runs', 'folds') == [[2, 2 if 'fold' in other else 1]]
    assert summary['mean'][0] == pytest.approx(0.3) and summary['std'][0] == pytest.approx(0.1)


def test_recipes_are_told_apart_within_a_data_set():
    summary = summarise(results({'accuracy': 0.1}, {'accuracy': 0.2, 'config_hash': 'bbbbbbbb'},
                                {'accuracy': 0.3, 'config_hash': 'bbbbbbbb', 'n_shot': '10'},
                                {'accuracy': 0.5, 'dataset': 'other', 'config_hash': 'bbbbbbbb'},
                                {'accuracy': 0.4, 'method': 'TIMBRE', 'config_hash': 'cccccccc'}))
    assert table(summary, 'dataset', 'method', 'n_shot', 'mean') == [
        ['other', 'VGG', '5', 0.5], ['toy', 'TIMBRE', '5', 0.4], ['toy', 'VGG [aaaaaaaa]', '5', 0.1],
        ['toy', 'VGG [bbbbbbbb]', '5', 0.2], ['toy', 'VGG [bbbbbbbb]', '10', 0.3]]


def test_order_of_n():
    names = ('all', '100', '5', '20', '1')
    summary = summarise(results(*({'n_shot': n, 'method': method} for n in names for method in ('b', 'a'))))
    assert table(summary, 'method', 'n_shot') == [[method, n] for method in 'ab' for n in ('1', '5', '20', '100', 'all')]


# ---- paired comparison -----------------------------------------------------------------------------------------------

def pairs_of(accuracies, draws=None, methods=('TIMBRE', 'VGG')):
    """Rows of two methods: accuracies (pairs) on `draws` (dictionaries; default: runs)."""
    draws = draws or [{'run': run} for run in range(len(accuracies))]
    return results(*({**draw, 'method': method, 'accuracy': accuracy}
                     for draw, pair in zip(draws, accuracies) for method, accuracy in zip(methods, pair)))


def test_comparison_over_runs():
    """Differences 0.1, 0.2, 0.3: their standard deviation is 0.1, t = 0.2 / (0.1 / sqrt(3))."""
    accuracies = [(0.5, 0.4), (0.7, 0.5), (0.6, 0.3)]
    found = compare(pairs_of(accuracies))
    assert list(found.columns) == ['dataset', 'n_shot', 'method', 'other', 'pairs', 'folds', 'accuracy', 'other_accuracy',
                                   'difference', 'low', 'high', 'p', 'p_holm']
    assert table(found, 'dataset', 'n_shot', 'method', 'other', 'pairs', 'folds') == [['toy', '5', 'TIMBRE', 'VGG', 3, 1]]
    half = 4.3026527 * 0.1 / 3 ** 0.5
    np.testing.assert_allclose(table(found, 'difference', 'low', 'high'), [[0.2, 0.2 - half, 0.2 + half]], atol=1e-7)
    assert found['p'][0] == pytest.approx(0.0741799, abs=1e-7)
    assert found['p'][0] == pytest.approx(stats.ttest_rel(*zip(*accuracies)).pvalue)
    assert found['p_holm'][0] == found['p'][0]  # there is one comparison


def test_comparison_over_folds():
    """Differences per fold: 0.1 (of 0.0 and 0.2), 0.3, 0.2: as above, however many runs a fold has."""
    draws = [{'fold': 0, 'run': 0}, {'fold': 0, 'run': 1}, {'fold': 1, 'run': 0}, {'fold': 2, 'seed': 7}]
    found = compare(pairs_of([(0.5, 0.5), (0.7, 0.5), (0.6, 0.3), (0.3, 0.1)], draws))
    half = 4.3026527 * 0.1 / 3 ** 0.5
    assert table(found, 'pairs', 'folds') == [[4, 3]]
    np.testing.assert_allclose(table(found, 'accuracy', 'other_accuracy'), [[(0.6 + 0.6 + 0.3) / 3, (0.5 + 0.3 + 0.1) / 3]])
    np.testing.assert_allclose(table(found, 'difference', 'low', 'high'), [[0.2, 0.2 - half, 0.2 + half]], atol=1e-7)
    assert found['p'][0] == pytest.approx(0.0741799, abs=1e-7)


@pytest.mark.parametrize('key', ['run', 'fold', 'seed', 'n_shot', 'dataset'])
def test_only_equal_draws_are_compared(key):
    """VGG has 0.9 on draws that TIMBRE lacks, and the other way round."""
    values = ['1', '2', '3', '4'] if key in ('n_shot', 'dataset') else [1, 2, 3, 4]
    rows = results(*({key: value, 'method': 'TIMBRE', 'accuracy': a} for value, a in zip(values[:3], (0.9, 0.5, 0.6))),
                   *({key: value, 'method': 'VGG', 'accuracy': a} for value, a in zip(values[1:], (0.4, 0.3, 0.9))))
    found = compare(rows)
    assert found['pairs'].sum() == 2 and found['method'].unique().tolist() == ['TIMBRE']
    if key in ('n_shot', 'dataset'):
        np.testing.assert_allclose(found['difference'], [0.1, 0.3])
    else:
        np.testing.assert_allclose(found['difference'], [0.2])
        np.testing.assert_allclose(table(found, 'accuracy', 'other_accuracy'), [[0.55, 0.35]])  # of these two draws alone


def test_methods_without_a_common_draw_are_not_compared():
    found = compare(results({'run': 0}, {'run': 1, 'method': 'TIMBRE'}))
    assert found.empty and 'p_holm' in found


def test_a_repeated_run_is_one_pair():
    rows = pd.concat([pairs_of([(0.5, 0.4), (0.5, 0.2)]), results({'date': '2025', 'accuracy': 0.1})])
    found = compare(rows)
    assert found['pairs'].tolist() == [2] and found['difference'][0] == pytest.approx((0.4 + 0.3) / 2)


@pytest.mark.parametrize('accuracies, p', [([(0.5, 0.4)], np.nan), ([(0.5, 0.5)], np.nan), ([(0.5, 0.4), (0.4, 0.3)], np.nan),
                                           ([(0.5, 0.5), (0.3, 0.3)], 1)])
def test_no_p_for_one_difference_or_equal_ones(accuracies, p):
    found = compare(pairs_of(accuracies))
    np.testing.assert_equal(table(found, 'low', 'high', 'p', 'p_holm'), [[np.nan, np.nan, p, p]])
    assert found['difference'][0] == pytest.approx(np.subtract(*accuracies[0]))


@pytest.mark.parametrize('p, corrected', [
    ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]), ([0.5, 0.9], [1, 1]), ([0.02], [0.02]), ([], []),
    ([np.nan, 0.02, 0.01], [np.nan, 0.02, 0.02]), ([np.nan], [np.nan])])
def test_holm(p, corrected):
    np.testing.assert_allclose(holm(p), corrected)


def test_correction_within_a_data_set_and_n():
    rng = np.random.default_rng(0)
    draws = itertools.product(('one', 'two'), ('5', '20'), 'abc', range(4))
    rows = results(*({'dataset': dataset, 'n_shot': n, 'method': method, 'run': run, 'accuracy': rng.random()}
                     for dataset, n, method, run in draws))
    found = compare(rows)
    assert table(found, 'dataset', 'n_shot', 'method', 'other') == [
        [dataset, n, *pair] for dataset in ('one', 'two') for n in ('5', '20') for pair in ('ab', 'ac', 'bc')]
    for _, group in found.groupby(['dataset', 'n_shot']):
        low, middle, high = np.sort(group['p'])
        first = 3 * low
        second = max(first, 2 * middle)
        np.testing.assert_allclose(np.sort(group['p_holm']), np.minimum([first, second, max(second, high)], 1))


# ---- verdicts --------------------------------------------------------------------------------------------------------

def references(*values):
    """References like those of read_references; each is given by what differs from VGG's at n = 5."""
    default = {'dataset': 'toy', 'method': 'VGG', 'n_shot': '5', 'folds': {0}, 'settings': '', 'accuracy': 0.5, 'spread': 0.1,
               'runs': 3, 'source': 'a study'}
    return pd.DataFrame([{**default, **value} for value in values], columns=REFERENCE_COLUMNS)


@pytest.mark.parametrize('accuracy, reference, spread, verdict', [
    (0.55, 0.5, 0.1, 'inside the spread'), (0.65, 0.5, 0.1, 'outside the spread'), (0.35, 0.5, 0.1, 'outside the spread'),
    (0.619, 0.538, 0.081, 'inside the spread'), (0.7, 0.6, 0.1, 'inside the spread'), (0.3, 0.4, 0.1, 'inside the spread'),
    (0.601, 0.5, 0.1, 'outside the spread'), (0.5, 0.5, np.nan, 'no spread known'), (0.5, 0.5, 0, 'inside the spread')])
def test_verdict(accuracy, reference, spread, verdict):
    """A difference as large as the spread is inside, whatever the last bits say."""
    found = verdicts(results({'accuracy': accuracy}), references({'accuracy': reference, 'spread': spread}))
    assert found['verdict'].tolist() == [verdict]
    assert found['difference'][0] == pytest.approx(accuracy - reference)


def test_what_a_verdict_compares():
    rows = results({'accuracy': 0.4}, {'accuracy': 0.5, 'run': 1}, {'accuracy': 0.9, 'fold': 1}, {'accuracy': 0.9, 'n_shot': '20'},
                   {'accuracy': 0.9, 'dataset': 'other'}, {'accuracy': 0.9, 'method': 'VGG-128'})
    found = verdicts(rows, references({'settings': 'max_accuracy=10'}, {'method': 'proto'}, {'n_shot': '1'}))
    assert table(found, 'dataset', 'method', 'n_shot', 'runs', 'reference', 'spread', 'reference_runs', 'settings', 'source') == [
        ['toy', 'VGG', '5', 2, 0.5, 0.1, 3, 'max_accuracy=10', 'a study']]
    np.testing.assert_allclose(table(found, 'mean', 'std', 'difference'), [[0.45, 0.05, -0.05]])


def test_every_recipe_has_a_verdict():
    rows = results({'accuracy': 0.45}, {'accuracy': 0.9, 'config_hash': 'bbbbbbbb'})
    assert table(verdicts(rows, references({})), 'method', 'verdict') == [['VGG [aaaaaaaa]', 'inside the spread'],
                                                                          ['VGG [bbbbbbbb]', 'outside the spread']]


def test_a_reference_of_several_folds():
    rows = results({'accuracy': 0.4}, {'accuracy': 0.2, 'run': 1}, {'accuracy': 0.7, 'fold': 2}, {'accuracy': 0.9, 'fold': 1})
    assert verdicts(rows, references({'folds': {0, 2}}))['mean'].tolist() == [0.5]
    assert verdicts(rows, references({'folds': {0, 3}})).empty  # of fold 3 there is none


def test_references_of_the_repository():
    found = read_references()
    values = {(row.dataset, row.method, row.n_shot): (row.accuracy, row.spread, row.runs, row.settings, row.folds)
              for row in found.itertuples()}
    assert values['esc10', 'VGG', '5'] == (0.538, 0.081, 3, '', {0})
    *proto, settings, folds = values['esc10', 'proto', '5']
    assert (proto[0], np.isnan(proto[1]), proto[2], settings, folds) == (0.438, True, 1, 'max_accuracy=10', {0})
    assert len(values) == len(found) == 8 and (found['source'] != '').all()


@pytest.mark.parametrize('content, part', [
    (None, 'does not exist'), ('', 'damaged'), ('a\tb\n1\t2\n', 'lacks the columns dataset, method'), (b'\xff\xfe\x00', 'damaged'),
    ('accuracy=half', 'damaged'), ('accuracy=', 'damaged'), ('accuracy=1.5', 'damaged'), ('spread=-0.1', 'damaged'),
    ('folds=', 'damaged'), ('folds=a', 'damaged'), ('runs=x', 'damaged')])
def test_damaged_references(tmp_path, content, part):
    path = tmp_path / 'references.tsv'
    if isinstance(content, str) and '=' in content:
        key, _, value = content.partition('=')
        row = {**dict.fromkeys(REFERENCE_COLUMNS, 'x'), 'folds': '0', 'accuracy': '0.5', 'spread': '', 'runs': '3'}
        path.write_text('\n'.join('\t'.join(line) for line in (row, row.values())) + '\n')
        assert np.isnan(read_references(path)['spread'][0])
        content = '\n'.join('\t'.join(line) for line in (row, {**row, key: value}.values())) + '\n'
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf'references\.tsv .*{part}.*git checkout'):
        read_references(path)


# ---- times, runs of matrices ------------------------------------------------------------------------------------------------

def test_costs():
    found = costs(results({}, {'n_shot': '20', 'train_seconds': 3600.0}, {'method': 'TIMBRE', 'test_seconds': 0.5},
                          {'dataset': 'other'}))
    assert found.values.tolist() == [['other', 'VGG', 1, 10, 1], ['toy', 'TIMBRE', 1, 10, 0.5], ['toy', 'VGG', 2, 3610, 2]]
    assert [cell.strip() for cell in cost_markdown(found).splitlines()[4].split('|')] == ['', 'VGG', '2', '1:00:10', '0:00:02', '']


def test_runs_with_the_most_shots():
    rows = results({'accuracy': 0.9, 'date': '2023'}, {'accuracy': 0.6}, {'accuracy': 0.7, 'n_shot': '20', 'fold': 2},
                   {'accuracy': 0.7, 'n_shot': '20', 'fold': 1}, {'accuracy': 0.7, 'n_shot': '5', 'run': 3},
                   {'accuracy': 0.1, 'method': 'TIMBRE', 'n_shot': 'all'}, {'accuracy': 0.1, 'method': 'TIMBRE', 'n_shot': '100'})
    assert table(with_most_shots(rows), 'label', 'n_shot', 'fold', 'model') == [['TIMBRE', 'all', 0, 'm5'], ['VGG', '20', 1, 'm3'],
                                                                               ['VGG', '20', 2, 'm2']]


# ---- Markdown --------------------------------------------------------------------------------------------------------

def test_accuracy_markdown():
    summary = summarise(results({'accuracy': 0.25}, {'accuracy': 0.75, 'run': 1}, {'accuracy': 1 / 3, 'n_shot': 'all'},
                                {'accuracy': 0.125, 'n_shot': '20', 'method': 'knn_mfcc'}))
    lines = ['| accuracy, mean +- std (runs) | n = 5              | n = 20    | n = all   |',
             '|------------------------------|--------------------|-----------|-----------|',
             '| VGG                          | 0.500 +- 0.250 (2) |           | 0.333 (1) |',
             '| knn_mfcc                     |                    | 0.125 (1) |           |']
    assert accuracy_markdown(summary) == '\n'.join(lines) + '\n'
    assert accuracy_markdown(summary, [('a', 'needs b')]) == '\n'.join(
        [*lines, '| a                            | needs b            |           |           |']) + '\n'


def test_interval_markdown():
    rows = results({'accuracy': 0.4}, {'accuracy': 0.6, 'fold': 1}, {'accuracy': 0.5, 'run': 1}, {'n_shot': '20'},
                   {'n_shot': '1'}, {'n_shot': '1', 'accuracy': 0.6, 'run': 1})
    *_, line = interval_markdown(summarise(rows)).splitlines()
    assert [cell.strip() for cell in line.split('|')[1:-1]] == [
        'VGG', '0.550 (0.000 to 1.000, 2 runs)', '0.525 (0.000 to 1.000, 2 folds)', '0.500']


def test_verdict_markdown():
    rows = results({'accuracy': 0.4}, {'accuracy': 0.5, 'run': 1}, {'method': 'proto', 'accuracy': 0.4})
    text = verdict_markdown(verdicts(rows, references({}, {'method': 'proto', 'spread': np.nan, 'runs': 1, 'settings': 's=1'})))
    assert [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()[2:]] == [
        ['VGG', '5', '0', '0.450 +- 0.050 (2)', '0.500 +- 0.100 (3)', '', '-0.050', 'inside the spread'],
        ['proto', '5', '0', '0.400 (1)', '0.500 (1)', 's=1', '-0.100', 'no spread known']]


def test_the_best_method_against_the_others():
    rows = pd.concat([pairs_of([(0.4, 0.5), (0.5, 0.7), (0.3, 0.6)]), results({'method': 'proto', 'accuracy': 0.2},
                                                                              {'method': 'proto', 'n_shot': '20'})])
    text = comparison_markdown(summarise(rows), compare(rows))
    assert [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()[2:]] == [
        ['5', 'VGG', 'TIMBRE', '+0.200', '-0.048 to +0.448', '0.074', '0.074', '3 in 1 fold'],
        ['5', 'VGG', 'proto', '+0.300', '', '', '', '1 in 1 fold']]
    assert comparison_markdown(summarise(results({})), compare(results({}))) == ''


# ---- repeated divisions ------------------------------------------------------------------------------------------------

def test_repeated_divisions_are_no_more_independent_than_one(data_folder):
    """Two folds, three times: the interval has the spread of all six and the width of two."""
    values = [0.5, 0.7, 0.6, 0.8, 0.4, 0.6]
    rows = results(*({'fold': fold, 'accuracy': value} for fold, value in enumerate(values)),
                   *({'fold': fold, 'accuracy': 0.5, 'method': 'TIMBRE'} for fold in range(6)))
    alone = summarise(rows).set_index('method').loc['VGG']
    write_json(data_folder / 'index/toy/source_toy.json', {'folds_per_division': 2})
    repeated, pair = summarise(rows).set_index('method').loc['VGG'], compare(rows).iloc[0]
    assert repeated['mean'] == alone['mean'] == pytest.approx(0.6) and repeated['runs'] == 6
    half = 12.7062047 * np.std(values, ddof=1) / 2 ** 0.5
    np.testing.assert_allclose(repeated[['low', 'high']].astype(float), np.clip([0.6 - half, 0.6 + half], 0, 1))
    assert repeated['high'] - repeated['low'] > 2 * (alone['high'] - alone['low'])
    t = 0.1 / (np.std(values, ddof=1) / 2 ** 0.5)
    assert pair['p'] == pytest.approx(2 * stats.t.sf(t, 1)) and pair['high'] - pair['low'] == pytest.approx(2 * half)


# ---- which method to use -----------------------------------------------------------------------------------------------

def test_the_cheapest_of_nearly_equal_methods_is_recommended():
    """Within one standard error of the best mean the cheaper method wins; what the paired test cannot tell apart is named."""
    accuracies = {'dear': [0.90, 0.92, 0.88, 0.91], 'cheap': [0.89, 0.92, 0.87, 0.92], 'worse': [0.50, 0.55, 0.45, 0.52]}
    rows = results(*({'method': method, 'fold': fold, 'accuracy': accuracy} for method, values in accuracies.items()
                     for fold, accuracy in enumerate(values)), {'method': 'worse', 'n_shot': '1', 'accuracy': 1.0})
    best = analysis.recommend(rows, ['cheap', 'dear', 'worse'].index)
    assert (best['method'], best['name'], best['n_shot'], best['equal']) == ('cheap', 'cheap', '5', ['dear'])
    assert (best['worse'], best['better'], best['apart']) == (['worse'], [], [])
    text = analysis.recommendation(best)
    assert text.startswith('Use cheap: accuracy 0.900 at n = 5, 95 % interval 0.')
    assert text.endswith('Not distinguishable from it by these results: dear.')
    best = analysis.recommend(rows, ['worse', 'dear', 'cheap'].index)
    assert best['method'] == 'dear'  # worse is not within the error
    alone = analysis.recommend(rows[rows['method'] == 'worse'], lambda method: 0)
    assert analysis.recommendation(alone).endswith('No other method was measured.')


def test_the_recommendation_is_of_an_n_at_which_most_methods_were_measured():
    """fit.py --method adds a result of one method at n = all."""
    rows = results(*({'method': method, 'fold': fold, 'n_shot': n, 'accuracy': accuracy + 0.01 * fold}
                     for method, n, accuracy in (('best', '20', 0.9), ('other', '20', 0.5), ('other', 'all', 0.52), ('third', '20', 0.4))
                     for fold in range(3)))
    best = analysis.recommend(rows, ['best', 'other', 'third'].index)
    assert (best['method'], best['n_shot'], best['missing'], best['worse']) == ('best', '20', [], [])
    assert best['apart'] == ['other', 'third']  # all differences are equal
    best = analysis.recommend(rows[rows['method'] != 'third'], ['best', 'other'].index)
    assert (best['method'], best['n_shot']) == ('best', '20')
    best = analysis.recommend(pd.concat([rows, results({'method': 'best', 'n_shot': 'all'})]), ['best', 'other', 'third'].index)
    assert (best['method'], best['n_shot'], best['missing']) == ('other', 'all', ['third'])
    assert analysis.recommendation(best).endswith('Not measured at n = all: third.')


def test_configurations_of_a_method_are_one_method():
    """Six configurations of one method at n = 1 do not outweigh four methods at n = 20."""
    rows = results(*({'config_hash': f'hash{number}', 'n_shot': '1'} for number in range(6)),
                   *({'method': name, 'n_shot': '20', 'accuracy': accuracy} for name, accuracy in zip('abcd', (0.8, 0.7, 0.6, 0.5))))
    assert analysis.recommend(rows, 'abcd'.index)['n_shot'] == '20'


def test_a_method_that_was_measured_on_fewer_folds_is_not_recommended():
    rows = results(*({'method': 'whole', 'fold': fold, 'accuracy': 0.9 + 0.1 * (fold == 0)} for fold in range(5)),
                   {'method': 'part', 'accuracy': 0.95})
    best = analysis.recommend(rows, ['part', 'whole'].index)
    assert (best['method'], best['fewer'], best['apart'], best['equal'], best['better']) == ('whole', ['part'], [], [], [])
    assert 'Not considered, because they were measured on fewer folds: part.' in analysis.recommendation(best)


def test_equal_results_have_no_interval():
    rows = results(*({'fold': fold, 'accuracy': 1.0} for fold in range(5)))
    assert np.isnan(table(summarise(rows), 'low', 'high')).all() and table(summarise(rows), 'mean', 'folds') == [[1.0, 5]]
    assert 'interval' not in analysis.recommendation(analysis.recommend(rows, ['VGG'].index))


def test_a_dearer_method_that_is_better_is_named():
    """The cheap method is within the error of the best one, but worse on every fold."""
    accuracies = {'dear': [0.70, 0.80, 0.90], 'cheap': [0.69, 0.795, 0.89], 'elsewhere': [0.1, 0.1, 0.1]}
    rows = results(*({'method': method, 'fold': fold, 'accuracy': accuracy, 'seed': 7 * (method == 'elsewhere')}
                     for method, values in accuracies.items() for fold, accuracy in enumerate(values)))
    best = analysis.recommend(rows, ['cheap', 'dear', 'elsewhere'].index)
    assert (best['method'], best['better'], best['apart'], best['equal'], best['worse']) == ('cheap', ['dear'], ['elsewhere'], [], [])
    text = analysis.recommendation(best)
    assert 'worse' not in text
    assert text.endswith('More accurate, but they need more computation: dear. No test against it is possible (too few results on '
                         'the same training clips, or all differences are equal): elsewhere.')


def test_the_recommended_method_may_have_another_configuration_at_a_smaller_n():
    rows = results({'accuracy': 0.5, 'config_hash': 'a'}, {'accuracy': 0.9, 'n_shot': '20', 'config_hash': 'b'})
    best = analysis.recommend(rows, lambda method: 0)
    assert (best['method'], best['name'], best['mean']) == ('VGG [b]', 'VGG', 0.9)
