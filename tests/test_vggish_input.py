"""The input of VGGish: values against slow formulas and a published reference, sounds of every kind, representations on disk."""
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import resampy
import soundfile
from scipy.signal import get_window

import config_file
import configuration
import mel_features
import representation
import vggish_params
from audio import resample
from commands import run_script, succeeded
from configuration import RESAMPLERS
from conftest import EXAMPLES_FOR_VGGISH, make_dataset, make_representation, tone, write_sound
from features import compute
from mel_features import log_mel_spectrogram, mel_matrix, periodic_hann
from patches import Clips, all_patches, patch_batches
from representation import Representation, store
from shared import UserError, read_rows
from vggish_input import file_to_examples, round_to_16_bits, waveform_to_examples

VGGISH = (16000, 0.025, 0.010, 64, 125, 7500, 0.01)  # arguments of log_mel_spectrogram
SILENCE = np.float32(math.log(0.01))


def configure(group, *arguments):
    """The configuration of a representation, as its script makes it."""
    defaults = {'type': 'mfcc'} if group == 'config_knn_mfcc' else {}
    return representation.complete(configuration.configure(group, *arguments), **defaults)


def noise(*shape, seed=0):
    """Samples that 16 bits hold exactly, float64."""
    return np.random.default_rng(seed).integers(-8000, 8000, shape) / 32768


def mel(frequency):
    return 1127 * math.log(1 + frequency / 700)


def slow_matrix():
    """The weights from 257 bins to 64 bands, one after the other, as rising and falling edges."""
    edges = [mel(125) + i * (mel(7500) - mel(125)) / 65 for i in range(66)]
    matrix = np.zeros((257, 64))
    for i in range(1, 257):
        place = mel(i * 16000 / 512)
        for band in range(64):
            low, top, high = edges[band:band + 3]
            matrix[i, band] = max(0, min((place - low) / (top - low), (high - place) / (high - top)))
    return matrix


def slow_log_mel(samples):
    """The spectrogram of samples at 16 kHz, frame by frame."""
    window, matrix, rows, begin = [0.5 - 0.5 * math.cos(2 * math.pi * i / 400) for i in range(400)], slow_matrix(), [], 0
    while begin + 400 <= len(samples):
        rows.append(np.log(np.abs(np.fft.rfft(samples[begin:begin + 400] * window, 512)) @ matrix + 0.01))
        begin += 160
    return np.array(rows)


def repeated(samples, length):
    """samples again and again, and no more than `length` of them, by concatenation."""
    whole = samples
    while len(whole) < length:
        whole = np.concatenate([whole, samples])
    return whole[:length]


# ---- the spectrogram -------------------------------------------------------------------------------------------------

def test_constants_are_those_of_the_trained_network():
    assert (vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS, vggish_params.EMBEDDING_SIZE) == (96, 64, 128)
    assert vggish_params.NUM_MEL_BINS == 64 and vggish_params.SAMPLE_RATE == 16000 and vggish_params.INIT_STDDEV == 0.01


def test_mel_matrix_by_its_formula():
    matrix = mel_matrix(512, 16000, 64, 125, 7500)
    assert matrix.shape == (257, 64)
    np.testing.assert_allclose(matrix, slow_matrix(), atol=1e-12)
    assert round(matrix.sum(), 4) == 230.9136 and np.count_nonzero(matrix) == 461


def test_mel_bands_overlap_by_half_and_leave_out_what_is_beyond():
    matrix, frequencies = mel_matrix(512, 16000, 64, 125, 7500), np.arange(257) * 16000 / 512
    step = (mel(7500) - mel(125)) / 65
    inside = [mel(125) + step <= mel(f) <= mel(7500) - step for f in frequencies]
    np.testing.assert_allclose(matrix[inside].sum(axis=1), 1)
    assert not matrix[(frequencies <= 125) | (frequencies >= 7500)].any()


