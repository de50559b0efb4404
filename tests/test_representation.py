"""Audio representations: exact values against librosa, and the files on disk through every way a run can go."""
import errno
import json
import os
import re
import time
import warnings

import librosa
import numpy as np
import pytest

import configuration
import representation
from conftest import CLASSES, make_dataset, tone, write_sound
from features import compute, cqt_magnitude, empty_bands, mel_basis, mel_spectrogram, mfcc_statistics, represent, sample_rate, stft_magnitude
from representation import Made, make_one, store
from shared import UserError, content_digest, read_rows, write_text

LENGTHS = [1, 7, 511, 512, 513, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 10000, 44100]


def configure(group, *arguments):
    """The configuration of a representation, as its script makes it."""
    defaults = {'type': 'mfcc'} if group == 'config_knn_mfcc' else {}
    return representation.complete(configuration.configure(group, *arguments), **defaults)


def noise(length):
    return np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)


def reference(function, *arguments, **options):
    """librosa's result, transposed, without its warning that a clip is shorter than a frame."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return function(*arguments, **options).T


# ---- values ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length', LENGTHS)
@pytest.mark.parametrize('rate, n_fft, hop, n_mels', [(44100, 1024, 1024, 128), (22050, 2048, 512, 40)])
def test_mel_is_librosas(length, rate, n_fft, hop, n_mels):
    samples = noise(length)
    ours = mel_spectrogram(samples, rate, n_fft, hop, n_mels)
    expected = reference(librosa.feature.melspectrogram, y=samples, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels)
    assert ours.shape == expected.shape == (1 + length // hop, n_mels) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize('rate, n_fft, n_mels', [(44100, 1024, 128), (44100, 2048, 128), (22050, 2048, 40), (16000, 401, 64), (1500, 256, 20),
                                                 (44100, 512, 256)])
def test_mel_bands_are_librosas_bit_for_bit(rate, n_fft, n_mels):
    expected = reference(librosa.filters.mel, sr=rate, n_fft=n_fft, n_mels=n_mels).T
    np.testing.assert_array_equal(mel_basis(rate, n_fft, n_mels).toarray(), expected)
    above = reference(librosa.filters.mel, sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=60).T
    np.testing.assert_array_equal(mel_basis(rate, n_fft, n_mels, 60).toarray(), above)
    settings = {'type': 'time-freq', 'spectrogram_type': 'mel', 'resample_sr': rate, 'n_fft': n_fft, 'n_mels': n_mels}
    assert empty_bands(settings) == sum(not band.any() for band in expected)
    assert empty_bands({**settings, 'spectrogram_type': 'stft'}) == 0


@pytest.mark.parametrize('frequency', [100, 440, 1000, 5000, 15000])
def test_a_tone_has_its_maximum_in_its_mel_band(frequency):
    edges = librosa.mel_frequencies(130, fmin=0, fmax=22050)  # band m is a triangle from edge m to m + 2 with its top at m + 1
    bands = mel_spectrogram(tone(frequency, 1), 44100, 1024, 1024, 128)[2:-2].argmax(axis=1)
    resolution = 44100 / 1024  # Hz
    assert len(set(bands)) == 1
    assert edges[bands[0]] - resolution < frequency < edges[bands[0] + 2] + resolution


def test_1_khz_is_between_the_edges_of_its_band():
    edges = librosa.mel_frequencies(130, fmin=0, fmax=22050)
    band = mel_spectrogram(tone(1000, 1), 44100, 1024, 1024, 128).mean(axis=0).argmax()
    assert edges[band] < 1000 < edges[band + 2]


@pytest.mark.parametrize('length', LENGTHS)
def test_stft_is_librosas(length):
    ours = stft_magnitude(noise(length), 1024, 512)
    assert ours.shape == (1 + length // 512, 513)
    np.testing.assert_array_equal(ours, reference(lambda y: np.abs(librosa.stft(y, n_fft=1024, hop_length=512)), noise(length)))


@pytest.mark.parametrize('length', [1000, 44100])
def test_cqt_is_librosas(length):
    ours = cqt_magnitude(noise(length), 44100, 1024, 84)
    expected = reference(lambda y: np.abs(librosa.cqt(y, sr=44100, hop_length=1024, n_bins=84)), noise(length))
    assert ours.shape == (1 + length // 1024, 84)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_cqt_begins_at_c1_with_12_bins_an_octave():
    loudness = cqt_magnitude(tone(440, 2), 44100, 1024, 84).mean(axis=0)
    assert loudness.argmax() == 12 * 3 + 9  # from C1 to A4


@pytest.mark.parametrize('length', [1, 500, 1023, 1024, 1025, 4000, 12000, 30000])
@pytest.mark.parametrize('n_mfcc', [20, 13])
def test_mfcc_statistics_plainly(length, n_mfcc):
    samples = noise(length)
    padded = np.concatenate([samples, np.zeros(max(0, 1024 - length), np.float32)])
    mfcc = reference(librosa.feature.mfcc, y=padded, sr=12000, n_mfcc=n_mfcc).astype(np.float64)  # its dense product rounds otherwise
    first = mfcc[1:] - mfcc[:-1]
    second = first[1:] - first[:-1]
    assert len(second) >= 1
    expected = np.concatenate([f(d, axis=0) for d in (mfcc, first, second) for f in (np.mean, np.std)])
    ours = mfcc_statistics(samples, 12000, n_mfcc)
    assert ours.shape == (6 * n_mfcc,)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3)  # of decibels


@pytest.mark.parametrize('options, shape', [
    ({}, (31, 128)), ({'spectrogram_type': 'stft'}, (31, 513)), ({'spectrogram_type': 'stft', 'n_fft': 512}, (31, 257)),
    ({'spectrogram_type': 'cqt'}, (31, 84)), ({'type': 'waveform'}, (30870, 1)), ({'hop': 512, 'n_mels': 40}, (61, 40)),
    ({'resample_sr': 22050}, (16, 128)), ({'type': 'waveform', 'resample_sr': 16000}, (11200, 1)), ({'type': 'mfcc'}, (120,)),
])
def test_shapes_types_and_layout(tmp_path, options, shape):
    path = write_sound(tmp_path / 'a.wav', tone(1000, 0.7), 44100)
    config = {**configure('config_preprocess', 'spec'), 'MFCC_number': 20, **options}
    array = compute(path, config)
    assert array.shape == shape and array.dtype == np.float32 and array.flags.c_contiguous


@pytest.mark.parametrize('spectrogram_type, length', [('mel', 1), ('mel', 1000), ('stft', 1), ('stft', 1000), ('cqt', 100),
                                                      ('cqt', 1000)])
def test_short_clips_have_a_spectrogram(tmp_path, spectrogram_type, length):
    """UrbanSound8K has clips below 0.1 s."""
    path = write_sound(tmp_path / 'a.wav', noise(length), 44100)
    array = compute(path, {**configure('config_preprocess', 'spec'), 'spectrogram_type': spectrogram_type})
    assert len(array) == 1 and np.isfinite(array).all() and array.max() > 0


def test_waveform_is_the_sound(tmp_path):
    samples = noise(1000)
    path = write_sound(tmp_path / 'a.wav', samples, 44100, subtype='FLOAT')
    np.testing.assert_array_equal(compute(path, {**configure('config_preprocess', 'spec'), 'type': 'waveform'})[:, 0], samples)


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_a_representation_that_is_not_finite_is_refused(tmp_path):
    path = write_sound(tmp_path / 'a.wav', np.full(5000, 1e25, np.float32), 44100, subtype='FLOAT')
    with pytest.raises(UserError, match='not finite'):
        compute(path, configure('config_preprocess', 'spec'))


@pytest.mark.parametrize('entry', ['spec', 'mn04', 'yamnet'])
def test_flipped_bits_of_float_samples_are_refused_without_a_warning(tmp_path, entry):
    config = configure('config_preprocess', entry, ['dataset=toy'])
    samples = noise(sample_rate(config))
    samples[1000] = 1e38
    path = write_sound(tmp_path / 'a.wav', samples, sample_rate(config), subtype='FLOAT')
    for function, sound in ((compute, path), (represent, samples)):
        with warnings.catch_warnings(action='error'), pytest.raises(UserError, match='representation is not finite.*far beyond full scale'):
            function(sound, config)


# ---- files -----------------------------------------------------------------------------------------------------------

CLIPS = [f'{name}/{number}' for name in CLASSES for number in range(5)]  # of make_dataset, in the order of ids


def settings(*overrides, **values):
    return {**configure('config_preprocess', 'spec', ['dataset=toy', 'num_processing_units=1', *overrides]), **values}


def folder_of(data_folder, identifier='toy', kind='time-freq'):
    return data_folder / 'audio_representation' / f'{identifier}__{kind}'


def times(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob('*.npy')}


def inodes(folder):
    """Which file is which: a file that was written again has another number."""
    return {str(path.relative_to(folder))[:-4]: path.stat().st_ino for path in folder.rglob('*.npy')}


def remade(before, folder):
    """Names of the arrays that are other files than before."""
    after = inodes(folder)
    return sorted(name for name in after if before.get(name) != after[name])


def keep_inodes(folder, aside):
    """Hard links keep the old files' numbers from being given out again; returns the numbers."""
    aside.mkdir(exist_ok=True)
    for number, path in enumerate(folder.rglob('*.npy')):
        os.link(path, aside / f'{time.monotonic_ns()}-{number}')
    return inodes(folder)


