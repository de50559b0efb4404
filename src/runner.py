"""Carrying out the runs of a plan: one after the other in this process, or on the workers of a Dask cluster."""
import contextlib
import functools
import time
import traceback
from collections import Counter
from dataclasses import dataclass

import pandas as pd
from tqdm import tqdm

import cluster
import embeddings
import nearest
import plans
from evaluation import write_table
from experiment import experiments_folder
from fewshot import Task, task_key
from shared import NO_PLACE, PROGRESS, UserError, data_folder, locked, make_folder

BAR = '{desc}: {n_fmt} of {total_fmt} runs |{bar}| {elapsed} elapsed{postfix}'


@dataclass
class Outcome:
    """How a run ended: accuracy, or None and the message why it failed; seconds that it took."""
    accuracy: float | None
    seconds: float
    message: str = ''


def carry_out(plan, jobs, pending, after_round):
    """Carry out the pending ones of a plan's jobs; returns the failed ones (dictionary Job -> message).

    Shows overall progress and keeps experiments/reproduce_<plan>.tsv, the state of every run. What a run prints goes to
    experiments/reproduce_<plan>.log, or to the console of its worker.

    Args:
        plan: plans.Plan.
        jobs, pending: lists of plans.Job.
        after_round: called when all that belongs to a round (plans.Job.round) is through, unless it is the last one.
    """
    waiting, failed, left = Counter(job.round for job in pending), {}, dict.fromkeys(pending)
    PROGRESS['leave'] = False  # of each run's own bars
    try:
        keep_state(plan, jobs, failed)
        with tqdm(total=len(pending), desc=plan.name, disable=not pending, bar_format=BAR, **{**PROGRESS, 'leave': True}) as bar:
            for job, outcome in outcomes(pending, plan):
                del left[job]
                waiting[job.round] -= 1
                results = plans.results()
                if not outcome.message and plans.rows_of([job], results).empty:  # also where a file system shows it too late
                    outcome = Outcome(None, outcome.seconds, 'its result is not in results.tsv: start the same command again')
                if outcome.message:
                    failed[job] = outcome.message
                told = f'failed: {outcome.message}' if outcome.message else f'accuracy {outcome.accuracy:.3f}'
                bar.write(f'{job}: {told} ({plans.duration(outcome.seconds)})')
                if left and not waiting[job.round]:
                    keep_state(plan, jobs, failed)
                    try:
                        after_round()
                    except UserError as problem:  # no reason to stop
                        bar.write(f'no report so far: {problem}')
                done = [job for job in pending if job not in left and job not in failed]
                bar.set_postfix_str(time_left(plans.Costs(results), done, left, bar.format_dict['elapsed']), refresh=False)
                bar.update()
    finally:
        keep_state(plan, jobs, failed)
    return failed


def time_left(costs, done, left, elapsed):
    """What the jobs that are left will take, by the seconds that others took; faster with several workers."""
    past, to_do = ([costs.seconds(job) or 0 for job in some] for some in (done, left))
    pace = elapsed / sum(past) if sum(past) > 60 else 1
    unknown = sum(cost == 0 for cost in to_do)
    return f'about {plans.duration(pace * sum(to_do))} left' + (f' and {unknown} runs of unknown length' if unknown else '')


def keep_state(plan, jobs, failed):
    """Write experiments/reproduce_<plan>.tsv: data set, fold, n_shot, method, run, state and message of each run."""
    pending = set(plans.without_result(jobs, plans.results()))
    rows = [(*job.experiment, job.run, 'failed' if job in failed else 'to do' if job in pending else 'done', failed.get(job, ''))
            for job in jobs]
    rows += [(method, dataset, '', '', '', 'left out', reason) for dataset, method, reason in plan.missing]
    table = pd.DataFrame(rows, columns=['method', 'dataset', 'fold', 'n_shot', 'run', 'state', 'message'])
    with locked(experiments_folder() / f'.lock_reproduce_{plan.name}'):
        write_table(table, experiments_folder() / f'reproduce_{plan.name}.tsv')


