"""Interruptions: what is killed or stopped at any moment goes on with the same command and ends as if nothing had happened."""
import itertools
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

import commands
import config_file
from commands import FAST, MEL, Started, experiments, make_sounds, models, rows, run_script, same_weights, succeeded, temporary_files, tree, warm
from configuration import configure
from shared import UserError, write_dataset

PREPROCESS = ('preprocess.py', 'spec', 'dataset=many', 'num_processing_units=2')
MANY = 'audio_representation/many__time-freq'
TRAIN = ('sl_train.py', *FAST, 'num_experiment_runs=3', 'epochs=30', 'batch_size=2')


@pytest.fixture(scope='module')
def tones():
    return commands.tones()


def said(started):
    """The first words of what a script has printed, without progress bars."""
    return {line.partition(':')[0] for line in re.split(r'[\r\n]+', started.text()) if line and '%|' not in line}


# ---- index -----------------------------------------------------------------------------------------------------------

def test_an_interrupted_index_is_no_index(data_folder, monkeypatch):
    """A sound less, and the ids of the others change: a mixture of the old and the new index would give clips the labels of others."""
    real = {'unlink': Path.unlink, 'replace': os.replace}  # what takes files away, and what puts them in place
    for moment in itertools.count(1):
        old, folds = list('abcdef'), [{'train': [0, 1, 3, 4], 'test': [2, 5]}]
        write_dataset('toy', data_folder, old, [0, 0, 0, 1, 1, 1], ['x', 'y'], folds, {}, old)
        done = []

        def interrupted(name, *arguments, **options):
            done.append(name)
            if len(done) == moment + 1:
                raise KeyboardInterrupt
            return real[name](*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, 'unlink', lambda *a, **k: interrupted('unlink', *a, **k))
            patch.setattr(os, 'replace', lambda *a, **k: interrupted('replace', *a, **k))
            try:
                write_dataset('toy', data_folder, list('bcdef'), [0, 0, 1, 1, 1], ['x', 'y'], [{'train': [0, 2, 3], 'test': [1, 4]}], {})
                break
            except KeyboardInterrupt:
                pass
        for group in set(commands.GROUPS.values()) - {'config_preprocess', 'config_reproduce'}:
            with pytest.raises(UserError, match="there is no index for the data set 'toy' .*: make it with the script in aux"):
                configure(group, next(iter(getattr(config_file, group))), ['dataset=toy'])
    assert len(done) == moment == 12  # 6 files are taken away, and 6 put in place
    assert configure('config_sl', 'spec', ['dataset=toy'])['num_classes_dataset'] == 2


# ---- preprocess ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """A data folder with the index of 48 clips of 6 s, enough for two processes, and what one process makes of them."""
    folder = tmp_path_factory.mktemp('many')
    make_sounds(folder / 'audio', 16, (6.0,))
    succeeded(warm('index_folder.py', folder / 'audio', 'many', data_folder=folder))
    succeeded(warm(*PREPROCESS[:-1], 'num_processing_units=1', data_folder=folder))
    return folder


@pytest.fixture
def unprocessed(many, tmp_path):
    shutil.copytree(many / 'index', tmp_path / 'index')
    return tmp_path


def finished(folder):
    """Modification of every finished array: dictionary path -> (inode, change time)."""
    return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in folder.rglob('[!.]*.npy')}


def wait_for_end(started, seconds=10):
    """Wait until no process of a session lives any more; returns whether that happened."""
    end = time.monotonic() + seconds
    while started.processes() and time.monotonic() < end:
        time.sleep(0.1)
    return not started.processes()


