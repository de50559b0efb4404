"""Index any folder of class folders (your own recordings): a stratified, seeded split that never divides a recording.

Usage: python aux/index_folder.py <folder> <name> [--test-fraction 0.25] [--val-fraction 0] [--folds 1] [--seed 0]
       [--group REGEX]
Reads: the file names in <folder>/<class>/
Writes: index/<name>/ under DATA_FOLDER
"""
import re
import sys
from pathlib import Path, PurePosixPath

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from indexing import finish, parser, read_class_folders, refuse_unusable
from shared import UserError, listing, run_script

# file names (without extension) that tell the recording a clip was cut from: the first group is the recording
CONVENTIONS = {
    'ESC: <fold>-<recording>-<take>': r'[1-5]-([0-9]+)-[A-Z]+(?:-[0-9]+)?',
    'UrbanSound8K: <fsID>-<classID>-<occurrence>-<slice>': r'([0-9]+)-[0-9]+-[0-9]+-[0-9]+',
}
TEST_FRACTION = 0.25
ATTEMPTS = 100  # shuffles tried before a grouped split is called impossible


# ---- which clips are one recording -----------------------------------------------------------------------------------

def recordings_by_regex(paths, regex):
    """Name of each clip's recording: first group (or whole match) of the regex in the path below its class folder."""
    try:
        pattern = re.compile(regex)
    except re.error as problem:
        raise UserError(f'--group {regex!r} is not a regular expression: {problem}') from None
    matches = [pattern.search(path.split('/', 1)[1]) for path in paths]
    names = [match and match.group(1 if pattern.groups else 0) for match in matches]
    unnamed = [path for path, name in zip(paths, names) if not name]
    if unnamed:
        raise UserError(f'--group {regex!r} finds no recording in {len(unnamed)} of {len(paths)} file names: '
                        f"{listing(map(repr, unnamed))}. Correct the expression, or switch grouping off: --group ''")
    return names


def find_recordings(paths, regex):
    """Recording of each clip: by the regex given, else by a naming convention that all files share, else the clip itself.

    A name stands for one recording across classes too: a recording may hold the sounds of several classes.
    """
    if regex:
        names, reason = recordings_by_regex(paths, regex), '--group'
    else:
        stems = [PurePosixPath(path).stem for path in paths]
        known = [(text, pattern) for text, pattern in CONVENTIONS.items()
                 if regex is None and all(re.fullmatch(pattern, stem) for stem in stems)]
        if not known:
            return paths
        text, pattern = known[0]
        names = [re.fullmatch(pattern, stem).group(1) for stem in stems]
        reason = f"the file names ({text}); --group '' switches that off"
    print(f'recordings: {len(set(names))} among {len(paths)} clips, by {reason}')
    return names


# ---- the split -------------------------------------------------------------------------------------------------------

def split(labels, recordings, targets, rng):
    """Divide clips into parts so that each recording lies in one part and each class in every part.

    Args:
        labels: (S,) integer array, the class of each clip.
        recordings: (S,) integer array, the recording of each clip.
        targets: (P, C) array, the wanted number of clips of each class in each part.
        rng: np.random.Generator.

    Returns the part of each clip as an (S,) integer array, or None where no attempt puts each class into every part.
    """
    sizes = np.zeros((recordings.max() + 1, targets.shape[1]))  # clips of each class in each recording
    np.add.at(sizes, (recordings, labels), 1)
    present = np.unique(recordings)
    for _ in range(ATTEMPTS):
        order = rng.permutation(present)
        # large recordings first: small ones then even out what these leave behind
        part_of = assign(sizes, order[np.argsort(-sizes[order].sum(axis=1), kind='stable')], targets)
        if part_of is not None:
            return part_of[recordings]
    return None


def assign(sizes, order, targets):
    """Give each recording, in this order, to the part that lacks most of its clips: part of each recording, or None."""
    counts = np.zeros(targets.shape)
    left = (sizes > 0).sum(axis=0)  # recordings of each class that are still to be given away
    weights = 1 / np.maximum(targets.sum(axis=0), 1)
    part_of = np.zeros(len(sizes), int)
    for recording in order:
        classes = np.flatnonzero(sizes[recording])
        lacks = counts[:, classes] == 0
        urgent = left[classes] <= lacks.sum(axis=0)  # the class has only just enough recordings to reach every part
        allowed = lacks[:, urgent].all(axis=1)
        if not allowed.any():
            return None
        need = (targets - counts)[:, classes] @ (sizes[recording] * weights)[classes]
        fullness = counts.sum(axis=1) / targets.sum(axis=1)  # among equals, the part that is emptiest over all classes
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
        raise UserError(f'too few {"clips" if clips else "recordings"} for {parts}, each of which needs one of every '
                        f'class: {listing(few)}. Add some, ask for fewer parts (--folds, --val-fraction), or move these '
                        'class folders away'
                        + ('' if clips else "; --group '' would ignore recordings, and overrate the results"))
    part_of = split(labels, recordings, targets, rng)
    if part_of is None:
        raise UserError(f'no division into {parts} puts every class into each and keeps recordings whole, because classes '
                        'share recordings: try another --seed, fewer parts, or a narrower --group')
    return part_of


