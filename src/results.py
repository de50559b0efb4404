"""The table of results, experiments/results.tsv: a row per run that was evaluated, and the hashes that tell results apart."""
import hashlib
import json
import time
from pathlib import Path

import pandas as pd

from configuration import ALL, select
from evaluation import accuracy_interval
from shared import UserError, atomic, data_folder, listing, locked

COLUMNS = ['date', 'experiment', 'model', 'run', 'method', 'dataset', 'fold', 'n_shot', 'seed', 'accuracy', 'accuracy_low',
           'accuracy_high', 'correct', 'clips', 'train_seconds', 'test_seconds', 'data', 'config_hash']
# keys that earlier versions lacked, and the value with which the result is the same as without the key. A key with this value is not hashed
LATER = {'statistics_passes': 0}
NUMBERS = {**dict.fromkeys(('run', 'fold', 'seed', 'correct', 'clips'), int),
           **dict.fromkeys(('accuracy', 'train_seconds', 'test_seconds'), float)}


def experiments_folder():
    return data_folder() / 'experiments'


def results_path():
    return experiments_folder() / 'results.tsv'


# ---- hashes ----------------------------------------------------------------------------------------------------------

def short_hash(content):
    """Eight hexadecimal digits that stand for a JSON-like value."""
    return hashlib.sha1(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def config_hash(config):
    """A short name for how a result was made: equal for configurations that differ in data, draw, files and machine alone.

    Data set, fold, n_shot, seed and run have columns of their own in results.tsv.
    """
    chosen = {key: value for key, value in select(config, 'method', 'evaluation').items()
              if value != LATER.get(key, value) or key not in LATER}
    return short_hash({**chosen, 'validation': bool(config.get('gt_val'))})


def data_hash(data):
    """A short name of fewshot.DataSplit.data: <labels of all sounds>.<training and test set>, and .<validation set> if there is one."""
    sets = {part: data.get(part) for part in ('train', 'test')}
    return '.'.join(short_hash(content) for content in (data.get('all'), sets, data.get('val')) if content is not None)


# ---- rows ------------------------------------------------------------------------------------------------------------

def result_row(folder, run, method, config, accuracy, clips, train_seconds, test_seconds):
    """One row of results.tsv (dictionary with COLUMNS); `folder` is the model's. The date is UTC, so that machines and seasons agree."""
    correct = round(accuracy * clips)
    low, high = accuracy_interval(correct, clips)
    return {'date': time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime()), 'experiment': folder.parent.name, 'model': folder.name, 'run': run,
            'method': method,
            **{key: config[key] for key in ('dataset', 'fold', 'n_shot', 'seed')}, 'accuracy': round(accuracy, 6),
            'accuracy_low': round(low, 4), 'accuracy_high': round(high, 4), 'correct': correct, 'clips': clips,
            'train_seconds': round(train_seconds, 2), 'test_seconds': round(test_seconds, 2),
            'data': data_hash(config['data']), 'config_hash': config_hash(config)}


def add_results(rows):
    """Add rows to results.tsv. A row replaces that of the same run with the same configuration and data, and no other."""
    new = pd.DataFrame(rows, columns=COLUMNS)
    with locked(experiments_folder() / '.lock'):
        if results_path().exists():
            old = read_table(str)
            new = new.astype(str)
            key = ['experiment', 'run', 'config_hash', 'data']
            again = old.set_index(key).index.isin(new.set_index(key).index)
            if set(old[again].itertuples(index=False)) == set(new.itertuples(index=False)):
                return
            new = pd.concat([old[~again], new])
        with atomic(results_path(), durable=True) as temporary:
            new.to_csv(temporary, sep='\t', index=False)


def read_results(path=None):
    """The table of all results, a row per run (DataFrame; n_shot is text: it may be 'all').

    `path` names another table of results than that of DATA_FOLDER.
    """
    path = path or results_path()
    if not Path(path).is_file():
        raise UserError(f'{path} does not exist: no experiment has been evaluated yet. Train and evaluate one first, e.g. '
                        'python sl_train.py spec, then python sl_evaluate.py latest')
    table = read_table({**dict.fromkeys(('method', 'dataset', 'n_shot', 'config_hash', 'data'), str), **NUMBERS}, path)
    wrong = table['n_shot'][~table['n_shot'].str.fullmatch(rf'[1-9]\d*|{ALL}')]
    if len(wrong):
        raise UserError(f'{path} is damaged (n_shot {wrong.iloc[0]!r}): move it away, and evaluate the experiments again')
    return table


def results_so_far():
    """All results of DATA_FOLDER; an empty table before the first one."""
    return read_results() if results_path().exists() else pd.DataFrame(columns=COLUMNS)


def read_table(dtype, path=None):
    """The table of results with columns of the given types. Raises UserError when it is damaged. `path` as in read_results."""
    path = path or results_path()
    try:
        table = pd.read_csv(path, sep='\t', dtype=dtype, keep_default_na=False)  # a data set may be called None
    except ValueError as problem:  # the type of all of pandas' errors
        raise UserError(f'{path} is damaged ({problem}): move it away, and evaluate the experiments again') from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UserError(f'{path} lacks the columns {listing(missing)}: move it away, and evaluate the experiments again')
    return table
