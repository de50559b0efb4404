"""From a sound file of any rate, channels and format to checked mono samples.

Decoding is libsndfile's (WAV, FLAC, Ogg, MP3, AIFF, ...); resampling is librosa's.
"""
import io
import struct
from pathlib import Path

import numpy as np
import soundfile

from shared import UserError

TOLERANCE = 0.01  # part of the sound that may be missing: headers that are off by a few samples are common
UNKNOWN = 2 ** 62  # libsndfile gives 2^63 - 1 as the length of a FLAC file that was written to a pipe


def read_audio(path, sample_rate, resampler='soxr_hq'):
    """Decode a sound file to mono at one sample rate.

    Args:
        path: sound file.
        sample_rate: wanted rate in Hz, or None for the file's own.
        resampler: a `res_type` of librosa.resample; not used when the rate is right already.

    Returns (samples, rate): samples float32, shape (length,), the mean over channels, full scale = 1.
    Raises UserError as `decode`, and when samples are NaN or infinite. Silence is legal audio.
    """
    samples, rate = decode(path)
    samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(samples).all():
        raise UserError(f'{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite')
    if sample_rate is None or rate == sample_rate:
        return np.ascontiguousarray(samples), rate
    return resample(samples, rate, sample_rate, resampler), sample_rate


def decode(path):
    """Samples of a sound file as they are, (length, channels) float32, full scale = 1, and its rate in Hz.

    Raises UserError when the file is missing, empty, truncated or not audio.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError('the file does not exist')
    if path.stat().st_size == 0:
        raise UserError('the file is empty (0 bytes)')
    source = checked_source(path)
    try:
        with soundfile.SoundFile(source) as file:
            rate, promised = file.samplerate, file.frames
            if promised < UNKNOWN:
                samples = file.read(dtype='float32', always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as problem:
        raise UserError(f'not readable as audio ({problem}); convert it, e.g. to WAV with ffmpeg') from None
    if promised >= UNKNOWN:
        samples = read_stream(path)
    if len(samples) == 0:
        raise UserError('the file has no samples')
    if len(samples) < (1 - TOLERANCE) * promised and promised < UNKNOWN:
        raise UserError(f'truncated: {len(samples)} of {promised} samples can be decoded')
    return samples, rate


def resample(samples, rate, new_rate, resampler):
    """Resample (length,) float32 samples; at least one sample remains of the shortest clip. 'soxr' is soxr_hq."""
    import librosa  # takes a second to import, and most data sets need no resampling
    if len(samples) * new_rate < rate:
        return samples[:1]
    resampler = 'soxr_hq' if resampler == 'soxr' else resampler
    return librosa.resample(samples, orig_sr=rate, target_sr=new_rate, res_type=resampler)


def read_stream(path):
    """Samples (length, channels) of a file that does not know its length."""
    class Stream(soundfile.SoundFile):
        def seekable(self):  # otherwise every read ends with a seek, which such a file refuses
            return False

    with Stream(path) as file:
        blocks = [file.read(2 ** 20, dtype='float32', always_2d=True)]
        while len(blocks[-1]):
            blocks.append(file.read(2 ** 20, dtype='float32', always_2d=True))
    return np.concatenate(blocks)


def checked_source(path):
    """What to decode of a file: its path, or a copy in memory with a header that has been completed.

    Raises UserError when a file's own structure says that its end is missing: libsndfile reads on without a word. WAV
    and AIFF name the length of their sound chunk, the last page of an Ogg stream is marked.
    """
    size = path.stat().st_size
    with open(path, 'rb') as file:
        kind, whole = struct.unpack('<4sI4x', file.read(12).ljust(12, b'\0'))
        if kind in (b'RIFF', b'FORM'):
            sound, order = (b'data', '<I') if kind == b'RIFF' else (b'SSND', '>I')
            while len(head := file.read(8)) == 8:
                length, begin = struct.unpack(order, head[4:])[0], file.tell()
                if head[:4] != sound:
                    file.seek(length + length % 2, 1)  # chunks begin at even places
                    continue
                # a program that writes to a pipe, or dies, leaves 0 or a huge number as the length
                if length == 0 and kind == b'RIFF' and begin < size != whole + 8:
                    return completed_header(path.read_bytes(), begin)
                missing = begin + length - size
                if TOLERANCE * length < missing and length < 0x7FFF0000:
                    raise UserError(f'truncated: {missing} of {length} bytes of sound are missing')
                break
        elif kind == b'OggS':
            file.seek(max(0, size - 65307))  # the largest page the format allows
            tail = file.read()
            page = tail[tail.rfind(b'OggS'):]
            segments = page[27:27 + page[26]] if len(page) > 26 else b''  # their lengths
            if len(page) < 27 + len(segments) + sum(segments) or not segments or not page[5] & 4:  # 4: the last page
                raise UserError('truncated: the end of the Ogg stream is missing')
    return path


def completed_header(content, begin):
    """A WAV file in memory whose sound, from byte `begin` on, reaches to its end."""
    length = struct.pack('<I', len(content) - begin)
    return io.BytesIO(content[:4] + struct.pack('<I', len(content) - 8) + content[8:begin - 4] + length + content[begin:])
