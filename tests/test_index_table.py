"""Labels from tables: aux/index_table.py, and clips that are parts of long recordings."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'aux'))
from audio import decode, decode_segment, seconds_of
from classifier import COLUMNS
from commands import refused, succeeded, warm
from index_table import Sounds
from representation import Representation
from shared import UserError, array_name, content_digest, in_seconds, read_index, read_recordings, split_segment

RATE = 22050
TONES = {'low': 300, 'high': 4000}


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Three recordings of 12 s: two seconds of one tone, two of the other, in turn. Returns their folder."""
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path / 'data'))
    folder = tmp_path / 'field'
    folder.mkdir()
    time = np.arange(2 * RATE) / RATE
    for number, suffix in enumerate(('wav', 'flac', 'mp3')):
        parts = [np.sin(2 * np.pi * (tone + 20 * number) * time) for _ in range(3) for tone in TONES.values()]
        soundfile.write(folder / f'r{number}.{suffix}', 0.4 * np.concatenate(parts), RATE)
    return folder


def spans():
    """(start, end, label) of the six parts, a little inside them."""
    return [(2 * i + 0.25, 2 * i + 1.75, list(TONES)[i % 2]) for i in range(6)]


def audacity(path):
    path.write_text(''.join(f'{a:.6f}\t{b:.6f}\t{label}\n\\\t100.0\t5000.0\n' for a, b, label in spans()))


def raven(path):
    head = 'Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n'
    path.write_text(head + ''.join(f'{i}\tSpectrogram 1\t1\t{a}\t{b}\t0\t9000\t{label}\n' for i, (a, b, label) in enumerate(spans(), 1)))


def csv(path, name):
    path.write_text('file,start,end,label\n' + ''.join(f'{name},{a},{b},{label}\n' for a, b, label in spans()))


def test_annotations_become_clips_without_cutting(recordings, tmp_path):
    audacity(recordings / 'r0.txt')
    raven(recordings / 'r1.Table.1.selections.txt')
    csv(recordings / 'third.csv', 'r2.mp3')
    files = {path.name for path in recordings.iterdir()}
    done = succeeded(warm('index_table.py', recordings, 'night', '--annotations', '--folds', 'auto', data_folder=tmp_path / 'data'))
    assert 'recordings: 3 in 3 files with 18 clips' in done and 'cross-validation: 3 folds, 2 times' in done
    succeeded(warm('preprocess.py', 'spec', 'dataset=night', 'resample_sr=22050', data_folder=tmp_path / 'data'))
    assert {path.name for path in recordings.iterdir()} == files
    arrays = Representation('audio_representation/night__time-freq', 'night')
    assert len(set(read_recordings('night').values())) == 3 and len(arrays.paths) == 18
    for key, audio in arrays.audio.items():  # the loudest band is that of the label's tone
        file, (start, end) = split_segment(audio)
        spectrogram = arrays.open(key)
        label = next(label for a, b, label in spans() if a == start)
        assert len(spectrogram) == 1 + round((end - start) * RATE) // 1024
        assert (spectrogram.mean(axis=0).argmax() > 60) == (label == 'high'), audio
        assert arrays.paths[key].endswith(f'/{file.stem}__{start:g}-{end:g}.npy')
    for fold in range(6):  # no recording is on both sides
        sets = [{read_recordings('night')[line.split('\t')[0]] for line in
                 (tmp_path / f'data/index/night/gt_night_fold{fold}_{part}.tsv').read_text().splitlines()} for part in ('train', 'test')]
        assert sets[0] and sets[1] and not sets[0] & sets[1]


@pytest.mark.parametrize('name', ['r0.wav', 'r1.flac', 'r2.mp3'])
def test_a_part_is_the_part_of_the_whole(recordings, name):
    whole, rate = decode(recordings / name)
    part, of_part = decode(f'{recordings / name}#t=2.25,3.75')
    assert of_part == rate and len(part) == round(1.5 * rate)
    np.testing.assert_array_equal(part, whole[round(2.25 * rate):][:len(part)])
    assert seconds_of(f'{recordings / name}#t=2.25,3.75') == 1.5
    with pytest.raises(UserError, match='is not a part of a recording of 12'):
        decode_segment(recordings / name, 11, 13)


