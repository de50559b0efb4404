"""Nearest-neighbour baselines over stored feature vectors."""
import time

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import evaluation
from experiment import Experiment
from shared import write_json


def run_baseline(name, config, task):
    """All runs of a 1-nearest-neighbour experiment on one vector per clip; returns the experiment's id.

    A test clip gets the class of its nearest training clip; of equally near ones that of the smaller label counts, because
    clips are drawn class by class.

    Args:
        name: the method's name in tables, and the script's.
        config: with metric, n_shot, num_experiment_runs, seed, dataset, fold.
        task: fewshot.Task of a representation with one vector (D,) per clip.
    """
    features = {key: np.array(task.representation.open(key)) for key in [*task.train, *task.test]}
    test, truth, rows = np.stack([features[key] for key in task.test]), list(task.test.values()), []
    experiment = Experiment.start({**config, 'script': name, 'audio_rep': task.representation.settings, 'resume': False})
    for run, folder in experiment.remaining_runs():
        begin = time.perf_counter()
        ids, labels = task.draw(config, run, folder)
        nearest = KNeighborsClassifier(n_neighbors=1, metric=config['metric'], algorithm='brute')
        nearest.fit(np.stack([features[key] for key in ids]), labels)
        trained = time.perf_counter()
        scores = np.zeros((len(test), len(task.classes)))
        scores[:, nearest.classes_] = nearest.predict_proba(test)
        write_json(folder / 'model.json', {'run': run})
        accuracy = evaluation.keep_model_result(folder, list(task.test), [task.representation.audio[key] for key in task.test],
                                                truth, scores, task.classes)
        rows.append(evaluation.result_row(experiment.id, folder.name, run, name, config, accuracy, len(truth),
                                          trained - begin, time.perf_counter() - trained))
    evaluation.keep_experiment_result(experiment.folder, rows, config['overrides'])
    experiment.close()
    return experiment.id
