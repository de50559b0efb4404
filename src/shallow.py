"""Classifiers of scikit-learn on stored feature vectors: nearest neighbour, nearest class mean, logistic regression."""
import contextlib
import functools
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from evaluation import MeanPerClip
from experiment import Experiment
from fewshot import PARTS
from shared import write_json

# ---- classifiers: function (vectors (N, D), clip (N,), labels of the clips (S,), config) -> function that scores vectors --------


def nearest(vectors, clip, labels, config):
    """Each vector votes for the class of its nearest training vector; among equally near ones, the choice is always the same."""
    neighbour = KNeighborsClassifier(n_neighbors=1, metric=config['metric'], algorithm='brute')
    neighbour.fit(vectors, labels[clip])
    return lambda vectors, clip: mean_per_clip(np.eye(labels.max() + 1)[neighbour.predict(vectors)], clip)


def class_mean(vectors, clip, labels, config):
    """Cosine similarity with the mean of each class. A clip is the mean of its vectors, of length 1.

    Sources: Snell et al., Prototypical networks (arXiv 1703.05175), without their training; Wang et al., SimpleShot (arXiv 1911.04623).
    """
    prototypes = normalize(mean_per_clip(normalize(mean_per_clip(vectors, clip)), labels))
    return lambda vectors, clip: normalize(mean_per_clip(vectors, clip)) @ prototypes.T


def logistic_regression(vectors, clip, labels, config):
    """Mean probability of the clip's vectors under a multinomial logistic regression."""
    model = LogisticRegression(C=config['C'], max_iter=1000)
    model.fit(vectors, labels[clip])
    return lambda vectors, clip: mean_per_clip(model.predict_proba(vectors), clip)


CLASSIFIERS = {'nearest': nearest, 'class_mean': class_mean, 'logistic_regression': logistic_regression}


def mean_per_clip(values, clip):
    """Mean (S, D) float64 of the rows of values (N, D) that belong to each of the clips numbered (N,)."""
    means = MeanPerClip(clip.max() + 1, values.shape[1])
    means.add(values, clip)
    return means.result()


# ---- experiments -------------------------------------------------------------------------------------------------------

def train(name, classifier, features, config, split, again=True, wait=True):
    """All runs of an experiment with a classifier, or those that it still lacks; returns the experiment's id.

    The class with the highest score wins; among equal scores, the first class.

    Args:
        name: the method's name in tables.
        classifier: key of CLASSIFIERS.
        features: dictionary id -> vectors (E, D) of the clip, E >= 1, for all training and test clips.
        config: from methods.Method.configure.
        split: fewshot.DataSplit.
        again, wait: see experiment.Experiment.start.
    """
    test = stack(features, split.test)
    sounds = {part: split.sounds(part) for part in PARTS}
    with contextlib.closing(Experiment.start(config | split.identity, again, wait, sounds)) as experiment:
        for run, folder in experiment.remaining_runs():
            begin = time.perf_counter()
            ids, labels = split.draw(config, run, folder)
            score = CLASSIFIERS[classifier](*stack(features, ids), np.array(labels), config)
            about = {'run': run, 'train_seconds': time.perf_counter() - begin}
            begin = time.perf_counter()
            scores = score(*test)
            write_json(folder / 'model.json', {'run': run})
            experiment.save_result(folder, name, about, scores, split, time.perf_counter() - begin)
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