def test_names_and_digests_of_parts(recordings):
    a, b = (recordings / f'r0.wav#t={span}' for span in ('1,2', '1,2.5'))
    assert array_name('x/r0.wav#t=1,2.5') == 'x/r0__1-2.5' and array_name('x/r0.b.wav') == 'x/r0.b'
    assert content_digest(a) == content_digest(recordings / 'r0.wav') + '#1,2' != content_digest(b)
    assert split_segment('a#t=1,2.wav')[1] is None
    assert [in_seconds(time) for time in (36000.25, 0.00002, 1234567.0, 10.0, 0.0)] == ['36000.25', '0.00002', '1234567', '10', '0']


def test_labels_of_files(recordings, tmp_path):
    sounds = tmp_path / 'clips'
    sounds.mkdir()
    for i in range(8):
        soundfile.write(sounds / f'c{i}.wav', np.random.default_rng(i).normal(0, 0.1, 4000), RATE)
    table = tmp_path / 'labels.csv'
    table.write_text('file,label,who\n' + ''.join(f'c{i}.wav,{"ab"[i % 2]},me\n' for i in range(8)))
    done = succeeded(warm('index_table.py', sounds, 'files', '--labels', table, data_folder=tmp_path / 'data'))
    assert '8 clips, 2 classes' in done
    table.write_text('file,label\nc0.wav,a\nc9.wav,b\n')
    refused(warm('index_table.py', sounds, 'files', '--labels', table, data_folder=tmp_path / 'data'), 'line 3', "'c9.wav' is no sound file")


@pytest.mark.parametrize('text, message', [
    ('1\t0.5\tlow\n', 'expected start and end in seconds'),
    ('0.5\t0.5\tlow\n', 'add --around'),
    ('0.5\t1.5\t\n', 'the label is empty'),
    ('start\tstop\tlabel\n1\t2\tlow\n', 'needs columns for start, end and label'),
    ('0\t1\tlow\n2\t3\tlow\n', 'name 1 class'),
    ('0\t1\tlow\n0\t1\thigh\n', 'a clip has one class'),
    ('0\t1\tlow\n1\t1e400\thigh\n', "r0.txt, line 2: expected start and end in seconds, 0 <= start <= end, found '1' and '1e400'"),
    ('', 'r0.txt is empty: correct the table. All .txt, .tsv and .csv files of the folder are read: to read some of them, name them after '
         '--annotations'),
])
def test_bad_annotations(recordings, tmp_path, text, message):
    (recordings / 'r0.txt').write_text(text)
    refused(warm('index_table.py', recordings, 'night', '--annotations', data_folder=tmp_path / 'data'), message)


def test_the_index_of_another_folder_is_not_replaced(recordings, tmp_path):
    for path in sorted(recordings.glob('r*')):
        audacity(path.with_suffix('.txt'))
    succeeded(warm('index_table.py', recordings, 'night', '--annotations', data_folder=tmp_path / 'data'))
    other = tmp_path / 'other'
    recordings.rename(other)
    command = 'index_table.py', other, 'night', '--annotations'
    refused(warm(*command, data_folder=tmp_path / 'data'), 'choose another name', '--replace')
    succeeded(warm(*command, '--replace', data_folder=tmp_path / 'data'))


def clips_of(name, tmp_path):
    """The clips of an index and their classes: dictionary path -> class."""
    index = tmp_path / f'data/index/{name}'
    classes = (index / f'classes_{name}.txt').read_text().splitlines()
    truth, paths = ([line.split('\t') for line in (index / file).read_text().splitlines()]
                    for file in (f'all_clips_{name}.tsv', f'index_{name}_folds_all.tsv'))
    labels = {key: classes[json.loads(one_hot).index(1)] for key, one_hot in truth}
    return {path: labels[key] for key, path in paths}


