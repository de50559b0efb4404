"""Several processes of this machine that do the jobs of a plan, e.g. one per GPU. A lost one costs no job."""
import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import connection

from tqdm import tqdm

from experiment import Busy
from shared import UserError, end_with, make_folder

POLL = 0.5  # seconds between looks at experiments that other commands hold
MOST_FAILURES = 3  # of a device, one after the other


class Unfit(Exception):
    """A process cannot do any job."""


def environments(config):
    """What the processes of a plan have in their environment: dictionary name -> variables; {} for a plan that needs no processes.

    Raises UserError for keys that exclude each other, and for GPUs that CUDA_VISIBLE_DEVICES hides.
    """
    gpus, number = config['gpus'] or [], config['processes']
    if len(set(gpus)) < len(gpus):
        raise UserError(f'gpus={",".join(map(str, gpus))}: name each GPU once')
    chosen = [text for text, given in (('gpus', gpus), ('processes', number > 1), ('scheduler', config['scheduler'])) if given]
    if len(chosen) > 1:
        raise UserError(f'{" and ".join(chosen)} exclude each other: give gpus=0,1 for a process per GPU, processes=2 for processes '
                        f'on a CPU, or scheduler= for several machines')
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    hidden = [gpu for gpu in gpus if visible is not None and str(gpu) not in visible.replace(' ', '').split(',')]
    if hidden:
        raise UserError(f'gpus={",".join(map(str, gpus))}: the environment variable CUDA_VISIBLE_DEVICES={visible} hides GPU {hidden[0]}: '
                        f'unset it, or choose among the GPUs that it names')
    if gpus:
        # numbered as nvidia-smi numbers them; CUDA itself would begin with the fastest one
        return {f'GPU {gpu}': {'CUDA_DEVICE_ORDER': 'PCI_BUS_ID', 'CUDA_VISIBLE_DEVICES': str(gpu)} for gpu in gpus}
    return {f'process {place + 1}': {} for place in range(number)} if number > 1 else {}


def check_gpu():
    """Raise UserError unless TensorFlow finds a GPU in this process and can compute on it: it would go on on the CPU, or fail in every run."""
    from backend import INSTALL_CUDA, tf  # it takes seconds to start
    if not tf.config.list_physical_devices('GPU'):
        raise UserError(f'TensorFlow finds no such GPU: choose among those that `nvidia-smi -L` lists, install the CUDA libraries '
                        f'({INSTALL_CUDA}), or use processes=2 to share the CPU')
    try:
        tf.nn.conv2d(tf.ones((1, 8, 8, 1)), tf.ones((3, 3, 1, 1)), 1, 'SAME').numpy()
    except tf.errors.OpError as problem:
        raise UserError(f'TensorFlow cannot compute on this GPU ({problem.message.splitlines()[0]}): `nvidia-smi` shows whether another '
                        f'program uses its memory; choose other GPUs with gpus=') from None


def run(function, jobs, environments, log, check=None):
    """Yield (job, function(job, before=...)) of each job as it ends; the exception if it raises one.

    Jobs are begun in their order; those of one experiment wait for each other. What a lost process was doing, and the later jobs of
    that experiment, are left to the others, which do them last; if another process is lost with the same job, that job fails.
    The same holds for a job whose outcome has a true attribute `device_failed`. A process with MOST_FAILURES such outcomes in a row
    is stopped if there are others: a job fails faster than it succeeds, so that an unusable GPU would use up all jobs.

    Args:
        function: a function of a module. `before` is what it gave for the previous job of the same experiment, None for the first. If
            it raises Busy, the jobs of the experiment are tried again later.
        jobs: list of jobs with the attribute `experiment`.
        environments: dictionary name -> environment variables, of each process.
        log: path of the file that gets what the processes print; each line begins with the name of its process.
        check: function without arguments that each process calls first; a UserError of it is raised here. None: nothing.

    Raises UserError when all processes are lost and there are jobs left.
    """
    waiting, last, lost, busy, retry = list(jobs), {}, set(), set(), 0.0
    needed = list(environments.items())[:len({job.experiment for job in jobs})]
    make_folder(log.parent)
    with contextlib.ExitStack() as stack:
        stack.enter_context(stopped_by(signal.SIGTERM))
        working = [stack.enter_context(Process(name, variables, function, log, check)) for name, variables in needed]
        ended = []
        while waiting or any(process.job for process in working):
            if time.monotonic() >= retry:
                busy = set()
            for process in working:
                held = busy | {other.job.experiment for other in working if other.job}
                job = None if process.job else next((job for job in waiting if job.experiment not in held), None)
                if job:
                    waiting.remove(job)
                    process.give(job, last.get(job.experiment))
            yield from ended  # now that all processes have something to do
            ended = []
            if not working:
                raise UserError(f'all processes have ended, {len(waiting)} runs are left: start the same command again, it continues where '
                                f'they stopped. Their output is in {log}')
            for process in connection.wait(working, timeout=POLL if busy else None):
                job, process.job = process.job, None
                try:
                    outcome = process.receive()
                except (EOFError, OSError):
                    working.remove(process)
                    outcome = lose(process, job, lost, waiting, len(working))
                    if outcome is None:
                        continue
                if isinstance(outcome, Unfit):
                    raise UserError(f'{process.name}: {outcome}')
                if isinstance(outcome, Busy):
                    waiting.insert(0, job)
                    busy.add(job.experiment)
                    retry = time.monotonic() + POLL
                    continue
                process.failures = process.failures + 1 if getattr(outcome, 'device_failed', False) else 0
                if process.failures and len(working) > 1:
                    if process.failures == MOST_FAILURES:
                        working.remove(process)
                        process.stop()
                        tqdm.write(f'{process.name} is not used any more, because its device failed in {MOST_FAILURES} runs one after the '
                                   f'other ({outcome.message}): {len(working)} left')
                    if job not in lost:
                        put_back(job, lost, waiting)
                        continue
                last[job.experiment] = outcome
                ended.append((job, outcome))
        yield from ended


