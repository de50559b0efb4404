"""Which clips are one recording: by file names, by content, or by an expression of the user."""
import collections
import re
from pathlib import PurePosixPath

from shared import PROGRESS, UserError, content_digest, listing
from tqdm import tqdm

# How file names tell the recording that a clip was cut from: the first group. The numbers are those of freesound.org in both
# conventions, so equal numbers are one recording even across them. More may follow, as in 1-100032-A-0_noise and
# 1-100032-A-0 (1), unless it is a letter or a digit.
CONVENTIONS = {
    'ESC (<fold>-<recording>-<take>)': r'[1-5]-([0-9]+)-[A-Z](?:-[0-9]+)?(?![A-Za-z0-9])',
    'UrbanSound8K (<recording>-<class>-<occurrence>-<slice>)': r'([0-9]+)-[0-9]-[0-9]+-[0-9]+(?![A-Za-z0-9])',
}


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
        print(f'identical files: {sum(map(len, identical))} files have only {len(identical)} different contents; files with '
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


def told_by_names(paths):
    """The recording of each clip, by its file name, else the path of the clip (list of str)."""
    told = [by_convention(path) for path in paths]
    return [recording[1] if recording else path for recording, path in zip(told, paths)]


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
