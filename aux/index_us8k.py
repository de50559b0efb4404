"""Index UrbanSound8K: ten folds, each with one folder for test, the next for validation, eight for training.

Usage: python aux/index_us8k.py [<UrbanSound8K folder>] [--name us8k] [--metadata FILE] [--allow-missing]
Reads: <folder>/metadata/UrbanSound8K.csv or <folder>/UrbanSound8K.csv, and looks for fold<1-10>/*.wav in <folder>/audio/,
       <folder>/ and <folder>/audio/audio/
Writes: index/us8k/ under DATA_FOLDER
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from indexing import existing_folder, finish, first_with_audio, integer, parser, read_csv, refuse_repeated
from recordings import told_by_names
from shared import UserError, run_script

CLASSES = ['air_conditioner', 'car_horn', 'children_playing', 'dog_bark', 'drilling', 'engine_idling', 'gun_shot',
           'jackhammer', 'siren', 'street_music']  # in the order of classID
CLIPS = 8732
FOLDS = 10


def read_metadata(path):
    """Paths (fold<k>/<file>), labels and folders (1-10) of all clips, in the order of the metadata."""
    rows = read_csv(path, ['slice_file_name', 'fold', 'classID', 'class'],
                    'take metadata/UrbanSound8K.csv from the original archive')
    refuse_repeated([(where, row['slice_file_name']) for where, row in rows])
    paths, labels, folders = [], [], []
    for where, row in rows:
        name, label = row['slice_file_name'], integer(row, 'classID', 0, len(CLASSES) - 1, where)
        if not name or '/' in name:
            raise UserError(f'{where}: slice_file_name is {name!r}, expected the name of a file')
        if row['class'] != CLASSES[label]:
            raise UserError(f'{where}: class is {row["class"]!r}, but classID {label} means {CLASSES[label]!r}')
        folders.append(integer(row, 'fold', 1, FOLDS, where))
        paths.append(f'fold{folders[-1]}/{name}')
        labels.append(label)
    return paths, labels, folders


def make_folds(folders):
    """Fold k tests on folder k + 1 and validates on the folder after it, counted in a circle."""
    folds = []
    for k in range(FOLDS):
        part_of = {k + 1: 'test', (k + 1) % FOLDS + 1: 'val'}
        fold = {'train': [], 'val': [], 'test': []}
        for i, folder in enumerate(folders):
            fold[part_of.get(folder, 'train')].append(i)
        folds.append(fold)
    return folds


def main():
    arguments = parser(__doc__, 'the folder UrbanSound8K: metadata/ and audio/, or UrbanSound8K.csv and fold1/ to fold10/', 'us8k', 'us8k')
    arguments.add_argument('--metadata', type=Path, help='the CSV file (default: see above)')
    args = arguments.parse_args()

    existing_folder(args.folder, 'metadata/ and audio/ of UrbanSound8K', 'us8k')
    tables = [args.folder / 'metadata' / 'UrbanSound8K.csv', args.folder / 'UrbanSound8K.csv']
    table = next((path for path in tables if path.is_file()), tables[0])
    paths, labels, folders = read_metadata(args.metadata or table)
    if len(paths) != CLIPS:
        print(f'note: {len(paths)} clips; the published data set has {CLIPS}')
    audio = first_with_audio(args.folder, ('audio', '', 'audio/audio'), paths)
    finish(args, audio, paths, labels, CLASSES, make_folds(folders), recordings=told_by_names(paths))


if __name__ == '__main__':
    run_script(main)
