"""Classifiers for new recordings: fit.py, classify.py, export.py, from Python, and their modules by another way."""
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.special import softmax

import audio
import calibration
import classifier
import commands
import embeddings
from commands import ROOT, experiments, models, refused, succeeded, warm
from conftest import tone, write_sound
from shared import UserError
from test_frozen import check_decisions, checkpoint, data  # noqa: F401


def read_csv(path):
    return pd.read_csv(path, keep_default_na=False)


@pytest.fixture
def here(data, monkeypatch):  # noqa: F811
    """The data folder, also for what runs in this process; without a folder of earlier tables."""
    monkeypatch.setenv('DATA_FOLDER', str(data))
    return data


# ---- streams and windows -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length, window, hop', [(1000, 100, 50), (1000, 100, 70), (1049, 100, 50), (99, 100, 50), (100, 100, 50), (130, 100, 100),
                                                 (1000, 100, 150), (1, 10, 5)])
def test_windows_are_parts_of_the_stream(length, window, hop):
    samples, rng = np.arange(length, dtype=np.float32), np.random.default_rng(length)
    cuts = np.sort(rng.integers(0, length, 7))
    found = list(classifier.windows(iter(np.split(samples, cuts)), window, hop))
    for start, part in found:
        np.testing.assert_array_equal(part, samples[start:start + window])
    starts = [start for start, _ in found]
    last = max(0, length - window)
    regular = list(range(0, last + 1, hop))
    assert starts == regular + ([last] if regular[-1] < last else [])


@pytest.mark.parametrize('name, rate', [('a.wav', 44100), ('a.flac', 22050), ('a.mp3', 44100), ('a.ogg', 48000), ('a.wav', 32000), ('a.wav', 11025)])
def test_a_stream_is_what_read_audio_gives(tmp_path, name, rate):
    stereo = np.stack([tone(440, 13.3, rate), 0.5 * tone(1000, 13.3, rate)], axis=1)
    path = write_sound(tmp_path / name, stereo + 0.01 * np.random.default_rng(0).normal(size=stereo.shape), rate)
    whole, _ = audio.read_audio(path, 32000)
    blocks = list(audio.stream(path, 32000))
    assert len(blocks) > 2 and max(map(len, blocks)) < 6 * 32000
    parts = np.concatenate(blocks)
    assert abs(len(parts) - len(whole)) <= 1
    shared = min(len(parts), len(whole))
    np.testing.assert_allclose(parts[:shared], whole[:shared], atol=2e-5)


def test_streams_refuse_what_files_refuse(tmp_path):
    path = write_sound(tmp_path / 'a.wav', tone(440, 12, 8000), 8000)
    (tmp_path / 'cut.wav').write_bytes(path.read_bytes()[:100_000])
    (tmp_path / 'text.wav').write_text('no sound at all')
    write_sound(tmp_path / 'nan.wav', np.full(80000, np.nan, np.float32), 8000, subtype='FLOAT')
    phases = tone(440, 12, 8000)
    write_sound(tmp_path / 'phase.wav', np.stack([phases, -phases], axis=1), 8000)
    for name, message in (('cut', 'truncated'), ('text', 'not readable'), ('nan', 'NaN'), ('phase', 'out of phase'), ('none', 'does not exist')):
        with pytest.raises(UserError, match=message):
            list(audio.stream(tmp_path / f'{name}.wav', 16000))


def test_events_do_not_overlap_and_leave_out_what_is_nothing():
    answers = ['a', 'a', classifier.NONE, 'b', 'a', 'a']
    rows = pd.DataFrame({'start': np.arange(6.) * 2, 'end': np.arange(6.) * 2 + 4, 'class': answers, 'probability': [0.9, 0.7, 0.5, 0.8, 1, 0.6]})
    found = classifier.events(rows)
    assert found.to_numpy().tolist() == [[0, 5, 'a', 0.8], [7, 9, 'b', 0.8], [9, 14, 'a', 0.8]]


# ---- calibration -------------------------------------------------------------------------------------------------------

def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, (20000, 4))
    p = softmax(values / 2.5, axis=1)
    labels = (p.cumsum(axis=1) > rng.random((20000, 1))).argmax(axis=1)
    assert abs(calibration.fit_temperature(values, labels) - 2.5) < 0.1
    found = calibration.calibrate(values, labels, np.arange(20000) % 5, 0.9, similarities=True)
    assert found['calibration_error_after'] < 0.02 < 0.1 < found['calibration_error_before']
    assert abs(np.mean(values.max(axis=1) >= found['threshold']) - 0.9) < 0.001


