"""Configurations, experiment folders, the table of results."""
import copy
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import config_file
import configuration
import experiment
import representation
from configuration import CHECKS, check, configure, parse_overrides
from conftest import CLASSES
from experiment import Experiment, find_experiment, finished_models, stamped
from methods import METHODS
from results import COLUMNS, add_results, config_hash, experiments_folder, read_results
from shared import UserError, write_dataset, write_json

GROUPS = [(group, entry) for group in ('config_preprocess', 'config_sl', 'config_knn_mfcc')
          for entry in getattr(config_file, group)]


@pytest.fixture
def index(data_folder):
    """Indexes of two data sets, with 3 and 2 classes."""
    write_dataset('toy', data_folder, ['a.wav'] * 3, [0, 1, 2], CLASSES, [{'train': [0, 1, 2]}], {})
    write_dataset('two', data_folder, ['a.wav'] * 2, [0, 1], ['x', 'y'], [{'train': [0, 1]}], {})
    return data_folder


def refused(pattern, *arguments, group='config_sl', name='spec'):
    with pytest.raises(UserError, match=pattern):
        configure(group, name, ['dataset=toy', *arguments])


# ---- overrides -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('text, value', [
    ('n_shot=5', 5), ("n_shot='all'", 'all'), ('n_shot=all', 'all'), ('learning_rate=1e-3', 0.001), ('weight_decay=None', None),
    ('resume=False', False), ('dataset=us8k', 'us8k'), ('gt_test=a/b=c.tsv', 'a/b=c.tsv'), ('dataset=my-set.v2', 'my-set.v2'),
    ('n_shots=[1,5]', [1, 5]), ('gt_test=a b', 'a b'), ('dataset=2024', '2024'), ('dataset=1e5', '1e5'), ('dataset=007', '007'),
    ('identifier=None', 'None'),
    ('gt_val=None', None), ('load_model=None', None), ('normalize=None', None)])
def test_values_are_read(text, value):
    assert parse_overrides([text], list(CHECKS)) == {text.split('=')[0]: value}


def test_unknown_keys_list_the_valid_ones():
    keys = ', '.join(sorted(config_file.config_sl['spec']))
    refused(rf"'nshot=5' is not understood: expected key=value with a key of: {keys}$", 'nshot=5')
    refused(r"'n_mels=40' is not understood", 'n_mels=40')  # a key of another group


@pytest.mark.parametrize('text', ['n_shot', '=5', '', 'n_shot 5', '--n_shot=5', ' n_shot=5', '5'])
def test_unreadable_overrides(text):
    refused('is not understood: expected key=value', text)


@pytest.mark.parametrize('twice', [['fold=1', 'fold=1'], ['fold=1', 'n_shot=2', 'fold=2']])
def test_a_key_given_twice(twice):
    refused('fold is given twice', *twice)


@pytest.mark.parametrize('text', [
    'n_shot=0', 'n_shot=-1', 'n_shot=1.5', 'n_shot=many', 'n_shot=True', 'n_shot=[1]', 'n_shot=None', 'fold=-1', 'fold=a',
    'epochs=0',
    'learning_rate=0', 'learning_rate=-1', 'learning_rate=nan', 'learning_rate=inf', 'learning_rate=fast', 'learning_rate=True',
    'learning_rate=1e999',
    'weight_decay=-0.1', 'weight_decay=x', 'resume=1', 'resume=yes', 'skip_missing=0', 'pre_processing=log', 'pad_short=None',
    'normalize=True', 'optimizer=adam', 'batch_size=0', 'seed=-1', 'seed=None', 'gt_test=', 'num_classes_dataset=1',
    'test_hop=0', 'test_hop=(1', 'param_train_sampling=0', 'n_frames=0', 'model_number=VGG'])
def test_values_that_a_key_may_not_have(index, text):
    key = text.partition('=')[0]
    refused(rf'^{key}=.* is not valid: expected ', text)


@pytest.mark.parametrize('text', ["dataset=''", 'dataset=3', 'dataset=None', 'dataset=['])
def test_data_set_names_are_checked(index, text):
    with pytest.raises(UserError, match='dataset|data set'):
        configure('config_sl', 'spec', [text])


@pytest.mark.parametrize('text, valid', [('metric=l1', "one of 'cosine', 'euclidean'"),
                                         ('num_processing_units=0', "'all' or a whole number from 1"),
                                         ('MFCC_number=2.5', 'a whole number from 1')])
def test_messages_say_what_is_expected(index, text, valid):
    refused(valid, text, group='config_knn_mfcc', name='mfcc')


