"""From stored arrays to network input: padding, compression, cutting and the checks of a representation folder."""
import json
import os
import resource
import threading
import time

import numpy as np
import pytest

import config_file
import representation
from configuration import configure
from conftest import make_representation
from patches import Clips, mean_and_std, patch_batches, prefetch, prepare, sample_patches
from pretrained import FRONT_ENDS
from representation import Representation
from shared import UserError, write_text

PLAIN = {'n_frames': 128, 'pad_short': 'repeat-pad', 'pre_processing': None}


class Arrays(dict):
    """Stands in for a Representation: id -> array."""
    remedy, again = 'run `python preprocess.py spec` first', 'run `python preprocess.py spec` again'
    opened = 0

    def open(self, key):
        self.opened += 1
        return self[key]


def spectrogram(length, bands=3, seed=0):
    return np.random.default_rng([seed, length]).random((length, bands), np.float32)


# ---- prepare ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length, expected', [
    (1, [0, 0, 0, 0, 0, 0, 0]), (3, [0, 1, 2, 0, 1, 2, 0]), (6, [0, 1, 2, 3, 4, 5, 0]), (7, range(7)), (9, range(9))])
def test_repeat_pad(length, expected):
    clip = np.arange(2 * length, dtype=np.float32).reshape(length, 2)
    padded = prepare(clip, {**PLAIN, 'n_frames': 7})
    np.testing.assert_array_equal(padded, clip[list(expected)])
    assert padded.dtype == np.float32


@pytest.mark.parametrize('length, before, behind', [(1, 3, 3), (2, 2, 3), (3, 2, 2), (6, 0, 1), (7, 0, 0), (9, 0, 0)])
def test_zero_pad_keeps_the_clip_in_the_middle(length, before, behind):
    clip = np.arange(1, 2 * length + 1, dtype=np.float32).reshape(length, 2)
    padded = prepare(clip, {**PLAIN, 'n_frames': 7, 'pad_short': 'zero-pad'})
    np.testing.assert_array_equal(padded, np.concatenate([np.zeros((before, 2)), clip, np.zeros((behind, 2))]))
    assert padded.dtype == np.float32


EPS = 2.220446049250313e-16  # of float64


@pytest.mark.parametrize('compression, function', [
    ('logEPS', lambda x: np.log10(x + EPS)), ('log10000', lambda x: np.log10(10000 * x + 1)), (None, lambda x: x)])
@pytest.mark.parametrize('length', [5, 128, 200])
def test_compression(compression, function, length):
    clip = spectrogram(length) ** 8
    result = prepare(clip, {**PLAIN, 'pre_processing': compression})
    assert result.dtype == np.float32 and result.shape == (max(length, 128), 3)
    np.testing.assert_allclose(result[:length], function(clip.astype(np.float64)), rtol=1e-6, atol=1e-6)


def test_values_of_compression():
    clip = np.float32([[0, 1, 1e-4, 100]])
    log = prepare(clip, {**PLAIN, 'pre_processing': 'logEPS'})[0]
    np.testing.assert_allclose(log, [-15.653560, 0, -4, 2], atol=1e-6)
    np.testing.assert_allclose(prepare(clip, {**PLAIN, 'pre_processing': 'log10000'})[0],
                               [0, np.log10(10001), np.log10(2), np.log10(1000001)],
                               atol=1e-6)


class Typed(np.ndarray):
    """Notes the type of every array that is computed from it."""
    types = set()

    def __array_finalize__(self, source):
        Typed.types.add(self.dtype)


@pytest.mark.parametrize('compression', ['logEPS', 'log10000', None])
@pytest.mark.parametrize('statistics', [(None, None), (-3.5, 2.25)])
def test_nothing_becomes_float64_on_the_way(compression, statistics):
    """Twice the memory and time for a long recording, if it did."""
    Typed.types = set()
    prepare(spectrogram(130).view(Typed), {**PLAIN, 'pre_processing': compression}, *statistics)
    assert Typed.types == {np.dtype(np.float32)}


def test_statistics_are_python_floats():
    """NumPy's would turn float32 arrays into float64, see above."""
    mean, std = mean_and_std(Arrays(a=spectrogram(5)), ['a'], PLAIN)
    assert type(mean) is type(std) is float