def test_calibration_error_by_hand():
    p = np.array([[0.95, 0.05], [0.92, 0.08], [0.62, 0.38], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 0])
    # 0.9 to 1: confidence 0.935, half are right; 0.6 to 0.7: 0.62, right; 0.7 to 0.8: 0.7, wrong
    assert calibration.calibration_error(p, labels) == pytest.approx((2 * abs(0.935 - 0.5) + abs(0.62 - 1) + 0.7) / 4)


def test_labels_that_are_all_right_do_not_make_probabilities_of_1():
    values = np.eye(3)[np.arange(30) % 3]
    p = calibration.probabilities(values, calibration.fit_temperature(values, np.arange(30) % 3))
    assert 0.9 < p.max() < 1 - 1e-3


# ---- the decisions of experiments --------------------------------------------------------------------------------------

EXPERIMENTS = {
    'sl': ('sl_train.py', 'spec', 'epochs=4', 'model_number=2', 'normalize=train'),
    'proto': ('proto.py', 'spec', 'max_epochs=1', 'filters=4'),
    'transfer proto': ('transfer_proto.py', 'mn04', 'max_epochs=1', 'save_weights=True'),
}


@pytest.mark.parametrize('name', ['sl', 'proto', pytest.param('transfer proto', marks=pytest.mark.long)])
def test_files_get_the_decisions_of_the_experiment(here, name, tmp_path):
    """Those of fine-tuned networks are in test_frozen.py."""
    script, *options = EXPERIMENTS[name]
    weights = [checkpoint(here, 'mn04')] if 'mn04' in options else []
    succeeded(warm(script, *options, 'dataset=tones', 'n_shot=2', *weights, data_folder=here))
    folder = experiments(here)[-1]
    if name == 'sl':
        succeeded(warm('sl_evaluate.py', folder.name, data_folder=here))
    check_decisions(folder.name, here, tmp_path)
    if name in ('sl', 'proto'):
        succeeded(warm('export.py', folder.name, '--seconds', 2, '--to', tmp_path / 'export', data_folder=here))
        assert (tmp_path / 'export/model.tflite').stat().st_size > 1000


def test_experiments_without_weights_are_refused(here):
    succeeded(warm('knn_mfcc.py', 'dataset=tones', 'n_shot=2', data_folder=here))
    refused(warm('classify.py', experiments(here)[-1].name, ROOT, data_folder=here), 'holds no weights', 'fit.py',
            'knn_mfcc.py keeps no model', 'python fit.py tones --method "knn_mfcc"')
    for options, message in ((['frozen.py', 'mn04'], 'fit.py tones --method "mn04 class mean"'),
                             (['transfer_train.py', 'mn04', 'epochs=1', 'save_weights=False'], 'train with save_weights=True')):
        succeeded(warm(*options, 'dataset=tones', 'n_shot=2', 'num_experiment_runs=1', checkpoint(here, 'mn04'), data_folder=here))
        refused(warm('classify.py', experiments(here)[-1].name, ROOT, data_folder=here), 'holds no weights', message)
    refused(warm('classify.py', 'nothing', ROOT, data_folder=here), "no classifier 'nothing'")


# ---- fit.py, classify.py, export.py ------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def fitted(data):  # noqa: F811
    """The data folder with the classifier `notes`: nearest class mean on mn04, with random weights."""
    text = succeeded(warm('fit.py', 'tones', '--method', 'mn04 class mean', '--name', 'notes', checkpoint(data, 'mn04'), data_folder=data))
    accepted = json.loads((data / 'classifiers/notes/classifier.json').read_text())['calibration']['accepted']
    assert f'threshold: {accepted:.0%} of the held-out clips are accepted' in text and 'next: python classify.py notes' in text
    return data


@pytest.fixture(scope='module')
def neighbours(data):  # noqa: F811
    """The data folder with the classifier `neighbours` on MFCC statistics, which tells the tones apart."""
    text = succeeded(warm('fit.py', 'tones', '--method', 'knn_mfcc', '--name', 'neighbours', data_folder=data))
    assert 'note: knn_mfcc gives all clips the same confidence' in text and 'threshold: 100% of the held-out clips are accepted' in text
    return data


@pytest.fixture
def recordings(tmp_path):
    """A folder with two short files, a long one, and one that is no sound."""
    folder, rng = tmp_path / 'new', np.random.default_rng(0)

    def noisy(pitch, seconds):  # as commands.make_sounds
        return 0.6 * tone(pitch, seconds) + 0.1 * rng.standard_normal(round(44100 * seconds))

    write_sound(folder / 'a high.wav', noisy(4500, 1.0))
    write_sound(folder / 'b low.flac', noisy(200, 1.0), 44100)
    write_sound(folder / 'deep/long.wav', np.concatenate([noisy(pitch, 8) for _ in range(3) for pitch in (4500, 200)]))
    (folder / 'broken.mp3').write_bytes(b'ID3' + bytes(2000))
    (folder / 'notes.txt').write_text('not a sound')
    return folder


