"""Experiment folders: begin, continue, lock, find."""
import errno
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiment
import shared
from experiment import Experiment, find_experiment, finished_models, stamped
from results import experiments_folder
from shared import UserError, write_json

# ---- experiment folders ----------------------------------------------------------------------------------------------

CONFIG = {'method': 'sl_train', 'dataset': 'toy', 'fold': 0, 'n_shot': 5, 'num_experiment_runs': 2, 'seed': 0, 'resume': True,
          'overrides': {}}


def begun(**values):
    """A folder with an experiment that ended before its runs were finished."""
    started = Experiment.start({**CONFIG, 'resume': False, **values})
    started.close()
    return started


def test_a_new_experiment(data_folder):
    started = Experiment.start(CONFIG)
    assert started.folder.parent == experiments_folder() and started.id.startswith('fold_0_') and started.id[7:].isdigit()
    assert json.loads((started.folder / 'config.json').read_text()) == {'experiment': started.id, **CONFIG}
    assert started.models() == []
    model = started.new_model()
    assert model.parent == started.folder and model.name.startswith('model_fold0_') and model.name[12:].isdigit()
    assert started.models() == []
    started.finish_model(model)
    assert started.models() == [model.name] and (started.folder / 'models.list').read_text() == model.name + '\n'


def test_folders_made_in_the_same_second_have_other_names(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.time, 'time', lambda: 1541174334.9)
    folders = []
    for _ in range(3):
        folders.append(stamped(tmp_path, 'fold_0_'))
        folders[-1].mkdir()
    names = [folder.name for folder in folders]
    assert names == ['fold_0_1541174334', 'fold_0_1541174335', 'fold_0_1541174336']


def test_an_unfinished_experiment_is_continued(data_folder, capsys):
    first = begun()
    first.finish_model(first.new_model())
    second = Experiment.start(CONFIG)
    assert second.id == first.id and second.models() == first.models()
    assert capsys.readouterr().out == f'continuing {first.id}: 1 of 2 runs are finished\n'


def test_a_finished_run_is_on_the_disk_before_it_counts(data_folder, monkeypatch):
    first, synced = begun(), []
    model = first.new_model()
    (model / 'model.json').write_text('{}')
    fsync = os.fsync
    monkeypatch.setattr(os, 'fsync', lambda file: (synced.append((os.readlink(f'/proc/self/fd/{file}'), first.models())), fsync(file)))
    first.finish_model(model)
    assert synced == [(str(model / 'model.json'), []), (str(first.folder / '.tmp-models.list'), []), (str(first.folder), [model.name])]


def test_a_file_system_without_locks_is_refused(data_folder, monkeypatch):
    begun()

    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(shared.fcntl, 'flock', refuse)
    with pytest.raises(UserError, match=r'cannot be locked \(No locks available\).*Lustre: option flock; NFS: without nolock'):
        Experiment.start(CONFIG)
    with pytest.raises(UserError, match='cannot be locked'):
        shared.take_lock(data_folder / '.lock', wait=False)


def test_a_finished_experiment_is_not_continued(data_folder):
    first = begun()
    for _ in range(2):
        first.finish_model(first.new_model())
    before = sorted(path.name for path in first.folder.rglob('*'))
    assert Experiment.start(CONFIG).id != first.id
    assert sorted(path.name for path in first.folder.rglob('*')) == before


@pytest.mark.parametrize('change', [{'n_shot': 6}, {'fold': 1}, {'seed': 1}, {'dataset': 'two'}, {'data': {'train': 'b'}},
                                    {'method': 'proto'},
                                    {'representation': {'n_mels': 64}}])
def test_another_configuration_is_another_experiment(data_folder, change):
    first = begun()
    assert Experiment.start({**CONFIG, **change}).id != first.id


