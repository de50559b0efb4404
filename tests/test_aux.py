"""The scripts of aux/ on made-up data sets: exact index files, every refusal, splits without leaks, reproducible sounds."""
import collections
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'aux'), str(ROOT / 'src')]
import indexing
import make_demo_sounds
import splits
from commands import run_script, succeeded, warm
from index_asc import DEVELOPMENT, EVALUATION, SCENES
from index_us8k import CLASSES as US8K
from shared import UserError

ESC10 = os.environ.get('ESC10')


@pytest.fixture
def run(tmp_path):
    """run(script, arguments...) in a foreign folder: (exit code, output); the data folder is tmp_path/data."""
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()

    def call(script, *arguments):
        done = warm(script, *arguments, data_folder=tmp_path / 'data', cwd=elsewhere, without_tensorflow=True)
        assert 'Traceback' not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr
    return call


@pytest.fixture
def refused(run, tmp_path):
    """refused(parts of the message, script, arguments...): the script fails with them and writes nothing."""
    def call(parts, *command):
        code, output = run(*command)
        assert code != 0, output
        for part in parts:
            assert part in output
        assert not (tmp_path / 'data').exists()
    return call


@pytest.fixture
def index(tmp_path):
    """index(name): the files of an index as dictionaries: paths by id, and label by id for each (fold, part)."""
    def read(name):
        folder = tmp_path / 'data' / 'index' / name
        paths = dict(line.split('\t') for line in (folder / f'index_{name}_folds_all.tsv').read_text().splitlines())
        truth = {}
        for file in folder.glob('gt_*_fold*.tsv'):
            fold, part = re.fullmatch(rf'gt_{name}_fold(\d+)_(train|val|test)', file.stem).groups()
            rows = dict(line.split('\t') for line in file.read_text().splitlines())
            truth[int(fold), part] = {key: json.loads(row).index(1.0) for key, row in rows.items()}
        return paths, truth, (folder / f'classes_{name}.txt').read_text().splitlines()
    return read


