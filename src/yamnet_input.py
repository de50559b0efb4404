"""From sound to the input of YAMNet: patches of 96 frames x 64 log-mel bands, 0.96 s each, one every 0.48 s.

Source: YAMNet as its authors released it with AudioSet (TensorFlow Models).
"""
import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from audio import checked_samples, read_audio
from mel_features import log_mel_spectrogram, sounding

SAMPLE_RATE = 16000                 # Hz
STFT_WINDOW_SECONDS = 0.025
STFT_HOP_SECONDS = 0.010
NUM_BANDS = 64
MEL_MIN_HZ, MEL_MAX_HZ = 125, 7500
LOG_OFFSET = 0.001                  # ln(mel + this)
PATCH_FRAMES, PATCH_HOP = 96, 48
PATCH_SAMPLES, PATCH_HOP_SAMPLES = 15600, 7680  # what 96 frames need, and 48 hops

# where TensorFlow's float32 cosine is not the rounded exact one, so that its Hann window differs in the last bit
ROUNDED_UP = [29, 34, 37, 40, 44, 45, 50, 53, 59, 62, 135, 137, 142, 227, 250, 321, 325, 326, 327, 329, 335, 348, 366, 371]
ROUNDED_DOWN = [26, 27, 38, 46, 75, 121, 126, 130, 131, 148, 150, 160, 221, 350, 353, 362]


def file_to_patches(path, resampler='soxr_hq', skip_silence=False):
    """Patches (N, 96, 64) of a sound file of any rate, channels and format: see patches, audio.read_audio."""
    samples, _ = read_audio(path, SAMPLE_RATE, resampler)
    return patches(samples, skip_silence)


def patches(samples, skip_silence=False):
    """Log-mel patches of a clip, (N, 96, 64) float32, at least one.

    Args:
        samples: (length,) floating-point at 16 kHz, full scale = 1.
        skip_silence: whether silent patches are left out, see mel_features.sounding.

    Zeros complete the last patch: N = 1 + ceil((length - 15600) / 7680), and 1 for short clips.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers.
    """
    spectrogram = log_mel_spectrogram(padded(samples), SAMPLE_RATE, STFT_WINDOW_SECONDS, STFT_HOP_SECONDS, NUM_BANDS, MEL_MIN_HZ,
                                      MEL_MAX_HZ, LOG_OFFSET, tensorflow_hann())
    found = np.ascontiguousarray(sliding_window_view(spectrogram, PATCH_FRAMES, axis=0)[::PATCH_HOP].swapaxes(1, 2))
    return found[sounding(padded(samples), PATCH_SAMPLES, PATCH_HOP_SAMPLES)] if skip_silence else found


@functools.cache
def tensorflow_hann():
    """The periodic Hann window of 400 samples as TensorFlow computes it in float32, (400,).

    Next to loud pure tones, the rounding errors of the window decide about the quiet bands: with them, patches are within 0.0001 of
    the authors', with an exact window they would be 0.003 off.
    """
    angle = np.float32(2 * np.pi) * np.arange(400, dtype=np.float32) / np.float32(400)
    window = np.float32(0.5) - np.float32(0.5) * np.cos(angle.astype(np.float64)).astype(np.float32)
    for places, sign in ((ROUNDED_UP, 1), (ROUNDED_DOWN, -1)):
        window[places] += sign * np.where(window[places] < 0.5, 2 ** -25, 2 ** -24).astype(np.float32)
    return window


def padded(samples):
    """Samples (length,) as float32 with zeros up to whole patches. Raises UserError, see patches."""
    samples = checked_samples(samples)
    more = max(0, -(-(len(samples) - PATCH_SAMPLES) // PATCH_HOP_SAMPLES))
    return np.pad(samples, (0, PATCH_SAMPLES + more * PATCH_HOP_SAMPLES - len(samples)))