def test_order_is_pad_compress_normalise():
    clip = np.float32([[100]])
    config = {**PLAIN, 'n_frames': 3, 'pad_short': 'zero-pad', 'pre_processing': 'logEPS'}
    zero = np.log10(EPS)  # padding is compressed and normalised like silence
    np.testing.assert_allclose(prepare(clip, config, mean=1.0, std=2.0), [[(zero - 1) / 2], [0.5], [(zero - 1) / 2]], rtol=1e-6)


def test_the_stored_array_is_not_changed():
    clip = spectrogram(200)
    copy = clip.copy()
    clip.setflags(write=False)  # as a memory-mapped file
    prepare(clip, {**PLAIN, 'pre_processing': 'logEPS'}, 1.0, 2.0)
    np.testing.assert_array_equal(clip, copy)


@pytest.mark.parametrize('compression', ['logEPS', 'log10000', None])
def test_mean_and_std(compression):
    arrays = Arrays({str(length): spectrogram(length) for length in (1, 50, 128, 300)})
    config = {**PLAIN, 'pre_processing': compression}
    values = np.concatenate([prepare(arrays[key], config).astype(np.float64).ravel() for key in ('1', '50', '300')])
    mean, std = mean_and_std(arrays, ['1', '50', '300'], config)
    assert mean == pytest.approx(values.mean(), rel=1e-9) and std == pytest.approx(values.std(), rel=1e-9)


def test_std_of_constant_clips_is_not_zero():
    mean, std = mean_and_std(Arrays(a=np.full((10, 3), 0.25, np.float32)), ['a'], PLAIN)
    assert mean == 0.25 and std > 0


# ---- clips in memory, training patches -------------------------------------------------------------------------------

LENGTHS = [300, 1, 128, 127, 129]


@pytest.fixture
def arrays():
    return Arrays({f'c{length}': spectrogram(length) for length in LENGTHS})


@pytest.mark.parametrize('statistics', [(None, None), (0.5, 0.25)])
def test_layout_of_clips(arrays, statistics):
    clips = Clips(arrays, list(arrays), PLAIN, *statistics)
    assert clips.lengths.tolist() == [300, 128, 128, 128, 129] and clips.offsets.tolist() == [0, 300, 428, 556, 684]
    assert clips.frames.shape == (813, 3) and clips.frames.dtype == np.float32
    for array, offset, length in zip(arrays.values(), clips.offsets, clips.lengths):
        np.testing.assert_array_equal(clips.frames[offset:offset + length], prepare(array, PLAIN, *statistics))


def test_clips_with_other_bands_are_refused(arrays):
    arrays['wide'] = spectrogram(200, bands=4)
    with pytest.raises(UserError, match=r'id wide has shape \(200, 4\), other clips have 3 bands: .*preprocess'):
        Clips(arrays, list(arrays), PLAIN)


