"""Configurations, experiment folders and the table of results.

A configuration is a dictionary of config_file.py, copied, overridden by key=value arguments, checked, and passed on as an
argument. An experiment is a folder experiments/fold_<fold>_<seconds since 1970>/ with config.json, models.list (a line
per finished model folder) and the model folders; it holds all that its evaluation needs to know.
"""
import argparse
import ast
import fcntl
import hashlib
import json
import math
import re
import shutil
import time
from pathlib import Path

import pandas as pd

import config_file
from shared import (UserError, atomic, data_folder, ground_truth_path, listing, locked, read_classes, read_json, write_json,
                    write_text)

WEIGHTS = 'model.weights.h5'
ALL = 'all'


# ---- what each key may be --------------------------------------------------------------------------------------------

# which script trains the experiments of which entries
SCRIPTS = {'config_sl': 'sl_train', 'config_proto': 'proto', 'config_transfer': 'transfer_train',
           'config_transfer_proto': 'transfer_proto', 'config_knn_mfcc': 'knn_mfcc', 'config_knn_audioset': 'knn_audioset'}
# what an endless number means for these keys
INFINITE = {'n_shot': ALL, 'patches_per_prototype': ALL, 'max_patches_per_class': ALL, 'max_epochs': None}


def whole(low):
    return (lambda v: type(v) is int and v >= low), f'a whole number from {low}'


def number(low, exclusive=False):
    return ((lambda v: type(v) in (int, float) and math.isfinite(v) and (v > low if exclusive else v >= low)),
            f'a number {"above" if exclusive else "from"} {low}')


def one_of(*values):
    return (lambda v: any(v == w and type(v) is type(w) for w in values)), 'one of ' + ', '.join(map(repr, values))


def list_of(check):
    return (lambda v: isinstance(v, list) and v and all(map(check[0], v))), f'a list, each {check[1]}'


def either(value, check):
    return (lambda v: v == value or check[0](v)), f'{value!r} or {check[1]}'


TEXT = (lambda v: isinstance(v, str) and bool(v)), 'text'
OPTIONAL_TEXT = (lambda v: v is None or (isinstance(v, str) and bool(v))), 'None or text'
SWITCH = one_of(True, False)

RESAMPLERS = ('soxr', 'soxr_vhq', 'soxr_hq', 'soxr_mq', 'soxr_lq', 'soxr_qq', 'kaiser_best', 'kaiser_fast', 'fft', 'polyphase')
CHECKS = {
    # data
    'dataset': TEXT, 'fold': whole(0), 'identifier': TEXT, 'index_file': TEXT, 'audio_folder': OPTIONAL_TEXT,
    'audio_representation_folder': TEXT, 'gt_train': TEXT, 'gt_val': OPTIONAL_TEXT, 'gt_test': TEXT,
    'num_classes_dataset': either(None, whole(2)), 'skip_missing': SWITCH,
    # representations
    'convert_id': SWITCH, 'n_machines': whole(1), 'machine_i': whole(0), 'num_processing_units': either(ALL, whole(1)),
    'overwrite': SWITCH, 'type': one_of('time-freq', 'waveform', 'audioset'), 'spectrogram_type': one_of('mel', 'cqt', 'stft'),
    'resample_sr': whole(1000), 'resampler': one_of(*RESAMPLERS), 'hop': whole(1), 'n_fft': whole(2), 'n_mels': whole(1),
    'cqt_bins': whole(1), 'MFCC_number': whole(1),
    # input
    'n_frames': whole(1), 'pre_processing': one_of('logEPS', 'log10000', None),
    'normalize': one_of(None, 'train', 'chosen'), 'pad_short': one_of('repeat-pad', 'zero-pad'),
    'train_sampling': one_of('random', 'overlap_sampling'), 'param_train_sampling': whole(1),
    # learning
    'model_number': whole(0), 'load_model': OPTIONAL_TEXT, 'epochs': whole(1), 'batch_size': whole(1),
    'learning_rate': number(0, exclusive=True), 'weight_decay': either(None, number(0)),
    'optimizer': one_of('SGD_clip', 'many_lr_audioset'), 'checkpoint': OPTIONAL_TEXT, 'keep_weights': SWITCH,
    'metric': one_of('cosine', 'euclidean'), 'filters': whole(1),
    'distance': one_of('euclidean', 'cosine'), 'max_patches_per_class': either(ALL, whole(1)),
    'patches_per_prototype': either(ALL, whole(1)), 'max_epochs': either(None, whole(1)), 'max_accuracy': whole(0),
    # experiment
    'n_shot': either(ALL, whole(1)),
    'num_experiment_runs': whole(1), 'seed': whole(0), 'resume': SWITCH,
    # plans
    'datasets': list_of(TEXT), 'folds': either(ALL, list_of(whole(0))), 'n_shots': list_of(either(ALL, whole(1))),
    'methods': list_of(TEXT), 'scheduler': OPTIONAL_TEXT, 'dry_run': SWITCH,
    # evaluation
    'val_batch_size': whole(1), 'test_batch_size': whole(1), 'val_hop': whole(1), 'test_hop': whole(1), 'sliding': SWITCH,
    'projection': one_of('pca', 'tsne'),
    # report.py
    'results': TEXT, 'readme': TEXT,
}


