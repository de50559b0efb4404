"""A seeded campaign of SIGKILLs: a job that is killed at random moments and started again ends with the same results, bit for bit.

Usage:  python benchmarks/kill_campaign.py [kills per job, default 18] [seed, default 0] [jobs, e.g. knn_mfcc,proto; default all]
Prints: a line per job: kills, kills that left something behind, and whether results, arrays and decisions are those of an
        undisturbed run; the exit code is not 0 when they are not.

Jobs: preprocess.py, knn_mfcc.py, sl_train.py, proto.py, transfer_train.py (mn04 with random weights), and reproduce.py as two processes
that share a plan. Each is killed with its whole process group, uniformly over the time that it takes undisturbed, and keeps what it
has until the next start.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'src'), str(ROOT / 'tests')]
import commands  # noqa: E402

COMMON = ('dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=3')
JOBS = {
    'preprocess': [('preprocess.py', 'spec', 'dataset=tones', 'num_processing_units=2')],
    'knn_mfcc': [('knn_mfcc.py', *COMMON)],
    'sl_train': [('sl_train.py', 'spec', *COMMON, 'model_number=2', 'epochs=40')],
    'proto': [('proto.py', 'spec', *COMMON, 'filters=4', 'max_accuracy=3', 'max_epochs=8')],
    'transfer_train': [('transfer_train.py', 'mn04', *COMMON, 'checkpoint=None', 'epochs=4', 'n_frames=50', 'val_hop=50', 'test_hop=50',
                        'save_weights=False')],
    'reproduce': [('reproduce.py', 'demo', 'datasets=tones', 'folds=0,1', 'methods=knn_mfcc,TIMBRE', 'n_shots=1,2', 'epochs=20',
                   'num_experiment_runs=2')] * 2,
}
TIMES = ('date', 'experiment', 'model', 'train_seconds', 'test_seconds')


def start(job, data):
    """The processes of a job, each in a group of its own."""
    return [subprocess.Popen([sys.executable, ROOT / 'src' / script, *arguments], env=commands.environment(data), start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for script, *arguments in JOBS[job]]


def finish(job, data):
    """Run a job to its end; seconds that it took. Ends the campaign if it fails."""
    begin, processes = time.monotonic(), start(job, data)
    for process in processes:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f'{job} ended with {process.returncode}:\n{errors}')
    return time.monotonic() - begin


def kill_after(job, data, seconds):
    """Start a job and kill all its processes after some seconds; whether it was still at work."""
    processes = start(job, data)
    time.sleep(seconds)
    at_work = any(process.poll() is None for process in processes)
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()
    return at_work


def results(data):
    """What a job leaves: rows without times and names, arrays, decisions and scores, each by a name that does not depend on time."""
    found = {str(path.relative_to(data)): path.read_bytes() for path in data.glob('audio_representation/*/**/*.npy')}
    table = data / 'experiments/results.tsv'
    if table.exists():
        header, *rows = (line.split('\t') for line in table.read_text().splitlines())
        # a set: a script that was killed after its last run, and started again, trains a further, equal experiment
        found['results.tsv'] = sorted({tuple(cell for name, cell in zip(header, row) if name not in TIMES) for row in rows})
    for experiment in data.glob('experiments/fold_*'):
        models = (experiment / 'models.list').read_text().split() if (experiment / 'models.list').exists() else []
        name = experiment.name.split('_')[1], (experiment / 'config.json').read_text().count('"n_shot": 1')
        for run, model in enumerate(models):
            for file in ('train_ids.tsv', 'test_predictions.tsv', 'train_log.tsv', 'head.npz'):
                path = experiment / model / file
                if path.exists():
                    found[(*name, (experiment / 'config.json').read_text().partition('"method": "')[2][:12], run, file)] = (
                        path.read_bytes() if file != 'train_log.tsv' else without_seconds(path))
    return found


def without_seconds(path):
    """Rows of a training log without columns of seconds."""
    header, *rows = (line.split('\t') for line in path.read_text().splitlines())
    return [[cell for name, cell in zip(header, row) if name != 'epoch_time'] for row in rows]


def leftovers(data):
    """Temporary files and folders."""
    return [str(path) for path in data.rglob('.tmp-*')]


def fresh(job, base, target):
    """A copy of the data folder `base` that lacks what the job makes."""
    shutil.rmtree(target, ignore_errors=True)
    commands.copy_of(base, target)
    if job == 'preprocess':
        shutil.rmtree(target / 'audio_representation/tones__time-freq')
    return target


def main():
    kills, seed, names = (sys.argv[1:] + ['18', '0', ','.join(JOBS)][len(sys.argv) - 1:])
    moments, failed = random.Random(int(seed)), False
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / 'base'
        commands.copy_of(commands.tones(), base)
        shutil.rmtree(base / 'experiments', ignore_errors=True)
        commands.succeeded(commands.run_script('preprocess.py', 'mn04', 'dataset=tones', data_folder=base))
        for job in names.split(','):
            clean, disturbed = (fresh(job, base, Path(folder) / f'{job}_{kind}') for kind in ('clean', 'disturbed'))
            usual, hits, parts = finish(job, clean), 0, 0
            while hits < int(kills):
                hit = kill_after(job, disturbed, moments.uniform(0, usual))
                if not hit:  # it was through: from the beginning
                    fresh(job, base, disturbed)
                hits += hit
                parts += bool(leftovers(disturbed)) or 0 < len(results(disturbed)) < len(results(clean))
            finish(job, disturbed)
            ours, expected = results(disturbed), results(clean)
            wrong = sorted(map(str, {key for key in expected.keys() | ours.keys() if ours.get(key) != expected.get(key)}))
            wrong += [f'left over: {path}' for path in leftovers(disturbed)]
            failed |= bool(wrong)
            print(f'{job}: {hits} kills, {parts} left partial work, {len(expected)} results ' +
                  ('equal' if not wrong else f'DIFFERENT: {", ".join(wrong[:5])}'), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
