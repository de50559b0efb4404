"""From scores to clip decisions and metrics of one model, and the files that hold them."""
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from shared import UserError, listing, write_table, write_text


class MeanPerClip:
    """Mean of patch scores per clip, gathered batch by batch in float64."""

    def __init__(self, num_clips, num_classes):
        self.total, self.count = np.zeros((num_clips, num_classes)), np.zeros(num_clips, int)

    def add(self, scores, clip):
        """Add patch scores (B, C) of the clips numbered (B,)."""
        np.add.at(self.total, clip, scores)
        np.add.at(self.count, clip, 1)

    def not_finite(self):
        """Which clips (S,) have scores that are not finite."""
        return ~np.isfinite(self.total).all(axis=1)

    def result(self):
        """Clip scores (S, C) float64; raises ValueError when a clip has no patch or a score is not finite."""
        if not self.count.all():
            raise ValueError(f'clips without a prediction: {np.flatnonzero(self.count == 0).tolist()}')
        scores = self.total / self.count[:, None]
        if not np.isfinite(scores).all():
            raise ValueError('scores are not finite')
        return scores


def check_finite(means, keys, part, config, representation):
    """Raise UserError that names the clips whose patch scores are not finite.

    Args:
        means: MeanPerClip of the clips with the ids `keys`.
        part: 'training', 'val' or 'test', for the message.
    """
    if means.not_finite().any():
        ids = np.array(list(keys))[means.not_finite()]
        raise UserError(f'the scores of {part} clips are not finite: ids {listing(ids)}. Either the training diverged (choose a '
                        f'smaller learning_rate than {config["learning_rate"]}), or their representation is damaged '
                        f'({representation.remedy})')


def accuracy_interval(correct, clips):
    """95 % Wilson interval (low, high) of an accuracy of correct / clips; `correct` need not be a whole number."""
    z, share = stats.norm.ppf(0.975), correct / clips
    centre, half = share + z * z / (2 * clips), z * np.sqrt(share * (1 - share) / clips + (z / (2 * clips)) ** 2)
    return tuple(float(np.clip((centre + side * half) / (1 + z * z / clips), 0, 1)) for side in (-1, 1))


def mean_interval(values, independent=None):
    """Mean, standard deviation (divisor n) and 95 % t interval of the mean (low, high) of accuracies.

    The interval ends at 0 and 1. It is NaN for one value, and where all are equal: they do not tell how far others would be.

    Args:
        independent: how many of the values count as independent measurements; None: all.
    """
    values = np.asarray(values, float)
    mean, n = values.mean(), independent or len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 and np.ptp(values) > 1e-9 else np.nan
    return mean, values.std(), *np.clip([mean - half, mean + half], 0, 1)


def describe(values):
    """'0.575 +- 0.031 (5 runs, 95 % interval of the mean 0.532 to 0.618)'."""
    mean, std, low, high = mean_interval(values)
    more = f', 95 % interval of the mean {low:.3f} to {high:.3f}' if np.isfinite(low) else ''
    return f'{mean:.3f} +- {std:.3f} ({len(values)} run{"s" * (len(values) > 1)}{more})'


def probability(p):
    """A p-value as text; '' where there is none."""
    return '' if np.isnan(p) else '< 0.001' if p < 0.001 else f'{p:.3f}'


def difference(row):
    """A paired comparison (dictionary with difference, low, high, p) as three texts; '' where there is no interval or no p."""
    return [f'{row["difference"]:+.3f}', f'{row["low"]:+.3f} to {row["high"]:+.3f}' if np.isfinite(row['low']) else '', probability(row['p'])]


def write_decisions(folder, keys, audio, truth, scores, classes):
    """Write one model's decisions on the test set into its folder; returns its accuracy.

    Writes test.result, test_predictions.tsv, confusion_matrix.tsv and class_report.tsv.

    Args:
        folder: model folder.
        keys, audio, truth: ids, sound files and labels of S test clips.
        scores: (S, C), the largest one decides.
        classes: C names.
    """
    truth, predicted = np.asarray(truth), scores.argmax(axis=1)
    names = np.array(classes)
    table = pd.DataFrame({'id': keys, 'audio': audio, 'true': names[truth], 'predicted': names[predicted],
                          'correct': (truth == predicted).astype(int), 'score': scores.max(axis=1)})
    table = pd.concat([table, pd.DataFrame(scores, columns=[SCORE + name for name in classes])], axis=1)
    matrix = confusion_matrix(truth, predicted, labels=range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=range(len(classes)),
                                                                     zero_division=0)
    report = pd.DataFrame({'class': classes, 'clips': support, 'recall': recall, 'precision': precision, 'f1': f1})
    write_table(table, folder / 'test_predictions.tsv')
    write_table(pd.DataFrame(matrix, columns=classes, index=pd.Index(classes, name='true \\ predicted')).reset_index(),
                folder / 'confusion_matrix.tsv')
    write_table(report, folder / 'class_report.tsv')
    correct, clips = int((truth == predicted).sum()), len(truth)
    low, high = accuracy_interval(correct, clips)
    write_text(folder / 'test.result', f'Accuracy: {correct / clips}\nCorrect: {correct} of {clips} clips\n'
                                       f'95 % interval: {low:.4f} to {high:.4f}\n')
    return correct / clips


SCORE = 'score: '  # begins the columns with the scores of the classes


def read_decisions(folder):
    """The decisions in a model folder: test_predictions.tsv as a DataFrame, ids and names as text, and the names of the classes."""
    table = pd.read_csv(folder / 'test_predictions.tsv', sep='\t', keep_default_na=False,
                        dtype={'id': str, 'audio': str, 'true': str, 'predicted': str})
    return table, [column.removeprefix(SCORE) for column in table if column.startswith(SCORE)]


def scores_of(table, classes):
    """The scores (S, C) of decisions, float64."""
    return table[[SCORE + name for name in classes]].to_numpy(float)


def add_confusions(folders):
    """The sum of the confusion matrices in model folders: class names (list) and clip counts (C, C) int.

    Raises FileNotFoundError or ValueError where one cannot be used.
    """
    tables = [pd.read_csv(folder / 'confusion_matrix.tsv', sep='\t', index_col=0, keep_default_na=False) for folder in folders]
    if any(list(table.columns) != list(tables[0].columns) for table in tables):
        raise ValueError('it is of other classes')
    return list(tables[0].columns), sum(table.to_numpy(int) for table in tables)


def write_summary(path, name, accuracies, overrides):
    """Write experiment.result: the accuracies of an experiment's runs, and the keys that the command line has set."""
    mean, std, low, high = mean_interval(accuracies)
    interval = f'{low} to {high}' if np.isfinite(low) else 'not defined (one run, or equal accuracies)'
    write_text(path, f'Experiment: {name}\nAccuracies: {accuracies}\nMax: {max(accuracies)}\nMean: {mean} +- {std}\n'
                     f'95 % interval of the mean: {interval}\nOverrides: {overrides}\n')
