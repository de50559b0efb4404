"""What held-out decisions tell about a data set and its classes: per-class figures, learning curves, suspicious labels, worst errors.

All functions take decisions that `held_out` has read: each clip was scored by models that did not learn from its recording.
"""
import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support

import calibration
from analysis import newest, position, with_most_shots
from evaluation import accuracy_interval, read_decisions, scores_of
from fewshot import read_drawn
from results import experiments_folder

MORE = 20           # clips of a class that a learning curve is continued by
RESAMPLES = 500     # of the bootstrap


def held_out(rows):
    """The decisions of the runs of one method, at its largest n, and their class names.

    Args:
        rows: rows of results.tsv of one data set and method.

    Returns a DataFrame with id, audio, true, predicted, a column per class with its calibrated probability (p: <class>), fold and run;
    and the names of the classes. Raises FileNotFoundError or ValueError where files of the runs are missing or of another evaluation.
    """
    tables, classes = [], None
    for row in with_most_shots(rows).itertuples():
        table, found = read_decisions(experiments_folder() / row.experiment / row.model)
        if len(table) != row.clips or table['correct'].sum() != row.correct:
            raise ValueError(f'{row.experiment}/{row.model} was evaluated again since')
        if found != (classes := classes or found):
            raise ValueError('the runs are of different classes')
        tables.append(table.assign(fold=row.fold, run=row.run))
    table = pd.concat(tables, ignore_index=True)
    scores, labels = scores_of(table, classes), table['true'].map(classes.index).to_numpy()
    similarities = not (np.allclose(scores.sum(axis=1), 1, atol=1e-3) and (scores >= 0).all())
    values = calibration.logits(scores, similarities)
    p = calibration.probabilities(values, calibration.fit_temperature(values, labels))
    return pd.concat([table[['id', 'audio', 'true', 'predicted', 'fold', 'run']],
                      pd.DataFrame(p, columns=[f'p: {name}' for name in classes])], axis=1), classes


def probabilities(table, classes):
    """The calibrated probabilities (S, C) of decisions."""
    return table[[f'p: {name}' for name in classes]].to_numpy()


def recordings_of(table, recordings):
    """The recording of each decision (Series of str); clips without a known one are recordings of their own."""
    return table['id'].map(lambda key: recordings.get(key, f'clip {key}'))


def accuracy(table, recordings):
    """Accuracy, its 95 % interval (low, high), balanced accuracy, clips and recordings of decisions (dictionary).

    The interval is Wilson's with the number of recordings as the number of trials: clips of a recording are no independent measurements,
    nor are several decisions on one clip.
    """
    count = recordings_of(table, recordings).nunique()
    share = float((table['true'] == table['predicted']).mean())
    low, high = wilson(share, count)
    return {'accuracy': share, 'low': low, 'high': high, 'balanced': float(balanced_accuracy_score(table['true'], table['predicted'])),
            'clips': table['id'].nunique(), 'recordings': count, 'decisions': len(table)}


def wilson(share, trials):
    """95 % Wilson interval (low, high) of a share in a number of independent trials."""
    return accuracy_interval(share * trials, trials) if trials else (np.nan, np.nan)


def per_class(table, classes, recordings):
    """Figures of each class: a DataFrame with class, clips, recordings, and precision, recall and f1 with their 95 % intervals.

    Intervals of recall and precision: Wilson's, with the recordings of the clips that they are shares of. That of F1 goes from the harmonic mean
    of their lower ends to that of their upper ends, which is wider than necessary, but not 1 to 1 where no error was seen.
    """
    owner = recordings_of(table, recordings)
    precision, recall, f1, _ = precision_recall_fscore_support(table['true'], table['predicted'], labels=classes, zero_division=0)
    rows = []
    for place, name in enumerate(classes):
        own, said = table['true'] == name, table['predicted'] == name
        p, r = wilson(precision[place], owner[said].nunique()), wilson(recall[place], owner[own].nunique())
        f = [2 * a * b / (a + b) if a + b > 0 else a + b for a, b in zip(p, r)]
        rows.append({'class': name, 'clips': table['id'][own].nunique(), 'recordings': owner[own].nunique(),
                     'precision': precision[place], 'precision_low': p[0], 'precision_high': p[1],
                     'recall': recall[place], 'recall_low': r[0], 'recall_high': r[1], 'f1': f1[place], 'f1_low': f[0], 'f1_high': f[1]})
    return pd.DataFrame(rows)