def test_the_mean_of_a_frame_counts_for_no_band():
    assert mel_matrix(512, 16000, 4, 0, 8000)[1].any() and not mel_matrix(512, 16000, 4, 0, 8000)[0].any()
    assert not mel_matrix(512, 16000, 64, -1000 / 2, 7500)[0].any()  # also where a band reaches over 0 Hz


@pytest.mark.parametrize('length', [4, 5, 400])
def test_hann_window_is_periodic(length):
    np.testing.assert_allclose(periodic_hann(length), [0.5 - 0.5 * math.cos(2 * math.pi * i / length) for i in range(length)],
                               atol=1e-15)
    np.testing.assert_allclose(periodic_hann(length), get_window('hann', length), atol=1e-15)


@pytest.mark.parametrize('length', [400, 559, 560, 561, 16000, 33333])
def test_log_mel_spectrogram_frame_by_frame(length):
    samples = noise(length)
    ours = log_mel_spectrogram(samples, *VGGISH)
    assert ours.shape == (1 + (length - 400) // 160, 64) and ours.dtype == np.float64
    np.testing.assert_allclose(ours, slow_log_mel(samples), atol=1e-11)
    single = log_mel_spectrogram(samples.astype(np.float32), *VGGISH)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ours, atol=1e-4)


def test_blocks_leave_no_trace(monkeypatch):
    samples = noise(11 * 16000)  # 1098 frames
    whole = log_mel_spectrogram(samples, *VGGISH)
    for block in (1, 7, 549, 1098):
        monkeypatch.setattr(mel_features, 'BLOCK', 512 * block)
        np.testing.assert_array_equal(log_mel_spectrogram(samples, *VGGISH), whole)


@pytest.mark.parametrize('frequency', [200, 440, 1000, 3000, 7000])
@pytest.mark.parametrize('rate', [16000, 44100])
def test_a_tone_has_its_maximum_in_its_mel_band(frequency, rate):
    tops = [mel(125) + (i + 1) * (mel(7500) - mel(125)) / 65 for i in range(64)]
    nearest = min(range(64), key=lambda i: abs(tops[i] - mel(frequency)))
    bands = waveform_to_examples(tone(frequency, 1, rate), rate).argmax(axis=2)
    # the lowest bands are narrower than the bins of the transform
    assert (abs(bands - nearest) <= (1 if frequency < 1000 else 0)).all()


# ---- 16 bits ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_rounding_is_that_of_a_16_bit_file(tmp_path, dtype):
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.uniform(-1.2, 1.2, 10000), rng.normal(0, 1e-4, 10000), rng.normal(0, 1e-10, 10000),
                              np.arange(-32768, 32768) / 32768, [1, -1, 0, 5, -5, 1e35, -1e35]]).astype(dtype)
    soundfile.write(tmp_path / 'a.wav', samples, 16000, subtype='PCM_16')
    stored, _ = soundfile.read(tmp_path / 'a.wav', dtype='int16')
    before = samples.copy()
    np.testing.assert_array_equal(round_to_16_bits(samples) * 32768, stored)
    np.testing.assert_array_equal(samples, before)


def test_what_16_bits_hold_stays():
    steps = np.arange(-32768, 32768) / 32768
    np.testing.assert_array_equal(round_to_16_bits(steps), steps)


# ---- waveforms -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length, examples', [
    (1, 1), (399, 1), (15359, 1), (15360, 1), (15599, 1), (15600, 1), (15999, 1), (16000, 1), (16001, 1),
    (30959, 1), (30960, 2), (46319, 2), (46320, 3), (160000, 10)])  # 96 k frames take 400 + 160 (96 k - 1) samples
def test_number_of_examples(length, examples):
    array = waveform_to_examples(noise(length), 16000)
    assert array.shape == (examples, 96, 64) and array.dtype == np.float32 and array.flags.c_contiguous


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.longdouble])
def test_examples_are_the_spectrogram_cut(dtype):
    samples = noise(50000)
    expected = slow_log_mel(samples)
    assert len(expected) == 311
    np.testing.assert_allclose(waveform_to_examples(samples.astype(dtype), 16000), expected[:288].reshape(3, 96, 64), atol=1e-6)


