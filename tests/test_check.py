"""The check of a folder before anything is computed: check.py, and the search for near-duplicates."""
import io
import os
import re
import shutil
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import check as check_script
import commands
import near_duplicates
from commands import warm
from conftest import tone, write_sound
from shared import UserError

ESC10 = os.environ.get('ESC10')
RATE = near_duplicates.RATE


def chirps(seed, seconds=3.0, rate=RATE):
    """A sound with a fingerprint of its own: noise, and tones that come and go."""
    rng, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    sound = 0.01 * rng.normal(size=len(time))
    for _ in range(12):
        start, pitch = rng.uniform(0, seconds - 0.3), rng.uniform(200, 6000)
        sound += 0.2 * np.sin(2 * np.pi * pitch * time) * np.exp(-np.square((time - start) / 0.1))
    return sound.astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two classes of 10 good clips each."""
    for label in ('dog', 'rain'):
        for i in range(10):
            write_sound(tmp_path / f'sounds/{label}/{label}{chr(97 + i)}.wav', chirps(1000 * (label == 'dog') + i), RATE)
    return tmp_path / 'sounds'


def check(folder, tmp_path, *options):
    """Exit code, output, and the tables by name."""
    done = warm('check.py', folder, '--name', 'mine', *options, data_folder=tmp_path / 'data')
    tables = {path.stem: pd.read_csv(path, sep='\t', keep_default_na=False) for path in (tmp_path / 'data/check/mine').glob('*.tsv')}
    return done.returncode, done.stdout + done.stderr, tables


def findings(tables, severity):
    return ' '.join(tables['findings'].query('severity == @severity')['finding'])


def test_a_good_folder(folder, tmp_path):
    code, text, tables = check(folder, tmp_path)
    assert code == 0 and 'no problem was found' in text and 'possible: 5 folds; n up to 8 clips of every class' in text, text
    assert tables['classes'][['class', 'clips', 'recordings', 'longest']].values.tolist() == [['dog', 10, 10, 3], ['rain', 10, 10, 3]]
    assert len(tables['files']) == 20 and set(tables['files']['rate']) == {RATE} and tables['pairs'].empty
    assert re.search(r'`make own`: about \d+ min on two cores, \d+ MB', text)


def test_bad_files_are_named_by_what_is_wrong_with_them(folder, tmp_path):
    write_sound(folder / 'dog/silent.wav', np.zeros(RATE), RATE)
    write_sound(folder / 'dog/quiet.wav', 0.001 * chirps(7), RATE)
    write_sound(folder / 'dog/clipped.wav', np.clip(30 * chirps(8), -1, 1), RATE)
    write_sound(folder / 'dog/short.wav', chirps(9)[:1000], RATE)
    write_sound(folder / 'rain/stereo.wav', np.stack([tone(440, 1, 44100)] * 2, axis=1), 44100)
    (folder / 'rain/broken.wav').write_bytes(b'RIFF' + bytes(50))
    code, text, tables = check(folder, tmp_path)
    assert code == 2 and 'Traceback' not in text
    assert '1 files cannot be used' in findings(tables, 'error') and 'rain/broken.wav' in findings(tables, 'error')
    warnings = findings(tables, 'warning')
    for name, word in (('silent', 'silent'), ('clipped', 'clipped'), ('short', 'shorter than')):
        assert re.search(rf'1 files are {word}[^:]*: dog/{name}.wav', warnings), warnings
    assert 'dog/quiet.wav' in findings(tables, 'note') and 'channels' in findings(tables, 'note') and 'sample rates differ' in text


@pytest.mark.parametrize('rate', [RATE, 44100])
def test_flipped_bits_of_float_samples(folder, tmp_path, rate):
    """One sample far beyond full scale; the tables are about all files nevertheless."""
    sound = chirps(7, rate=rate)
    sound[1000] = 1e38
    write_sound(folder / 'dog/flipped.wav', sound, rate, subtype='FLOAT')
    code, text, tables = check(folder, tmp_path)
    assert code == 2 and 'Traceback' not in text and 'Warning' not in text, text
    assert re.search('1 files cannot be used .*not finite.*: dog/flipped.wav', findings(tables, 'error'))
    assert len(tables['files']) == 21 and (tables['files']['problem'] != '').sum() == 1


def test_the_same_sound_in_two_classes_and_near_duplicates(folder, tmp_path):
    shutil.copy(folder / 'dog/doga.wav', folder / 'rain/copy.wav')
    samples, _ = soundfile.read(folder / 'dog/dogb.wav')
    write_sound(folder / 'dog/louder.wav', 1.7 * samples, RATE)
    write_sound(folder / 'dog/cut.mp3', 0.5 * samples[5000:-3000], RATE)
    code, _, tables = check(folder, tmp_path)
    assert code == 2 and '1 pair of identical files in two classes: dog/doga.wav = rain/copy.wav' in findings(tables, 'error')
    pairs = tables['pairs']
    near = {frozenset(pair) for pair in pairs[pairs['kind'] == 'near-duplicate'][['file', 'other']].values.tolist()}
    same = {'dog/dogb.wav', 'dog/louder.wav', 'dog/cut.mp3'}
    assert near == {frozenset({a, b}) for a in same for b in same if a < b}
    assert '3 pairs of near-duplicates, counted as different recordings' in findings(tables, 'warning')


def test_of_many_near_duplicates_not_all_pairs_are_counted(folder, tmp_path):
    sound, noise = chirps(7), np.random.default_rng(0)
    for i in range(14):
        write_sound(folder / f'dog/copy{chr(97 + i)}.wav', sound * (1 - i / 20) + noise.normal(0, 1e-4, len(sound)).astype(np.float32), RATE)
    _, _, tables = check(folder, tmp_path)
    count, = re.findall(r'at least (\d+) pairs of near-duplicates', findings(tables, 'warning'))
    assert int(count) == (tables['pairs']['kind'] == 'near-duplicate').sum()


def test_too_few_recordings_and_names_that_look_like_recordings(tmp_path):
    folder = tmp_path / 'sounds'
    for label in ('a', 'b'):
        for recording in range(5 if label == 'a' else 1):
            for take in range(3):
                sound = chirps(100 * (label == 'a') + 10 * recording + take)
                write_sound(folder / f'{label}/{label}-site{"klmno"[recording]}_{take}.wav', sound, RATE)
    _, text, tables = check(folder, tmp_path)
    assert 'file names look as if several clips were cut from one recording' in findings(tables, 'warning')
    code, text, tables = check(folder, tmp_path, '--group', r'(.*)_\d')
    assert code == 2 and 'only one recording of b' in findings(tables, 'error')
    assert tables['classes']['recordings'].tolist() == [5, 1]


def test_a_folder_that_cannot_be_used(tmp_path):
    for folder, message in ((tmp_path / 'none', 'does not exist'), (tmp_path, 'no class folders')):
        code, text, _ = check(folder, tmp_path)
        assert code == 2 and message in text and 'Traceback' not in text


@pytest.mark.skipif(not ESC10, reason='needs ESC10')
def test_variants_of_real_sounds_are_found():
    """Of ESC-10's clips at another level, cut and encoded again, nearly all are found; of different recordings, hardly any are."""
    files = sorted(Path(ESC10).glob('*/*.ogg'))[::10]
    rng = np.random.default_rng(0)
    prints, copies = [], []
    for path in files:
        samples, rate = soundfile.read(path, dtype='float32')
        prints.append(near_duplicates.fingerprint(resampled(samples, rate)))
        cut = samples[round(rng.uniform(0, 0.5) * rate):len(samples) - round(rng.uniform(0, 0.8) * rate)]
        file = io.BytesIO()
        soundfile.write(file, rng.uniform(0.1, 1) * cut, rate, format='MP3')
        file.seek(0)
        copies.append(near_duplicates.fingerprint(resampled(soundfile.read(file, dtype='float32')[0], rate)))
    pairs = {(i, j) for i, j, _ in near_duplicates.find(prints + copies)}
    assert sum((i, len(files) + i) in pairs for i in range(len(files))) >= 0.9 * len(files)
    assert sum(j - i != len(files) and (i % len(files)) != (j % len(files)) for i, j in pairs) <= 0.05 * len(files)


