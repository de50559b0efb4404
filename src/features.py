"""From a sound file to the array that a representation holds: spectrogram, MFCC statistics, or input of a pretrained network."""
import functools
import warnings

import numpy as np
from scipy import fft, sparse

from audio import read_audio
from mel_features import slaney_mel_matrix, stft
from pretrained import FRONT_ENDS
from shared import UserError

# librosa's spectrograms, bit for bit, without librosa: it takes 1.6 s to import in every process, and its transform 1.6 times as long

@functools.lru_cache(maxsize=8)
def mel_basis(sample_rate, n_fft, n_mels, low=0):
    """librosa's mel filter bank, sparse (n_mels, n_fft // 2 + 1) float32.

    A dense product would be slower, and its last bits would depend on the number of threads.
    """
    return sparse.csr_array(slaney_mel_matrix(sample_rate, n_fft, n_mels, low))


def empty_bands(config):
    """How many mel bands of a configuration lie between two bins of the Fourier transform: they are 0 in every sound."""
    if config['type'] != 'time-freq' or config['spectrogram_type'] != 'mel':
        return 0
    return int(np.count_nonzero(mel_basis(config['resample_sr'], config['n_fft'], config['n_mels']).max(axis=1).toarray() == 0))


def mel_spectrogram(samples, sample_rate, n_fft, hop, n_mels, low=0):
    """Mel power spectrogram, (T, n_mels) float32, of bands above `low` Hz: that of librosa.feature.melspectrogram, transposed."""
    basis = mel_basis(sample_rate, n_fft, n_mels, low)
    return np.concatenate([(basis @ np.square(block).T).T for block in magnitudes(samples, n_fft, hop)])


def stft_magnitude(samples, n_fft, hop):
    """Magnitude of the short-time Fourier transform, (T, n_fft // 2 + 1) float32: that of librosa.stft, transposed. T = 1 + length // hop."""
    return np.concatenate(list(magnitudes(samples, n_fft, hop)))


def magnitudes(samples, n_fft, hop):
    """Yield the rows of stft_magnitude block by block, so that all arrays stay small.

    As in librosa, frames are centred, both ends are continued by zeros, and the transform is computed in double precision.
    """
    for block in stft(np.pad(samples, n_fft // 2), hann(n_fft), hop, n_fft):
        yield np.abs(block.astype(np.complex64))


@functools.lru_cache(maxsize=8)
def hann(length):
    """Periodic Hann window with the last bits of SciPy's, as librosa uses it, (length,) float64: those of mel_features.periodic_hann differ."""
    return 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length + 1)[:-1])


def cqt_magnitude(samples, sample_rate, hop, n_bins):
    """Magnitude of the constant-Q transform from C1, 12 bins per octave, (T, n_bins) float32."""
    import librosa
    with warnings.catch_warnings():  # clips shorter than a frame are expected: librosa pads them with zeros
        warnings.filterwarnings('ignore', message='n_fft=.* is too large')
        return np.abs(librosa.cqt(samples, sr=sample_rate, hop_length=hop, n_bins=n_bins)).T


def mfcc_statistics(samples, sample_rate, n_mfcc):
    """Mean and standard deviation over time of MFCCs and their first and second differences, (6 n_mfcc,) float32.

    MFCCs are librosa's with its defaults (FFT 2048, hop 512, 128 mel bands, levels down to 80 dB below the loudest). Clips below
    1024 samples are zero-padded at their end, so that second differences exist.
    """
    samples = np.pad(samples, (0, max(0, 1024 - len(samples))))
    level = 10 * np.log10(np.maximum(1e-10, mel_spectrogram(samples, sample_rate, n_fft=2048, hop=512, n_mels=128).T))
    mfcc = fft.dct(np.maximum(level, level.max() - 80), axis=0, norm='ortho')[:n_mfcc]
    differences = (mfcc, np.diff(mfcc), np.diff(mfcc, n=2))
    return np.concatenate([statistic(d, axis=1) for d in differences for statistic in (np.mean, np.std)])


def finite(function):
    """The function, whose array becomes float32 and C-contiguous; a UserError where it is not finite, and no warning of NumPy."""
    @functools.wraps(function)
    def checked(*arguments, **options):
        with np.errstate(over='ignore', invalid='ignore'):
            array = function(*arguments, **options)
        if not np.isfinite(array).all():  # e.g. the power of float samples far beyond full scale
            raise UserError('its representation is not finite: are the samples far beyond full scale?')
        return np.ascontiguousarray(array, dtype=np.float32)
    return checked


@finite
def compute(path, config):
    """Representation of one sound file.

    Its shape is (T, M), for waveform (samples, 1), for mfcc (D,), and that of
    pretrained.FRONT_ENDS for the input of pretrained networks. Raises UserError, also when it is not finite.
    """
    if config['type'] in FRONT_ENDS:
        front_end = FRONT_ENDS[config['type']]
        return front_end.from_file(path, **{key: config[key] for key in front_end.options})
    return transform(read_audio(path, config['resample_sr'], config['resampler'])[0], config)


def sample_rate(config):
    """The rate in Hz of the samples that `represent` takes."""
    return FRONT_ENDS[config['type']].sample_rate if config['type'] in FRONT_ENDS else config['resample_sr']


@finite
def represent(samples, config):
    """Representation of samples (length,) at the rate `sample_rate(config)`, as `compute` gives it of a file."""
    if config['type'] in FRONT_ENDS:
        front_end = FRONT_ENDS[config['type']]
        return front_end.from_samples(samples, **{key: config[key] for key in front_end.options if key != 'resampler'})
    return transform(samples, config)


def transform(samples, config):
    """The spectrogram, the waveform or the statistics that the configuration asks for, of samples (length,)."""
    rate = config['resample_sr']
    if config['type'] == 'waveform':
        return samples[:, None]
    if config['type'] == 'mfcc':
        return mfcc_statistics(samples, rate, config['MFCC_number'])
    if config['spectrogram_type'] == 'mel':
        return mel_spectrogram(samples, rate, config['n_fft'], config['hop'], config['n_mels'])
    if config['spectrogram_type'] == 'stft':
        return stft_magnitude(samples, config['n_fft'], config['hop'])
    return cqt_magnitude(samples, rate, config['hop'], config['cqt_bins'])
