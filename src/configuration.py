"""Configurations: dictionaries of config_file.py, copied, overridden by key=value arguments, checked, passed on as an argument.

KEYS is the one table of all keys: which values a key may have, and its role. What depends on keys is derived from it.
"""
import argparse
import ast
import difflib
import functools
import inspect
import json
import math
import sys
from pathlib import Path

import config_file
from pretrained import FRONT_ENDS, NETWORKS
from shared import UserError, expanded, listing, read_classes

ALL = 'all'
# what an endless number means for these keys
INFINITE = {'n_shot': ALL, 'patches_per_prototype': ALL, 'max_patches_per_class': ALL, 'max_epochs': None}


# ---- what each key may be, and its role ------------------------------------------------------------------------------

def integer(low):
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
RESAMPLERS = ('soxr', 'soxr_vhq', 'soxr_hq', 'soxr_mq', 'soxr_lq', 'soxr_qq', 'kaiser_best', 'kaiser_fast', 'kaiser_2018', 'fft', 'polyphase')
COMPUTED = None  # the program sets these keys, nobody else

# Roles. Two experiments with equal keys of role
#   data        read the same clips, or look for them in the same place;
#   draw        choose the same clips of them;
#   method      compute the same from these clips;
#   evaluation  score the test set in the same way; these can be changed when a trained model is evaluated again;
#   output      keep the same files;
#   run         differ at most in how many runs they have;
#   machine     differ at most in where and how fast they are computed.
# Keys of role `study` belong to plans and reports, which consist of many experiments.
_ROLES = {
    'data': {
        'dataset': TEXT, 'fold': integer(0), 'identifier': TEXT, 'index_file': TEXT, 'convert_id': SWITCH,
        'audio_representation_folder': TEXT, 'gt_train': TEXT, 'gt_val': OPTIONAL_TEXT, 'gt_test': TEXT,
        'num_classes_dataset': either(None, integer(2)), 'skip_missing': SWITCH, 'data': COMPUTED, 'classes': COMPUTED,
    },
    'draw': {'n_shot': either(ALL, integer(1)), 'allow_fewer': SWITCH, 'seed': integer(0)},
    'method': {
        # representation
        'type': one_of('time-freq', 'waveform', *FRONT_ENDS), 'spectrogram_type': one_of('mel', 'cqt', 'stft'),
        'resample_sr': integer(1000), 'resampler': one_of(*RESAMPLERS), 'hop': integer(1), 'n_fft': integer(2),
        'n_mels': integer(1), 'cqt_bins': integer(1), 'MFCC_number': integer(1), 'skip_silence': SWITCH,
        'level': either(None, number(-80)), 'representation': COMPUTED,
        # network input
        'n_frames': integer(1), 'pre_processing': one_of('logEPS', 'log10000', None), 'normalize': one_of(None, 'train', 'chosen'),
        'pad_short': one_of('repeat-pad', 'zero-pad'), 'train_sampling': one_of('random', 'overlap_sampling'),
        'param_train_sampling': integer(1), 'grid': COMPUTED,
        # network and training
        'method': COMPUTED, 'model_number': integer(0), 'filters': integer(1), 'network': one_of(*NETWORKS),
        'embedding_layer': one_of('embedding', 'hidden'), 'weights_sha256': COMPUTED,
        'load_model': OPTIONAL_TEXT, 'epochs': integer(1), 'batch_size': integer(1), 'learning_rate': number(0, exclusive=True),
        'weight_decay': either(None, number(0)), 'optimizer': one_of('SGD_clip', 'many_lr_audioset'),
        'pretrained_factor': number(0), 'statistics_passes': integer(0),
        'metric': one_of('cosine', 'euclidean'), 'classifier': one_of('class_mean', 'logistic_regression'),
        'C': number(0, exclusive=True), 'distance': one_of('euclidean', 'cosine'),
        'max_patches_per_class': either(ALL, integer(1)), 'patches_per_prototype': either(ALL, integer(1)),
        'max_epochs': either(None, integer(1)), 'max_accuracy': integer(0),
        # validation while training
        'val_batch_size': integer(1), 'val_hop': integer(1),
    },
    'evaluation': {'test_batch_size': integer(1), 'test_hop': integer(1)},
    'output': {'save_weights': SWITCH, 'projection': one_of('pca', 'tsne')},
    'run': {'num_experiment_runs': integer(1), 'resume': SWITCH, 'overwrite': SWITCH, 'configuration': COMPUTED,
            'overrides': COMPUTED, 'experiment': COMPUTED},
    'machine': {'audio_folder': OPTIONAL_TEXT, 'checkpoint': OPTIONAL_TEXT, 'n_machines': integer(1), 'machine_i': integer(0),
                'num_processing_units': either(ALL, integer(1)), 'scheduler': OPTIONAL_TEXT,
                'gpus': either(None, list_of(integer(0))), 'processes': integer(1),
                'sliding': SWITCH},  # the same scores up to rounding
    'study': {'datasets': list_of(TEXT), 'folds': either(ALL, list_of(integer(0))), 'n_shots': list_of(either(ALL, integer(1))),
              'methods': list_of(TEXT), 'dry_run': SWITCH, 'results': TEXT, 'readme': TEXT, 'show': list_of(TEXT), 'compare': list_of(TEXT)},
}
KEYS = {key: (check, role) for role, keys in _ROLES.items() for key, check in keys.items()}
UNKNOWN = COMPUTED, 'method'  # a key in the files of another version, which may have computed something else
CHECKS = {key: check for key, (check, _) in KEYS.items() if check is not COMPUTED}
PATHS = ('audio_folder', 'load_model', 'checkpoint')  # may be given relative to the current directory