def resampled(samples, rate):
    from audio import resample
    return resample(samples, rate, RATE, 'soxr_mq')


def test_samples_at_the_scale_of_integers_are_not_called_clipped(folder, tmp_path):
    write_sound(folder / 'dog/integers.wav', 30000 * chirps(12) / np.abs(chirps(12)).max(), RATE, subtype='FLOAT')
    write_sound(folder / 'dog/hot.wav', np.clip(30 * chirps(13), -1.2, 1.2), RATE, subtype='FLOAT')  # as of an MP3 encoder
    code, text, tables = check(folder, tmp_path)
    warnings = findings(tables, 'warning')
    assert code == 3 and re.search('1 files have samples beyond full scale, the largest is 30000 where 1 is full scale: dog/integers.wav', warnings)
    assert '1 files are clipped: dog/hot.wav' in warnings and 'divide the samples by 32768' in text


def test_a_name_stays_below_the_data_folder(folder, tmp_path):
    for name in ('../../x', '-x', '.', ''):
        commands.refused(warm('check.py', folder, f'--name={name}', data_folder=tmp_path / 'data'), f'--name {name!r}')
    assert not (tmp_path / 'data').exists() and not (tmp_path / 'x').exists()


def test_memory_for_long_recordings(tmp_path):
    """Little more than the decoded samples and their mean over channels."""
    sound = np.random.default_rng(0).normal(0, 0.1, (180 * 48000, 2)).astype(np.float32)
    sound[5, 1] = -0.9995
    path = write_sound(tmp_path / 'long.wav', sound, 48000, subtype='FLOAT')
    tracemalloc.start()
    found, _ = check_script.measure_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * sound.nbytes
    assert found['peak'] == np.float32(0.9995) and found['clipped'] == pytest.approx(1 / sound.size)
    assert found['level'] == pytest.approx(10 * np.log10(np.square(sound, dtype=np.float64).mean()), abs=1e-9)


def test_a_killed_process_is_an_error(monkeypatch, tmp_path):
    """As when memory runs out."""
    monkeypatch.setattr(check_script, 'measure_file', end_this_process)
    with pytest.raises(UserError, match='a process was killed, perhaps because memory ran out: .*LOKY_MAX_CPU_COUNT=1'):
        check_script.measure(tmp_path, ['a.wav', 'b.wav'])


def end_this_process(path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_channels_that_cancel_each_other_are_an_error(folder, tmp_path):
    """As in preprocess.py, which would refuse the file."""
    sound = chirps(11)
    write_sound(folder / 'dog/phase.wav', np.stack([sound, -sound], axis=1), RATE)
    code, _, tables = check(folder, tmp_path)
    assert code == 2 and 'out of phase' in findings(tables, 'error') and 'dog/phase.wav' in findings(tables, 'error')