def test_an_experiment_that_has_fewer_runs_than_wanted_gets_more(data_folder, capsys):
    first = begun()
    for _ in range(2):
        first.finish_model(first.new_model())
    more = Experiment.start({**CONFIG, 'num_experiment_runs': 3})
    assert more.id == first.id and [run for run, _ in more.remaining_runs()] == [2]
    assert capsys.readouterr().out == f'continuing {first.id}: 2 of 3 runs are finished\n'
    assert json.loads((first.folder / 'config.json').read_text()) == {'experiment': first.id, **CONFIG, 'resume': False,
                                                                      'num_experiment_runs': 3}
    more.close()
    assert Experiment.start(CONFIG).id != first.id  # it has more than these: trained anew


def test_an_experiment_that_has_all_its_runs_is_returned_where_it_shall_not_be_trained_again(data_folder):
    first = begun()
    for _ in range(2):
        first.finish_model(first.new_model())
    for wanted in (1, 2):
        same = Experiment.start({**CONFIG, 'num_experiment_runs': wanted}, again=False)
        assert same.id == first.id and list(same.remaining_runs()) == [] and len(same.models()) == 2
        same.close()
    assert json.loads((first.folder / 'config.json').read_text())['num_experiment_runs'] == 2


def test_how_the_configuration_was_written_does_not_count(data_folder):
    first = begun(overrides={'n_shot': 5})
    assert Experiment.start({**CONFIG, 'overrides': {}}).id == first.id


def test_the_way_of_scoring_does_not_count(data_folder):
    first = begun()
    assert Experiment.start({**CONFIG, 'sliding': False}).id == first.id


def test_resume_false_begins_anew(data_folder):
    first = begun()
    assert Experiment.start({**CONFIG, 'resume': False}).id != first.id


def test_unfinished_models_are_deleted_and_finished_ones_kept(data_folder):
    first = begun()
    done, left = first.new_model(), first.new_model()
    for folder in (done, left):
        (folder / 'model.weights.h5').write_text(folder.name)
    first.finish_model(done)
    Experiment.start(CONFIG)
    assert (done / 'model.weights.h5').read_text() == done.name and not left.exists()


def test_the_newest_of_several_is_continued(data_folder):
    older, newer = begun(), begun()
    assert older.id != newer.id
    assert Experiment.start(CONFIG).id == max(older.id, newer.id)


def test_newest_is_a_matter_of_time_not_of_letters(data_folder):
    for stamp in (999999999, 1000000000):
        write_json(experiments_folder() / f'fold_0_{stamp}' / 'config.json', CONFIG)
    assert Experiment.start(CONFIG).id == 'fold_0_1000000000'


