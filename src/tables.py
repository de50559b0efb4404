"""Tables from the rows of results.tsv: accuracy, paired comparisons, verdicts beside reference figures, times.

A result is what a method gives on (data set, fold, n_shot, seed, run), made in the way that its recipe stands for. All
functions take `rows`, a DataFrame with the columns of results.tsv (experiment.RESULT_COLUMNS) or a part of it, and let the
newest row of each result count.
"""
import datetime
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from evaluation import mean_interval
from experiment import ALL
from shared import UserError, listing

REFERENCES = Path(__file__).resolve().parents[1] / 'data/references.tsv'
REFERENCE_COLUMNS = ['dataset', 'method', 'n_shot', 'folds', 'settings', 'accuracy', 'spread', 'runs', 'source']
RESULT = ['dataset', 'method', 'recipe', 'fold', 'n_shot', 'seed', 'run']  # what identifies a result


# ---- rows ------------------------------------------------------------------------------------------------------------

def newest(rows):
    """The row of each result that was measured last, and among those of the same second the last one.

    The column `label` is added: the method's name; where a data set has results of the method that were made in different
    ways (other epochs, other input, ...), the recipe in brackets behind it.
    """
    rows = rows.sort_values('date', kind='stable').drop_duplicates(RESULT, keep='last')
    several = rows.groupby(['dataset', 'method'])['recipe'].transform('nunique') > 1
    return rows.assign(label=rows['method'].where(~several, rows['method'] + ' [' + rows['recipe'] + ']'))


def position(n_shot):
    """Place of an n_shot in an ascending order; 'all' comes last."""
    return float('inf') if n_shot == ALL else int(n_shot)


def in_order(rows, columns, first):
    """A DataFrame of rows (dictionaries), sorted by the `first` so many of its columns, n_shot by its size."""
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:first], kind='stable', ignore_index=True,
                                                           key=lambda c: c.map(position) if c.name == 'n_shot' else c)


# ---- tables ----------------------------------------------------------------------------------------------------------

def averages(rows):
    """Mean, standard deviation, 95 % interval, runs and folds of the results `rows` (dictionary).

    Runs of one fold are tested on the same clips, so they are no independent measurements of how well a method does on
    clips that nobody has heard. Therefore, where there are several folds, the mean is the mean over folds of the means over
    runs, and low and high are the t interval over the folds' means. With one fold they are mean and t interval over its runs,
    and tell nothing about other test clips. std (divisor n) is over all single results, as in the study.
    """
    folds = rows.groupby('fold')['accuracy'].mean()
    mean, _, low, high = mean_interval(folds if len(folds) > 1 else rows['accuracy'])
    return {'mean': mean, 'std': rows['accuracy'].std(ddof=0), 'low': low, 'high': high, 'runs': len(rows), 'folds': len(folds)}


def summarise(rows):
    """Accuracy per data set, method and n_shot.

    Returns a DataFrame with dataset, method (see newest), n_shot; mean, std, low, high, runs, folds (see averages; the
    interval is NaN for a single value); train_seconds, test_seconds (means over runs); sorted by the first three.
    """
    columns = ['dataset', 'method', 'n_shot', 'mean', 'std', 'low', 'high', 'runs', 'folds', 'train_seconds', 'test_seconds']
    return in_order([{'dataset': dataset, 'method': label, 'n_shot': n_shot, **averages(group),
                      'train_seconds': group['train_seconds'].mean(), 'test_seconds': group['test_seconds'].mean()}
                     for (dataset, label, n_shot), group in newest(rows).groupby(['dataset', 'label', 'n_shot'])], columns, 3)


def compare(rows):
    """Paired comparison of every two methods on the same draws: equal data set, n_shot, fold, seed, run and data.

    Returns a DataFrame with dataset, n_shot, method, other; pairs, folds (of the draws that both have); difference (mean of
    method's minus other's accuracy, as in averages), low, high (its 95 % t interval), p (two-sided paired t-test), p_holm
    (p corrected by Holm's method for all comparisons of this data set and n_shot). Where there are several folds, interval
    and test are over the folds' mean differences, else over the runs'. They are NaN when there are fewer than two of these,
    or all are equal; but p = 1 when all are 0.
    """
    columns = ['dataset', 'n_shot', 'method', 'other', 'pairs', 'folds', 'difference', 'low', 'high', 'p', 'p_holm']
    found = []
    rows = newest(rows)
    rows = rows.assign(draw=rows['data'].str.partition('-')[0])  # a validation part is no matter of the draw
    for (dataset, n_shot), group in rows.groupby(['dataset', 'n_shot']):
        table = group.pivot(index=['fold', 'seed', 'run', 'draw'], columns='label', values='accuracy')
        pairs = []
        for method, other in itertools.combinations(sorted(table), 2):
            differences = (table[method] - table[other]).dropna()
            if len(differences):
                pairs.append({'dataset': dataset, 'n_shot': n_shot, 'method': method, 'other': other, 'pairs': len(differences),
                              **paired_test(differences)})
        found += [{**pair, 'p_holm': p} for pair, p in zip(pairs, holm([pair['p'] for pair in pairs]))]
    return in_order(found, columns, 4)