def test_a_killed_preprocess_goes_on(many, unprocessed):
    """Killed just after its start and with half of the files done; neither that nor the processes change a bit."""
    kept, ended = {}, []
    for count in (0, 20):
        with Started(*PREPROCESS, data_folder=unprocessed) as script:
            script.wait_until((unprocessed / MANY / 'config.json').exists if count == 0 else
                              lambda: len(finished(unprocessed / MANY)) >= count)
            script.process.kill()
            script.wait()
            ended.append(wait_for_end(script))
        assert not (unprocessed / MANY / 'index.tsv').exists(), 'it was through before it was killed'
        now = finished(unprocessed / MANY)
        assert len(now) >= count and now.items() >= kept.items()  # what was finished is not touched again
        kept = now
    done = run_script(*PREPROCESS, data_folder=unprocessed)
    assert f'{len(kept)} of 48 clips are there already' in succeeded(done)
    assert finished(unprocessed / MANY).items() >= kept.items()
    assert temporary_files(unprocessed) == []
    assert ended == [True, True], 'worker processes lived on after preprocess.py was killed'
    ours, theirs = tree(unprocessed / MANY), tree(many / MANY)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= {'config.json'}  # it tells the number of processes


def workers(started):
    """Process ids of joblib's workers."""
    return [process for process, line in started.processes().items() if 'popen_loky' in line]


@pytest.mark.parametrize('moment', ['workers start', 'files are made'])
def test_a_stopped_preprocess_says_so_in_one_line(unprocessed, moment):
    """Ctrl-C reaches all processes of a terminal's group, the workers too."""
    with Started(*PREPROCESS, data_folder=unprocessed) as script:
        if moment == 'workers start':
            script.wait_until(lambda: len(workers(script)) == 2)
            time.sleep(0.5)
        else:
            script.wait_until(lambda: len(finished(unprocessed / MANY)) >= 5)
        os.killpg(script.process.pid, signal.SIGINT)
        assert script.wait() == 130
        assert wait_for_end(script)
        assert said(script) == {'overrides', 'interrupted'}


def test_a_killed_worker_is_an_error(unprocessed):
    """As when memory runs out."""
    with Started(*PREPROCESS, data_folder=unprocessed) as script:
        script.wait_until(lambda: len(finished(unprocessed / MANY)) >= 5)
        os.kill(workers(script)[0], signal.SIGKILL)
        assert script.wait() == 1
        # joblib's resource tracker may have a word to say after that
        assert re.search('^error: a process was killed.* smaller num_processing_units', script.text(), re.MULTILINE)
        assert 'Traceback' not in script.text()


