"""From sound to the input of VGGish: examples of 96 frames x 64 log-mel bands, 0.96 s each."""
import numpy as np

import vggish_params as params
from audio import check_finite, decode, mean_of_channels, resample
from mel_features import log_mel_spectrogram, sounding
from shared import UserError


def file_to_examples(path, resampler='kaiser_best', skip_silence=False):
    """Examples of a sound file of any rate, channels and format: see waveform_to_examples, audio.decode.

    Raises UserError, also when the channels cancel each other, as for all other representations.
    """
    samples, rate = decode(path)
    mean_of_channels(samples)  # checks them
    return waveform_to_examples(samples, rate, resampler, skip_silence=skip_silence)


def waveform_to_examples(data, sample_rate, resampler='kaiser_best', rounded=True, skip_silence=False):
    """Examples of a waveform, (examples, 96, 64) float32; at least one.

    Args:
        data: (length,) or (length, channels) floating-point samples, full scale = 1.
        sample_rate: Hz.
        rounded: whether samples are rounded to 16 bits first, as the study's were.
        resampler: see audio.resample. 'kaiser_best' is resampy's default filter of today. Experiments use that of the study,
            'kaiser_2018', unless config_file.py says otherwise.
        skip_silence: whether silent examples are left out, see mel_features.sounding; the study keeps them.

    The steps and their order are those of the study (arXiv 1810.10274): round the samples to 16 bits, average the channels, repeat
    clips below 1 s up to exactly 1 s, resample to 16 kHz. Frames at the end that do not fill an example are dropped. All values are
    float64, as in the study: float32 would be off by 0.001 next to loud tones.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers.
    """
    data = np.asarray(data)
    if data.ndim not in (1, 2) or data.size == 0 or not np.issubdtype(data.dtype, np.floating):
        raise UserError(f'samples of shape {data.shape} and type {data.dtype}: expected (length,) or (length, channels), '
                        f'floating-point, full scale = 1 (divide those of 16 bits by 32768)')
    check_finite(data)
    samples = data if data.dtype == np.float32 else data.astype(np.float64)
    samples = round_to_16_bits(samples) if rounded else samples
    samples = samples.astype(np.float64) if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float64)
    if len(samples) < sample_rate:
        samples = np.resize(samples, sample_rate)
    if sample_rate != params.SAMPLE_RATE:
        # librosa pads the end to a full sample, which could complete one more example than resampy alone
        length = len(samples) * params.SAMPLE_RATE // sample_rate
        samples = resample(samples, sample_rate, params.SAMPLE_RATE, resampler)[:length]
    spectrogram = log_mel_spectrogram(samples, params.SAMPLE_RATE, params.STFT_WINDOW_LENGTH_SECONDS,
                                      params.STFT_HOP_LENGTH_SECONDS, params.NUM_MEL_BINS, params.MEL_MIN_HZ, params.MEL_MAX_HZ,
                                      params.LOG_OFFSET)
    whole = len(spectrogram) - len(spectrogram) % params.NUM_FRAMES
    examples = spectrogram[:whole].reshape(-1, params.NUM_FRAMES, params.NUM_BANDS)
    if skip_silence:
        length = round(params.EXAMPLE_WINDOW_SECONDS * params.SAMPLE_RATE)
        examples = examples[sounding(samples[:length * len(examples)], length, length)]
    return np.ascontiguousarray(examples, dtype=np.float32)


def round_to_16_bits(samples):
    """Samples as they come back from a 16-bit WAV file that libsndfile has written: rounded down, clipped at full scale.

    Samples change by less than 2^-15, log-mel values of quiet frames by up to 0.12. Computed in place where possible, to save memory
    for long recordings; exact in float32, because all factors are powers of two.
    """
    with np.errstate(over='ignore'):  # samples far beyond full scale become infinite and are clipped
        steps = samples * 2 ** 31
    np.rint(steps, out=steps)  # libsndfile rounds to 32 bits first, so that a tiny negative value does not become -1
    steps /= 2 ** 16
    np.floor(steps, out=steps)
    np.clip(steps, -2 ** 15, 2 ** 15 - 1, out=steps)
    steps /= 2 ** 15
    return steps
