"""The numbers of reports, from the rows of results.tsv: accuracy, paired comparisons, verdicts beside reference figures, times.

A result belongs to a data set, fold, n_shot, seed and run, and to a method with its configuration hash. All functions take
`rows`, a DataFrame with some rows of results.tsv (columns: results.COLUMNS), or what `newest` made of it. The newest row of each result
counts.
"""
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from configuration import ALL
from evaluation import mean_interval
from shared import UserError, independent_folds, listing, source_path

REFERENCES = Path(__file__).resolve().parents[1] / 'data/references.tsv'
REFERENCE_COLUMNS = ['dataset', 'method', 'n_shot', 'folds', 'settings', 'accuracy', 'spread', 'runs', 'source']
RESULT = ['dataset', 'method', 'config_hash', 'fold', 'n_shot', 'seed', 'run']  # what identifies a result


# ---- rows ------------------------------------------------------------------------------------------------------------

def labelled(rows):
    """The rows in the order of their times, with the columns `label`, `state`, `sets` and `outdated`.

    label: the method's name; where a data set has results of the method with several configurations (other epochs, other
    input), the configuration hash follows in brackets. state: hash of the labels of all sounds; sets: hash of training and test set, see
    results.data_hash. outdated: why a row does not count, '' for the others: a mean holds one state of the data and one division into sets.
    """
    rows = rows.sort_values('date', kind='stable', ignore_index=True)
    several = rows.groupby(['dataset', 'method'])['config_hash'].transform('nunique') > 1
    parts = rows['data'].map(lambda data: [*str(data).split('.'), ''])
    rows = rows.assign(label=rows['method'].where(~several, rows['method'] + ' [' + rows['config_hash'] + ']'),
                       state=parts.str[0], sets=parts.str[1])
    why = pd.Series('', rows.index)
    for _, group in rows.groupby('dataset'):
        current = group['state'] == group.groupby('label')['state'].transform('last')
        why[group.index[~current]] = 'on an earlier state of the data (other sounds or labels)'
        for _, same in group[current].groupby('state'):
            counting = on_newest_division(same)
            for _, own in same.groupby('label'):  # a method without a result on the newest division keeps its earlier ones
                counts = counting[own.index] if counting[own.index].any() else on_newest_division(own)
                why[own.index[~counts]] = 'on an earlier division into training and test sets'
    return rows.assign(outdated=why)


def on_newest_division(rows):
    """Which of `rows`, results on one state of the data in the order of their times, are known to be on the newest division (bool Series).

    All folds of a division are made at the same time. So after the last change of any fold, the results tell the sets of their folds, and
    those of a fold that was measured before that change alone do not count.
    """
    place, fold = pd.Series(rows.index, rows.index), rows['fold']
    replaced = rows['sets'] != rows.groupby('fold')['sets'].transform('last')
    if not replaced.any():
        return ~replaced
    ended = place[replaced].groupby(fold).max()
    begin = place[place > fold.map(ended)].groupby(fold).min()
    back = fold[~replaced & (place < fold.map(ended))]  # folds whose earlier division came back
    begin = max([begin[begin > ended.max()].min(), *begin[begin.index.isin(back)]])
    return rows['sets'] == rows['sets'].where(place >= begin).groupby(fold).transform('last')


def newest(rows):
    """The newest row of each result; of rows with the same time, the last one. With the columns of `labelled`, without outdated rows.

    `left_out` names those. What this function has returned, or a part of it, stays as it is.
    """
    if 'outdated' in rows:
        return rows
    rows = labelled(rows)
    return rows[rows['outdated'] == ''].drop_duplicates(RESULT, keep='last')


def left_out(rows):
    """Sentences (list of str) on results that do not count, and on methods that were measured on different data."""
    if rows.empty:
        return []
    rows, sentences = labelled(rows), []
    for (dataset, label, why), group in rows.drop_duplicates([*RESULT, 'data']).groupby(['dataset', 'label', 'outdated']):
        if why:
            sentences.append(f'{dataset}, {label}: {len(group)} result{"s" * (len(group) > 1)} {why} '
                             f'{"are" if len(group) > 1 else "is"} left out.')
    for dataset, group in rows[rows['outdated'] == ''].groupby('dataset'):
        methods = {state: ', '.join(sorted(set(part['label']))) for state, part in group.groupby('state')}
        if len(methods) > 1:
            sentences.append(f'{dataset}: the methods were measured on different states of the data (other sounds, labels or refused '
                             f'files): ' + '; '.join(f'{names} [{state}]' for state, names in methods.items()) + '.')
            continue
        divisions = group.groupby('fold')['sets'].nunique()
        if len(several := divisions.index[divisions > 1]):
            sentences.append(f'{dataset}: the methods were measured on different divisions into training and test sets (folds '
                             f'{listing(several)}).')
    return sentences


def unknown_divisions(dataset, rows):
    """A sentence (list of str) if it is not known whether the folds of some results are a repeated division: see shared.independent_folds."""
    if rows['fold'].nunique() < 2 or source_path(dataset).exists():
        return []
    return [f'{dataset}: its index is not here. If its folds are repeated divisions (--repeats), the intervals are too narrow.']