@pytest.mark.parametrize('damage', [lambda content: content[:len(content) // 2], lambda content: b'',
                                    lambda content: b'no array'], ids=['half', 'empty', 'text'])
def test_a_damaged_array_is_made_again(tones, tmp_path, damage):
    folder = commands.copy_of(tones, tmp_path / 'data')
    path = folder / MEL / 'mid/mid_3.npy'
    moment = path.stat().st_mtime_ns
    path.write_bytes(damage(path.read_bytes()))
    os.utime(path, ns=(moment, moment))
    before = finished(folder / MEL)
    assert '26 of 27 clips are there already' in succeeded(warm('preprocess.py', 'spec', 'dataset=tones', data_folder=folder))
    assert tree(folder / MEL) == tree(tones / MEL)
    assert [changed.name for changed, state in finished(folder / MEL).items() if before[changed] != state] == ['mid_3.npy']


# ---- sl_train --------------------------------------------------------------------------------------------------------

@pytest.fixture
def data(tones, tmp_path):
    """A data folder without experiments."""
    for name in ('index', 'audio_representation'):
        shutil.copytree(tones / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope='module')
def uninterrupted(tones):
    succeeded(warm(*TRAIN, data_folder=tones))
    return experiments(tones)[-1]


def epochs_logged(data):
    """Rows of the newest train_log.tsv."""
    logs = sorted(data.glob('experiments/fold_*/model_*/train_log.tsv'), key=lambda path: path.stat().st_mtime_ns)
    return len(rows(logs[-1])) - 1 if logs else 0


def finished_runs(data):
    return sum(len(rows(path)) for path in data.glob('experiments/fold_*/models.list'))


def test_a_killed_training_goes_on(data, uninterrupted):
    """Killed in the first run and in the second one; then the end is that of an experiment that nobody disturbed."""
    with Started(*TRAIN, data_folder=data) as script:
        script.wait_until(lambda: epochs_logged(data) > 5)
        script.process.kill()
        script.wait()
    experiment, = experiments(data)
    assert finished_runs(data) == 0 and len(list(experiment.glob('model_*'))) == 1

    with Started(*TRAIN, data_folder=data) as script:
        script.wait_until(lambda: finished_runs(data) == 1 and epochs_logged(data) in range(5, 25))
        script.process.kill()
        script.wait()
        assert f'continuing {experiment.name}: 0 of 3 runs are finished' in script.text()
    assert experiments(data) == [experiment] and finished_runs(data) == 1
    first, = models(experiment)
    before = tree(first)
    moments = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert len(list(experiment.glob('model_*'))) == 2  # the second one is not whole

    done = warm(*TRAIN, data_folder=data)
    assert f'continuing {experiment.name}: 1 of 3 runs are finished' in succeeded(done)
    assert experiments(data) == [experiment]
    assert tree(first) == before and {path: path.stat().st_mtime_ns for path in first.iterdir()} == moments
    assert sorted(models(experiment)) == sorted(experiment.glob('model_*')) and len(models(experiment)) == 3
    for resumed, reference in zip(models(experiment), models(uninterrupted)):
        assert same_weights(resumed, reference)
        assert (resumed / 'train_ids.tsv').read_bytes() == (reference / 'train_ids.tsv').read_bytes()
        assert [row[:2] for row in rows(resumed / 'train_log.tsv')] == [row[:2] for row in rows(reference / 'train_log.tsv')]
    assert temporary_files(data) == []


def test_a_stopped_training_says_so_in_one_line(data):
    with Started(*TRAIN, data_folder=data) as script:
        script.wait_until(lambda: epochs_logged(data) > 5)
        os.killpg(script.process.pid, signal.SIGINT)
        assert script.wait() == 130
        assert said(script) == {'overrides', 'device', 'model 2', 'experiment', 'interrupted'}
    assert finished_runs(data) == 0 and temporary_files(data) == []


def test_two_trainings_at_the_same_time_have_a_folder_each(data, uninterrupted):
    with Started(*TRAIN, data_folder=data) as script:
        script.wait_until(lambda: list(data.glob('experiments/fold_*/config.json')))
        other = succeeded(warm(*TRAIN, data_folder=data))
        assert script.wait() == 0, script.text()
        told = [re.search(r'experiments/(fold_\S+)', text).group(1) for text in (script.text(), other)]
    assert told == [folder.name for folder in experiments(data)] and 'continuing' not in other
    first, second = experiments(data)
    begun, ended = (second / 'config.json').stat().st_mtime, (first / 'models.list').stat().st_mtime
    assert begun < ended, 'the first one was through before the second began'
    for folder in (first, second):
        assert len(models(folder)) == 3 and all(map(same_weights, models(folder), models(uninterrupted)))


@pytest.mark.parametrize('change', ['seed=1', 'epochs=3', 'n_shot=1', 'fold=1', 'resume=False', None])
def test_only_the_same_experiment_is_continued(data, change):
    """An experiment that lost its second run is continued by its own command and by no other."""
    arguments = ['sl_train.py', *FAST, 'num_experiment_runs=2', 'epochs=2']
    succeeded(warm(*arguments, data_folder=data))
    experiment, = experiments(data)
    unfinished = (experiment / 'models.list').read_text().splitlines(keepends=True)[0]
    (experiment / 'models.list').write_text(unfinished)
    arguments = [argument for argument in arguments if argument.partition('=')[0] != (change or '').partition('=')[0]]
    succeeded(warm(*arguments, *[change] * bool(change), data_folder=data))
    assert len(experiments(data)) == (2 if change else 1)
    assert ((experiment / 'models.list').read_text() == unfinished) == bool(change)
    if not change:  # now it is finished, and not continued any more
        succeeded(warm(*arguments, data_folder=data))
        assert len(experiments(data)) == 2


def test_an_experiment_that_was_never_begun_does_no_harm(data):
    """Killed between the folder and its configuration, or within the configuration."""
    (data / 'experiments/fold_0_1500000000').mkdir(parents=True)
    (data / 'experiments/fold_0_1500000001').mkdir()
    (data / 'experiments/fold_0_1500000001/config.json').write_text('{"dataset": "to')
    succeeded(warm('sl_train.py', *FAST, 'epochs=2', data_folder=data))
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    assert len(experiments(data)) == 3
