"""Speed of the input of VGGish: against resampling and the Fourier transform alone, and with another resampler.

Usage:  python benchmarks/bench_vggish_input.py
Prints: examples per second of noise at 44.1 kHz (20 clips of 5 s), with resampy, the default, and with soxr_hq.
"""
import numpy as np
import resampy
from timing import compare

from mel_features import stft_magnitude
from vggish_input import waveform_to_examples

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
    compare('soxr_hq / resampy', lambda: examples('soxr_hq'), examples, amount, 'examples', 1.0)


if __name__ == '__main__':
    main()
