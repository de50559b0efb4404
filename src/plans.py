"""Plans of many experiments: the runs that they consist of, which of these are done, how long the others will take."""
import collections
from dataclasses import dataclass

import numpy as np

import config_file
import pretrained
import representation
from analysis import position
from configuration import ALL, KEYS, select
from methods import METHODS
from results import config_hash, data_hash
from shared import UserError, data_folder, folds_of, listing, read_classes, read_ground_truth

IDENTITY = ['dataset', 'fold', 'n_shot', 'seed', 'run', 'config_hash', 'data']  # columns of results.tsv that identify a result
Identity = collections.namedtuple('Identity', IDENTITY)


def method_named(name):
    """The methods.Method of a method in config_methods."""
    return METHODS[config_file.config_methods[name][0]]


def entry_of(name):
    """The entry of config_file.py that a method in config_methods begins with (dictionary)."""
    group, entry, _ = config_file.config_methods[name]
    return getattr(config_file, group)[entry]


def reads_spectrograms(name):
    """Whether a method in config_methods reads what `preprocess.py spec` makes."""
    return method_named(name).kind is representation.SPECTROGRAMS


def begins_pretrained(name):
    """Whether a method in config_methods starts from a pretrained network."""
    return method_named(name).pretrained


def needed_weights(name):
    """'needs the weights of VGGish': why a method in config_methods is left out without them."""
    return f'needs the weights of {pretrained.NETWORKS[entry_of(name)["network"]].title}'


# keys of preprocess.py that a plan may set for all methods on spectrograms; knn_mfcc has the first two as well
SPECTROGRAM_KEYS = ('resample_sr', 'resampler', 'spectrogram_type', 'hop', 'n_fft', 'n_mels', 'cqt_bins')
# groups of config_methods, the cheapest first: frozen networks, nearest neighbours, fine-tuned networks, networks from scratch
COST = ('config_frozen', 'config_knn_audioset', 'config_knn_mfcc', 'config_transfer', 'config_transfer_proto', 'config_sl', 'config_proto')


def cost(method):
    """Place of a method in the order of costs; of names that are not in config_methods, the last."""
    return COST.index(config_file.config_methods[method][0]) if method in config_file.config_methods else len(COST)


def changed_settings(name, config):
    """Settings of an experiment's configuration that are not those of its method in config_methods: dictionary key -> value."""
    usual = {**entry_of(name), **config_file.config_methods[name][2]} if name in config_file.config_methods else {}
    return {key: value for key, value in select(config, 'method', 'evaluation').items()
            if key in config.get('overrides', {}) and value != usual.get(key)}


def method_keys():
    """Keys that a plan may set in its methods: those that a method has, unless the plan or config_methods sets them (set)."""
    fixed = {'load_model', 'resume', 'audio_folder', 'num_experiment_runs', 'network', 'statistics_passes', *(key for *_, values in
             config_file.config_methods.values() for key in values if key != 'save_weights')}
    allowed = {key for key, (_, role) in KEYS.items() if role in ('method', 'evaluation', 'output', 'run', 'machine')} - fixed
    present = set().union(*(entry_of(name) for name in config_file.config_methods))
    return (allowed | {'skip_missing', 'allow_fewer'}) & present | set(SPECTROGRAM_KEYS)


@dataclass(eq=False)
class Job:
    """One run of one experiment of a plan.

    Attributes: method (name in config_methods), config (the experiment's, with as many runs as are needed for this one),
    run (its number), train_clips and test_clips (how many), identity (values of the columns IDENTITY in results.tsv; of
    config_hash and data None while there is no representation).
    """
    method: str
    config: dict
    run: int
    train_clips: int
    test_clips: int
    identity: Identity

    def __str__(self):
        c = self.config
        return f'{c["dataset"]} fold {c["fold"]}, n = {c["n_shot"]}, {self.method}, run {self.run + 1}'

    @property
    def round(self):
        """The first round has the first run of everything on the first fold, and gives a first picture."""
        return self.run, self.config['fold']

    @property
    def experiment(self):
        """What the runs of one experiment have in common."""
        return self.method, self.config['dataset'], self.config['fold'], self.config['n_shot']


