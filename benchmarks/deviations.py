"""How far the spectrograms of these scripts are from those of the study's release: figures of docs/deviations.md.

Usage:  python benchmarks/deviations.py <folder with sound files, e.g. ESC-10>
Prints the mean absolute difference of log10(mel + 2.2e-16), the input of the study's networks, over all clips.
"""
import sys
from pathlib import Path

import librosa
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from audio import SUFFIXES, read_audio, resample
from config_file import SPECTROGRAM
from patches import EPS

RATE, HALF = SPECTROGRAM['resample_sr'], SPECTROGRAM['resample_sr'] // 2
CENTRES = librosa.mel_frequencies(SPECTROGRAM['n_mels'] + 2, fmax=HALF)[1:-1]


def main(folder):
    files = sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)
    found = {}
    for path in files:
        samples = read_audio(path, RATE, SPECTROGRAM['resampler'])[0]
        ours = log_mel(samples)
        note(found, 'samples of 16 bits', log_mel(np.round(samples * 2 ** 15).clip(-2 ** 15, 2 ** 15 - 1) / 2 ** 15) - ours)
        mirrored = log_mel(samples, pad_mode='reflect') - ours
        note(found, 'mirrored ends, first frame', mirrored[:, :1])
        note(found, 'mirrored ends, all frames', mirrored)
        original = resample(samples, RATE, HALF, 'soxr_hq')
        up = log_mel(resample(original, HALF, RATE, SPECTROGRAM['resampler']))
        for resampler in ('kaiser_2018', 'kaiser_best'):
            difference = log_mel(resample(original, HALF, RATE, resampler)) - up
            for low, high in ((0, 9000), (9000, HALF / 2), (HALF / 2, HALF)):
                note(found, f'original of 22 kHz, {resampler}, {low / 1000:.0f} to {high / 1000:.0f} kHz',
                     difference[(CENTRES >= low) & (CENTRES < high)])
    print(f'{len(files)} clips')
    for name, values in found.items():
        print(f'{name:55s} {np.mean(values):.4f}')


def log_mel(samples, **options):
    """The logarithm of a clip's mel spectrogram, (M, T)."""
    return np.log10(librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=SPECTROGRAM['n_fft'], hop_length=SPECTROGRAM['hop'],
                                                   n_mels=SPECTROGRAM['n_mels'], **options) + EPS)


def note(found, name, difference):
    found.setdefault(name, []).append(np.abs(difference).mean())


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