def test_a_raven_table_over_several_files(recordings, tmp_path):
    """Begin times count from the first file; the place in the file is the offset. Each selection has a row for both views."""
    head = 'Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n'
    rows = [(view, 12 * number + a, 12 * number + b, file, a, label) for number, file in enumerate(('r0.wav', 'r1.flac'))
            for a, b, label in spans() for view in ('Waveform 1', 'Spectrogram 1')]
    (tmp_path / 'both.txt').write_text(head + ''.join(
        f'{i}\t{view}\t1\t{a}\t{b}\t{file}\t{offset}\t{label}\n' for i, (view, a, b, file, offset, label) in enumerate(rows, 1)))
    succeeded(warm('index_table.py', recordings, 'both', '--annotations', tmp_path / 'both.txt', '--folds', 2, data_folder=tmp_path / 'data'))
    assert clips_of('both', tmp_path) == {f'{file}#t={a},{b}': label for file in ('r0.wav', 'r1.flac') for a, b, label in spans()}


def test_a_label_track_belongs_to_the_sound_beside_it(tmp_path):
    """Also where another folder has a sound of this name. Hidden files are no tables."""
    for site, label in (('one', 'low'), ('two', 'high')):
        for night in 'ab':
            (tmp_path / f'field/{site}').mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / f'field/{site}/{night}.wav', np.random.default_rng([len(label), ord(night)]).normal(0, 0.1, 5 * RATE), RATE)
            (tmp_path / f'field/{site}/{night}.txt').write_text(f'1.0\t2.0\t{label}\n3.0\t4.0\t{label}\n')
            (tmp_path / f'field/{site}/._{night}.txt').write_bytes(bytes(range(256)))
    succeeded(warm('index_table.py', tmp_path / 'field', 'sites', '--annotations', '--folds', 2, data_folder=tmp_path / 'data'))
    assert clips_of('sites', tmp_path) == {f'{site}/{night}.wav#t={span}': label for site, label in (('one', 'low'), ('two', 'high'))
                                           for night in 'ab' for span in ('1,2', '3,4')}


def test_seconds_around_point_labels_end_with_the_recording(recordings, tmp_path):
    (recordings / 'r0.txt').write_text('0.5\t0.5\tlow\n6.0\t6.0\thigh\n11.5\t11.5\tlow\n')
    (recordings / 'r1.txt').write_text('1\t2\tlow\n3\t4\thigh\n')
    command = 'index_table.py', recordings, 'points', '--annotations'
    refused(warm(*command, data_folder=tmp_path / 'data'), '3 labels have no duration', '--around S')
    succeeded(warm(*command, '--around', 2, data_folder=tmp_path / 'data'))
    assert clips_of('points', tmp_path) == {'r0.wav#t=0,1.5': 'low', 'r0.wav#t=5,7': 'high', 'r0.wav#t=10.5,12': 'low',
                                            'r1.flac#t=1,2': 'low', 'r1.flac#t=3,4': 'high'}


