"""Plans of many experiments: the runs that they consist of, which of these are done, what the others will take."""
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

import checkpoint
import config_file
import representations
from experiment import ALL, RESULT_COLUMNS, configure, data_name, experiments_folder, read_results, recipe, results_path
from fewshot import Task, task_key
from shared import UserError, data_folder, ground_truth_path, index_folder, listing, read_classes, read_ground_truth
from tables import position

PLAN = ('datasets', 'folds', 'n_shots', 'methods', 'num_experiment_runs', 'seed', 'scheduler', 'dry_run')
# what a plan decides for its methods under other names, or leaves to the data set
DECIDED = ('dataset', 'fold', 'n_shot', 'gt_train', 'gt_val', 'gt_test', 'num_classes_dataset', 'resume', 'identifier',
           'index_file', 'audio_folder', 'audio_representation_folder', 'load_model', 'model_number', 'pre_processing')
NEEDS_CHECKPOINT = 'needs the VGGish checkpoint'
IDENTITY = ['dataset', 'fold', 'n_shot', 'seed', 'run', 'recipe', 'data']  # columns of results.tsv that tell results apart


def entry_of(method):
    """The entry of config_file.py that a method of config_methods begins with."""
    group, entry, _ = config_file.config_methods[method]
    return getattr(config_file, group)[entry]


def needs_checkpoint(method):
    """Whether a method begins with VGGish."""
    return 'checkpoint' in entry_of(method)


def method_keys():
    """Keys that a plan may set in its methods: those that any of them has, apart from what the plan decides otherwise."""
    return {key for method in config_file.config_methods for key in entry_of(method) if key not in DECIDED and key not in PLAN}


@dataclass(eq=False)
class Job:
    """One run of one experiment of a plan.

    Attributes: method (name in config_methods), config (the experiment's, with as many runs as are needed for this one),
    run (its number), train_clips and test_clips (how many), identity (values of the columns IDENTITY in results.tsv; of
    recipe and data None while there is no representation).
    """
    method: str
    config: dict
    run: int
    train_clips: int
    test_clips: int
    identity: tuple

    def __str__(self):
        c = self.config
        return f'{c["dataset"]} fold {c["fold"]}, n = {c["n_shot"]}, {self.method}, run {self.run + 1}'

    @property
    def round(self):
        """A picture is there after the first round, which has the first run on the first fold of everything."""
        return self.run, self.config['fold']

    @property
    def experiment(self):
        """What the runs of one experiment have in common."""
        return self.method, self.config['dataset'], self.config['fold'], self.config['n_shot']