def names_in(path):
    return [row[1] for row in read_rows(path, 3, '').values()]


def leftovers(folder):
    return [path.name for path in folder.rglob('*') if path.name.startswith('.tmp')]


def test_mel_bands_that_are_always_0_are_told(data_folder, capsys):
    make_dataset(data_folder)
    store(settings())
    assert 'mel bands' not in capsys.readouterr().out
    store(settings('n_mels=400', 'identifier=many'))
    assert re.search(r'note: \d+ of 400 mel bands lie between two bins of the FFT and are always 0', capsys.readouterr().out)


def test_store_writes_what_is_promised(data_folder):
    audio = make_dataset(data_folder)
    assert store(settings()) == {}
    folder = folder_of(data_folder)
    rows = [f'{key}\taudio_representation/toy__time-freq/{clip}.npy\t{clip}.wav' for key, clip in enumerate(CLIPS)]
    assert (folder / 'index.tsv').read_text().splitlines() == rows
    assert (folder / 'index_0.tsv').read_text().splitlines() == rows
    config = json.loads((folder / 'config.json').read_text())
    expected = {'type': 'time-freq', 'spectrogram_type': 'mel', 'resample_sr': 44100, 'resampler': 'soxr_hq', 'hop': 1024,
                'n_fft': 1024, 'n_mels': 128, 'dataset': 'toy', 'convert_id': False, 'identifier': 'toy',
                'overrides': {'dataset': 'toy', 'num_processing_units': 1}}
    assert {key: config[key] for key in expected} == expected
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
    assert files == sorted(['config.json', 'index.tsv', 'index_0.tsv'] + [f'{clip}.npy' for clip in CLIPS])
    for clip in CLIPS:
        array = np.load(folder / f'{clip}.npy')
        assert array.dtype == np.float32 and array.shape == (13, 128) and array.flags.c_contiguous
        np.testing.assert_array_equal(array, compute(audio / f'{clip}.wav', settings()))