def test_a_classifier_is_a_small_folder_that_can_be_moved(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path / 'elsewhere'))
    moved = shutil.copytree(fitted / 'classifiers/notes', tmp_path / 'moved')
    assert sum(path.stat().st_size for path in moved.iterdir()) < 100_000
    about = json.loads((moved / 'classifier.json').read_text())
    about['config']['checkpoint'] = '/gone/mn04.pt'
    (moved / 'classifier.json').write_text(json.dumps(about))
    with pytest.raises(UserError, match='download it with: python ../aux/download.py mn04'):
        classifier.load(str(moved))
    opened = classifier.load(str(moved), fitted.parent / 'mn04.pt')
    assert opened.classes == ['high', 'low', 'mid'] and opened.calibration['clips'] == 27
    with pytest.raises(UserError, match='does not hold the weights'):
        classifier.load(str(moved), fitted.parent / 'yamnet.h5')


@pytest.mark.parametrize('name', ['notes', 'neighbours'])
def test_a_classifier_that_was_copied_incompletely(fitted, neighbours, name, tmp_path):
    folder = shutil.copytree(fitted / 'classifiers' / name, tmp_path / 'copy')
    checkpoint, head, about = fitted.parent / 'mn04.pt', folder / 'head.npz', folder / 'classifier.json'
    whole, known = head.read_bytes(), json.loads(about.read_text())
    assert classifier.load(folder, checkpoint).classes == ['high', 'low', 'mid']
    for content in (whole[:len(whole) // 2], whole[:-1] + b'x', None):
        head.unlink() if content is None else head.write_bytes(content)
        with pytest.raises(UserError, match=r'copy is incomplete \(missing or damaged: head.npz\): copy the folder again'):
            classifier.load(folder, checkpoint)
    head.write_bytes(whole)
    for key in classifier.KEYS:
        about.write_text(json.dumps({name: value for name, value in known.items() if name != key}))
        with pytest.raises(UserError, match=rf'copy is incomplete \(missing or damaged: {key}\): copy the folder again'):
            classifier.load(folder, checkpoint)
    about.write_text(json.dumps({name: value for name, value in known.items() if name != 'files'}))  # as earlier versions wrote it
    assert classifier.load(folder, checkpoint).classes == ['high', 'low', 'mid']


def test_what_is_no_list_of_sounds_is_refused(neighbours, monkeypatch):
    monkeypatch.setenv('DATA_FOLDER', str(neighbours))
    opened = classifier.load('neighbours')
    for call in (opened.predict, embeddings.embed_files):
        for files, message in (('a.wav', r"expected a list of sound files, found 'a.wav': put it into a list, \['a.wav'\]"),
                               (Path('a.wav'), "found 'a.wav'"), ([], 'no sound file was named'), (iter(()), 'no sound file was named')):
            with pytest.raises(UserError, match=message):
                call(files)
    for clips, message in (([], 'expected a list of clips, .*, found none'), (np.zeros(100), r'found one of shape \(\)'),
                           ([np.zeros((100, 2))], r'found one of shape \(100, 2\)')):
        with pytest.raises(UserError, match=message):
            opened.predict_samples(clips)
    with pytest.raises(UserError, match="network='mn05' does not exist; there are: vggish, yamnet, mn04, mn10"):
        embeddings.embed_files(['a.wav'], 'mn05')


def test_held_out_scores_are_those_of_models_that_did_not_hear_the_clip(fitted, monkeypatch):
    """Temperature, threshold and accuracy from the folds' experiments, computed anew."""
    monkeypatch.setenv('DATA_FOLDER', str(fitted))
    tables = [pd.read_csv(models(folder)[0] / 'test_predictions.tsv', sep='\t') for folder in experiments(fitted)
              if (config := json.loads((folder / 'config.json').read_text()))['method'] == 'frozen' and config['n_shot'] == 'all']
    assert len(tables) == 3
    table = pd.concat(tables)
    assert sorted(table['id']) == list(range(27))
    known = classifier.load('notes').calibration
    assert known['accuracy'] == pytest.approx(table['correct'].mean())
    best = table[['score: high', 'score: low', 'score: mid']].max(axis=1)
    assert known['accepted'] == pytest.approx(np.mean(best >= known['threshold'] - 1e-6))
    assert known['accepted'] >= 0.95 and np.mean(best > known['threshold'] + 1e-6) < 0.97


def test_classify(neighbours, recordings, tmp_path):
    out, options = tmp_path / 'out.csv', []
    for kind in ('audacity', 'raven', 'timeline'):
        options += [f'--{kind}', tmp_path / kind]
    done = warm('classify.py', 'neighbours', recordings, '--csv', out, '--events', tmp_path / 'events.csv', '--threshold', -99, *options,
                data_folder=neighbours)
    assert done.returncode == 1 and '1 of 4 files could not be used' in done.stderr and 'broken.mp3' in done.stdout
    errors = read_csv(tmp_path / 'out.csv.errors.csv')
    assert errors['file'].tolist() == [str(recordings / 'broken.mp3')] and 'not readable' in errors['reason'][0]
    table = read_csv(out)
    assert table.columns.tolist() == classifier.COLUMNS and not list(tmp_path.glob('*.partial'))
    short = table[~table['file'].str.contains('long')]
    assert short[['start', 'end']].to_numpy().tolist() == [[0, 1], [0, 1]] and short['class'].tolist() == ['high', 'low']
    long = table[table['file'].str.contains('long')]
    hop = long['start'].diff().iloc[1]
    assert len(long) > 20 and long['end'].iloc[-1] == 48 and np.allclose(long['end'] - long['start'], 2 * hop, atol=1e-3)
    inside = long[(long['start'] % 8 < 8 - 2 * hop) & (long['start'] < 47)]
    assert (inside['class'] == np.where(inside['start'] // 8 % 2 == 0, 'high', 'low')).mean() > 0.9
    events = read_csv(tmp_path / 'events.csv')
    own = events[events['file'].str.contains('long')]
    assert (own['start'].iloc[1:].to_numpy() >= own['end'].iloc[:-1].to_numpy() - 1e-6).all()
    track = [line.split('\t') for line in (tmp_path / 'audacity/long.txt').read_text().splitlines()]
    assert len(track) == len(own) and float(track[0][0]) == 0 and re.fullmatch(r'high [01]\.\d\d', track[0][2])
    raven = pd.read_csv(tmp_path / 'raven/long.selections.txt', sep='\t')
    assert raven['Annotation'].tolist() == own['class'].tolist()
    assert raven['Begin Time (s)'].tolist() == pytest.approx(own['start'].tolist(), abs=1e-3)
    assert sorted(path.name for path in (tmp_path / 'timeline').iterdir()) == ['long.png']


def test_what_is_unlike_the_training_clips_is_none_of_the_classes(neighbours, recordings, tmp_path):
    warm('classify.py', 'neighbours', recordings / 'a high.wav', '--csv', tmp_path / 'a.csv', '--threshold', 2, data_folder=neighbours)
    row = read_csv(tmp_path / 'a.csv').iloc[0]
    assert row['class'] == classifier.NONE and row['best'] == 'high' and row['runner_up'] in ('low', 'mid')


def test_tables_that_cannot_be_written_are_refused_first(neighbours, recordings, tmp_path):
    refused(warm('classify.py', 'neighbours', recordings / 'a high.wav', '--csv', tmp_path, data_folder=neighbours), 'is a folder: name a file in it')


@pytest.fixture
def classify(neighbours):
    """A function that starts classify.py with the classifier `neighbours`."""
    return lambda *arguments: warm('classify.py', 'neighbours', *arguments, data_folder=neighbours)


@pytest.mark.parametrize('option, name, content', [
    ('--audacity', 'night.txt', '0.000000\t1.500000\trobin\n'),
    ('--audacity', 'night.txt', '0.000000\t1.000000\thigh 0.93\n1.000000\t1.500000\trobin\n'),  # a track of classify.py that was corrected
    ('--raven', 'night.selections.txt', 'Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\tSpectrogram 1\t1\t0.0\t1.5\trobin\n'),
    ('--timeline', 'night.png', 'a picture'),
    ('--csv', 'labels.csv', 'file,start,end,label\nnight.wav,0,1.5,robin\n'),
    ('--csv', 'table.csv.errors.csv', 'my,table\n'),
    ('--events', 'labels.csv', 'file,start,end,label\nnight.wav,0,1.5,robin\n'),
])
def test_files_of_others_are_not_replaced(classify, recordings, tmp_path, option, name, content):
    """The layout of docs/own_recordings.md: night.wav with night.txt."""
    field = tmp_path / 'field'
    write_sound(field / 'night.wav', tone(200, 1.0))
    (field / name).write_text(content)
    place = field if option in ('--audacity', '--raven', '--timeline') else field / name.removesuffix('.errors.csv')
    refused(classify(field / 'night.wav', option, place), f'{option}: {field / name} was not written by classify.py and would be lost: move it away')
    assert (field / name).read_text() == content


def test_own_outputs_are_replaced(classify, recordings, tmp_path):
    outputs = ['--csv', tmp_path / 'out.csv', '--events', tmp_path / 'events.csv', '--raven', tmp_path / 'tables', '--audacity', recordings,
               '--timeline', tmp_path / 'pictures']
    written = []
    for threshold in (-99, -99, 2):  # with the last one, there is no event
        (recordings / 'silent.txt').write_text('of another recording')
        done = classify(recordings, *outputs, '--threshold', threshold)
        assert '1 of 4 files could not be used' in done.stderr, done.stderr
        written.append({**commands.tree(tmp_path), **commands.tree(recordings)})
    assert written[0] == written[1] and written[0].keys() == written[2].keys() and b'1.000000\thigh 0.' in written[0]['a high.txt']
    assert written[2]['a high.txt'] == b'' and written[2]['silent.txt'] == b'of another recording'


def test_outputs_that_cannot_be_written_are_refused_before_the_work(classify, recordings, tmp_path):
    file, sound = tmp_path / 'afile', recordings / 'a high.wav'
    file.write_text('content')
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'gone.csv').symlink_to(tmp_path / 'nowhere')
    table = tmp_path / 'x.csv'
    before = sound.read_bytes()
    for options, message in (
            (['--events', file / 'e.csv'], f'--events: {file}/e.csv cannot be written (File exists'), (['--csv', file / 'deep/e.csv'], '--csv: '),
            (['--audacity', file], '--audacity: '), (['--raven', file], '--raven: '), (['--timeline', file], '--timeline: '),
            (['--csv', tmp_path / f'{"x" * 300}.csv'], 'File name too long'), (['--events', tmp_path], 'is a folder: name a file in it'),
            (['--csv', tmp_path / 'pipe'], 'is no regular file'), (['--events', tmp_path / 'gone.csv'], 'is no regular file'),
            (['--csv', sound], 'is one of the recordings'), (['--csv', tmp_path / 'new.WAV'], 'has the name of a sound file'),
            (['--csv', table, '--events', tmp_path / 'new/../x.csv'], 'is written by --csv, too'),
            (['--csv', table, '--events', tmp_path / 'x.csv.errors.csv'], 'is written by --csv, too'),
            (['--audacity', tmp_path, '--events', tmp_path / 'a high.txt'], '--audacity: ')):
        done = classify(sound, *options)
        refused(done, message)
        assert 'file(s), those above' not in done.stdout
    assert sound.read_bytes() == before and file.read_text() == 'content' and (tmp_path / 'pipe').is_fifo() and not table.exists()


def test_a_folder_is_searched_as_the_index_scripts_do_it(classify, recordings, tmp_path):
    """Linked folders are followed; a link to nothing, as git-annex leaves it, is not left out in silence."""
    folder = tmp_path / 'linked'
    folder.mkdir()
    (folder / 'deep').symlink_to(recordings / 'deep')
    (folder / 'high.wav').symlink_to(recordings / 'a high.wav')
    (folder / '.hidden.wav').symlink_to(tmp_path / 'nowhere.wav')
    succeeded(classify(folder, '--csv', tmp_path / 'out.csv'))
    assert read_csv(tmp_path / 'out.csv')['file'].unique().tolist() == [str(folder / 'deep/long.wav'), str(folder / 'high.wav')]
    (folder / 'annex.wav').symlink_to(tmp_path / 'nowhere.wav')
    refused(classify(folder), 'annex.wav', 'is a link to a file that does not exist: mend or remove it')


def test_a_file_name_that_is_not_valid_utf_8(neighbours, recordings, tmp_path):
    path = recordings / os.fsdecode(b'caf\xe9.wav')
    shutil.copy(recordings / 'a high.wav', path)
    done = warm('classify.py', 'neighbours', path, recordings / 'a high.wav', '--csv', tmp_path / 'out.csv', data_folder=neighbours)
    assert done.returncode == 1 and 'its name is not valid UTF-8: rename it' in done.stdout and '1 of 2 files could not be used' in done.stderr
    assert read_csv(tmp_path / 'out.csv')['best'].tolist() == ['high'] and 'caf' in read_csv(tmp_path / 'out.csv.errors.csv')['file'][0]


def test_names_of_files_are_unique():
    from classify import unique_name
    names, files = set(), [Path(f'/data/a.{suffix}') for suffix in ('wav', 'mp3', 'flac', 'ogg')] + [Path('/b/c/a.wav')]
    assert [unique_name(path, names) for path in files] == ['a', 'data_a', 'data_a_2', 'data_a_3', 'c_a']


def test_an_interrupted_command_continues(neighbours, recordings, tmp_path):
    """Files that are in the partial table are not read again; files that changed are."""
    command = 'classify.py', 'neighbours', recordings / 'a high.wav', recordings / 'b low.flac', '--csv', tmp_path / 'out.csv'
    first = succeeded(warm(*command, data_folder=neighbours))
    assert 'done already' not in first
    whole = (tmp_path / 'out.csv').read_bytes()
    # what a kill would leave: the rows of one file, and a half-written line
    script = ('import sys, runpy; sys.path[:0] = [{src!r}]; import classifier; real = classifier.Classifier.decisions\n'
              'def killed(self, *a, **k):\n    for i, item in enumerate(real(self, *a, **k)):\n        yield item\n        raise SystemExit(9)\n'
              'classifier.Classifier.decisions = killed; sys.argv = {argv!r}; runpy.run_path(sys.argv[0], run_name="__main__")')
    argv = [str(ROOT / 'src/classify.py'), *map(str, command[1:])]
    done = subprocess.run([sys.executable, '-c', script.format(src=str(ROOT / 'src'), argv=argv)], env=commands.environment(neighbours),
                          capture_output=True, text=True)
    assert done.returncode == 9 and (tmp_path / 'out.csv.partial').exists(), done.stderr
    with open(tmp_path / 'out.csv.partial', 'a') as file:
        file.write('["half a li')
    assert '1 of 2 files are done already' in succeeded(warm(*command, data_folder=neighbours))
    assert (tmp_path / 'out.csv').read_bytes() == whole


def test_the_table_is_kept_until_everything_is_written(neighbours, recordings, tmp_path, monkeypatch):
    """What comes after the table fails; the same command does not classify again."""
    import classify
    import shared
    monkeypatch.setenv('DATA_FOLDER', str(neighbours))
    plain = ['classify.py', 'neighbours', str(recordings / 'a high.wav')]
    command = [*plain, '--csv', str(tmp_path / 'out.csv'), '--audacity', str(tmp_path / 'labels')]
    monkeypatch.setattr(sys, 'argv', command)

    def full(path, text):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patched, pytest.raises(OSError, match='No space'):
        patched.setattr(classify, 'write_text', full)
        classify.main()
    text = succeeded(warm(*command, data_folder=neighbours))
    assert '1 of 1 files are done already' in text and not (tmp_path / 'out.csv.partial').exists()
    assert (tmp_path / 'labels/a high.txt').read_text().startswith('0.000000\t1.000000\thigh ')

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier.Classifier, 'decisions', interrupted)
    for options, told in ((plain, 'without --csv, the same command starts from the beginning'), (command, 'the same command continues')):
        monkeypatch.setattr(sys, 'argv', options)
        with pytest.raises(SystemExit) as end, contextlib.redirect_stderr(io.StringIO()) as printed:
            shared.run_script(classify.main)
        assert end.value.code == 130 and told in printed.getvalue()


def test_rows_belong_to_the_content_of_classifier_and_sound(neighbours, recordings, tmp_path, monkeypatch):
    from classify import Results
    monkeypatch.setenv('DATA_FOLDER', str(neighbours))
    folder, sound = shutil.copytree(neighbours / 'classifiers/neighbours', tmp_path / 'copy'), recordings / 'a high.wav'
    opened = classifier.load(folder)
    args = SimpleNamespace(csv=tmp_path / 'out.csv', window=None, hop=None, longest=None, threshold=None)
    rows = opened.predict([sound])
    Results(args, opened, [sound]).add(sound, rows)
    os.utime(folder / 'classifier.json')  # a moment after fit.py, its times still count as recent
    found = Results(args, opened, [sound])
    assert found.has(sound) and found.rows[str(sound)].equals(rows)
    begun = Results(args, opened, [sound])
    sound.write_bytes(sound.read_bytes() + b'more')
    begun.add(sound, rows)
    assert not Results(args, opened, [sound]).has(sound)
    Results(args, opened, [sound]).add(sound, rows)
    assert Results(args, opened, [sound]).has(sound)
    (folder / 'classifier.json').write_text((folder / 'classifier.json').read_text().replace('"made": "', '"made": "later than '))
    assert not Results(args, opened, [sound]).has(sound)


@pytest.mark.parametrize('options, message', [
    (['--kept', '0'], '--kept 0'), (['--method', 'VGG, validated'], 'choose --method "VGG"'),
    (['--method', 'magic'], "no method 'magic'"), (['--method', 'knn_mfcc', 'metric=x'], 'metric'),
    (['--name', '../../x'], "--name '../../x' becomes part of file names: use letters, digits"),
])
def test_bad_options_of_fit(fitted, options, message):
    refused(warm('fit.py', 'tones', *options, data_folder=fitted), message)


def test_an_interruption_leaves_the_old_classifier(neighbours, monkeypatch):
    import fit
    folder = neighbours / 'classifiers/neighbours'
    monkeypatch.setenv('DATA_FOLDER', str(neighbours))
    monkeypatch.setattr(sys, 'argv', ['fit.py', 'tones', '--method', 'knn_mfcc', '--name', 'neighbours'])
    (folder / 'notes.txt').write_text('about this classifier')
    (folder.parent / '.tmp-neighbours').mkdir(exist_ok=True)  # a killed process leaves that
    before = commands.tree(folder)

    def interrupted(self):
        assert (self.folder / 'head.npz').is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(classifier.Classifier, 'save', interrupted)
        fit.main()
    assert commands.tree(folder) == before and not list(folder.parent.glob('.tmp-*'))
    (folder / 'prototypes.npz').write_text('of another method')
    fit.main()
    assert commands.tree(folder).keys() == before.keys() and not list(folder.parent.glob('.tmp-*'))
    assert commands.tree(folder)['notes.txt'] == b'about this classifier'


def test_without_results_there_is_no_best_method(data, tmp_path):  # noqa: F811
    folder = commands.copy_of(commands.tones(), tmp_path / 'data')
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    refused(warm('fit.py', 'tones', data_folder=folder), 'no method was measured on tones', 'reproduce.py own datasets=tones')


def test_a_recommendation_by_results_on_earlier_sounds_is_told(data, tmp_path):  # noqa: F811
    folder = commands.copy_of(commands.tones(), tmp_path / 'data')
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    succeeded(warm('knn_mfcc.py', 'dataset=tones', 'fold=0', 'n_shot=all', 'num_experiment_runs=1', data_folder=folder))
    told = 'note: knn_mfcc was recommended by results on an earlier state of the data (other sounds or labels): compare the methods again'
    assert told not in succeeded(warm('fit.py', 'tones', data_folder=folder))
    sound = next((folder / 'audio').rglob('*.wav'))
    write_sound(sound, np.random.default_rng(0).normal(0, 0.1, 44100).astype(np.float32), 44100)
    assert told in succeeded(warm('fit.py', 'tones', data_folder=folder))


def test_the_share_of_background_sounds_that_are_rejected(data, tmp_path, monkeypatch):  # noqa: F811
    """Each sound counts alike, however many windows it has."""
    folder, sounds = tmp_path / 'data', commands.make_sounds(tmp_path / 'sounds')
    for number, seconds in enumerate((1, 1, 1, 40)):
        noise = np.random.default_rng(number).normal(0, 0.01 * 10 ** number, seconds * 44100).clip(-1, 1)
        write_sound(sounds / f'_background/noise{number}.wav', noise.astype(np.float32), 44100)
    done = succeeded(warm('index_folder.py', sounds, 'field', '--folds', 2, data_folder=folder))
    assert 'background: 4 sounds that are of no class' in done and '27 clips, 3 classes' in done
    text = succeeded(warm('fit.py', 'field', '--method', 'mn04 class mean', checkpoint(data, 'mn04'), data_folder=folder))
    monkeypatch.setenv('DATA_FOLDER', str(folder))
    decided = classifier.load('field').predict(sorted((sounds / '_background').iterdir()))
    assert len(decided) > 10
    share = decided.groupby('file')['class'].agg(lambda names: (names == classifier.NONE).mean()).mean()
    assert f', {share:.0%} of the background clips are rejected' in text


def test_settings_that_won_must_be_those_of_the_classifier(data, tmp_path):  # noqa: F811
    """The recommended accuracy would be that of another classifier."""
    folder = commands.copy_of(commands.tones(), tmp_path / 'data')
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    succeeded(warm('knn_mfcc.py', 'dataset=tones', 'n_shot=2', 'metric=euclidean', data_folder=folder))
    refused(warm('fit.py', 'tones', data_folder=folder), 'knn_mfcc was measured with metric=euclidean', 'add these as key=value',
            '--method "knn_mfcc"')
    for options in (['metric=euclidean'], ['--method', 'knn_mfcc', '--name', 'other']):
        assert 'classifier: ' in succeeded(warm('fit.py', 'tones', *options, data_folder=folder))


@pytest.mark.parametrize('method, options', [('knn_mfcc', []), ('proto', ['max_epochs=1', 'filters=4']), ('TIMBRE', ['epochs=2'])])
def test_other_methods(here, method, options, tmp_path):
    """Every kind of model is fitted to all clips, opened and applied."""
    succeeded(warm('fit.py', 'tones', '--method', method, '--name', method, *options, data_folder=here))
    opened = classifier.load(method)
    assert json.loads((opened.folder / 'classifier.json').read_text())['method'] == method
    p = opened.predict_samples([tone(6000, 1.0, opened.rate) if opened.rate > 12000 else tone(3000, 1.0, opened.rate), tone(200, 1.0, opened.rate)])
    assert p.shape == (2, 3) and np.allclose(p.sum(axis=1), 1)
    if method != 'knn_mfcc':  # its weights are those of a model that learned from all 27 clips
        learned = [folder for folder in here.glob('experiments/*/model_*') if len(commands.rows(folder / 'train_ids.tsv')) == 27]
        assert any(commands.same_weights(folder, opened.folder) for folder in learned)
    if method == 'knn_mfcc':  # a training clip is its own nearest neighbour: all 27 are in the classifier
        source = Path(json.loads((here / 'index/tones/source_tones.json').read_text())['audio_folder'])
        table = opened.predict(sorted(source.glob('*/*.wav')))
        assert (table['best'] == [Path(file).parent.name for file in table['file']]).all()


# ---- exported models ---------------------------------------------------------------------------------------------------

def example(name):
    """The Python example of docs/own_recordings.md below the heading `name`."""
    text = (ROOT / 'docs/own_recordings.md').read_text()
    return re.search(rf'{name}.*?```python\n(.*?)```', text, re.DOTALL)[1]


def test_exported_models_without_this_repository(fitted, tmp_path):
    """The example of the docs, in a process that cannot import TensorFlow or this repository."""
    text = succeeded(warm('export.py', 'notes', '--to', tmp_path / 'export', data_folder=fitted))
    assert text.count('of those of classify.py on 9 sounds') == 2
    about = json.loads((tmp_path / 'export/model.json').read_text())
    samples = tone(6000, about['length'] / about['rate'], about['rate'])
    soundfile.write(tmp_path / 'clip.wav', samples, about['rate'], subtype='FLOAT')
    done = subprocess.run([sys.executable, '-c', example('Exported')], cwd=tmp_path, capture_output=True, text=True,
                          env=commands.environment(fitted, PYTHONPATH=commands.folder_without_tensorflow()))
    assert done.returncode == 0, done.stderr
    opened = classifier.load(str(fitted / 'classifiers/notes'))
    expected = opened.predict_samples([samples])[0]
    found = dict(re.findall(r'(\w+) ([\d.]+)', done.stdout))
    assert {name: pytest.approx(p, abs=2e-3) for name, p in zip(opened.classes, expected)} == {name: float(p) for name, p in found.items()}


def test_an_export_that_cannot_be_written_leaves_no_mixture(fitted, tmp_path):
    """The largest file may have 1 MB, as on a full disk; the folder holds the export of an earlier classifier."""
    folder = tmp_path / 'export'
    (folder / 'saved_model').mkdir(parents=True)
    for name in ('saved_model/saved_model.pb', 'model.tflite', 'model.json', 'notes.txt'):
        (folder / name).write_text('of an earlier classifier')
    done = commands.run_script('export.py', 'notes', '--to', folder, data_folder=fitted, prefix=('bash', '-c', 'ulimit -f 1000; exec "$@"', 'bash'))
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith('error: saved_model could not be made: ') and '; model.tflite could not be made: [Errno 27] File too large' in error
    assert sorted(path.name for path in folder.iterdir()) == ['notes.txt']


def test_a_place_for_an_export_that_is_no_folder(neighbours, tmp_path):
    (tmp_path / 'file').write_text('')
    refused(warm('export.py', 'neighbours', '--to', tmp_path / 'file', data_folder=neighbours, without_tensorflow=True),
            f'the folder {tmp_path}/file cannot be made (File exists): name another one with --to')


def test_a_model_that_the_converter_refuses(fitted, tmp_path, monkeypatch):
    """The other one is written, and model.json belongs to it."""
    from tensorflow.lite.python.convert_phase import ConverterError

    import export

    def refuse(module, path):
        raise ConverterError('no such operation')

    monkeypatch.setenv('DATA_FOLDER', str(fitted))
    monkeypatch.setattr(sys, 'argv', ['export.py', 'notes', '--to', str(tmp_path)])
    monkeypatch.setattr(export, 'write_tflite', refuse)
    (tmp_path / 'model.tflite').write_text('of an earlier classifier')
    with pytest.raises(SystemExit, match='error: model.tflite could not be made: no such operation'):
        export.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.json', 'saved_model']


def test_the_python_example(fitted, recordings):
    code = example('From Python').replace('birds', 'notes').replace('/path/to/src', str(ROOT / 'src'))
    code = code.replace("['a.wav', 'b.wav']", repr([str(recordings / 'a high.wav'), str(recordings / 'b low.flac')]))
    code = code.replace("'mn04')", f"'mn04', {str(fitted.parent / 'mn04.pt')!r})")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=commands.environment(fitted))
    assert done.returncode == 0, done.stderr
    assert '(2, 384)' in done.stdout and re.search(r'runner_up', done.stdout)