@pytest.mark.parametrize('arguments', [['machine_i=1'], ['n_machines=3', 'machine_i=3']])
def test_machine_i_is_below_n_machines(arguments):
    refused(r'machine_i=. is not valid: expected 0 to n_machines - 1', *arguments, group='config_preprocess')


def test_n_shot_infinity_means_all(index, monkeypatch):
    monkeypatch.setitem(config_file.config_sl['spec'], 'n_shot', math.inf)
    assert configure('config_sl', 'spec', ['dataset=toy'])['n_shot'] == 'all'


def test_unknown_configuration_lists_the_known(index):
    refused(r"there is no configuration 'sepc' in config_sl of config_file\.py; there are: spec, spec_val", name='sepc')


def test_a_misspelt_key_in_config_file(index, monkeypatch):
    monkeypatch.setitem(config_file.config_sl, 'mine', {**config_file.config_sl['spec'], 'nshot': 5})
    refused(r"config_sl\['mine'\] in config_file\.py has unknown keys: nshot; known are: .*n_shot", name='mine')


def test_a_wrong_value_in_config_file(index, monkeypatch):
    monkeypatch.setitem(config_file.config_sl['spec'], 'epochs', '200')
    refused("epochs='200' is not valid")


def test_paths_are_completed_from_where_the_user_is(index, tmp_path, monkeypatch):
    (tmp_path / 'here' / 'sounds').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setenv('HOME', str(tmp_path))
    for text, path in (('sounds', str(tmp_path / 'here' / 'sounds')), ('not_here', 'not_here'), ('~/here', str(tmp_path / 'here'))):
        assert configure('config_preprocess', 'spec', [f'audio_folder={text}'])['audio_folder'] == path


# ---- configurations --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('group, entry', GROUPS)
def test_every_entry_is_valid_and_never_changed(group, entry, data_folder):
    for dataset in ('asc', 'us8k', 'esc10', 'esc50', 'demo'):
        write_dataset(dataset, data_folder, ['a.wav'] * 2, [0, 1], ['x', 'y'], [{'train': [0, 1]}], {})
    before = copy.deepcopy(getattr(config_file, group))
    config = configure(group, entry, ['dataset=demo', 'seed=5'] if 'seed' in before[entry] else ['dataset=demo'])
    assert config['dataset'] == 'demo' and config['overrides']['dataset'] == 'demo'
    assert not any('{' in value for value in config.values() if isinstance(value, str))
    assert getattr(config_file, group) == before and set(before[entry]) <= set(CHECKS)


@pytest.mark.parametrize('entry, dataset', [('spec', 'asc'), ('us8k_spec', 'us8k'), ('asc_spec', 'asc'), ('esc10_spec', 'esc10'),
                                            ('esc50_spec', 'esc50'), ('demo_spec', 'demo')])
def test_entries_name_their_data_sets(entry, dataset):
    config = representation.complete(configure('config_preprocess', entry))
    assert config['audio_representation_folder'] == f'audio_representation/{dataset}__time-freq/'
    assert config['index_file'] == f'index/{dataset}/index_{dataset}_folds_all.tsv'


def test_templates_follow_the_overrides(index):
    config = configure('config_sl', 'spec_val', ['dataset=toy', 'fold=7'])
    assert config['audio_representation_folder'] == 'audio_representation/toy__time-freq/'
    for part in ('train', 'val', 'test'):
        assert config[f'gt_{part}'] == f'index/toy/gt_toy_fold7_{part}.tsv'
    assert config['fold'] == 7 and config['overrides'] == {'dataset': 'toy', 'fold': 7}
    config = configure('config_sl', 'spec', ['dataset=two', 'gt_test=mine/{dataset}_{fold}.tsv'])
    assert config['gt_test'] == 'mine/two_0.tsv' and config['gt_train'] == 'index/two/gt_two_fold0_train.tsv' and config['gt_val'] is None


def test_templates_of_preprocess_and_knn(index):
    config = representation.complete(
        configure('config_preprocess', 'spec', ['dataset=toy', 'type=waveform', 'identifier={dataset}_wide']))
    assert config['audio_representation_folder'] == 'audio_representation/toy_wide__waveform/'
    config = METHODS['config_knn_mfcc'].configure('mfcc', ['dataset=two', 'fold=3'])
    assert config['audio_representation_folder'] == 'audio_representation/two__mfcc/' and config['type'] == 'mfcc'
    assert config['gt_test'] == 'index/two/gt_two_fold3_test.tsv'


