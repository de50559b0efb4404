"""Index TUT Acoustic Scenes 2017: one fold, development set for training and evaluation set for test.

Usage: python aux/index_asc.py [<folder>] [--name asc] [--development FILE] [--evaluation FILE] [--allow-missing]
Reads: <folder>/TUT-acoustic-scenes-2017-development/meta.txt and <folder>/TUT-acoustic-scenes-2017-evaluation/meta.txt
       (or evaluation_setup/evaluate.txt there), and looks for audio/*.wav in both
Writes: index/asc/ under DATA_FOLDER
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from indexing import existing_folder, finish, parser, read_table, refuse_repeated
from shared import UserError, listing, run_script

DEVELOPMENT = 'TUT-acoustic-scenes-2017-development'
EVALUATION = 'TUT-acoustic-scenes-2017-evaluation'
SCENES = ['beach', 'bus', 'cafe/restaurant', 'car', 'city_center', 'forest_path', 'grocery_store', 'home', 'library',
          'metro_station', 'office', 'park', 'residential_area', 'train', 'tram']
CLIPS = {DEVELOPMENT: 4680, EVALUATION: 1620}


def read_metadata(path, archive, columns):
    """Paths (relative to the folder of both archives) and labels of one metadata file; `columns`: how many a row may have."""
    remedy = f'take the metadata from the archive {archive}.meta.zip'
    rows = read_table(path, '\t', remedy)
    paths, labels = [], []
    for where, cells in rows:
        if len(cells) == 1:
            raise UserError(f'{where}: {cells[0]!r} has no scene. Is this the unlabelled list of the challenge? The labels '
                            f'are in meta.txt or evaluation_setup/evaluate.txt (--evaluation names a file): {remedy}')
        if len(cells) not in columns:
            raise UserError(f'{where}: expected {" or ".join(map(str, columns))} columns separated by tabs, '
                            f'found {len(cells)}: {remedy}')
        if cells[1] not in SCENES:
            raise UserError(f'{where}: unknown scene {cells[1]!r}; the scenes are {listing(SCENES, 99)}')
        paths.append(f'{archive}/{cells[0]}')
        labels.append(SCENES.index(cells[1]))
    refuse_repeated([(where, cells[0]) for where, cells in rows])
    if len(paths) != CLIPS[archive]:
        print(f'note: {archive}: {len(paths)} clips; the published set has {CLIPS[archive]}')
    return paths, labels


def evaluation_metadata(folder):
    """The file that labels the evaluation set: meta.txt, or the ground truth of the challenge."""
    found = [path for path in (folder / 'meta.txt', folder / 'evaluation_setup' / 'evaluate.txt') if path.is_file()]
    if found:
        return found[0]
    unlabelled = folder / 'evaluation_setup' / 'test.txt'
    reason = f'there is only the unlabelled list {unlabelled}, which names the clips but not their scenes' \
        if unlabelled.is_file() else 'there is neither meta.txt nor evaluation_setup/evaluate.txt'
    raise UserError(f'{folder} has no labels: {reason}. Unpack {EVALUATION}.meta.zip beside {DEVELOPMENT}, '
                    'or name the file with --evaluation')


def main():
    arguments = parser(__doc__, f'the folder that holds {DEVELOPMENT}/ and {EVALUATION}/', 'asc', 'asc')
    arguments.add_argument('--development', type=Path, help='metadata of the development set')
    arguments.add_argument('--evaluation', type=Path, help='metadata of the evaluation set')
    args = arguments.parse_args()

    for archive in (DEVELOPMENT, EVALUATION):
        existing_folder(args.folder / archive, f'{DEVELOPMENT}/ and {EVALUATION}/', 'asc')
    development = args.development or args.folder / DEVELOPMENT / 'meta.txt'
    evaluation = args.evaluation or evaluation_metadata(args.folder / EVALUATION)
    train, train_labels = read_metadata(development, DEVELOPMENT, (3,))
    test, test_labels = read_metadata(evaluation, EVALUATION, (2, 3))  # evaluate.txt does not tell the location
    folds = [{'train': list(range(len(train))), 'test': list(range(len(train), len(train) + len(test)))}]
    finish(args, args.folder, train + test, train_labels + test_labels, SCENES, folds)


if __name__ == '__main__':
    run_script(main)
