"""Speed of the input of VGGish: against resampling and the Fourier transform alone, and with another resampler.

Usage:  python benchmarks/bench_vggish_input.py [folder with sound files, e.g. ESC-10]
Prints: examples per second of noise at 44.1 kHz (20 clips of 5 s), with resampy, the default, and with soxr; for the files
        of a folder, by how much soxr changes the values of the two highest bands and of all others.
"""
import sys
from pathlib import Path

import numpy as np
import resampy
from timing import compare

from mel_features import stft_magnitude
from vggish_input import file_to_examples, waveform_to_examples

CLIPS, SECONDS, RATE = 20, 5, 44100


def main():
    clips = np.random.default_rng(0).normal(0, 0.1, (CLIPS, SECONDS * RATE))
    amount = sum(len(waveform_to_examples(clip, RATE)) for clip in clips)

    def examples(resampler='kaiser_best'):
        for clip in clips:
            waveform_to_examples(clip, RATE, resampler)

    def bare():
        for clip in clips:
            for _ in stft_magnitude(resampy.resample(clip, RATE, 16000), 400, 160, 512):
                pass

    compare('examples / resampling and STFT', examples, bare, amount, 'examples', 0.9)
    compare('soxr / resampy', lambda: examples('soxr'), examples, amount, 'examples', 1.0)


def differences(folder):
    """Print mean and largest difference between the values with resampy and with soxr."""
    files = [path for path in sorted(folder.rglob('*')) if path.suffix.lower() in ('.wav', '.ogg', '.flac', '.mp3')]
    difference = np.concatenate([np.abs(file_to_examples(path) - file_to_examples(path, 'soxr')) for path in files])
    for name, part in (('the two highest bands', difference[..., 62:]), ('all other bands', difference[..., :62])):
        print(f'soxr against resampy, {len(files)} files, {name}: mean {part.mean():.5f}, at most {part.max():.3f}')


if __name__ == '__main__':
    main()
    if len(sys.argv) > 1:
        differences(Path(sys.argv[1]))
