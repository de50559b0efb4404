"""Index ESC-10 or ESC-50: five folds, each with one fold of the data set for test and four for training.

Usage: python aux/index_esc.py [<folder>] [--name esc10] [--subset esc10|esc50] [--allow-missing]
Reads: <folder>/meta/esc50.csv or <folder>/esc50.csv, and looks for the sounds in <folder>/audio/ and <folder>/audio/audio/.
       Without such a table: class folders such as <folder>/001 - Dog bark/1-100032-A.ogg, whose file names begin with the fold
Writes: index/esc10/ under DATA_FOLDER
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from indexing import existing_folder, finish, first_with_audio, integer, parser, read_class_folders, read_csv, refuse_repeated
from recordings import told_by_names
from shared import UserError, run_script

FOLDS = 5


def read_metadata(path, subset):
    """Paths, labels, class names and ESC folds (1-5) of the subset's rows, in the order of esc50.csv."""
    columns = ['filename', 'fold', 'target', 'category'] + ['esc10'] * (subset == 'esc10')
    rows = read_csv(path, columns, 'take meta/esc50.csv from the original archive')
    refuse_repeated([(where, row['filename']) for where, row in rows])
    paths, targets, names, esc_folds = [], [], {}, []
    for where, row in rows:
        target, esc_fold = integer(row, 'target', 0, 49, where), integer(row, 'fold', 1, FOLDS, where)
        if names.setdefault(target, row['category']) != row['category'] or not row['category']:
            raise UserError(f'{where}: the category of target {target} is {row["category"]!r} here and '
                            f'{names[target]!r} where it occurs first')
        if subset == 'esc10' and row['esc10'] not in ('True', 'False'):
            raise UserError(f'{where}: esc10 is {row["esc10"]!r}, expected True or False')
        if subset == 'esc50' or row['esc10'] == 'True':
            paths.append(f'audio/{row["filename"]}')
            targets.append(target)
            esc_folds.append(esc_fold)
    if not paths:
        raise UserError(f'{path}: no row has esc10 True: take meta/esc50.csv from the original archive')
    used = sorted(set(targets))  # ESC-10 keeps ten of the fifty numbers: count them anew
    return paths, [used.index(target) for target in targets], [names[target] for target in used], esc_folds


def read_folders(folder):
    """Paths, labels, class names and ESC folds (1-5) of a folder of class folders, sorted."""
    paths, labels, esc_folds = [], [], []
    found = read_class_folders(folder)
    for label, files in enumerate(found.values()):
        for path in files:
            match = re.match(r'([1-5])-', Path(path).name)
            if not match:
                raise UserError(f'{path!r} in {folder}: the file name should begin with its fold, 1- to {FOLDS}-. Folders '
                                'with other names: python aux/index_folder.py')
            paths.append(path)
            labels.append(label)
            esc_folds.append(int(match.group(1)))
    return paths, labels, [re.sub(r'^[0-9]+ *- *', '', name) for name in found], esc_folds


def choose_subset(args):
    """esc10 or esc50, by --subset or by the name of the data set."""
    if args.subset is None and args.name not in ('esc10', 'esc50'):
        raise UserError(f'which rows of esc50.csv are {args.name!r}? Add --subset esc10 or --subset esc50')
    return args.subset or args.name


def main():
    arguments = parser(__doc__, 'the folder of the data set', 'esc10', 'esc50')
    arguments.add_argument('--subset', choices=('esc10', 'esc50'), help='which rows of esc50.csv (default: by the name)')
    args = arguments.parse_args()

    existing_folder(args.folder, 'audio/ and meta/esc50.csv, or the class folders, of ESC-10 or ESC-50', 'esc50')
    tables = [path for path in (args.folder / 'meta' / 'esc50.csv', args.folder / 'esc50.csv') if path.is_file()]
    audio_folder = args.folder
    if tables:
        paths, labels, classes, esc_folds = read_metadata(tables[0], choose_subset(args))
        audio_folder = first_with_audio(args.folder, ('', 'audio'), paths)  # copies of the data set have audio/audio/
    elif (args.folder / 'audio').is_dir():
        raise UserError(f'{args.folder} has a folder audio but neither meta/esc50.csv nor esc50.csv: add that file')
    elif args.subset:
        raise UserError(f'--subset chooses rows of esc50.csv, which {args.folder} does not have: leave it out, '
                        'class folders are indexed as they are')
    else:
        paths, labels, classes, esc_folds = read_folders(args.folder)
    if len(set(classes)) < len(classes):
        raise UserError(f'two classes have the same name: {classes}')
    folds = [{'train': [i for i, fold in enumerate(esc_folds) if fold != k + 1],
              'test': [i for i, fold in enumerate(esc_folds) if fold == k + 1]} for k in range(FOLDS)]
    finish(args, audio_folder, paths, labels, classes, folds, recordings=told_by_names(paths))


if __name__ == '__main__':
    run_script(main)