def position(n_shot):
    """Place of an n_shot in an ascending order; 'all' comes last."""
    return float('inf') if n_shot == ALL else int(n_shot)


def largest_shot(rows):
    """The largest n_shot of rows (str)."""
    return max(rows['n_shot'], key=position)


def in_order(rows, columns, first):
    """A DataFrame of rows (dictionaries), sorted by the `first` so many of its columns, n_shot by its size."""
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:first], kind='stable', ignore_index=True,
                                                           key=lambda c: c.map(position) if c.name == 'n_shot' else c)


# ---- tables ----------------------------------------------------------------------------------------------------------

def measurements(values, dataset):
    """What intervals and tests are over, and how many of it are independent: the folds' means, or the runs of one fold (see averages).

    Args:
        values: Series of one value per run, whose index has the level fold.
    """
    folds = values.groupby('fold').mean()
    return (folds, independent_folds(dataset, len(folds))) if len(folds) > 1 else (values, len(values))


def averages(rows):
    """Mean, standard deviation, 95 % interval, runs and folds of the results `rows` (dictionary).

    Runs of one fold are tested on the same clips, so they are not independent measurements. With several folds, the mean is
    the mean over folds of the means over runs, and low and high are the t interval over the folds' means. With one fold, they
    are mean and t interval over its runs, which say nothing about other test clips. Where a division into folds is repeated, the interval
    is as wide as that of one division: see shared.independent_folds. std (divisor n) is over all single
    results, as in the study.
    """
    mean, _, low, high = mean_interval(*measurements(rows.set_index('fold')['accuracy'], rows['dataset'].iloc[0]))
    return {'mean': mean, 'std': rows['accuracy'].std(ddof=0), 'low': low, 'high': high, 'runs': len(rows), 'folds': rows['fold'].nunique()}


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

    Returns a DataFrame with dataset, n_shot, method, other; pairs, folds (of the draws that both have); accuracy, other_accuracy
    (means over these draws alone, as in averages); difference (the first minus the second), low, high (its 95 % t interval), p
    (two-sided paired t-test), p_holm (p corrected by Holm's method for all comparisons of this data set and n_shot). Where there are
    several folds, interval and test are over the folds' mean differences, else over the runs'. They are NaN when there are fewer than two of these,
    or all are equal; but p = 1 when all are 0.
    """
    columns = ['dataset', 'n_shot', 'method', 'other', 'pairs', 'folds', 'accuracy', 'other_accuracy', 'difference', 'low', 'high', 'p', 'p_holm']
    found = []
    rows = newest(rows)
    rows = rows.assign(draw=rows['data'].str.split('.').str[:2].str.join('.'))  # the validation set does not affect the draw
    for (dataset, n_shot), group in rows.groupby(['dataset', 'n_shot']):
        table = group.pivot(index=['fold', 'seed', 'run', 'draw'], columns='label', values='accuracy')
        pairs = []
        for method, other in itertools.combinations(sorted(table), 2):
            common = table[[method, other]].dropna()
            if len(common):
                means = common.groupby('fold').mean().mean()
                pairs.append({'dataset': dataset, 'n_shot': n_shot, 'method': method, 'other': other, 'pairs': len(common),
                              'accuracy': means[method], 'other_accuracy': means[other], **paired_test(common[method] - common[other], dataset)})
        found += [{**pair, 'p_holm': p} for pair, p in zip(pairs, holm([pair['p'] for pair in pairs]))]
    return in_order(found, columns, 4)


def recommend(rows, key):
    """The method to use, by the results of one data set, and what can be told of the others.

    Only the results at one n count: the largest one at which more than half of the methods were measured. Only methods that were
    measured on the largest number of folds count. Among those within one standard error of the highest mean accuracy (over the folds; over the
    runs of one fold), the first in the order of `key` is chosen. A difference is significant if p < 0.05 in the paired comparison (not corrected).

    Args:
        rows: rows of results.tsv of one data set.
        key: function (method's name) -> its place, the cheapest first.

    Returns a dictionary: n_shot; method as in `labelled`, its name alone, its experiment (of one run) and state; mean, low, high; lists of the other
    methods: equal (not told from it), better, worse, fewer (on fewer folds), apart (no test is possible) and missing (no result at this n);
    and comparisons: its own ones, see against.
    """
    rows = newest(rows)
    methods = rows.groupby('n_shot')['method'].nunique()
    largest = max(methods.index[methods > rows['method'].nunique() / 2], key=position, default=largest_shot(rows))
    missing = sorted(set(rows['label']) - set(rows['label'][rows['n_shot'] == largest]))
    summary, pairs, rows = (table[table['n_shot'] == largest] for table in (summarise(rows), compare(rows), rows))
    summary = summary.set_index('method')
    summary = summary.assign(complete=summary['folds'] == summary['folds'].max())
    best = summary['mean'][summary['complete']].idxmax()
    values, count = measurements(rows[rows['label'] == best].set_index('fold')['accuracy'], rows['dataset'].iloc[0])
    error = values.std(ddof=1) / np.sqrt(count) if len(values) > 1 else 0.0
    near = summary.index[summary['complete'] & (summary['mean'] >= summary.loc[best, 'mean'] - error - 1e-9)]
    names = rows.drop_duplicates('label').set_index('label')
    chosen = min(near, key=lambda label: (key(names.loc[label, 'method']), -summary.loc[label, 'mean']))
    comparisons = against(pairs, chosen)
    told = {row['other']: 'equal' if row['p'] >= 0.05 else 'better' if row['difference'] < 0 else 'worse' for row in comparisons
            if np.isfinite(row['p'])}
    told.update({label: 'fewer' for label in summary.index[~summary['complete']]})
    others = {kind: [label for label in summary.index if label != chosen and told.get(label, 'apart') == kind]
              for kind in ('equal', 'better', 'worse', 'fewer', 'apart')}
    return {'n_shot': largest, 'method': chosen, 'name': names.loc[chosen, 'method'], **names.loc[chosen, ['experiment', 'state']].to_dict(),
            **summary.loc[chosen, ['mean', 'low', 'high']].to_dict(), **others, 'missing': missing, 'comparisons': comparisons}


def recommendation(best):
    """Sentences on the result of `recommend`."""
    interval = f', 95 % interval {best["low"]:.3f} to {best["high"]:.3f}' if np.isfinite(best['low']) else ''
    told = [f'{words}: {", ".join(best[key])}.' for key, words in (
        ('equal', 'Not distinguishable from it by these results'), ('better', 'More accurate, but they need more computation'),
        ('fewer', 'Not considered, because they were measured on fewer folds'),
        ('apart', 'No test against it is possible (too few results on the same training clips, or all differences are equal)'),
        ('missing', f'Not measured at n = {best["n_shot"]}')) if best[key]]
    return ' '.join([f'Use {best["method"]}: accuracy {best["mean"]:.3f} at n = {best["n_shot"]}{interval}.',
                     *(told or ['All others are less accurate.' if best['worse'] else 'No other method was measured.'])])


def against(pairs, method):
    """The comparisons of `compare` that a method takes part in, seen from it: list of dictionaries with the columns of compare."""
    found = []
    for row in pairs[(pairs['method'] == method) | (pairs['other'] == method)].to_dict('records'):
        if row['other'] == method:
            row.update(method=method, other=row['method'], accuracy=row['other_accuracy'], other_accuracy=row['accuracy'],
                       difference=-row['difference'], low=-row['high'], high=-row['low'])
        found.append(row)
    return found


def paired_test(differences, dataset):
    """folds, difference, low, high and p of compare (dictionary), of differences with an index that has the level fold; see averages."""
    values, count = measurements(differences, dataset)
    values, folds = values.to_numpy(), differences.index.get_level_values('fold').nunique()
    low = high = p = np.nan
    if count > 1 and np.ptp(values) > 1e-9:  # equal accuracies can differ in their last bits
        error, t = values.std(ddof=1) / np.sqrt(count), stats.t(count - 1)
        low, high = values.mean() + error * t.ppf([0.025, 0.975])
        p = 2 * t.sf(abs(values.mean()) / error)
    elif len(values) > 1 and abs(values[0]) < 1e-9:
        p = 1.0
    return {'folds': folds, 'difference': values.mean(), 'low': low, 'high': high, 'p': p}


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

    Compared are the same data set, method and n_shot on the reference's folds, where we have all of them; each
    configuration of a method has its own verdict. `settings` tells what the reference was made with where it is not the study's setting.

    Args:
        references: from read_references.

    Returns a DataFrame with dataset, method, n_shot, folds; mean, std, runs (ours); reference, spread, reference_runs, settings;
    difference (ours minus the reference); verdict ('inside the spread' where |difference| <= spread, 'outside the spread', or
    'no spread known'); source.
    """
    columns = ['dataset', 'method', 'n_shot', 'folds', 'mean', 'std', 'runs', 'reference', 'spread', 'reference_runs', 'settings',
               'difference', 'verdict', 'source']
    rows, found = newest(rows), []
    for reference in references.itertuples():
        same = (rows[['dataset', 'method', 'n_shot']] == [reference.dataset, reference.method, reference.n_shot]).all(axis=1)
        for label, group in rows[same & rows['fold'].isin(reference.folds)].groupby('label'):
            if set(group['fold']) == reference.folds:
                ours = averages(group)
                difference = ours['mean'] - reference.accuracy
                inside = 'inside' if abs(difference) <= reference.spread + 1e-9 else 'outside'
                found.append({'dataset': reference.dataset, 'method': label, 'n_shot': reference.n_shot, 'folds': listing(sorted(reference.folds)),
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


def with_most_shots(rows):
    """All runs of each data set and method with its largest n_shot (DataFrame with the columns of newest)."""
    rows = newest(rows)
    shots = rows['n_shot'].map(position)
    largest = shots.groupby([rows['dataset'], rows['label']]).transform('max')
    return rows[shots == largest].sort_values(['dataset', 'label', 'fold', 'seed', 'run'])
