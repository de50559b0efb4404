"""From a sound file of any rate, channels and format to checked mono samples.

Decoding is libsndfile's (WAV, FLAC, Ogg, MP3, AIFF, ...); resampling is librosa's.
"""
import struct
from pathlib import Path

import numpy as np
import soundfile

from shared import UserError

TOLERANCE = 0.01  # part of the sound that may be missing: headers that are off by a few samples are common


def read_audio(path, sample_rate, resampler='soxr_hq'):
    """Decode a sound file to mono at one sample rate.

    Args:
        path: sound file.
        sample_rate: wanted rate in Hz, or None for the file's own.
        resampler: a `res_type` of librosa.resample; not used when the rate is right already.

    Returns (samples, rate): samples float32, shape (length,), the mean over channels, full scale = 1.
    Raises UserError when the file is missing, empty, truncated, not audio, or holds NaN or infinite samples. Silence is
    legal audio.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError('the file does not exist')
    if path.stat().st_size == 0:
        raise UserError('the file is empty (0 bytes)')
    refuse_truncated(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, promised = file.samplerate, file.frames
            samples = file.read(dtype='float32', always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as problem:
        raise UserError(f'not readable as audio ({problem}); convert it, e.g. to WAV with ffmpeg') from None
    if len(samples) == 0:
        raise UserError('the file has no samples')
    if len(samples) < (1 - TOLERANCE) * promised and promised < 2 ** 62:  # 2^63 - 1: libsndfile cannot know
        raise UserError(f'truncated: {len(samples)} of {promised} samples can be decoded')
    samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(samples).all():
        raise UserError(f'{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite')
    if sample_rate is None or rate == sample_rate:
        return np.ascontiguousarray(samples), rate
    return resample(samples, rate, sample_rate, resampler), sample_rate


def resample(samples, rate, new_rate, resampler):
    """Resample (length,) float32 samples; at least one sample remains of the shortest clip."""
    import librosa  # takes a second to import, and most data sets need no resampling
    if len(samples) * new_rate < rate:
        return samples[:1]
    return librosa.resample(samples, orig_sr=rate, target_sr=new_rate, res_type=resampler)


def refuse_truncated(path):
    """Raise UserError when a file's own structure says that its end is missing: libsndfile reads on without a word.

    WAV and AIFF name the length of their sound chunk, the last page of an Ogg stream is marked.
    """
    size = path.stat().st_size
    with open(path, 'rb') as file:
        kind = file.read(12)[:4]
        if kind in (b'RIFF', b'FORM'):
            sound, order = (b'data', '<I') if kind == b'RIFF' else (b'SSND', '>I')
            while len(head := file.read(8)) == 8:
                length = struct.unpack(order, head[4:])[0]
                missing = file.tell() + length - size
                if head[:4] == sound:
                    # programs that write to a pipe cannot know the length and leave 0 or a huge number
                    if TOLERANCE * length < missing and length < 0x7FFFFF00:
                        raise UserError(f'truncated: {missing} of {length} bytes of sound are missing')
                    break
                file.seek(length + length % 2, 1)  # chunks begin at even places
        elif kind == b'OggS':
            file.seek(max(0, size - 65307))  # the largest page the format allows
            tail = file.read()
            page = tail.rfind(b'OggS')
            if page + 5 >= len(tail) or not tail[page + 5] & 4:  # the flag "last page of the stream"
                raise UserError('truncated: the last page of the Ogg stream is missing')