def select(config, *roles):
    """The part of a configuration whose keys have one of these roles (dictionary)."""
    return {key: value for key, value in config.items() if KEYS.get(key, UNKNOWN)[1] in roles}


def differences(config, other, roles=('data', 'draw', 'method', 'evaluation', 'output')):
    """Keys of these roles whose values differ between two configurations (list)."""
    one, two = (json.loads(json.dumps(select(c, *roles))) for c in (config, other))
    return [key for key in {**one, **two} if one.get(key) != two.get(key) or (key in one) != (key in two)]


def same_experiment(config, other):
    """Whether two configurations ask for the same experiment, apart from the number of its runs and the machine."""
    return same_draw(config, other) and not differences(config, other)  # the quick one first: a start compares with all of its fold


def same_draw(config, other):
    """Whether two configurations have the same method, data and draw of training clips."""
    return all(config.get(key) == other.get(key) for key in ('method', 'dataset', 'fold', 'n_shot', 'seed'))


def check(config):
    """Raise UserError unless every value of `config` is one that its key may have."""
    for key, value in config.items():
        valid, expected = CHECKS[key]
        if not valid(value):
            raise UserError(f'{key}={value!r} is not valid: expected {expected}')
    if config.get('spectrogram_type') == 'cqt' and 32.70 * 2 ** (config['cqt_bins'] / 12) > config['resample_sr'] / 2:
        raise UserError(f'cqt_bins={config["cqt_bins"]} is not valid: the highest bin lies above half of '
                        f'resample_sr={config["resample_sr"]}')
    if config.get('machine_i', 0) >= config.get('n_machines', 1):
        raise UserError(f'machine_i={config["machine_i"]} is not valid: expected 0 to n_machines - 1 = '
                        f'{config["n_machines"] - 1}')


# ---- reading a configuration -----------------------------------------------------------------------------------------

