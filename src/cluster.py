"""The workers of a Dask cluster, which see the same DATA_FOLDER as this process."""
import contextlib
import logging
import pickle
import uuid
from pathlib import Path

from shared import UserError, data_folder, make_folder

PATIENCE = 20  # seconds, for a scheduler or a worker to answer
START = 'DATA_FOLDER={folder} .venv/bin/dask worker {address} --nthreads 1 --memory-limit 0'


@contextlib.contextmanager
def connect(address):
    """Yield a distributed.Client of the scheduler at `address`, after checking that its workers can do the work.

    Raises UserError: no scheduler, no worker, a worker without this project or with another DATA_FOLDER.
    """
    if address.startswith('tls:'):
        raise UserError(f'scheduler={address}: TLS is not supported, because no option names its certificates: use an address such as '
                        f'tcp://host:8786')
    import distributed  # imported here: it takes half a second
    for name in ('client', 'batched'):  # their messages come as exceptions, too; that of a lost connection has a stack
        logging.getLogger(f'distributed.{name}').setLevel(logging.CRITICAL)
    start = START.format(address=address, folder=data_folder())
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=True)
    except (OSError, ValueError) as problem:
        raise UserError(f'no Dask scheduler answers at {address} ({str(problem).splitlines()[0]}): start one with '
                        f'`.venv/bin/dask scheduler` and workers with `{start}`') from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise UserError(f'the Dask scheduler at {address} has no worker: start one per GPU with `{start}`') from None
        check(client, start)
        yield client


def check(client, start):
    """Raise UserError unless all workers have this project and see the same DATA_FOLDER."""
    make_folder(data_folder())
    token = data_folder() / f'.token-{uuid.uuid4().hex}'
    token.touch()
    try:
        found = client.run(remote(sees), pack(str(data_folder()), token.name), on_error='return')
    finally:
        token.unlink()
    for worker, answer in found.items():
        if isinstance(answer, BaseException):
            raise UserError(f'the Dask worker {worker} cannot run this project ({answer}): start workers in its folder '
                            f'with `{start}`')
        if answer is not True:
            raise UserError(f'the Dask worker {worker} has another DATA_FOLDER, {answer}: start it with the environment variable '
                            f'DATA_FOLDER={data_folder()}, a folder that both share')


def remote(function):
    """A form of a function of this project for workers: called with pack(*arguments) and more, it returns function(*arguments, *more).

    A nested function is sent as its code, not as a name to be imported. So the scheduler, which unpickles tasks, does not need
    this project, and workers import it from the folder where it is here.
    """
    module, name, source = function.__module__, function.__qualname__, str(Path(__file__).resolve().parent)

    def call(arguments, *more):
        import importlib
        import pickle
        import sys
        if source not in sys.path:
            sys.path.insert(0, source)
        return getattr(importlib.import_module(module), name)(*pickle.loads(arguments), *more)
    return call


def pack(*arguments):
    """Arguments for a function from `remote`, as bytes."""
    return pickle.dumps(arguments)


def sees(path, name):
    """On a worker: True if its DATA_FOLDER has this path and contains a file of that name, else its path (str)."""
    return True if str(data_folder()) == path and Path(path, name).exists() else str(data_folder())


def run(function, jobs, address):
    """Yield (job, function(job)) of each job as it ends, in any order; the exception if it could not be run.

    The jobs of one experiment wait for each other, all others run side by side. The job of a lost worker is run again on
    another one; if several workers are lost with a job, it fails.

    Args:
        function: function of this project, called with a job, the DATA_FOLDER of this process, and the result of the previous
            job of the same experiment, if there is one.
    """
    import distributed
    with connect(address) as client:
        futures, last = {}, {}
        for number, job in enumerate(jobs):
            before = [last[job.experiment]] if job.experiment in last else []
            last[job.experiment] = client.submit(remote(function), pack(job, str(data_folder())), *before, priority=-number, pure=False,
                                                 key=f'run-{uuid.uuid4().hex}')
            futures[last[job.experiment]] = job
        for future in distributed.as_completed(futures, raise_errors=False):
            if future.cancelled():
                raise UserError(f'the connection to the Dask scheduler at {address} was lost: start it and its workers again, then '
                                f'the same command; finished work is kept')
            yield futures[future], future.exception() or future.result()
