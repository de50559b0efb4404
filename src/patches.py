"""From the arrays of a representation to the input of a network: pad, compress, normalise, cut.

Patches are not stored: a patch is a start frame. A network gets the frames of many clips, one after the other, and the
start frames, and cuts on the device, so that a clip is copied to the GPU once and not once per patch.
"""
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from shared import UserError

EPS = float(np.finfo(np.float64).eps)  # a Python float: an np.float64 would turn float32 arrays into float64


def padded_length(length, n_frames):
    """Frames of a clip after padding."""
    return max(length, n_frames)


def padded_lengths(representation, keys, config):
    """Frames of clips after padding: (S,) int64."""
    # one array at a time: each open array holds a file descriptor, and systems allow about a thousand
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
    # Python floats, as model.json returns them: NumPy's would turn the input into float64
    return float(mean), max(float(np.sqrt(max(squares / count - mean ** 2, 0))), EPS)


def check_bands(representation, key, array, bands):
    """Raise UserError unless a clip (T, M) has the bands (M,) of the others."""
    if array.shape[1:] != bands:
        raise UserError(f'id {key} has shape {array.shape}, other clips have {bands[0]} bands: '
                        f'{representation.again}')


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
    """Frames between the places where a patch may begin, the unit of hops: 1, or the length of a pretrained network's example."""
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
    first, further = (n_frames, step) if by_frames else (1, 1)  # how much of a batch the patches of a clip take
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


def prefetch(generator):
    """The items of a generator. A thread makes the next item while the caller uses the last one."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, generator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, generator, None)
            yield item