@pytest.mark.parametrize('dataset, number', [('toy', 3), ('two', 2)])
def test_classes_are_counted_in_the_index(index, dataset, number):
    for more in ([], ['num_classes_dataset=None'], [f'num_classes_dataset={number}']):
        assert configure('config_sl', 'spec', [f'dataset={dataset}', *more])['num_classes_dataset'] == number


def test_a_number_of_classes_that_is_not_that_of_the_index(index):
    refused(r'num_classes_dataset=2, but toy has 3 classes: leave it None', 'num_classes_dataset=2')


def test_a_data_set_without_index_lists_those_that_have_one(index):
    with pytest.raises(UserError, match=r"no index for the data set 'ty' .*aux/\. Data sets with an index here: toy, two"):
        configure('config_sl', 'spec', ['dataset=ty'])


def test_check_accepts_what_the_documentation_promises():
    check({'n_shot': 'all', 'num_processing_units': 'all', 'weight_decay': None, 'pre_processing': None, 'normalize': 'chosen',
           'fold': 0,
           'learning_rate': 1, 'n_machines': 3, 'machine_i': 2})


# ---- results ---------------------------------------------------------------------------------------------------------

def row(model='m0', name='fold_0_1', **values):
    return {**dict.fromkeys(COLUMNS, 0), 'experiment': name, 'model': model, 'run': int(model[1:]), 'method': 'VGG',
            'dataset': 'toy', 'n_shot': 5, 'config_hash': '01234567', 'date': '2024-01-01 00:00:00', **values}


def test_results_are_added(data_folder):
    add_results([row('m0', accuracy=0.1), row('m1', accuracy=0.2)])
    add_results([row('m0', 'fold_0_2', accuracy=0.3, n_shot='all')])
    results = read_results()
    assert list(results.columns) == COLUMNS
    rows = results[['experiment', 'model', 'accuracy']].values.tolist()
    assert rows == [['fold_0_1', 'm0', 0.1], ['fold_0_1', 'm1', 0.2], ['fold_0_2', 'm0', 0.3]]
    assert results['n_shot'].tolist() == ['5', '5', 'all'] and set(results['config_hash']) == {'01234567'}


def test_a_model_evaluated_again_replaces_its_row(data_folder):
    add_results([row('m0', accuracy=0.1), row('m1', accuracy=0.2)])
    add_results([row('m0', accuracy=0.9)])
    assert sorted(read_results()[['model', 'accuracy']].values.tolist()) == [['m0', 0.9], ['m1', 0.2]]


def test_a_run_trained_again_in_another_folder_replaces_its_row(data_folder):
    add_results([row('m0', accuracy=0.1), row('m1', accuracy=0.2)])
    add_results([row('m7', accuracy=0.9, run=0)])
    assert sorted(read_results()[['model', 'accuracy']].values.tolist()) == [['m1', 0.2], ['m7', 0.9]]


def test_the_same_model_name_in_another_experiment_is_another_model(data_folder):
    add_results([row('m0', 'fold_0_1', accuracy=0.1)])
    add_results([row('m0', 'fold_0_2', accuracy=0.9)])
    assert read_results()['accuracy'].tolist() == [0.1, 0.9]


@pytest.mark.parametrize('value', ['1e100000', '00000000', '12345678', 'nan', '0x10'])
def test_texts_stay_texts(data_folder, value):
    """A hash such as 12345e67 is not a number."""
    add_results([row('m0', config_hash=value)])
    add_results([row('m1', config_hash=value)])
    assert [str(text) for text in read_results()['config_hash']] == [value] * 2


def test_no_results_yet(data_folder):
    with pytest.raises(UserError, match=r'results\.tsv does not exist: no experiment has been evaluated yet'):
        read_results()


def test_processes_that_record_at_the_same_time_lose_nothing(data_folder):
    code = ('import sys; from results import add_results; from test_experiment import row\n'
            'input()\nfor i in range(20): add_results([row(f"m{i}", sys.argv[1])])')
    paths = {'PYTHONPATH': f'{Path(experiment.__file__).parent}:{Path(__file__).parent}', 'DATA_FOLDER': str(data_folder)}
    processes = [subprocess.Popen([sys.executable, '-c', code, f'fold_0_{p}'], env=paths, stdin=subprocess.PIPE)
                 for p in range(3)]
    for process in processes:  # all have started by the time they are let go
        process.stdin.write(b'\n')
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = sorted(map(tuple, read_results()[['experiment', 'model']].values))
    assert found == sorted((f'fold_0_{p}', f'm{i}') for p in range(3) for i in range(20))


# ---- hashes ----------------------------------------------------------------------------------------------------------

