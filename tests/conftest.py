"""What several test files share: a data folder of their own, sounds, small data sets, representations without sounds.

Fixtures come by name; the functions are imported: `from conftest import tone, make_dataset`.
"""
import shutil
import tempfile

import numpy as np
import pandas as pd
import pytest
import soundfile

import commands
import representation
from configuration import configure
from methods import METHODS
from results import COLUMNS
from shared import read_classes, write_dataset, write_json, write_text

CLASSES = ['bird', 'engine', 'rain']
EXAMPLES_FOR_VGGISH = METHODS['config_transfer'].kind_of({'network': 'vggish'})


# The files that take longest, the longest first: of two processes, none is left with one of them at the end.
SLOW = ('test_reproduce', 'test_transfer', 'test_vggish', 'test_scripts', 'test_bad_input', 'test_sliding', 'test_prototypical', 'test_frozen',
        'test_classifier', 'test_resume')


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@pytest.fixture(scope='session', autouse=True)
def system_temporary_folder(tmp_path_factory):
    """A folder for temporary files, also of subprocesses, that is removed at the end: TensorFlow leaves some when a process is killed."""
    folder = tmp_path_factory.mktemp('tmp')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TMPDIR', str(folder))
        patch.setattr(tempfile, 'tempdir', None)  # so that it is asked for again
        yield
    commands.end_warm_processes()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """An empty folder of the test's own (Path) that DATA_FOLDER names, also for subprocesses."""
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path))
    return tmp_path


def tone(frequency=1000, seconds=0.5, rate=44100, channels=1):
    """A sine of amplitude 0.5: (length,) float32, or (length, channels) with the same in every channel."""
    samples = 0.5 * np.sin(2 * np.pi * frequency / rate * np.arange(round(seconds * rate)))
    return (samples if channels == 1 else np.stack([samples] * channels, axis=1)).astype(np.float32)