def outcomes(jobs, plan):
    """Yield (job, Outcome) of each job as it ends. Raises OSError when nothing can be written any more."""
    if plan.config['scheduler']:
        for job, outcome in cluster.carry_out(run_job, jobs, plan.config['scheduler']):
            if isinstance(outcome, OSError) and outcome.errno in NO_PLACE:
                raise outcome
            yield job, Outcome(None, 0.0, describe(outcome)) if isinstance(outcome, BaseException) else outcome
        return
    make_folder(experiments_folder())
    last = {}
    with open(experiments_folder() / f'reproduce_{plan.name}.log', 'a', encoding='utf-8') as log:
        for job in jobs:
            with contextlib.redirect_stdout(log):
                print(f'\n{time.strftime("%Y-%m-%d %H:%M:%S")}  {job}')
                last[job.experiment] = run_job(job, str(data_folder()), last.get(job.experiment))
                log.flush()
            yield job, last[job.experiment]


def run_job(job, folder, before=None):
    """Carry out a run unless its result is there; what goes wrong is part of the Outcome, so that other runs go on.

    Args:
        job: plans.Job.
        folder: DATA_FOLDER of who asks for it (str).
        before: Outcome of the run before it of the same experiment, if that was carried out too.

    Raises OSError when nothing can be written any more.
    """
    begin, accuracy, message = time.perf_counter(), None, ''
    try:
        if str(data_folder()) != folder:  # of a worker that came later than cluster.check
            raise UserError(f'the worker has another DATA_FOLDER, {data_folder()}: start it with DATA_FOLDER={folder}')
        if before and before.message:
            raise UserError('an earlier run of the same experiment failed')
        if plans.rows_of([job], plans.results()).empty:  # another process may have been quicker
            run_experiment(job.config)
        rows = plans.rows_of([job], plans.results())
        if rows.empty:
            raise UserError('its data or configuration have changed since the plan began: start the same command again')
        accuracy = float(rows['accuracy'].iloc[-1])
    except UserError as problem:
        message = ' '.join(str(problem).split())
    except Exception as problem:  # of whatever kind: the others go on, this one is recorded
        if isinstance(problem, OSError) and problem.errno in NO_PLACE:
            raise
        print(traceback.format_exc())
        message = describe(problem)
    if message:
        print(message)
    return Outcome(accuracy, time.perf_counter() - begin, message)


def describe(problem):
    """An exception as a line of text."""
    return ' '.join(f'{type(problem).__name__}: {problem}'.split())


@functools.cache
def start_tensorflow():
    """Once in a process, and only where a network is needed."""
    import backend
    backend.set_up_device()


def load_task(config):
    """The Task of a configuration; the last few are kept, because many experiments are on the same data."""
    files = [f'{config["audio_representation_folder"]}/index.tsv', *(config.get(f'gt_{part}') for part in ('train', 'val', 'test'))]
    times = [(data_folder() / file).stat().st_mtime_ns for file in files if file and (data_folder() / file).exists()]
    return _load_task(task_key(config), tuple(times))


@functools.lru_cache(maxsize=4)
def _load_task(key, _):
    return Task.load(dict(key))


def run_experiment(config):
    """Bring an experiment to as many runs as its configuration wants, each with its result."""
    task = load_task(config)
    if config['script'] == 'knn_mfcc':
        nearest.run_baseline('knn_mfcc', config, task, nearest.stored_vectors(task), again=False)
    elif config['script'] == 'knn_audioset':
        features = embeddings.embeddings_of([*task.train, *task.test], task.representation, config)
        nearest.run_baseline('knn_audioset', config, task, features, again=False)
    else:
        start_tensorflow()
        import prototypical
        import supervised
        if config['script'] in prototypical.MODELS:
            prototypical.train_and_evaluate(config, task, again=False)
        else:
            supervised.train(config, task, again=False, score=True)