def test_copies_of_a_recording_are_one_recording(tmp_path):
    """Their parts begin at slightly different times, so no two clips are the same."""
    folder = silent(tmp_path / 'field', *(f'r{i}.wav' for i in range(6)))
    for i in range(6):
        (folder / f'copy{i}.wav').write_bytes((folder / f'r{i}.wav').read_bytes())
        (folder / f'r{i}.txt').write_text('0.5\t1.5\tlow\n2.5\t3.5\thigh\n')
        (folder / f'copy{i}.txt').write_text('0.51\t1.51\tlow\n2.51\t3.51\thigh\n')
    command = 'index_table.py', folder, 'copies', '--annotations', '--folds', 3
    done = succeeded(warm(*command, data_folder=tmp_path / 'data'))
    assert 'recordings: 6 in 12 files with 24 clips' in done and '12 files have only 6 different contents' in done
    for options in ((), ('--group', '(.*)[.]wav')):
        succeeded(warm(*command, *options, data_folder=tmp_path / 'data'))
        index = read_index(tmp_path / 'data/index/copies/index_copies_folds_all.tsv')
        for fold in range(3):
            sets = [{split_segment(index[line.split('\t')[0]])[0].stem.removeprefix('copy').removeprefix('r') for line in
                     (tmp_path / f'data/index/copies/gt_copies_fold{fold}_{part}.tsv').read_text().splitlines()} for part in ('train', 'test')]
            assert sets[0] and sets[1] and not sets[0] & sets[1]
    (folder / 'copy0.txt').write_text('0.5\t1.5\thigh\n')
    refused(warm(*command, data_folder=tmp_path / 'data'), 'the same sound is in two classes', "copy0.wav#t=0.5,1.5' = 'r0.wav#t=0.5,1.5'")


def silent(folder, *paths):
    """Recordings of 5 s, each with a content of its own; returns the folder."""
    for i, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, np.full(5 * RATE, i / 100), RATE)
    return folder


def test_what_classify_writes_is_no_annotation(recordings, tmp_path):
    tables = [recordings / 'r0.txt', recordings / 'r2.txt']
    audacity(tables[0])
    audacity(tables[1])
    command = 'index_table.py', recordings, 'night', '--annotations'
    done = succeeded(warm(*command, data_folder=tmp_path / 'data'))
    assert done.splitlines()[:2] == [f'{table}: 6 clip(s)' for table in tables]
    row = ['r1.flac', '0', '2', 'low', '0.9', 'low', 'high', '0.1']
    for columns in (COLUMNS, COLUMNS[:5]):  # of windows, and of events
        (recordings / 'out.csv').write_text(','.join(columns) + '\n' + ','.join(row[:len(columns)]) + '\n')
        refused(warm(*command, data_folder=tmp_path / 'data'), 'out.csv has the column probability, as tables of classify.py have',
                'remove that column', 'name them after --annotations')
    assert succeeded(warm(*command, *tables, data_folder=tmp_path / 'data')) == done


@pytest.mark.parametrize('name, found', [
    ('day1/000.wav', 'day1/000.wav'), ('day1/000', 'day1/000.wav'), ('000', 'day1/000.wav'), ('000.wav', 'day1/000.wav'),
    ('/home/me/field/day1/000.wav', 'day1/000.wav'), ('C:\\field\\day1\\000.wav', 'day1/000.wav'), ('field/day1/000', 'day1/000.wav'),
    ('y/one.wav', 'x/y/one.wav'), ('y/one', 'x/y/one.wav'), ('two.wav', 'two.wav'), ('elsewhere/two.wav', 'two.wav'),
    ('day2/000.wav', None), ('day2/000', None), ('/home/me/field/day2/000.wav', None), ('D:\\day2\\000.wav', None), ('x/one.wav', None),
])
def test_a_name_with_folders_means_no_sound_of_another_folder(tmp_path, name, found):
    sounds = Sounds(silent(tmp_path, 'day1/000.wav', 'day2/001.wav', 'x/y/one.wav', 'two.wav', 'day1/two.wav'))
    if found:
        assert sounds.find(name, 'here') == found
    else:
        with pytest.raises(UserError, match='here: .* is no sound file in the folder'):
            sounds.find(name, 'here')