def check(config):
    """Raise UserError unless every value of `config` is one that its key may have."""
    for key, value in config.items():
        valid, expected = CHECKS[key]
        if not valid(value):
            raise UserError(f'{key}={value!r} is not valid: expected {expected}')
    if config.get('spectrogram_type') == 'cqt' and 32.70 * 2 ** (config['cqt_bins'] / 12) > config['resample_sr'] / 2:
        raise UserError(f'cqt_bins={config["cqt_bins"]} is not valid: they reach beyond half of '
                        f'resample_sr={config["resample_sr"]}')
    if config.get('type') in ('time-freq', 'waveform') and 'resample_sr' not in config:
        raise UserError(f'type={config["type"]!r} is not valid in a configuration of VGGish examples: start from one of '
                        f'spectrograms, e.g. spec')
    if config.get('optimizer') == 'many_lr_audioset' and 'checkpoint' not in config:
        raise UserError("optimizer='many_lr_audioset' is not valid here, it has a learning rate of its own for VGGish: expected "
                        "'SGD_clip'")
    if config.get('machine_i', 0) >= config.get('n_machines', 1):
        raise UserError(f'machine_i={config["machine_i"]} is not valid: expected 0 to n_machines - 1 = '
                        f'{config["n_machines"] - 1}')


# ---- reading a configuration -----------------------------------------------------------------------------------------

def parse_overrides(arguments, valid_keys):
    """['n_shot=5', 'dataset=us8k'] -> {'n_shot': 5, 'dataset': 'us8k'}; unknown keys are refused with the valid ones."""
    overrides = {}
    for argument in arguments:
        key, equals, text = argument.partition('=')
        if not equals or key not in valid_keys:
            raise UserError(f'{argument!r} is not understood: expected key=value with a key of: {", ".join(sorted(valid_keys))}')
        if key in overrides:
            raise UserError(f'{key} is given twice')
        overrides[key] = read_value(text, CHECKS[key][0])
        # the shell completes paths relative to where the user is; everything else is relative to DATA_FOLDER
        path = Path(text).expanduser()
        there = path.exists() or path.with_name(path.name + '.index').exists()  # the latter: a checkpoint in V2 format
        if key in ('audio_folder', 'load_model', 'checkpoint') and isinstance(overrides[key], str) and there:
            overrides[key] = str(path.resolve())
    return overrides


def read_value(text, valid):
    """What a value on the command line means: a Python literal, else text; where these are not valid, a list of them.

    Plain words need no quotes, a data set may be called 2024, and n_shots=1,5 is a list.
    """
    def literal(word):
        try:
            return ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return word

    words = text.split(',')
    meanings = (literal(text), text, [literal(word) for word in words], words)
    return next((value for value in meanings if valid(value)), literal(text))


