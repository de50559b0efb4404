"""Classifiers of scikit-learn on stored feature vectors: nearest neighbour, nearest class mean, logistic regression."""
import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from evaluation import MeanPerClip
from experiment import Experiment
from fewshot import PARTS
from shared import atomic, write_json

HEAD = 'head.npz'

# ---- classifiers -----------------------------------------------------------------------------------------------------
# Two functions each: `fit` takes vectors (N, D), the clip (N,) of each, the labels of the clips (S,) and a configuration, and returns
# the arrays that the classifier consists of, a dictionary. `scorer` takes these arrays and the configuration and returns a function
# (vectors, clip) -> scores of the clips (S, C).


def fit_nearest(vectors, clip, labels, config):
    return {'vectors': vectors, 'labels': labels[clip]}


def nearest(arrays, config):
    """Each vector votes for the class of its nearest training vector; among equally near ones, the choice is always the same."""
    neighbour = KNeighborsClassifier(n_neighbors=1, metric=config['metric'], algorithm='brute')
    neighbour.fit(arrays['vectors'], arrays['labels'])
    return lambda vectors, clip: mean_per_clip(np.eye(arrays['labels'].max() + 1)[neighbour.predict(vectors)], clip)


def fit_class_mean(vectors, clip, labels, config):
    return {'prototypes': normalize(mean_per_clip(normalize(mean_per_clip(vectors, clip)), labels))}


def class_mean(arrays, config):
    """Cosine similarity with the mean of each class. A clip is the mean of its vectors, of length 1.

    Sources: Snell et al., Prototypical networks (arXiv 1703.05175), without their training; Wang et al., SimpleShot (arXiv 1911.04623).
    """
    return lambda vectors, clip: normalize(mean_per_clip(vectors, clip)) @ arrays['prototypes'].T


def fit_logistic_regression(vectors, clip, labels, config):
    model = LogisticRegression(C=config['C'], max_iter=1000)
    model.fit(vectors, labels[clip])
    return {'weights': model.coef_, 'bias': model.intercept_, 'labels': model.classes_}


def logistic_regression(arrays, config):
    """Mean probability of the clip's vectors under a multinomial logistic regression."""
    model = LogisticRegression()
    model.coef_, model.intercept_, model.classes_ = arrays['weights'], arrays['bias'], arrays['labels']
    return lambda vectors, clip: mean_per_clip(model.predict_proba(vectors), clip)


@dataclass(frozen=True)
class Head:
    """A classifier: fit and scorer as above; similarities: whether its scores are similarities and not probabilities."""
    fit: Callable
    scorer: Callable
    similarities: bool = False


CLASSIFIERS = {'nearest': Head(fit_nearest, nearest), 'class_mean': Head(fit_class_mean, class_mean, similarities=True),
               'logistic_regression': Head(fit_logistic_regression, logistic_regression)}


def head_of(config):
    """The Head of a configuration: that of its key `classifier`; without the key, as for the baselines of the study, nearest neighbour."""
    return CLASSIFIERS[config.get('classifier', 'nearest')]


def mean_per_clip(values, clip):
    """Mean (S, D) float64 of the rows of values (N, D) that belong to each of the clips numbered (N,)."""
    means = MeanPerClip(clip.max() + 1, values.shape[1])
    means.add(values, clip)
    return means.result()


# ---- experiments -------------------------------------------------------------------------------------------------------

def train(name, features, config, split, again=True, wait=True):
    """All runs of an experiment with the configuration's classifier, or those that it still lacks; returns the experiment's id.

    The class with the highest score wins; among equal scores, the first class.

    Args:
        name: the method's name in tables.
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
            head = head_of(config)
            score = head.scorer(head.fit(*stack(features, ids), np.array(labels), config), config)
            about = {'run': run, 'train_seconds': time.perf_counter() - begin}
            begin = time.perf_counter()
            scores = score(*test)
            write_json(folder / 'model.json', {'run': run})
            experiment.save_result(folder, name, about, scores, split, time.perf_counter() - begin)
        experiment.print_summary()
    return experiment.id


def fit(folder, features, config, split):
    """Fit the configuration's classifier to all training clips of a split and write it into `folder`. `features`: as in train."""
    head = head_of(config)
    arrays = head.fit(*stack(features, split.train), np.array(list(split.train.values())), config)
    with atomic(folder / HEAD) as temporary:
        np.savez(temporary, **arrays)


def opened(folder, config):
    """A stored classifier: function (dictionary name -> vectors, names) -> scores (S, C). `config`: of its experiment."""
    with np.load(folder / HEAD) as file:
        score = head_of(config).scorer(dict(file), config)
    return lambda features, names: score(*stack(features, names))


def stack(features, keys):
    """The vectors (N, D) of clips, one after the other, and the number of the clip (N,) that each belongs to."""
    vectors = [features[key] for key in keys]
    return np.concatenate(vectors), np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])


@functools.lru_cache(maxsize=2)
def stored_vectors(split):
    """Features of a representation with one vector (D,) per clip: dictionary id -> (1, D)."""
    return single_vectors(split.representation, [*split.train, *split.test])


def single_vectors(arrays, keys):
    """Features of clips that are one vector (D,) each: dictionary id -> (1, D)."""
    return {key: np.array(arrays.open(key))[None] for key in keys}