def test_several_processes_write_the_same(data_folder, monkeypatch):
    make_dataset(data_folder, train=6, test=6)
    monkeypatch.setattr(representation, 'FILES_PER_PROCESS', 4)
    store(settings(num_processing_units=2))
    store(settings('identifier=alone'))
    for clip in CLIPS:
        np.testing.assert_array_equal(np.load(folder_of(data_folder) / f'{clip}.npy'),
                                      np.load(folder_of(data_folder, 'alone') / f'{clip}.npy'))
    assert names_in(folder_of(data_folder) / 'index.tsv') == names_in(folder_of(data_folder, 'alone') / 'index.tsv')


def test_what_is_up_to_date_stays(data_folder, monkeypatch):
    make_dataset(data_folder)
    store(settings())
    folder = folder_of(data_folder)
    before, index = (times(folder), keep_inodes(folder, data_folder / 'aside')), (folder / 'index.tsv').read_bytes()
    monkeypatch.setattr(representation, 'compute', lambda *_: pytest.fail('computed again'))
    assert store(settings()) == {}
    assert (times(folder), inodes(folder)) == before
    assert (folder / 'index.tsv').read_bytes() == index


@pytest.mark.parametrize('seconds', [-100_000, -0.001, 0.001, 100_000])
def test_a_replaced_sound_older_or_newer_is_computed_again(data_folder, seconds):
    audio = make_dataset(data_folder)
    store(settings())
    folder, sound = folder_of(data_folder), audio / 'engine/2.wav'
    before, stamp = keep_inodes(folder, data_folder / 'aside'), sound.stat().st_mtime_ns + round(seconds * 1e9)
    write_sound(sound, tone(7000, 1.0), 44100)
    os.utime(sound, ns=(stamp, stamp))
    store(settings())
    assert remade(before, folder) == ['engine/2']
    np.testing.assert_array_equal(np.load(folder / 'engine/2.npy'), compute(sound, settings()))
    again = keep_inodes(folder, data_folder / 'aside')
    store(settings())
    assert inodes(folder) == again  # and is up to date from then on


def test_a_sound_replaced_with_its_times_kept_is_computed_again(data_folder):
    """As archives and deployments do that give all files one time; the new file has the same size, too."""
    audio = make_dataset(data_folder)
    for path in audio.rglob('*.wav'):
        os.utime(path, (315532800, 315532800))
    store(settings())
    folder = folder_of(data_folder)
    before, sound = keep_inodes(folder, data_folder / 'aside'), audio / 'engine/2.wav'
    size = sound.stat().st_size
    write_sound(sound, tone(7000, 0.3), 44100)
    os.utime(sound, (315532800, 315532800))
    assert sound.stat().st_size == size
    store(settings())
    assert remade(before, folder) == ['engine/2']