def configure(name, settings, dataset, fold, n_shot, runs, **more):
    """The configuration of an experiment of a method in config_methods, as the method's script makes it.

    Args:
        name: of the method.
        settings: dictionary of keys; those that the method lacks do not count.
        dataset, fold, n_shot, runs, more: further keys, for this experiment.
    """
    _, entry, differing = config_file.config_methods[name]
    values = {**differing, **{key: value for key, value in settings.items() if key in entry_of(name)}, 'dataset': dataset, 'fold': fold,
              'n_shot': n_shot, 'num_experiment_runs': runs, **more}
    return method_named(name).configure(entry, **values)


def with_runs(config, runs):
    """The configuration of the same experiment with another number of runs."""
    more = {'num_experiment_runs': runs}
    return {**config, **more, 'overrides': {**config['overrides'], **more}}


def lacks_validation(config):
    """Whether an experiment's configuration names a validation set that does not exist."""
    return bool(config.get('gt_val')) and not (data_folder() / config['gt_val']).exists()


class Plan:
    """A plan: which of its methods can be run, and the runs that it consists of.

    Attributes: name, config, missing (list of (data set, method, reason) of methods that are left out), notes (list of str).
    """

    def __init__(self, config):
        """Check a configuration from configuration.configure. Raises UserError for values that no experiment can have."""
        config = {key: list(dict.fromkeys(value)) if isinstance(value, list) else value for key, value in config.items()}
        self.name, self.config, self.notes = config['configuration'], config, []
        unknown = [method for method in config['methods'] if method not in config_file.config_methods]
        if unknown:
            raise UserError(f'methods={unknown} are not in config_methods of config_file.py (names with a comma need a list: '
                            f'"methods=[\'VGG\',\'VGG, new statistics\']"); there are: {", ".join(map(repr, config_file.config_methods))}')
        keys = method_keys()
        self.settings = {key: value for key, value in config.items() if key in keys}
        self.spectrogram = {key: config[key] for key in SPECTROGRAM_KEYS if key in config}
        useless = [key for key in config['overrides'] if key in self.settings and not any(
            key in entry_of(method) or key in self.spectrogram and reads_spectrograms(method) for method in config['methods'])]
        if useless:
            raise UserError(f'{listing(useless)}: no method of the plan has such a key; remove it, or choose methods that have it')
        networks = {entry['network'] for method in config['methods'] if 'network' in (entry := entry_of(method))}
        if 'checkpoint' in config['overrides'] and len(networks) > 1:
            raise UserError(f'checkpoint={config["checkpoint"]!r}: the methods of the plan start from several networks '
                            f'({listing(sorted(networks))}); edit the checkpoints in config_file.py, or choose methods of one network')
        self.folds = {dataset: self._folds_of(dataset) for dataset in config['datasets']}
        nowhere = [fold for fold in self._asked_folds() if not any(fold in there for there in self.folds.values())]
        if nowhere:
            raise UserError(f'folds={config["folds"]}: no data set has fold {listing(nowhere)}')
        self.missing = [(dataset, method, needed_weights(method)) for dataset in config['datasets']
                        for method in config['methods'] if begins_pretrained(method) and self._problem_of(method)]
        left_out = dict.fromkeys(method for _, method, _ in self.missing)
        for network in dict.fromkeys(entry_of(method)['network'] for method in left_out):
            names = [method for method in left_out if entry_of(method)['network'] == network]
            problem = self._problem_of(names[0])
            self.notes.append(f'{", ".join(names)}: left out, no weights of {pretrained.NETWORKS[network].title}. {problem[0].upper()}{problem[1:]}')
        self.methods = [method for method in config['methods'] if method not in left_out]
        self.missing += [(dataset, method, 'needs a validation set') for dataset, folds in self.folds.items() for method in self.methods
                         if all(lacks_validation(self.configure(method, dataset, fold, ALL, 1)) for fold in folds)]
        self._known, self._opened = {}, {}  # what splits hold; representations: all folds read the same ones

    def _problem_of(self, method):
        return pretrained.problem_of({**entry_of(method), **self.settings})

    def _asked_folds(self):
        return [] if self.config['folds'] == ALL else self.config['folds']

    def _folds_of(self, dataset):
        read_classes(dataset)  # raises UserError without an index
        there, halves = folds_of(dataset)
        self.notes += [f'{dataset}, folds {listing(halves)}: left out, they have no training or no test set'] if halves else []
        folds = [fold for fold in there if fold in (self._asked_folds() or there)]
        if not folds:
            raise UserError(f'folds={self.config["folds"]}: {dataset} has the folds {listing(there) or "none"}; choose among these')
        absent = [fold for fold in self._asked_folds() if fold not in there]
        self.notes += [f'{dataset} has no fold {listing(absent)}'] if absent else []
        return folds

    def configure(self, method, dataset, fold, n_shot, runs):
        """The configuration of an experiment, as the method's script makes it."""
        more, keys = {}, entry_of(method)
        if self.spectrogram and reads_spectrograms(method):  # a representation of its own beside that of other experiments
            more['audio_representation_folder'] = f'audio_representation/{self._identifier(dataset)}__time-freq/'
        elif 'identifier' in keys and self.spectrogram.keys() & keys:  # of MFCCs
            more['identifier'] = self._identifier(dataset, keys)
        return configure(method, self.settings, dataset, fold, n_shot, runs, seed=self.config['seed'], **more)

    def _identifier(self, dataset, keys=SPECTROGRAM_KEYS):
        return '-'.join([dataset, *(f'{key}{value}' for key, value in self.spectrogram.items() if key in keys)])

    @property
    def report(self):
        """Name of its report: the plan on other data sets, a part of it, or the plan with other settings does not replace its report."""
        overrides = set(self.config['overrides'])
        datasets = [*self.config['datasets']] if 'datasets' in overrides else []
        other = any(KEYS[key][1] in ('data', 'draw', 'method', 'evaluation') for key in overrides)
        suffix = 'part' if {'methods', 'n_shots', 'folds'} & overrides else 'settings' if other else ''
        return '_'.join(filter(None, [self.name, *datasets, suffix]))

    def describe(self, jobs):
        """'plan esc10: 50 runs; esc10, folds 0, 1, 2, 3, 4; n = 1, 2, 5, 10, 20; VGG, proto; 1 run(s) each'."""
        folds = '; '.join(f'{dataset}, folds {", ".join(map(str, folds))}' for dataset, folds in self.folds.items())
        return (f'plan {self.name}: {len(jobs)} runs; {folds}; n = {", ".join(map(str, self.config["n_shots"]))}; '
                f'{", ".join(self.methods)}; {self.config["num_experiment_runs"]} run(s) each')

    def make_representations(self):
        """Compute the representations that the methods read and that are missing; returns id -> reason of refused sound files."""
        refused = {}
        for dataset, folds in self.folds.items():
            seen = set()
            for method in self.methods:
                config = self.configure(method, dataset, folds[0], ALL, 1)
                kind = method_named(method).kind_of(config)
                more = {**self.spectrogram, 'identifier': self._identifier(dataset)} if self.spectrogram and reads_spectrograms(method) else {}
                wanted = kind.configuration(dataset, **more) if kind.entry else config
                folder = config['audio_representation_folder']
                if folder not in seen and wanted['audio_representation_folder'] == folder:
                    problems = representation.store({**wanted, 'scheduler': self.config['scheduler']})
                    refused.update({f'{dataset} {key}': reason for key, reason in problems.items()})
                seen.add(folder)
        self._known, self._opened = {}, {}  # what was read before is of the past
        if refused and not self.settings.get('skip_missing'):
            raise UserError(f'{len(refused)} sound files were refused, see above: correct or remove them, or set skip_missing=True')
        return refused

    def jobs(self):
        """All runs of the plan (list of Job). First comes one run of everything, for an early picture, then the others."""
        jobs = []
        for dataset, folds in self.folds.items():
            for fold in folds:
                for n_shot in self.config['n_shots']:
                    for method in self.methods:
                        jobs += self._jobs(method, dataset, fold, n_shot)
        places = {dataset: place for place, dataset in enumerate(self.folds)}
        jobs.sort(key=lambda job: (*job.round, position(job.config['n_shot']), places[job.config['dataset']]))
        if not jobs:
            raise UserError('nothing can be run: ' + '; '.join(self.notes or ['the plan is empty']))
        return jobs

    def _jobs(self, method, dataset, fold, n_shot):
        """The runs of an experiment (list of Job); [] where it is left out."""
        config = self.configure(method, dataset, fold, n_shot, 1)
        if lacks_validation(config):
            self._note(f'{dataset}: methods with validation are left out where a fold has no validation set')
            return []
        per_class, test_clips, identity = self._data(method, config)
        if n_shot != ALL and n_shot > (max if config['allow_fewer'] else min)(per_class):
            size, count = ('largest', max(per_class)) if config['allow_fewer'] else ('smallest', min(per_class))
            self._note(f'{dataset}, n = {n_shot}: left out where the {size} class has fewer training clips ({count})')
            return []
        if n_shot != ALL and n_shot > min(per_class):
            few = [f'{name} ({count})' for name, count in zip(read_classes(dataset), per_class) if count < n_shot]
            self._note(f'{dataset}, n = {n_shot}: classes with fewer training clips, of which all are used: {listing(few)}')
        hashes = (config_hash(config | identity), data_hash(identity['data'])) if identity else (None, None)
        train_clips = sum(count if n_shot == ALL else min(count, n_shot) for count in per_class)
        return [Job(method, with_runs(config, run + 1), run, train_clips, test_clips,
                    Identity(dataset, fold, str(n_shot), self.config['seed'], run, *hashes))
                for run in range(self.config['num_experiment_runs'])]

    def _note(self, note):
        self.notes += [note] if note not in self.notes else []

    def _data(self, method, config):
        """Training clips of each class (list), number of test clips, and DataSplit.identity; None without a representation."""
        key = method_named(method).split_key(config)
        if key not in self._known:
            try:
                split = method_named(method).load_split(dict(key), opened=self._opened)
                train, test, identity = split.train, split.test, split.identity
            except UserError:
                if not self.config.get('dry_run'):
                    raise
                train, test = (read_ground_truth(data_folder() / config[part], config['num_classes_dataset'])
                               for part in ('gt_train', 'gt_test'))
                identity = None
                self._note(f'{config["audio_representation_folder"]}: missing or not up to date. It is made first; its time is not estimated')
            labels = list(train.values())
            self._known[key] = [labels.count(c) for c in range(config['num_classes_dataset'])], len(test), identity
        return self._known[key]


