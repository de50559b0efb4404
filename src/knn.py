"""Nearest-neighbour baselines over stored feature vectors."""
import contextlib
import functools
import time

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from evaluation import MeanPerClip
from experiment import Experiment
from fewshot import PARTS
from shared import write_json


def train(name, features, config, split, again=True, wait=True):
    """All runs of a 1-nearest-neighbour experiment, or those that it still lacks; returns the experiment's id.

    Each vector of a test clip votes for the class of its nearest vector of the training clips. Among equally near vectors, the
    choice is always the same. The clip gets the class with most votes; among equal numbers of votes, the first class.

    Args:
        name: the method's name in tables.
        features: dictionary id -> vectors (E, D) of the clip, E >= 1, for all training and test clips.
        config: from methods.Method.configure.
        split: fewshot.DataSplit.
        again, wait: see experiment.Experiment.start.
    """
    test, clip = stack(features, split.test)
    num_classes = len(split.classes)
    sounds = {part: split.sounds(part) for part in PARTS}
    with contextlib.closing(Experiment.start(config | split.identity, again, wait, sounds)) as experiment:
        for run, folder in experiment.remaining_runs():
            begin = time.perf_counter()
            ids, labels = split.draw(config, run, folder)
            vectors, owner = stack(features, ids)
            nearest = KNeighborsClassifier(n_neighbors=1, metric=config['metric'], algorithm='brute')
            nearest.fit(vectors, np.array(labels)[owner])
            about = {'run': run, 'train_seconds': time.perf_counter() - begin}
            begin = time.perf_counter()
            votes = MeanPerClip(len(split.test), num_classes)
            votes.add(np.eye(num_classes)[nearest.predict(test)], clip)
            write_json(folder / 'model.json', {'run': run})
            experiment.save_result(folder, name, about, votes.result(), split, time.perf_counter() - begin)
        experiment.print_summary()
    return experiment.id


def stack(features, keys):
    """The vectors (N, D) of clips, one after the other, and the number of the clip (N,) that each belongs to."""
    vectors = [features[key] for key in keys]
    return np.concatenate(vectors), np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])


@functools.lru_cache(maxsize=2)
def stored_vectors(split):
    """Features of a representation with one vector (D,) per clip: dictionary id -> (1, D)."""
    return {key: np.array(split.representation.open(key))[None] for key in [*split.train, *split.test]}
