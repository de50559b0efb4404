"""Execution of a plan: its runs one after the other in this process, side by side in several processes, or on a Dask cluster."""
import contextlib
import functools
import io
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass

import pandas as pd
from tqdm import tqdm

import cluster
import plans
import processes
from experiment import Busy
from methods import method_of, start_tensorflow
from results import experiments_folder, results_so_far
from shared import NO_PLACE, OUT_OF_MEMORY, PROGRESS, UserError, data_folder, locked, make_folder, out_of_memory, write_table

# errors of TensorFlow that come from the device: its memory is full, its driver or a library fails
DEVICE_ERRORS = OUT_OF_MEMORY, 'InternalError', 'UnknownError', 'FailedPreconditionError'
BAR = '{desc}: {n_fmt} of {total_fmt} runs |{bar}| {elapsed} elapsed{postfix}'


@dataclass
class Outcome:
    """How a run ended.

    Attributes: accuracy (None if it failed), seconds (that it took), message (why it failed), elsewhere (whether another process ran
    it), device_failed (whether it failed because the device did: see processes.run).
    """
    accuracy: float | None
    seconds: float
    message: str = ''
    elsewhere: bool = False
    device_failed: bool = False


def run(plan, jobs, pending, after_round):
    """Run the pending jobs of a plan; returns the failed ones (dictionary Job -> message).

    Shows overall progress and writes experiments/reproduce_<plan>.tsv, the state of every run of this call. What a run prints goes to
    experiments/reproduce_<plan>.log, or to the console of its worker. Raises UserError when nobody is left to do the runs.

    Args:
        plan: plans.Plan.
        jobs, pending: lists of plans.Job.
        after_round: called when all runs of a round (plans.Job.round) have ended, except after the last round, and unless the
            previous call took more than a tenth of the time since.
    """
    waiting, failed, left = Counter(job.round for job in pending), {}, dict.fromkeys(pending)
    next_call = 0.0
    try:
        write_state(plan, jobs, failed)
        with (contextlib.closing(outcomes(pending, plan)) as ended,
              tqdm(total=len(pending), desc=plan.name, disable=not pending, bar_format=BAR, **{**PROGRESS, 'leave': True}) as bar):
            for job, outcome in ended:
                del left[job]
                waiting[job.round] -= 1
                results = results_so_far()
                if not outcome.message and plans.rows_of([job], results).empty:  # also on a slow network file system
                    outcome = Outcome(None, outcome.seconds, 'its result is not in results.tsv: start the same command again')
                if outcome.message:
                    failed[job] = outcome.message
                told = f'failed: {outcome.message}' if outcome.message else f'accuracy {outcome.accuracy:.3f}'
                elsewhere = ' by another process' if outcome.elsewhere else ''
                bar.write(f'{job}: {told} ({plans.duration(outcome.seconds)}{elsewhere})')
                if left and not waiting[job.round] and time.monotonic() >= next_call:
                    begin = time.monotonic()
                    write_state(plan, jobs, failed)
                    try:
                        after_round()
                    except UserError as problem:  # no reason to stop
                        bar.write(f'no report so far: {problem}')
                    next_call = time.monotonic() + 10 * (time.monotonic() - begin)
                bar.set_postfix_str(f'{plans.Times(results).describe(list(left))} left' if left else '', refresh=False)
                bar.update()
    finally:
        write_state(plan, jobs, failed)
    return failed


