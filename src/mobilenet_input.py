"""From sound to the input of mn04 and mn10: a log-mel spectrogram of the whole clip, 100 frames of 128 bands a second.

Source: Schmid et al., Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation (arXiv 2211.04772), in the
form that its authors released as EfficientAT.
"""
import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, sparse

from audio import checked_samples, read_audio
from mel_features import mel_matrix

SAMPLE_RATE = 32000         # Hz
HOP, WINDOW, FFT = 320, 800, 1024   # samples
NUM_BANDS = 128
MEL_MIN_HZ, MEL_MAX_HZ = 0, 15000
PRE_EMPHASIS = 0.97
LOG_OFFSET = 1e-5           # ln(mel + this)
SHIFT, SCALE = 4.5, 5       # (ln + shift) / scale: roughly normalised
WINDOW_FRAMES, WINDOW_HOP = 1000, 500   # 10 s, as in training, and 5 s: longer clips are cut
MIN_SAMPLES = SAMPLE_RATE   # shorter clips are repeated up to 1 s
BLOCK = 100                 # frames per transform: what fits the processor's cache is fastest, powers of two are slow


def file_to_log_mel(path, resampler='soxr_hq', level=None):
    """Log-mel spectrogram (T, 128) of a sound file of any rate, channels and format: see log_mel, audio.read_audio."""
    samples, _ = read_audio(path, SAMPLE_RATE, resampler)
    return log_mel(samples, level)


def at_level(samples, level):
    """Samples (length,) with a root mean square of `level` dB of full scale; silence stays silent."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return samples * np.float32(10 ** (level / 20) / rms) if rms > 0 else samples


def log_mel(samples, level=None):
    """Log-mel spectrogram of a clip, (T, 128) float32, T = 1 + (length - 1) // 320.

    Args:
        samples: (length,) floating-point at 32 kHz, full scale = 1. Clips below 1 s are repeated up to exactly 1 s.
        level: root mean square that the clip is brought to first, in dB of full scale (-20: a tenth); None: its own.

    Frames are 10 ms apart and centred: frame t is around sample 320 t. Both ends are mirrored.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers.
    """
    samples = checked_samples(samples)
    if level is not None:
        samples = at_level(samples, level)
    if len(samples) < MIN_SAMPLES:
        samples = np.resize(samples, MIN_SAMPLES)
    frames = sliding_window_view(emphasised(samples), WINDOW)[::HOP].T  # one column a frame: then everything runs along rows
    window, matrix = np.hanning(WINDOW).astype(np.float32)[:, None], sparse_mel_matrix()
    windowed = np.zeros((FFT, BLOCK), np.float32)  # zeros at the end, where the authors have half of them at each side: same power
    bands = np.empty((NUM_BANDS, frames.shape[1]), np.float32)
    for begin in range(0, frames.shape[1], BLOCK):
        block = frames[:, begin:begin + BLOCK]
        count = block.shape[1]
        np.multiply(block, window, out=windowed[:WINDOW, :count])
        parts = fft.rfft(windowed[:, :count], axis=0, workers=1).view(np.float32)  # real and imaginary parts side by side
        mel = matrix @ np.square(parts, out=parts)
        np.add(mel[:, ::2], mel[:, 1::2], out=bands[:, begin:begin + count])
    bands += np.float32(LOG_OFFSET)
    np.log(bands, out=bands)
    bands += np.float32(SHIFT)
    bands /= np.float32(SCALE)
    return np.ascontiguousarray(bands.T)


def emphasised(samples):
    """Each sample minus 0.97 of the one before, (length - 1 + 800,) float32, with half a window mirrored at both ends."""
    half = WINDOW // 2
    padded = np.empty(len(samples) - 1 + WINDOW, np.float32)
    inner = padded[half:-half]
    np.multiply(samples[:-1], np.float32(-PRE_EMPHASIS), out=inner)
    inner += samples[1:]
    padded[:half], padded[-half:] = inner[half:0:-1], inner[-2:-half - 2:-1]
    return padded


@functools.cache
def sparse_mel_matrix():
    """Weights from FFT powers to bands, (128, 513) float32."""
    return sparse.csr_array(mel_matrix(FFT, SAMPLE_RATE, NUM_BANDS, MEL_MIN_HZ, MEL_MAX_HZ).T.astype(np.float32))


def windows(spectrogram):
    """Windows of a clip's spectrogram (T, 128) that the network takes one by one, (W, F, 128), views where possible.

    Clips up to 10 s are one window, F = T. Longer ones are cut into windows of 10 s every 5 s, F = 1000; the last one ends with the
    clip. The embedding of a clip is the mean over its windows.
    """
    starts = window_starts(len(spectrogram))
    return spectrogram[None] if starts == [0] else np.stack([spectrogram[start:start + WINDOW_FRAMES] for start in starts])


def window_starts(frames):
    """First frames of the windows of a clip, see windows (list of int)."""
    last = frames - WINDOW_FRAMES
    return [*range(0, last, WINDOW_HOP), last] if last > 0 else [0]
