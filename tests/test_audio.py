"""audio.read_audio: every format, rate and number of channels that data sets hold, and every way in which files are broken."""
import struct

import numpy as np
import pytest
import soundfile

from audio import read_audio
from conftest import tone, write_sound
from shared import UserError

RATE = 44100
STEPS = (np.random.default_rng(0).integers(-128, 128, 5000) * 256).astype(np.int16)  # exact in 8 bits and more


def peak(samples, rate):
    """Frequency of the strongest component in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


def refused(path, reason, sample_rate=RATE):
    with pytest.raises(UserError, match=reason):
        read_audio(path, sample_rate)


def cut(path, part):
    """Keep the first `part` of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:int(part * len(content))])
    return path


# ---- what is legal ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name, subtype', [
    ('a.wav', 'PCM_U8'), ('a.wav', 'PCM_16'), ('a.wav', 'PCM_24'), ('a.wav', 'PCM_32'),
    ('a.flac', 'PCM_S8'), ('a.flac', 'PCM_16'), ('a.flac', 'PCM_24'), ('a.aiff', 'PCM_S8'), ('a.aiff', 'PCM_16'),
    ('a.aiff', 'PCM_24'),
])
def test_lossless_formats_are_exact(tmp_path, name, subtype):
    samples, rate = read_audio(write_sound(tmp_path / name, STEPS, RATE, subtype=subtype), RATE)
    assert rate == RATE and samples.dtype == np.float32 and samples.flags.c_contiguous
    np.testing.assert_array_equal(samples, STEPS / np.float32(32768))


@pytest.mark.parametrize('subtype', ['FLOAT', 'DOUBLE'])
def test_float_wav_is_exact_beyond_full_scale(tmp_path, subtype):
    sound = np.float32([0, 0.1, -1, 1, 1.5, -3])
    np.testing.assert_array_equal(read_audio(write_sound(tmp_path / 'a.wav', sound, RATE, subtype=subtype), RATE)[0], sound)


@pytest.mark.parametrize('name', ['a.ogg', 'a.mp3'])
def test_lossy_formats_keep_the_tone(tmp_path, name):
    samples, rate = read_audio(write_sound(tmp_path / name, tone(1000, 1, RATE), RATE), RATE)
    assert rate == RATE and abs(len(samples) - RATE) < 3000  # MP3 adds a delay
    assert abs(peak(samples, rate) - 1000) < 2
    assert 0.3 < np.sqrt(np.mean(samples[5000:-5000] ** 2)) < 0.4  # 0.5 / sqrt(2) = 0.354


@pytest.mark.parametrize('rate', [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize('resampler', ['soxr_hq', 'kaiser_best'])
def test_a_tone_keeps_frequency_and_level_after_resampling(tmp_path, rate, resampler):
    samples, new = read_audio(write_sound(tmp_path / 'a.wav', tone(1000, 0.5, rate), rate), RATE, resampler)
    assert new == RATE and samples.dtype == np.float32
    assert len(samples) == -(-round(rate / 2) * RATE // rate)  # rounded up
    assert abs(peak(samples, RATE) - 1000) <= 2  # the resolution of half a second
    assert abs(np.sqrt(np.mean(samples[2000:-2000] ** 2)) - 0.5 / np.sqrt(2)) < 0.002


def test_none_keeps_the_rate_of_the_file(tmp_path):
    samples, rate = read_audio(write_sound(tmp_path / 'a.wav', STEPS, 22050), None)
    assert rate == 22050
    np.testing.assert_array_equal(samples, STEPS / np.float32(32768))


@pytest.mark.parametrize('channels', range(1, 9))
def test_channels_are_averaged(tmp_path, channels):
    sound = np.random.default_rng(channels).uniform(-1, 1, (1000, channels)).astype(np.float32)
    samples, _ = read_audio(write_sound(tmp_path / 'a.wav', sound, RATE, subtype='FLOAT'), RATE)
    assert samples.shape == (1000,) and samples.dtype == np.float32
    np.testing.assert_allclose(samples, sound.astype(np.float64).mean(axis=1), atol=1e-6)


def test_channels_and_rate_together(tmp_path):
    sound = np.stack([tone(1000, 0.5, 96000), np.zeros(48000, np.float32)], axis=1)
    samples, _ = read_audio(write_sound(tmp_path / 'a.flac', sound, 96000), RATE)
    assert samples.shape == (22050,) and abs(peak(samples, RATE) - 1000) <= 2
    assert abs(np.abs(samples).max() - 0.25) < 0.01


def test_silence_is_legal(tmp_path):
    samples, _ = read_audio(write_sound(tmp_path / 'a.wav', np.zeros(300, np.float32), RATE), RATE)
    np.testing.assert_array_equal(samples, np.zeros(300, np.float32))


@pytest.mark.parametrize('rate', [8000, 44100, 192000])
@pytest.mark.parametrize('name', ['a.wav', 'a.flac', 'a.aiff'])
def test_one_sample(tmp_path, rate, name):
    samples, _ = read_audio(write_sound(tmp_path / name, np.int16([16384]), rate), RATE)
    assert len(samples) == {8000: 6, 44100: 1, 192000: 1}[rate]
    assert np.isfinite(samples).all() and np.abs(samples).max() > 0.1


def data_position(path):
    return path.read_bytes().index(b'data') + 4


@pytest.mark.parametrize('riff, data', [(8, 0), (0, 0), (36, 0), (0xFFFFFFFF, 0), (0x7FFFFFFF, 0x7FFFFFFF),
                                        (0x7FFFF024, 0x7FFFF000),
                                        (0x80000024, 0x80000000), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_wav_written_to_a_pipe_is_legal(tmp_path, riff, data):
    """Its header was written before the length was known: recorders, sox and ffmpeg leave such numbers in it."""
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    content, place = bytearray(path.read_bytes()), data_position(path)
    content[4:8], content[place:place + 4] = struct.pack('<I', riff), struct.pack('<I', data)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS / np.float32(32768))


def test_flac_written_to_a_pipe_is_legal(tmp_path):
    """Its number of samples, the last 36 bits of bytes 18 to 25, is 0: unknown."""
    path = write_sound(tmp_path / 'a.flac', STEPS, RATE)
    content = bytearray(path.read_bytes())
    assert int.from_bytes(content[21:26], 'big') & 0xFFFFFFFFF == len(STEPS)
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS / np.float32(32768))


def test_chunks_before_and_after_the_sound_are_passed_over(tmp_path):
    """Also those of odd length, which are followed by a byte of padding."""
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    content, odd = path.read_bytes(), b'note' + struct.pack('<I', 3) + b'abc\0'
    content = content[:12] + odd + content[12:] + odd
    path.write_bytes(content[:4] + struct.pack('<I', len(content) - 8) + content[8:])
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS / np.float32(32768))


def test_an_end_that_lacks_less_than_a_percent_is_legal(tmp_path):
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    path.write_bytes(path.read_bytes()[:-20])  # 10 of 5000 samples
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS[:-10] / np.float32(32768))


@pytest.mark.parametrize('make', [str, lambda path: path])
def test_path_may_be_text(tmp_path, make):
    assert len(read_audio(make(write_sound(tmp_path / 'a.wav', STEPS, RATE)), RATE)[0]) == len(STEPS)


# ---- what is refused -------------------------------------------------------------------------------------------------

def test_missing_and_folder(tmp_path):
    refused(tmp_path / 'none.wav', 'does not exist')
    (tmp_path / 'folder.wav').mkdir()
    refused(tmp_path / 'folder.wav', 'does not exist')


@pytest.mark.parametrize('name', ['a.wav', 'a.flac', 'a.ogg', 'a.mp3', 'a.aiff'])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, r'empty \(0 bytes\)')