def lose(process, job, lost, waiting, left):
    """Tell that a process has ended and give its job back; returns the error if it was lost for the second time.

    Args:
        job: what it was doing; None: nothing.
        lost: set of the jobs with which a process was lost before.
        waiting: jobs that nobody does so far; those of the same experiment are moved to its end.
        left: number of the other processes.
    """
    told = f'{process.name} has ended ({process.why()})'
    if job is None:
        tqdm.write(f'{told}: {left} left')
        return None
    if job in lost:
        tqdm.write(f'{told} during {job}: {left} left')
        return UserError(f'two processes ended during this run, the second one: {told}. Perhaps there was not enough memory: start the same '
                         f'command with fewer processes')
    put_back(job, lost, waiting)
    tqdm.write(f'{told} during {job}: {left} left, which take over its runs')
    return None


def put_back(job, lost, waiting):
    """Move a job and those of the same experiment to the end of the waiting ones, and note the job in `lost`."""
    lost.add(job)
    waiting[:] = [other for other in waiting if other.experiment != job.experiment] + [
        job, *(other for other in waiting if other.experiment == job.experiment)]


@contextlib.contextmanager
def stopped_by(number):
    """Treat a signal like Ctrl-C in the block, so that what stands in `finally` is done."""
    def stop(*_):
        raise KeyboardInterrupt
    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


class Process:
    """A process that does one job after the other; it is stopped when the block ends.

    Attributes: name, job (what it is doing; None: nothing), failures (of its device, one after the other).
    """

    def __init__(self, name, variables, function, log, check):
        context = multiprocessing.get_context('spawn')  # a fork of a process with threads may hang
        self.name, self.job, self.failures = name, None, 0
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, function, log, name, check, os.getpid()), daemon=True)
        before = {key: os.environ.get(key) for key in variables}
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C reaches the parent alone, which stops its processes
        try:
            os.environ.update(variables)
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})
            other.close()  # so that the pipe ends with the process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """End the process, whatever it is doing."""
        self._pipe.close()
        self._process.terminate()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def fileno(self):
        """For connection.wait."""
        return self._pipe.fileno()

    def give(self, job, before):
        """Let it do a job."""
        self.job = job
        with contextlib.suppress(OSError):  # it has ended: `receive` tells
            self._pipe.send((job, before))

    def receive(self):
        """What it sent. Raises EOFError or OSError if it has ended."""
        return self._pipe.recv()

    def why(self):
        """'signal 9' or 'exit code 1'."""
        self._process.join(5)
        code = self._process.exitcode
        return f'signal {-code}' if code is not None and code < 0 else f'exit code {code}'


def serve(pipe, function, log, name, check, parent):
    """The work of a process: call the function with what comes through the pipe, and send back what it returns or raises."""
    end_with(parent)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):  # also what native code prints, and the last words of a process that crashes
        os.dup2(file, stream)
    sys.stdout = sys.stderr = Lines(name)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a stopped process leaves behind
    try:
        if check:
            check()
    except UserError as problem:
        pipe.send(Unfit(str(problem)))
        return
    while True:
        try:
            job, before = pipe.recv()
        except EOFError:
            return
        print(f'{time.strftime("%Y-%m-%d %H:%M:%S")}  {job}')
        try:
            outcome = function(job, before=before)
        except Exception as problem:
            print(f'{type(problem).__name__}: {problem}')
            outcome = problem
        pipe.send(outcome)


class Lines(io.TextIOBase):
    """A stream to the log that writes whole lines, each in one piece after the name of its process. It leaves out progress bars."""

    def __init__(self, name):
        self._name, self._rest = name, ''

    def write(self, text):
        *lines, rest = (self._rest + text).split('\n')
        self._rest = '\r' if '\r' in rest else rest  # of a bar, only that it is one
        whole = ''.join(f'{self._name}: {line}\n' for line in lines if line and '\r' not in line)
        if whole:
            os.write(1, whole.encode(errors='backslashreplace'))
        return len(text)