def test_an_experiment_of_a_living_process_is_not_touched(data_folder):
    code = ('from experiment import Experiment; from test_experiment import CONFIG; import sys\n'
            'e = Experiment.start(CONFIG); m = e.new_model(); (m / "half").write_text("x")\nprint(m, flush=True); sys.stdin.read()')
    paths = {'PYTHONPATH': f'{Path(experiment.__file__).parent}:{Path(__file__).parent}', 'DATA_FOLDER': str(data_folder)}
    other = subprocess.Popen([sys.executable, '-c', code], env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        model = Path(other.stdout.readline().strip())
        mine = Experiment.start(CONFIG)
        assert model.parent.is_dir() and mine.folder != model.parent and (model / 'half').exists()
        assert mine.id != model.parent.name
        mine.close()
        for done in range(2):
            mine.finish_model(mine.new_model())
    finally:
        other.communicate()
    again = Experiment.start(CONFIG)  # that process has ended: now its experiment may be continued
    assert again.folder == model.parent and not model.exists()


def test_two_starts_in_one_process_do_not_share(data_folder):
    first, second = Experiment.start(CONFIG), Experiment.start(CONFIG)
    assert first.id != second.id
    first.close()
    third = Experiment.start(CONFIG)
    assert third.id == first.id


@pytest.mark.parametrize('content', [None, '', '{"dataset": ', '[1, 2]', 'null'])
def test_folders_without_a_readable_configuration_are_left_alone(data_folder, content):
    folder = experiments_folder() / 'fold_0_1'
    (folder / 'model_fold0_1').mkdir(parents=True)
    if content is not None:
        (folder / 'config.json').write_text(content)
    assert Experiment.start(CONFIG).id != 'fold_0_1'
    assert (folder / 'model_fold0_1').is_dir()


# ---- finding an experiment -------------------------------------------------------------------------------------------

def finished(**values):
    started = begun(**values)
    for _ in range(2):
        started.finish_model(started.new_model())
    return started


def not_found(pattern, name, *arguments):
    with pytest.raises(UserError, match=pattern):
        find_experiment(name, 'sl_train', 'python sl_train.py spec', arguments, ('test_hop',))


def test_find(data_folder):
    first = finished()
    for name in (first.id, f'experiments/{first.id}/', str(first.folder)):
        folder, config = find_experiment(name, 'sl_train', 'python sl_train.py spec')
        assert folder == first.folder and len(finished_models(folder)) == 2
        assert {key: config[key] for key in CONFIG} == {**CONFIG, 'resume': False}


def test_latest_is_the_newest_of_the_script(data_folder, monkeypatch):
    clock = itertools.count(999999990, 5)
    monkeypatch.setattr(experiment.time, 'time', lambda: next(clock))
    finished(fold=1)
    second = finished()
    finished(method='knn_mfcc')
    assert find_experiment('latest', 'sl_train', '')[0] == second.folder


def test_an_experiment_of_another_script(data_folder):
    first = finished(method='knn_mfcc')
    not_found(r'was made by knn_mfcc\.py, not by sl_train\.py', first.id)
    not_found(r"no experiment 'latest'", 'latest')


def test_overrides_of_an_evaluation(data_folder):
    first = finished(test_hop=1)
    assert find_experiment(first.id, 'sl_train', '', ['test_hop=42'], ('test_hop',))[1]['test_hop'] == 42
    not_found("'epochs=3' is not understood: expected key=value with a key of: test_hop", first.id, 'epochs=3')
    not_found('test_hop=0 is not valid', first.id, 'test_hop=0')


def test_an_experiment_that_does_not_exist(data_folder):
    not_found(r"no experiment 'fold_0_7' .* none, train one first: python sl_train\.py spec", 'fold_0_7')
    not_found('train one first', 'latest')
    first = finished()
    finished(method='knn_mfcc')
    not_found(rf'no experiment \'fold_0_7\' of sl_train\.py .* the newest are: {first.id}$', 'fold_0_7')


@pytest.mark.parametrize('content', [None, '', '{"dataset": '])
def test_an_experiment_with_a_damaged_configuration(data_folder, content):
    first = finished()
    (first.folder / 'config.json').unlink()
    if content is not None:
        (first.folder / 'config.json').write_text(content)
    not_found('config.json (does not exist|is damaged).*train again', first.id)


def test_an_experiment_without_models(data_folder):
    first = begun()
    first.new_model()
    not_found('has no trained model .*start the training command again', first.id)


def test_an_experiment_that_lacks_runs(data_folder, capsys):
    first = begun()
    first.finish_model(first.new_model())
    assert find_experiment(first.id, 'sl_train', '')[0] == first.folder
    assert capsys.readouterr().out == 'note: 1 of 2 runs are trained so far\n'


def test_a_kill_before_the_configuration_is_written_leaves_nothing(data_folder):
    leftover = experiments_folder() / '.tmp-fold_0_1'
    leftover.mkdir(parents=True)
    started = Experiment.start(CONFIG)
    assert not leftover.exists() and (started.folder / 'config.json').is_file()
    assert [path.name for path in experiments_folder().glob('fold_*')] == [started.id]


def test_an_experiment_that_is_held_can_be_skipped(data_folder):
    first = Experiment.start(CONFIG, again=False)
    with pytest.raises(experiment.Busy, match=first.id):
        Experiment.start(CONFIG, again=False, wait=False)
    first.close()
    assert Experiment.start(CONFIG, again=False, wait=False).id == first.id
