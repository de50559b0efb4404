"""A supervised experiment from end to end: train its runs, score their models on the test part."""
import contextlib
import time

import numpy as np
from scipy.special import log_softmax
from tqdm import tqdm

import evaluation
import models_sl
import models_transfer
from experiment import WEIGHTS, Log
from network import Network, load_weights
from patches import Clips, sample_patches
from shared import PROGRESS, read_json, write_json
from sliding import Forms, Scorer
from training import log_learn_values, train_supervised

MODELS = {'sl_train': models_sl, 'transfer_train': models_transfer.CLASSIFIER}  # by the script whose experiments they are


def train(config, task, again=True, score=False):
    """Train all runs of an experiment, or those that it still lacks; returns the experiment's id.

    With keep_weights=False each run is evaluated at once, and its results and its last layer are all that is kept.

    Args:
        config: from experiment.configure; with 'script', a key of MODELS.
        task: fewshot.Task of that configuration.
        again: whether to train an experiment anew that has all its runs.
        score: whether to evaluate each run at once and keep its weights all the same; runs that were trained before and
            have no result yet are evaluated too.
    """
    models = MODELS[config['script']]
    network = Network.of(models, config, task.representation.bands(next(iter(task.train))))
    with contextlib.closing(network.start_experiment(task, again)) as experiment:
        config, score = experiment.config, score or not network.keep_weights
        scorer = Scorer(network.forms, config, task.representation, val=task.val, test=task.test if score else None)

        def keep_result(folder, about):
            row = evaluate_model(scorer, folder, about, models.name(config), config, task)
            evaluation.keep_run_result(experiment, folder, row)

        for name in experiment.without_result() if score else ():
            load_weights(network.model, experiment.folder / name / WEIGHTS)
            keep_result(experiment.folder / name, read_json(experiment.folder / name / 'model.json', 'train again'))
        for run, folder in experiment.remaining_runs():
            network.begin(run)
            about = train_run(network, scorer, config, task, run, folder)
            if score:
                keep_result(folder, about)
    return experiment.id


def train_run(network, scorer, config, task, run, folder):
    """Train one run and leave its folder complete: train_ids.tsv, train_log.tsv, weights, model.json, whose content it returns."""
    model = network.model
    begin = time.perf_counter()
    ids, labels = task.draw(config, run, folder)
    statistics = task.statistics(config, ids)
    clips = Clips(task.representation, ids, config, *statistics)
    rng, best, validation = np.random.default_rng([config['seed'], run]), Best(model), task.val is not None
    log = Log(folder / 'train_log.tsv', ['epoch', 'train_cost', *['val_cost', 'val_accuracy'] * validation, 'epoch_time',
                                         'learning_rate', *log_learn_values(model)])

    def after_epoch(epoch, cost, seconds):
        validated = []
        if validation:
            scores, val_cost = score_clips(scorer, task, task.val, config, 'val', statistics)
            validated = [val_cost, float(np.mean(scores.argmax(axis=1) == list(task.val.values())))]
            best.offer(validated[1])
        log.add(epoch, cost, *validated, seconds, float(config['learning_rate']), *map(float, log_learn_values(model).values()))

    train_supervised(network.train_step, clips, labels, lambda: sample_patches(clips, config, rng), config, after_epoch,
                     f'run {run + 1} of {config["num_experiment_runs"]}')
    best.restore()
    network.keep(folder)
    about = {'run': run, 'normalize_mean': statistics[0], 'normalize_std': statistics[1],
             'train_seconds': time.perf_counter() - begin}
    write_json(folder / 'model.json', about)
    return about


class Best:
    """The weights with the best validation accuracy so far; of equal ones the latest, as in the study."""

    def __init__(self, model):
        self.model, self.accuracy, self.weights = model, -1.0, None

    def offer(self, accuracy):
        if accuracy >= self.accuracy:
            self.accuracy, self.weights = accuracy, self.model.get_weights()

    def restore(self):
        if self.weights is not None:
            self.model.set_weights(self.weights)


def score_clips(scorer, task, labels, config, part, statistics, bar=None):
    """Mean softmax probabilities of clips over all their patches.

    Args:
        scorer: sliding.Scorer of this part.
        labels: id -> label of S clips.
        part: 'val' or 'test', chooses hop and batch size in `config`.
        statistics: (mean, std) of the input normalisation.
        bar: progress bar that counts clips, or None.

    Returns scores (S, C) float64 and the mean cross-entropy over patches.
    """
    truth, means, costs = np.array(list(labels.values())), evaluation.MeanPerClip(len(labels), len(task.classes)), []
    for logits, clip in scorer.batches(task.representation, labels, config, part, *statistics):
        log_probabilities = log_softmax(logits, axis=1)
        means.add(np.exp(log_probabilities), clip)
        costs.append(-log_probabilities[np.arange(len(clip)), truth[clip]])
        if bar is not None:
            bar.update(int(clip[-1]) + 1 - bar.n)
    evaluation.check_finite(means, labels, part, config, task.representation)
    return means.result(), float(np.concatenate(costs).mean())


def evaluate(folder, config, model_names, task):
    """Score all finished models of an experiment on its test part; returns the accuracies (list).

    Writes the files of evaluation.keep_model_result into each model folder, experiment.result, and rows of results.tsv.

    Args:
        folder, config, model_names: from experiment.find_experiment.
        task: fewshot.Task with the test part.
    """
    rows, models = [], MODELS[config['script']]
    config = {**config, 'data': {**config.get('data', {}), **task.data}}  # the test part of today
    model = models.build(config, task.representation.bands(next(iter(task.test))))
    scorer = Scorer(Forms(model), config, task.representation, test=task.test)
    for name in model_names:
        about = read_json(folder / name / 'model.json', 'train again')
        load_weights(model, folder / name / WEIGHTS)
        rows.append(evaluate_model(scorer, folder / name, about, models.name(config), config, task))
        write_json(folder / name / 'result.json', rows[-1])
    return evaluation.keep_experiment_result(folder, rows, config['overrides'])


def evaluate_model(scorer, folder, about, method, config, task):
    """Score one model, whose weights `scorer` uses and whose model.json says `about`; returns its row of results.tsv."""
    keys, begin = list(task.test), time.perf_counter()
    with tqdm(total=len(keys), desc=f'model of run {about["run"] + 1}', unit='clip', **PROGRESS) as bar:
        statistics = about['normalize_mean'], about['normalize_std']
        scores, _ = score_clips(scorer, task, task.test, config, 'test', statistics, bar)
    accuracy = evaluation.keep_model_result(folder, keys, [task.representation.audio[key] for key in keys],
                                            list(task.test.values()), scores, task.classes)
    return evaluation.result_row(folder, about['run'], method, config, accuracy, len(keys), about['train_seconds'],
                                 time.perf_counter() - begin)
