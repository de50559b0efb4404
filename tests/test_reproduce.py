"""reproduce.py from end to end: a plan, interrupted, extended, failing in part, in one process and on a Dask cluster."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import commands
from commands import Started, environment, experiments, models, refused, rows, run_script, same_weights, succeeded, tree, warm
from results import results_so_far
from shared import write_json

PLAN = ('reproduce.py', 'demo', 'datasets=tones', 'folds=0,1', 'methods=knn_mfcc,TIMBRE,proto', 'n_shots=1,2', 'epochs=3',
        'filters=4', 'max_accuracy=0')
RUNS = 24  # with 2 runs of each
PART = [argument.replace('folds=0,1', 'folds=1') for argument in PLAN]
TIMES = ('date', 'experiment', 'model', 'train_seconds', 'test_seconds')


@pytest.fixture(scope='module')
def tones():
    return commands.tones()


def fresh(tones, folder):
    """A data folder with the sounds and spectrograms of `tones` and no experiment. Returns it."""
    commands.copy_of(tones, folder)
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    return folder


def table(data):
    """results.tsv without what another execution changes, in an order of its own (list of rows, header first)."""
    header, *body = rows(data / 'experiments/results.tsv')
    kept = [i for i, name in enumerate(header) if name not in TIMES]
    return [[header[i] for i in kept], *sorted([row[i] for i in kept] for row in body)]


def of_fold_1(whole):
    """What should be there after the plan PART: the table and the decisions."""
    header, *body = table(whole)
    return [header, *(row for row in body if row[header.index('fold')] == '1')], {
        key: content for key, content in decisions(whole).items() if key[1] == 1}


def runs(data):
    """Model folders of finished runs: dictionary (method and its options, fold, n_shot, run) -> Path."""
    found = {}
    for folder in experiments(data):
        config = json.loads((folder / 'config.json').read_text())
        for run, model in enumerate(models(folder)):
            key = config['method'], config['fold'], config['n_shot'], run
            assert key not in found, f'{key} was done twice'
            found[key] = model
    return found


def decisions(data):
    """Bytes of the test predictions of every run."""
    return {key: (model / 'test_predictions.tsv').read_bytes() for key, model in runs(data).items()}


@pytest.fixture(scope='module')
def whole(tones, tmp_path_factory):
    """A data folder in which the plan was carried out in one go, and its output."""
    data = fresh(tones, tmp_path_factory.mktemp('whole') / 'data')
    return data, succeeded(run_script(*PLAN, 'num_experiment_runs=2', data_folder=data))


def test_all_runs_are_there_and_reported(whole):
    data, output = whole
    assert len(runs(data)) == len(table(data)) - 1 == RUNS
    assert f'plan demo: {RUNS} runs; tones, folds 0, 1; n = 1, 2; knn_mfcc, TIMBRE, proto; 2 run(s) each' in output
    assert f'0 runs are done, {RUNS} to do: {RUNS} run(s) without a comparable measurement' in output
    lines = [line for line in output.splitlines() if re.match(r'.*run \d: accuracy \d\.\d{3} \(\d+ s\)$', line)]
    first = [f'tones fold 0, n = {n}, {method}, run 1' for n in (1, 2) for method in ('knn_mfcc', 'TIMBRE', 'proto')]
    assert len(lines) == RUNS and [line.rpartition(':')[0].strip() for line in lines[:6]] == first
    state = rows(data / 'experiments/reproduce_demo.tsv')
    assert len(state) == RUNS + 1 and {row[5] for row in state[1:]} == {'done'}
    report = data / 'experiments/report_demo_tones_part'
    assert {'report.md', 'accuracy.tsv', 'paired.tsv', 'verdicts.tsv', 'costs.tsv', 'accuracy_tones.png', 'accuracy_tones.pdf',
            'confusion_tones_TIMBRE.png'} <= {path.name for path in report.iterdir()}
    assert '| TIMBRE ' in output and f'report: {report / "report.html"} (open it in a browser), {report / "report.md"}' in output
    for word in ('oneDNN', 'WARNING', 'retracing', 'Traceback'):
        assert word not in output + (data / 'experiments/reproduce_demo.log').read_text()


def test_one_process_builds_each_network_once(whole):
    log = (whole[0] / 'experiments/reproduce_demo.log').read_text().splitlines()
    assert [line.partition(':')[0] for line in log if re.match('device|model ', line)] == ['device', 'model 2', 'model 2']


def test_runs_are_those_of_the_ordinary_scripts(whole, tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    common = ['dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=2', 'skip_missing=True']
    succeeded(warm('sl_train.py', 'spec', *common, 'model_number=2', 'epochs=3', 'batch_size=16', data_folder=data))
    succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    succeeded(warm('proto.py', 'spec', *common, 'filters=4', 'max_accuracy=0', data_folder=data))
    succeeded(warm('knn_mfcc.py', *common, data_folder=data))
    ours, theirs = decisions(whole[0]), decisions(data)
    assert len(theirs) == 6 and theirs == {key: ours[key] for key in theirs}
    assert all(row in table(whole[0]) for row in table(data))
    trained = runs(whole[0])
    assert all(same_weights(model, trained[key]) for key, model in runs(data).items() if key[0] != 'knn_mfcc')
    # and the plan takes them as done
    output = succeeded(warm(*PLAN, 'num_experiment_runs=2', '--dry-run', data_folder=data))
    assert f'6 runs are done, {RUNS - 6} to do' in output and 'tones fold 1, n = 2, TIMBRE, run 2: done' in output


def test_trained_runs_without_a_result_are_evaluated_only(whole, tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    succeeded(warm('sl_train.py', 'spec', 'dataset=tones', 'fold=1', 'n_shot=2', 'num_experiment_runs=2', 'model_number=2',
                   'epochs=3', 'batch_size=16', 'skip_missing=True', data_folder=data))
    folder, = experiments(data)
    before = tree(folder, '*.h5')
    succeeded(warm(*PLAN[:3], 'folds=1', 'methods=TIMBRE', 'n_shots=2', 'epochs=3', 'num_experiment_runs=2', data_folder=data))
    assert experiments(data) == [folder] and tree(folder, '*.h5') == before
    ours = decisions(whole[0])
    assert decisions(data) == {key: ours[key] for key in (('sl_train', 1, 2, run) for run in (0, 1))}


def test_all_methods_learn_from_the_same_clips(whole):
    draws = {}
    for (_, *draw), model in runs(whole[0]).items():
        draws.setdefault(tuple(draw), []).append((model / 'train_ids.tsv').read_text())
    assert len(draws) == RUNS / 3 and all(len(texts) == 3 and len(set(texts)) == 1 for texts in draws.values())
    assert len({texts[0] for texts in draws.values()}) == len(draws)  # of every run other ones


def test_what_is_done_is_skipped_and_more_is_added(whole, tones, tmp_path):
    """First fewer runs, then all; the second time nothing needs TensorFlow."""
    data = fresh(tones, tmp_path / 'data')
    succeeded(warm(*PART, 'num_experiment_runs=1', data_folder=data))
    folders = experiments(data)
    assert len(runs(data)) == RUNS / 4
    output = succeeded(warm(*PART, 'num_experiment_runs=2', data_folder=data))
    assert f'{RUNS // 4} runs are done, {RUNS // 4} to do: about ' in output
    assert experiments(data) == folders and (table(data), decisions(data)) == of_fold_1(whole[0])
    before = tree(data, '*.npz')
    again = warm(*PART, 'num_experiment_runs=2', data_folder=data, without_tensorflow=True)
    assert f'{RUNS // 2} runs are done\n' in succeeded(again) and '| TIMBRE ' in again.stdout
    assert tree(data, '*.npz') == before and experiments(data) == folders


def test_a_lost_table_of_results_comes_back_without_training(whole, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(whole[0], data)  # with other times of the sounds' copies than they had: all the same times
    (data / 'experiments/results.tsv').unlink()
    before = {path: path.stat().st_mtime_ns for path in data.rglob('model.weights.h5')}
    succeeded(warm(*PLAN, 'num_experiment_runs=2', data_folder=data))
    assert table(data) == table(whole[0]) and {path: path.stat().st_mtime_ns for path in data.rglob('model.weights.h5')} == before


def test_two_at_the_same_time_share_the_work(whole, tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    command = (*PART, 'num_experiment_runs=2')
    with Started(*command, data_folder=data) as one, Started(*command, data_folder=data) as two:
        assert [script.wait(240) for script in (one, two)] == [0, 0], one.text() + two.text()
        assert all('by another process' in script.text() for script in (one, two))  # both did a part
    assert (table(data), decisions(data)) == of_fold_1(whole[0])  # which sees to it that nothing was done twice


@pytest.mark.long
def test_of_two_processes_of_one_command_one_is_killed(whole, tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    log = data / 'experiments/reproduce_demo.log'

    def begun():
        return {line.partition(':')[0] for line in log.read_text().splitlines() if ', run ' in line} if log.exists() else set()

    with Started(*PLAN, 'num_experiment_runs=2', 'processes=2', data_folder=data) as script:
        results = data / 'experiments/results.tsv'
        script.wait_until(lambda: len(begun()) == 2 and results.exists() and len(rows(results)) > 6, timeout=120)
        _, last = sorted(number for number, command in script.processes().items() if 'spawn_main' in command)
        os.kill(last, signal.SIGKILL)
        assert script.wait(240) == 0, script.text()
        assert len(re.findall(r'process [12] has ended \(signal 9\).*: 1 left', script.text())) == 1
        assert not script.processes()
    assert table(data) == table(whole[0]) and decisions(data) == decisions(whole[0])  # which sees to it that nothing was done twice
    assert all(re.match(r'process [12]: ', line) for line in log.read_text().splitlines())


def test_a_stopped_command_stops_its_processes(tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    command = (*PLAN[:4], 'methods=knn_mfcc', 'n_shots=1,2', 'num_experiment_runs=40')
    with Started(*command, 'processes=2', data_folder=data) as script:
        script.wait_until(lambda: (data / 'experiments/results.tsv').exists())
        script.process.send_signal(signal.SIGTERM)
        assert script.wait() == 130 and 'the same command continues' in script.text() and 'Traceback' not in script.text()
        assert not script.processes()
    states = [row[5] for row in rows(data / 'experiments/reproduce_demo.tsv')[1:]]
    assert len(states) == 160 and set(states) == {'done', 'to do'} and states.count('done') == len(table(data)) - 1


def test_a_full_disk_ends_a_plan_with_its_state(tones, tmp_path, monkeypatch):
    import errno

    import plans
    import runner
    from configuration import configure
    data = fresh(tones, tmp_path / 'data')
    monkeypatch.setenv('DATA_FOLDER', str(data))
    overrides = ['datasets=tones', 'folds=0', 'methods=knn_mfcc', 'n_shots=1,2,3', 'num_experiment_runs=1']
    plan = plans.Plan(configure('config_reproduce', 'demo', overrides, plans.method_keys()))
    plan.make_representations()
    jobs, real, done = plan.jobs(), runner.run_experiment, []

    def fill(config, wait):
        if done:
            raise OSError(errno.ENOSPC, 'No space left on device')
        done.append(real(config, wait))

    monkeypatch.setattr(runner, 'run_experiment', fill)
    with pytest.raises(OSError, match='No space left'):
        runner.run(plan, jobs, jobs, lambda: None)
    assert [row[5] for row in rows(data / 'experiments/reproduce_demo.tsv')[1:]] == ['done', 'to do', 'to do']


def test_runs_after_a_failed_one_of_the_same_experiment_are_not_tried(tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    done = warm(*PLAN[:3], 'folds=0', 'methods=TIMBRE', 'n_shots=1', 'num_experiment_runs=3', 'epochs=3', 'learning_rate=1e38',
                data_folder=data)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('3 of 3 runs failed')
    messages = [row[6] for row in rows(data / 'experiments/reproduce_demo.tsv')[1:]]
    assert 'learning_rate' in messages[0] and messages[1:] == ['an earlier run of the same experiment failed'] * 2


def test_a_dry_run_writes_nothing(tones, tmp_path):
    shutil.copytree(tones / 'index', tmp_path / 'index')
    done = warm(*PLAN, 'num_experiment_runs=2', '--dry-run', data_folder=tmp_path, without_tensorflow=True)
    lines = [line for line in succeeded(done).splitlines() if line.startswith('tones fold')]
    assert len(lines) == RUNS
    assert lines[0] == 'tones fold 0, n = 1, knn_mfcc, run 1: to do: 1 run(s) without a comparable measurement'
    assert [path.name for path in tmp_path.iterdir()] == ['index']


def test_a_failed_run_is_recorded_and_the_others_go_on(tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    command = (*PLAN[:3], 'folds=0', 'methods=TIMBRE,knn_mfcc', 'n_shots=1,2', 'num_experiment_runs=1', 'epochs=3')
    done = warm(*command, 'learning_rate=1e38', data_folder=data)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('2 of 4 runs failed')
    state = {(row[0], row[3]): row[5:] for row in rows(data / 'experiments/reproduce_demo.tsv')[1:]}
    for n in ('1', '2'):
        assert state['knn_mfcc', n] == ['done', ''] and state['TIMBRE', n][0] == 'failed'
        assert re.search('learning_rate', state['TIMBRE', n][1])
        assert re.search(fr'failed: tones fold 0, n = {n}, TIMBRE, run 1: .*learning_rate', done.stdout)
    assert '| knn_mfcc ' in done.stdout and len(table(data)) == 3
    output = succeeded(warm(*command, data_folder=data))  # another rate is another configuration
    assert '2 runs are done, 2 to do' in output and len(table(data)) == 5


def test_a_plan_of_which_everything_fails(tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    done = warm(*PLAN[:3], 'folds=0', 'methods=TIMBRE', 'n_shots=1', 'num_experiment_runs=1', 'learning_rate=1e38',
                data_folder=data)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('1 of 1 runs failed') and 'Traceback' not in done.stderr


def test_methods_without_checkpoint_are_named(tones, tmp_path):
    data = fresh(tones, tmp_path / 'data')
    done = warm(*PLAN[:3], 'folds=0', 'methods=knn_mfcc,transfer', 'n_shots=1', 'num_experiment_runs=1',
                f'checkpoint={tmp_path}/none.ckpt', data_folder=data)
    output = succeeded(done)
    assert re.search(r'transfer: left out, no weights of VGGish\. .*download\.py vggish', output)
    assert re.search(r'\| transfer +\| needs the weights of VGGish +\|', output)
    assert 'needs the weights of VGGish' in (data / 'experiments/report_demo_tones_part/report.md').read_text()
    last = ['transfer', 'tones', '', '', '', 'left out', 'needs the weights of VGGish']
    assert rows(data / 'experiments/reproduce_demo.tsv')[-1] == last


def test_report_of_a_plan(whole, tmp_path):
    data, output = tmp_path / 'data', whole[1]
    shutil.copytree(whole[0], data)
    done = warm('report.py', 'demo', 'datasets=tones', *PLAN[3:], 'num_experiment_runs=2', data_folder=data,
                      without_tensorflow=True)
    ours, theirs = ([line for line in text.splitlines() if line.startswith('|')] for text in (succeeded(done), output))
    assert ours == theirs
    one = succeeded(warm('report.py', 'demo', 'datasets=tones', *PLAN[3:], 'num_experiment_runs=1', data_folder=data))
    assert [line for line in one.splitlines() if line.startswith('|')] != theirs


def test_a_report_without_representations_says_what_it_leaves_out(whole, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(whole[0], data)
    arguments = 'demo', 'datasets=tones', *PLAN[3:], 'num_experiment_runs=2'
    shutil.rmtree(data / 'audio_representation/tones__mfcc')
    done = succeeded(warm('report.py', *arguments, data_folder=data))
    assert 'the results of knn_mfcc cannot be told from those on other data without their representations' in done and '| TIMBRE ' in done
    assert '| knn_mfcc' not in done
    shutil.rmtree(data / 'audio_representation/tones__time-freq')
    refused(warm('report.py', *arguments, data_folder=data), 'knn_mfcc, proto', 'python report.py dataset=tones')
    assert '| knn_mfcc' in succeeded(warm('report.py', 'dataset=tones', data_folder=data))


# ---- a Dask cluster --------------------------------------------------------------------------------------------------

@pytest.fixture
def cluster(tmp_path):
    """A function (data folder, number of workers) that starts a scheduler and workers; gives its address and the workers."""
    started = []

    def start(*arguments, data):
        log = open(tmp_path / f'{len(started)}.log', 'w')
        process = subprocess.Popen([sys.executable, '-m', 'dask', *map(str, arguments)],
                                   env=environment(data, PYTHONWARNINGS='ignore'), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, cwd=tmp_path, start_new_session=True)
        started.append(process)
        return process

    def begin(data, workers=2):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
        start('scheduler', '--host', address, '--no-dashboard', data=data)
        return address, [start('worker', address, '--nthreads', 1, '--memory-limit', 0, '--no-nanny', '--no-dashboard',
                               '--name', f'worker-{number}', data=data) for number in range(workers)]

    begin.scheduler = lambda: started[0]
    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_gives_the_same_table(whole, tones, tmp_path, cluster):
    """The spectrograms too are made by the workers."""
    data = fresh(tones, tmp_path / 'data')
    shutil.rmtree(data / 'audio_representation')
    address, (first, _) = cluster(data)
    import distributed
    with Started(*PLAN, 'num_experiment_runs=2', f'scheduler={address}', data_folder=data) as script, \
            distributed.Client(address, timeout=30) as client:
        def busy():
            workers = client.scheduler_info()['workers']
            at_work = [workers[worker]['name'] for worker, tasks in client.call_stack().items() if tasks and worker in workers]
            return 'worker-0' in at_work and (data / 'experiments/results.tsv').exists() and len(table(data)) > 6
        script.wait_until(busy, timeout=120)
        os.killpg(first.pid, signal.SIGKILL)
        assert script.wait() == 0, script.text()
        assert f'2 Dask worker(s) at {address}' in script.text()
    found, expected = (tree(folder / 'audio_representation', 'tones__*/**/*.npy') for folder in (data, whole[0]))
    assert found == expected and found
    # representations carry the time of their sounds, which are copies with the same times
    assert table(data) == table(whole[0])
    assert decisions_of_any(data) == decisions(whole[0])


def decisions_of_any(data):
    """As decisions, where a run that was lost with its worker may have an experiment folder of its own."""
    found = {}
    for folder in experiments(data):
        config = json.loads((folder / 'config.json').read_text())
        for run, model in enumerate(models(folder)):
            text = (model / 'test_predictions.tsv').read_bytes()
            assert found.setdefault((config['method'], config['fold'], config['n_shot'], run), text) == text
    return found


def test_workers_with_another_data_folder_are_refused(tones, tmp_path, cluster):
    address, _ = cluster(tmp_path / 'elsewhere', workers=1)
    data = fresh(tones, tmp_path / 'data')
    done = warm(*PLAN, f'scheduler={address}', data_folder=data, without_tensorflow=True)
    refused(done, 'another DATA_FOLDER', tmp_path / 'elsewhere', f'DATA_FOLDER={data.resolve()}')
    assert not (data / 'experiments').exists()


def test_a_worker_that_comes_later_with_another_data_folder(tones, tmp_path, monkeypatch):
    import plans
    import runner
    from configuration import configure
    monkeypatch.setenv('DATA_FOLDER', str(tones))
    overrides = ['datasets=tones', 'folds=0', 'methods=knn_mfcc', 'n_shots=1', 'num_experiment_runs=1']
    plan = plans.Plan(configure('config_reproduce', 'demo', overrides, plans.method_keys()))
    plan.make_representations()
    job, = plan.jobs()
    outcome = runner.run_job(job, '/elsewhere')
    assert outcome.accuracy is None and 'start it with DATA_FOLDER=/elsewhere' in outcome.message
    assert plans.rows_of([job], results_so_far()).empty


def test_a_scheduler_that_dies(tones, tmp_path, cluster):
    data = fresh(tones, tmp_path / 'data')
    address, _ = cluster(data, workers=1)
    with Started(*PLAN, 'num_experiment_runs=2', f'scheduler={address}', data_folder=data) as script:
        script.wait_until(lambda: (data / 'experiments/results.tsv').exists(), timeout=120)
        os.killpg(cluster.scheduler().pid, signal.SIGKILL)
        assert script.wait() == 1
        assert 'Traceback' not in script.text() and 'the connection to the Dask scheduler' in script.text().splitlines()[-1]
    assert len(rows(data / 'experiments/reproduce_demo.tsv')) == RUNS + 1


def test_no_scheduler(tmp_path, monkeypatch):
    import cluster as module
    monkeypatch.setattr(module, 'PATIENCE', 1)
    with pytest.raises(module.UserError, match='no Dask scheduler answers at tcp://127.0.0.1:9 .*dask scheduler.*dask worker'), \
            module.connect('tcp://127.0.0.1:9'):
        pass
    with pytest.raises(module.UserError, match='scheduler=tls://127.0.0.1:9: .*use an address such as tcp://host:8786'), \
            module.connect('tls://127.0.0.1:9'):
        pass


def test_a_scheduler_without_workers(tones, tmp_path, cluster, monkeypatch):
    address, _ = cluster(tmp_path, workers=0)
    import cluster as module
    monkeypatch.setattr(module, 'PATIENCE', 3)
    with pytest.raises(module.UserError, match='has no worker: start one per GPU'), module.connect(address):
        pass


def test_keys_of_spectrograms_make_a_representation_of_their_own(tones, tmp_path):
    """And report.py tells the difference of two experiments."""
    data = fresh(tones, tmp_path / 'data')
    command = ('reproduce.py', 'demo', 'datasets=tones', 'folds=0', 'methods=TIMBRE', 'n_shots=2', 'num_experiment_runs=1', 'epochs=3')
    for more in ((), ('n_mels=112', 'resampler=soxr_vhq')):
        succeeded(warm(*command, *more, data_folder=data))
    configs = [json.loads((folder / 'config.json').read_text()) for folder in experiments(data)]
    assert [config['representation']['n_mels'] for config in configs] == [128, 112]
    assert configs[1]['audio_representation_folder'] == 'audio_representation/tones-resamplersoxr_vhq-n_mels112__time-freq/'
    assert [config['representation']['resampler'] for config in configs] == ['soxr_hq', 'soxr_vhq']
    assert (data / configs[0]['audio_representation_folder']).is_dir() and (data / configs[1]['audio_representation_folder']).is_dir()
    refused(warm(*command[:3], 'methods=knn_mfcc', 'n_mels=112', data_folder=data), 'n_mels: no method of the plan has such a key')
    one, two = (folder.name for folder in experiments(data))
    text = succeeded(warm('report.py', f'compare={one},{two}', data_folder=data))
    tables = [{row[0]: row[2] == row[3] for row in rows(models(folder)[0] / 'test_predictions.tsv')[1:]} for folder in experiments(data)]
    gained, lost = (sum(a[key] and not b[key] for key in a) for a, b in (tables[::-1], tables))
    assert f'{gained} clips are right only in {two}, {lost} only in {one}: McNemar, p = ' in text
    assert f'difference {(gained - lost) / 9:+.3f}, on 9 common test clips, 1 run(s)' in text
    told, = re.findall('settings that differ: (.*)', text)
    assert 'representation' in told.split('; ') and not any(part.startswith((';', ',')) for part in told.split('; '))
    refused(warm('report.py', f'compare={one}', data_folder=data), 'expected two experiments')
    write_json(experiments(data)[1] / 'config.json', {**configs[1], 'dataset': 'frogs'})
    refused(warm('report.py', f'compare={one},{two}', data_folder=data), 'are of different data sets (frogs, tones)')