def test_sounds_that_were_only_copied_are_not_computed_again(data_folder):
    audio = make_dataset(data_folder)
    store(settings())
    before = keep_inodes(folder_of(data_folder), data_folder / 'aside')
    for path in audio.rglob('*.wav'):
        path.write_bytes(path.read_bytes())
    store(settings())
    assert remade(before, folder_of(data_folder)) == []


def test_a_sound_replaced_while_it_is_read_is_noticed(data_folder, monkeypatch):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)

    def slow(path, config):
        array = compute(path, config)
        if path == audio / 'a/0.wav':
            write_sound(path, tone(7000, 1.0))
            os.utime(path, ns=(10 ** 18, 10 ** 18))
        return array

    with monkeypatch.context() as patch:
        patch.setattr(representation, 'compute', slow)
        store(settings())
    store(settings())
    np.testing.assert_array_equal(np.load(folder_of(data_folder) / 'a/0.npy'), compute(audio / 'a/0.wav', settings()))


@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: content[:50], lambda content: content[:len(content) // 2], lambda content: content[:-1],
    lambda content: b'\0' * len(content), lambda content: b'text\n' * 100])
def test_a_damaged_array_is_made_again(data_folder, damage):
    make_dataset(data_folder)
    store(settings())
    folder = folder_of(data_folder)
    before, path = keep_inodes(folder, data_folder / 'aside'), folder / 'rain/4.npy'
    content, stamp = path.read_bytes(), path.stat().st_mtime_ns
    path.unlink()
    path.write_bytes(damage(content))
    os.utime(path, ns=(stamp, stamp))  # as if nothing had happened
    before['rain/4'] = path.stat().st_ino
    os.link(path, data_folder / 'aside' / 'damaged')
    store(settings())
    assert remade(before, folder) == ['rain/4'] and path.read_bytes() == content


def test_a_deleted_array_is_made_again(data_folder):
    make_dataset(data_folder)
    store(settings())
    folder = folder_of(data_folder)
    before = keep_inodes(folder, data_folder / 'aside')
    (folder / 'rain/4.npy').unlink()
    store(settings())
    assert remade(before, folder) == ['rain/4']


def test_a_dead_process_leaves_nothing_that_disturbs(data_folder):
    make_dataset(data_folder)
    folder = folder_of(data_folder)
    (folder / 'bird').mkdir(parents=True)
    (folder / 'bird' / '.tmp-0.npy').write_bytes(b'half')
    store(settings())
    assert leftovers(folder) == []
    assert len(names_in(folder / 'index.tsv')) == len(CLIPS)


# ---- several machines ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_three_machines_with_a_remainder_in_any_order(data_folder, order):
    make_dataset(data_folder, classes=['a', 'b'], train=2, test=2)  # 8 clips: 2, 2 and 4
    clips = [f'{name}/{number}.wav' for name in 'ab' for number in range(4)]
    parts = {0: clips[:2], 1: clips[2:4], 2: clips[4:]}
    folder = folder_of(data_folder)
    for number, machine in enumerate(order):
        assert not (folder / 'index.tsv').exists()
        store(settings('n_machines=3', f'machine_i={machine}'))
        assert names_in(folder / f'index_{machine}.tsv') == parts[machine]
        assert len(list(folder.rglob('*.npy'))) == sum(len(parts[m]) for m in order[:number + 1])
    assert names_in(folder / 'index.tsv') == clips
    assert list(read_rows(folder / 'index.tsv', 3, '')) == [str(i) for i in range(8)]


def test_another_number_of_machines_on_the_same_folder(data_folder):
    make_dataset(data_folder)
    for machine in range(3):
        store(settings('n_machines=3', f'machine_i={machine}'))
    folder = folder_of(data_folder)
    before = keep_inodes(folder, data_folder / 'aside')
    store(settings())
    assert inodes(folder) == before
    assert names_in(folder / 'index.tsv') == [f'{clip}.wav' for clip in CLIPS]


def test_index_waits_for_a_machine_that_had_nothing_but_refused_files(data_folder):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)  # 4 clips on 2 machines
    for name in ('a/0.wav', 'a/1.wav'):
        (audio / name).write_bytes(b'')
    folder = folder_of(data_folder)
    store(settings('n_machines=2', 'machine_i=1'))
    assert not (folder / 'index.tsv').exists()
    assert sorted(store(settings('n_machines=2', 'machine_i=0'))) == ['0', '1']
    assert names_in(folder / 'index.tsv') == ['b/0.wav', 'b/1.wav']
    assert not (folder / 'index_0.tsv').exists()
    assert list(read_rows(folder / 'errors_0.tsv', 3, '')) == ['0', '1']