# ---- what is done, how long the rest will take -----------------------------------------------------------------------

def identities(rows):
    """The identity of each row of results.tsv, like that of a Job (list of tuples)."""
    return list(zip(*(rows[column].to_numpy(object).tolist() for column in IDENTITY)))  # ten times as fast as itertuples on text


def rows_of(jobs, rows):
    """Those rows of the table of results that belong to jobs."""
    wanted = {job.identity for job in jobs}
    return rows[np.array([identity in wanted for identity in identities(rows)], bool)]


def without_result(jobs, rows):
    """The jobs whose result is not among the rows (list)."""
    done = set(identities(rows))
    return [job for job in jobs if job.identity not in done]


class Times:
    """How long runs took so far, to estimate the time of others."""

    def __init__(self, rows):
        seconds = (rows['train_seconds'] + rows['test_seconds']).astype(float)
        keys = ['config_hash', 'dataset', 'n_shot']
        self._medians = seconds.groupby([rows[key] for key in keys]).median().to_dict()

    def seconds(self, job):
        """The median of runs with the same configuration, data set and n_shot; None without a comparable measurement."""
        return self._medians.get((job.identity.config_hash, job.config['dataset'], str(job.config['n_shot'])))

    def describe(self, jobs):
        """'about 1 h 20 min; 6 run(s) without a comparable measurement'."""
        seconds = [time for job in jobs if (time := self.seconds(job)) is not None]
        unknown = len(jobs) - len(seconds)
        text = f'about {duration(sum(seconds))}' if seconds else ''
        return '; '.join(filter(None, (text, f'{unknown} run(s) without a comparable measurement' if unknown else '')))


def duration(seconds):
    """'2 h 05 min', '3 min' or '40 s'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'
