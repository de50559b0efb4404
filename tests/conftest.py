"""What several test files share: a data folder of their own, sounds, small data sets, representations without sounds.

Fixtures come by name; the functions are imported: `from conftest import tone, make_dataset`.
"""
import numpy as np
import pytest
import soundfile

from experiment import configure
from representations import parameters
from shared import read_classes, write_dataset, write_json, write_text

CLASSES = ['bird', 'engine', 'rain']


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
    settings = configure(group, entry, [f'dataset={name}'])
    write_json(folder / 'config.json', {**settings, **parameters(settings), 'convert_id': False})
    for key, array in arrays.items():
        np.save(folder / f'{key}.npy', np.asarray(array, np.float32))
    write_text(folder / 'index.tsv',
               ''.join(f'{key}\taudio_representation/{folder.name}/{key}.npy\t{key}.wav\n' for key in arrays))
    return folder
