"""Frames, Fourier transforms and mel bands: those of VGGish (HTK's mel scale) and those of librosa (Slaney's)."""
import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, sparse

BLOCK = 2 ** 14  # samples of all frames of a transform: what fits the processor's cache is fastest, and memory stays small
SILENT_RMS, SILENT_PART = 1e-4, 0.05  # of full scale; of the clip's loudest example


def hertz_to_mel(frequency):
    """HTK's mel scale."""
    return 1127 * np.log1p(np.asarray(frequency) / 700)


def periodic_hann(length):
    """Periodic Hann window, (length,) float64."""
    return np.hanning(length + 1)[:-1]


def mel_matrix(fft_length, sample_rate, num_bands, low, high):
    """Weights from FFT magnitudes to VGGish's mel bands, (fft_length // 2 + 1, num_bands) float64.

    The triangles are linear in mel (librosa's are linear in Hz), overlap by half and reach from `low` to `high` Hz; their
    tops are 1. The mean of a frame, bin 0, counts for no band.
    """
    edges = np.linspace(hertz_to_mel(low), hertz_to_mel(high), num_bands + 2)
    bins = hertz_to_mel(np.arange(fft_length // 2 + 1) * sample_rate / fft_length)[:, None]
    lower, top, upper = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.maximum(0, np.minimum((bins - lower) / (top - lower), (upper - bins) / (upper - top)))
    matrix[0] = 0
    return matrix


def slaney_mel_matrix(sample_rate, n_fft, n_mels, low=0):
    """Weights from FFT powers to librosa's mel bands, (n_mels, n_fft // 2 + 1) float32.

    Slaney's mel scale is linear up to 1000 Hz, 15 mel, and logarithmic above, 27 mel for a factor of 6.4. The triangles are linear in Hz,
    overlap by half, reach from `low` Hz (up to 1000) to half the sample rate and have the area 1.
    """
    linear, step = 3 / 200, np.log(6.4) / 27  # mel per Hz below 1000 Hz; logarithm per mel above
    highest = sample_rate / 2
    top = 15 + np.log(highest / 1000) / step if highest >= 1000 else highest * linear
    mel = np.linspace(low * linear, top, n_mels + 2)
    edges = np.where(mel < 15, mel / linear, 1000 * np.exp(step * (mel - 15)))[:, None]
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    matrix = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    matrix *= 2 / (edges[2:] - edges[:-2])
    return matrix


@functools.cache
def sparse_mel_matrix(*arguments):
    """mel_matrix, transposed and sparse. The last bits of a dense product would depend on the number of threads."""
    return sparse.csr_array(mel_matrix(*arguments).T)


def stft(samples, window, hop, fft_length):
    """Fourier transform of each whole frame, in blocks: yields complex arrays (B frames, fft_length // 2 + 1).

    A frame is samples (length,) under the window (frame,), zero-padded to fft_length; it is transformed in the precision of their product.
    """
    frames, count = sliding_window_view(samples, len(window))[::hop], max(1, BLOCK // fft_length)
    for begin in range(0, len(frames), count):
        yield fft.rfft(frames[begin:begin + count] * window, fft_length)


def magnitude_blocks(samples, window_length, hop, fft_length, window=None):
    """Blocks of the magnitude of `stft` (iterator), of the type of `samples`.

    Args:
        window: (window_length,); None: a periodic Hann window.
    """
    window = (periodic_hann(window_length) if window is None else window).astype(samples.dtype)
    return map(np.abs, stft(samples, window, hop, fft_length))


def log_mel_spectrogram(samples, sample_rate, window_seconds, hop_seconds, num_bands, low, high, offset, window=None):
    """ln(mel + offset) of each whole frame, (T, num_bands) of the type of `samples`.

    Args:
        samples: (length,) float32 or float64, at least a window.
        sample_rate: Hz.
        window_seconds, hop_seconds: rounded to samples; the FFT has the next power of two.
        num_bands, low, high: see mel_matrix.
        window: see magnitude_blocks.

    T = 1 + (length - window) // hop, in samples.
    """
    window_length, hop = round(window_seconds * sample_rate), round(hop_seconds * sample_rate)
    fft_length = 1 << (window_length - 1).bit_length()
    matrix = sparse_mel_matrix(fft_length, sample_rate, num_bands, low, high).astype(samples.dtype, copy=False)
    return np.concatenate([np.log((matrix @ block.T).T + offset)
                           for block in magnitude_blocks(samples, window_length, hop, fft_length, window)])


def sounding(samples, length, hop):
    """Which examples of a clip are not silent, (N,) bool. Silent examples hold no information about the clip and can be left out.

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