class WithoutCursor(io.TextIOBase):
    """A stream into a file: progress bars below each other move the cursor up, which only a terminal understands."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        return 0 if '\x1b[A' in text or not text.strip('\n') else self._stream.write(text)

    def flush(self):
        self._stream.flush()


def write_state(plan, jobs, failed):
    """Write experiments/reproduce_<plan>.tsv: method, data set, fold, n_shot, run, state and message of each run."""
    pending = set(plans.without_result(jobs, results_so_far()))
    rows = [(*job.experiment, job.run, 'failed' if job in failed else 'to do' if job in pending else 'done', failed.get(job, ''))
            for job in jobs]
    rows += [(method, dataset, '', '', '', 'left out', reason) for dataset, method, reason in plan.missing]
    table = pd.DataFrame(rows, columns=['method', 'dataset', 'fold', 'n_shot', 'run', 'state', 'message'])
    with locked(experiments_folder() / f'.lock_reproduce_{plan.name}'):
        write_table(table, experiments_folder() / f'reproduce_{plan.name}.tsv')


def outcomes(jobs, plan):
    """Yield (job, Outcome) of each job as it ends. Raises OSError when nothing can be written any more."""
    log, several = experiments_folder() / f'reproduce_{plan.name}.log', processes.environments(plan.config)
    if plan.config['scheduler']:
        yield from checked(cluster.run(run_job, jobs, plan.config['scheduler']))
    elif several and jobs:
        function = functools.partial(run_job, folder=str(data_folder()), wait=False)
        yield from checked(processes.run(function, jobs, several, log, processes.check_gpu if plan.config['gpus'] else None))
    else:
        make_folder(experiments_folder())
        with open(log, 'a', encoding='utf-8') as file:
            yield from shared_outcomes(jobs, file)


def checked(answers):
    """Yield (job, Outcome) of jobs that others did. Raises OSError when nothing can be written any more."""
    with contextlib.closing(answers):
        for job, answer in answers:
            if isinstance(answer, OSError) and answer.errno in NO_PLACE:
                raise answer
            yield job, outcome_of(answer)


def outcome_of(answer):
    """The Outcome of a job that another process did, from what run_job returned or raised there."""
    if isinstance(answer, UserError):
        return Outcome(None, 0.0, str(answer))
    return Outcome(None, 0.0, describe(answer)) if isinstance(answer, BaseException) else answer


def shared_outcomes(jobs, log):
    """Yield (job, Outcome) of each job. Jobs whose experiment another process holds are postponed until it has ended."""
    last, pending, told, pause = {}, jobs, set(), processes.POLL
    while pending:
        busy = []
        for job in pending:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(sys.stderr if sys.stderr.isatty() else WithoutCursor(sys.stderr)):
                if job not in told:
                    print(f'\n{time.strftime("%Y-%m-%d %H:%M:%S")}  {job}')
                try:
                    outcome = run_job(job, str(data_folder()), last.get(job.experiment), wait=False)
                except Busy as experiment:
                    if job not in told:
                        print(f'another process works on {experiment}: postponed')
                    told.add(job)
                    busy.append(job)
                    continue
                finally:
                    log.flush()
            last[job.experiment] = outcome
            yield job, outcome
        if len(busy) == len(pending):  # each look reads all results: a busy file system gets them more and more rarely
            time.sleep(pause)
            pause = min(2 * pause, 10)
        else:
            pause = processes.POLL
        pending = busy


def run_job(job, folder, before=None, wait=True):
    """Do a run unless its result exists. Errors become part of the Outcome, so that other runs go on.

    Args:
        job: plans.Job.
        folder: DATA_FOLDER of the process that asks for the run (str).
        before: Outcome of the previous run of the same experiment, or the exception that ended it, if there was one.
        wait: whether to wait for another process that works on the experiment; False: raise experiment.Busy.

    Raises OSError when nothing can be written any more.
    """
    begin, accuracy, message, elsewhere, device_failed = time.perf_counter(), None, '', False, False
    try:
        if str(data_folder()) != folder:  # a worker that joined after cluster.check
            raise UserError(f'the worker has another DATA_FOLDER, {data_folder()}: start it with DATA_FOLDER={folder}')
        if before and outcome_of(before).message:
            raise UserError('an earlier run of the same experiment failed')
        elsewhere = not plans.rows_of([job], results_so_far()).empty
        if not elsewhere:
            run_experiment(job.config, wait)
        rows = plans.rows_of([job], results_so_far())
        if rows.empty:
            raise UserError('its data or configuration have changed since the plan began: start the same command again')
        accuracy = float(rows['accuracy'].iloc[-1])
    except UserError as problem:
        message = ' '.join(str(problem).split())
    except Busy:
        raise
    except Exception as problem:  # the other runs go on, this one is recorded
        if isinstance(problem, OSError) and problem.errno in NO_PLACE:
            raise
        print(traceback.format_exc())
        message, device_failed = describe(problem), type(problem).__name__ in DEVICE_ERRORS
    if message:
        print(message)
    return Outcome(accuracy, time.perf_counter() - begin, message, elsewhere, device_failed)


def describe(problem):
    """An exception as a line of text."""
    text = out_of_memory(problem) if type(problem).__name__ == OUT_OF_MEMORY else f'{type(problem).__name__}: {problem}'
    return ' '.join(text.split())


start_tensorflow_once = functools.cache(start_tensorflow)  # in a process, whatever it runs


def load_split(method, config):
    """The DataSplit of a configuration; those of a fold are cached: the methods of a plan read several representations in turn."""
    files = [f'{config["audio_representation_folder"]}/index.tsv', *(config.get(f'gt_{part}') for part in ('train', 'val', 'test'))]
    times = [(data_folder() / file).stat().st_mtime_ns for file in files if file and (data_folder() / file).exists()]
    return _load_split(method, method.split_key(config), tuple(times))


@functools.lru_cache(maxsize=16)
def _load_split(method, key, _):
    return method.load_split(dict(key))


def run_experiment(config, wait):
    """Give an experiment as many runs with results as its configuration wants; returns its id."""
    method = method_of(config)
    split = load_split(method, config)
    if method.network:
        start_tensorflow_once()
    return method.train(config, split, again=False, wait=wait)