@pytest.mark.parametrize('refused', [False, True])
def test_an_index_made_again_waits_for_all_machines(data_folder, refused):
    """What other machines left behind of the old index does not count, though the ids are the same."""
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    if refused:
        for number in range(2):
            (audio / f'b/{number}.wav').write_bytes(b'')
    for machine in range(2):
        store(settings('n_machines=2', f'machine_i={machine}'))
    folder = folder_of(data_folder)
    before = (folder / 'index.tsv').read_bytes()
    make_dataset(data_folder, classes=['c', 'd'], train=1, test=1)
    store(settings('n_machines=2', 'machine_i=0'))
    assert (folder / 'index.tsv').read_bytes() == before
    store(settings('n_machines=2', 'machine_i=1'))
    assert names_in(folder / 'index.tsv') == ['c/0.wav', 'c/1.wav', 'd/0.wav', 'd/1.wav']


def test_more_machines_than_clips(data_folder):
    make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    for machine in range(6):
        store(settings('n_machines=6', f'machine_i={machine}'))
    assert names_in(folder_of(data_folder) / 'index.tsv') == ['a/0.wav', 'a/1.wav', 'b/0.wav', 'b/1.wav']


# ---- other parameters ------------------------------------------------------------------------------------------------

def test_changed_parameters_are_refused_with_the_remedy(data_folder):
    make_dataset(data_folder)
    store(settings())
    folder = folder_of(data_folder)
    before, config = times(folder), (folder / 'config.json').read_bytes()
    with pytest.raises(UserError, match=r'n_mels=128 \(asked: 40\).*overwrite=True.*another identifier'):
        store(settings('n_mels=40'))
    assert times(folder) == before and (folder / 'config.json').read_bytes() == config
    assert len(names_in(folder / 'index.tsv')) == len(CLIPS)


@pytest.mark.parametrize('override', ['hop=512', 'n_fft=2048', 'resample_sr=22050', 'spectrogram_type=stft', 'convert_id=True',
                                      'resampler=kaiser_best'])
def test_every_parameter_counts(data_folder, override):
    make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    store(settings())
    with pytest.raises(UserError, match='overwrite=True'):
        store(settings(override))


def test_parameters_of_other_types_do_not_count(data_folder, monkeypatch):
    make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    store(settings())
    monkeypatch.setattr(representation, 'compute', lambda *_: pytest.fail('computed again'))
    store(settings('cqt_bins=60', num_processing_units=2))


@pytest.mark.parametrize('options', [['n_mels=40'], ['convert_id=True'], ['n_mels=40', 'convert_id=True']])
def test_overwrite_replaces_and_leaves_no_stale_arrays(data_folder, options):
    audio = make_dataset(data_folder)
    (audio / 'bird/1.wav').write_bytes(b'')
    assert list(store(settings())) == ['1']
    folder = folder_of(data_folder)
    write_sound(audio / 'bird/1.wav', tone())
    assert store(settings('overwrite=True', *options)) == {}
    arrays = {str(path.relative_to(folder)) for path in folder.rglob('*.npy')}
    assert arrays == {f'{key}.npy' for key in (range(15) if 'convert_id=True' in options else CLIPS)}
    assert {np.load(folder / name).shape[1] for name in arrays} == {40 if 'n_mels=40' in options else 128}
    assert not (folder / 'errors_0.tsv').exists()
    assert len(names_in(folder / 'index.tsv')) == 15


def test_overwrite_without_a_change_replaces_nothing(data_folder, monkeypatch):
    make_dataset(data_folder)
    store(settings())
    monkeypatch.setattr(representation, 'compute', lambda *_: pytest.fail('computed again'))
    store(settings('overwrite=True'))


def test_an_interrupted_overwrite_is_not_taken_for_whole(data_folder, monkeypatch):
    """No array of the old parameters may stand beside the new ones, whenever the process ends."""
    make_dataset(data_folder)
    store(settings())
    folder = folder_of(data_folder)
    with monkeypatch.context() as patch:
        patch.setattr(representation, 'write_json', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store(settings('n_mels=40', 'overwrite=True'))
    store(settings('n_mels=40', 'overwrite=True'))
    assert {np.load(path).shape[1] for path in folder.rglob('*.npy')} == {40}


def test_an_overwrite_killed_while_it_deletes_leaves_no_stale_array(data_folder, monkeypatch):
    make_dataset(data_folder)
    store(settings())
    folder, unlink, left = folder_of(data_folder), type(data_folder).unlink, [3]

    def dying(path, **options):
        if path.suffix == '.npy':
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(data_folder), 'unlink', dying)
        with pytest.raises(KeyboardInterrupt):
            store(settings('n_mels=40', 'overwrite=True'))
    store(settings('n_mels=40', 'overwrite=True'))
    assert {np.load(path).shape[1] for path in folder.rglob('*.npy')} == {40}