def make(folder, *names, content=None):
    """Make files below a folder, each with its own content by default; the index scripts compare the bytes of sound files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(path) if content is None else content)
    return folder


def edit(path, number, change):
    """Replace line `number` (from 1) of a text file by change(line); None removes it."""
    lines = path.read_text().splitlines()
    lines[number - 1:number] = [changed for changed in [change(lines[number - 1])] if changed is not None]
    path.write_text('\n'.join(lines) + '\n')


def column(number, text):
    """Function that sets one cell (from 0) of a line of comma-separated values."""
    return lambda line: ','.join(text if i == number else cell for i, cell in enumerate(line.split(',')))


# ---- UrbanSound8K ----------------------------------------------------------------------------------------------------

HEADER = 'slice_file_name,fsID,start,end,salience,fold,classID,class'


@pytest.fixture
def us8k(tmp_path):
    """A made-up UrbanSound8K with one clip per class and folder; row i: class i % 10, folder i // 10 + 1."""
    rows = [(f'{1000 + i}-{i % 10}-0-0.wav', 1000 + i, i // 10 + 1, i % 10, US8K[i % 10]) for i in range(100)]
    folder = make(tmp_path / 'UrbanSound8K', *(f'audio/fold{fold}/{name}' for name, _, fold, _, _ in rows))
    (folder / 'metadata').mkdir()
    lines = [HEADER] + [f'{name},{fs},0.0,4.0,1,{fold},{c},{text}' for name, fs, fold, c, text in rows]
    (folder / 'metadata' / 'UrbanSound8K.csv').write_text('\n'.join(lines) + '\n')
    return folder


def test_us8k_exact(run, us8k, index, tmp_path):
    code, output = run('index_us8k.py', us8k)
    assert code == 0, output
    assert output.splitlines()[-1] == 'next: cd src && python preprocess.py us8k_spec'
    assert '8732' in output  # a hint that this is not the whole set
    folder = tmp_path / 'data' / 'index' / 'us8k'
    assert (folder / 'index_us8k_folds_all.tsv').read_text().startswith('0\tfold1/1000-0-0-0.wav\n1\tfold1/1001-1-0-0.wav\n')
    assert (folder / 'gt_us8k_fold9_test.tsv').read_text().splitlines()[1] == \
        '91\t[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]'
    source = json.loads((folder / 'source_us8k.json').read_text())
    assert source == {'audio_folder': str(us8k / 'audio'), 'script': 'aux/index_us8k.py', 'arguments': [str(us8k)]}

    paths, truth, classes = index('us8k')
    assert len(paths) == 100 and len(truth) == 30 and classes == US8K
    recordings = (folder / 'recordings_us8k.tsv').read_text().splitlines()
    assert recordings == [f'{i}\t{1000 + i}' for i in range(100)]
    for k in range(10):
        folders = {part: {int(key) // 10 + 1 for key in truth[k, part]} for part in ('train', 'val', 'test')}
        assert folders['test'] == {k + 1}
        assert folders['val'] == {1 if k == 9 else k + 2}
        assert folders['train'] == set(range(1, 11)) - folders['test'] - folders['val']
        assert all(label == int(key) % 10 for part in folders for key, label in truth[k, part].items())


def test_us8k_options(run, us8k, index, tmp_path):
    table = us8k / 'metadata' / 'UrbanSound8K.csv'
    moved = tmp_path / 'elsewhere' / 'moved.csv'
    moved.write_bytes(b'\xef\xbb\xbf' + table.read_bytes().replace(b'\n', b'\r\n'))  # as a spreadsheet saves it
    table.unlink()
    code, output = run('index_us8k.py', us8k, '--metadata', 'moved.csv', '--name', 'again')
    assert code == 0 and output.endswith('python preprocess.py spec dataset=again\n')
    assert len(index('again')[0]) == 100


@pytest.mark.parametrize('line, change, parts', [
    (1, lambda line: line.replace('classID', 'class_id'), ['has no column classID', 'original archive']),
    (4, column(5, '11'), ['line 4', 'fold is 11', '1 to 10']),
    (4, column(5, '0'), ['line 4', 'fold is 0']),
    (5, column(5, 'one'), ['line 5', "fold is 'one'", 'whole number']),
    (6, column(6, '4.5'), ['line 6', "classID is '4.5'"]),
    (6, column(6, '10'), ['line 6', 'classID is 10', '0 to 9']),
    (7, column(6, '6'), ['line 7', "class is 'engine_idling'", "classID 6 means 'gun_shot'"]),
    (7, column(7, 'motor'), ['line 7', "'motor'"]),
    (8, lambda line: line + ',x', ['line 8', '9 columns where the header has 8']),
    (8, lambda line: line.rsplit(',', 1)[0], ['line 8', '7 columns']),
    (9, column(0, '1000-0-0-0.wav'), ['line 9', '1000-0-0-0.wav was named before', 'line 2']),
    (9, column(0, '../fold2/x.wav'), ['line 9', 'slice_file_name']),
    (9, column(0, ''), ['line 9', 'slice_file_name']),
])
def test_us8k_bad_rows(refused, us8k, line, change, parts):
    edit(us8k / 'metadata' / 'UrbanSound8K.csv', line, change)
    refused(parts, 'index_us8k.py', us8k)


def test_us8k_bad_tables(refused, us8k, tmp_path):
    table = us8k / 'metadata' / 'UrbanSound8K.csv'
    whole = table.read_text()
    table.write_text('')
    refused(['UrbanSound8K.csv is empty'], 'index_us8k.py', us8k)
    table.write_text(HEADER + '\n')
    refused(['empty below its header'], 'index_us8k.py', us8k)
    table.write_bytes(b'RIFF\xff\xfe\x00')
    refused(['not a readable table'], 'index_us8k.py', us8k)
    table.write_text('\n'.join(line for line in whole.splitlines() if ',3,' not in line) + '\n')  # folder 3 and class 3
    refused(['no clip is left for', 'fold 2 test'], 'index_us8k.py', us8k)
    table.unlink()
    refused(['UrbanSound8K.csv does not exist', 'original archive'], 'index_us8k.py', us8k)
    refused(['nowhere does not exist'], 'index_us8k.py', tmp_path / 'nowhere')
    refused(['not a folder'], 'index_us8k.py', make(tmp_path, 'file') / 'file')


def test_us8k_names(refused, us8k):
    refused(["'two words'"], 'index_us8k.py', us8k, '--name', 'two words')
    shutil.rmtree(us8k / 'audio')
    refused(['100 of 100 audio files are missing'], 'index_us8k.py', us8k)


def test_us8k_missing_audio(run, refused, us8k, index):
    for name in ('fold1/1000-0-0-0.wav', 'fold1/1001-1-0-0.wav', 'fold2/1010-0-0-0.wav'):
        (us8k / 'audio' / name).unlink()
    refused(['3 of 100 audio files are missing', 'fold1/1000-0-0-0.wav, fold1/1001-1-0-0.wav', '--allow-missing'],
            'index_us8k.py', us8k)
    code, output = run('index_us8k.py', us8k, '--allow-missing')
    assert code == 0 and 'left out: 3 of 100' in output
    assert 'fold 0 test has no clip of air_conditioner, car_horn' in output
    paths, truth, _ = index('us8k')
    assert len(paths) == 100  # ids remain row numbers
    assert not {'0', '1', '10'} & {key for part in truth.values() for key in part}
    assert list(truth[0, 'test']) == ['2', '3', '4', '5', '6', '7', '8', '9'] and truth[0, 'test']['2'] == 2


def test_us8k_missing_folders(run, refused, us8k, index):
    for k in range(4, 11):
        shutil.rmtree(us8k / 'audio' / f'fold{k}')
    code, output = run('index_us8k.py', us8k, '--allow-missing')
    assert code == 0 and 'no clip is left for fold 2 val, fold 3 val, fold 3 test' in output
    truth = index('us8k')[1]
    assert sorted(truth) == sorted([(0, 'test'), (0, 'val'), (0, 'train'), (1, 'test'), (1, 'val'), (1, 'train'),
                                    (2, 'test'), (2, 'train')])  # the other folds have no test clip
    shutil.rmtree(us8k / 'audio' / 'fold2')
    shutil.rmtree(us8k / 'audio' / 'fold3')
    code, output = run('index_us8k.py', us8k, '--allow-missing', '--name', 'one')  # nothing to train on when it is tested
    assert code != 0 and 'no clip is left for' in output
    shutil.rmtree(us8k / 'audio' / 'fold1')
    code, output = run('index_us8k.py', us8k, '--allow-missing', '--name', 'none')
    assert code != 0 and '100 of 100 audio files are missing' in output


# ---- TUT Acoustic Scenes ---------------------------------------------------------------------------------------------

@pytest.fixture
def asc(tmp_path):
    """Two development clips and one evaluation clip per scene; development metadata with CRLF."""
    folder = tmp_path / 'tut'
    train = [f'audio/a{i}.wav\t{SCENES[i % 15]}\ta{i // 2}' for i in range(30)]
    test = [f'audio/{i}.wav\t{SCENES[14 - i]}\tb{i}' for i in range(15)]
    make(folder / DEVELOPMENT, *(row.split('\t')[0] for row in train))
    make(folder / EVALUATION, *(row.split('\t')[0] for row in test))
    (folder / DEVELOPMENT / 'meta.txt').write_bytes('\r\n'.join(train).encode() + b'\r\n')
    (folder / EVALUATION / 'meta.txt').write_text('\n'.join(test) + '\n')
    return folder


def test_asc_exact(run, asc, index, tmp_path):
    code, output = run('index_asc.py', asc)
    assert code == 0, output
    assert output.splitlines()[-1] == 'next: cd src && python preprocess.py asc_spec'
    assert '4680' in output and '1620' in output
    paths, truth, classes = index('asc')
    assert classes == ['beach', 'bus', 'cafe/restaurant', 'car', 'city_center', 'forest_path', 'grocery_store', 'home',
                       'library', 'metro_station', 'office', 'park', 'residential_area', 'train', 'tram']
    assert paths['29'] == 'TUT-acoustic-scenes-2017-development/audio/a29.wav'
    assert paths['30'] == 'TUT-acoustic-scenes-2017-evaluation/audio/0.wav'
    assert truth == {(0, 'train'): {str(i): i % 15 for i in range(30)}, (0, 'test'): {str(30 + i): 14 - i for i in range(15)}}
    rows = (tmp_path / 'data' / 'index' / 'asc' / 'gt_asc_fold0_train.tsv').read_text().splitlines()
    assert rows[2] == f'2\t{[0.0] * 2 + [1.0] + [0.0] * 12}'  # cafe/restaurant


def test_asc_evaluation_labels(run, refused, asc, index, tmp_path):
    meta = asc / EVALUATION / 'meta.txt'
    labelled = ''.join(line.rsplit('\t', 1)[0] + '\n' for line in meta.read_text().splitlines())
    meta.unlink()
    refused(['has no labels', 'neither meta.txt nor evaluation_setup/evaluate.txt'], 'index_asc.py', asc)
    make(asc / EVALUATION, 'evaluation_setup/test.txt', content=b'audio/0.wav\n')
    refused(['only the unlabelled list', 'test.txt', 'meta.zip'], 'index_asc.py', asc)
    refused(['line 1', 'has no scene', 'unlabelled'], 'index_asc.py', asc, '--evaluation',
            asc / EVALUATION / 'evaluation_setup' / 'test.txt')
    make(asc / EVALUATION, 'evaluation_setup/evaluate.txt', content=labelled.encode())
    expected = {str(30 + i): 14 - i for i in range(15)}
    assert run('index_asc.py', asc)[0] == 0
    assert index('asc')[1][0, 'test'] == expected
    shutil.move(asc / EVALUATION / 'evaluation_setup' / 'evaluate.txt', tmp_path / 'labels.txt')
    shutil.move(asc / DEVELOPMENT / 'meta.txt', tmp_path / 'development.txt')
    code, output = run('index_asc.py', asc, '--name', 'explicit', '--evaluation', tmp_path / 'labels.txt', '--development',
                       tmp_path / 'development.txt')
    assert code == 0, output
    assert index('explicit')[1][0, 'test'] == expected


@pytest.mark.parametrize('archive, line, change, parts', [
    (DEVELOPMENT, 3, lambda line: line.replace('cafe/restaurant', 'pub'), ['line 3', "unknown scene 'pub'", 'grocery_store']),
    (DEVELOPMENT, 3, lambda line: line.rsplit('\t', 1)[0], ['line 3', 'expected 3 columns', 'found 2']),
    (DEVELOPMENT, 3, lambda line: line + '\tx', ['line 3', 'found 4']),
    (DEVELOPMENT, 3, lambda line: line.replace('\t', ' '), ['line 3', 'has no scene']),
    (DEVELOPMENT, 3, lambda line: line.replace('a2.wav', 'a0.wav'), ['line 3', 'audio/a0.wav was named before', 'line 1']),
    (DEVELOPMENT, 3, lambda line: line.replace('audio/', '../audio/'), ['below the audio folder']),
    (EVALUATION, 2, lambda line: line.replace('train', 'Train'), ['line 2', "unknown scene 'Train'"]),
    (EVALUATION, 2, lambda line: line + '\tx', ['line 2', 'expected 2 or 3 columns']),
])
def test_asc_bad_rows(refused, asc, archive, line, change, parts):
    edit(asc / archive / 'meta.txt', line, change)
    refused(parts, 'index_asc.py', asc)


def test_asc_incomplete(run, refused, asc, index):
    (asc / EVALUATION / 'audio' / '0.wav').unlink()
    refused(['1 of 45 audio files', f'{EVALUATION}/audio/0.wav'], 'index_asc.py', asc)
    assert run('index_asc.py', asc, '--allow-missing')[0] == 0
    paths, truth, _ = index('asc')
    assert len(paths) == 45 and list(truth[0, 'test']) == [str(i) for i in range(31, 45)]


def test_asc_bad_folders(refused, asc):
    (asc / DEVELOPMENT / 'meta.txt').write_text('')
    refused(['meta.txt is empty'], 'index_asc.py', asc)
    (asc / DEVELOPMENT / 'meta.txt').unlink()
    refused(['meta.txt does not exist', f'{DEVELOPMENT}.meta.zip'], 'index_asc.py', asc)
    shutil.rmtree(asc / EVALUATION)
    refused([f'{EVALUATION} does not exist'], 'index_asc.py', asc)


# ---- ESC -------------------------------------------------------------------------------------------------------------

@pytest.fixture
def esc_folders(tmp_path):
    """Class folders as in the archive of ESC-10: two clips of one recording per class and fold."""
    return make(tmp_path / 'ESC-10', 'README.txt', 'LICENSE', *(f'{name}/{fold}-{fold}00{name[2]}-{take}.ogg'
                for name in ('001 - Dog bark', '002 - Rain', '010 - Fire crackling') for fold in range(1, 6) for take in 'AB'))


@pytest.fixture
def esc_table(tmp_path):
    """audio/ and meta/esc50.csv: four classes, of which 38 and 1 belong to ESC-10; one clip per class and fold."""
    classes = {38: ('water_drops', False), 1: ('rooster', True), 41: ('chainsaw', True), 0: ('dog', False)}
    rows = [f'{fold}-{1000 + target}-A-{target}.wav,{fold},{target},{name},{esc10},{1000 + target},A'
            for fold in range(1, 6) for target, (name, esc10) in classes.items()]
    folder = make(tmp_path / 'ESC-50', *('audio/' + row.split(',')[0] for row in rows))
    (folder / 'meta').mkdir()
    (folder / 'meta' / 'esc50.csv').write_text('\n'.join(['filename,fold,target,category,esc10,src_file,take', *rows]) + '\n')
    return folder


def test_esc_folders_exact(run, esc_folders, index, tmp_path):
    code, output = run('index_esc.py', esc_folders)
    assert code == 0, output
    assert '.txt: 1 file ignored' in output and 'without extension: 1 file ignored' in output
    assert output.splitlines()[-1] == 'next: cd src && python preprocess.py esc10_spec'
    paths, truth, classes = index('esc10')
    assert classes == ['Dog bark', 'Rain', 'Fire crackling']
    assert paths['0'] == '001 - Dog bark/1-1001-A.ogg' and paths['29'] == '010 - Fire crackling/5-5000-B.ogg'
    for k in range(5):
        assert truth[k, 'test'] == {str(c * 10 + k * 2 + take): c for c in range(3) for take in range(2)}
        assert set(truth[k, 'train']) == set(paths) - set(truth[k, 'test'])
    assert len(truth) == 10  # no validation part
    recordings = (tmp_path / 'data/index/esc10/recordings_esc10.tsv').read_text().splitlines()
    assert recordings[:2] == ['0\t1001', '1\t1001'] and len({line.split('\t')[1] for line in recordings}) == 15


def test_esc_table_exact(run, refused, esc_table, index, tmp_path):
    refused(["which rows of esc50.csv are 'mine'", '--subset'], 'index_esc.py', esc_table, '--name', 'mine')
    assert run('index_esc.py', esc_table)[0] == 0
    paths, truth, classes = index('esc10')
    assert classes == ['rooster', 'chainsaw']
    assert paths == {str(2 * k + c): f'audio/{k + 1}-{1000 + target}-A-{target}.wav'
                     for k in range(5) for c, target in enumerate((1, 41))}
    assert truth[3, 'test'] == {'6': 0, '7': 1} and len(truth[3, 'train']) == 8

    shutil.move(esc_table / 'meta' / 'esc50.csv', esc_table / 'esc50.csv')
    code, output = run('index_esc.py', esc_table, '--name', 'esc50')
    assert code == 0 and output.endswith('preprocess.py esc50_spec\n')
    paths, truth, classes = index('esc50')
    assert classes == ['dog', 'rooster', 'water_drops', 'chainsaw'] and len(paths) == 20
    assert truth[0, 'test'] == {'0': 2, '1': 1, '2': 3, '3': 0}
    assert run('index_esc.py', esc_table, '--name', 'mine', '--subset', 'esc10')[0] == 0
    assert index('mine')[2] == ['rooster', 'chainsaw']


@pytest.mark.parametrize('line, change, parts', [
    (1, lambda line: line.replace('esc10', 'ten'), ['has no column esc10']),
    (1, lambda line: line.replace('category', 'label'), ['has no column category']),
    (3, column(1, '6'), ['line 3', 'fold is 6', '1 to 5']),
    (3, column(2, '50'), ['line 3', 'target is 50']),
    (3, column(2, 'x'), ['line 3', "target is 'x'"]),
    (7, column(3, 'hen'), ['line 7', "'hen'", "'rooster'"]),
    (3, column(4, 'yes'), ['line 3', "esc10 is 'yes'"]),
    (4, column(0, '1-1001-A-1.wav'), ['line 4', 'was named before', 'line 3']),
    (4, lambda line: line + ',', ['line 4', '8 columns']),
    (4, column(0, 'gone.wav'), ['1 of 10 audio files', 'audio/gone.wav', '--allow-missing']),
])
def test_esc_bad_rows(refused, esc_table, line, change, parts):
    edit(esc_table / 'meta' / 'esc50.csv', line, change)
    refused(parts, 'index_esc.py', esc_table)


def test_esc_refusals(refused, esc_table, esc_folders, tmp_path):
    table = esc_table / 'meta' / 'esc50.csv'
    table.write_text(table.read_text().replace('True', 'False'))
    refused(['no row has esc10 True'], 'index_esc.py', esc_table)
    table.unlink()
    refused(['neither meta/esc50.csv nor esc50.csv'], 'index_esc.py', esc_table)
    refused(['--subset chooses rows'], 'index_esc.py', esc_folders, '--subset', 'esc10')
    make(esc_folders, '002 - Rain/6-1-A.ogg')
    refused(["'002 - Rain/6-1-A.ogg'", 'fold', 'index_folder.py'], 'index_esc.py', esc_folders)
    (esc_folders / '002 - Rain' / '6-1-A.ogg').rename(esc_folders / '002 - Rain' / '1-1-C.ogg')
    make(esc_folders, '003 - Rain/1-1-A.ogg')
    refused(['two classes have the same name'], 'index_esc.py', esc_folders)
    shutil.rmtree(esc_folders / '003 - Rain')
    for path in esc_folders.glob('*/4-*'):
        path.unlink()
    refused(['no clip is left for fold 3 test'], 'index_esc.py', esc_folders)


@pytest.mark.skipif(not ESC10 or not Path(ESC10).is_dir(), reason='the environment variable ESC10 names no folder')
def test_esc10_real(run, index):
    assert run('index_esc.py', ESC10)[0] == 0
    paths, truth, classes = index('esc10')
    assert len(paths) == 400 and classes[:2] == ['Dog bark', 'Rain'] and len(classes) == 10
    recording = {key: Path(path).name.split('-')[1] for key, path in paths.items()}
    for k in range(5):
        assert len(truth[k, 'test']) == 80 and len(truth[k, 'train']) == 320
        assert set(collections.Counter(truth[k, 'test'].values()).values()) == {8}
        assert not {recording[key] for key in truth[k, 'test']} & {recording[key] for key in truth[k, 'train']}
    code, output = run('index_folder.py', ESC10, 'own', '--folds', 4, '--val-fraction', 0.2)
    assert code == 0 and f'recordings: {len(set(recording.values()))} in 400' in output
    for k in range(4):
        check_fold(index('own'), k, lambda path: Path(path).name.split('-')[1], ('train', 'val', 'test'))


# ---- own folders -----------------------------------------------------------------------------------------------------

def check_fold(content, fold, recording, parts):
    """Each clip in one part, each class in every part, no recording in two."""
    paths, truth, classes = content
    folders = sorted({path.split('/')[0] for path in paths.values()})  # in the order of the labels
    keys = [set(truth[fold, part]) for part in parts]
    assert sum(map(len, keys)) == len(paths) and set.union(*keys) == set(paths)
    for part in parts:
        assert set(truth[fold, part].values()) == set(range(len(classes)))
        assert all(paths[key].startswith(folders[label] + '/') for key, label in truth[fold, part].items())
    recordings = [{recording(paths[key]) for key in part} for part in keys]
    assert sum(map(len, recordings)) == len(set.union(*recordings))


def snapshot(folder):
    """Content of all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def plain(tmp_path):
    """Two classes with 12 and 9 clips, and a third of 4."""
    return make(tmp_path / 'own', *(f'{name}/{name}{i}.wav' for name, count in (('cat', 12), ('dog', 9), ('emu', 4))
                                    for i in range(count)))


def test_folder_exact(run, plain, index, tmp_path):
    code, output = run('index_folder.py', plain, 'mine')
    assert code == 0, output
    assert output.splitlines()[-1] == 'next: cd src && python preprocess.py spec dataset=mine'
    assert 'recordings: 25 in 25 clips; 25 not grouped' in output
    paths, truth, classes = index('mine')
    assert classes == ['cat', 'dog', 'emu'] and list(truth) and len(truth) == 2
    assert paths['0'] == 'cat/cat0.wav' and paths['1'] == 'cat/cat1.wav' and paths['2'] == 'cat/cat10.wav'
    assert collections.Counter(truth[0, 'test'].values()) == {0: 3, 1: 2, 2: 1}
    check_fold(index('mine'), 0, lambda path: path, ('train', 'test'))

    first = snapshot(tmp_path / 'data' / 'index' / 'mine')
    assert run('index_folder.py', plain, 'mine')[0] == 0
    assert snapshot(tmp_path / 'data' / 'index' / 'mine') == first
    assert run('index_folder.py', plain, 'mine', '--seed', 1)[0] == 0
    assert index('mine')[1] != truth


def test_folder_val_and_folds(run, plain, index, tmp_path):
    assert run('index_folder.py', plain, 'mine', '--test-fraction', 0.5, '--val-fraction', 0.25)[0] == 0
    content = index('mine')
    counts = {part: collections.Counter(content[1][0, part].values()) for part in ('train', 'val', 'test')}
    assert counts == {'train': {0: 3, 1: 2, 2: 1}, 'val': {0: 3, 1: 2, 2: 1}, 'test': {0: 6, 1: 5, 2: 2}}
    check_fold(content, 0, lambda path: path, ('train', 'val', 'test'))

    assert run('index_folder.py', plain, 'mine', '--folds', 4, '--val-fraction', 0.25)[0] == 0
    content = index('mine')
    for k in range(4):
        check_fold(content, k, lambda path: path, ('train', 'val', 'test'))
        assert 6 <= len(content[1][k, 'test']) <= 7
    tested = [key for k in range(4) for key in content[1][k, 'test']]
    assert sorted(tested) == sorted(content[0])  # each clip once
    assert run('index_folder.py', plain, 'mine')[0] == 0
    assert sorted(index('mine')[1]) == [(0, 'test'), (0, 'train')]  # the other folds are gone


def test_folder_what_counts(run, tmp_path, index):
    folder = make(tmp_path / 'own', 'b/1.WAV', 'b/deep/er/2.Mp3', 'b/3.flac', 'a/1.OGG', 'a/.hidden.wav', 'a/.old/x.wav',
                  'a/notes.txt', 'b/list.TXT', 'b/cover', '.git/x.wav', 'x.json', 'loose.wav', 'outside/4.opus')
    (folder / 'a' / 'link.aif').symlink_to(folder / 'outside' / '4.opus')
    shutil.move(folder / 'outside', tmp_path / 'outside')
    (folder / 'a' / 'link.aif').unlink()
    (folder / 'a' / 'link.aif').symlink_to(tmp_path / 'outside' / '4.opus')
    shutil.move(folder / 'b', tmp_path / 'elsewhere_b')
    (folder / 'b').symlink_to(tmp_path / 'elsewhere_b')
    code, output = run('index_folder.py', folder, 'mine')
    assert code == 0, output
    assert list(index('mine')[0].values()) == ['a/1.OGG', 'a/link.aif', 'b/1.WAV', 'b/3.flac', 'b/deep/er/2.Mp3']
    assert '.txt: 2 files ignored' in output and '.json: 1 file ignored' in output
    assert 'without extension: 1 file ignored' in output
    assert "1 audio file(s) directly in" in output and "'loose.wav'" in output


def recordings_tree(tmp_path, form):
    """Three classes with recordings of one to five clips each."""
    return make(tmp_path / 'own', *(form.format(c=c, name=name, r=100 * c + r, letter='ABCDE'[take], take=take)
                                    for c, name in enumerate(('x', 'y', 'z')) for r in range(8) for take in range(1 + r % 5)))


@pytest.mark.parametrize('form, options, part', [
    ('{name}/2-{r}-{letter}.ogg', [], 1),
    ('{name}/3-{r}-{letter}-{c}.wav', [], 1),
    ('{name}/{r}-{c}-{take}-7.wav', [], 0),
    ('{name}/deep/session{r}-{take}.wav', ['--group', r'session(\d+)-'], 0),
    ('{name}/session{r}-{take}.wav', ['--group', r'^[^-]+'], 0),
])
@pytest.mark.parametrize('folds', [1, 4])
def test_folder_groups(run, tmp_path, index, form, options, part, folds):
    folder = recordings_tree(tmp_path, form)
    code, output = run('index_folder.py', folder, 'mine', *options, '--folds', folds)
    assert code == 0, output
    assert 'recordings: 24 in 63 clips' in output
    assert ('--group' if options else 'file names as in') in output
    for k in range(folds):
        check_fold(index('mine'), k, lambda path: Path(path).name.split('-')[part], ('train', 'test'))
        share = len(index('mine')[1][k, 'test']) / 63
        assert abs(share - 0.25) < 0.05
    if not options:
        code, output = run('index_folder.py', folder, 'mine', '--group', '')
        assert code == 0 and 'recordings: 63 in 63 clips; 63 not grouped' in output


def test_folder_names_are_recognised_file_by_file(run, index, tmp_path):
    """One foreign name and suffixes behind a convention do not switch the grouping of the others off."""
    folder = make(recordings_tree(tmp_path, '{name}/2-{r}-{letter}.ogg'), 'x/foreign.ogg', 'x/2-0-A_noise.ogg', 'x/2-0-A (1).ogg')
    code, output = run('index_folder.py', folder, 'mine')
    assert code == 0 and 'recordings: 25 in 66 clips; 65 grouped by file names as in ESC' in output
    assert '1 not grouped, each a recording of its own' in output
    paths, truth, _ = index('mine')
    part_of = {paths[key]: part for (_, part), labels in truth.items() for key in labels}
    assert len({part_of[f'x/2-0-A{suffix}.ogg'] for suffix in ('', '_noise', ' (1)')}) == 1


def test_folder_copies_are_one_recording(run, index, tmp_path):
    folder = make(tmp_path / 'own', *(f'{name}/{i}.wav' for name in 'ab' for i in range(8)))
    for name in 'ab':
        for i in range(8):
            shutil.copy(folder / f'{name}/{i}.wav', folder / f'{name}/{i} (1).wav')
    code, output = run('index_folder.py', folder, 'mine')
    assert code == 0 and 'identical files: 32 files have only 16 different contents' in output
    paths, truth, _ = index('mine')
    contents = [{(folder / paths[key]).read_bytes() for key in truth[0, part]} for part in ('train', 'test')]
    assert len(contents[1]) > 1 and not contents[0] & contents[1]


def test_folder_one_sound_in_two_classes_is_refused(refused, tmp_path):
    folder = make(tmp_path / 'own', *(f'{name}/{i}.wav' for name in 'ab' for i in range(8)))
    shutil.copy(folder / 'a/0.wav', folder / 'b/contradiction.wav')
    refused(["the same sound is in two classes: 'a/0.wav' = 'b/contradiction.wav'"], 'index_folder.py', folder, 'mine')


def test_folder_layouts_that_are_no_classes_are_refused(run, refused, tmp_path):
    split = make(tmp_path / 'split', *(f'{part}/{name}/{i}.wav' for part in ('train', 'test') for name in ('cat', 'dog')
                                       for i in range(4)))
    refused(["'test', 'train' look like the parts of a split", '--split-folders'], 'index_folder.py', split, 'mine')
    refused(['look like the folds of a cross-validation', 'index_us8k.py'], 'index_folder.py',
            make(tmp_path / 'folds', *(f'fold{k}/{i}.wav' for k in range(1, 4) for i in range(4))), 'mine')
    refused(["has the sub-folders 'cat', 'dog'"], 'index_folder.py',
            make(tmp_path / 'same', *(f'{place}/{name}/{i}.wav' for place in ('home', 'work') for name in ('cat', 'dog')
                                      for i in range(4))), 'mine')
    code, output = run('index_folder.py', split, 'mine', '--classes-as-they-are')
    assert code == 0 and '16 clips, 2 classes' in output


def test_folder_a_split_that_exists_is_used(run, index, tmp_path):
    split = make(tmp_path / 'split', *(f'{part}/{name}/{part}{i}.wav' for part in ('train', 'test') for name in ('cat', 'dog')
                                       for i in range(4)))
    code, output = run('index_folder.py', split, 'mine', '--split-folders')
    assert code == 0, output
    paths, truth, classes = index('mine')
    assert classes == ['cat', 'dog'] and set(truth) == {(0, 'train'), (0, 'test')}
    for part in ('train', 'test'):
        assert {paths[key].split('/')[0] for key in truth[0, part]} == {part} and len(truth[0, part]) == 8


@pytest.mark.parametrize('names', [('Dog', 'dog'), ('caf\u00e9', 'cafe\u0301'), ('car horn', 'car_horn')])
def test_folder_class_names_that_look_alike_are_refused(refused, tmp_path, names):
    refused(['class names that look alike'], 'index_folder.py',
            make(tmp_path / 'own', *(f'{name}/{i}.wav' for name in names for i in range(4))), 'mine')


def test_us8k_in_the_layout_of_popular_copies(run, us8k, index, tmp_path):
    run('index_us8k.py', us8k)
    expected = index('us8k')
    copy = tmp_path / 'copy'
    shutil.copytree(us8k / 'audio', copy)
    shutil.copy(us8k / 'metadata/UrbanSound8K.csv', copy)
    code, output = run('index_us8k.py', copy)
    assert code == 0 and index('us8k') == expected


@pytest.mark.parametrize('seed', range(5))
def test_split_shared_recordings(seed):
    """Recordings with several classes are kept whole too, and large ones do not starve a part."""
    rng = np.random.default_rng(seed)
    recordings = rng.integers(0, 30, 300)
    labels = (recordings + rng.integers(0, 2, 300)) % 5
    clips = np.bincount(labels)
    part_of = splits.split(labels, recordings, np.stack([clips * 0.7, clips * 0.3]), rng)
    for c in range(5):
        assert 0.1 < np.mean(part_of[labels == c]) < 0.5
    assert not set(recordings[part_of == 0]) & set(recordings[part_of == 1])


def test_split_extremes():
    """As many recordings as parts: each gets one, the largest goes to training; an impossible wish is None."""
    labels, rng = np.array([0] * 32 + [1] * 3), np.random.default_rng(0)
    recordings = np.array([0] * 30 + [1, 2, 3, 4, 5])
    part_of = splits.split(labels, recordings, np.array([[20, 1], [4, 1], [8, 1]]), rng)
    assert (part_of[:30] == 0).all() and sorted(part_of[30:32]) == [1, 2] and sorted(part_of[32:]) == [0, 1, 2]
    shared = np.array([0, 1, 0, 1]), np.array([0, 0, 0, 0])
    assert splits.split(*shared, np.ones((2, 2)), rng) is None


@pytest.mark.parametrize('options, parts', [
    (['--test-fraction', '0'], ['--test-fraction 0.0', 'above 0 and below 1']),
    (['--test-fraction', '1'], ['--test-fraction 1.0']),
    (['--test-fraction', 'nan'], ['--test-fraction nan']),
    (['--test-fraction', '0.5', '--val-fraction', '0.5'], ['--val-fraction 0.5', 'below 1']),
    (['--val-fraction', '-0.1'], ['--val-fraction -0.1']),
    (['--folds', '5', '--test-fraction', '0.2'], ['contradicts --folds 5']),
    (['--folds', '0'], ['--folds 0']),
    (['--seed', '-1'], ['--seed -1']),
    (['--folds', '5'], ["too few clips for 5 folds", "'emu' (4)", 'fewer parts']),
    (['--group', '('], ['not a regular expression']),
    (['--group', 'cat(.*)'], ['13 of 25 file names', "'dog0.wav'", "--group ''"]),
    (['--group', '^(cat|dog|emu)'], ['too few recordings for 2 parts (train, test)', "'cat' (1), 'dog' (1), 'emu' (1)"]),
    (['--group', r'(.)\.wav', '--folds', '10'], ["too few recordings for 10 folds", "'dog' (9)"]),
])
def test_folder_bad_options(refused, plain, options, parts):
    refused(parts, 'index_folder.py', plain, 'mine', *options)


def test_folder_shared_recordings_impossible(refused, tmp_path):
    folder = make(tmp_path / 'own', 'a/r1.wav', 'b/r1.wav', 'a/r2.wav', 'c/r2.wav', 'b/r3.wav', 'c/r3.wav')
    refused(['no division into 2 parts', 'share recordings', '--seed'], 'index_folder.py', folder, 'mine', '--group', r'r\d')


@pytest.mark.parametrize('files, parts', [
    ([], ['no class folders', 'at least two']),
    (['1.wav', '2.wav'], ['no class folders', '2 audio files lie directly in it']),
    (['a/1.wav', 'a/2.wav', '.b/1.wav'], ['only one class folder', "'a'"]),
    (['a/1.wav', 'a/2.wav', 'b/x.gsm'], ['no audio file in the class folder', "'b'", '.flac', '.gsm: 1 file ignored']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav'], ['too few clips for 2 parts (train, test)', "'b' (1)", 'Add some']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav', 'b/x\ty.wav'], [r"'b/x\ty.wav'", 'tab', 'rename']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav', 'b/x\ny.wav'], [r"'b/x\ny.wav'", 'rename']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav', 'b/x\u2028y.wav'], [r"'b/x\u2028y.wav'", 'rename']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav', os.fsdecode(b'b/\xff.wav')], ['undecodable', 'rename']),
    (['a/1.wav', 'a/2.wav', ' b/1.wav', ' b/2.wav'], ["' b'", 'blanks']),
    (['a/1.wav', 'a/2.wav', 'b/n/1.wav', 'b/n/1.ogg'], ["'b/n/1.ogg' and 'b/n/1.wav'", 'rename one']),
    (['a/1.wav', 'a/2.wav', 'b/1.wav', 'b/1.WAV'], ['differ only in their extension']),
])
def test_folder_bad_content(refused, tmp_path, files, parts):
    folder = tmp_path / 'own'
    folder.mkdir()
    refused(parts, 'index_folder.py', make(folder, *files), 'mine')


def test_an_option_is_named_only_where_it_exists(tmp_path, capsys):
    """--allow-missing: sounds of own folders are those that are there."""
    make(tmp_path, 'a.wav')
    for allowed, named in ((None, False), (False, True)):
        args = SimpleNamespace(name='mine', allow_missing=allowed)
        with pytest.raises(UserError, match='1 of 2 audio files are missing') as missing:
            indexing.finish(args, tmp_path, ['a.wav', 'b.wav'], [0, 1], ['x', 'y'], [{'train': [0], 'test': [1]}])
        with pytest.raises(UserError, match='no clip is left for fold 1 test') as empty:
            indexing.without_empty_parts([{'train': [0], 'test': [1]}, {'train': [0], 'test': []}], allowed)
        assert all(('--allow-missing' in str(problem.value)) == named for problem in (missing, empty))


def test_folder_bad_paths(refused, plain, tmp_path):
    refused(['nowhere does not exist'], 'index_folder.py', tmp_path / 'nowhere', 'mine')
    refused(['is not a folder'], 'index_folder.py', plain / 'cat' / 'cat0.wav', 'mine')
    refused(["'two words'"], 'index_folder.py', plain, 'two words')
    (plain / 'cat' / 'again').symlink_to(plain / 'cat')
    refused(['again is a link to a folder that it lies in'], 'index_folder.py', plain, 'mine')
    (plain / 'cat' / 'again').unlink()
    (plain / 'cat' / 'dead.wav').symlink_to(plain / 'gone.wav')
    refused(['dead.wav', 'does not exist'], 'index_folder.py', plain, 'mine')


# ---- demo sounds -----------------------------------------------------------------------------------------------------

def test_demo_sounds(run, tmp_path, index):
    first, second = tmp_path / 'first', tmp_path / 'second'
    assert run('make_demo_sounds.py', '--clips-per-class', 2)[0] == 0
    (tmp_path / 'data' / 'audio' / 'demo').rename(first)  # the folder where none is given
    code, output = run('make_demo_sounds.py', first, '--clips-per-class', 2)
    assert code == 0 and f'next: python aux/index_folder.py {first} demo' in output
    assert run('make_demo_sounds.py', second, '--clips-per-class', 3, '--seed', 0)[0] == 0
    files = sorted(path.relative_to(first) for path in first.rglob('*.wav'))
    assert len(files) == 20 and Path('rain/rain_01.wav') in files and len({path.parent for path in files}) == 10
    contents = [(first / path).read_bytes() for path in files]
    assert contents == [(second / path).read_bytes() for path in files]  # however many others are made
    assert len(set(contents)) == 20  # and no two alike
    for path in files:
        info = soundfile.info(first / path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (44100, 1, 'PCM_16', 'WAV')
        assert 1 + info.frames // 1024 == 138
        samples, _ = soundfile.read(first / path, dtype='int16')
        assert 32767 * 0.3 < np.abs(samples.astype(int)).max() < 32767 * 0.75  # neither clipped nor lost

    code, output = run('index_folder.py', second, 'demo', '--test-fraction', 0.33)
    assert code == 0 and output.endswith('next: cd src && python preprocess.py demo_spec\n')
    assert len(index('demo')[1][0, 'test']) == 10


def test_demo_seed():
    one, other = (make_demo_sounds.clip('siren', seed, 4) for seed in (0, 1))
    assert one.dtype == np.int16 and one.shape == (make_demo_sounds.LENGTH,)
    assert not np.array_equal(one, other)
    assert np.array_equal(one, make_demo_sounds.clip('siren', 0, 4))


def test_demo_refusals(run, refused, tmp_path):
    folder = tmp_path / 'sounds'
    assert run('make_demo_sounds.py', folder, '--clips-per-class', 1)[0] == 0
    damaged, whole = folder / 'rain' / 'rain_00.wav', folder / 'wind' / 'wind_00.wav'
    content, time = damaged.read_bytes(), whole.stat().st_mtime_ns
    make(folder, '.DS_Store', 'rain/rain_00.wav')
    assert run('make_demo_sounds.py', folder, '--clips-per-class', 1)[0] == 0  # its own files: made anew where they differ
    assert damaged.read_bytes() == content and whole.stat().st_mtime_ns == time
    make(folder, 'rain/mine.wav', 'notes/x.txt')
    refused(['holds 3 entries', 'notes, notes/x.txt, rain/mine.wav', 'new folder'], 'make_demo_sounds.py', folder,
            '--clips-per-class', 1)
    assert (folder / 'rain' / 'mine.wav').read_bytes() == os.fsencode(folder / 'rain' / 'mine.wav')
    refused(['is a file'], 'make_demo_sounds.py', folder / 'notes' / 'x.txt')
    refused(['--clips-per-class 0', '--seed -3'], 'make_demo_sounds.py', tmp_path / 'new', '--clips-per-class', 0,
            '--seed', -3)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('script', ['index_us8k.py', 'index_asc.py', 'index_esc.py', 'index_folder.py', 'make_demo_sounds.py'])
def test_help(run, script, tmp_path):
    """In a process of its own from a foreign folder: the script itself finds the modules that it needs."""
    output = succeeded(run_script(script, '--help', data_folder=tmp_path, cwd=tmp_path, without_tensorflow=True))
    for part in (f'Usage: python aux/{script} ', '<folder>', 'Reads: ', 'Writes: '):
        assert part in output
    downloaded = {'index_us8k.py': 'us8k', 'index_asc.py': 'asc', 'index_esc.py': 'esc50'}.get(script)
    if downloaded:  # the folder is where download.py puts the data set
        code, output = run(script)
        assert code == 1 and f'{tmp_path}/data/audio/{downloaded}' in output and 'does not exist' in output and f'download.py {downloaded}' in output
    elif script != 'make_demo_sounds.py':
        assert run(script)[0] == 2  # the folder is required
