"""From a stored representation to the input of a network: check, load, pad, compress, cut.

Patches are never stored: a patch is a start frame. Networks get the frames of many clips, one after the other, and the
starts, and cut on the device, so that a clip crosses to the GPU once and not once per patch.
"""
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import config_file
from experiment import configure
from representations import parameters
from shared import UserError, data_folder, index_folder, listing, read_index, read_json, read_rows

EPS = float(np.finfo(np.float64).eps)  # a Python float: an np.float64 would turn float32 arrays into float64


class Representation:
    """A representation folder made by preprocess.py, ready to be read.

    Attributes: folder (Path), settings (content of config.json), paths (id -> path of the array relative to
    DATA_FOLDER), audio (id -> path of the sound file relative to the audio folder).
    """

    def __init__(self, relative_folder, dataset, expected=None):
        """Open and check a folder.

        Args:
            relative_folder: folder relative to DATA_FOLDER.
            dataset: name of the data set; its index must agree with the one the representation was made from.
            expected: settings that a trained model was made with, for evaluation; None otherwise.

        Raises UserError when the folder is missing, incomplete or stale, with the command that mends it.
        """
        self.folder = data_folder() / relative_folder
        identifier, _, kind = self.folder.name.rpartition('__')
        entry = 'audioset' if kind == 'audioset' else 'spec'
        name = f'{dataset}_{entry}'
        known = name in config_file.config_preprocess
        command = f'preprocess.py {name}' if known else f'preprocess.py {entry} dataset={dataset}'
        command = f'knn_mfcc.py dataset={dataset}' if kind == 'mfcc' else command
        command += '' if identifier == dataset else f' identifier={identifier}'
        self.remedy = f'run `python {command}` first'
        self.settings = read_json(self.folder / 'config.json', self.remedy)
        rows = read_rows(self.folder / 'index.tsv', 3, self.remedy)
        self.paths = {key: path for key, (path, _) in rows.items()}
        self.audio = {key: audio for key, (_, audio) in rows.items()}
        self.refused = {}
        for errors in sorted(self.folder.glob('errors_*.tsv')):
            self.refused.update({key: reason for key, (_, reason) in read_rows(errors, 3, self.remedy).items()})
        if expected is None and kind in ('time-freq', 'audioset'):
            self._compare_with_configuration(self.settings.get('configuration', name if known else entry), dataset)
        elif expected is not None:
            self._compare(parameters(expected), 'the experiment was trained with', 'make that representation again, or train again')
        index_file = index_folder(dataset) / f'index_{dataset}_folds_all.tsv'
        if index_file.exists():
            index = read_index(index_file)
            stale = [key for key in self.audio if self.audio[key] != index.get(key)]
            if stale:
                raise UserError(f'{self.folder / "index.tsv"} and {index_file} disagree about {len(stale)} clips (ids '
                                f'{listing(stale)}): the index was made again since; {self.remedy}')

    def _compare_with_configuration(self, name, dataset):
        """Refuse a representation made before its entry of config_preprocess was edited.

        What was chosen on the command line of preprocess.py stands in config.json and is respected.
        """
        if name not in config_file.config_preprocess:
            return
        overrides = {k: v for k, v in self.settings.get('overrides', {}).items() if k in config_file.config_preprocess[name]}
        wanted = configure('config_preprocess', name, [f'dataset={dataset}'])
        command = f'{name} dataset={dataset}' if name in ('spec', 'audioset') else name
        wanted.update(overrides)
        if data_folder() / wanted['audio_representation_folder'] == self.folder:
            self._compare(parameters(wanted), f'config_preprocess[{name!r}] asks for',
                          f'run `python preprocess.py {command} overwrite=True`, or correct the configuration')

    def _compare(self, wanted, who, remedy):
        differing = [f'{k}={v!r} (here: {self.settings.get(k)!r})' for k, v in wanted.items() if self.settings.get(k) != v]
        if differing:
            raise UserError(f'{self.folder} was made with other parameters: {who} {", ".join(differing)}; {remedy}')

    def select(self, labels, path, skip_missing):
        """Those of labels (id -> label) that can be loaded; missing ones are an error unless skip_missing."""
        missing = [key for key in labels if key not in self.paths]
        if missing and not skip_missing:
            reasons = [f'{key} ({self.refused.get(key, "not in its index: index and ground truth disagree")})' for key in missing]
            raise UserError(f'{len(missing)} clips of {path} are missing in {self.folder}: ids {listing(reasons)}. Mend the '
                            f'files and {self.remedy.replace(" first", " again")}, or set skip_missing=True to go on without them')
        if missing:
            print(f'skipping {len(missing)} clips of {path} that are missing in the representation: ids {listing(missing)}')
        return {key: label for key, label in labels.items() if key in self.paths}

    def modified(self, key):
        """When the sound file that a clip's array was made from was last modified, ns since 1970."""
        try:
            return (data_folder() / self.paths[key]).stat().st_mtime_ns
        except FileNotFoundError:
            raise self._missing(key) from None

    def _missing(self, key):
        return UserError(f'{data_folder() / self.paths[key]} (id {key}) does not exist: {self.remedy.replace(" first", " again")}')

    def open(self, key):
        """The array of a clip, float32, memory-mapped: (T, M), or (D,) for a type with one vector per clip.

        Examples for VGGish (audioset) come as their frames, one after the other: example i begins at frame 96 i.
        """
        path = data_folder() / self.paths[key]
        try:
            array = np.load(path, mmap_mode='r', allow_pickle=False)
        except FileNotFoundError:
            raise self._missing(key) from None
        except (ValueError, EOFError) as problem:
            raise UserError(f'{path} (id {key}) is damaged ({problem}): delete it and '
                            f'{self.remedy.replace(" first", " again")}') from None
        return array.reshape(-1, array.shape[2]) if array.ndim == 3 and self.settings.get('type') == 'audioset' else array

    def bands(self, key):
        """M, after checking that the clip has two dimensions."""
        array = self.open(key)
        if array.ndim != 2:
            raise UserError(f'{data_folder() / self.paths[key]} has shape {array.shape}: expected frames x bands')
        return array.shape[1]


