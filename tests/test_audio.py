"""audio.read_audio: every format, rate and number of channels that data sets hold, and every way in which files are broken."""
import errno
import os
import struct
import subprocess
import sys
import tracemalloc

import av
import librosa
import numpy as np
import pytest
import soundfile

import shared
from audio import blocks, count_ogg_streams, decode, mp3_frames, read_audio, resample, seconds_of, stream
from commands import ROOT
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


@pytest.mark.parametrize('rate', [8000, 22050, 48000, 96000])
@pytest.mark.parametrize('resampler', ['soxr_hq', 'soxr_qq'])
def test_soxr_is_librosas_at_every_length(rate, resampler):
    rng = np.random.default_rng(0)
    for length in [*range(3, 60), *range(rate // 50, 3 * rate // 50, rate // 100), 4410, 44101]:
        samples = rng.uniform(-1, 1, length).astype(np.float32)
        np.testing.assert_array_equal(resample(samples, rate, RATE, resampler),
                                      librosa.resample(samples, orig_sr=rate, target_sr=RATE, res_type=resampler))


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


# ---- files of phones, recorders and editors ---------------------------------------------------------------------------

def encode(path, codec, rate=RATE, seconds=4, form=None, options={}, container={}, level=1):
    """Write noise under a tone of 440 Hz with FFmpeg; returns the path."""
    sound = tone(440, seconds, rate) + np.random.default_rng(0).normal(0, 0.05, round(seconds * rate)).astype(np.float32)
    sound *= np.float32(level)
    with av.open(str(path), 'w', form, options=container) as output:
        stream = output.add_stream(codec, rate, options=options)
        stream.layout, stream.bit_rate = 'mono', 12200 if 'amr' in codec else 64000
        size = stream.codec_context.frame_size or 1024
        for start in range(0, len(sound), size):
            frame = av.AudioFrame.from_ndarray(sound[None, start:start + size], 'fltp', 'mono')
            frame.sample_rate, frame.pts = rate, start
            output.mux(stream.encode(av.AudioResampler(stream.format, 'mono', rate).resample(frame)[0]))
        output.mux(stream.encode(None))
    return path


def keeps_the_tone(path, seconds=4, rate=RATE):
    samples, found = read_audio(path, None)
    assert found == rate and abs(len(samples) / rate - seconds) < 0.1, len(samples) / rate
    assert abs(peak(samples, rate) - 440) < 2 and 0.3 < np.sqrt(np.mean(samples[2000:-2000] ** 2)) < 0.4
    return samples


PHONES = [('a.m4a', 'aac', RATE, {}), ('a.mp4', 'aac', 16000, {}), ('a.3gp', 'libopencore_amrnb', 8000, {}), ('a.webm', 'libopus', 48000, {}),
          ('a.amr', 'libopencore_amrnb', 8000, {}), ('a.opus', 'libopus', 48000, {}), ('a.aac', 'aac', RATE, {}), ('a.wma', 'wmav2', RATE, {}),
          ('a.mka', 'flac', RATE, {}), ('a.m4a', 'alac', RATE, {'movflags': 'faststart'})]


@pytest.mark.parametrize('name, codec, rate, container', PHONES)
def test_sounds_of_phones(tmp_path, name, codec, rate, container):
    keeps_the_tone(encode(tmp_path / name, codec, rate, container=container), rate=rate)


@pytest.mark.parametrize('name, codec, rate, container', [phone for phone in PHONES if phone[0] not in ('a.amr', 'a.aac')])
def test_halves_of_them_are_refused(tmp_path, name, codec, rate, container):
    """.amr and .aac are frames without any header: what is there is all that can be known."""
    path = cut(encode(tmp_path / name, codec, rate, container=container), 0.5)
    refused(path, r'truncated|not readable as audio \(.*damaged', None)


@pytest.mark.parametrize('part', [0.92, 0.96])
def test_a_little_that_is_missing_of_a_lossless_codec(tmp_path, part):
    """Lossy codecs may lack 0.15 s at the ends, these may not."""
    path = encode(tmp_path / 'a.mka', 'flac', RATE)
    assert len(read_audio(path, None)[0]) > RATE
    refused(cut(path, part), 'truncated|not readable as audio', None)


CONTAINERS = [('a.wav', 'WAVEX', 'PCM_24', RATE), ('a.wav', 'WAV', 'GSM610', 8000), ('a.wav', 'WAV', 'G721_32', 8000),
              ('a.wav', 'WAV', 'IMA_ADPCM', RATE), ('a.wav', 'WAV', 'ULAW', RATE), ('a.rf64', 'RF64', 'PCM_16', RATE),
              ('a.w64', 'W64', 'PCM_16', RATE), ('a.au', 'AU', 'PCM_16', RATE), ('a.caf', 'CAF', 'PCM_16', RATE),
              ('a.caf', 'CAF', 'ALAC_16', RATE), ('a.opus', 'OGG', 'OPUS', 48000), ('a.svx', 'SVX', 'PCM_16', RATE),
              ('a.voc', 'VOC', 'PCM_16', RATE), ('a.nist', 'NIST', 'PCM_16', RATE), ('a.avr', 'AVR', 'PCM_16', RATE),
              ('a.mat', 'MAT5', 'PCM_16', RATE)]


@pytest.mark.parametrize('name, form, subtype, rate', CONTAINERS)
def test_containers_are_used_as_a_whole_or_refused(tmp_path, name, form, subtype, rate):
    path = write_sound(tmp_path / name, tone(440, 4, rate), rate, format=form, subtype=subtype)
    keeps_the_tone(path, rate=rate)
    refused(cut(path, 0.5), 'truncated: .* (missing|decoded)$|truncated: .*Ogg|damaged', None)


LONG = [('a.wav', 'WAV', None), ('a.flac', 'FLAC', None), ('a.ogg', 'OGG', None), ('a.mp3', 'MP3', None), ('a.aiff', 'AIFF', None),
        ('a.au', 'AU', None), ('a.w64', 'W64', None), ('a.rf64', 'RF64', None), ('a.voc', 'VOC', 'PCM_16'), ('a.caf', 'CAF', None),
        ('a.caf', 'CAF', 'ALAC_16'), ('a.opus', 'OGG', 'OPUS'), ('a.svx', 'SVX', 'PCM_16'), ('a.nist', 'NIST', None), ('a.avr', 'AVR', None),
        ('a.mat', 'MAT5', None), ('a.wav', 'WAV', 'GSM610'), ('a.wav', 'WAV', 'G721_32')]


@pytest.mark.parametrize('name, form, subtype', LONG)
def test_streams_are_used_as_a_whole_or_refused(tmp_path, name, form, subtype):
    """A long recording whose end is missing must not be labelled as if it ended there."""
    path = write_sound(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 20 * 8000), 8000, format=form, subtype=subtype)
    samples = np.concatenate([block for block, _ in blocks(path)])
    np.testing.assert_allclose(samples, decode(path)[0], atol=1e-4 if form == 'MP3' else 0)  # FFmpeg's rounding
    for part in (0.97, 0.6, 0.3):
        refused(cut(path, part), 'truncated|damaged', None)
        with pytest.raises(UserError, match='truncated|damaged'):
            list(stream(path, 8000))


@pytest.mark.parametrize('name, form', [('a.paf', 'PAF'), ('a.pvf', 'PVF'), ('a.sf', 'IRCAM')])
def test_formats_without_a_length_are_refused(tmp_path, name, form):
    refused(write_sound(tmp_path / name, tone(440, 1), RATE, format=form, subtype='PCM_16'), f'{form} files do not store their length.*WAV')


def test_mp3_of_variable_bit_rate_without_its_length(tmp_path):
    """libsndfile estimates the length from the first frames: the quiet ones here."""
    sound = np.concatenate([np.zeros(RATE, np.float32), tone(440, 5)])
    with av.open(str(tmp_path / 'a.mp3'), 'w', options={'write_xing': '0'}) as output:
        stream = output.add_stream('libmp3lame', RATE, options={'qscale': '2'})
        stream.codec_context.flags |= 2  # qscale counts
        stream.codec_context.global_quality = 2 * 118
        stream.layout = 'mono'
        for start in range(0, len(sound), 1152):
            frame = av.AudioFrame.from_ndarray(sound[None, start:start + 1152], 'fltp', 'mono')
            frame.sample_rate, frame.pts = RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    samples, _ = read_audio(tmp_path / 'a.mp3', None)
    assert abs(len(samples) / RATE - 6) < 0.1
    assert np.abs(samples[-RATE:-3000]).max() > 0.4


def test_mp3_without_its_length_that_begins_quietly(tmp_path):
    """Of a variable bit rate, libsndfile then estimates a length that the whole file does not have: it is no promise."""
    sound = np.concatenate([np.zeros(5 * RATE, np.float32), np.random.default_rng(0).normal(0, 0.3, 5 * RATE)])
    path = write_sound(tmp_path / 'a.mp3', sound, RATE, bitrate_mode='VARIABLE')
    with av.open(str(path)) as container:
        first = next(packet.pos for packet in container.demux() if packet.size)
    content = path.read_bytes()
    assert b'Xing' in content[:first]
    path.write_bytes(content[first:])
    assert soundfile.info(path).duration > 12
    assert abs(seconds_of(path) - 10) < 0.1
    for samples in (decode(path)[0], np.concatenate([block for block, _ in blocks(path)])):
        assert abs(len(samples) / RATE - 10) < 0.1


def test_the_duration_of_aac_that_begins_loudly(tmp_path):
    """FFmpeg estimates it by the bit rate of the first frames."""
    loud, quiet = encode(tmp_path / 'loud.aac', 'aac', seconds=3), encode(tmp_path / 'quiet.aac', 'aac', seconds=30, level=0)
    path = tmp_path / 'a.aac'
    path.write_bytes(loud.read_bytes() + quiet.read_bytes())
    with av.open(str(path)) as container:
        assert not 20 < container.duration / 1e6 < 50
    assert abs(seconds_of(path) - 33) < 0.2


def test_joined_mp3_and_chained_ogg(tmp_path):
    """Two files one after the other are a legal stream; libsndfile reads the first one."""
    for suffix in ('mp3', 'ogg'):
        parts = [write_sound(tmp_path / f'{f}.{suffix}', tone(f, 2), RATE).read_bytes() for f in (440, 1200)]
        (tmp_path / f'a.{suffix}').write_bytes(b''.join(parts))
        samples, _ = read_audio(tmp_path / f'a.{suffix}', None)
        assert abs(len(samples) / RATE - 4) < 0.15
        assert abs(peak(samples[:RATE], RATE) - 440) < 2 and abs(peak(samples[-RATE:], RATE) - 1200) < 2
        assert seconds_of(tmp_path / f'440.{suffix}') == 2
        seconds = seconds_of(tmp_path / f'a.{suffix}')  # as one clip, thirty joined ones would be averaged
        assert seconds is None if suffix == 'ogg' else abs(seconds - 4) < 0.15


def ogg_pages(content):
    """Start and end of each page of an Ogg file."""
    place, pages = 0, []
    while place < len(content):
        count = content[place + 26]
        end = place + 27 + count + sum(content[place + 27:place + 27 + count])
        pages.append((place, end))
        place = end
    return pages


def ogg_checksum(page):
    """CRC-32 of Ogg: polynomial 0x04c11db7, bit by bit from the highest one, no inversion."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x104c11db7 if crc & 0x80000000 else crc << 1) & 0xffffffff
    return crc


def test_ogg_without_the_mark_of_its_end(tmp_path):
    """Recorders of phones write whole pages and stop."""
    path = write_sound(tmp_path / 'a.ogg', tone(440, 4), RATE)
    content = bytearray(path.read_bytes())
    start, end = ogg_pages(content)[-1]
    whole, _ = read_audio(path, None)
    content[start + 5] &= ~4
    content[start + 22:start + 26] = bytes(4)
    content[start + 22:start + 26] = struct.pack('<I', ogg_checksum(content[start:end]))
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path, None)[0][:len(whole)], whole)


def traced(function, path):
    """What the function returns, and the bytes of memory that Python needed at most."""
    tracemalloc.start()
    try:
        return function(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_frames_of_mp3_are_counted_with_bounded_memory(tmp_path):
    """Those of silence are smaller than the header."""
    path = write_sound(tmp_path / 'a.mp3', np.zeros(300 * 8000, np.float32), 8000)
    mp3_frames(path)  # imports
    (seconds, tagged), memory = traced(mp3_frames, path)
    assert abs(seconds - 300) < 0.2 and tagged and memory < 1e5


def test_ogg_is_checked_with_bounded_memory_and_once(tmp_path, monkeypatch):
    path = write_sound(tmp_path / 'a.ogg', tone(440, 1), RATE)
    path.write_bytes(path.read_bytes() * 1500)
    assert path.stat().st_size > 8e6
    os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(shared.time, 'time_ns', lambda: 10 ** 19)  # long after it was written
    streams, memory = traced(count_ogg_streams, path)
    assert streams == 1500 and memory < 1e6
    monkeypatch.setattr('audio.ogg_checksum', None)  # calling it would fail
    assert count_ogg_streams(path) == 1500
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TypeError):
        count_ogg_streams(path)


def test_ogg_with_something_else_in_it(tmp_path):
    path = write_sound(tmp_path / 'a.ogg', tone(440, 4), RATE)
    path.write_bytes(path.read_bytes() + b'and more')
    refused(path, 'damaged: after .* the Ogg stream does not go on')


@pytest.mark.parametrize('part', [0.1, 0.5, 0.9])
def test_wav_whose_header_tells_less_than_there_is(tmp_path, part):
    """A recorder that died had written the length so far."""
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    content, place = bytearray(path.read_bytes()), data_position(path)
    length = int(part * 2 * len(STEPS)) // 2 * 2
    content[4:8], content[place:place + 4] = struct.pack('<I', length + 36), struct.pack('<I', length)
    path.write_bytes(content)
    refused(path, f'its header promises {length} bytes of sound, {2 * len(STEPS)} follow.*sox')


def test_wav_with_length_0_and_the_right_length_of_the_file(tmp_path):
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)
    content, place = bytearray(path.read_bytes()), data_position(path)
    content[place:place + 4] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS / np.float32(32768))


def test_bw64(tmp_path):
    """RF64 under the name that the broadcasters' standard gives it, with a chunk in Latin-1."""
    content = write_sound(tmp_path / 'a.wav', STEPS, RATE, format='RF64', subtype='PCM_16').read_bytes()
    path = tmp_path / 'b.wav'
    bext = b'bext' + struct.pack('<I', 602) + 'Geräusch'.encode('latin-1').ljust(602, b'\0')
    data = content.index(b'data')
    path.write_bytes(b'BW64' + content[4:data] + bext + content[data:])
    np.testing.assert_array_equal(read_audio(path, RATE)[0], STEPS / np.float32(32768))


def test_channels_out_of_phase(tmp_path):
    stereo = tone(1000, 0.5, channels=2) * np.float32([1, -1])
    refused(write_sound(tmp_path / 'a.wav', stereo, RATE), 'out of phase: their mean has a level of .*, they have 0.35 .*Export one channel')
    stereo[:, 1] *= 0.5
    samples, _ = read_audio(write_sound(tmp_path / 'b.wav', stereo, RATE, subtype='FLOAT'), RATE)
    np.testing.assert_allclose(samples, tone(1000, 0.5) / 4, atol=1e-6)


@pytest.mark.parametrize('content, said', [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n', 'Git LFS pointer.*git lfs pull'),
    (b'\n<!DOCTYPE html>\n<html><body>404</body></html>', 'web page.*Download the sound again'),
    (b'hello\n' * 100, "it is text .b'hello"), (b'\x89PNG\r\n\x1a\n' + bytes(100), 'a PNG image'),
    (b'PK\x03\x04' + bytes(100), 'a zip archive: unpack it')])
def test_other_files_are_told_by_their_name(tmp_path, content, said):
    (tmp_path / 'a.wav').write_bytes(content)
    refused(tmp_path / 'a.wav', f'not readable as audio: it is {"" if said.startswith("it is") else "a " * (said[0] in "Gw")}'
            f'{said.removeprefix("it is ")}')


def test_samples_of_libsndfile_stay_as_they_are(tmp_path):
    for name in ('a.wav', 'a.flac', 'a.ogg', 'a.mp3'):
        path = write_sound(tmp_path / name, tone(440, 1, channels=2), RATE)
        samples, rate = decode(path)
        np.testing.assert_array_equal(samples, soundfile.read(path, dtype='float32', always_2d=True)[0])


def test_a_long_recording_and_too_little_memory(tmp_path):
    """Nothing is wrong with its header."""
    path = write_sound(tmp_path / 'a.wav', np.zeros(600 * 8000, np.float32), 8000, subtype='PCM_U8')
    program = ('import resource, sys; from pathlib import Path; from audio import decode; decode(sys.argv[1])\n'
               'size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()\n'
               'resource.setrlimit(resource.RLIMIT_AS, (size + 10_000_000, -1))\n'
               'try:\n    decode(sys.argv[1])\nexcept Exception as problem:\n    print(type(problem).__name__, problem)')
    done = subprocess.run([sys.executable, '-c', program, path], capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT / 'src')})
    assert done.stdout.startswith('UserError there is not enough memory') and 'cut it into parts' in done.stdout, done.stdout + done.stderr


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
    path = write_sound(tmp_path / name, np.zeros(0, np.float32), rate)
    refused(path, 'no samples')
    with pytest.raises(UserError, match='no samples'):
        list(stream(path, RATE))


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


@pytest.mark.parametrize('place', [0.7, 0.8, 0.9])
def test_a_stream_that_breaks_does_not_begin_again(tmp_path, place):
    """The beginning was passed on already when the damage is found."""
    path = write_sound(tmp_path / 'a.flac', np.random.default_rng(0).uniform(-0.5, 0.5, 20 * 16000), 16000)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    blocks = stream(path, 16000)
    heard = len(next(blocks))
    with pytest.raises(UserError, match='damaged|truncated'):
        for block in blocks:
            heard += len(block)
    assert 5 * 16000 <= heard <= 20 * 16000


@pytest.mark.parametrize('error', [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read(tmp_path, monkeypatch, error):
    path = write_sound(tmp_path / 'a.wav', STEPS, RATE)

    def fail(*_):
        raise OSError(error, os.strerror(error))
    monkeypatch.setattr('builtins.open', fail)
    refused(path, f'cannot be read \\({os.strerror(error)}\\): correct its permissions, or copy it again')


def test_these_formats_can_be_written_here():
    """Otherwise the tests above would be about something else than they say."""
    assert {'WAV', 'FLAC', 'OGG', 'MP3', 'AIFF'} <= set(soundfile.available_formats())
