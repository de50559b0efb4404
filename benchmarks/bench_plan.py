"""Overhead of plans: how long it takes to list the runs of a large one, and what a run costs beside its training and evaluation.

Usage:  python benchmarks/bench_plan.py
Prints: the seconds that `reproduce.py us8k --dry-run` takes for 3150 runs, start-up included, the first time and from then on; the
        seconds per run of knn_mfcc beside its training and evaluation, with 3000 results in results.tsv. Each fold's data are read
        and checked for seven runs; a plan with more methods reads them for more.

The data set is as large as UrbanSound8K (8732 clips, 10 folds); its sounds and arrays are a few bytes each.
"""
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from timing import seconds
from toy_data import make_data_set

import plans
import results
import runner
import shared
from configuration import configure

CLIPS, CLASSES, FOLDS = 8732, 10, 10
METHODS_FROM_SCRATCH = ['knn_mfcc', 'SB-CNN BN', 'TIMBRE', 'VGG', 'log-learn SB-CNN BN', 'log-learn TIMBRE', 'log-learn VGG', 'proto',
                        'log-learn proto']


def report(name, value, target):
    """Print a figure beside its target."""
    print(f'{name:50s} {value:6.2f} s (wanted: {target:.2f} s or less){"" if value <= target else "  MISSED"}', flush=True)


def make_us8k():
    rng = np.random.default_rng(0)
    parts = np.array_split(rng.permutation(CLIPS), FOLDS)
    folds = [{'train': np.concatenate([part for i, part in enumerate(parts) if i not in ((k + 1) % FOLDS, (k + 2) % FOLDS)]),
              'val': parts[(k + 2) % FOLDS], 'test': parts[(k + 1) % FOLDS]} for k in range(FOLDS)]
    make_data_set('us8k', rng.integers(0, CLASSES, CLIPS), folds, frames=2)


def plan_of(*overrides):
    return plans.Plan(configure('config_reproduce', 'us8k', [f'methods={METHODS_FROM_SCRATCH}', *overrides], {*plans.method_keys(), 'dry_run'}))


def make_results(jobs):
    """Rows of results.tsv and experiment folders, as if all these runs had been done."""
    folders = {}
    for job in jobs:
        folder = folders.setdefault(job.experiment, results.experiments_folder() / f'fold_{job.config["fold"]}_{1_000_000_000 + len(folders)}')
        split = runner.load_split(runner.method_of(job.config), job.config)
        shared.write_json(folder / 'config.json', {'experiment': folder.name, **job.config, **split.identity})
        shared.write_text(folder / 'models.list', ''.join(f'model_{run}\n' for run in range(job.run + 1)))
    common = {'date': '2024-01-01 00:00:00', 'model': 'model', 'accuracy': 0.5, 'accuracy_low': 0.4, 'accuracy_high': 0.6, 'correct': 400,
              'clips': 800, 'train_seconds': 10.0, 'test_seconds': 1.0}
    rows = [{**common, **dict(zip(plans.IDENTITY, job.identity)), 'method': job.method, 'experiment': folders[job.experiment].name} for job in jobs]
    results.add_results(pd.DataFrame(rows, columns=results.COLUMNS).to_dict('records'))


def dry_run():
    command = [sys.executable, Path(runner.__file__).with_name('reproduce.py'), 'us8k', f'methods={METHODS_FROM_SCRATCH}', '--dry-run']
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len([line for line in lines if line.startswith('us8k fold')]) == 3150


def main():
    with contextlib.redirect_stdout(None):
        make_us8k()
    report('3150 runs listed, the first time', seconds(dry_run), 5)
    report('3150 runs listed, from then on', seconds(dry_run), 5)
    jobs = plan_of().jobs()
    done, pending = jobs[:-126], [job for job in jobs[-126:] if job.method == 'knn_mfcc']  # of the last two folds
    with contextlib.redirect_stdout(None):
        make_results(done)
    before = len(results.results_so_far())
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        took = seconds(lambda: runner.run(plan_of(), jobs, pending, lambda: None))
    rows = results.results_so_far()[before:]
    assert len(rows) == len(pending)
    report('a run beside training and evaluation, 3000 results', (took - (rows['train_seconds'] + rows['test_seconds']).sum()) / len(rows), 0.3)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        os.environ['DATA_FOLDER'] = temporary
        main()
