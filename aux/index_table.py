"""Index recordings whose labels are in tables: files with a label each, or annotated parts of long recordings.

Usage: python aux/index_table.py <folder> <name> --labels labels.csv [options of aux/index_folder.py for splits]
       python aux/index_table.py <folder> <name> --annotations [table ...] [--around 2]
Reads: labels.csv has the columns file and label. Annotations are Audacity label tracks (start, end, label), Raven selection tables, or CSV
       files with the columns file, start, end and label; times are in seconds. In Raven tables, only the rows of spectrograms are
       used, and the column File Offset (s) if a table covers several files. Without names, all .txt, .tsv and .csv files of the folder are read. A
       table without a column for the file belongs to the recording of the same name: night.txt, night.labels.txt and
       night.Table.1.selections.txt to night.wav, in its own folder and below where that holds sounds. The folders that a
       table names must be those of the sound, as far as both are known.
Writes: index/<name>/ under DATA_FOLDER. No sound is cut: a clip is listed as night.wav#t=1.5,3.

All parts of a recording stay in one set, otherwise the results would be too good. Point labels (start = end) need --around.
"""
import collections
import math
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from split_options import add_split_arguments, check_numbers, new_split
from class_folders import refuse_alike
from indexing import audio_files, existing_folder, finish, fits_a_line, parser, read_csv, read_table, refuse_other_folder, refuse_repeated
from recordings import find_recordings, identical_files, refuse_copies
from audio import seconds_of
from shared import UserError, in_seconds, listing, run_script, split_segment

SHOWN = 20  # tables that are listed one by one
# names of columns in tables of annotations, in lower case
FILE = ('file', 'filename', 'begin file', 'begin path', 'recording')
START, END = ('start', 'begin time (s)', 'onset'), ('end', 'end time (s)', 'offset')
LABEL = ('label', 'class', 'annotation', 'species', 'call type', 'tags')
OFFSET, VIEW = ('file offset (s)',), ('view',)  # of Raven
REMEDY = 'correct the table'


class Sounds:
    """The sound files of a folder and the folders in it: paths relative to it, and found by what tables call them."""

    def __init__(self, folder):
        self.folder, self.paths = folder, sorted(audio_files(folder, folder, collections.Counter()))
        self._by_name, self._by_stem = collections.defaultdict(list), collections.defaultdict(list)
        for path in self.paths:
            self._by_name[Path(path).name].append(Path(path))
            self._by_stem[Path(path).stem].append(Path(path))
        self._known, self._folders = set(self.paths), {folder for path in self.paths for folder in Path(path).parents}

    def find(self, name, where, near=Path()):
        """The path of a sound that a table names, with or without folders and ending. Raises UserError unless there is exactly one.

        Args:
            near: folder of the table, relative to that of the sounds. A name without folders is looked for there first, and nowhere else than
                there and below if that holds sounds: those of another folder may have the same names.
        """
        named = Path(name.replace('\\', '/'))
        if len(named.parts) > 1 and named.as_posix() in self._known:  # fast, for large tables
            return named.as_posix()
        found = self._by_name.get(named.name) or self._by_stem.get(named.name, [])
        # the folders that both paths have must agree: either may begin further up, on another machine
        if folders := [part for part in named.parent.parts if part != '..']:
            found = [path for path in found if all(a == b for a, b in zip(path.parent.parts[::-1], folders[::-1]))]
            near = named.parent
        elif near in self._folders:
            found = [path for path in found if near in path.parents]
        found = [path for path in found if path.parent == near] or found
        if len(found) != 1:
            raise UserError(f'{where}: {named.as_posix()!r} is {"no sound file" if not found else f"the name of {len(found)} sound files"} in the '
                            f'folder: {REMEDY}, or give the path below the folder')
        return str(found[0])


def read_labels(table, sounds):
    """Clips of a CSV file with the columns file and label: list of (path, label, where)."""
    rows = read_csv(table, ['file', 'label'], 'give a CSV file with the columns file and label')
    for where, row in rows:
        check_label(row['label'], where)
    clips = [(sounds.find(row['file'], where), row['label'], where) for where, row in rows]
    refuse_repeated([(where, path) for path, _, where in clips], REMEDY)  # a table may call one file by several names
    return clips