@pytest.mark.parametrize('name', ['a.wav', 'a.aiff'])
@pytest.mark.parametrize('rate', [RATE, 8000])
def test_no_samples(tmp_path, name, rate):
    refused(write_sound(tmp_path / name, np.zeros(0, np.float32), rate), 'no samples')


@pytest.mark.parametrize('name', ['a.wav', 'a.flac', 'a.ogg', 'a.mp3', 'a.aiff'])
@pytest.mark.parametrize('content', [b'this is not audio\n' * 500, b'RIFF', b'RIFF\x10\0\0\0WAVEfmt ', b'OggS', b'fLaC',
                                     b'\0' * 100])
def test_text_and_scraps_are_not_audio(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, 'not readable as audio|no samples|truncated')


def test_text_says_what_to_do(tmp_path):
    (tmp_path / 'a.wav').write_text('hello\n' * 100)
    refused(tmp_path / 'a.wav', 'not readable as audio.*ffmpeg')


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('rate', [RATE, 8000])
def test_nan_and_infinite_samples(tmp_path, bad, channels, rate):
    sound = tone(1000, 0.1, rate, channels)
    sound[100] = bad
    refused(write_sound(tmp_path / 'a.wav', sound, rate, subtype='FLOAT'), '1 samples are NaN or infinite')


@pytest.mark.parametrize('part', [0.3, 0.6, 0.97])
@pytest.mark.parametrize('name', ['a.wav', 'a.flac', 'a.ogg', 'a.mp3', 'a.aiff'])
@pytest.mark.parametrize('rate', [RATE, 16000])
def test_truncated(tmp_path, name, part, rate):
    sound = tone(440, 2, rate) + np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
    whole = write_sound(tmp_path / name, sound, rate)
    assert abs(len(read_audio(whole, None)[0]) - len(sound)) < 4000  # the whole file is legal
    refused(cut(whole, part), 'truncated|not readable as audio', rate)


@pytest.mark.parametrize('name', ['a.wav', 'a.aiff', 'a.ogg'])
def test_truncated_says_so(tmp_path, name):
    refused(cut(write_sound(tmp_path / name, tone(440, 2), RATE), 0.5), '^truncated: ')


def test_truncated_after_an_odd_chunk(tmp_path):
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    content = path.read_bytes()
    path.write_bytes(content[:12] + b'note' + struct.pack('<I', 3) + b'abc\0' + content[12:])
    refused(cut(path, 0.5), '^truncated: ')


def test_damage_in_the_middle_of_a_flac_is_not_passed_on(tmp_path):
    """Frames carry check sums: what cannot be decoded must be refused, not be read as zeros or be dropped."""
    path = write_sound(tmp_path / 'a.flac', np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE), RATE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 20000] = bytes(20000)
    path.write_bytes(content)
    refused(path, 'truncated|not readable as audio')


def test_these_formats_can_be_written_here():
    """Otherwise the tests above would be about something else than they say."""
    assert {'WAV', 'FLAC', 'OGG', 'MP3', 'AIFF'} <= set(soundfile.available_formats())
