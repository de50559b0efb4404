"""A supervised experiment from end to end: train its runs, score their models on the test part."""
import functools
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from scipy.special import log_softmax
from tqdm import tqdm

import evaluation
import models_sl
from experiment import WEIGHTS, Experiment
from fewshot import draw_clips
from patches import Clips, ahead, mean_and_std, patch_batches, sample_patches
from shared import PROGRESS, UserError, atomic, data_folder, listing, read_json, write_json, write_text
from training import count_parameters, make_scorer, make_train_step, randomise, train_supervised

SCRIPT = 'sl_train'  # whose experiments these are


def train(config, task):
    """Train all runs of an experiment, or those that an interrupted one still lacks; returns the experiment's id.

    Args:
        config: from experiment.configure('config_sl', ...).
        task: fewshot.Task of that configuration.
    """
    build = functools.partial(models_sl.build, config, task.representation.bands(next(iter(task.train))))
    model = build()
    name = models_sl.MODELS[config['model_number']][0]
    print(f'model {config["model_number"]}: {name}, {count_parameters(model)} trainable parameters')
    load_weights = find_weights(config['load_model'])
    if load_weights:
        load_weights(model)  # a model that does not fit should be refused before anything is written
    step, score = make_train_step(model, config['weight_decay']), make_scorer(model)
    experiment = Experiment.start({**config, 'script': SCRIPT, 'audio_rep': task.representation.settings})
    print(f'experiment: {experiment.folder}')
    for run in range(len(experiment.models()), config['num_experiment_runs']):
        ids = draw_clips(task.train, task.classes, config, run)
        randomise(model, build, (config['seed'] * 100_003 + run) % 2 ** 32)  # weights and dropout of each run are its own
        if load_weights:
            load_weights(model)
        folder = experiment.new_model()
        train_run(model, step, score, config, task, ids, run, folder)
        experiment.finish_model(folder)
    experiment.close()
    return experiment.id


def train_run(model, step, score, config, task, ids, run, folder):
    """Train one run and leave its folder complete: train_ids.tsv, train_log.tsv, weights, model.json."""
    begin = time.perf_counter()
    labels = [task.train[key] for key in ids]
    write_text(folder / 'train_ids.tsv', ''.join(f'{key}\t{task.classes[label]}\n' for key, label in zip(ids, labels)))
    statistics = normalisation(config, task, ids)
    clips = Clips(task.representation, ids, config, *statistics)
    rng = np.random.default_rng([config['seed'], run])
    log, best = TrainLog(model, task.val is not None, config, folder), Best(model)

    def after_epoch(epoch, cost, seconds):
        accuracy = val_cost = None
        if task.val is not None:
            scores, val_cost = score_clips(score, task, task.val, config, 'val', statistics)
            accuracy = float(np.mean(scores.argmax(axis=1) == list(task.val.values())))
            best.offer(accuracy)
        log.add(epoch, cost, seconds, val_cost, accuracy)

    train_supervised(step, clips, labels, lambda: sample_patches(clips, config, rng), config, after_epoch,
                     f'run {run + 1} of {config["num_experiment_runs"]}')
    best.restore()
    save_weights(model, folder / WEIGHTS)
    write_json(folder / 'model.json', {'run': run, 'normalize_mean': statistics[0], 'normalize_std': statistics[1],
                                       'train_seconds': time.perf_counter() - begin})


def normalisation(config, task, ids):
    """(mean, std) as the configuration asks: of the whole training part, of the chosen clips, or (None, None)."""
    if config['normalize'] is None:
        return None, None
    return mean_and_std(task.representation, ids if config['normalize'] == 'chosen' else task.train, config)


class TrainLog:
    """train_log.tsv, a row per epoch."""

    def __init__(self, model, validation, config, folder):
        self.config = config
        self.log_learn = next((layer for layer in model.layers if layer.name == 'log_learn'), None)
        self.path = folder / 'train_log.tsv'
        self._write(['epoch', 'train_cost'] + ['val_cost', 'val_accuracy'] * validation + ['epoch_time', 'learning_rate'] +
                    ['alpha', 'beta'] * (self.log_learn is not None))

    def _write(self, values):
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write('\t'.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in values) + '\n')

    def add(self, epoch, cost, seconds, val_cost, accuracy):
        values = [epoch, cost] + ([val_cost, accuracy] if accuracy is not None else [])
        values += [seconds, float(self.config['learning_rate'])]
        if self.log_learn is not None:
            values += [float(self.log_learn.alpha), float(self.log_learn.beta)]
        self._write(values)


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


