"""A made-up data set: its index, sound files of a few bytes, and the arrays that preprocess.py and knn_mfcc.py would make of them."""
import numpy as np

import representation
import shared
from methods import METHODS


def make_data_set(name, labels, folds, frames):
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
    for wanted, shape in ((spectrograms, (frames, 128)), (METHODS['config_knn_mfcc'].configure('mfcc', [f'dataset={name}']), (120,))):
        folder = representation.claim_folder(wanted)
        clips = representation.list_clips(wanted, folder)
        for _, path, target in clips:
            representation.save_array(target, rng.random(shape, np.float32), shared.content_digest(path))
        representation.finish(wanted, folder, clips, {})
