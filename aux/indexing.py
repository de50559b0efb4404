"""What the index scripts share: reading metadata and class folders, a reason for every refusal, writing the index."""
import argparse
import collections
import csv
import re
import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
import config_file
from audio import SUFFIXES
from shared import UserError, array_name, data_folder, is_utf8, listing, read_json, source_path, split_segment, write_dataset


# folders of sounds that are of no class: fit.py measures how many of them its threshold rejects
BACKGROUND = ('_background', '_background_noise_', '_noise')


def parser(doc, folder_help, name=None, download=None):
    """An argument parser that shows the script's docstring.

    `name` is the default of --name where the set has one, `download` the name that download.py knows it by: then its folder is the default.
    """
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if download:
        arguments.add_argument('folder', type=Path, nargs='?', default=data_folder() / 'audio' / download,
                               help=f'{folder_help} (default: audio/{download} under DATA_FOLDER, where download.py puts it)')
    else:
        arguments.add_argument('folder', type=Path, help=folder_help)
    if name:
        arguments.add_argument('--name', default=name, help='name of the data set (default: %(default)s)')
        arguments.add_argument('--allow-missing', action='store_true',
                               help='go on without the audio files that are not on disk')
    else:
        arguments.set_defaults(allow_missing=None)
    return arguments


def sub_folders(folder):
    """The folders in a folder, sorted, without hidden ones (list of Path)."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith('.'))


def first_with_audio(folder, places, paths):
    """The first of several sub-folders in which one of the audio files is (Path); the first of all when there is none."""
    return folder / next((place for place in places if any((folder / place / path).is_file() for path in paths)), places[0])


def existing_folder(path, expected, download=None):
    """Path of a folder that exists; `expected` says in an error what it should hold, `download` by which name download.py fetches it."""
    if not path.exists():
        fetch = f', or fetch it with: python aux/download.py {download}' if download else ''
        raise UserError(f'{path} does not exist: give the folder that holds {expected}{fetch}')
    if not path.is_dir():
        raise UserError(f'{path} is not a folder: give the folder that holds {expected}')
    return path


# ---- metadata --------------------------------------------------------------------------------------------------------

def read_table(path, delimiter, remedy):
    """Rows of a delimited text file: list of (where, cells); `where` names file and line in error messages."""
    # the TUT lists are plain text: a quotation mark in them would be part of the name
    quoting = csv.QUOTE_NONE if delimiter == '\t' else csv.QUOTE_MINIMAL
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
            rows = [(f'{path}, line {reader.line_num}', [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except FileNotFoundError:
        raise UserError(f'{path} does not exist: {remedy}') from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError, PermissionError) as problem:
        raise UserError(f'{path} is not a readable table ({problem}): {remedy}') from None
    if not rows:
        raise UserError(f'{path} is empty: {remedy}')
    return rows


def read_csv(path, columns, remedy):
    """Rows of a CSV file with a header that has at least `columns`: list of (where, dictionary column -> text)."""
    (_, header), *rows = read_table(path, ',', remedy)
    absent = [column for column in columns if column not in header]
    if absent:
        raise UserError(f'{path} has no column {listing(absent)}; its header is {",".join(header)[:200]!r}: {remedy}')
    if not rows:
        raise UserError(f'{path} is empty below its header: {remedy}')
    for where, cells in rows:
        if len(cells) != len(header):
            raise UserError(f'{where}: {len(cells)} columns where the header has {len(header)}: {remedy}')
    return [(where, dict(zip(header, cells))) for where, cells in rows]


def integer(row, column, low, high, where):
    """The whole number in a column of a row, low <= number <= high."""
    text = row[column]
    if not re.fullmatch(r'-?[0-9]{1,9}', text):
        raise UserError(f'{where}: {column} is {text!r}, expected a whole number from {low} to {high}')
    if not low <= int(text) <= high:
        raise UserError(f'{where}: {column} is {text}, outside {low} to {high}')
    return int(text)


def refuse_repeated(names, remedy='take the metadata from the original archive again'):
    """Raise UserError when a file is named twice; `names` is a list of (where, name)."""
    seen = {}
    for where, name in names:
        if name in seen:
            raise UserError(f'{where}: {name} was named before ({seen[name]}); a clip may have one row only: {remedy}')
        seen[name] = where


# ---- class folders ---------------------------------------------------------------------------------------------------

def read_class_folders(folder):
    """Audio files of a folder of class folders: dictionary class folder -> sorted paths relative to `folder`.

    Nested folders count; hidden files and folders and BACKGROUND folders do not. Everything else that is left out is printed.
    """
    existing_folder(folder, 'one folder per class')
    ignored = collections.Counter()
    classes = {entry.name: sorted(audio_files(entry, folder, ignored)) for entry in sub_folders(folder)
               if entry.name.lower() not in BACKGROUND}
    files = [entry for entry in sorted(folder.iterdir()) if not entry.is_dir() and not entry.name.startswith('.')]
    loose = [entry.name for entry in files if entry.suffix.lower() in SUFFIXES]
    ignored.update(entry.suffix.lower() for entry in files if entry.name not in loose)
    for suffix, count in sorted(ignored.items()):
        print(f'{suffix or "without extension"}: {count} file{"s" * (count > 1)} ignored')
    if len(classes) < 2:
        raise UserError(f'{folder} has {"only one class folder" if classes else "no class folders"} '
                        f'({listing(map(repr, classes)) or f"{len(loose)} audio files lie directly in it"}): '
                        'put the clips of each class into a folder of its own, at least two')
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        raise UserError(f'no audio file in the class folder {listing(map(repr, empty))} of {folder}: '
                        f'add clips ({listing(sorted(SUFFIXES), 99)}) or move the folder away')
    if loose:
        print(f'warning: {len(loose)} audio file(s) directly in {folder} belong to no class and are left out: '
              f'{listing(map(repr, loose))}')
    return classes


def read_background(folder):
    """Audio files of the folders of `folder` whose sounds are of no class, sorted paths relative to it."""
    return [path for entry in sub_folders(folder) if entry.name.lower() in BACKGROUND
            for path in sorted(audio_files(entry, folder, collections.Counter()))]


def audio_files(folder, base, ignored, above=()):
    """Yield the paths (relative to `base`, with '/') of the audio files below `folder`; count the others in `ignored`."""
    above = (*above, folder.resolve())
    try:
        entries = sorted(folder.iterdir())
    except PermissionError as problem:
        raise UserError(f'cannot read {folder} ({problem.strerror}): change its permissions, or move it away') from None
    for entry in entries:
        if entry.name.startswith('.'):
            continue
        if entry.is_dir():
            if entry.resolve() in above:
                raise UserError(f'{entry} is a link to a folder that it lies in: remove the link')
            yield from audio_files(entry, base, ignored, above)
        elif entry.suffix.lower() not in SUFFIXES:
            ignored[entry.suffix.lower()] += 1
        elif not entry.is_file():
            raise UserError(f'{str(entry)!r} is a link to a file that does not exist: mend or remove it')
        else:
            yield entry.relative_to(base).as_posix()


# ---- the index -------------------------------------------------------------------------------------------------------

def fits_a_line(text):
    """Whether an index file can hold a text: splitlines also knows the rarer line breaks, at which a file would be cut when it is read."""
    return '\t' not in text and text.splitlines() == [text]


def refuse_unusable(paths):
    """Raise UserError for audio paths that an index file cannot hold, or that would share one representation file."""
    for path in paths:
        if not (fits_a_line(path) and is_utf8(path)):
            raise UserError(f'the file name {path!r} has a tab, a line break or an undecodable character, which an '
                            'index file cannot hold: rename the file')
        if PurePosixPath(path).is_absolute() or '..' in PurePosixPath(path).parts:
            raise UserError(f'the path {path!r} must lie below the audio folder')
    stems = {}
    for path in paths:
        twin = stems.setdefault(array_name(path), path)
        if twin is not path:
            raise UserError(f'{twin!r} and {path!r} differ only in their extension and would share one representation '
                            'file: rename one, or move it away if it is the same sound')


def finish(args, audio_folder, paths, labels, classes, folds, division=None, **more):
    """Check the audio files, write the index and print the next command.

    Args:
        args: parsed arguments with `name` and `allow_missing`, which is None where the script has no such option.
        audio_folder, paths, labels, classes, folds, more: as for shared.write_dataset.
        division: number of folds of one division, where divisions into folds are repeated.
    """
    refuse_unusable([*paths, *more.get('background', ())])
    missing = {i for i, path in enumerate(paths) if not split_segment(audio_folder / path)[0].is_file()}
    if missing and (not args.allow_missing or len(missing) == len(paths)):
        raise UserError(f'{len(missing)} of {len(paths)} audio files are missing below {audio_folder}: '
                        f'{listing(paths[i] for i in sorted(missing))}. Complete the download'
                        + (', or go on without these files: --allow-missing' if len(missing) < len(paths) and args.allow_missing is not None else ''))
    folds = [{part: [i for i in positions if i not in missing] for part, positions in parts.items()} for parts in folds]
    folds = without_empty_parts(folds, args.allow_missing)
    warn_of_absent_classes(labels, classes, folds)
    source = {'script': f'aux/{Path(sys.argv[0]).name}', 'arguments': sys.argv[1:], **({'folds_per_division': division} if division else {})}
    write_dataset(args.name, audio_folder, paths, labels, classes, folds, source, **more)
    if missing:
        print(f'left out: {len(missing)} of {len(paths)} clips whose audio file is missing. They keep their rows in the '
              'index, so that ids remain row numbers of the metadata, but they are in no training, validation or test part')
    named = f'{args.name}_spec' in config_file.config_preprocess
    print(f'next: cd src && python preprocess.py {args.name + "_spec" if named else "spec dataset=" + args.name}')


def refuse_other_folder(name, audio_folder):
    """Raise UserError if the data set `name` was indexed from another folder than this one."""
    path = source_path(name)
    if path.exists() and (before := read_json(path, 'delete it').get('audio_folder')) != str(Path(audio_folder).resolve()):
        raise UserError(f'the name {name!r} is used for the folder {before} already: choose another name, or add '
                        f'--replace to use this name for {audio_folder}')


def without_empty_parts(folds, allowed):
    """The folds without empty validation parts; a fold without training or test clips becomes an empty dictionary.

    Raise UserError when this is not allowed (None: nor can be) and when no fold remains.
    """
    empty = [f'fold {k} {part}' for k, parts in enumerate(folds) for part in parts if not parts[part]]
    kept = [{part: positions for part, positions in parts.items() if positions} if parts['train'] and parts['test'] else {}
            for parts in folds]
    if not any(kept) or (empty and not allowed):
        raise UserError(f'no clip is left for {listing(empty)}: the metadata or the audio files are incomplete'
                        + ('. To go on without these parts: --allow-missing' if any(kept) and allowed is not None else ''))
    if empty:
        unusable = [f'fold {k}' for k, parts in enumerate(kept) if not parts]
        print(f'warning: no clip is left for {listing(empty, 30)}: these parts are left out'
              + (f', and so are {listing(unusable)}, which need training and test clips' if unusable else ''))
    return kept


def warn_of_absent_classes(labels, classes, folds):
    """Print which classes a part lacks: this is allowed, but its accuracies are not comparable with those of other folds."""
    for k, parts in enumerate(folds):
        for part, positions in parts.items():
            absent = sorted(set(range(len(classes))) - {labels[i] for i in positions})
            if absent:
                print(f'warning: fold {k} {part} has no clip of {listing(classes[c] for c in absent)}')