def test_another_identifier_keeps_both(data_folder):
    make_dataset(data_folder)
    store(settings())
    before = times(folder_of(data_folder))
    store(settings('n_mels=40', 'identifier=narrow'))
    assert times(folder_of(data_folder)) == before
    assert {np.load(path).shape[1] for path in folder_of(data_folder).rglob('*.npy')} == {128}
    assert {np.load(path).shape[1] for path in folder_of(data_folder, 'narrow').rglob('*.npy')} == {40}


def test_types_have_folders_of_their_own(data_folder):
    make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    store(settings())
    store(settings('type=waveform'))
    mfcc = configure('config_knn_mfcc', 'mfcc', ['dataset=toy', 'num_processing_units=1'])
    store({**mfcc, 'convert_id': False, 'n_machines': 1, 'machine_i': 0})
    store(configure('config_preprocess', 'audioset', ['dataset=toy', 'num_processing_units=1']))
    assert np.load(folder_of(data_folder) / 'a/0.npy').shape == (13, 128)
    assert np.load(folder_of(data_folder, kind='waveform') / 'a/0.npy').shape == (13230, 1)
    assert np.load(folder_of(data_folder, kind='mfcc') / 'a/0.npy').shape == (120,)
    assert np.load(folder_of(data_folder, kind='audioset') / 'a/0.npy').shape == (1, 96, 64)


# ---- refused files ---------------------------------------------------------------------------------------------------

def test_refused_files_are_listed_and_disappear_when_mended(data_folder):
    audio = make_dataset(data_folder)
    (audio / 'bird/2.wav').write_bytes(b'')
    (audio / 'engine/0.wav').write_text('text\n' * 50)
    (audio / 'rain/4.wav').unlink()
    folder = folder_of(data_folder)

    refused = store(settings())
    assert list(refused) == ['2', '5', '14']
    errors = read_rows(folder / 'errors_0.tsv', 3, '')
    assert {key: audio for key, (audio, _) in errors.items()} == {'2': 'bird/2.wav', '5': 'engine/0.wav', '14': 'rain/4.wav'}
    for key, reason in {'2': 'empty (0 bytes)', '5': 'not readable as audio', '14': 'does not exist'}.items():
        assert reason in refused[key] and reason in errors[key][1]
    assert names_in(folder / 'index.tsv') == [f'{clip}.wav' for clip in CLIPS if clip not in ('bird/2', 'engine/0', 'rain/4')]
    assert len(list(folder.rglob('*.npy'))) == 12

    before = keep_inodes(folder, data_folder / 'aside')
    write_sound(audio / 'bird/2.wav', tone())
    assert list(store(settings())) == ['5', '14']
    assert list(read_rows(folder / 'errors_0.tsv', 3, '')) == ['5', '14']
    assert remade(before, folder) == ['bird/2']

    write_sound(audio / 'engine/0.wav', tone())
    write_sound(audio / 'rain/4.wav', tone())
    assert store(settings()) == {}
    assert not (folder / 'errors_0.tsv').exists()
    assert names_in(folder / 'index.tsv') == [f'{clip}.wav' for clip in CLIPS]


def test_a_file_that_breaks_later_leaves_the_index(data_folder):
    """Its array would be that of a sound that is no longer there."""
    audio = make_dataset(data_folder)
    store(settings())
    (audio / 'bird/2.wav').write_bytes(b'')
    assert list(store(settings())) == ['2']
    assert 'bird/2.wav' not in names_in(folder_of(data_folder) / 'index.tsv')


def test_a_file_without_permission_does_not_stop_the_others(data_folder, monkeypatch):
    make_dataset(data_folder)
    known = representation.content_digest

    def digest(path):
        if str(path).endswith('bird/2.wav'):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return known(path)
    monkeypatch.setattr(representation, 'content_digest', digest)
    refused = store(settings())
    assert list(refused) == ['2'] and 'cannot be read (Permission denied): correct its permissions' in refused['2']
    assert len(list(folder_of(data_folder).rglob('*.npy'))) == 14


def test_all_files_refused(data_folder):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    for path in audio.rglob('*.wav'):
        path.write_bytes(b'')
    assert list(store(settings())) == ['0', '1', '2', '3']
    assert list(read_rows(folder_of(data_folder) / 'errors_0.tsv', 3, '')) == ['0', '1', '2', '3']


def test_any_other_failure_stops_one_file_only(data_folder, monkeypatch):
    make_dataset(data_folder)

    def fail(path, config):
        if path.name == '3.wav':
            raise ZeroDivisionError('of a decoder\nin two lines')
        return compute(path, config)

    monkeypatch.setattr(representation, 'compute', fail)
    assert store(settings()) == {key: 'ZeroDivisionError: of a decoder\nin two lines' for key in ('3', '8', '13')}
    errors = read_rows(folder_of(data_folder) / 'errors_0.tsv', 3, '')
    assert errors['3'] == ['bird/3.wav', 'ZeroDivisionError: of a decoder in two lines']
    assert len(names_in(folder_of(data_folder) / 'index.tsv')) == 12


