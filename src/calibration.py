"""From scores to probabilities that mean what they say, and to the decision that a sound is of none of the classes.

Sources: Guo et al., On calibration of modern neural networks (arXiv 1706.04599): temperature scaling, expected calibration error.
"""
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

BINS = 10  # of the expected calibration error


def logits(scores, similarities):
    """What the temperature divides: similarities as they are, the logarithm of probabilities (S, C)."""
    return scores if similarities else np.log(np.clip(scores, 1e-12, None))


def probabilities(values, temperature):
    """Class probabilities (S, C) of logits (S, C)."""
    return softmax(values / temperature, axis=1)


def fit_temperature(values, labels):
    """The temperature with the smallest cross-entropy on held-out logits (S, C) with labels (S,).

    If all S decisions are correct, the best temperature is 0, and all probabilities become 0 or 1. To prevent this, one further clip counts
    as wrong, in equal parts for all classes (Laplace's rule of succession).
    """
    labels = np.asarray(labels)
    share = 1 / (len(labels) + 1)

    def cost(log_temperature):
        log_p = log_softmax(values / np.exp(log_temperature), axis=1)
        return -(1 - share) * log_p[np.arange(len(labels)), labels].mean() - share * log_p.mean()

    return float(np.exp(minimize_scalar(cost, bounds=(-9, 5), method='bounded').x))


def confidence(values, similarities):
    """How much like the training sounds each clip is (S,), for `threshold`: its largest similarity, or a soft maximum of its logits."""
    return values.max(axis=1) if similarities else logsumexp(2 * values, axis=1)


def threshold(confidences, kept):
    """The confidence that a share `kept` of the clips (S,) reaches."""
    return float(np.quantile(confidences, 1 - kept, method='lower'))


def reliability(p, labels):
    """Mean confidence, share of right decisions and number of the clips in each of the non-empty BINS of confidence: three arrays.

    Args:
        p: class probabilities (S, C); confidence is that of the decision.
        labels: (S,).
    """
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.minimum((top * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    there = count > 0
    return (np.bincount(place, top, BINS)[there] / count[there], np.bincount(place, right, BINS)[there] / count[there], count[there])


def calibration_error(p, labels):
    """Expected calibration error of class probabilities (S, C): mean difference of confidence and share of right decisions."""
    confidences, right, count = reliability(p, labels)
    return float((np.abs(confidences - right) * count).sum() / count.sum())


def calibrate(values, labels, groups, kept, similarities):
    """What a classifier keeps of its held-out clips (dictionary).

    Args:
        values: held-out logits (S, C).
        labels, groups: labels (S,) of the clips, and groups (S,), usually folds; all decisions on one clip are in one group.
        kept: share of the clips that the threshold is to accept; `accepted` is the share that it does accept.

    The error `after` is measured on each group with the temperature of the others.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    after = np.empty_like(values, dtype=float)
    for group in np.unique(groups):
        own = groups == group
        after[own] = probabilities(values[own], fit_temperature(values[~own], labels[~own]) if (~own).any() else 1.0)
    sure = confidence(values, similarities)
    least = threshold(sure, kept)
    found = {'temperature': fit_temperature(values, labels), 'threshold': least, 'kept': kept, 'accepted': float(np.mean(sure >= least)),
             'clips': len(labels), 'accuracy': float(np.mean(values.argmax(axis=1) == labels)),
             'calibration_error_before': calibration_error(probabilities(values, 1.0), labels)}
    if len(np.unique(groups)) > 1:
        found['calibration_error_after'] = calibration_error(after, labels)
    return found
