"""Which clips a run learns from, and the checks of a data set's parts."""
import collections
import zlib

import numpy as np
import pytest

from configuration import configure
from conftest import CLASSES, make_representation
from fewshot import DataSplit, draw_clips
from shared import UserError, read_ground_truth, write_text

LABELS = {f'id{i}': i * 7 % 3 for i in range(60)}  # 20 clips of each class, mixed
CONFIG = {'dataset': 'toy', 'fold': 0, 'n_shot': 5, 'seed': 0}


def draw(run=0, labels=LABELS, **options):
    return draw_clips(labels, CLASSES, {**CONFIG, **options}, run)


# ---- draws -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('n_shot', [1, 2, 5, 10, 19, 20])
@pytest.mark.parametrize('run', [0, 7])
def test_n_of_each_class_without_replacement(n_shot, run):
    ids = draw(run, n_shot=n_shot)
    assert [LABELS[key] for key in ids] == [0] * n_shot + [1] * n_shot + [2] * n_shot
    assert len(set(ids)) == 3 * n_shot


def test_a_draw_is_reproducible():
    assert draw(3) == draw(3)


def test_a_draw_is_known():
    """The same in every version: users compare figures over years."""
    members = [[key for key in LABELS if LABELS[key] == c] for c in range(3)]
    rng = np.random.default_rng([4, zlib.crc32(b'toy'), 1, 2, 6])
    expected = [ids[i] for ids in members for i in rng.choice(20, 2, replace=False)]
    assert draw(6, seed=4, fold=1, n_shot=2) == expected


@pytest.mark.parametrize('options', [{'run': 1}, {'seed': 1}, {'fold': 1}, {'dataset': 'other'}])
def test_a_draw_differs_over(options):
    assert draw(**options) != draw()


def test_draws_of_different_n_are_independent():
    """Not the first clips of a longer draw: n = 5 would learn from the clips of n = 10."""
    assert any(set(draw(run, n_shot=5)) - set(draw(run, n_shot=10)) for run in range(3))


@pytest.mark.parametrize('options', [{'model_number': 2}, {'epochs': 3, 'batch_size': 1, 'learning_rate': 1.0},
                                     {'num_experiment_runs': 9},
                                     {'gt_val': 'x', 'skip_missing': True, 'resume': False}])
def test_the_draw_is_the_same_whatever_else_the_configuration_says(options):
    """All methods learn from the same clips."""
    assert draw(**options) == draw()


def test_every_clip_is_drawn_sometimes():
    count = collections.Counter(key for run in range(200) for key in draw(run, n_shot=2))
    assert set(count) == set(LABELS)  # 20 of 200 on average
    assert 4 < min(count.values()) and max(count.values()) < 45


def test_all():
    ids = draw(n_shot='all')
    assert [LABELS[key] for key in ids] == [0] * 20 + [1] * 20 + [2] * 20 and set(ids) == set(LABELS)
    assert ids == draw(9, n_shot='all')


def test_all_takes_classes_of_different_size():
    labels = {'a': 0, 'b': 0, 'c': 1, 'd': 2}
    assert draw(labels=labels, n_shot='all') == ['a', 'b', 'c', 'd']


def test_too_few_clips_are_refused_by_name_and_count():
    labels = {key: label for key, label in LABELS.items() if label != 1 or int(key[2:]) < 10}
    few = list(labels.values()).count(1)
    assert 0 < few < 5
    with pytest.raises(UserError, match=rf'^n_shot=5, but these classes have fewer training clips: engine \({few}\)\. '
                                        rf'Choose n_shot up to {few}, n_shot=all, or allow_fewer=True$'):
        draw(labels=labels)
    assert len(draw(labels=labels, n_shot=few)) == 3 * few


@pytest.mark.parametrize('n_shot', [1, 5, 'all'])
def test_a_class_without_clips_is_refused(n_shot):
    labels = {key: label for key, label in LABELS.items() if label != 2}
    with pytest.raises(UserError, match=rf'n_shot={n_shot}.*rain \(0\).*Every class needs a training clip'):
        draw(labels=labels, n_shot=n_shot)


def test_the_number_drawn_exceeds_every_class():
    with pytest.raises(UserError, match=r'bird \(20\), engine \(20\), rain \(20\)\. Choose n_shot up to 20'):
        draw(n_shot=21)


# ---- the parts of a data set -----------------------------------------------------------------------------------------

TRAIN, TEST, VAL = {'0': 0, '1': 1, '2': 2, '3': 0, '4': 1, '5': 2}, {'6': 0, '7': 1, '8': 2}, {'9': 0, '10': 1, '11': 2}


@pytest.fixture
def folder(data_folder):
    make_representation(data_folder, {str(i): np.full((130, 128), i) for i in range(12)}, TRAIN, TEST, VAL)
    return data_folder / 'index' / 'toy'


def load(*overrides, entry='spec', n_shot=2, **options):
    return DataSplit.load(configure('config_sl', entry, ['dataset=toy', f'n_shot={n_shot}', *overrides]), **options)


def refused(pattern, *overrides, **options):
    with pytest.raises(UserError, match=pattern):
        load(*overrides, **options)


def replace_line(path, number, line):
    lines = path.read_text().splitlines()
    lines[number:number + 1] = line.split('|') if line else []
    write_text(path, '\n'.join(lines) + '\n')


def test_parts(folder):
    task = load(entry='spec_val')
    assert (task.train, task.val, task.test, task.classes) == (TRAIN, VAL, TEST, CLASSES)
    assert [task.representation.open(key)[0, 0] for key in task.test] == [6, 7, 8]


