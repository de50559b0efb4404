"""Configurations: overrides, checks, templates, the table of keys."""
import copy
import math

import pytest

import config_file
import configuration
import representation
import shared
from configuration import CHECKS, check, configure, differences, parse_overrides
from conftest import CLASSES
from methods import METHODS
from shared import UserError, write_dataset

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
    refused(rf"'nshot=5' is not understood, did you mean n_shot\?: expected key=value with a key of: {keys}$", 'nshot=5')
    refused(r"'n_mels=40' is not understood", 'n_mels=40')  # a key of another group


@pytest.mark.parametrize('text', ['n_shot', '=5', '', 'n_shot 5', '--n_shot=5', ' n_shot=5', '5'])
def test_unreadable_overrides(text):
    refused('is not understood.*: expected key=value', text)


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


def test_long_values_are_no_paths(index):
    """A path of more than 255 letters would be an error of the operating system."""
    assert configure('config_sl', 'spec', ['dataset=toy', f'gt_test={"x" * 300}'])['gt_test'] == 'x' * 300


def test_keys_of_another_version_are_a_difference():
    """Experiments that it left in the folder do not stop new ones."""
    assert differences({'n_shot': 5, 'keep_weights': True}, {'n_shot': 5}) == ['keep_weights']
    assert differences({'n_shot': 5, 'keep_weights': True}, {'n_shot': 5, 'keep_weights': True}) == []


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


def test_a_home_that_nobody_has(index, monkeypatch):
    refused(r'~nouser/x\.pt: no user of this machine has the home directory ~nouser: write the path in full', 'checkpoint=~nouser/x.pt',
            group='config_frozen', name='mn04')
    monkeypatch.setenv('DATA_FOLDER', '~nouser/data')
    with pytest.raises(UserError, match='~nouser/data: no user of this machine'):
        shared.data_folder()


@pytest.mark.parametrize('name', ['../../x', 'a/b', '.hidden', '-x'])
def test_an_identifier_is_a_name(index, name):
    config = configure('config_preprocess', 'spec', ['dataset=toy', f'identifier={name}'])
    with pytest.raises(UserError, match=f'identifier {name!r} becomes part of file names'):
        representation.complete(config)


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


# ---- the table of keys -----------------------------------------------------------------------------------------------

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
