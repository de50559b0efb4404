"""Experiment folders: experiments/fold_<fold>_<seconds since 1970>/ with config.json, models.list and a folder per run.

An experiment folder is self-sufficient: its evaluation reads everything else there. models.list has a line per finished run.
"""
import collections
import json
import os
import re
import shutil
import time
from pathlib import Path

import pandas as pd

import evaluation
import figures
from configuration import check, differences, parse_overrides, print_overrides, same_draw, same_experiment
from results import add_results, config_hash, data_hash, experiments_folder, result_row
from shared import UserError, ground_truth_path, listing, locked, once_per_file, read_json, sync, take_lock, write_json, write_text


class Busy(Exception):
    """Another process works on the experiment."""


# ---- folders ---------------------------------------------------------------------------------------------------------

def stamped(parent, prefix):
    """The first free path parent/<prefix><seconds since 1970>, from now on (Path)."""
    seconds = int(time.time())
    while (path := parent / f'{prefix}{seconds}').exists():
        seconds += 1
    return path


def list_experiments(fold=None):
    """All experiment folders, or those of a fold, the newest first (list of Path)."""
    fold = r'\d+' if fold is None else fold
    folders = [f for f in experiments_folder().glob('fold_*') if re.fullmatch(rf'fold_{fold}_\d+', f.name)]
    return sorted(folders, key=lambda f: int(f.name.rpartition('_')[2]), reverse=True)


def config_of(folder):
    """An experiment's configuration; {} where it cannot be read. It is not to be changed: the last ones read stay in memory."""
    path = folder / 'config.json'
    return _known_object(path) if path.is_file() else {}


def finished_models(folder):
    """Names of the model folders of finished runs, in the order of the runs (list of str)."""
    path = folder / 'models.list'
    return path.read_text(encoding='utf-8').split() if path.exists() else []


