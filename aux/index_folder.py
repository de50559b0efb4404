"""Index a folder of class folders (your own recordings): a stratified, seeded split that keeps recordings whole.

Usage: python aux/index_folder.py <folder> <name> [--test-fraction 0.25] [--val-fraction 0] [--folds 1] [--seed 0]
       [--group REGEX] [--classes-as-they-are]
       python aux/index_folder.py <folder> <name> --split-folders [--group REGEX] [--classes-as-they-are]
Reads: the audio files in <folder>/<class>/; with --split-folders, those in <folder>/train/<class>/, <folder>/test/<class>/
       and, if it is there, <folder>/val/<class>/
Writes: index/<name>/ under DATA_FOLDER

Clips of one recording stay in one part, otherwise the results would be too good. Which clips belong together is told by file
names as in ESC and UrbanSound8K, or by --group. Files with the same content are one recording, whatever their names are.
"""
import collections
import re
import sys
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from indexing import existing_folder, finish, parser, read_class_folders, refuse_unusable, sub_folders
from shared import PROGRESS, UserError, content_digest, listing, run_script
from splits import cross_validation, holdout

TEST_FRACTION = 0.25

# How file names tell the recording that a clip was cut from: the first group. The numbers are those of freesound.org in both
# conventions, so equal numbers are one recording even across them. More may follow, as in 1-100032-A-0_noise and
# 1-100032-A-0 (1), unless it is a letter or a digit.
CONVENTIONS = {
    'ESC (<fold>-<recording>-<take>)': r'[1-5]-([0-9]+)-[A-Z](?:-[0-9]+)?(?![A-Za-z0-9])',
    'UrbanSound8K (<recording>-<class>-<occurrence>-<slice>)': r'([0-9]+)-[0-9]-[0-9]+-[0-9]+(?![A-Za-z0-9])',
}

PARTS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
         'testing': 'test'}

# Folder names that hardly are classes: pattern, what such folders are, what to do with them
LAYOUTS = (
    ('|'.join((*PARTS, 'dev', 'devel', 'development', 'eval', 'evaluation')), 'the parts of a split',
     'To use that split, name the parts train, val and test and add --split-folders. To make another split, put all clips of a '
     'class into one folder'),
    ('fold[ _-]?[0-9]+', 'the folds of a cross-validation',
     'For UrbanSound8K, use python aux/index_us8k.py with the folder that holds UrbanSound8K.csv. Otherwise put all clips of a '
     'class into one folder'),
    ('audio', 'the audio folder of a published data set',
     'For UrbanSound8K, use python aux/index_us8k.py; for ESC-10 and ESC-50, python aux/index_esc.py. If the class folders are '
     'in audio, give the path of audio'),
    ('tut-acoustic-scenes-2017-.*', 'TUT Acoustic Scenes 2017', 'Use python aux/index_asc.py'),
)
INSIST = 'If these folders are the classes, add --classes-as-they-are'


# ---- which folders are the classes -----------------------------------------------------------------------------------

def refuse_other_layouts(folder):
    """Raise UserError when sub-folders have names of parts, folds or audio folders instead of names of classes."""
    names = [entry.name for entry in sub_folders(folder)]
    for pattern, meaning, remedy in LAYOUTS:
        found = [name for name in names if re.fullmatch(pattern, name, re.IGNORECASE)]
        if found and [name.lower() for name in found] != ['train']:  # a train is also a vehicle
            raise UserError(f'{folder}: the names {listing(map(repr, found), 12)} look like {meaning}, not like classes. '
                            f'{remedy}. {INSIST}')


def refuse_equal_sub_folders(folder, found):
    """Raise UserError when all class folders have the same sub-folders: these may be the classes.

    Args:
        found: dictionary class folder -> paths relative to `folder`.
    """
    inside = [{path.split('/')[1] for path in paths if path.count('/') > 1} for paths in found.values()]
    common = sorted(set.intersection(*inside))
    if len(common) > 1:  # a single one, such as wav/ in each class, divides nothing
        raise UserError(f'{folder}: each of the folders {listing(map(repr, found))} has the sub-folders '
                        f'{listing(map(repr, common))}. If the sub-folders are the classes, put all clips of a class into one '
                        f'folder. {INSIST.replace("these", "the upper")}')


def refuse_alike(classes):
    """Raise UserError when class names differ only in upper case, blanks or the Unicode form, or have blanks around them."""
    padded = [name for name in classes if name != name.strip()]
    if padded:
        raise UserError(f'class folder {listing(map(repr, padded))}: rename it without the blanks around its name')
    same = collections.defaultdict(list)
    for name in classes:
        key = unicodedata.normalize('NFC', name).casefold().replace('_', ' ')
        same[' '.join(key.split())].append(name)
    # ascii: the two Unicode forms of one letter look the same when they are printed
    alike = [' and '.join(map(ascii, names)) for names in same.values() if len(names) > 1]
    if alike:
        raise UserError(f'class names that look alike: {listing(alike)}. If they are one class, put its clips into one folder; '
                        'otherwise rename a folder')