def configure(group, name, arguments=(), more_keys=()):
    """A checked copy of config_file.<group>[<name>] with key=value overrides and {dataset}, {fold} filled in.

    Its name and the overrides are kept under the keys 'configuration' and 'overrides'. The number of classes is counted
    in the data set's index where the configuration leaves it open. `more_keys` can be set too, though it has them not.
    """
    configurations = getattr(config_file, group)
    if name not in configurations:
        raise UserError(f'there is no configuration {name!r} in {group} of config_file.py; there are: {", ".join(configurations)}')
    config = dict(configurations[name])
    unknown = set(config) - set(CHECKS)
    if unknown:
        raise UserError(f'{group}[{name!r}] in config_file.py has unknown keys: {listing(sorted(unknown))}; '
                        f'known are: {", ".join(sorted(CHECKS))}')
    overrides = parse_overrides(arguments, {*config, *more_keys})
    config.update(overrides)
    config.update({key: meaning for key, meaning in INFINITE.items() if config.get(key) == math.inf})
    check(config)
    for key, value in config.items():
        if isinstance(value, str):
            config[key] = value.replace('{dataset}', config.get('dataset', '')).replace('{fold}', str(config.get('fold', '')))
    if 'identifier' in config and 'audio_representation_folder' not in config:
        config = {'type': 'mfcc', 'convert_id': False, 'n_machines': 1, 'machine_i': 0, **config}
        config['audio_representation_folder'] = f'audio_representation/{config["identifier"]}__{config["type"]}/'
    if 'num_classes_dataset' in config:
        classes = read_classes(config['dataset'])
        config['num_classes_dataset'] = config['num_classes_dataset'] or len(classes)
        if config['num_classes_dataset'] != len(classes):
            raise UserError(f'num_classes_dataset={config["num_classes_dataset"]}, but {config["dataset"]} has '
                            f'{len(classes)} classes: leave it None')
    if group in SCRIPTS:
        config['script'] = SCRIPTS[group]
    return {**config, 'configuration': name, 'overrides': overrides}