def check_label(label, where):
    if not label:
        raise UserError(f'{where}: the label is empty: {REMEDY}')
    if not fits_a_line(label):
        raise UserError(f'{where}: the label {label!r} has a tab or a line break, expected one line of text: {REMEDY}')


def read_annotations(table, sounds, around):
    """Clips of a table of annotations: list of (path#t=start,end, label, where)."""
    delimiter = ',' if table.suffix.lower() == '.csv' else '\t'
    rows = read_table(table, delimiter, REMEDY)
    if is_number(rows[0][1][0]):  # an Audacity label track has no header
        columns, rows = (None, 0, 1, 2, None), [row for row in rows if row[1][0] != '\\']  # its lines about frequencies
    else:
        header = [cell.lower() for cell in rows.pop(0)[1]]
        if 'probability' in header:  # of windows (--csv) or of events (--events)
            raise UserError(f'{table} has the column probability, as tables of classify.py have: its labels are predictions. If you have '
                            f'corrected all of them, remove that column')
        *columns, view = (next((header.index(name) for name in names if name in header), None) for names in (FILE, START, END, LABEL, OFFSET, VIEW))
        if columns[1] is None or columns[2] is None or columns[3] is None:
            raise UserError(f'{table} needs columns for start, end and label ({listing((*START, *END, *LABEL), 99)}), or must be an Audacity '
                            f'label track: its header is {listing(map(repr, header), 12)}')
        spectrograms = [row for row in rows if view is not None and ''.join(row[1][view:view + 1]).lower().startswith('spectrogram')]
        rows = spectrograms or rows  # Raven lists a selection once for each view
    place, *times, offset = columns
    above, folder = table.parent.resolve(), sounds.folder.resolve()
    near = above.relative_to(folder) if above.is_relative_to(folder) else Path()
    own = None if place is not None else sounds.find(re.sub(r'(\.labels?|\.table\.\d+|\.selections?)+$', '', table.stem, flags=re.IGNORECASE),
                                                     str(table), near)
    clips, points = [], []
    for where, cells in rows:
        cells = cells + [''] * (1 + max(column for column in columns if column is not None) - len(cells))
        start, end, label = (cells[column] for column in times)
        if not (is_number(start) and is_number(end) and 0 <= float(start) <= float(end)):
            raise UserError(f'{where}: expected start and end in seconds, 0 <= start <= end, found {start!r} and {end!r}: {REMEDY}')
        check_label(label, where)
        start, end, sound = abs(float(start)), float(end), own or sounds.find(cells[place], where, near)  # abs: -0.0 would be written as -0
        if place is not None and offset is not None:  # begin and end count from the first of several files
            if not (is_number(cells[offset]) and float(cells[offset]) >= 0):
                raise UserError(f'{where}: expected the file offset in seconds, found {cells[offset]!r}: {REMEDY}')
            start, end = abs(float(cells[offset])), float(cells[offset]) + end - start
        if start == end:
            points.append(where)
            start, end = max(0.0, start - (around or 0) / 2), min(start + (around or 0) / 2, seconds_of(sounds.folder / sound) or float('inf'))
        clips.append((f'{sound}#t={in_seconds(start)},{in_seconds(end)}', label, where))
    if points and not around:
        raise UserError(f'{len(points)} labels have no duration ({listing(points, 3)}): add --around S to take S seconds around them')
    return clips


def is_number(text):
    """Whether a cell is a finite number."""
    return bool(re.fullmatch(r'[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?', text.strip())) and math.isfinite(float(text))