class Plan:
    """A plan, opened: which of its methods can be run, and what it consists of.

    Attributes: name, config, missing (list of (data set, method, reason) of what must be left out), notes (list of str).
    """

    def __init__(self, config):
        """Check a configuration from experiment.configure. Raises UserError for what no experiment could be run with."""
        config = {key: list(dict.fromkeys(value)) if isinstance(value, list) else value for key, value in config.items()}
        self.name, self.config, self.notes = config['configuration'], config, []
        unknown = [method for method in config['methods'] if method not in config_file.config_methods]
        if unknown:
            raise UserError(f'methods={unknown} are not in config_methods of config_file.py; there are: '
                            f'{", ".join(config_file.config_methods)}')
        self.settings = {key: value for key, value in config.items() if key not in (*PLAN, 'configuration', 'overrides')}
        useless = [key for key in config['overrides'] if key in self.settings
                   and not any(key in entry_of(method) for method in config['methods'])]
        if useless:
            raise UserError(f'{listing(useless)}: no method of the plan has such a key')
        self.folds = {dataset: self._folds_of(dataset) for dataset in config['datasets']}
        nowhere = [fold for fold in self._asked_folds() if not any(fold in there for there in self.folds.values())]
        if nowhere:
            raise UserError(f'folds={config["folds"]}: no data set has fold {listing(nowhere)}')
        self.missing = [(dataset, method, NEEDS_CHECKPOINT) for dataset in config['datasets']
                        for method in config['methods'] if needs_checkpoint(method) and not self._has_checkpoint(method)]
        left_out = dict.fromkeys(method for _, method, _ in self.missing)
        if left_out:
            self.notes.append(f'{", ".join(left_out)}: left out, no VGGish checkpoint. {checkpoint.REMEDY}')
        self.methods = [method for method in config['methods'] if method not in left_out]
        self._known = {}

    def _has_checkpoint(self, method):
        path = self.settings.get('checkpoint', entry_of(method)['checkpoint'])
        return path is None or checkpoint.files_of(checkpoint.place(path))

    def _asked_folds(self):
        return [] if self.config['folds'] == ALL else self.config['folds']

    def _folds_of(self, dataset):
        read_classes(dataset)  # says what to do where there is no index
        names = (path.name for path in index_folder(dataset).glob(f'gt_{dataset}_fold*_test.tsv'))
        there = sorted(int(name[len(f'gt_{dataset}_fold'):-len('_test.tsv')]) for name in names)
        folds = [fold for fold in there if fold in (self._asked_folds() or there)]
        if not folds:
            raise UserError(f'folds={self.config["folds"]}: {dataset} has {listing(there) or "none"}')
        absent = [fold for fold in self._asked_folds() if fold not in there]
        self.notes += [f'{dataset} has no fold {listing(absent)}'] if absent else []
        return folds

    def configure(self, method, dataset, fold, n_shot, runs):
        """The configuration of an experiment, as the method's script would have it."""
        group, entry, differing = config_file.config_methods[method]
        values = {**differing, **{key: value for key, value in self.settings.items() if key in entry_of(method)},
                  'dataset': dataset, 'fold': fold, 'n_shot': n_shot, 'seed': self.config['seed'], 'num_experiment_runs': runs}
        config = configure(group, entry, [f'{key}={value!r}' for key, value in values.items()])
        return checkpoint.configuration(config) if 'checkpoint' in config else config

    def describe(self, jobs):
        """'plan esc10: 125 runs; esc10, folds 0, 1, 2, 3, 4; n = 1, 2, 5, 10, 20; 6 methods'."""
        folds = '; '.join(f'{dataset}, folds {", ".join(map(str, folds))}' for dataset, folds in self.folds.items())
        return (f'plan {self.name}: {len(jobs)} runs; {folds}; n = {", ".join(map(str, self.config["n_shots"]))}; '
                f'{", ".join(self.methods)}; {self.config["num_experiment_runs"]} run(s) each')

    def make_representations(self):
        """Compute what the methods learn from, where it is not there yet; returns id -> reason of refused sound files."""
        refused = {}
        for dataset, folds in self.folds.items():
            seen = set()
            for config in (self.configure(method, dataset, folds[0], ALL, 1) for method in self.methods):
                folder = config['audio_representation_folder']
                wanted = config if 'identifier' in config else preprocessing(config)
                if folder not in seen and wanted['audio_representation_folder'] == folder:
                    problems = representations.store({**wanted, 'scheduler': self.config['scheduler']})
                    refused.update({f'{dataset} {key}': reason for key, reason in problems.items()})
                seen.add(folder)
        if refused and not self.settings.get('skip_missing'):
            raise UserError(f'{len(refused)} sound files were refused, see above: mend or remove them, or set skip_missing=True')
        return refused

    def jobs(self):
        """All runs of the plan (list of Job), those first that give an early picture: one run of everything, then more."""
        jobs = []
        for run in range(self.config['num_experiment_runs']):
            for dataset, folds in self.folds.items():
                for fold in folds:
                    for n_shot in self.config['n_shots']:
                        jobs += [job for method in self.methods if (job := self._job(method, dataset, fold, n_shot, run))]
        places = {dataset: place for place, dataset in enumerate(self.folds)}
        jobs.sort(key=lambda job: (*job.round, position(job.config['n_shot']), places[job.config['dataset']]))
        if not jobs:
            raise UserError('nothing can be run: ' + '; '.join(self.notes or ['the plan is empty']))
        return jobs

    def _job(self, method, dataset, fold, n_shot, run):
        config = self.configure(method, dataset, fold, n_shot, run + 1)
        per_class, test_clips, identity = self._data(config)
        if n_shot != ALL and n_shot > min(per_class):
            note = f'{dataset}, n = {n_shot}: left out where the smallest class has fewer training clips ({min(per_class)})'
            self.notes += [note] if note not in self.notes else []
            return None
        names = (recipe(config | identity), data_name(identity['data'])) if identity else (None, None)
        return Job(method, config, run, sum(per_class) if n_shot == ALL else n_shot * len(per_class), test_clips,
                   (dataset, fold, str(n_shot), self.config['seed'], run, *names))

    def _data(self, config):
        """Training clips of each class (list), number of test clips, and Task.identity; None before there is a representation."""
        key = task_key(config)
        if key not in self._known:
            try:
                task = Task.load(dict(key))
                train, test, identity = task.train, task.test, task.identity
            except UserError:
                if not self.config.get('dry_run'):
                    raise
                train, test = (read_ground_truth(data_folder() / config[part], config['num_classes_dataset'])
                               for part in ('gt_train', 'gt_test'))
                identity = None
                note = f'{config["audio_representation_folder"]}: not there or not up to date. It is made first, not estimated here'
                self.notes += [note] if note not in self.notes else []
            labels = list(train.values())
            self._known[key] = [labels.count(c) for c in range(config['num_classes_dataset'])], len(test), identity
        return self._known[key]