def _read_object(path):
    """A JSON object; {} where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_known_object = once_per_file(_read_object, 10_000)  # every start of an experiment looks at all of them


def experiments_of(method):
    """Folders of the experiments that a script trained, the newest first (list of Path)."""
    return [folder for folder in list_experiments() if config_of(folder).get('method') == method]


def find_experiment(name, method, train_command, arguments=(), keys=()):
    """Folder and configuration of an experiment; 'latest' is the one trained last.

    Args:
        method: which method's experiments are meant, the value of the key `method` in their configurations.
        train_command: command that trains such an experiment, for messages.
        arguments: key=value overrides of those `keys` that concern evaluation alone.
    """
    if name == 'latest':
        trained = [f for f in experiments_of(method) if (f / 'models.list').exists()]
        # the one trained last: an interrupted experiment that was continued may be older than others
        name = max(trained, key=lambda f: (f / 'models.list').stat().st_mtime_ns, default=Path('latest')).name
        print(f'latest: {name}')
    folder = experiments_folder() / Path(name).name
    if not folder.is_dir():
        newest = listing([f.name for f in experiments_of(method)[:8]]) or f'none, train one first: {train_command}'
        raise UserError(f'there is no experiment {name!r} of {method}.py in {experiments_folder()}; the newest are: {newest}')
    config = read_json(folder / 'config.json', 'the experiment cannot be used, train again')
    if config.get('method') != method:
        raise UserError(f'{folder} was made by {config.get("method")}.py, not by {method}.py')
    models = finished_models(folder)
    if not models:
        raise UserError(f'{folder} has no trained model (models.list is missing or empty): start the training command '
                        f'again, it continues there')
    if len(models) < config['num_experiment_runs']:
        print(f'note: {len(models)} of {config["num_experiment_runs"]} runs are trained so far')
    overrides = parse_overrides(arguments, keys)
    check(overrides)
    print_overrides(overrides)
    return folder, {**config, **overrides, 'overrides': {**config['overrides'], **overrides}}


def announce_difference(config):
    """Print what keeps a configuration from continuing the newest experiment of its method, data, n_shot and seed, if there is one."""
    for folder in list_experiments(config['fold']):
        other = config_of(folder)
        if other and same_draw(config, other):
            if differing := differences(config, other):
                reasons = listing([f'{key}={other.get(key)!r}' for key in differing])
                print(f'note: a new experiment begins, because {folder.name} has other settings: {reasons}')
            return


def draw_confusion(folder):
    """Draw confusion_matrix.png of an experiment, the sum over its runs, if all of them are evaluated."""
    models = [folder / model for model in finished_models(folder)]
    if all((model / 'confusion_matrix.tsv').is_file() for model in models):
        classes, counts = evaluation.add_confusions(models)
        title = f'{len(models)} run(s), accuracy {counts.trace() / counts.sum():.3f}'
        figures.draw(folder / 'confusion_matrix.png', figures.confusion, counts, classes, title)


def draw_training(folder):
    """Draw training.png of an experiment: cost, and accuracy where it is logged, of all runs while they trained."""
    logs = [pd.read_csv(path, sep='\t') for model in finished_models(folder) if (path := folder / model / 'train_log.tsv').is_file()]
    if logs:
        figures.draw(folder / 'training.png', figures.training, logs, f'{folder.name}: {len(logs)} run(s)')


# ---- the sounds of an experiment -------------------------------------------------------------------------------------

SOUNDS = 'sounds.tsv'


def write_sounds(folder, sounds):
    """Write sounds.tsv: part and digest of each sound, a line each.

    The part is train, val or test, or before: what the experiments learned from that the first weights come from.
    """
    write_text(folder / SOUNDS, ''.join(f'{part}\t{digest}\n' for part, digests in sounds.items() for digest in digests))


def heard_by(folder, remedy):
    """Digests of the sounds that the experiment in `folder`, and those that its first weights come from, were trained or validated on (set)."""
    if not (folder / SOUNDS).is_file():
        raise UserError(f'{folder / SOUNDS} does not exist, so it is not known which sounds the experiment learned from: {remedy}')
    sounds = collections.defaultdict(set)
    for line in (folder / SOUNDS).read_text(encoding='utf-8').splitlines():
        part, digest = line.split('\t')
        sounds[part].add(digest)
    # published data sets may hold one sound twice, in both sets: DataSplit.load prints that
    return (sounds['train'] | sounds['val']) - sounds['test'] | sounds['before']


def check_unheard(folder, split, remedy):
    """Raise UserError if an experiment, or one that its weights come from, has learned from sounds of the test set: see heard_by."""
    heard = heard_by(folder, remedy)
    known = [key for key, digest in zip(split.test, split.sounds('test')) if digest in heard]
    if known:
        raise UserError(f'{len(known)} of {len(split.test)} test clips are training or validation clips of {folder.name} (ids '
                        f'{listing(known)}): the split has been made again since the training, so their scores would be too high; {remedy}')


# ---- one experiment --------------------------------------------------------------------------------------------------

class Experiment:
    """An experiment folder that this process writes to. A lock keeps other processes from continuing it meanwhile."""

    def __init__(self, folder, config, lock=None, outdated=False):
        """outdated: whether the fold's training set has changed since the experiment was trained."""
        self.folder, self.id, self.config, self._lock, self._outdated = folder, folder.name, config, lock, outdated

    @classmethod
    def start(cls, config, again=True, wait=True, sounds=None):
        """Continue the newest experiment of the same configuration that has fewer runs than wanted, or begin a new one.

        Model folders of unfinished runs are deleted: these runs begin again from their seeds.

        Args:
            again: whether a finished experiment is trained again, in a new folder; False: it is returned.
            wait: what to do with again=False while another process holds the experiment: wait, or raise Busy.
            sounds: digests of the sounds of its sets: part -> list, see write_sounds.
        """
        with locked(experiments_folder() / '.lock_begin'):  # of two processes, the second finds what the first began
            for folder in list_experiments(config['fold']) if config.get('resume', True) else ():
                if not same_experiment(config, config_of(folder)):
                    continue
                if not again or len(finished_models(folder)) < config['num_experiment_runs']:
                    lock = take_lock(folder / '.lock', wait=False)
                    if lock or not again:
                        break
            else:
                announce_difference(config)
                return cls._create(config, sounds or {})
        if not lock and not wait:
            raise Busy(folder.name)
        experiment = cls(folder, config, lock or take_lock(folder / '.lock'))
        experiment._continue()
        return experiment

    @classmethod
    def _create(cls, config, sounds):
        """A new folder. It gets its name when config.json is in it. A killed process leaves a folder with a temporary name, which is removed here."""
        for leftover in experiments_folder().glob('.tmp-fold_*'):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = stamped(experiments_folder(), f'fold_{config["fold"]}_')
        temporary = folder.with_name(f'.tmp-{folder.name}')
        write_json(temporary / 'config.json', {'experiment': folder.name, **config})
        write_sounds(temporary, sounds)
        lock = take_lock(temporary / '.lock')
        os.rename(temporary, folder)
        return cls(folder, config, lock)

    def _continue(self):
        """Prepare a folder with earlier runs for further ones."""
        finished, found, wanted = self.models(), config_of(self.folder), self.config['num_experiment_runs']
        print(f'continuing {self.id}: {len(finished)} of {wanted} runs are finished')
        if found['num_experiment_runs'] < wanted:
            write_json(self.folder / 'config.json', {**found, 'num_experiment_runs': wanted})
        for leftover in self.folder.glob('model_*'):
            if leftover.name not in finished:
                shutil.rmtree(leftover)
        if rows := self.results():  # results.tsv may have lost them
            self._add_results(rows)

    def close(self):
        """Let other processes continue the experiment."""
        if self._lock:
            self._lock.close()

    def models(self):
        """Names of the model folders of finished runs (list of str)."""
        return finished_models(self.folder)

    def new_model(self):
        """A new folder for the model of the next run (Path)."""
        folder = stamped(self.folder, f'model_fold{self.config["fold"]}_')
        folder.mkdir()
        return folder

    def finish_model(self, folder):
        """Add a model folder to models.list: its run counts as finished, after a power failure, too."""
        for path in folder.iterdir():
            sync(path)
        write_text(self.folder / 'models.list', ''.join(f'{model}\n' for model in [*self.models(), folder.name]), durable=True)

    def remaining_runs(self):
        """Yield (number, new model folder) of each run that is still missing.

        A run counts as finished when the next one is asked for. An interruption of the loop leaves its run unfinished.
        """
        for run in range(len(self.models()), self.config['num_experiment_runs']):
            folder = self.new_model()
            yield run, folder
            self.finish_model(folder)

    def results(self):
        """Rows of results.tsv of the finished runs that were evaluated with this configuration and data (list)."""
        wanted = config_hash(self.config), data_hash(self.config.get('data', {}))
        rows = (_read_object(self.folder / name / 'result.json') for name in self.models())
        return [row for row in rows if (row.get('config_hash'), row.get('data')) == wanted]

    def without_result(self):
        """Names of the model folders of finished runs that `results` does not return."""
        done = {row['model'] for row in self.results()}
        return [name for name in self.models() if name not in done]

    def save_result(self, folder, method, about, scores, split, test_seconds):
        """Write the result of one run: files about its decisions, its row of results.tsv, experiment.result.

        Args:
            folder: model folder of the run.
            method: the method's name in tables.
            about: dictionary with run (its number) and train_seconds.
            scores: (S, C) scores of the test clips.
            split: fewshot.DataSplit with the test set.
            test_seconds: how long the evaluation took.
        """
        keys = list(split.test)
        accuracy = evaluation.write_decisions(folder, keys, [split.representation.audio[key] for key in keys],
                                              list(split.test.values()), scores, split.classes)
        row = result_row(folder, about['run'], method, self.config, accuracy, len(keys), about['train_seconds'], test_seconds)
        write_json(folder / 'result.json', row)
        rows, wanted = {r['run']: r for r in (*self.results(), row)}, self.config['num_experiment_runs']
        if wanted > 1:
            print(f'run {row["run"] + 1} of {wanted}: accuracy {row["accuracy"]:.3f}')
        accuracies = [rows[run]['accuracy'] for run in sorted(rows)]
        evaluation.write_summary(self.folder / 'experiment.result', self.id, accuracies, self.config['overrides'])
        self._add_results([row])

    @property
    def _apart(self):
        """Why results do not belong in the means of the fold (str); '' if they do."""
        usual = {f'gt_{part}': ground_truth_path(self.config['dataset'], self.config['fold'], part) for part in ('train', 'test')}
        if any(self.config.get(key, path) != path for key, path in usual.items()):
            return (f'another training or test set than that of the fold was chosen ({self.config["gt_train"]}, '
                    f'{self.config["gt_test"]})')
        return 'the training set of the fold has changed since the training' if self._outdated else ''

    def _add_results(self, rows):
        if not self._apart:
            add_results(rows)

    def print_summary(self):
        """Print the mean accuracy of the runs that have a result.

        Pictures are left to draw_confusion: they take longer than a run of the fast methods.
        """
        if rows := self.results():
            print(f'{rows[0]["method"]}, {rows[0]["dataset"]} fold {rows[0]["fold"]}, n_shot {rows[0]["n_shot"]}: '
                  f'accuracy {evaluation.describe([row["accuracy"] for row in rows])}')
        if self._apart:
            print(f'note: {self._apart}: the result is not added to results.tsv')


class Log:
    """A table that grows by a row at a time, as a TSV file with a header."""

    def __init__(self, path, columns):
        self.path = path
        self.add(*columns)

    def add(self, *values):
        """Append a row; floats get six significant digits."""
        self.add_all([values])

    def add_all(self, rows):
        """Append several rows at once."""
        with open(self.path, 'a', encoding='utf-8') as file:
            file.writelines('\t'.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in row) + '\n' for row in rows)