@pytest.mark.parametrize('rate', [8000, 16000, 44100])
@pytest.mark.parametrize('part', [0.0001, 0.3, 0.5, 0.96, 0.9999])
@pytest.mark.parametrize('channels', [(), (2,)])
def test_short_clips_are_repeated_to_a_second_at_their_own_rate(rate, part, channels):
    samples = noise(math.ceil(part * rate), *channels)
    ours = waveform_to_examples(samples, rate)
    assert ours.shape == (1, 96, 64)
    np.testing.assert_array_equal(ours, waveform_to_examples(repeated(samples, rate), rate))


def test_a_second_is_not_repeated():
    samples = np.zeros(16100)
    samples[0] = 0.5
    assert (waveform_to_examples(samples, 16000)[0, 3:] == SILENCE).all()
    assert (waveform_to_examples(samples[:8000], 16000)[0, 48:53] > SILENCE).any()


@pytest.mark.parametrize('rate', [8000, 11025, 22050, 44100, 48000, 96000])
def test_resampling_is_resampys_own(rate):
    samples = noise(2 * rate + 123)
    expected = log_mel_spectrogram(resampy.resample(samples, rate, 16000), *VGGISH)
    np.testing.assert_array_equal(waveform_to_examples(samples, rate), expected[:192].reshape(2, 96, 64).astype(np.float32))


@pytest.mark.parametrize('resampler', RESAMPLERS)
def test_every_resampler(resampler):
    samples = tone(1000, 2, 44100) + 0.01 * noise(88200)
    ours, of_today = waveform_to_examples(samples, 44100, resampler), waveform_to_examples(samples, 44100)
    assert ours.shape == (2, 96, 64) and (ours.argmax(axis=2) == 19).all()
    if resampler != 'soxr_qq':  # which interpolates between samples and adds mirror images
        assert np.abs(ours - of_today)[:, :, :50].mean() < 0.01  # their filters differ above 5 kHz
    assert np.array_equal(ours, of_today) == (resampler == 'kaiser_best')


def test_soxr_changes_the_highest_bands_alone():
    difference = np.abs(waveform_to_examples(noise(5 * 44100), 44100, 'soxr_hq') - waveform_to_examples(noise(5 * 44100), 44100))
    assert difference[:, :, :62].max() < 0.02 and difference[:, :, 63].mean() > 0.1


def test_the_filter_of_2018_lets_more_of_the_highest_band_through():
    samples = noise(44100 * 3)
    of_2018, of_today, soxr = (waveform_to_examples(samples, 44100, name)[..., 63].mean() for name in ('kaiser_2018', 'kaiser_best', 'soxr'))
    assert of_2018 - of_today > 0.1 and abs(of_2018 - soxr) < 0.05
    # between the cut-offs of both filters, 0.917 and 0.948 of 8 kHz
    sine = np.sin(2 * np.pi * 7440 / 44100 * np.arange(44100 * 2))
    kept = {name: np.sqrt(2 * np.mean(resample(sine, 44100, 16000, name)[4000:-4000] ** 2)) for name in ('kaiser_2018', 'kaiser_best')}
    assert kept['kaiser_2018'] > 0.7 and kept['kaiser_best'] < 0.35, kept


@pytest.mark.parametrize('resampler', ['kaiser_best', 'kaiser_2018', 'soxr_hq', 'polyphase'])
def test_half_a_sample_completes_no_example(resampler):
    """librosa rounds lengths up, resampy down: 30960 samples give two examples."""
    for length, examples in ((85333, 1), (85334, 2)):  # 30959.9 and 30960.3 at 16 kHz
        assert len(waveform_to_examples(noise(length), 44100, resampler)) == examples