def parse_overrides(arguments, valid_keys):
    """['n_shot=5', 'dataset=us8k'] -> {'n_shot': 5, 'dataset': 'us8k'}. Raises UserError, with the valid keys, for another key."""
    overrides = {}
    for argument in arguments:
        key, equals, text = argument.partition('=')
        if not equals or key not in valid_keys:
            raise not_understood(argument, key, valid_keys)
        if key in overrides:
            raise UserError(f'{key} is given twice')
        overrides[key] = read_value(text, CHECKS[key][0])
        # the shell completes paths relative to the current directory; everything else is relative to DATA_FOLDER
        if key in PATHS and isinstance(overrides[key], str):
            path = expanded(text)
            if path.exists() or path.with_name(path.name + '.index').exists():  # the latter: a checkpoint in V2 format
                overrides[key] = str(path.resolve())
    return overrides


def not_understood(argument, key, valid_keys):
    """UserError about an override whose key is not one of the valid ones."""
    near = difflib.get_close_matches(key, valid_keys, 1)
    return UserError(f'{argument!r} is not understood' + (f', did you mean {near[0]}?' if near and near[0] != key else '') +
                     f': expected key=value with a key of: {", ".join(sorted(valid_keys))}')


def read_value(text, valid):
    """What a value on the command line means: a Python literal, else text, else a list of either.

    The first meaning that is `valid` counts. So plain words need no quotes, a data set may be called 2024, and n_shots=1,5 is
    a list.
    """
    def literal(word):
        try:
            return ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return word

    words = text.split(',')
    meanings = (literal(text), text, [literal(word) for word in words], words)
    return next((value for value in meanings if valid(value)), literal(text))


def configure(group, name, arguments=(), more_keys=(), **values):
    """A checked copy of config_file.<group>[<name>] with overrides, {dataset} and {fold} replaced in its texts.

    The keys 'configuration' and 'overrides' keep its name and the overrides. The number of classes is counted in the data
    set's index where the configuration leaves it open.

    Args:
        arguments: overrides from a command line, key=value.
        more_keys: keys accepted although the entry lacks them.
        values: further overrides.
    """
    entries = getattr(config_file, group)
    if name not in entries:
        raise UserError(f'there is no configuration {name!r} in {group} of config_file.py; there are: {", ".join(entries)}')
    config = dict(entries[name])
    unknown = set(config) - set(CHECKS)
    if unknown:
        raise UserError(f'{group}[{name!r}] in config_file.py has unknown keys: {listing(sorted(unknown))}; '
                        f'known are: {", ".join(sorted(CHECKS))}')
    valid_keys = {*config, *more_keys}
    for key in values:
        if key not in valid_keys:
            raise not_understood(f'{key}={values[key]!r}', key, valid_keys)
    overrides = {**parse_overrides(arguments, valid_keys), **values}
    config.update(overrides)
    config.update({key: meaning for key, meaning in INFINITE.items() if config.get(key) == math.inf})
    check(config)
    for key, value in config.items():
        if isinstance(value, str):
            config[key] = value.replace('{dataset}', config.get('dataset', '')).replace('{fold}', str(config.get('fold', '')))
    if 'num_classes_dataset' in config:
        classes = read_classes(config['dataset'])
        config['num_classes_dataset'] = config['num_classes_dataset'] or len(classes)
        if config['num_classes_dataset'] != len(classes):
            raise UserError(f'num_classes_dataset={config["num_classes_dataset"]}, but {config["dataset"]} has '
                            f'{len(classes)} classes: leave it None')
    return {**config, 'configuration': name, 'overrides': overrides}


# ---- command line ----------------------------------------------------------------------------------------------------