def split_folders(folder):
    """The folders of a split that exists already: dictionary part -> Path, for train, test and perhaps val."""
    folders = sub_folders(folder)
    found = {PARTS.get(entry.name.lower()): entry for entry in folders}
    if len(found) < len(folders) or None in found or not {'train', 'test'} <= set(found):
        raise UserError(f'--split-folders expects the folders train, test and perhaps val in {folder}, found '
                        f'{listing(repr(entry.name) for entry in folders) or "no folder"}: rename them, or move others away')
    return {part: found[part] for part in ('train', 'val', 'test') if part in found}


def read_clips(args):
    """The clips of the folder: lists of paths, of names below the class folders, of labels and of parts, and the class names.

    Parts are None unless the folder has a split already.
    """
    existing_folder(args.folder, 'one folder per class')
    folders = split_folders(args.folder) if args.split_folders else {None: args.folder}
    clips = []
    for part, folder in folders.items():
        if not args.classes_as_they_are:
            refuse_other_layouts(folder)
        found = read_class_folders(folder)
        if not args.classes_as_they_are:
            refuse_equal_sub_folders(folder, found)
        above = f'{folder.name}/' if part else ''
        clips += [(above + path, path.split('/', 1)[1], name, part) for name, paths in found.items() for path in paths]
    paths, names, class_names, parts = zip(*clips)
    classes = sorted(set(class_names))
    refuse_alike(classes)
    refuse_unusable(paths)
    return paths, names, [classes.index(name) for name in class_names], parts, classes


# ---- which clips are one recording -----------------------------------------------------------------------------------

def identical_files(folder, paths):
    """Files with the same content: list of lists of positions. Only files of the same size are read."""
    by_size, by_content = collections.defaultdict(list), collections.defaultdict(list)
    for i, path in enumerate(paths):
        by_size[(folder / path).stat().st_size].append(i)
    # empty files are no sounds: preprocess.py refuses them
    suspects = [i for size, same in by_size.items() if size and len(same) > 1 for i in same]
    for i in tqdm(suspects, desc='comparing files', unit='file', delay=1, **PROGRESS):
        try:
            by_content[content_digest(folder / paths[i])].append(i)
        except OSError as problem:
            raise UserError(f'cannot read {folder / paths[i]} ({problem.strerror}): change its permissions, or move it '
                            'away') from None
    identical = [same for same in by_content.values() if len(same) > 1]
    if identical:
        print(f'identical files: {sum(map(len, identical))} clips have only {len(identical)} different contents; clips with '
              'the same content are one recording')
    return identical


def refuse_copies(identical, paths, divided, what, remedy):
    """Raise UserError when clips of the same content are divided; `divided` has the class or the part of each clip."""
    found = [' = '.join(repr(paths[i]) for i in same) for same in identical if len({divided[i] for i in same}) > 1]
    if found:
        raise UserError(f'the same sound is in two {what}: {listing(found, 20)}. {remedy}')


def by_regex(names, regex):
    """The recording that each name tells: first group (or whole match) of the regular expression."""
    try:
        pattern = re.compile(regex)
    except re.error as problem:
        raise UserError(f'--group {regex!r} is not a regular expression: {problem}') from None
    matches = [pattern.search(name) for name in names]
    found = [match and match.group(1 if pattern.groups else 0) for match in matches]
    unnamed = [name for name, recording in zip(names, found) if not recording]
    if unnamed:
        raise UserError(f'--group {regex!r} finds no recording in {len(unnamed)} of {len(names)} file names: '
                        f"{listing(map(repr, unnamed))}. Correct the expression, or ignore file names: --group ''")
    return found


def by_convention(name):
    """The convention that a file name follows and the recording that it tells: (str, str), or None."""
    for convention, pattern in CONVENTIONS.items():
        if match := re.match(pattern, PurePosixPath(name).stem):
            return f'file names as in {convention}', match.group(1)
    return None


def find_recordings(paths, names, regex, identical):
    """Name of each clip's recording (list of str): told by its file name, else the path of the clip; copies have one name.

    A name stands for one recording across classes too: a recording may hold the sounds of several classes.
    """
    if regex:
        told = [('--group', recording) for recording in by_regex(names, regex)]
    else:
        told = [by_convention(name) if regex is None else None for name in names]
    found = [recording[1] if recording else path for recording, path in zip(told, paths)]

    renamed = {}  # recordings that have a sound in common are one
    for same in identical:
        first, *others = sorted({final_name(found[i], renamed) for i in same})
        renamed.update(dict.fromkeys(others, first))
    found = [final_name(recording, renamed) for recording in found]

    counts = collections.Counter(recording[0] for recording in told if recording)
    grouped = [f'{count} grouped by {reason}' for reason, count in sorted(counts.items())]
    if alone := len(paths) - sum(counts.values()):
        grouped.append(f'{alone} not grouped, each a recording of its own' + (' unless it is a copy' if identical else ''))
    hint = '' if regex is not None else " (--group '' ignores file names)" if counts else ' (--group REGEX groups them)'
    print(f'recordings: {len(set(found))} in {len(paths)} clips; {", ".join(grouped)}{hint}')
    return found


