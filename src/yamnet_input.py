"""From sound to the input of YAMNet: patches of 96 frames x 64 log-mel bands, 0.96 s each, one every 0.48 s.

Source: YAMNet as its authors released it with AudioSet (TensorFlow Models).
"""
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from audio import read_audio
from mel_features import checked, log_mel_spectrogram, sounding

SAMPLE_RATE = 16000                 # Hz
STFT_WINDOW_SECONDS = 0.025
STFT_HOP_SECONDS = 0.010
NUM_BANDS = 64
MEL_MIN_HZ, MEL_MAX_HZ = 125, 7500
LOG_OFFSET = 0.001                  # ln(mel + this)
PATCH_FRAMES, PATCH_HOP = 96, 48
PATCH_SAMPLES, PATCH_HOP_SAMPLES = 15600, 7680  # what 96 frames need, and 48 hops


def file_to_patches(path, resampler='soxr_hq', skip_silence=False):
    """Patches (N, 96, 64) of a sound file of any rate, channels and format: see patches, audio.read_audio.

    Args:
        skip_silence: whether silent patches are left out, see mel_features.sounding.
    """
    samples, _ = read_audio(path, SAMPLE_RATE, resampler)
    found = patches(samples)
    return found[sounding(padded(samples), PATCH_SAMPLES, PATCH_HOP_SAMPLES)] if skip_silence else found


def patches(samples):
    """Log-mel patches of a clip, (N, 96, 64) float32, at least one.

    Args:
        samples: (length,) floating-point at 16 kHz, full scale = 1.

    Zeros complete the last patch: N = 1 + ceil((length - 15600) / 7680), and 1 for short clips.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers.
    """
    spectrogram = log_mel_spectrogram(padded(samples), SAMPLE_RATE, STFT_WINDOW_SECONDS, STFT_HOP_SECONDS, NUM_BANDS, MEL_MIN_HZ,
                                      MEL_MAX_HZ, LOG_OFFSET, float32_hann(round(STFT_WINDOW_SECONDS * SAMPLE_RATE)))
    return np.ascontiguousarray(sliding_window_view(spectrogram, PATCH_FRAMES, axis=0)[::PATCH_HOP].swapaxes(1, 2))


def float32_hann(length):
    """Periodic Hann window computed in float32, (length,), as TensorFlow does in its authors' code.

    Beside loud pure tones, its rounding errors decide about the quiet bands: they are within 0.001 of the authors', whose cosine
    rounds some values in another way, and would be 0.003 off under an exact window.
    """
    angle = np.float32(2 * np.pi) * np.arange(length, dtype=np.float32) / np.float32(length)
    return np.float32(0.5) - np.float32(0.5) * np.cos(angle)


def padded(samples):
    """Samples (length,) as float32 with zeros up to whole patches. Raises UserError, see patches."""
    samples = checked(samples)
    more = max(0, -(-(len(samples) - PATCH_SAMPLES) // PATCH_HOP_SAMPLES))
    return np.pad(samples, (0, PATCH_SAMPLES + more * PATCH_HOP_SAMPLES - len(samples)))
