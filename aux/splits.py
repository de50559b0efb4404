"""Stratified splits of a data set that keep recordings whole and put every class into every part.

scikit-learn's StratifiedGroupKFold makes parts of equal size only, does not promise that each part has every class, and is
no closer to the wanted class counts.
"""
import numpy as np

from shared import UserError, listing

ATTEMPTS = 100  # shuffles that are tried before a split is called impossible


def split(labels, recordings, targets, rng):
    """Divide clips into parts so that each recording lies in one part and each class in every part.

    Args:
        labels: (S,) integer array, the class of each clip.
        recordings: (S,) integer array, the recording of each clip: 0 to number of recordings - 1.
        targets: (P, C) array, the wanted number of clips of each class in each part.
        rng: np.random.Generator.

    Returns the part of each clip as an (S,) integer array, or None where no attempt puts each class into every part.
    """
    sizes = np.zeros((recordings.max() + 1, targets.shape[1]))  # clips of each class in each recording
    np.add.at(sizes, (recordings, labels), 1)
    for _ in range(ATTEMPTS):
        order = rng.permutation(len(sizes))
        # large recordings first: the small ones then even out the differences
        part_of = assign(sizes, order[np.argsort(-sizes[order].sum(axis=1), kind='stable')], targets)
        if part_of is not None:
            return part_of[recordings]
    return None


def assign(sizes, order, targets):
    """Give each recording, in this order, to the part that lacks most of its clips: part of each recording, or None."""
    counts = np.zeros(targets.shape)
    left = (sizes > 0).sum(axis=0)  # recordings of each class that have no part yet
    shares = sizes / np.maximum(targets.sum(axis=0), 1)
    part_of = np.zeros(len(sizes), int)
    for recording in order:
        classes = sizes[recording] > 0
        lacks = counts[:, classes] == 0
        urgent = left[classes] <= lacks.sum(axis=0)  # the class has only just enough recordings to reach every part
        allowed = lacks[:, urgent].all(axis=1)
        if not allowed.any():
            return None
        need = (targets - counts) @ shares[recording]
        fullness = counts.sum(axis=1) / targets.sum(axis=1)  # decides between parts of equal need
        part = np.lexsort((fullness, -need.round(9), ~allowed))[0]
        part_of[recording] = part
        counts[part] += sizes[recording]
        left[classes] -= 1
    return part_of if counts.all() else None


def checked_split(labels, recordings, targets, rng, classes, parts):
    """split(), with an error that names the classes which have too few recordings for so many parts."""
    clips = recordings.max() + 1 == len(recordings)
    few = [(name, len(np.unique(recordings[labels == c]))) for c, name in enumerate(classes)]
    few = [f'{name!r} ({count})' for name, count in few if count < len(targets)]
    if few:
        raise UserError(f'too few {"clips" if clips else "recordings"} for {parts}; each part needs at least one of every '
                        f'class: {listing(few)}. Add some, ask for fewer parts (--folds, --val-fraction), or leave these '
                        'classes out'
                        + ('' if clips else ". --group '' ignores the recordings in file names, but then the results are too good"))
    part_of = split(labels, recordings, targets, rng)
    if part_of is None:
        raise UserError(f'no division into {parts} has every class in every part and keeps recordings whole, because classes '
                        'share recordings: try another --seed, fewer parts, or a --group that makes smaller recordings')
    return part_of


def holdout(labels, recordings, fractions, rng, classes):
    """One fold: dictionary part -> positions; `fractions` is a dictionary part -> share of the clips, for all but train."""
    clips = np.bincount(labels, minlength=len(classes))
    wanted = [np.maximum(np.floor(fraction * clips + 0.5), 1) for fraction in fractions.values()]
    targets = np.stack([np.maximum(clips - sum(wanted), 1), *wanted])
    parts = ['train', *fractions]
    part_of = checked_split(labels, recordings, targets, rng, classes, f'{len(parts)} parts ({listing(parts)})')
    return {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(parts)}


def cross_validation(labels, recordings, count, val_fraction, rng, classes):
    """`count` folds, each clip tested once; the validation part is taken from the clips that a fold does not test."""
    clips = np.bincount(labels, minlength=len(classes))
    tested = checked_split(labels, recordings, np.tile(clips / count, (count, 1)), rng, classes, f'{count} folds')
    folds = []
    for k in range(count):
        rest = np.flatnonzero(tested != k)
        fold = {'train': rest.tolist()}
        if val_fraction:
            _, renumbered = np.unique(recordings[rest], return_inverse=True)
            share = {'val': val_fraction * count / (count - 1)}
            fold = {part: rest[positions].tolist()
                    for part, positions in holdout(labels[rest], renumbered, share, rng, classes).items()}
        folds.append({**fold, 'test': np.flatnonzero(tested == k).tolist()})
    return folds