def holdout(labels, recordings, fractions, rng, classes):
    """One fold: dictionary part -> positions; `fractions` has the wanted share of test and, perhaps, of val."""
    clips = np.bincount(labels, minlength=len(classes))
    wanted = [np.maximum(np.floor(fraction * clips + 0.5), 1) for fraction in fractions.values()]
    targets = np.stack([np.maximum(clips - sum(wanted), 1), *wanted])
    parts = ['train', *fractions]
    part_of = checked_split(labels, recordings, targets, rng, classes, f'{len(parts)} parts ({listing(parts)})')
    return {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(parts)}


def cross_validation(labels, recordings, count, val_fraction, rng, classes):
    """`count` folds, each clip tested once; the validation part is taken from what a fold does not test."""
    clips = np.bincount(labels, minlength=len(classes))
    tested = checked_split(labels, recordings, np.tile(clips / count, (count, 1)), rng, classes, f'{count} folds')
    folds = []
    for k in range(count):
        rest, fold = np.flatnonzero(tested != k), {}
        if val_fraction:
            _, renumbered = np.unique(recordings[rest], return_inverse=True)
            share = {'val': val_fraction * count / (count - 1)}
            fold = {part: rest[positions].tolist()
                    for part, positions in holdout(labels[rest], renumbered, share, rng, classes).items()}
        folds.append({'train': rest.tolist(), **fold, 'test': np.flatnonzero(tested == k).tolist()})
    return folds


# ---- command line ----------------------------------------------------------------------------------------------------

def read_arguments():
    """Parsed arguments, with the test fraction that they mean."""
    arguments = parser(__doc__, 'the folder of class folders')
    arguments.add_argument('name', help='name of the data set')
    arguments.add_argument('--test-fraction', type=float,
                           help=f'share of the clips (default: {TEST_FRACTION}; in cross-validation 1/folds)')
    arguments.add_argument('--val-fraction', type=float, default=0.0, help='share of the clips (default: none)')
    arguments.add_argument('--folds', type=int, default=1, help='above 1: cross-validation')
    arguments.add_argument('--seed', type=int, default=0, help='another seed, another split')
    arguments.add_argument('--group', metavar='REGEX',
                           help='its first group, found in the path below the class folder, names the recording of a '
                                "clip; '' switches the recognition of known file names off")
    args = arguments.parse_args()
    if args.folds < 1 or args.seed < 0:
        raise UserError(f'--folds {args.folds} --seed {args.seed}: --folds must be at least 1, --seed at least 0')
    if args.folds > 1 and args.test_fraction is not None:
        raise UserError(f'--test-fraction {args.test_fraction} contradicts --folds {args.folds}, which tests '
                        f'1/{args.folds} of the clips in each fold: leave one of them out')
    if args.test_fraction is None:
        args.test_fraction = TEST_FRACTION if args.folds == 1 else 1 / args.folds
    if not 0 < args.test_fraction < 1:
        raise UserError(f'--test-fraction {args.test_fraction} must lie between 0 and 1, both excluded')
    if not 0 <= args.val_fraction < 1 - args.test_fraction:
        raise UserError(f'--val-fraction {args.val_fraction} must be at least 0, and below 1 together with the test '
                        f'fraction ({args.test_fraction:g})')
    args.allow_missing = False
    return args


def main():
    args = read_arguments()
    found = read_class_folders(args.folder)
    classes = list(found)
    padded = [name for name in classes if name != name.strip()]
    if padded:
        raise UserError(f'class folder {listing(map(repr, padded))}: rename it without the blanks around its name')

    paths = [path for files in found.values() for path in files]
    refuse_unusable(paths)
    labels = np.array([label for label, files in enumerate(found.values()) for _ in files])
    _, recordings = np.unique(find_recordings(paths, args.group), return_inverse=True)

    rng = np.random.default_rng(args.seed)
    if args.folds > 1:
        folds = cross_validation(labels, recordings, args.folds, args.val_fraction, rng, classes)
    else:
        fractions = {'val': args.val_fraction, 'test': args.test_fraction}
        fractions = {part: fraction for part, fraction in fractions.items() if fraction}
        folds = [holdout(labels, recordings, fractions, rng, classes)]
    finish(args, args.folder, paths, labels.tolist(), classes, folds)


if __name__ == '__main__':
    run_script(main)
