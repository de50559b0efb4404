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
import plans
from evaluation import write_table
from experiment import experiments_folder
from fewshot import Task
from shared import PROGRESS, UserError, make_folder

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
    waiting, failed, left = Counter(job.round for job in pending), {}, list(pending)
    PROGRESS['leave'] = False  # of each run's own bars
    keep_state(plan, jobs, failed)
    with tqdm(total=len(pending), desc=plan.name, disable=not pending, bar_format=BAR, **{**PROGRESS, 'leave': True}) as bar:
        for job, outcome in outcomes(pending, plan):
            left.remove(job)
            waiting[job.round] -= 1
            told = f'accuracy {outcome.accuracy:.3f}' if outcome.accuracy is not None else f'failed: {outcome.message}'
            bar.write(f'{job}: {told} ({plans.duration(outcome.seconds)})')
            if outcome.accuracy is None:
                failed[job] = outcome.message
            if left and not waiting[job.round]:
                keep_state(plan, jobs, failed)
                after_round()
            bar.set_postfix_str(time_left(pending, left, bar.format_dict['elapsed']), refresh=False)
            bar.update()
    keep_state(plan, jobs, failed)
    return failed


def time_left(pending, left, elapsed):
    """What the jobs that are left will take, by the seconds that others took; faster with several workers."""
    costs = plans.Costs(plans.results())
    done, to_do = ([costs.seconds(job) or 0 for job in some] for some in ([j for j in pending if j not in left], left))
    pace = elapsed / sum(done) if sum(done) > 60 else 1
    unknown = sum(cost == 0 for cost in to_do)
    return f'about {plans.duration(pace * sum(to_do))} left' + (f' and {unknown} runs of unknown length' if unknown else '')


def keep_state(plan, jobs, failed):
    """Write experiments/reproduce_<plan>.tsv: data set, fold, n_shot, method, run, state and message of each run."""
    pending = plans.without_result(jobs, plans.results())
    rows = [(*job.experiment, job.run, 'failed' if job in failed else 'to do' if job in pending else 'done', failed.get(job, ''))
            for job in jobs]
    rows += [(method, dataset, '', '', '', 'left out', reason) for dataset, method, reason in plan.missing]
    write_table(pd.DataFrame(rows, columns=['method', 'dataset', 'fold', 'n_shot', 'run', 'state', 'message']),
                experiments_folder() / f'reproduce_{plan.name}.tsv')


def outcomes(jobs, plan):
    """Yield (job, Outcome) of each job as it ends."""
    if plan.config['scheduler']:
        for job, outcome in cluster.carry_out(run_job, jobs, plan.config['scheduler']):
            yield job, Outcome(None, 0.0, describe(outcome)) if isinstance(outcome, BaseException) else outcome
        return
    make_folder(experiments_folder())
    with open(experiments_folder() / f'reproduce_{plan.name}.log', 'a', encoding='utf-8') as log:
        for job in jobs:
            with contextlib.redirect_stdout(log):
                print(f'\n{time.strftime("%Y-%m-%d %H:%M:%S")}  {job}')
                outcome = run_job(job)
                log.flush()
            yield job, outcome


def run_job(job):
    """Carry out a run unless its result is there; what goes wrong is part of the Outcome, so that other runs go on."""
    begin, message = time.perf_counter(), ''
    try:
        if plans.rows_of([job], plans.results()).empty:  # another process may have been quicker
            run_experiment(job.config)
        accuracy = float(plans.rows_of([job], plans.results())['accuracy'].iloc[-1])
    except UserError as problem:
        accuracy, message = None, ' '.join(str(problem).split())
    except Exception as problem:  # of whatever kind: the others go on, this one is recorded
        print(traceback.format_exc())
        accuracy, message = None, describe(problem)
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


def run_experiment(config):
    """Bring an experiment to as many runs as its configuration wants, each with its result."""
    task = Task.load(config, wanted=('train', 'val', 'test'))
    if config['script'] == 'knn_mfcc':
        import nearest
        nearest.run_baseline('knn_mfcc', config, task, nearest.stored_vectors(task), again=False)
        return
    start_tensorflow()
    if config['script'] == 'knn_audioset':
        import embeddings
        import nearest
        features = embeddings.embeddings_of([*task.train, *task.test], task.representation, config)
        nearest.run_baseline('knn_audioset', config, task, features, again=False)
    elif config['script'] in ('proto', 'transfer_proto'):
        import prototypical
        prototypical.train_and_evaluate(config, task, again=False)
    else:
        import supervised
        supervised.train(config, task, again=False, score=True)