def write_sound(path, samples, rate=44100, **options):
    """Write samples (length,) or (length, channels) as a sound file, the format by its suffix; returns the path.

    options: soundfile's, e.g. subtype='PCM_24'.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def make_dataset(data_folder, name='toy', classes=CLASSES, train=3, test=2, val=0, seconds=0.3, rate=44100):
    """A data set of one fold with sounds: class c is a tone of its own; clips <class>/<number>.wav under audio/<name>/.

    Ids run class by class: the first `train` of a class are training clips, then `test` test and `val` validation clips.
    Returns the folder of the sounds.
    """
    folder = data_folder / 'audio' / name
    paths, labels, parts = [], [], {'train': [], 'test': [], **({'val': []} if val else {})}
    for label, class_name in enumerate(classes):
        for number, part in enumerate(['train'] * train + ['test'] * test + ['val'] * val):
            parts[part].append(len(paths))
            paths.append(f'{class_name}/{number}.wav')
            labels.append(label)
            write_sound(folder / paths[-1], tone(400 * 3 ** label + 5 * number, seconds, rate), rate)
    write_dataset(name, folder, paths, labels, classes, [parts], {'script': 'tests/conftest.py'})
    return folder


def make_representation(data_folder, arrays, train, test, val=None, name='toy', classes=CLASSES, kind='time-freq'):
    """A data set of one fold whose representation is given as arrays and has no sounds.

    Args:
        arrays: dictionary id -> array; ids are '0', '1', ... in order.
        train, test, val: dictionaries id -> label.

    Returns the folder of the representation; its settings are those of the configuration `spec` (or `mfcc`, `audioset`).
    """
    labels = {**train, **test, **(val or {})}
    parts = {part: [int(key) for key in ids] for part, ids in (('train', train), ('test', test), ('val', val)) if ids}
    write_dataset(name, data_folder / 'audio', [f'{key}.wav' for key in arrays], [labels.get(key, 0) for key in arrays],
                  classes, [parts], {'script': 'tests/conftest.py'})
    assert read_classes(name) == list(classes)
    folder = data_folder / 'audio_representation' / f'{name}__{kind}'
    folder.mkdir(parents=True)
    group, entry = {'mfcc': ('config_knn_mfcc', 'mfcc'), 'audioset': ('config_preprocess', 'audioset')}.get(
        kind, ('config_preprocess', 'spec'))
    settings = representation.complete(configure(group, entry, [f'dataset={name}']), **({'type': 'mfcc'} if kind == 'mfcc' else {}))
    write_json(folder / 'config.json', {**settings, **representation.parameters(settings), 'convert_id': False})
    for key, array in arrays.items():
        representation.save_array(folder / f'{key}.npy', np.asarray(array, np.float32), f'sound-{key}')
    write_text(folder / 'index.tsv',
               ''.join(f'{key}\taudio_representation/{folder.name}/{key}.npy\t{key}.wav\n' for key in arrays))
    return folder


def results(*values):
    """Rows as in results.tsv (DataFrame); each is given by what differs from run 0 of VGG on fold 0 of the data set `toy`."""
    default = {'date': '2024-01-01 00:00:00', 'experiment': 'fold_0_1', 'run': 0, 'method': 'VGG', 'dataset': 'toy', 'fold': 0,
               'n_shot': '5', 'seed': 0, 'accuracy': 0.5, 'accuracy_low': 0.4, 'accuracy_high': 0.6, 'correct': 5, 'clips': 10,
               'train_seconds': 10.0, 'test_seconds': 1.0, 'data': 'dddddddd', 'config_hash': 'aaaaaaaa'}
    return pd.DataFrame([{**default, 'model': f'm{number}', **row} for number, row in enumerate(values)], columns=COLUMNS)


# ---- VGGish ----------------------------------------------------------------------------------------------------------

def vggish_values(seed=1):
    """Random weights for VGGish: dictionary name -> float32 array, for all its variables.

    Through such layers signals keep their size, and the embeddings are about as large as those of the trained network: what a
    step of training does is of a natural size, too.
    """
    from vggish_slim import VARIABLES
    rng, values = np.random.default_rng(seed), {}
    for name, shape in VARIABLES.items():
        if name.endswith('biases'):
            values[name] = rng.uniform(0.01, 0.1, shape).astype(np.float32)
        else:
            values[name] = rng.standard_normal(shape, np.float32)
            values[name] *= (2 / np.prod(shape[:-1])) ** 0.5 * (0.04 if name == 'vggish/fc2/weights' else 1)
    return values


def write_checkpoint(path, values, version=1):
    """Write arrays (dictionary name -> array) as a checkpoint of TensorFlow: version 1 one file, as published; version 2 two."""
    from backend import tf
    names, arrays = list(values), [tf.constant(value) for value in values.values()]
    if version == 1:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=arrays)
    else:
        tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[''] * len(names), tensors=arrays)
    return path


def plain_vggish(values, examples):
    """What VGGish should compute, before its last ReLU: examples (N, 96, 64) -> (N, 128), a tensor.

    Args:
        values: dictionary name -> array or tensor.
    """
    from backend import tf
    net = tf.reshape(tf.convert_to_tensor(examples, tf.float32), (-1, 96, 64, 1))
    for block in (['conv1'], ['conv2'], ['conv3/conv3_1', 'conv3/conv3_2'], ['conv4/conv4_1', 'conv4/conv4_2']):
        for name in block:
            kernel, bias = values[f'vggish/{name}/weights'], values[f'vggish/{name}/biases']
            net = tf.nn.relu(tf.nn.conv2d(net, kernel, strides=1, padding=[[0, 0], [1, 1], [1, 1], [0, 0]]) + bias)
        height, width, channels = net.shape[1:]
        net = tf.reduce_max(tf.reshape(net, (-1, height // 2, 2, width // 2, 2, channels)), axis=(2, 4))
    net = tf.reshape(net, (-1, 6 * 4 * 512))
    for name in ('fc1/fc1_1', 'fc1/fc1_2'):
        net = tf.nn.relu(net @ values[f'vggish/{name}/weights'] + values[f'vggish/{name}/biases'])
    return net @ values['vggish/fc2/weights'] + values['vggish/fc2/biases']


@pytest.fixture(scope='session')
def vggish_checkpoint(tmp_path_factory):
    """A checkpoint (Path) with vggish_values(), and a variable more, in the format of the published one; 289 MB."""
    folder = tmp_path_factory.mktemp('vggish')
    yield write_checkpoint(folder / 'vggish.ckpt', {**vggish_values(), 'global_step': np.int64(7)})
    shutil.rmtree(folder)
