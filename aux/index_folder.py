"""Index a folder of class folders (your own recordings): a stratified, seeded split that keeps recordings whole.

Usage: python aux/index_folder.py <folder> <name> [--test-fraction 0.25] [--val-fraction 0] [--folds 1] [--repeats 1] [--seed 0]
       [--group REGEX] [--classes-as-they-are] [--replace]
       python aux/index_folder.py <folder> <name> --split-folders [--group REGEX] [--classes-as-they-are]
Reads: the audio files in <folder>/<class>/; with --split-folders, those in <folder>/train/<class>/, <folder>/test/<class>/
       and, if it is there, <folder>/val/<class>/
Writes: index/<name>/ under DATA_FOLDER

Sounds in folders _background or _noise are of no class: fit.py uses them to tell how many foreign sounds it rejects.
Clips of one recording stay in one part, otherwise the results would be too good. File names as in ESC and
UrbanSound8K, or --group, show which clips belong together. Files with the same content are one recording, whatever their names are.
"""
import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from class_folders import read_clips
from split_options import add_split_arguments, check_numbers, new_split
from indexing import finish, parser, read_background, refuse_other_folder
from recordings import find_recordings, identical_files, refuse_copies
from shared import listing, run_script


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


# ---- command line ----------------------------------------------------------------------------------------------------

def read_arguments():
    """Parsed and checked arguments, with the test fraction that they mean."""
    arguments = parser(__doc__, 'the folder of class folders')
    arguments.add_argument('name', help='name of the data set')
    add_split_arguments(arguments)
    arguments.add_argument('--split-folders', action='store_true',
                           help='use the split that exists: the folders train, test and perhaps val, each with class folders')
    arguments.add_argument('--classes-as-they-are', action='store_true',
                           help='take the sub-folders as classes even if they look like parts, folds or audio folders')
    args = arguments.parse_args()
    check_numbers(args)
    return args


def main():
    args = read_arguments()
    if not args.replace:
        refuse_other_folder(args.name, args.folder)
    paths, names, labels, parts, classes = read_clips(args.folder, args.split_folders, args.classes_as_they_are)

    identical = identical_files(args.folder, paths)
    refuse_copies(identical, paths, labels, 'classes',
                  'A clip has one class: keep the files whose class is right, and move the others away')
    refuse_copies(identical, paths, parts, 'parts', 'Keep the files of one part, and move the others away')
    recordings = find_recordings(paths, names, args.group, identical)

    folds, division = ([existing_split(parts, recordings)], None) if args.split_folders else new_split(args, labels, recordings, classes)
    background = [] if args.split_folders else read_background(args.folder)
    if background:
        print(f'background: {len(background)} sounds that are of no class')
    finish(args, args.folder, paths, labels, classes, folds, division, recordings=recordings, background=background)


if __name__ == '__main__':
    run_script(main)