# ---- names -----------------------------------------------------------------------------------------------------------

def test_two_sounds_that_share_a_target_name(data_folder):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    write_sound(audio / 'a/0.flac', tone(5000))
    write_text(data_folder / 'index/toy/index_toy_folds_all.tsv', '0\ta/0.wav\n1\ta/0.flac\n2\tb/0.wav\n3\tb/1.wav\n')
    with pytest.raises(UserError, match=r'a/0\.flac and .*a/0\.wav would share the file 0\.npy: set convert_id=True'):
        store(settings())
    assert not folder_of(data_folder).exists()
    store(settings('convert_id=True'))
    folder = folder_of(data_folder)
    assert sorted(path.name for path in folder.rglob('*.npy')) == ['0.npy', '1.npy', '2.npy', '3.npy']
    assert read_rows(folder / 'index.tsv', 3, '')['1'] == ['audio_representation/toy__time-freq/1.npy', 'a/0.flac']
    np.testing.assert_array_equal(np.load(folder / '1.npy'), compute(audio / 'a/0.flac', settings()))


def test_convert_id_names_files_by_id(data_folder):
    audio = make_dataset(data_folder)
    store(settings('convert_id=True'))
    for key, clip in enumerate(CLIPS):
        np.testing.assert_array_equal(np.load(folder_of(data_folder) / f'{key}.npy'), compute(audio / f'{clip}.wav', settings()))


def test_names_with_dots_and_letters_of_other_scripts(data_folder):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    names = ['1.5 s/x.y.wav', '1.5 s/x.z.wav', 'Vögel/ö.wav', '鳥/一.wav']
    for name in names:
        write_sound(audio / name, tone())
    write_text(data_folder / 'index/toy/index_toy_folds_all.tsv', ''.join(f'{i}\t{name}\n' for i, name in enumerate(names)))
    assert store(settings()) == {}
    assert sorted(str(path.relative_to(folder_of(data_folder))) for path in folder_of(data_folder).rglob('*.npy')) == \
        sorted(name[:-4] + '.npy' for name in names)


def test_index_made_again_with_other_files(data_folder):
    """What the old index named and the new one does not is not in index.tsv."""
    make_dataset(data_folder)
    store(settings())
    make_dataset(data_folder, classes=['rain', 'wind'])
    store(settings())
    assert names_in(folder_of(data_folder) / 'index.tsv') == [f'{name}/{i}.wav' for name in ('rain', 'wind') for i in range(5)]


@pytest.mark.parametrize('override', ['audio_folder=nowhere', 'audio_folder=/nowhere'])
def test_missing_audio_folder(data_folder, override):
    make_dataset(data_folder)
    with pytest.raises(UserError, match='nowhere does not exist.*set audio_folder'):
        store(settings(override))
    assert not folder_of(data_folder).exists()


def test_configured_audio_folder_wins(data_folder):
    audio = make_dataset(data_folder)
    audio.rename(data_folder / 'moved')
    with pytest.raises(UserError, match='does not exist'):
        store(settings())
    assert store(settings('audio_folder=moved')) == {}
    assert store(settings('identifier=absolute', f'audio_folder={data_folder / "moved"}')) == {}


def test_missing_index(data_folder):
    with pytest.raises(UserError, match='aux/'):
        store(settings())


# ---- a full disk -----------------------------------------------------------------------------------------------------

