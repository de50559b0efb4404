"""Made-up data: clips of noise, and a data set with its index, sound files of a few bytes, and the arrays that the scripts would make of them."""
import numpy as np

import representation
import shared
from methods import METHODS

FRAMES, BANDS = 216, 128


class Noise:
    """Stands in for a representation.Representation: clips of 216 frames (5 s) and 128 bands."""
    remedy = ''

    def __init__(self, rng, clips):
        self.arrays = rng.random((clips, FRAMES, BANDS), dtype=np.float32)

    def open(self, key):
        return self.arrays[key]


def make_data_set(name, labels, folds, frames=FRAMES):
    """Write a data set below DATA_FOLDER.

    Args:
        labels: class number of each clip (clips,).
        folds: list of dictionary part -> clip numbers.
        frames: of each clip's spectrogram; its values are noise.
    """
    rng, audio = np.random.default_rng(0), shared.data_folder() / 'audio' / name
    shared.make_folder(audio)
    files = [f'{i}.wav' for i in range(len(labels))]
    for file in files:
        (audio / file).write_text(file)
    shared.write_dataset(name, audio, files, labels, [f'class{c}' for c in range(max(labels) + 1)], folds, {})
    spectrograms = representation.SPECTROGRAMS.configuration(name)
    for wanted, shape in ((spectrograms, (frames, BANDS)), (METHODS['config_knn_mfcc'].configure('mfcc', [f'dataset={name}']), (120,))):
        folder = representation.claim_folder(wanted)
        clips = representation.list_clips(wanted, folder)
        for _, path, target in clips:
            representation.save_array(target, rng.random(shape, np.float32), shared.content_digest(path))
        representation.finish(wanted, folder, clips, {})