def read_clips(args):
    """Paths and labels of the clips of all tables: two lists."""
    sounds = Sounds(existing_folder(args.folder, 'the recordings'))
    if not sounds.paths:
        raise UserError(f'{args.folder} holds no sound file: give the folder of the recordings')
    if args.labels:
        clips = read_labels(args.labels, sounds)
    else:
        tables = args.annotations or sorted(path for path in args.folder.rglob('*')
                                           if path.suffix.lower() in ('.txt', '.tsv', '.csv') and not path.name.startswith('.'))
        if not tables:
            raise UserError(f'{args.folder} holds no table (.txt, .tsv or .csv): name the tables after --annotations')
        clips = []
        for table in tables:
            try:
                found = read_annotations(table, sounds, args.around)
            except UserError as problem:
                if args.annotations:
                    raise
                raise UserError(f'{problem}. All .txt, .tsv and .csv files of the folder are read: to read some of them, name them after '
                                f'--annotations') from None
            if len(tables) <= SHOWN:
                print(f'{table}: {len(found)} clip(s)')
            clips += found
        if len(tables) > SHOWN:
            print(f'{len(tables)} tables: {len(clips)} clip(s)')
        refuse_repeated([(where, f'{path} ({label})') for path, label, where in clips], REMEDY)
        unused = sorted(set(sounds.paths) - {str(split_segment(path)[0]) for path, *_ in clips})
        if unused:
            print(f'without annotations: {listing(unused)}')
    seen = {}
    for path, label, where in clips:
        if seen.setdefault(path, (label, where))[0] != label:
            raise UserError(f'{where}: {path} is {label!r}, and {seen[path][0]!r} before ({seen[path][1]}): a clip has one class')
    return [path for path, *_ in clips], [label for _, label, _ in clips]


def read_arguments():
    arguments = parser(__doc__, 'the folder of the recordings')
    arguments.add_argument('name', help='name of the data set')
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument('--labels', type=Path, metavar='CSV', help='a table with the columns file and label: each file is a clip')
    source.add_argument('--annotations', type=Path, nargs='*', metavar='TABLE', help='tables of annotated parts; none: all of the folder')
    arguments.add_argument('--around', type=float, metavar='S', help='seconds that are taken around point labels')
    arguments.add_argument('--min-clips', type=int, default=2, help='labels with fewer clips are left out (default: %(default)s)')
    add_split_arguments(arguments)
    args = arguments.parse_args()
    check_numbers(args)
    if args.around is not None and not 0 < args.around < 3600:
        raise UserError(f'--around {args.around}: expected seconds above 0')
    return args


def first_of_copies(folder, files):
    """Of each file the first one with the same content, itself or another (list of str)."""
    different = sorted(set(files))
    first = {different[i]: different[same[0]] for same in identical_files(folder, different) for i in same}
    return [first.get(file, file) for file in files]


def together(keys):
    """Positions of equal keys, of those that occur more than once (list of lists)."""
    found = collections.defaultdict(list)
    for i, key in enumerate(keys):
        found[key].append(i)
    return [places for places in found.values() if len(places) > 1]


def main():
    args = read_arguments()
    if not args.replace:
        refuse_other_folder(args.name, args.folder)
    paths, names = read_clips(args)
    rare = sorted(name for name, count in collections.Counter(names).items() if count < args.min_clips)
    if rare:
        print(f'left out, fewer than {args.min_clips} clips: {listing(rare, 20)}')
        kept = [i for i, name in enumerate(names) if name not in rare]
        paths, names = [paths[i] for i in kept], [names[i] for i in kept]
    classes = sorted(set(names))
    if len(classes) < 2:
        raise UserError(f'the tables name {len(classes)} class(es) with {args.min_clips} clips or more: at least two are needed')
    refuse_alike(classes, 'correct the table')
    labels = [classes.index(name) for name in names]
    files, spans = zip(*((str(file), span) for file, span in map(split_segment, paths)))
    sounds = first_of_copies(args.folder, files)
    same_parts = together(zip(sounds, spans))
    refuse_copies(same_parts, paths, labels, 'classes', 'A clip has one class: correct the table, or move a file away')
    if args.labels or args.group is not None:  # --group '' keeps the parts of a file apart
        recordings = find_recordings(paths, files, args.group, together(sounds) if args.group else same_parts)
    else:
        recordings = sounds
        print(f'recordings: {len(set(sounds))} in {len(set(files))} files with {len(files)} clips; the clips of a file stay together')
    finish(args, args.folder, paths, labels, classes, *new_split(args, labels, recordings, classes), recordings=recordings)


if __name__ == '__main__':
    run_script(main)
