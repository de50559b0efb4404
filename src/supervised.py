"""The supervised method: train a network on the chosen clips of each run, score it on the test set."""
import contextlib
import time

import numpy as np
from tqdm import tqdm

from backend import tf
from experiment import Experiment, Log
from network import WEIGHTS, Network, load_trained, load_weights
from patches import Clips, sample_patches
from scoring import Forms, Scorer, score_clips
from shared import PROGRESS, read_json, write_json
from training import check_cost, estimate_statistics, log_learn_values


def train(models, config, split, again=True, wait=True, score=True):
    """Train all runs of an experiment, or those that it still lacks; returns the experiment's id.

    Args:
        models: a module like models_sl, with build and name.
        config: from methods.Method.configure.
        split: fewshot.DataSplit of that configuration.
        again, wait: see experiment.Experiment.start.
        score: whether to evaluate each run after its training; finished runs without a result are evaluated, too. Networks
            whose weights are not saved are evaluated in any case.
    """
    network = Network.of(models, config, split.representation.bands(next(iter(split.train))))
    with contextlib.closing(network.start_experiment(split, again, wait)) as experiment:
        config, score = experiment.config, score or not network.save_weights
        scorer = Scorer(network.forms, config, split.representation, val=split.val, test=split.test if score else None)
        for name in experiment.without_result() if score else ():
            load_and_evaluate(scorer, network.model, models, experiment, experiment.folder / name, split)
        for run, folder in experiment.remaining_runs():
            network.start_run(run)
            about = train_run(network, scorer, config, split, run, folder)
            if score:
                evaluate_run(scorer, models, experiment, folder, about, split)
        if score:
            experiment.print_summary()
    return experiment.id


def train_run(network, scorer, config, split, run, folder):
    """Train one run; returns the content of model.json.

    Writes train_ids.tsv, train_log.tsv, the weights and model.json into its folder.
    """
    begin = time.perf_counter()
    # data: the chosen clips stay on the device
    ids, labels = split.draw(config, run, folder)
    labels, statistics = np.asarray(labels, np.int64), split.statistics(config, ids)
    clips = Clips(split.representation, ids, config, *statistics)
    frames, rng = tf.constant(clips.frames), np.random.default_rng([config['seed'], run])
    # network
    model, step, learning_rate = network.model, network.train_step, tf.constant(config['learning_rate'], tf.float32)
    best_accuracy, best_weights = -1.0, None
    kept = None if split.val is None else scorer.keep(split.representation, split.val, config, 'val', *statistics)
    validated = ['val_cost', 'val_accuracy'] if split.val is not None else []
    log = Log(folder / 'train_log.tsv', ['epoch', 'train_cost', *validated, 'epoch_time', 'learning_rate', *log_learn_values(model)])
    # training: epoch 1 only evaluates the untrained model
    with tqdm(range(1, config['epochs'] + 1), desc=f'run {run + 1} of {config["num_experiment_runs"]}', unit='epoch',
              **PROGRESS) as bar:
        for epoch in bar:
            epoch_begin, cost = time.perf_counter(), float('nan')
            if epoch > 1:
                cost = train_epoch(step, frames, labels, *sample_patches(clips, config, rng), learning_rate, config)
                check_cost(cost, epoch, config)
                bar.set_postfix(cost=f'{cost:.3f}', refresh=False)
            seconds = time.perf_counter() - epoch_begin
            if split.val is not None:
                estimate(network, frames, clips, config, run)
                scores, val_cost = score_clips(scorer, split.representation, split.val, config, 'val', statistics, kept=kept)
                accuracy = float(np.mean(scores.argmax(axis=1) == list(split.val.values())))
                validated = [val_cost, accuracy]
                if accuracy >= best_accuracy:  # of equal ones the latest, as in the study
                    best_accuracy, best_weights = accuracy, model.get_weights()
            log.add(epoch, cost, *validated, seconds, float(config['learning_rate']), *map(float, log_learn_values(model).values()))
    if best_weights is None:
        estimate(network, frames, clips, config, run)
    else:
        model.set_weights(best_weights)
    # files
    network.save(folder)
    about = {'run': run, 'normalize_mean': statistics[0], 'normalize_std': statistics[1],
             'train_seconds': time.perf_counter() - begin}
    write_json(folder / 'model.json', about)
    return about


def estimate(network, frames, clips, config, run):
    """Estimate the statistics of batch normalisation anew, if the configuration asks for it: see training.estimate_statistics."""
    if config.get('statistics_passes'):
        rng = np.random.default_rng([config['seed'], run, 1])  # of its own, so that the draws of training stay the same
        passes = (sample_patches(clips, config, rng)[0] for _ in range(config['statistics_passes']))
        estimate_statistics(network.model, network.statistics_step, frames, passes, config['batch_size'])


def train_epoch(step, frames, labels, starts, clip, learning_rate, config):
    """One epoch of updates on the patches that begin at `starts` (N,) and belong to `clip` (N,); returns the mean cost."""
    batches = [slice(i, i + config['batch_size']) for i in range(0, len(starts), config['batch_size'])]
    costs = [step(frames, starts[b], labels[clip[b]], learning_rate) for b in batches]
    return float(tf.reduce_mean(tf.stack(costs)))  # the only wait for the device in an epoch


def evaluate(models, folder, config, split):
    """Score all finished models of an experiment on its test set.

    Writes the files of Experiment.save_result for each model.

    Args:
        models: as in train.
        folder, config: from experiment.find_experiment.
        split: fewshot.DataSplit with the test set.
    """
    # all weights come from the experiment; the test set is that of now
    config = {**config, 'checkpoint': None, 'data': {**config.get('data', {}), **split.data}}
    experiment = Experiment(folder, config, outdated=not split.learned_by(config))
    model = models.build(config, split.representation.bands(next(iter(split.test))))
    scorer = Scorer(Forms(model), config, split.representation, test=split.test)
    for name in experiment.models():
        load_and_evaluate(scorer, model, models, experiment, folder / name, split)
    experiment.print_summary()


def opened(models, folder, config, bands):
    """A trained model for other clips: function (representation.ArraysInMemory, names) -> mean softmax probabilities (S, C).

    Args:
        models: as in train.
        folder: model folder.
        config: of its experiment.
        bands: M of the arrays.
    """
    about, model = load_trained(models, folder, config, bands)
    forms, statistics = Forms(model), (about['normalize_mean'], about['normalize_std'])

    def score(arrays, names):
        scorer = Scorer(forms, config, arrays, quiet=True, test=names)
        return score_clips(scorer, arrays, dict.fromkeys(names, 0), config, 'test', statistics)[0]  # nothing depends on the labels
    return score


def load_and_evaluate(scorer, model, models, experiment, folder, split):
    """Load the weights of a finished run into the scorer's model and evaluate it."""
    about = read_json(folder / 'model.json', 'train again')
    load_weights(model, folder / WEIGHTS)
    evaluate_run(scorer, models, experiment, folder, about, split)


def evaluate_run(scorer, models, experiment, folder, about, split):
    """Score a run on the test set and write its result.

    Args:
        scorer: scoring.Scorer of a model with the run's weights.
        about: content of the run's model.json.
    """
    config, begin = experiment.config, time.perf_counter()
    with tqdm(total=len(split.test), desc=f'model of run {about["run"] + 1}', unit='clip', **PROGRESS) as bar:
        statistics = about['normalize_mean'], about['normalize_std']
        scores, _ = score_clips(scorer, split.representation, split.test, config, 'test', statistics, bar)
    experiment.save_result(folder, models.name(config), about, scores, split, time.perf_counter() - begin)