@pytest.mark.parametrize('channels', [1, 2, 5])
def test_channels_are_averaged(channels):
    samples = noise(20000, channels)
    expected = slow_log_mel(samples.sum(axis=1) / channels)[:96]
    np.testing.assert_allclose(waveform_to_examples(samples, 16000)[0], expected, atol=1e-6)


def test_opposite_channels_are_silence(tmp_path):
    """In an array, as in the study; a file with such channels is refused, as for all other representations."""
    samples = noise(20000)
    opposite = np.stack([samples, -samples], axis=1)
    assert (waveform_to_examples(opposite, 16000) == SILENCE).all()
    soundfile.write(tmp_path / 'a.wav', opposite, 16000, subtype='FLOAT')
    with pytest.raises(UserError, match='out of phase'):
        file_to_examples(tmp_path / 'a.wav')


def test_silence_is_legal():
    array = waveform_to_examples(np.zeros(100), 44100)
    assert array.shape == (1, 96, 64) and (array == SILENCE).all()


@pytest.mark.parametrize('data', [np.zeros(0), np.zeros((0, 2)), np.zeros((100, 0)), np.zeros((1, 100, 2)), np.float64(1),
                                  np.zeros(20000, np.int16), np.zeros(20000, complex)])
def test_other_arrays_are_refused(data):
    with pytest.raises(UserError, match=r'expected \(length,\) or \(length, channels\), floating-point.*32768'):
        waveform_to_examples(data, 16000)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    samples = noise(20000, 2)
    samples[[5, 7], [0, 1]] = bad
    with pytest.raises(UserError, match='^2 samples are NaN or infinite'):
        waveform_to_examples(samples, 16000)


# ---- files -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('subtype, offset', [('PCM_U8', 128), ('PCM_16', 0)])
def test_files_of_few_bits_are_exact(tmp_path, subtype, offset):
    samples = np.random.default_rng(0).integers(-128, 128, 30000) / 128
    path = write_sound(tmp_path / 'a.wav', samples, 22050, subtype=subtype)
    np.testing.assert_array_equal(file_to_examples(path), waveform_to_examples(samples, 22050))


@pytest.mark.parametrize('subtype', ['PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE'])
def test_files_of_many_bits_are_rounded_to_16(tmp_path, subtype):
    samples = np.random.default_rng(0).normal(0, 0.001, 30000)
    ours = file_to_examples(write_sound(tmp_path / 'a.wav', samples, 16000, subtype=subtype))
    rounded = file_to_examples(write_sound(tmp_path / 'b.wav', samples, 16000, subtype='PCM_16'))
    np.testing.assert_allclose(ours, rounded, atol=0.002)
    exact = slow_log_mel(samples)[:96]
    assert np.abs(ours[0] - exact).max() > 0.01  # otherwise this test could not see the rounding


@pytest.mark.parametrize('name', ['a.wav', 'a.flac', 'a.ogg', 'a.mp3', 'a.aiff'])
@pytest.mark.parametrize('rate, channels', [(8000, 1), (16000, 1), (44100, 2)])
def test_every_format_rate_and_channels(tmp_path, name, rate, channels):
    path = write_sound(tmp_path / name, tone(1000, 2.2, rate, channels), rate)
    array = file_to_examples(path)
    assert array.shape == (2, 96, 64) and array.dtype == np.float32
    assert array.mean(axis=(0, 1)).argmax() == 19  # 1 kHz lies between the tops of this band and the next, nearer to this


@pytest.mark.parametrize('rate, channels', [(11025, 1), (48000, 2), (96000, 6), (192000, 1)])
def test_high_and_odd_rates(tmp_path, rate, channels):
    array = file_to_examples(write_sound(tmp_path / 'a.wav', tone(1000, 1, rate, channels), rate))
    expected = waveform_to_examples(tone(1000, 1, 16000), 16000)
    np.testing.assert_allclose(array[:, 5:-5, 10:40], expected[:, 5:-5, 10:40], atol=0.05)


