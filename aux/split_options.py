"""The split that the command line of an index script asks for: its options, their checks, and the folds."""
import argparse

import numpy as np
from shared import UserError
from splits import cross_validation, holdout

TEST_FRACTION = 0.25
AUTO, MOST_FOLDS = 'auto', 5


def add_split_arguments(arguments):
    """Add the options that new_split reads to an argument parser."""
    arguments.add_argument('--test-fraction', type=float,
                           help=f'share of the clips in the test part (default: {TEST_FRACTION}; in cross-validation 1/folds)')
    arguments.add_argument('--val-fraction', type=float, default=0.0,
                           help='share of the clips in the validation part (default: no validation part)')
    arguments.add_argument('--folds', type=folds, default=1,
                           help=f'2 or more: cross-validation with so many folds. {AUTO}: one fold for each recording of the rarest class, at '
                                f'most {MOST_FOLDS}; with fewer folds, the cross-validation is repeated')
    arguments.add_argument('--repeats', type=int, default=1,
                           help='number of repetitions of the cross-validation, each with another division: every clip is tested so many times')
    arguments.add_argument('--seed', type=int, default=0, help='another seed gives another split')
    arguments.add_argument('--group', metavar='REGEX',
                           help='regular expression whose first group names the recording of a clip; it is searched in the '
                                "path below the class folder. '' ignores file names (default: names of ESC and UrbanSound8K)")
    arguments.add_argument('--replace', action='store_true', help='replace a data set of this name that was made from another folder')
    arguments.set_defaults(split_folders=False)  # which index_folder.py has


def folds(text):
    """A number of folds, or 'auto'."""
    if text != AUTO and not text.lstrip('-').isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r}: expected a whole number, or {AUTO}')
    return text if text == AUTO else int(text)


def check_numbers(args):
    """Raise UserError for numbers that are out of range or contradict each other; put in the test fraction."""
    count = MOST_FOLDS if args.folds == AUTO else args.folds
    if args.repeats < 1 or (args.repeats > 1 and count == 1):
        raise UserError(f'--repeats {args.repeats}: expected a number from 1, together with --folds')
    if count < 1 or args.seed < 0:
        raise UserError(f'--folds {args.folds} --seed {args.seed}: --folds must be at least 1, --seed at least 0')
    if args.split_folders and (args.test_fraction is not None or args.val_fraction or count > 1 or args.seed):
        raise UserError('--split-folders uses the split that exists: leave out --test-fraction, --val-fraction, --folds and '
                        '--seed, which make a new one')
    if count > 1 and args.test_fraction is not None:
        raise UserError(f'--test-fraction {args.test_fraction} contradicts --folds {args.folds}, which tests '
                        f'1/{count} of the clips in each fold: leave one of them out')
    if args.test_fraction is None:
        args.test_fraction = TEST_FRACTION if count == 1 else 1 / count
    if not 0 < args.test_fraction < 1:
        raise UserError(f'--test-fraction {args.test_fraction} must be above 0 and below 1')
    if not 0 <= args.val_fraction < 1 - args.test_fraction:
        raise UserError(f'--val-fraction {args.val_fraction} must be at least 0, and below 1 together with the test '
                        f'fraction ({args.test_fraction:g})')


def new_split(args, labels, recordings, classes):
    """Folds as shared.write_dataset takes them, list of dictionaries part -> positions; and how many of them are one division, None for all."""
    labels, rng = np.array(labels), np.random.default_rng(args.seed)
    _, recordings = np.unique(recordings, return_inverse=True)
    if args.folds == AUTO:
        return automatic(labels, recordings, args, rng, classes)
    if args.folds > 1:
        return repeated(labels, recordings, args.folds, args.repeats, args, rng, classes)
    fractions = {'val': args.val_fraction, 'test': args.test_fraction}
    return [holdout(labels, recordings, {part: share for part, share in fractions.items() if share}, rng, classes)], None


def repeated(labels, recordings, count, repeats, args, rng, classes):
    """`count` folds, `repeats` times, each time with another division: see new_split."""
    found = [fold for _ in range(repeats) for fold in cross_validation(labels, recordings, count, args.val_fraction, rng, classes)]
    return found, count if repeats > 1 else None


def automatic(labels, recordings, args, rng, classes):
    """As many folds as the data allow, up to MOST_FOLDS, and so many repeats that there are at least as many in all: see new_split."""
    count = max(2, min(MOST_FOLDS, *(len(np.unique(recordings[labels == c])) for c in range(len(classes)))))
    while True:
        repeats = args.repeats if args.repeats > 1 else -(-MOST_FOLDS // count)
        try:
            found = repeated(labels, recordings, count, repeats, args, rng, classes)
        except UserError:  # classes share recordings
            if count == 2:
                raise
            count -= 1
            continue
        print(f'cross-validation: {count} folds' + (f', {repeats} times, each time with another division: folds 0 to {count - 1} are the '
                                                     f'first division, the next {count} the second' if repeats > 1 else ''))
        return found