def parse_arguments(doc, positional=None, meaning=None, epilog=None, dry_run=None, optional=False, keys='set an option for this run'):
    """Command line of a script: its positional argument and the list of key=value overrides.

    The former is None where the script has none, or where it is `optional` and missing. `dry_run` is the help of the switch
    --dry-run, which becomes dry_run=True among the overrides; None: there is no such switch. `keys` is the help of key=value.
    """
    parser = argparse.ArgumentParser(description=doc, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    if positional:
        parser.add_argument(positional, help=meaning, nargs='?' if optional else None)
    parser.add_argument('overrides', nargs='*', metavar='key=value', help=keys)
    if dry_run:
        parser.add_argument('--dry-run', action='store_true', help=dry_run)
    arguments = parser.parse_intermixed_args()
    name, overrides = getattr(arguments, positional) if positional else None, arguments.overrides
    if optional and name and '=' in name:
        name, overrides = None, [name, *overrides]
    return name, overrides + ['dry_run=True'] * getattr(arguments, 'dry_run', False)


def describe(key, value, meaning):
    """Lines for --help: a key with its value, what it may be, and what it means (lines of text)."""
    expected = f' ({CHECKS[key][1]})' if key in CHECKS else ''
    return f'  {key}={value!r}{expected}' + ''.join(f'\n      {line}' for line in meaning)


def meanings(group, name):
    """The comments of config_file.py on the keys of an entry: dictionary key -> lines (list of str).

    A comment in the entry counts before those in the dictionaries that it includes with **.
    """
    dictionaries, comments = _parsed()

    def read(place):
        found = {}
        node = dictionaries.get(place)
        for key, value in zip(node.keys, node.values) if node else ():
            if isinstance(key, ast.Constant):
                found.update({key.value: comments[key.lineno]} if key.lineno in comments else {})
            elif isinstance(value, ast.Name):
                found.update(read(value.id))
            elif isinstance(value, ast.Subscript):
                found.update(read((value.value.id, value.slice.value)))
        return found
    return read((group, name))


@functools.cache
def _parsed():
    """Of config_file.py: the syntax of each dictionary by its name or (group, entry), and the comment of each line of code that has one."""
    source, dictionaries, comments, last = inspect.getsource(config_file), {}, {}, None
    for statement in ast.parse(source).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict)):
            continue
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Subscript):
            dictionaries[target.value.id, target.slice.value] = value
        else:
            dictionaries[target.id] = value
            dictionaries.update({(target.id, key.value): entry for key, entry in zip(value.keys, value.values)
                                 if isinstance(key, ast.Constant) and isinstance(entry, ast.Dict)})
    for number, line in enumerate(source.splitlines(), 1):  # a comment goes on in the lines below that have no code
        code, mark, comment = line.partition('  # ')
        last = (number if code.strip() else last) if mark else None
        if last:
            comments.setdefault(last, []).append(comment.strip())
    return dictionaries, comments


def configuration_from_command_line(doc, group, default=None, more_keys=(), dry_run=None):
    """The configuration that a script is asked to run: an entry of config_file.<group> and key=value overrides.

    Args:
        doc: the script's docstring, shown by --help with all keys and values of the entry that stands before it, else of the first one.
        group: name of the dictionary in config_file.py.
        default: the entry of scripts that can be started without naming one; None: it is the first argument.
        more_keys: further keys that can be set.
        dry_run: help of the switch --dry-run; None: there is no such switch.
    """
    entries = getattr(config_file, group)
    shown = next((argument for argument in sys.argv[1:] if argument in entries), default or next(iter(entries)))
    known = meanings(group, shown)
    epilog = f'{group}[{shown!r}]:\n' + '\n'.join(
        describe(key, value, known.get(key, ())) for key, value in entries[shown].items())
    if len(entries) > 1:
        epilog += f'\n\nfor another entry: {Path(sys.argv[0]).name} <entry> --help'
    meaning = f'entry of {group}: {", ".join(entries)}' + (f'; default: {default}' if default else '')
    if len(entries) == 1 and default:
        name, (_, arguments) = default, parse_arguments(doc, epilog=epilog)
    else:
        name, arguments = parse_arguments(doc, 'configuration', meaning, epilog, dry_run, optional=bool(default))
    config = configure(group, name or default, arguments, {*more_keys, 'dry_run'} if dry_run else more_keys)
    print_overrides(config['overrides'])
    return config


def print_overrides(overrides):
    """Print the keys that the command line has set, if any."""
    if overrides:
        print('overrides: ' + ', '.join(f'{key}={value!r}' for key, value in overrides.items()))