def find_weights(load_model):
    """A function that loads the weights of a model folder into a model, or None when `load_model` is None.

    A relative path is looked for under DATA_FOLDER and its experiments/.
    """
    if load_model is None:
        return None
    places = [root / load_model for root in (data_folder(), data_folder() / 'experiments')]
    found = [place / WEIGHTS for place in places if (place / WEIGHTS).is_file()]
    if not found:
        raise UserError(f'load_model={load_model!r}: no {WEIGHTS} in {places[0]}; give the folder of a finished model, e.g. '
                        f'experiments/fold_0_1541174334/model_fold0_1541174335')
    return functools.partial(load_weights, path=found[0])


def save_weights(model, path):
    """Write the weights of a model, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:  # a write that fails in HDF5 would crash the process when it ends
        model.save_weights(Path(folder, WEIGHTS))
        with atomic(path) as temporary:
            temporary.write_bytes(Path(folder, WEIGHTS).read_bytes())


def load_weights(model, path):
    """Load weights into `model`; a damaged file or one of another architecture is refused."""
    values = 0

    def count(name, item):
        nonlocal values
        values += item.size if isinstance(item, h5py.Dataset) and 'seed_generator' not in name else 0

    try:
        with h5py.File(path) as file:  # Keras itself is content when every layer finds its values, whatever is left over
            file.visititems(count)
        if values != model.count_params():
            raise ValueError(f'it holds {values} values, the model {model.count_params()}')
        states = [v for v in model.variables if not any(v is w for w in model.weights)]  # of dropout's generators
        before = [state.numpy() for state in states]
        model.load_weights(path)
        for state, value in zip(states, before):  # dropout belongs to the run, not to the weights
            state.assign(value)
    except (ValueError, OSError, KeyError) as problem:
        raise UserError(f'{path} does not fit the model: it is damaged, or was trained with another model_number, '
                        f'num_classes_dataset, n_frames or n_mels ({str(problem).splitlines()[0]})') from None


def score_clips(score, task, labels, config, part, statistics, bar=None):
    """Mean softmax probabilities of clips over all their patches.

    Args:
        score: from make_scorer.
        labels: id -> label of S clips.
        part: 'val' or 'test', chooses hop and batch size in `config`.
        statistics: (mean, std) of the input normalisation.
        bar: progress bar that counts clips, or None.

    Returns scores (S, C) float64 and the mean cross-entropy over patches.
    """
    truth, means, costs = np.array(list(labels.values())), evaluation.MeanPerClip(len(labels), len(task.classes)), []
    batches = patch_batches(task.representation, labels, config, config[f'{part}_hop'], config[f'{part}_batch_size'], *statistics)
    for frames, starts, clip in ahead(batches):
        log_probabilities = log_softmax(score(frames, starts).numpy(), axis=1)
        means.add(np.exp(log_probabilities), clip)
        costs.append(-log_probabilities[np.arange(len(clip)), truth[clip]])
        if bar is not None:
            bar.update(int(clip[-1]) + 1 - bar.n)
    if means.not_finite().any():
        ids = np.array(list(labels))[means.not_finite()]
        raise UserError(f'the scores of {part} clips are not finite: ids {listing(ids)}. Either the training diverged (choose a '
                        f'smaller learning_rate than {config["learning_rate"]}), or their representation is damaged '
                        f'({task.representation.remedy})')
    return means.result(), float(np.concatenate(costs).mean())


def evaluate(folder, config, models, task):
    """Score all finished models of an experiment on its test part; returns the accuracies (list).

    Writes the files of evaluation.keep_model_result into each model folder, experiment.result, and rows of results.tsv.

    Args:
        folder, config, models: from experiment.find_experiment.
        task: fewshot.Task with the test part.
    """
    keys, rows = list(task.test), []
    model = models_sl.build(config, task.representation.bands(keys[0]))
    name, score = models_sl.MODELS[config['model_number']][0], make_scorer(model)
    for number, model_name in enumerate(models, 1):
        about = read_json(folder / model_name / 'model.json', 'train again')
        load_weights(model, folder / model_name / WEIGHTS)
        begin = time.perf_counter()
        with tqdm(total=len(keys), desc=f'model {number} of {len(models)}', unit='clip', **PROGRESS) as bar:
            statistics = about['normalize_mean'], about['normalize_std']
            scores, _ = score_clips(score, task, task.test, config, 'test', statistics, bar)
        accuracy = evaluation.keep_model_result(folder / model_name, keys, [task.representation.audio[key] for key in keys],
                                                list(task.test.values()), scores, task.classes)
        rows.append(evaluation.result_row(folder.name, model_name, about['run'], name, config, accuracy, len(keys),
                                          about['train_seconds'], time.perf_counter() - begin))
    return evaluation.keep_experiment_result(folder, rows, config['overrides'])