# ---- spectrogram -> network input ------------------------------------------------------------------------------------

def padded_length(length, n_frames):
    """Frames of a clip after padding."""
    return max(length, n_frames)


def padded_lengths(representation, keys, config):
    """Frames of clips after padding: (S,) int64."""
    # one array at a time: each that is open keeps a file descriptor, and systems give about a thousand of them
    return np.array([padded_length(len(representation.open(key)), config['n_frames']) for key in keys])


def prepare(spectrogram, config, mean=None, std=None):
    """Pad, compress and normalise.

    Args:
        spectrogram: (T, M) float32, T >= 1.
        config: with n_frames, pad_short and pre_processing.
        mean, std: figures of (compressed) training data, or None.

    Returns (max(T, n_frames), M) float32.
    """
    missing = config['n_frames'] - len(spectrogram)
    if missing > 0 and config['pad_short'] == 'repeat-pad':
        spectrogram = np.resize(spectrogram, (config['n_frames'], spectrogram.shape[1]))
    elif missing > 0:  # the clip in the middle, the odd frame behind it
        spectrogram = np.pad(spectrogram, ((missing // 2, missing - missing // 2), (0, 0)))
    if config['pre_processing'] == 'logEPS':
        spectrogram = np.log10(spectrogram + EPS)
    elif config['pre_processing'] == 'log10000':
        spectrogram = np.log10(10000 * spectrogram + 1)
    if mean is not None:
        spectrogram = (spectrogram - mean) / std
    return np.asarray(spectrogram, dtype=np.float32)


def mean_and_std(representation, keys, config):
    """Mean and standard deviation (floats) over all values of the padded and compressed clips `keys`."""
    count = total = squares = 0.0
    for key in keys:
        values = prepare(representation.open(key), config).astype(np.float64)
        count, total, squares = count + values.size, total + values.sum(), squares + np.square(values).sum()
    mean = total / count
    # Python floats, as they come back from model.json: NumPy's would make float64 of the input
    return float(mean), max(float(np.sqrt(max(squares / count - mean ** 2, 0))), EPS)


def check_bands(representation, key, array, bands):
    """Raise UserError unless a clip (T, M) has the bands (M,) of the others."""
    if array.shape[1:] != bands:
        raise UserError(f'id {key} has shape {array.shape}, other clips have {bands[0]} bands: '
                        f'{representation.remedy.replace(" first", " again")}')


class Clips:
    """Chosen clips in memory, one after the other.

    Attributes: frames (sum of T, M) float32, offsets (S,) first frame of each clip, lengths (S,) its frames.
    """

    def __init__(self, representation, keys, config, mean=None, std=None):
        self.lengths = padded_lengths(representation, keys, config)
        self.offsets = np.cumsum(self.lengths) - self.lengths
        bands = representation.open(keys[0]).shape[1]
        self.frames = np.empty((self.lengths.sum(), bands), np.float32)  # filled in place: no second copy
        for key, offset, length in zip(keys, self.offsets, self.lengths):
            array = representation.open(key)
            check_bands(representation, key, array, self.frames.shape[1:])
            self.frames[offset:offset + length] = prepare(array, config, mean, std)


def grid(config):
    """Frames between the places where a patch may begin, which is the unit of hops: 1, or an example of VGGish."""
    return config.get('grid', 1)


def sample_patches(clips, config, rng):
    """The patches of one training epoch in random order: start frames (N,) and clip numbers (N,), int64.

    'random': param_train_sampling patches of every clip at random places. 'overlap_sampling': all at that hop.
    """
    if config['train_sampling'] == 'random':
        clip = np.repeat(np.arange(len(clips.lengths)), config['param_train_sampling'])
        places = (clips.lengths - config['n_frames']) // grid(config) + 1
        starts = clips.offsets[clip] + grid(config) * rng.integers(0, places[clip])
    else:
        starts, clip = all_patches(clips, config, config['param_train_sampling'])
    order = rng.permutation(len(clip))
    return starts[order], clip[order]


def all_patches(clips, config, hop):
    """All patches of the clips at a hop, in order: start frames (N,) and clip numbers (N,), int64."""
    grids = [np.arange(0, n - config['n_frames'] + 1, hop * grid(config)) for n in clips.lengths]
    clip = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    return clips.offsets[clip] + np.concatenate(grids), clip


def count_patches(lengths, config, hop):
    """How many patches clips of `lengths` (S,) frames have at a hop: (S,) int64."""
    return (lengths - config['n_frames']) // (hop * grid(config)) + 1


def patch_batches(representation, keys, config, hop, batch_size, mean=None, std=None, by_frames=False):
    """All patches of the clips `keys` at a hop, in batches that may span clips; memory: one batch, however long a clip is.

    Args:
        batch_size: in patches; by_frames: in frames, at least n_frames.

    Yields (frames (L, M) float32, starts (B,) int64, clip numbers (B,) int64) with B <= batch_size or L <= batch_size.
    """
    n_frames, step, batch, room = config['n_frames'], hop * grid(config), [], batch_size
    first, further = (n_frames, step) if by_frames else (1, 1)  # the room that patches of a clip take
    bands = None
    for number, key in enumerate(keys):
        array = representation.open(key)
        bands = array.shape[1:] if bands is None else bands
        check_bands(representation, key, array, bands)
        starts = np.arange(0, padded_length(len(array), n_frames) - n_frames + 1, step)
        while len(starts):
            fitting = (room - first) // further + 1
            now, starts = starts[:fitting], starts[fitting:]
            frames = prepare(array[now[0]:now[-1] + n_frames], config, mean, std)
            batch.append((frames, now - now[0], np.full(len(now), number)))
            room -= first + (len(now) - 1) * further
            if room < first:
                yield join_segments(batch)
                batch, room = [], batch_size
    if batch:
        yield join_segments(batch)


def join_segments(segments):
    """[(frames, starts, clip numbers), ...] -> the same as three arrays, starts counted from the first frame of all."""
    frames, starts, clips = zip(*segments)
    offsets = np.cumsum([0] + [len(f) for f in frames[:-1]])
    return np.concatenate(frames), np.concatenate([s + o for s, o in zip(starts, offsets)]), np.concatenate(clips)


def ahead(generator):
    """The items of a generator, the next one made in a thread while the caller uses the last."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, generator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, generator, None)
            yield item