def suspicious(table, classes):
    """Clips by how surely held-out models contradict their label, the surest first.

    Returns a DataFrame with id, audio, label, suggestion, p_label and p_suggestion (means over the decisions on a clip) and contradiction,
    p_suggestion - p_label. Source of the idea: Northcutt et al., Confident learning (arXiv 1911.00068).
    """
    columns = [f'p: {name}' for name in classes]
    clips = table.groupby('id', sort=False).agg({'audio': 'first', 'true': 'first', **dict.fromkeys(columns, 'mean')}).reset_index()
    p, label = clips[columns].to_numpy(), clips['true'].map(classes.index).to_numpy()
    own = p[np.arange(len(p)), label]
    others = np.where(np.eye(len(classes), dtype=bool)[label], -1.0, p)
    found = pd.DataFrame({'id': clips['id'], 'audio': clips['audio'], 'label': clips['true'],
                          'suggestion': np.array(classes, object)[others.argmax(axis=1)], 'p_label': own, 'p_suggestion': others.max(axis=1)})
    return found.assign(contradiction=found['p_suggestion'] - found['p_label']).sort_values('contradiction', ascending=False, kind='stable',
                                                                                          ignore_index=True)


def class_recalls(rows):
    """Recall of each class in each run of one method: a DataFrame with n_shot, fold, run, class, train (its training clips), right, clips.

    Raises FileNotFoundError or ValueError where files of the runs are missing or of another evaluation.
    """
    found = []
    for row in newest(rows).itertuples():
        folder = experiments_folder() / row.experiment / row.model
        counts = read_drawn(folder)['class'].value_counts()
        report = pd.read_csv(folder / 'class_report.tsv', sep='\t', keep_default_na=False, dtype={'class': str})
        report = report.assign(right=(report['recall'] * report['clips']).round().astype(int))
        if (report['right'].sum(), report['clips'].sum()) != (row.correct, row.clips):
            raise ValueError(f'{row.experiment}/{row.model} was evaluated again since')
        found += [{'n_shot': row.n_shot, 'fold': row.fold, 'run': row.run, 'class': line[0], 'train': int(counts.get(line[0], 0)),
                   'right': line[1], 'clips': line[2]} for line in report[['class', 'right', 'clips']].itertuples(index=False, name=None)]
    return pd.DataFrame(found)


def learning_curves(recalls, seed=0):
    """What more clips of each class would bring: a DataFrame with class, now (training clips), recall, and gain, low, high.

    A power law, error = a x clips^-b, is fitted to the errors of the class at each n. `gain` is what MORE clips would add to the recall by
    it, low and high its 90 % interval by a bootstrap over runs. They are NaN where it cannot be told: fewer than three different
    numbers of clips, fewer than three runs of one of them, no error left, or an interval that includes 0. Classes without test clips are
    left out.
    """
    rng, found = np.random.default_rng(seed), []
    for name, own in recalls[recalls['clips'] > 0].groupby('class', sort=False):
        levels = dict(list(own.groupby('n_shot')))
        levels = [levels[n] for n in sorted(levels, key=position)]
        now = levels[-1]['train'].mean()
        recall = levels[-1]['right'].sum() / levels[-1]['clips'].sum()
        sizes = np.array([part['train'].mean() for part in levels])
        row = {'class': name, 'now': round(now), 'recall': recall, 'gain': np.nan, 'low': np.nan, 'high': np.nan}
        if len(np.unique(sizes.round())) >= 3 and min(map(len, levels)) >= 3 and recall < 1:
            errors = np.array([[resampled(part, rng) for part in levels] for _ in range(RESAMPLES)])
            gains = power_law_gain(sizes, errors, now)
            low, high = np.quantile(gains, [0.05, 0.95])
            best = power_law_gain(sizes, np.array([[smoothed(part['right'].sum(), part['clips'].sum()) for part in levels]]), now)[0]
            if low > 0.001:
                row.update(gain=best, low=low, high=high)
        found.append(row)
    return pd.DataFrame(found)


def smoothed(right, clips):
    """A share of errors that is never 0 or 1."""
    return (clips - right + 0.5) / (clips + 1)


def resampled(part, rng):
    """The error of a class over runs that are drawn with replacement."""
    drawn = rng.integers(0, len(part), len(part))
    return smoothed(part['right'].to_numpy()[drawn].sum(), part['clips'].to_numpy()[drawn].sum())


def power_law_gain(sizes, errors, now):
    """Recall that MORE clips add to that at `now`: errors (R, N) at sizes (N,) -> (R,), by least squares of their logarithms."""
    x = np.log(sizes) - np.log(sizes).mean()
    y = np.log(errors)
    slope = np.minimum((y * x).sum(axis=1) / (x * x).sum(), 0)  # more clips do no harm
    level = y.mean(axis=1) + slope * (np.log(now) - np.log(sizes).mean())
    return np.exp(level) * (1 - ((now + MORE) / now) ** slope)
