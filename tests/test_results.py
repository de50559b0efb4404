"""The table of results, and the hashes of configurations and data."""
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import config_file
import experiment
from configuration import configure
from conftest import CLASSES
from results import COLUMNS, add_results, config_hash, experiments_folder, read_results, result_row
from shared import UserError, write_dataset


@pytest.fixture
def index(data_folder):
    """Indexes of two data sets, with 3 and 2 classes."""
    write_dataset('toy', data_folder, ['a.wav'] * 3, [0, 1, 2], CLASSES, [{'train': [0, 1, 2]}], {})
    write_dataset('two', data_folder, ['a.wav'] * 2, [0, 1], ['x', 'y'], [{'train': [0, 1]}], {})
    return data_folder


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


def test_dates_are_those_of_one_clock_everywhere(data_folder, monkeypatch):
    config = {'method': 'sl_train', 'dataset': 'toy', 'fold': 0, 'n_shot': 5, 'seed': 0, 'data': {}}
    for zone in ('UTC', 'America/New_York', 'Asia/Tokyo'):
        monkeypatch.setenv('TZ', zone)
        time.tzset()
        date = result_row(Path('fold_0_1/model_fold0_2'), 0, 'VGG', config, 0.5, 10, 1.0, 1.0)['date']
        age = datetime.now(timezone.utc) - datetime.fromisoformat(date).replace(tzinfo=timezone.utc)
        assert age < timedelta(minutes=5)
    monkeypatch.undo()
    time.tzset()


def test_no_results_yet(data_folder):
    with pytest.raises(UserError, match=r'results\.tsv does not exist: no experiment has been evaluated yet\. Train'):
        read_results()


def test_processes_that_record_at_the_same_time_lose_nothing(data_folder):
    code = ('import sys; from results import add_results; from test_results import row\n'
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
                                    'n_frames=64', 'load_model=x', 'param_train_sampling=2', 'normalize=train', 'statistics_passes=30',
                                    'gt_val=index/{dataset}/gt_{dataset}_fold{fold}_val.tsv'])
def test_hashes_differ_for_anything_else(index, option):
    assert config_hash(sl(option)) != config_hash(sl())


def test_options_that_came_later_leave_old_hashes_as_they_are(index):
    config = sl()
    assert config['statistics_passes'] == 0
    assert config_hash({key: value for key, value in config.items() if key != 'statistics_passes'}) == config_hash(config)


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


def test_data_folder_wins_over_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, 'DATA_FOLDER', str(tmp_path / 'configured'))
    monkeypatch.delenv('DATA_FOLDER', raising=False)
    assert experiments_folder() == tmp_path / 'configured' / 'experiments'
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path / 'chosen'))
    assert experiments_folder() == tmp_path / 'chosen' / 'experiments'
    monkeypatch.setattr(config_file, 'DATA_FOLDER', None)
    monkeypatch.delenv('DATA_FOLDER')
    assert experiments_folder() == Path(experiment.__file__).resolve().parents[1] / 'data' / 'experiments'