@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'FLOAT'])
def test_every_channel_of_a_file_is_rounded(tmp_path, subtype):
    samples = np.random.default_rng(0).normal(0, 0.001, (30000, 2))
    path = write_sound(tmp_path / 'a.wav', samples, 16000, subtype=subtype)
    np.testing.assert_array_equal(file_to_examples(path), waveform_to_examples(soundfile.read(path)[0], 16000))


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        file_to_examples(tmp_path / 'a.wav')
    (tmp_path / 'a.wav').touch()
    with pytest.raises(UserError, match='empty'):
        file_to_examples(tmp_path / 'a.wav')
    write_sound(tmp_path / 'a.wav', np.full(500, np.nan), 16000, subtype='FLOAT')
    with pytest.raises(UserError, match='500 samples are NaN'):
        file_to_examples(tmp_path / 'a.wav')


# ---- the reference ---------------------------------------------------------------------------------------------------

ESC10 = Path(os.environ.get('ESC10') or 'nowhere')
REFERENCE = ESC10.parent / 'reference' / 'vggish_reference.npz'
needs_reference = pytest.mark.skipif(not REFERENCE.is_file(), reason='the environment variable ESC10 names no folder beside '
                                     'reference/vggish_reference.npz')


@pytest.fixture(scope='module')
def published():
    """What the released experiments compute: dictionary of arrays."""
    with np.load(REFERENCE) as file:
        return dict(file)


@needs_reference
def test_mel_matrix_is_the_published_one(published):
    np.testing.assert_allclose(mel_matrix(512, 16000, 64, 125, 7500), published['mel_matrix_257x64'], atol=1e-12)


@needs_reference
def test_a_sine_gives_the_published_values(published):
    sine = (np.sin(2 * np.pi * 1000 * np.arange(0, 10, 1 / 44100)) * 32767).astype(np.int16) / 32768
    np.testing.assert_allclose(waveform_to_examples(sine, 44100), published['sine_1khz_44100hz_10s'], atol=1e-5)


@needs_reference
def test_recordings_give_the_published_values(published):
    clips = [key for key in published if key.endswith('.ogg')]
    assert len(clips) == 3
    for clip in clips:
        assert published[clip].shape == (5, 96, 64)
        np.testing.assert_allclose(file_to_examples(ESC10 / clip), published[clip], atol=1e-5)


# ---- representations -------------------------------------------------------------------------------------------------

CLIPS = [f'{name}/{number}' for name in ('bird', 'engine', 'rain') for number in range(5)]  # of make_dataset


def settings(*overrides, **values):
    return {**configure('config_preprocess', 'audioset', ['dataset=toy', 'num_processing_units=1', *overrides]), **values}


def folder_of(data_folder, identifier='toy'):
    return data_folder / 'audio_representation' / f'{identifier}__audioset'


def opened(**options):
    return Representation('audio_representation/toy__audioset/', 'toy', EXAMPLES_FOR_VGGISH, **options)


@pytest.mark.parametrize('entry', ['us8k', 'asc', 'esc10', 'esc50'])
def test_entries_name_their_data_sets(entry):
    config = configure('config_preprocess', f'{entry}_audioset')
    assert config['audio_representation_folder'] == f'audio_representation/{entry}__audioset/'
    assert config['index_file'] == f'index/{entry}/index_{entry}_folds_all.tsv' and config['resampler'] == 'kaiser_2018'


def test_what_is_fixed_cannot_be_configured():
    for override in ('resample_sr=8000', 'hop=80', 'n_mels=128'):
        with pytest.raises(UserError, match='is not understood.*: expected key=value with a key of: .*resampler'):
            settings(override)
    for kind in ('time-freq', 'waveform'):
        with pytest.raises(UserError, match=f"type='{kind}' is not valid here, the configuration lacks .*resample_sr"):
            settings(f'type={kind}')


