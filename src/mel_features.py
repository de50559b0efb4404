"""Log-mel spectrograms as VGGish takes them: frames without padding, magnitudes, triangles on HTK's mel scale."""
import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, sparse

from shared import UserError

BLOCK = 960  # frames per transform: limits the memory for long recordings
SILENT_RMS, SILENT_PART = 1e-4, 0.05  # of full scale; of the clip's loudest example


def hertz_to_mel(frequency):
    """HTK's mel scale."""
    return 1127 * np.log1p(np.asarray(frequency) / 700)


def periodic_hann(length):
    """Periodic Hann window, (length,) float64."""
    return np.hanning(length + 1)[:-1]


def mel_matrix(fft_length, sample_rate, num_bands, low, high):
    """Weights from FFT magnitudes to mel bands, (fft_length // 2 + 1, num_bands) float64.

    The triangles are linear in mel (librosa's are linear in Hz), overlap by half and reach from `low` to `high` Hz; their
    tops are 1. The mean of a frame, bin 0, counts for no band.
    """
    edges = np.linspace(hertz_to_mel(low), hertz_to_mel(high), num_bands + 2)
    bins = hertz_to_mel(np.arange(fft_length // 2 + 1) * sample_rate / fft_length)[:, None]
    lower, top, upper = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.maximum(0, np.minimum((bins - lower) / (top - lower), (upper - bins) / (upper - top)))
    matrix[0] = 0
    return matrix


@functools.cache
def sparse_mel_matrix(*arguments):
    """mel_matrix, transposed and sparse. The last bits of a dense product would depend on the number of threads."""
    return sparse.csr_array(mel_matrix(*arguments).T)


def stft_magnitude(samples, window_length, hop, fft_length, window=None):
    """Magnitude of the Fourier transform of each whole frame, in blocks.

    Yields arrays (BLOCK frames or fewer, fft_length // 2 + 1) of the type of `samples` (length,). A frame is window_length
    samples under `window`, a periodic Hann window unless given, zero-padded to fft_length.
    """
    frames = sliding_window_view(samples, window_length)[::hop]
    window = (periodic_hann(window_length) if window is None else window).astype(samples.dtype)
    for begin in range(0, len(frames), BLOCK):
        yield np.abs(fft.rfft(frames[begin:begin + BLOCK] * window, fft_length))


def log_mel_spectrogram(samples, sample_rate, window_seconds, hop_seconds, num_bands, low, high, offset, window=None):
    """ln(mel + offset) of each whole frame, (T, num_bands) of the type of `samples`.

    Args:
        samples: (length,) float32 or float64, at least a window.
        sample_rate: Hz.
        window_seconds, hop_seconds: rounded to samples; the FFT has the next power of two.
        num_bands, low, high: see mel_matrix.
        window: see stft_magnitude.

    T = 1 + (length - window) // hop, in samples.
    """
    window_length, hop = round(window_seconds * sample_rate), round(hop_seconds * sample_rate)
    fft_length = 1 << (window_length - 1).bit_length()
    matrix = sparse_mel_matrix(fft_length, sample_rate, num_bands, low, high).astype(samples.dtype, copy=False)
    return np.concatenate([np.log((matrix @ block.T).T + offset)
                           for block in stft_magnitude(samples, window_length, hop, fft_length, window)])


def checked(samples):
    """Samples (length,) of any floating-point type as float32.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers, or have several channels.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise UserError(f'samples of shape {samples.shape} and type {samples.dtype}: expected (length,), floating-point, full '
                        'scale = 1 (average the channels; divide whole numbers of 16 bits by 32768)')
    if not np.isfinite(samples).all():
        raise UserError(f'{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite')
    return samples.astype(np.float32, copy=False)


def sounding(samples, length, hop):
    """Which examples of a clip are not silent, (N,) bool; the others say nothing about the clip and can be left out.

    An example is silent when the root mean square of its samples is at most 1e-4 of full scale, or at most 5 % of that of the
    clip's loudest example. Of a clip where all are silent, all are kept.

    Args:
        samples: (samples,), floating-point, full scale = 1.
        length, hop: of the examples; samples. Example i is made from samples[i * hop : i * hop + length].
    """
    windows = sliding_window_view(samples, length)[::hop]
    level = np.array([np.sqrt(np.mean(np.square(window, dtype=np.float64))) for window in windows])
    loud = level > max(SILENT_RMS, SILENT_PART * level.max())
    return loud | ~loud.any()