def preprocessing(config):
    """The configuration of preprocess.py that makes what an experiment on spectrograms or VGGish examples reads."""
    kind = 'audioset' if 'checkpoint' in config else 'spec'
    name = f'{config["dataset"]}_{kind}'
    return configure('config_preprocess', name if name in config_file.config_preprocess else kind, [f'dataset={config["dataset"]}'])


# ---- what is done, what the rest will take ---------------------------------------------------------------------------

def results():
    """All results so far; an empty table before the first one."""
    return read_results() if results_path().exists() else pd.DataFrame(columns=RESULT_COLUMNS)


def identities(rows):
    """The identity of each row of results.tsv, as in Job (list of tuples)."""
    return list(rows[IDENTITY].itertuples(index=False, name=None))


def rows_of(jobs, rows):
    """Those rows of the table of results that belong to jobs."""
    wanted = {job.identity for job in jobs}
    return rows[np.array([identity in wanted for identity in identities(rows)], bool)]


def without_result(jobs, rows):
    """The jobs whose result is not among the rows (list)."""
    done = set(identities(rows))
    return [job for job in jobs if job.identity not in done]


class Costs:
    """What runs took so far, to tell what others will take."""

    def __init__(self, rows):
        draws = list(rows[['dataset', 'fold', 'n_shot']].itertuples(index=False, name=None))
        clips = {draw: self._train_clips(*draw) for draw in set(draws)}
        self._rows = rows.assign(train_clips=[clips[draw] for draw in draws]).dropna(subset='train_clips')
        self._bytes, self._nearest, self._seconds = {}, {}, {}

    @staticmethod
    def _train_clips(dataset, fold, n_shot):
        try:
            classes = len(read_classes(dataset))
            return classes * int(n_shot) if n_shot != ALL else \
                len(read_ground_truth(data_folder() / ground_truth_path(dataset, fold, 'train'), classes))
        except UserError:  # its index is no more
            return None

    def _like(self, job):
        """Rows of the same recipe with the nearest number of training clips, of the same data set if possible."""
        key = job.identity[5], job.config['dataset'], job.train_clips
        if key not in self._nearest:
            rows = self._rows[self._rows['recipe'] == job.identity[5]]
            own = rows[rows['dataset'] == job.config['dataset']]
            rows = rows if own.empty else own
            distance = (rows['train_clips'].astype(float) / job.train_clips).map(lambda ratio: abs(math.log(ratio)))
            self._nearest[key] = rows[distance == distance.min()]
        return self._nearest[key]

    def seconds(self, job):
        """Estimated seconds of a run, None when nothing like it was measured: training in proportion to the training clips
        of the nearest run, evaluation to the test clips."""
        key = job.identity[5], job.config['dataset'], job.train_clips, job.test_clips
        if key not in self._seconds:
            rows = self._like(job)
            seconds = rows['train_seconds'] * job.train_clips / rows['train_clips'].astype(float) \
                + rows['test_seconds'] * job.test_clips / rows['clips']
            self._seconds[key] = None if rows.empty else float(seconds.mean())
        return self._seconds[key]

    def bytes(self, job):
        """Bytes that the model folder of the nearest measured run takes; None when there is none."""
        for row in self._like(job).itertuples():
            folder = experiments_folder() / row.experiment / row.model
            if folder not in self._bytes:
                self._bytes[folder] = sum(file.stat().st_size for file in folder.glob('*'))
            if self._bytes[folder]:
                return self._bytes[folder]
        return None

    def describe(self, jobs):
        """'about 1 h 20 min and 35 MB; 6 run(s) of which nothing like it was measured'."""
        seconds, sizes = ([cost for job in jobs if (cost := measure(job)) is not None] for measure in (self.seconds, self.bytes))
        unknown = len(jobs) - len(seconds)
        text = f'about {duration(sum(seconds))} and {sum(sizes) / 1e6:.0f} MB' if seconds else ''
        more = f'{unknown} run(s) of which nothing like it was measured' if unknown else ''
        return '; '.join(filter(None, (text, more)))


def duration(seconds):
    """'2 h 05 min', '3 min' or '40 s'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'