def paired_test(differences):
    """folds, difference, low, high and p of compare (dictionary), of differences with an index that has the level fold."""
    folds = differences.groupby('fold').mean()
    values = (folds if len(folds) > 1 else differences).to_numpy()
    low = high = p = np.nan
    if len(values) > 1 and np.ptp(values) > 1e-9:  # equal accuracies can differ in their last bits
        test = stats.ttest_1samp(values, 0)
        p, (low, high) = test.pvalue, test.confidence_interval(0.95)
    elif len(values) > 1 and abs(values[0]) < 1e-9:
        p = 1.0
    return {'folds': len(folds), 'difference': values.mean(), 'low': low, 'high': high, 'p': p}


def holm(p):
    """p-values corrected for their number by Holm's step-down method (list of float); NaN stays NaN and does not count."""
    p = np.array(p, float)
    order = np.argsort(p)[:np.isfinite(p).sum()]  # NaN is sorted to the end
    p[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return p.tolist()


def read_references(path=REFERENCES):
    """Published and released figures (DataFrame with REFERENCE_COLUMNS; spread is NaN where none is known)."""
    remedy = 'it is part of this repository, take it from there again (git checkout data/references.tsv)'
    try:
        table = pd.read_csv(path, sep='\t', dtype=str, keep_default_na=False)
        missing = [column for column in REFERENCE_COLUMNS if column not in table]
        if missing:
            raise UserError(f'{path} lacks the columns {listing(missing)}: {remedy}')
        for column in ('accuracy', 'spread', 'runs'):
            table[column] = pd.to_numeric(table[column].where(table[column] != '') if column == 'spread' else table[column])
        if not (table['accuracy'].between(0, 1).all() and not (table['spread'] < 0).any()):
            raise ValueError('an accuracy or a spread is not between 0 and 1')
        table['folds'] = [{int(fold) for fold in folds.split(',')} for folds in table['folds']]
    except FileNotFoundError:
        raise UserError(f'{path} does not exist: {remedy}') from None
    except ValueError as problem:  # all of pandas' complaints
        raise UserError(f'{path} is damaged ({problem}): {remedy}') from None
    return table


def verdicts(rows, references):
    """Our figures beside those that have a published or released counterpart.

    Compared are the same data set, method and n_shot on the reference's folds, where we have all of them; each recipe of a
    method has a verdict of its own. `settings` tells what the reference was made with where it is not the study's setting.

    Args:
        references: from read_references.

    Returns a DataFrame with dataset, method, n_shot; mean, std, runs (ours); reference, spread, reference_runs, settings;
    difference (ours minus the reference); verdict ('inside the spread' where |difference| <= spread, 'outside the spread', or
    'no spread known'); source.
    """
    columns = ['dataset', 'method', 'n_shot', 'mean', 'std', 'runs', 'reference', 'spread', 'reference_runs', 'settings',
               'difference', 'verdict', 'source']
    rows, found = newest(rows), []
    for reference in references.itertuples():
        same = (rows[['dataset', 'method', 'n_shot']] == [reference.dataset, reference.method, reference.n_shot]).all(axis=1)
        for label, group in rows[same & rows['fold'].isin(reference.folds)].groupby('label'):
            if set(group['fold']) == reference.folds:
                ours = averages(group)
                difference = ours['mean'] - reference.accuracy
                inside = 'inside' if abs(difference) <= reference.spread + 1e-9 else 'outside'
                found.append({'dataset': reference.dataset, 'method': label, 'n_shot': reference.n_shot,
                              **{key: ours[key] for key in ('mean', 'std', 'runs')}, 'reference': reference.accuracy,
                              'spread': reference.spread, 'reference_runs': reference.runs, 'settings': reference.settings,
                              'difference': difference, 'source': reference.source,
                              'verdict': 'no spread known' if np.isnan(reference.spread) else f'{inside} the spread'})
    return in_order(found, columns, 3)


def costs(rows):
    """What the results took: a DataFrame with dataset, method, runs, train_seconds, test_seconds (sums)."""
    columns = ['dataset', 'method', 'runs', 'train_seconds', 'test_seconds']
    return in_order([{'dataset': dataset, 'method': label, 'runs': len(group),
                      **group[['train_seconds', 'test_seconds']].sum()}
                     for (dataset, label), group in newest(rows).groupby(['dataset', 'label'])], columns, 2)


def best_runs(rows):
    """The run with the highest accuracy of every data set and method; of equal ones the one with more shots, then the first.

    Returns a DataFrame with the columns of newest.
    """
    rows = newest(rows)
    rows = rows.assign(shots=rows['n_shot'].map(position))
    rows = rows.sort_values(['dataset', 'label', 'accuracy', 'shots', 'fold', 'seed', 'run'],
                            ascending=[True, True, False, False, True, True, True])
    return rows.drop_duplicates(['dataset', 'label']).drop(columns='shots')


# ---- as Markdown, each of one data set -------------------------------------------------------------------------------

def markdown(head, lines):
    """A Markdown table with a heading (list of C str) and lines (lists of up to C str), its columns aligned."""
    lines = [head, *(line + [''] * (len(head) - len(line)) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in lines]
    return '\n'.join([text[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *text[1:]]) + '\n'


def by_n(summary, head, cell, missing=()):
    """A row per method, a column per n, each cell as cell(row of summary); `missing`: (method, reason) of rows without any."""
    columns = sorted(summary['n_shot'].unique(), key=position)
    cells = {(row.method, row.n_shot): cell(row) for row in summary.itertuples()}
    lines = [[method, *(cells.get((method, n), '') for n in columns)] for method in summary['method'].unique()]
    return markdown([head, *([f'n = {n}' for n in columns] or [''])], [*lines, *map(list, missing)])


def accuracy_markdown(summary, missing=()):
    """Method by n, see spread. `missing` as in by_n."""
    return by_n(summary, 'accuracy, mean +- std (runs)', spread, missing)


def spread(row):
    """mean +- standard deviation (runs) as text; of a single run without the deviation."""
    return f'{row.mean:.3f}' + f' +- {row.std:.3f}' * (row.runs > 1) + f' ({row.runs})'


def interval_markdown(summary):
    """Method by n: mean and its 95 % interval, and over how many folds or runs."""
    def cell(row):
        basis = f'{row.folds} folds' if row.folds > 1 else f'{row.runs} runs'
        return f'{row.mean:.3f}' + (f' ({row.low:.3f} to {row.high:.3f}, {basis})' if np.isfinite(row.low) else '')

    return by_n(summary, 'mean (95 % interval)', cell)


def verdict_markdown(verdicts):
    """A line per verdict."""
    def cells(row):
        reference = f'{row.reference:.3f}' + ('' if np.isnan(row.spread) else f' +- {row.spread:.3f}') + f' ({row.reference_runs})'
        return [row.method, row.n_shot, spread(row), reference, row.settings, f'{row.difference:+.3f}', row.verdict]

    return markdown(['method', 'n', 'ours (runs)', 'reference (runs)', 'setting', 'difference', 'verdict'],
                    [cells(row) for row in verdicts.itertuples()])


def comparison_markdown(summary, pairs):
    """At each n, the method with the highest mean against every other one; '' when there is nothing to compare."""
    lines = []
    for n_shot in sorted(summary['n_shot'].unique(), key=position):
        group = summary[summary['n_shot'] == n_shot]
        best = group['method'][group['mean'].idxmax()]
        for row in pairs[pairs['n_shot'] == n_shot].itertuples():
            if best in (row.method, row.other):
                sign, other = (1, row.other) if row.method == best else (-1, row.method)
                low, high = sorted([sign * row.low, sign * row.high])
                lines.append([n_shot, best, other, f'{sign * row.difference:+.3f}',
                              f'{low:+.3f} to {high:+.3f}' if np.isfinite(low) else '', probability(row.p), probability(row.p_holm),
                              f'{row.pairs} in {row.folds} fold{"s" * (row.folds > 1)}'])
    head = ['n', 'best', 'other', 'difference', '95 % interval', 'p', 'p (Holm)', 'pairs']
    return markdown(head, lines) if lines else ''


def probability(p):
    """A p-value as text; '' where there is none."""
    return '' if np.isnan(p) else '< 0.001' if p < 0.001 else f'{p:.3f}'


def cost_markdown(costs):
    """A line per method: runs and hours:minutes:seconds."""
    def time(seconds):
        return str(datetime.timedelta(seconds=round(seconds)))

    return markdown(['method', 'runs', 'training', 'test'],
                    [[row.method, str(row.runs), time(row.train_seconds), time(row.test_seconds)] for row in costs.itertuples()])