def test_parts_not_asked_for_are_none(folder):
    task = load()
    assert (task.train, task.val, task.test) == (TRAIN, None, TEST)
    assert load(parts=('test',)).train is None
    (folder / 'gt_toy_fold0_train.tsv').unlink()
    assert load(parts=('test',)).test == TEST


def test_labels_of_a_set_that_is_not_loaded_are_those_of_its_own_file(folder):
    """The state of the data is the same for a script that trains and for one that only scores."""
    write_text(folder / 'subset.tsv', ''.join((folder / 'gt_toy_fold0_train.tsv').read_text().splitlines(keepends=True)[:3]))
    subset = load('gt_train=index/toy/subset.tsv', n_shot=1)
    assert load('gt_train=index/toy/subset.tsv', parts=('test',)).data['all'] == subset.data['all'] != load().data['all']


@pytest.mark.parametrize('part, other, line', [('train', 'test', '6\t[1.0, 0.0, 0.0]'), ('train', 'val', '10\t[0.0, 1.0, 0.0]'),
                                               ('val', 'test', '8\t[0.0, 0.0, 1.0]')])
def test_an_id_in_two_parts(folder, part, other, line):
    key = line.split('\t')[0]
    first = line.replace(key, {'train': '0', 'val': '9'}[part])
    replace_line(folder / f'gt_toy_fold0_{part}.tsv', 0, f'{line}|{first}')
    refused(rf'id {key} and 0 more are in both .*gt_toy_fold0_{part}\.tsv and .*gt_toy_fold0_{other}\.tsv', entry='spec_val')


@pytest.mark.parametrize('part', ['train', 'test', 'val'])
@pytest.mark.parametrize('line, reason', [
    ('{}\t[0.0, 0.0, 0.0, 1.0]', 'out of range, it has 4 classes where 3'),
    ('{}\t[0.0, 1.0]', 'out of range, it has 2 classes where 3'),
    ('{}\t[1.0, 1.0, 0.0]', 'exactly one 1'), ('{}\t[0.0, 0.0, 0.0]', 'exactly one 1'), ('{}\t[0.0, 2.0, 0.0]', 'exactly one 1'),
    ('{}\t[0.5, 0.5, 0.0]', 'exactly one 1'), ('{}\t[1.0, -1.0, 1.0]', 'exactly one 1'), ('{}\t[]', 'exactly one 1'),
    ('{}\t[NaN, 1.0, 0.0]', 'exactly one 1|expected a list'), ('{}\tbird', 'expected a list'), ('{}\t1', 'expected a list'),
    ('{}\t[1.0, 0.0', 'expected a list'), ('{}\t["a", 1.0, 0.0]', 'expected a list'), ('{}\tnull', 'expected a list'),
    ('{}\t__import__("os").getcwd()', 'expected a list'), ('{}', 'expected 2 columns'),
    ('{}\t[1.0, 0.0, 0.0]\tx', 'expected 2 columns'),
    ('\t[1.0, 0.0, 0.0]', 'expected 2 columns'), ('{0}\t[1.0, 0.0, 0.0]|{0}\t[1.0, 0.0, 0.0]', 'the id {} occurs twice'),
])
def test_bad_rows(folder, part, line, reason):
    path = folder / f'gt_toy_fold0_{part}.tsv'
    first = path.read_text().split('\t')[0]
    replace_line(path, 0, line.format(first))
    refused(rf'gt_toy_fold0_{part}\.tsv.*({reason.format(first)}).*aux/', entry='spec_val')


@pytest.mark.parametrize('content', ['', '\n\n', '\0\0\0\0', 'one line of text'])
def test_garbage(folder, content):
    write_text(folder / 'gt_toy_fold0_test.tsv', content)
    refused(r'gt_toy_fold0_test\.tsv.*aux/')


def test_binary_garbage(folder):
    (folder / 'gt_toy_fold0_test.tsv').write_bytes(bytes(range(256)))
    refused(r'gt_toy_fold0_test\.tsv is not a text file')


def test_missing_files_and_folds(folder):
    refused(r'gt_toy_fold1_train\.tsv does not exist: .*aux/', 'fold=1')
    refused(r'index is not a text file', 'gt_test=index')


def test_windows_line_ends_and_byte_order_mark(folder):
    path = folder / 'gt_toy_fold0_test.tsv'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n'))
    assert load().test == TEST


def test_order_of_the_file_and_short_notation(folder):
    write_text(folder / 'gt.tsv', '8\t[0, 0, 1]\n6\t[1,0,0]\n\n7\t[0.0, 1e0, 0]\n')
    assert list(read_ground_truth(folder / 'gt.tsv', 3).items()) == [('8', 2), ('6', 0), ('7', 1)]


def test_clips_without_representation(folder, data_folder, capsys):
    index = data_folder / 'audio_representation/toy__time-freq/index.tsv'
    write_text(index, ''.join(line for line in index.read_text().splitlines(keepends=True) if line[0] not in '37'))
    refused(r'1 clips of .*train\.tsv are missing .*ids 3 .*skip_missing=True')
    task = load('skip_missing=True', n_shot=1)
    assert '3' not in task.train and len(task.train) == 5 and task.test == {'6': 0, '8': 2}
    assert 'ids 3\n' in capsys.readouterr().out
    refused(r'bird \(1\)\. Choose n_shot up to 1', 'skip_missing=True')  # counted after the skipping


def test_no_clip_has_a_representation(folder, data_folder):
    index = data_folder / 'audio_representation/toy__time-freq/index.tsv'
    write_text(index, ''.join(line for line in index.read_text().splitlines(keepends=True) if line[0] not in '678'))
    refused(r'no clip of .*test\.tsv has a representation', 'skip_missing=True')


def test_too_few_clips_fail_before_any_work(folder):
    refused(r'bird \(2\), engine \(2\), rain \(2\)', n_shot=3)