def parse_arguments(doc, positional=None, meaning=None, epilog=None, dry_run=None, optional=False):
    """Command line of a script: its positional argument and the list of key=value overrides.

    The former is None where the script has none, or where it is `optional` and left out. `dry_run` explains the switch
    --dry-run, where there is one; it ends up as dry_run=True among the overrides.
    """
    parser = argparse.ArgumentParser(description=doc, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    if positional:
        parser.add_argument(positional, help=meaning, nargs='?' if optional else None)
    parser.add_argument('overrides', nargs='*', metavar='key=value', help='set a key for this run')
    if dry_run:
        parser.add_argument('--dry-run', action='store_true', help=dry_run)
    arguments = parser.parse_intermixed_args()
    name, overrides = getattr(arguments, positional) if positional else None, arguments.overrides
    if optional and name and '=' in name:
        name, overrides = None, [name, *overrides]
    return name, overrides + ['dry_run=True'] * getattr(arguments, 'dry_run', False)


def configuration_from_command_line(doc, group, name=None, more_keys=(), dry_run=None):
    """The configuration that a script is asked to run: an entry of config_file.<group> and key=value overrides.

    Args:
        doc: the script's docstring, shown by --help with all keys and their defaults.
        group: name of the dictionary in config_file.py.
        name: the entry, where the script always takes the same one; otherwise it is the first argument.
        more_keys: further keys that can be set.
        dry_run: what the switch --dry-run does, where there is one.
    """
    entries = getattr(config_file, group)
    epilog = '\n\n'.join(f'{group}[{entry!r}]:\n' + '\n'.join(f'  {key}={value!r}' for key, value in config.items())
                         for entry, config in list(entries.items())[:1])
    if name is None:
        name, arguments = parse_arguments(doc, 'configuration', f'entry of {group}: {", ".join(entries)}', epilog, dry_run)
    else:
        _, arguments = parse_arguments(doc, epilog=epilog)
    config = configure(group, name, arguments, {*more_keys, 'dry_run'} if dry_run else more_keys)
    print_overrides(config['overrides'])
    return config


def evaluation_from_command_line(doc, script, keys):
    """Folder, configuration and finished models of the experiment that a script is asked to evaluate.

    Args:
        doc: the script's docstring.
        script: which script's experiments it evaluates.
        keys: of the configuration that concern evaluation alone and can be overridden.
    """
    name, arguments = parse_arguments(doc, 'experiment', 'folder name below experiments/, or latest; '
                                      f'keys to override: {", ".join(keys)}')
    return find_experiment(name, script, arguments, keys)


def print_overrides(overrides):
    """Say which keys the command line has set, if any."""
    if overrides:
        print('overrides: ' + ', '.join(f'{key}={value!r}' for key, value in overrides.items()))


# ---- experiment folders ----------------------------------------------------------------------------------------------

def experiments_folder():
    return data_folder() / 'experiments'


def make_stamped_folder(parent, prefix):
    """Create parent/<prefix><seconds since 1970>; the next free second when another process was quicker."""
    seconds = int(time.time())
    while True:
        folder = parent / f'{prefix}{seconds}'
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            seconds += 1


def same_but(config, other, ignored=('configuration', 'overrides', 'resume', 'experiment', 'num_experiment_runs', 'sliding')):
    """Whether two configurations are equal apart from keys that do not change what a run gives."""
    plain = [{k: v for k, v in json.loads(json.dumps(c)).items() if k not in ignored} for c in (config, other)]
    return plain[0] == plain[1]


class Experiment:
    """An experiment folder that this process writes to, locked so that no second process continues it meanwhile."""

    def __init__(self, folder, config, lock):
        self.folder, self.id, self.config, self._lock = folder, folder.name, config, lock

    @classmethod
    def start(cls, config, again=True):
        """Continue the newest experiment of the same configuration that has fewer runs than wanted, or begin a new one.

        Model folders that were not finished are deleted: their runs begin again from their seeds.

        Args:
            config: names the script that makes the experiment under the key 'script'.
            again: whether an experiment that has all runs is trained anew, in a new folder; otherwise it is the one returned,
                after waiting for a process that is at it.
        """
        with locked(experiments_folder() / '.lock_begin'):  # of two that want the same, the second finds what the first began
            for folder in list_experiments() if config.get('resume', True) else ():
                if same_but(config, config_of(folder)) and not (again and cls._is_complete(folder, config)):
                    lock = _lock(folder)
                    if lock or not again:
                        break
            else:
                folder = make_stamped_folder(experiments_folder(), f'fold_{config["fold"]}_')
                experiment = cls(folder, config, _lock(folder))
                write_json(folder / 'config.json', {'experiment': folder.name, **config})
                return experiment
        experiment = cls(folder, config, lock or _lock(folder, wait=True))
        experiment._continue()
        return experiment

    @staticmethod
    def _is_complete(folder, config):
        return len(finished_models(folder)) >= config['num_experiment_runs']

    def _continue(self):
        """Make a folder that another process has begun ready for further runs."""
        done, found, wanted = self.models(), config_of(self.folder), self.config['num_experiment_runs']
        print(f'continuing {self.id}: {len(done)} of {wanted} runs are finished')
        if found['num_experiment_runs'] < wanted:
            write_json(self.folder / 'config.json', {**found, 'num_experiment_runs': wanted})
        for leftover in self.folder.glob('model_*'):
            if leftover.name not in done:
                shutil.rmtree(leftover)
        if kept := self.results():  # results.tsv may have lost them
            record(kept)

    def new_model(self):
        """A new folder for the model of the next run (Path)."""
        return make_stamped_folder(self.folder, f'model_fold{self.config["fold"]}_')

    def models(self):
        """Names of the model folders of finished runs."""
        return finished_models(self.folder)

    def finish_model(self, model_folder):
        """Add a model folder to models.list: from now on its run counts as finished."""
        write_text(self.folder / 'models.list', ''.join(f'{m}\n' for m in [*self.models(), model_folder.name]))

    def remaining_runs(self):
        """Yield (number, new model folder) of each run that is still to be done.

        A run counts as finished when the next one is asked for, so what interrupts the loop leaves its run unfinished.
        """
        for run in range(len(self.models()), self.config['num_experiment_runs']):
            folder = self.new_model()
            yield run, folder
            self.finish_model(folder)

    def results(self):
        """Rows of results.tsv of the finished runs that were evaluated, made by this configuration and data (list)."""
        wanted = recipe(self.config), data_name(self.config.get('data', {}))
        kept = (_read_object(self.folder / name / 'result.json') for name in self.models())
        return [row for row in kept if (row.get('recipe'), row.get('data')) == wanted]

    def without_result(self):
        """Names of the model folders of finished runs that `results` does not give."""
        done = {row['model'] for row in self.results()}
        return [name for name in self.models() if name not in done]

    def close(self):
        self._lock.close()


class Log:
    """A table that grows by a row at a time, as a TSV file with a header."""

    def __init__(self, path, columns):
        self.path = path
        self.add(*columns)

    def add(self, *values):
        """Append a row; numbers that are not whole get six digits."""
        self.add_all([values])

    def add_all(self, rows):
        """Append several rows at once."""
        with open(self.path, 'a', encoding='utf-8') as file:
            file.writelines('\t'.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in row) + '\n' for row in rows)