def final_name(name, renamed):
    """Follow a chain of new names to its end."""
    while name in renamed:
        name = renamed[name]
    return name


# ---- the split -------------------------------------------------------------------------------------------------------

def existing_split(parts, recordings):
    """The one fold of a split that exists already, and a warning when it divides recordings."""
    parts_of = collections.defaultdict(set)
    for part, recording in zip(parts, recordings):
        parts_of[recording].add(part)
    divided = sorted(recording for recording, found in parts_of.items() if len(found) > 1)
    if divided:
        print(f'warning: {len(divided)} recordings have clips in more than one part ({listing(divided)}): test clips sound like '
              'training clips, so the results will be too good')
    return {part: [i for i, found in enumerate(parts) if found == part] for part in dict.fromkeys(parts)}


def new_split(args, labels, recordings, classes):
    """Folds as shared.write_dataset takes them: list of dictionaries part -> positions."""
    labels, rng = np.array(labels), np.random.default_rng(args.seed)
    _, recordings = np.unique(recordings, return_inverse=True)
    if args.folds > 1:
        return cross_validation(labels, recordings, args.folds, args.val_fraction, rng, classes)
    fractions = {'val': args.val_fraction, 'test': args.test_fraction}
    return [holdout(labels, recordings, {part: share for part, share in fractions.items() if share}, rng, classes)]


# ---- command line ----------------------------------------------------------------------------------------------------

def read_arguments():
    """Parsed and checked arguments, with the test fraction that they mean."""
    arguments = parser(__doc__, 'the folder of class folders')
    arguments.add_argument('name', help='name of the data set')
    arguments.add_argument('--test-fraction', type=float,
                           help=f'share of the clips (default: {TEST_FRACTION}; in cross-validation 1/folds)')
    arguments.add_argument('--val-fraction', type=float, default=0.0, help='share of the clips (default: no validation part)')
    arguments.add_argument('--folds', type=int, default=1, help='2 or more: cross-validation with so many folds')
    arguments.add_argument('--seed', type=int, default=0, help='another seed gives another split')
    arguments.add_argument('--group', metavar='REGEX',
                           help='regular expression whose first group names the recording of a clip; it is searched in the '
                                "path below the class folder. '' ignores file names (default: names of ESC and UrbanSound8K)")
    arguments.add_argument('--split-folders', action='store_true',
                           help='use the split that exists: the folders train, test and perhaps val, each with class folders')
    arguments.add_argument('--classes-as-they-are', action='store_true',
                           help='take the sub-folders as classes even if they look like parts, folds or audio folders')
    args = arguments.parse_args()
    args.allow_missing = False
    check_numbers(args)
    return args


def check_numbers(args):
    """Raise UserError for numbers that are out of range or contradict each other; put in the test fraction."""
    if args.folds < 1 or args.seed < 0:
        raise UserError(f'--folds {args.folds} --seed {args.seed}: --folds must be at least 1, --seed at least 0')
    if args.split_folders and (args.test_fraction is not None or args.val_fraction or args.folds > 1 or args.seed):
        raise UserError('--split-folders uses the split that exists: leave out --test-fraction, --val-fraction, --folds and '
                        '--seed, which make a new one')
    if args.folds > 1 and args.test_fraction is not None:
        raise UserError(f'--test-fraction {args.test_fraction} contradicts --folds {args.folds}, which tests '
                        f'1/{args.folds} of the clips in each fold: leave one of them out')
    if args.test_fraction is None:
        args.test_fraction = TEST_FRACTION if args.folds == 1 else 1 / args.folds
    if not 0 < args.test_fraction < 1:
        raise UserError(f'--test-fraction {args.test_fraction} must be above 0 and below 1')
    if not 0 <= args.val_fraction < 1 - args.test_fraction:
        raise UserError(f'--val-fraction {args.val_fraction} must be at least 0, and below 1 together with the test '
                        f'fraction ({args.test_fraction:g})')


def main():
    args = read_arguments()
    paths, names, labels, parts, classes = read_clips(args)

    identical = identical_files(args.folder, paths)
    refuse_copies(identical, paths, labels, 'classes',
                  'A clip has one class: keep the files whose class is right, and move the others away')
    refuse_copies(identical, paths, parts, 'parts', 'Keep the files of one part, and move the others away')
    recordings = find_recordings(paths, names, args.group, identical)

    folds = [existing_split(parts, recordings)] if args.split_folders else new_split(args, labels, recordings, classes)
    finish(args, args.folder, paths, labels, classes, folds)


if __name__ == '__main__':
    run_script(main)