def sl(*overrides, entry='spec'):
    dataset = [] if any(override.startswith('dataset=') for override in overrides) else ['dataset=toy']
    config = configure('config_sl', entry, [*dataset, *overrides])
    return {**config, 'representation': {'n_mels': 128}}


@pytest.mark.parametrize('options', [['seed=3'], ['n_shot=7'], ['fold=4'], ['dataset=two'], ['dataset=two', 'fold=12'],
                                     ['num_experiment_runs=9'],
                                     ['resume=False'], ['skip_missing=True'], ['sliding=False']])
def test_hashes_are_equal_for_other_data_draws_and_runs(index, options):
    assert config_hash(sl(*options)) == config_hash(sl())
    assert config_hash(sl(*options, entry='spec_val')) == config_hash(sl(entry='spec_val')) != config_hash(sl())


@pytest.mark.parametrize('option', ['epochs=20', 'learning_rate=0.2', 'model_number=2', 'pre_processing=log10000',
                                    'weight_decay=None', 'test_hop=42',
                                    'n_frames=64', 'load_model=x', 'param_train_sampling=2', 'normalize=train',
                                    'gt_val=index/{dataset}/gt_{dataset}_fold{fold}_val.tsv'])
def test_hashes_differ_for_anything_else(index, option):
    assert config_hash(sl(option)) != config_hash(sl())


def test_hashes_tell_representations_apart(index):
    config = sl()
    assert config_hash({**config, 'representation': {'n_mels': 64}}) != config_hash(config)


def test_hashes_ignore_where_things_lie(index):
    options = ([], ['audio_folder=/x'], ['num_processing_units=2'], ['overwrite=True'])
    knn = [configure('config_knn_mfcc', 'mfcc', ['dataset=toy', *more]) for more in options]
    assert len({config_hash(config) for config in knn}) == 1
    assert config_hash(configure('config_knn_mfcc', 'mfcc', ['dataset=toy', 'metric=euclidean'])) != config_hash(knn[0])


def test_a_hash_is_the_same_after_storing(index):
    config = sl('fold=2')
    assert config_hash(json.loads(json.dumps(config))) == config_hash(config)
    assert len(config_hash(config)) == 8


@pytest.mark.parametrize('name', ['a', 'gt', 'log'])
def test_names_of_data_sets_that_are_part_of_other_words(data_folder, name):
    """A data set may have any name: the hash is that of every other data set, and tells configurations apart."""
    write_dataset(name, data_folder, ['a.wav'] * 2, [0, 1], ['x', 'y'], [{'train': [0, 1]}], {})
    write_dataset('toy', data_folder, ['a.wav'] * 2, [0, 1], ['x', 'y'], [{'train': [0, 1]}], {})
    assert config_hash(sl(f'dataset={name}')) == config_hash(sl())


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
    not_found(rf'the newest are: {first.id}', 'fold_0_7')


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


def test_data_folder_wins_over_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, 'DATA_FOLDER', str(tmp_path / 'configured'))
    monkeypatch.delenv('DATA_FOLDER', raising=False)
    assert experiments_folder() == tmp_path / 'configured' / 'experiments'
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path / 'chosen'))
    assert experiments_folder() == tmp_path / 'chosen' / 'experiments'
    monkeypatch.setattr(config_file, 'DATA_FOLDER', None)
    monkeypatch.delenv('DATA_FOLDER')
    assert experiments_folder() == Path(experiment.__file__).resolve().parents[1] / 'data' / 'experiments'


def test_every_key_is_in_the_table():
    """A new key of config_file.py needs one more line, in configuration.KEYS."""
    for group in (name for name in vars(config_file) if name.startswith('config_') and name != 'config_methods'):
        for name, entry in getattr(config_file, group).items():
            assert set(entry) <= set(CHECKS), f'{group}[{name!r}] has keys that configuration.KEYS lacks'


def test_roles_partition_the_keys():
    keys = [key for role in configuration._ROLES.values() for key in role]
    assert len(keys) == len(set(keys)) == len(configuration.KEYS)
    config = {'dataset': 'toy', 'n_shot': 5, 'epochs': 3, 'test_hop': 1, 'save_weights': True, 'resume': True, 'sliding': True}
    assert configuration.select(config, 'method', 'evaluation') == {'epochs': 3, 'test_hop': 1}
    assert configuration.same_experiment(config, {**config, 'resume': False, 'sliding': False, 'num_experiment_runs': 7})
    for key, other in (('dataset', 'two'), ('n_shot', 6), ('epochs', 4), ('test_hop', 2), ('save_weights', False)):
        assert not configuration.same_experiment(config, {**config, key: other}), key


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