def _lock(folder, wait=False):
    """An open file that holds the folder's lock until it is closed or the process ends; None when another holds it.

    `wait` waits for that instead.
    """
    file = open(folder / '.lock', 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        return None
    return file


def config_of(folder):
    """An experiment's configuration; {} where it was killed before that was written."""
    return _read_object(folder / 'config.json')


def _read_object(path):
    """A JSON object; {} where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def finished_models(folder):
    """Names of the model folders of finished runs, in the order of the runs (list of str)."""
    path = folder / 'models.list'
    return path.read_text(encoding='utf-8').split() if path.exists() else []


def list_experiments():
    """All experiment folders, the newest first (list of Path)."""
    folders = [f for f in experiments_folder().glob('fold_*') if re.fullmatch(r'fold_\d+_\d+', f.name)]
    return sorted(folders, key=lambda f: int(f.name.rpartition('_')[2]), reverse=True)


def find_experiment(name, script, arguments=(), keys=()):
    """Folder, configuration and finished models of an experiment of `script`; 'latest' is the one trained last.

    `arguments` (key=value) override those `keys` of its configuration that concern evaluation alone.
    """
    folders = list_experiments()
    if name == 'latest':
        trained = [f for f in folders if config_of(f).get('script') == script and (f / 'models.list').exists()]
        # the one that was trained last: an interrupted experiment that went on may be older than others
        name = max(trained, key=lambda f: (f / 'models.list').stat().st_mtime_ns, default=Path('latest')).name
    folder = experiments_folder() / Path(name).name
    if not folder.is_dir():
        group = next(group for group, trainer in SCRIPTS.items() if trainer == script)
        entry = next(iter(getattr(config_file, group)))
        newest = listing([f.name for f in folders[:8]]) or f'none, train one first: python {script}.py {entry}'
        raise UserError(f'there is no experiment {name!r} in {experiments_folder()}; the newest are: {newest}')
    config = read_json(folder / 'config.json', 'the experiment was not begun properly, train again')
    if config.get('script') != script:
        raise UserError(f'{folder} was made by {config.get("script")}.py, not by {script}.py')
    models = finished_models(folder)
    if not models:
        raise UserError(f'{folder} has no trained model (models.list is missing or empty): start the training command '
                        f'again, it continues there')
    if len(models) < config['num_experiment_runs']:
        print(f'note: {len(models)} of {config["num_experiment_runs"]} runs are trained so far')
    overrides = parse_overrides(arguments, keys)
    check(overrides)
    print_overrides(overrides)
    return folder, {**config, **overrides, 'overrides': {**config['overrides'], **overrides}}, models


# ---- results ---------------------------------------------------------------------------------------------------------

RESULT_COLUMNS = ['date', 'experiment', 'model', 'run', 'method', 'dataset', 'fold', 'n_shot', 'seed', 'accuracy',
                  'accuracy_low', 'accuracy_high', 'correct', 'clips', 'train_seconds', 'test_seconds', 'data', 'recipe']


def results_path():
    return experiments_folder() / 'results.tsv'


def read_results(path=None):
    """The table of all results, a row per run (DataFrame; n_shot is text: it may be 'all').

    `path` names another table of results than that of DATA_FOLDER.
    """
    path = path or results_path()
    if not Path(path).is_file():
        raise UserError(f'{path} does not exist: no experiment has been evaluated yet')
    table = read_table({**dict.fromkeys(('method', 'dataset', 'n_shot', 'recipe', 'data'), str),
                        **dict.fromkeys(('run', 'fold', 'seed', 'correct', 'clips'), int),
                        **dict.fromkeys(('accuracy', 'train_seconds', 'test_seconds'), float)}, path)
    wrong = table['n_shot'][~table['n_shot'].str.fullmatch(rf'[1-9]\d*|{ALL}')]
    if len(wrong):
        raise UserError(f'{path} is damaged (n_shot {wrong.iloc[0]!r}): move it away, and evaluate the experiments again')
    return table


def read_table(dtype, path=None):
    """The table of results with columns of the given types; a damaged one is refused. `path` as in read_results."""
    path = path or results_path()
    try:
        table = pd.read_csv(path, sep='\t', dtype=dtype, keep_default_na=False)  # a data set may be called None
    except ValueError as problem:  # all of pandas' complaints
        raise UserError(f'{path} is damaged ({problem}): move it away, and evaluate the experiments again') from None
    if 'data' not in table:  # rows of before it was kept
        table['data'] = ''
    missing = [column for column in RESULT_COLUMNS if column not in table]
    if missing:
        raise UserError(f'{path} lacks the columns {listing(missing)}: move it away, and evaluate the experiments again')
    return table


def recipe(config):
    """A short name for how a result was made: equal for configurations that differ in data, draw and runs alone.

    Data set, fold, n_shot, seed and run have columns of their own in results.tsv.
    """
    ignored = ('configuration', 'overrides', 'resume', 'experiment', 'num_experiment_runs', 'dataset', 'fold', 'n_shot', 'seed',
               'num_classes_dataset', 'num_processing_units', 'audio_folder', 'skip_missing', 'overwrite', 'projection',
               'checkpoint', 'keep_weights', 'data',
               'sliding',  # the same scores, up to rounding
               'identifier', 'index_file', 'audio_representation_folder')  # of the latter, its settings count: audio_rep

    def plain(values):
        for key, value in values.items():
            if key.startswith('gt_') and value == ground_truth_path(config['dataset'], config['fold'], key[3:]):
                value = 'index'
            if key not in ignored:
                yield key, dict(plain(value)) if isinstance(value, dict) else value

    return short_name(dict(plain(config)))


def data_name(data):
    """A short name of fewshot.Task.data; what stands before a hyphen names training and test part alone."""
    val = f'-{short_name(data["val"])}' if 'val' in data else ''
    return short_name({part: digest for part, digest in data.items() if part != 'val'}) + val


def short_name(content):
    """Eight hexadecimal digits that stand for a JSON-like value."""
    return hashlib.sha1(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def record(rows):
    """Add rows (dictionaries with RESULT_COLUMNS) to results.tsv; a run evaluated or trained again replaces its row."""
    new = pd.DataFrame(rows, columns=RESULT_COLUMNS)
    with locked(experiments_folder() / '.lock'):
        if results_path().exists():
            old = read_table(str)
            new = new.astype(str)
            again = old.set_index(['experiment', 'run']).index.isin(new.set_index(['experiment', 'run']).index)
            new = pd.concat([old[~again], new])
        with atomic(results_path()) as temporary:
            new.to_csv(temporary, sep='\t', index=False)
