"""Speed of the input of VGGish: against resampling and the Fourier transform alone, and with another resampler.

Usage:  python benchmarks/bench_vggish_input.py [folder with sound files, e.g. ESC-10]
Prints: examples per second of noise at 44.1 kHz (20 clips of 5 s), with kaiser_2018, the default, and with soxr; for 50 files of a
        folder, by how much kaiser_best and soxr differ from kaiser_2018.
"""
import sys
from pathlib import Path

import numpy as np
from timing import compare

from audio import resample
from mel_features import magnitude_blocks
from vggish_input import file_to_examples, waveform_to_examples

CLIPS, SECONDS, RATE = 20, 5, 44100


def main():
    clips = np.random.default_rng(0).normal(0, 0.1, (CLIPS, SECONDS * RATE))
    amount = sum(len(waveform_to_examples(clip, RATE)) for clip in clips)

    def examples(resampler='kaiser_2018'):
        for clip in clips:
            waveform_to_examples(clip, RATE, resampler)

    def bare():
        for clip in clips:
            for _ in magnitude_blocks(resample(clip, RATE, 16000, 'kaiser_2018'), 400, 160, 512):
                pass

    compare('examples / resampling and STFT', examples, bare, amount, 'examples', 0.9)
    compare('soxr / kaiser_2018', lambda: examples('soxr'), examples, amount, 'examples', 1.0)


def differences(folder):
    """Print by how much other resamplers change the values that the filter of the study's time gives, for 50 files of a folder."""
    files = [path for path in sorted(folder.rglob('*')) if path.suffix.lower() in ('.wav', '.ogg', '.flac', '.mp3')]
    files = files[::max(len(files) // 50, 1)][:50]
    values = {name: np.concatenate([file_to_examples(path, name) for path in files]) for name in ('kaiser_2018', 'kaiser_best', 'soxr')}
    for name in ('kaiser_best', 'soxr'):
        difference = values[name] - values['kaiser_2018']
        highest = ', '.join(f'{mean:+.3f}' for mean in difference.mean(axis=(0, 1))[62:])
        print(f'{name} against kaiser_2018, {len(files)} files: mean difference of the two highest bands {highest}; '
              f'mean absolute difference of all others {np.abs(difference[..., :62]).mean():.4f}')


if __name__ == '__main__':
    main()
    if len(sys.argv) > 1:
        differences(Path(sys.argv[1]))
