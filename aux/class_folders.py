"""A folder of class folders: which folders are the classes, and the clips in them."""
import collections
import re
import unicodedata

from indexing import existing_folder, read_class_folders, refuse_unusable, sub_folders
from shared import UserError, listing

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


def refuse_alike(classes, remedy='put its clips into one folder; otherwise rename a folder'):
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
        raise UserError(f'class names that look alike: {listing(alike)}. If they are one class, {remedy}')


def split_folders(folder):
    """The folders of a split that exists already: dictionary part -> Path, for train, test and perhaps val."""
    folders = sub_folders(folder)
    found = {PARTS.get(entry.name.lower()): entry for entry in folders}
    if len(found) < len(folders) or None in found or not {'train', 'test'} <= set(found):
        raise UserError(f'--split-folders expects the folders train, test and perhaps val in {folder}, found '
                        f'{listing(repr(entry.name) for entry in folders) or "no folder"}: rename them, or move others away')
    return {part: found[part] for part in ('train', 'val', 'test') if part in found}


def read_clips(folder, split=False, as_they_are=False):
    """The clips of the folder: lists of paths, of names below the class folders, of labels and of parts, and the class names.

    Args:
        split: whether the folder has a split, which becomes the parts; without it, parts are None.
        as_they_are: whether sub-folders are classes even if they look like parts, folds or audio folders.
    """
    existing_folder(folder, 'one folder per class')
    folders = split_folders(folder) if split else {None: folder}
    clips = []
    for part, place in folders.items():
        if not as_they_are:
            refuse_other_layouts(place)
        found = read_class_folders(place)
        if not as_they_are:
            refuse_equal_sub_folders(place, found)
        above = f'{place.name}/' if part else ''
        clips += [(above + path, path.split('/', 1)[1], name, part) for name, paths in found.items() for path in paths]
    paths, names, class_names, parts = zip(*clips)
    classes = sorted(set(class_names))
    refuse_alike(classes)
    refuse_unusable(paths)
    return paths, names, [classes.index(name) for name in class_names], parts, classes