def full_disk(monkeypatch, room, code=errno.ENOSPC):
    """numpy.save writes `room` arrays whole, then half of one and fails."""
    save, left = np.save, [room]

    def failing(file, array):
        if left[0] == 0:
            file.write(array.tobytes()[:array.nbytes // 2])
            raise OSError(code, os.strerror(code))
        left[0] -= 1
        save(file, array)

    monkeypatch.setattr(np, 'save', failing)


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(data_folder, monkeypatch, code):
    make_dataset(data_folder)
    with monkeypatch.context() as patch:
        full_disk(patch, 4, code)
        with pytest.raises(OSError) as problem:
            store(settings())
    assert problem.value.errno == code
    folder = folder_of(data_folder)
    assert leftovers(folder) == [] and not (folder / 'index.tsv').exists() and not list(folder.glob('errors*'))
    assert sorted(inodes(folder)) == sorted(CLIPS[:4])
    before = keep_inodes(folder, data_folder / 'aside')
    store(settings())
    assert remade(before, folder) == sorted(CLIPS[4:])
    assert names_in(folder / 'index.tsv') == [f'{clip}.wav' for clip in CLIPS]


def test_make_one_returns_a_reason_or_none(tmp_path, monkeypatch):
    config, target = configure('config_preprocess', 'spec'), tmp_path / 'out' / 'a.npy'
    sound = write_sound(tmp_path / 'a.wav', tone())
    assert make_one(tmp_path / 'none.wav', target, config) == Made('the file does not exist') and not target.exists()
    assert make_one(sound, target, config) == Made()
    assert representation.sound_of(target) == content_digest(sound)
    full_disk(monkeypatch, 0)
    with pytest.raises(OSError, match='No space left'):
        make_one(sound, target, config)
    assert len(np.load(target)) == 22 and leftovers(tmp_path) == []  # the old array is still whole


def test_long_names(data_folder):
    """A name of the greatest length that file systems allow is no reason to refuse a sound, and concerns that file alone."""
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1)
    name = 'x' * 251 + '.wav'
    (audio / 'a/0.wav').rename(audio / 'a' / name)
    index = data_folder / 'index/toy/index_toy_folds_all.tsv'
    index.write_text(index.read_text().replace('a/0.wav', f'a/{name}'))
    assert store(settings()) == {}
    assert len(np.load(folder_of(data_folder) / 'a' / (name[:-4] + '.npy'))) > 1


def test_digests_of_unchanged_files_are_not_computed_again(data_folder, monkeypatch):
    audio = make_dataset(data_folder)
    digests, sound = representation.Digests('toy'), audio / 'engine/2.wav'
    first = digests.of(sound)
    assert first == content_digest(sound)
    monkeypatch.setattr(representation, 'signature', lambda path: 'same')
    digests.of(sound), digests.save()
    monkeypatch.setattr(representation, 'content_digest', lambda path: 1 / 0)
    assert representation.Digests('toy').of(sound) == first


@pytest.mark.parametrize('group, arguments', [
    ('config_preprocess', ['spec', ['dataset=toy']]), ('config_preprocess', ['spec', ['dataset=toy', 'spectrogram_type=stft']]),
    ('config_preprocess', ['spec', ['dataset=toy', 'type=waveform']]), ('config_preprocess', ['mn04', ['dataset=toy']]),
    ('config_preprocess', ['audioset', ['dataset=toy', 'resampler=soxr_hq']]), ('config_knn_mfcc', ['mfcc', ['dataset=toy']])])
def test_silent_clips_are_named_and_used(data_folder, capsys, group, arguments):
    sounds = make_dataset(data_folder, train=1, test=1)
    write_sound(sounds / CLASSES[1] / '0.wav', np.zeros(20000, np.float32))
    assert store(configure(group, *arguments)) == {}
    assert 'silent: 1 clips (ids 2). They are still used' in capsys.readouterr().out
    store(configure(group, *arguments))
    assert 'silent:' not in capsys.readouterr().out


def test_an_error_of_the_set_up_blames_no_sound(data_folder, monkeypatch):
    make_dataset(data_folder, train=1, test=1)

    def broken(path, config):
        raise RuntimeError('cannot cache function: no locator available')

    monkeypatch.setattr(representation, 'compute', broken)
    with pytest.raises(UserError, match='no sound can be processed on this machine, RuntimeError: cannot cache.*error of the set-up, '
                                        'not of the sounds.*NUMBA_CACHE_DIR'):
        store(settings())
    assert not list(folder_of(data_folder).glob('errors_*.tsv'))


def test_an_unexpected_error_of_one_file_concerns_that_file(data_folder, monkeypatch):
    make_dataset(data_folder, train=1, test=1)
    good = representation.compute
    monkeypatch.setattr(representation, 'compute', lambda path, config: 1 / 0 if path.parts[-2:] == (CLASSES[0], '0.wav') else
                        good(path, config))
    assert store(settings()) == {'0': 'ZeroDivisionError: division by zero'}
    assert len(list(folder_of(data_folder).rglob('*.npy'))) == 5


def test_clips_that_no_set_names_do_not_count(data_folder, capsys):
    sounds = make_dataset(data_folder, train=2, test=1)
    path = data_folder / 'index/toy/gt_toy_fold0_train.tsv'
    path.write_text(''.join(line for line in path.read_text().splitlines(True) if not line.startswith('0\t')))
    for number in (0, 1):
        (sounds / CLASSES[0] / f'{number}.wav').unlink()
    assert store(settings()) == {'1': 'the file does not exist'}
    printed = capsys.readouterr().out
    assert '1 clips are missing or cannot be used (errors_0.tsv); no training, validation or test set names them' in printed
    assert f'  id 1: {sounds}/{CLASSES[0]}/1.wav: the file does not exist\n' in printed and '  id 0:' not in printed
