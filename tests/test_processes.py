"""processes.py: jobs shared by processes with an environment each, of which some are lost; what they print."""
import os
import signal
import time
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import processes
from configuration import configure
from experiment import Busy
from shared import UserError


@dataclass(frozen=True)
class Task:
    """A job. `marks` is a folder in which it may note what happened."""
    experiment: str
    number: int
    marks: Path


def first_time(task):
    try:
        (task.marks / task.experiment).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def work(task, before):
    """What the job's experiment asks for; returns job, result of the job before it, GPU."""
    print(f'{task.experiment} ', end='')
    print('x' * 5000)
    if task.experiment == 'kill once' and first_time(task) or task.experiment == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if task.experiment == 'busy' and first_time(task):
        raise Busy('busy')
    if task.experiment in ('left', 'right'):  # they begin at the same time, so that one process cannot do everything before another has started
        (task.marks / f'{task.experiment} has begun').touch()
        end = time.monotonic() + 60
        while not all((task.marks / f'{name} has begun').exists() for name in ('left', 'right')) and time.monotonic() < end:
            time.sleep(0.01)
    return task.number, before and before[0], os.environ['CUDA_VISIBLE_DEVICES']


def work_on_a_device(task, before):
    """A job fails on GPU 4, whatever it is; that of the experiment 'large' fails on every GPU."""
    gpu = os.environ['CUDA_VISIBLE_DEVICES']
    failed = gpu == '4' or task.experiment == 'large'
    if not failed:
        time.sleep(0.3)  # a failure is faster than a success
    return types.SimpleNamespace(device_failed=failed, message='out of memory' if failed else '', gpu=gpu, before=before)


def refuse():
    raise UserError('no GPU here')


def gpus(*numbers):
    return processes.environments({'gpus': list(numbers), 'processes': 1, 'scheduler': None})


def test_jobs_of_lost_processes_are_done_by_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    tasks = [Task(experiment, number, tmp_path) for number in range(3) for experiment in ('left', 'kill once', 'busy', 'right')][:11]
    ended = list(processes.run(work, tasks, gpus(4, 7, 9), tmp_path / 'log'))
    assert sorted((t.experiment, t.number) for t, _ in ended) == sorted((t.experiment, t.number) for t in tasks)
    found = {task: outcome for task, outcome in ended}
    assert {gpu for *_, gpu in found.values()} <= {'4', '7', '9'} and len({gpu for *_, gpu in found.values()}) >= 2
    assert all(outcome[:2] == (task.number, task.number - 1 if task.number else None) for task, outcome in found.items())  # one after the other
    told, = [line for line in capsys.readouterr().out.splitlines() if 'has ended' in line]
    assert '(signal 9) during' in told and told.endswith('2 left, which take over its runs')
    lines = (tmp_path / 'log').read_text().splitlines()
    assert {line.partition(': ')[2] for line in lines} >= {f'{name} {"x" * 5000}' for name in ('left', 'right', 'busy', 'kill once')}
    assert 'CUDA_VISIBLE_DEVICES' not in os.environ


def test_a_job_that_ends_its_processes_fails_and_the_others_are_done_before(tmp_path):
    tasks = [Task(experiment, 0, tmp_path) for experiment in ('kill', 'a', 'b')]
    ended = dict(processes.run(work, tasks, gpus(0, 1), tmp_path / 'log'))
    assert [task.experiment for task in ended][-1] == 'kill' and 'two processes ended during this run' in str(ended[tasks[0]])
    assert [ended[task][0] for task in tasks[1:]] == [0, 0]
    with pytest.raises(UserError, match='all processes have ended, 1 runs are left: start the same command again'):
        list(processes.run(work, tasks[:1], gpus(0), tmp_path / 'log'))


def test_a_device_that_fails_costs_no_job(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    tasks = [Task(name, number, tmp_path) for name in ('large', *'abcdef') for number in range(2)]
    ended = dict(processes.run(work_on_a_device, tasks, gpus(4, 7), tmp_path / 'log'))
    assert set(ended) == set(tasks)
    for task, outcome in ended.items():
        assert outcome.device_failed == (task.experiment == 'large') and (outcome.device_failed or outcome.gpu == '7')
        assert (outcome.before is None) == (task.number == 0)  # in order, after the job was put back
    told, = capsys.readouterr().out.splitlines()
    assert told == 'GPU 4 is not used any more, because its device failed in 3 runs one after the other (out of memory): 1 left'


def test_the_last_device_is_not_given_up(tmp_path):
    tasks = [Task('large', number, tmp_path) for number in range(5)]
    assert [outcome.device_failed for _, outcome in processes.run(work_on_a_device, tasks, gpus(0), tmp_path / 'log')] == [True] * 5


def test_processes_that_cannot_work_end_a_plan(tmp_path):
    with pytest.raises(UserError, match='GPU 3: no GPU here'):
        list(processes.run(work, [Task('a', 0, tmp_path)], gpus(3), tmp_path / 'log', refuse))
    assert 'CUDA_VISIBLE_DEVICES' not in os.environ or os.environ['CUDA_VISIBLE_DEVICES'] != '3'


@pytest.mark.parametrize('overrides, visible, names', [
    ([], None, []), (['processes=1'], '0', []), (['processes=2'], None, ['process 1', 'process 2']), (['gpus=2'], None, ['GPU 2']),
    (['gpus=0,3'], '3,0', ['GPU 0', 'GPU 3'])])
def test_processes_of_a_plan(monkeypatch, overrides, visible, names):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    found = processes.environments(configure('config_reproduce', 'demo', overrides))
    assert list(found) == names
    assert all(variables == ({'CUDA_DEVICE_ORDER': 'PCI_BUS_ID', 'CUDA_VISIBLE_DEVICES': name[4:]} if name.startswith('GPU') else {})
               for name, variables in found.items())


@pytest.mark.parametrize('overrides, message', [
    (['gpus=0,1', 'processes=2'], 'gpus and processes exclude each other: give gpus=0,1 for'),
    (['gpus=0', 'scheduler=tcp://host:1'], 'gpus and scheduler exclude each other'),
    (['processes=2', 'scheduler=tcp://host:1'], 'processes and scheduler exclude each other'),
    (['gpus=1,1'], 'gpus=1,1: name each GPU once'), (['gpus=0,5'], 'CUDA_VISIBLE_DEVICES=0,1 hides GPU 5: unset it, or choose'),
    (['gpus=-1'], 'gpus=-1 is not valid: expected None or a list, each a whole number from 0'),
    (['processes=0'], 'processes=0 is not valid: expected a whole number from 1')])
def test_processes_that_are_refused(monkeypatch, overrides, message):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    with pytest.raises(UserError, match=message):
        processes.environments(configure('config_reproduce', 'demo', overrides))


def test_the_log_gets_whole_lines_without_bars(capfd):
    stream = processes.Lines('GPU 0')
    for text in ('one', ' line\n', '\r 10 %', '\r 20 %', '\n', 'two\nthr', 'ee\n', 'not ended'):
        stream.write(text)
    assert capfd.readouterr().out == 'GPU 0: one line\nGPU 0: two\nGPU 0: three\n'