@pytest.mark.parametrize('k', [1, 3])
def test_random_patches(arrays, k):
    clips, rng = Clips(arrays, list(arrays), PLAIN), np.random.default_rng(0)
    config, seen, orders = {**PLAIN, 'train_sampling': 'random', 'param_train_sampling': k}, [set() for _ in LENGTHS], set()
    for _ in range(3000 // k):
        starts, clip = sample_patches(clips, config, rng)
        assert starts.dtype == clip.dtype == np.int64
        assert np.bincount(clip).tolist() == [k] * len(LENGTHS)
        orders.add(tuple(clip))
        for start, number in zip(starts - clips.offsets[clip], clip):
            seen[number].add(int(start))
    # from the first frame to the last place where a patch fits, each of them
    assert seen == [set(range(173)), {0}, {0}, {0}, {0, 1}]
    assert len(orders) > 50  # the clips come in random order


@pytest.mark.parametrize('hop', [1, 2, 42, 200])
def test_overlapping_patches(arrays, hop):
    clips = Clips(arrays, list(arrays), PLAIN)
    starts, clip = sample_patches(clips, {**PLAIN, 'train_sampling': 'overlap_sampling', 'param_train_sampling': hop},
                                  np.random.default_rng(0))
    expected = [(number, start) for number, length in enumerate(LENGTHS) for start in range(0, max(length, 128) - 127, hop)]
    found = list(zip(clip.tolist(), (starts - clips.offsets[clip]).tolist()))
    assert sorted(found) == expected and (hop == 200 or found != expected)
    assert starts.dtype == clip.dtype == np.int64


def test_patches_are_reproducible(arrays):
    clips, config = Clips(arrays, list(arrays), PLAIN), {**PLAIN, 'train_sampling': 'random', 'param_train_sampling': 2}
    draw = [[sample_patches(clips, config, rng) for _ in range(3)] for rng in map(np.random.default_rng, (0, 0, 1))]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


# ---- scoring ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('batch_size', [1, 7, 128])
@pytest.mark.parametrize('hop', [1, 2, 42])
@pytest.mark.parametrize('pad_short', ['repeat-pad', 'zero-pad'])
@pytest.mark.parametrize('compression, statistics', [(None, (None, None)), ('logEPS', (-1.0, 2.0))])
def test_patch_batches_are_all_patches(hop, batch_size, pad_short, compression, statistics):
    lengths = [1, 127, 128, 129, 300]
    arrays = Arrays({str(length): spectrogram(length) for length in lengths})
    config = {'n_frames': 128, 'pad_short': pad_short, 'pre_processing': compression}
    expected = []
    for number, length in enumerate(lengths):
        whole = prepare(arrays[str(length)], config, *statistics)
        expected += [(number, whole[start:start + 128]) for start in range(0, len(whole) - 127, hop)]
    found, sizes = [], []
    for frames, starts, clip in patch_batches(arrays, list(arrays), config, hop, batch_size, *statistics):
        assert frames.dtype == np.float32 and starts.dtype == clip.dtype == np.int64 and len(starts) == len(clip)
        sizes.append(len(starts))
        spans = len(set(clip))
        assert len(frames) <= spans * 127 + hop * (len(starts) - spans) + spans  # the frames of this batch and no others
        found += [(number, frames[start:start + 128]) for start, number in zip(starts, clip)]
    assert [number for number, _ in found] == [number for number, _ in expected]
    np.testing.assert_array_equal(np.stack([patch for _, patch in found]), np.stack([patch for _, patch in expected]))
    assert set(sizes[:-1]) <= {batch_size} and 1 <= sizes[-1] <= batch_size


def test_a_long_clip_is_never_read_whole():
    """An hour of audio is 155 000 frames; memory-mapped, only what a batch needs is touched."""
    class Watched(np.ndarray):
        longest = 0

        def __getitem__(self, item):
            part = np.asarray(self)[item]
            Watched.longest = max(Watched.longest, len(part))
            return part

    long = np.zeros((20000, 2), np.float32).view(Watched)
    batches = list(patch_batches(Arrays(a=long), ['a'], PLAIN, 1, 64))
    assert sum(len(starts) for _, starts, _ in batches) == 20000 - 127
    assert Watched.longest == 64 + 127 and max(len(frames) for frames, *_ in batches) == 64 + 127


def test_clips_are_opened_one_by_one():
    """Thousands of open memory maps would exceed what the system allows."""
    arrays = Arrays({str(i): spectrogram(128, seed=i) for i in range(20)})
    generator = patch_batches(arrays, list(arrays), PLAIN, 1, 2)
    next(generator)
    assert arrays.opened == 2
    assert len(list(generator)) == 9 and arrays.opened == 20


# ---- ahead -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('length', [0, 1, 2, 100])
def test_ahead_keeps_items_and_order(length):
    assert list(prefetch(i for i in range(length))) == list(range(length))


def test_ahead_keeps_arrays():
    items = [(np.zeros(3), np.arange(2))] * 3
    assert [len(item) for item in prefetch(iter(items))] == [2, 2, 2]


def test_ahead_makes_the_next_item_while_the_last_is_used():
    used, threads = threading.Event(), []

    def items():
        for i in range(3):
            if i == 1:
                assert used.wait(10), 'the first item was held back until the second was there'
            threads.append(threading.current_thread() is threading.main_thread())
            yield i

    generator = prefetch(items())
    assert next(generator) == 0
    used.set()
    assert list(generator) == [1, 2] and threads == [False] * 3


def test_ahead_is_one_item_ahead_and_no_more():
    """More would take memory for more batches than one."""
    made = []
    generator = prefetch(made.append(i) or i for i in range(5))
    for number in range(3):
        next(generator)
        time.sleep(0.05)
        assert len(made) <= number + 2
    generator.close()


@pytest.mark.parametrize('good', [0, 1, 5])
def test_ahead_passes_exceptions_on(good):
    def items():
        yield from range(good)
        raise UserError('damaged')

    found = []
    with pytest.raises(UserError, match='damaged'):
        for item in prefetch(items()):
            found.append(item)
    assert found == list(range(good))


# ---- Representation --------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(data_folder):
    return make_representation(data_folder, {str(i): spectrogram(10 + i, 128) for i in range(4)}, train={'0': 0, '1': 1},
                               test={'2': 0, '3': 1},
                               name='demo', classes=['a', 'b'])


def opened(**options):
    return Representation('audio_representation/demo__time-freq/', 'demo', **options)


def refused(pattern, **options):
    with pytest.raises(UserError, match=pattern):
        opened(**options)


def change_settings(folder, **values):
    path = folder / 'config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_representation_is_read(folder):
    representation = opened()
    assert representation.folder == folder and representation.settings['n_mels'] == 128
    assert representation.paths == {str(i): f'audio_representation/demo__time-freq/{i}.npy' for i in range(4)}
    assert representation.audio == {str(i): f'{i}.wav' for i in range(4)}
    assert representation.refused == {}
    for i in range(4):
        array = representation.open(str(i))
        assert isinstance(array, np.memmap) and array.dtype == np.float32
        np.testing.assert_array_equal(array, spectrogram(10 + i, 128))
    assert representation.bands('0') == 128


def test_missing_folder_names_the_command(data_folder):
    with pytest.raises(UserError, match=r'config\.json does not exist: run `python preprocess\.py demo_spec` first'):
        opened()
    with pytest.raises(UserError, match=r'run `python preprocess\.py spec dataset=mine` first'):
        Representation('audio_representation/mine__time-freq/', 'mine')


def test_missing_index_names_the_command(folder):
    (folder / 'index.tsv').unlink()
    refused(r'index\.tsv does not exist: run `python preprocess\.py demo_spec` first')


@pytest.mark.parametrize('file', ['index.tsv', 'config.json'])
@pytest.mark.parametrize('content', ['', '\0\0\0', '{"a": ', 'one\ttwo\n'])
def test_damaged_files_name_the_command(folder, file, content):
    (folder / file).write_text(content)
    refused(f'{file}.*un `python preprocess.py demo_spec` first')


def test_parameters_that_differ_from_the_configuration(folder, monkeypatch):
    change_settings(folder, configuration='demo_spec')
    monkeypatch.setitem(config_file.config_preprocess['demo_spec'], 'n_mels', 64)
    refused(r"config_preprocess\['demo_spec'\] asks for n_mels=64 \(here: 128\); run `python preprocess\.py demo_spec overwrite=True`")


def test_parameters_chosen_on_the_command_line_are_respected(folder):
    change_settings(folder, n_mels=64)
    refused(r'n_mels=128 \(here: 64\)')
    change_settings(folder, overrides={'n_mels': 64})
    assert opened().settings['n_mels'] == 64


def test_another_configuration_may_have_another_folder(folder, monkeypatch):
    """What config_preprocess says about demo_spec is not said about an identifier of one's own."""
    change_settings(folder, n_mels=64, configuration='demo_spec')
    monkeypatch.setitem(config_file.config_preprocess['demo_spec'], 'identifier', 'wide')
    assert opened().settings['n_mels'] == 64


def test_a_copied_entry_is_compared_with_itself(folder, monkeypatch):
    change_settings(folder, n_mels=96, configuration='demo_96')
    monkeypatch.setitem(config_file.config_preprocess, 'demo_96', {**config_file.config_preprocess['demo_spec'], 'n_mels': 96})
    assert opened().settings['n_mels'] == 96
    monkeypatch.setitem(config_file.config_preprocess['demo_96'], 'n_mels', 64)
    refused(r"config_preprocess\['demo_96'\] asks for n_mels=64 \(here: 96\)")


def test_the_configuration_of_today_does_not_concern_a_trained_model(folder, monkeypatch):
    settings = opened().settings
    monkeypatch.setitem(config_file.config_preprocess['spec'], 'n_mels', 64)
    assert opened(expected=settings).folder == folder


def test_parameters_that_differ_from_the_trained_model(folder):
    settings = opened().settings
    assert opened(expected=settings).folder == folder
    refused(r'the experiment was trained with hop=512 \(here: 1024\); make that representation again',
            expected={**settings, 'hop': 512})


def test_many_clips_need_few_file_descriptors(folder):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    representation = opened()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + 5, limits[1]))
    try:
        clips = Clips(representation, list(representation.paths) * 20, PLAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(clips.lengths) == 20 * len(representation.paths)


def test_an_index_made_again_since(folder, data_folder):
    write_text(data_folder / 'index/demo/index_demo_folds_all.tsv', '0\t0.wav\n1\t2.wav\n2\t1.wav\n3\t3.wav\n')
    refused(r'disagree about 2 clips \(ids 1, 2\).*run `python preprocess\.py demo_spec` first')


def test_an_index_that_lost_clips_since(folder, data_folder):
    write_text(data_folder / 'index/demo/index_demo_folds_all.tsv', '0\t0.wav\n1\t1.wav\n2\t2.wav\n')
    refused(r'disagree about 1 clips \(ids 3\)')


def test_no_index_is_no_contradiction(folder, data_folder):
    """A representation made elsewhere can be used without the sounds."""
    (data_folder / 'index/demo/index_demo_folds_all.tsv').unlink()
    assert len(opened().paths) == 4


def test_select_refuses_missing_clips_and_gives_reasons(folder):
    lines = (folder / 'index.tsv').read_text().splitlines(keepends=True)
    write_text(folder / 'index.tsv', ''.join(lines[:2]))
    write_text(folder / 'errors_0.tsv', '2\t2.wav\tthe file is empty (0 bytes)\n')
    representation, labels = opened(), {'0': 0, '2': 0, '3': 1}
    with pytest.raises(UserError,
                       match=r'2 clips of gt\.tsv are missing .*2 \(the file is empty \(0 bytes\)\), 3 \(not in its index.*'
                                        r'run `python preprocess\.py demo_spec` again, or set skip_missing=True'):
        representation.select(labels, 'gt.tsv', skip_missing=False)
    assert representation.select({'0': 0, '1': 1}, 'gt.tsv', skip_missing=False) == {'0': 0, '1': 1}


def test_select_says_what_it_skips(folder, capsys):
    write_text(folder / 'index.tsv', ''.join((folder / 'index.tsv').read_text().splitlines(keepends=True)[:2]))
    assert opened().select({'0': 0, '2': 0, '3': 1}, 'gt.tsv', skip_missing=True) == {'0': 0}
    assert capsys.readouterr().out == 'skipping 2 clips of gt.tsv that are missing in the representation: ids 2, 3\n'


@pytest.mark.parametrize('damage', [lambda content: b'', lambda content: content[:60], lambda content: content[:-1],
                                    lambda content: b'text' * 99])
def test_a_damaged_array_is_named(folder, damage):
    (folder / '1.npy').write_bytes(damage((folder / '1.npy').read_bytes()))
    with pytest.raises(UserError,
                       match=r'1\.npy \(id 1\) is damaged .*delete it and run `python preprocess\.py demo_spec` again'):
        opened().digest('1')
        opened().open('1')


def test_foreign_pickles_are_not_opened(folder):
    np.save(folder / '1.npy', np.array([{'a': 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match='is damaged'):
        opened().open('1')


def test_a_missing_array_is_named(folder):
    (folder / '1.npy').unlink()
    with pytest.raises(UserError, match=r'1\.npy \(id 1\) does not exist: run `python preprocess\.py demo_spec` again'):
        opened().open('1')


@pytest.mark.parametrize('shape', [(128,), (2, 3, 4, 128)])
def test_bands_need_two_dimensions(folder, shape):
    np.save(folder / '0.npy', np.zeros(shape, np.float32))
    with pytest.raises(UserError, match='expected frames x bands'):
        opened().bands('0')


def test_parameters_of_every_type_are_known():
    for entry, values in config_file.config_preprocess.items():
        for kind in (values['type'],) if values['type'] in FRONT_ENDS else ('time-freq', 'waveform'):
            assert representation.parameters({**configure('config_preprocess', entry), 'type': kind})['type'] == kind
