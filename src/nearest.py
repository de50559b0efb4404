"""Nearest-neighbour baselines over stored feature vectors."""
import contextlib
import functools
import time

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import evaluation
from experiment import Experiment
from shared import write_json


def run_baseline(name, config, task, features, again=True):
    """All runs of a 1-nearest-neighbour experiment, or those that it still lacks; returns the experiment's id.

    Each vector of a test clip votes for the class of its nearest vector of the training clips; of equally near ones any may
    count, always the same one. The clip gets the class with most votes; of classes with equally many the first one.

    Args:
        name: the method's name in tables.
        config: with metric, n_shot, num_experiment_runs, seed, dataset, fold, script.
        task: fewshot.Task.
        features: dictionary id -> vectors (E, D) of the clip, E >= 1, for all clips of the task.
        again: whether to do an experiment anew that has all its runs.
    """
    test, clip = stack(features, task.test)
    truth, config = list(task.test.values()), config | task.identity
    with contextlib.closing(Experiment.start(config, again)) as experiment:
        for run, folder in experiment.remaining_runs():
            begin = time.perf_counter()
            ids, labels = task.draw(config, run, folder)
            train, owner = stack(features, ids)
            nearest = KNeighborsClassifier(n_neighbors=1, metric=config['metric'], algorithm='brute')
            nearest.fit(train, np.array(labels)[owner])
            trained = time.perf_counter()
            votes = evaluation.MeanPerClip(len(truth), len(task.classes))
            votes.add(np.eye(len(task.classes))[nearest.predict(test)], clip)
            write_json(folder / 'model.json', {'run': run})
            accuracy = evaluation.keep_model_result(folder, list(task.test), [task.representation.audio[key] for key in task.test],
                                                    truth, votes.result(), task.classes)
            row = evaluation.result_row(folder, run, name, config, accuracy, len(truth), trained - begin,
                                        time.perf_counter() - trained)
            evaluation.keep_run_result(experiment, folder, row)
    return experiment.id


def stack(features, keys):
    """The vectors (N, D) of clips, one below the other, and the number of the clip (N,) that each belongs to."""
    vectors = [features[key] for key in keys]
    return np.concatenate(vectors), np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])


@functools.lru_cache(maxsize=2)
def stored_vectors(task):
    """Features of a representation with one vector (D,) per clip: dictionary id -> (1, D)."""
    return {key: np.array(task.representation.open(key))[None] for key in [*task.train, *task.test]}