def test_labels_and_annotations_of_a_missing_recording_go_to_no_other(tmp_path):
    """day2/000.wav is gone; day1 has a recording of that name."""
    folder = silent(tmp_path / 'field', 'day1/000.wav', 'day1/001.wav', 'day2/001.wav', 'day2/002.wav')
    table = tmp_path / 'labels.csv'
    table.write_text('file,label\nday1/001.wav,a\nday2/000.wav,b\n')
    refused(warm('index_table.py', folder, 'days', '--labels', table, data_folder=tmp_path / 'data'), "line 3: 'day2/000.wav' is no sound file")
    table.write_text('file,start,end,label\nday1/001.wav,0,1,a\nday2/000.wav,0,1,b\n')
    refused(warm('index_table.py', folder, 'days', '--annotations', table, data_folder=tmp_path / 'data'), "line 3: 'day2/000.wav' is no sound file")
    track = folder / 'day2/000.txt'
    track.write_text('0\t1\ta\n')  # a label track belongs to the sounds that it lies beside
    refused(warm('index_table.py', folder, 'days', '--annotations', track, data_folder=tmp_path / 'data'), "'000' is no sound file")
    (folder / 'tracks').mkdir()
    track.rename(folder / 'tracks/000.txt')  # in a folder without sounds, it is of the only sound of its name
    assert Sounds(folder).find('000', 'here', Path('tracks')) == 'day1/000.wav'


def test_one_file_under_two_names_is_named_twice(tmp_path):
    folder = silent(tmp_path / 'field', 'day1/000.wav', 'day1/001.wav')
    (tmp_path / 'labels.csv').write_text('file,label\n000.wav,a\nday1/001.wav,b\nday1/000.wav,a\n')
    refused(warm('index_table.py', folder, 'days', '--labels', tmp_path / 'labels.csv', data_folder=tmp_path / 'data'),
            'labels.csv, line 4: day1/000.wav was named before', 'line 2)')


def test_minus_zero_is_the_beginning(recordings, tmp_path):
    (recordings / 'r0.txt').write_text('-0.0\t1\tlow\n1\t2\thigh\n')
    head = 'Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n'
    (recordings / 'r1.txt').write_text(f'{head}12\t13\tr1.flac\t-0\thigh\n13\t14\tr1.flac\t1\tlow\n')
    succeeded(warm('index_table.py', recordings, 'zero', '--annotations', data_folder=tmp_path / 'data'))
    assert clips_of('zero', tmp_path) == {'r0.wav#t=0,1': 'low', 'r0.wav#t=1,2': 'high', 'r1.flac#t=0,1': 'high', 'r1.flac#t=1,2': 'low'}


@pytest.mark.parametrize('label', ['do\ng', 'do\tg', 'do\u2028g'])
def test_a_label_is_one_line(tmp_path, label):
    folder = silent(tmp_path / 'field', 'a.wav', 'b.wav')
    (tmp_path / 'labels.csv').write_text(f'file,label\na.wav,"{label}"\nb.wav,rain\n')
    done = warm('index_table.py', folder, 'lines', '--labels', tmp_path / 'labels.csv', data_folder=tmp_path / 'data')
    refused(done, f'the label {label!r} has a tab or a line break')


@pytest.mark.parametrize('labels, message', [(('a', '', 'b', 'b'), 'line 3: the label is empty'), (('Dog', 'dog', 'rain', 'rain'), 'look alike'),
                                             (('a', 'a', 'b', 'b'), 'line 6: c0.wav was named before')])
def test_labels_that_are_no_classes(tmp_path, labels, message):
    for i in range(4):
        (tmp_path / 'clips').mkdir(exist_ok=True)
        soundfile.write(tmp_path / f'clips/c{i}.wav', np.random.default_rng(i).normal(0, 0.1, 4000), RATE)
    lines = [f'c{i}.wav,{label}\n' for i, label in enumerate(labels)] + ['c0.wav,a\n'] * ('before' in message)
    (tmp_path / 'labels.csv').write_text('file,label\n' + ''.join(lines))
    done = warm('index_table.py', tmp_path / 'clips', 'files', '--labels', tmp_path / 'labels.csv', '--min-clips', 1, data_folder=tmp_path / 'data')
    refused(done, message)
    assert 'archive' not in done.stderr