def test_store_writes_what_is_promised(data_folder, monkeypatch):
    (data_folder / 'tmp').mkdir()
    monkeypatch.setenv('TMPDIR', str(data_folder / 'tmp'))
    monkeypatch.setattr(tempfile, 'tempdir', None)  # so that it is asked for again
    monkeypatch.chdir(data_folder / 'tmp')
    audio = make_dataset(data_folder, seconds=2)
    assert store(settings()) == {}
    folder = folder_of(data_folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
    assert files == sorted(['config.json', 'index.tsv', 'index_0.tsv'] + [f'{clip}.npy' for clip in CLIPS])
    assert list(read_rows(folder / 'index.tsv', 3, '')) == [str(i) for i in range(15)]
    for clip in CLIPS:
        array = np.load(folder / f'{clip}.npy')
        assert array.shape == (2, 96, 64) and array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_array_equal(array, file_to_examples(audio / f'{clip}.wav', 'kaiser_2018'))
    config = json.loads((folder / 'config.json').read_text())
    assert (config['type'], config['resampler'], config['SAMPLE_RATE'], config['LOG_OFFSET']) == ('audioset', 'kaiser_2018', 16000,
                                                                                                0.01)
    assert list((data_folder / 'tmp').iterdir()) == []  # the features come without any temporary file


def test_several_processes_write_the_same(data_folder, monkeypatch):
    make_dataset(data_folder, train=1, test=1, seconds=1)
    monkeypatch.setattr(representation, 'FILES_PER_PROCESS', 3)
    store(settings(num_processing_units=2))
    store(settings('identifier=alone'))
    for path in folder_of(data_folder).rglob('*.npy'):
        alone = folder_of(data_folder, 'alone') / path.relative_to(folder_of(data_folder))
        assert path.read_bytes() == alone.read_bytes()
    assert not [path for path in data_folder.rglob('.tmp*')]


def test_the_resampler_is_passed_on(data_folder):
    audio = make_dataset(data_folder, classes=['a', 'b'], train=1, test=1, seconds=1)
    config = settings('resampler=soxr_hq')
    array = compute(audio / 'a/0.wav', config)
    np.testing.assert_array_equal(array, file_to_examples(audio / 'a/0.wav', 'soxr_hq'))
    assert not np.array_equal(array, compute(audio / 'a/0.wav', settings()))


def test_odd_files(data_folder):
    """What cannot be used is listed; silence and a single sample are legal."""
    audio = make_dataset(data_folder, train=1, test=1, rate=16000)
    (audio / 'bird/0.wav').write_bytes(b'')
    write_sound(audio / 'bird/1.wav', np.full(1000, np.nan), 16000, subtype='FLOAT')
    write_sound(audio / 'engine/0.wav', np.zeros(16000), 16000)
    write_sound(audio / 'engine/1.wav', np.ones(1) / 2, 44100)
    refused = store(settings())
    assert list(refused) == ['0', '1'] and 'empty' in refused['0'] and '1000 samples are NaN' in refused['1']
    folder = folder_of(data_folder)
    assert list(read_rows(folder / 'errors_0.tsv', 3, '')) == ['0', '1']
    assert list(read_rows(folder / 'index.tsv', 3, '')) == ['2', '3', '4', '5']
    assert (np.load(folder / 'engine/0.npy') == SILENCE).all() and np.load(folder / 'engine/1.npy').shape == (1, 96, 64)
    write_sound(audio / 'bird/0.wav', tone(seconds=1))
    write_sound(audio / 'bird/1.wav', tone(seconds=1))
    assert store(settings()) == {} and not (folder / 'errors_0.tsv').exists()
    assert len(read_rows(folder / 'index.tsv', 3, '')) == 6


def test_what_is_up_to_date_stays_and_what_is_damaged_does_not(data_folder, monkeypatch):
    make_dataset(data_folder, train=1, test=1, rate=16000)
    for machine in (1, 0):
        store(settings('n_machines=2', f'machine_i={machine}'))
    damaged, made = folder_of(data_folder) / 'rain/1.npy', []
    content, stamp = damaged.read_bytes(), damaged.stat().st_mtime_ns
    damaged.write_bytes(content[:-1])
    os.utime(damaged, ns=(stamp, stamp))
    monkeypatch.setattr(representation, 'compute', lambda path, config: made.append(path.stem) or compute(path, config))
    store(settings())
    assert made == ['1'] and damaged.read_bytes() == content


@pytest.mark.parametrize('change', ['resampler', 'LOG_OFFSET', 'STFT_HOP_LENGTH_SECONDS'])
def test_stale_examples_are_noticed(data_folder, monkeypatch, change):
    make_dataset(data_folder, train=1, test=1, rate=16000)
    store(settings())
    trained_with = opened().settings
    if change == 'resampler':
        monkeypatch.setitem(config_file.config_preprocess['audioset'], 'resampler', 'soxr_hq')
    else:
        monkeypatch.setattr(vggish_params, change, 0.02)
    with pytest.raises(UserError, match=f'other parameters: {change}=.*overwrite=True'):
        store(settings())
    with pytest.raises(UserError, match=rf"config_preprocess\['audioset'\] asks for {change}=.* run `python preprocess\.py "
                                        'audioset dataset=toy overwrite=True`'):
        opened()
    assert opened(expected=trained_with).bands('0') == 64  # a trained model goes by what it was trained with
    store(settings('overwrite=True'))
    with pytest.raises(UserError, match=f'the experiment was trained with {change}='):
        opened(expected=trained_with)


def test_chosen_on_the_command_line(data_folder):
    make_dataset(data_folder, train=1, test=1)
    store(settings('resampler=soxr_hq'))
    assert opened().settings['resampler'] == 'soxr_hq'


@pytest.mark.parametrize('dataset, identifier, command', [
    ('esc10', 'esc10', 'esc10_audioset'), ('mine', 'mine', 'audioset dataset=mine'),
    ('us8k', 'fast', 'us8k_audioset identifier=fast')])
def test_messages_name_the_command(data_folder, dataset, identifier, command):
    with pytest.raises(UserError, match=f'run `python preprocess.py {command}` first'):
        Representation(f'audio_representation/{identifier}__audioset/', dataset, EXAMPLES_FOR_VGGISH)


EXAMPLES = {'n_frames': 96, 'pre_processing': None, 'pad_short': 'repeat-pad'}


def test_patches_at_hop_96_are_the_examples(data_folder):
    arrays = {str(i): np.random.default_rng(i).random((n, 96, 64), np.float32) for i, n in enumerate([3, 1, 2])}
    make_representation(data_folder, arrays, train={'0': 0, '1': 1}, test={'2': 2}, kind='audioset')
    representation, expected = opened(), np.concatenate(list(arrays.values()))
    frames = representation.open('0')
    assert isinstance(frames, np.memmap) and frames.shape == (288, 64) and not frames.flags.owndata
    assert representation.bands('0') == 64
    clips = Clips(representation, list(arrays), EXAMPLES)
    starts, clip = all_patches(clips, EXAMPLES, 96)
    np.testing.assert_array_equal([clips.frames[s:s + 96] for s in starts], expected)
    assert clip.tolist() == [0, 0, 0, 1, 2, 2]
    cut = [frames[s:s + 96] for frames, starts, _ in patch_batches(representation, list(arrays), EXAMPLES, 96, 4) for s in starts]
    np.testing.assert_array_equal(cut, expected)


def test_the_command(data_folder):
    make_dataset(data_folder, train=1, test=1, rate=16000)
    output = succeeded(run_script('preprocess.py', 'audioset', 'dataset=toy', data_folder=data_folder, without_tensorflow=True))
    assert f'{folder_of(data_folder)}: 6 of 6 clips' in output
    assert np.load(folder_of(data_folder) / 'rain/1.npy').shape == (1, 96, 64)
