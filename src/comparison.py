"""Two experiments side by side: the difference of their decisions on the test clips that both have, and the classes that moved."""
import numpy as np
import pandas as pd
from scipy import stats

from configuration import differences
from evaluation import probability, read_decisions
from experiment import config_of, finished_models
from results import experiments_folder
from shared import UserError, listing


def decisions(name):
    """The decisions of an experiment: DataFrame with id, true, predicted and run."""
    folder = experiments_folder() / name
    tables = []
    for run, model in enumerate(finished_models(folder)):
        try:
            table, _ = read_decisions(folder / model)
        except FileNotFoundError as problem:
            raise UserError(f'{problem.filename} does not exist: evaluate the experiment first') from None
        tables.append(table[['id', 'audio', 'true', 'predicted']].assign(run=run))
    if not tables:
        raise UserError(f'{folder} is no experiment with finished runs: name two folders of {experiments_folder()}')
    return pd.concat(tables, ignore_index=True)


def equals(p):
    """'= 0.012', '< 0.001', or '= nan' where there is no p."""
    text = probability(p) or 'nan'
    return text if text.startswith('<') else f'= {text}'


def describe(one, two):
    """What two experiments differ in: a text. Clips are matched by their sound file, so that two versions of a data set can be compared.

    Test: for one run each, McNemar's exact test on the clips that only one of them decides rightly; for several runs, a paired t-test of the
    runs' accuracies on the common clips.
    """
    configs = [config_of(experiments_folder() / name) for name in (one, two)]
    if len(datasets := {config['dataset'] for config in configs if config}) > 1:
        raise UserError(f'{one} and {two} are of different data sets ({listing(sorted(datasets))}): their clips cannot be compared')
    a, b = decisions(one), decisions(two)
    both = a.merge(b, on=['audio', 'run'], suffixes=('', ' of two'))
    if both.empty:
        raise UserError(f'{one} and {two} have no test clip in common')
    right = both['true'] == both['predicted'], both['true of two'] == both['predicted of two']
    runs = both['run'].nunique()
    lines = [f'{one}: accuracy {right[0].mean():.3f}; {two}: {right[1].mean():.3f}; difference {right[1].mean() - right[0].mean():+.3f}, on '
             f'{both["audio"].nunique()} common test clips, {runs} run(s)']
    left_out = [f'{name}: {count} test clips' for name, table in ((one, a), (two, b))
                if (count := table['audio'].nunique() - both['audio'].nunique())]
    left_out += [f'{name}: {count} runs' for name, table in ((one, a), (two, b)) if (count := table['run'].nunique() - runs)]
    if left_out:
        lines.append(f'only in one of them, left out: {listing(left_out)}')
    if relabelled := both.loc[both['true'] != both['true of two'], 'audio'].nunique():
        lines.append(f'{relabelled} of the common clips have another label in {two}')
    if runs == 1:
        gained, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
        p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        lines.append(f'{gained} clips are right only in {two}, {lost} only in {one}: McNemar, p {equals(p)}')
    else:
        means = [values.groupby(both['run']).mean() for values in right]
        difference = means[1] - means[0]
        p = stats.ttest_rel(*means[::-1]).pvalue if np.ptp(difference) > 1e-9 else 1.0 if abs(difference.iloc[0]) < 1e-9 else float('nan')
        lines.append(f'paired t-test over {runs} runs: p {equals(p)}')
    if keys := differences(*configs):
        told = [key if isinstance(one, dict) else f'{key}: {one!r} -> {two!r}'
                for key in keys for one, two in [[config.get(key) for config in configs]]]
        lines.append('settings that differ: ' + '; '.join(told))
    moved = pd.DataFrame({'class': both['true'], 'before': right[0], 'after': right[1]}).groupby('class')[['before', 'after']].mean()
    moved['change'] = moved['after'] - moved['before']
    moved = moved[moved['change'].abs() > 1e-9].sort_values('change', key=abs, ascending=False)
    lines.append('recall of the classes that moved:\n' + moved.to_string(float_format='%.3f') if len(moved) else 'no class moved')
    return '\n'.join(lines)
