"""Sliding-window evaluation against the same patches one by one: every model, length, hop, and what falls back."""
import os
from pathlib import Path

import numpy as np
import pytest

import models_proto
import models_sl
import models_transfer
from backend import keras, set_up_device
from commands import run_script, succeeded, warm
from layers import BatchNormalization, Seeds, StrongestMatch
from patches import patch_batches
from scoring import Forms, Scorer, frames_at_once, make_scorer, score_clips
from sliding import NoSlidingForm, make_slider, sliding_maximum

ESC10 = os.environ.get('ESC10')
CLASSES = 4


@pytest.fixture(scope='module', autouse=True)
def device():
    set_up_device()


def configuration(number, n_frames=128, **options):
    return {'model_number': number, 'n_frames': n_frames, 'num_classes_dataset': CLASSES, 'normalize': None, 'pre_processing': None,
            'pad_short': 'repeat-pad', 'test_hop': 1, 'test_batch_size': 128, **options}


def randomise(model, seed=0):
    """Weights as after training: statistics, scales and offsets are not 0 and 1, and some scales are negative."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        variable.assign({'moving_variance': lambda: rng.uniform(0.5, 2, shape), 'ta': lambda: rng.normal(7, 0.3),
                         'gamma': lambda: rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1, 1], shape),
                         'kernel': lambda: rng.normal(0, (1.5 / np.prod(shape[:-1])) ** 0.5, shape)
                         }.get(variable.name, lambda: rng.normal(0, 0.3, shape))())
    return model


def build(number, n_frames=128, bands=128, seed=0):
    return randomise(models_sl.build(configuration(number, n_frames), bands), seed)


def spectrogram(length, bands=128, seed=1):
    """Like a compressed spectrogram, but positive, as log-learn wants it."""
    return np.random.default_rng([seed, length]).gamma(2, 0.5, (length, bands)).astype(np.float32)


def patch_by_patch(model, frames, starts):
    """Logits from the model itself: (N, C)."""
    n_frames = model.input_shape[1]
    patches = np.lib.stride_tricks.sliding_window_view(frames, n_frames, axis=0).transpose(0, 2, 1)[starts]
    return np.concatenate([model(patches[i:i + 64], training=False) for i in range(0, len(patches), 64)])


def all_starts(length, hop=1, n_frames=128):
    return np.arange(0, length - n_frames + 1, hop)


def same(ours, expected):
    assert ours.shape == expected.shape and np.isfinite(expected).all()
    assert len(expected) < 3 or np.ptp(expected, axis=0).max() > 1e-3  # patches differ, or any place would be the right one
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


class Arrays(dict):
    """Stands in for a patches.Representation."""
    remedy = ''
    open = dict.__getitem__


def scored(scorer, arrays, config, part='test'):
    """Logits of all patches by a Scorer, clip by clip (list of arrays)."""
    logits, clips = zip(*scorer.logits(part, scorer.inputs(arrays, list(arrays), config, part)))
    logits, clips = np.concatenate(logits), np.concatenate(clips)
    return [logits[clips == number] for number in range(len(arrays))]


# ---- the same logits -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('number, lengths', [*((number, (128, 129, 173, 240)) for number in (0, 1, 2, 3, 11, 12, 13)),
                                             (14, (128, 131))])
def test_logits_are_those_of_patch_by_patch(number, lengths):
    model = build(number)
    slide, _ = make_slider(model)
    for length in lengths:
        frames = spectrogram(length)
        expected = patch_by_patch(model, frames, all_starts(length))
        for hop in (1, 2, 3, 42):
            same(slide(frames, all_starts(length, hop)).numpy(), expected[::hop])
    assert slide.experimental_get_tracing_count() == 1


@pytest.mark.parametrize('number', [0, 1, 2, 3, 11, 12, 13, 14])
def test_a_long_clip_in_passes(number):
    """Passes of 300 frames, which overlap by what patches on both sides need; at hop 42 the last frames are no patch's."""
    model, length = build(number), 300 if number == 14 else 610
    slide, _ = make_slider(model)
    arrays, config = Arrays(a=spectrogram(length)), configuration(number)
    checked = all_starts(length, 6) if number != 14 else all_starts(length, 42)  # by the slow way
    expected = dict(zip(checked, patch_by_patch(model, arrays['a'], checked)))
    for hop in (1, 2, 3, 42) if number != 14 else (42,):
        batches = list(patch_batches(arrays, arrays, config, hop, 300 if number != 14 else 200, by_frames=True))
        assert len(batches) > 1 and max(len(frames) for frames, *_ in batches) <= 300
        logits = np.concatenate([slide(frames, starts) for frames, starts, _ in batches])
        starts = all_starts(length, hop)
        assert len(logits) == len(starts)
        both = [i for i, start in enumerate(starts) if start in expected]
        assert len(both) >= 4
        same(logits[both], np.stack([expected[starts[i]] for i in both]))


@pytest.mark.parametrize('number, n_frames, bands', [(3, 64, 128), (3, 96, 128), (3, 160, 128), (3, 128, 96), (3, 128, 45),
                                                     # what pooling leaves over: odd numbers of columns at one depth or another
                                                     (3, 100, 64), (3, 127, 33), (3, 65, 40), (3, 83, 32), (3, 118, 50),
                                                     (13, 94, 61), (0, 100, 32), (1, 117, 47), (11, 150, 64), (1, 161, 90),
                                                     (0, 103, 40), (2, 7, 108), (2, 8, 109), (12, 75, 128)])
def test_other_sizes_of_patches(number, n_frames, bands):
    model, frames = build(number, n_frames, bands), spectrogram(n_frames + 45, bands)
    starts = np.arange(0, 46, 3)
    same(make_slider(model)[0](frames, starts).numpy(), patch_by_patch(model, frames, starts))


@pytest.mark.parametrize('n_frames', [*range(64, 96, 7), *range(129, 200, 13)])
def test_vgg_of_any_number_of_frames(n_frames):
    config = configuration(3, n_frames)
    x = keras.Input((n_frames, 32))
    model = randomise(keras.Model(x, models_sl.vgg(keras.layers.Reshape((n_frames, 32, 1))(x), config['num_classes_dataset'],
                                             Seeds(0), 4)))
    frames, starts = spectrogram(n_frames + 20, 32), all_starts(n_frames + 20, 2, n_frames)
    same(make_slider(model)[0](frames, starts).numpy(), patch_by_patch(model, frames, starts))


@pytest.mark.parametrize('layers', [
    [keras.layers.Conv2D(3, (4, 2), padding='same'), keras.layers.MaxPooling2D((3, 2)),
     keras.layers.Conv2D(2, (2, 4), padding='same')],
    [keras.layers.Conv2D(3, (5, 3), padding='same', activation='tanh'), keras.layers.Conv2D(3, (3, 1), padding='valid'),
     keras.layers.MaxPooling2D((2, 1)), keras.layers.Conv2D(2, (1, 3), padding='same'), keras.layers.Dense(2, activation='elu')],
    [keras.layers.MaxPooling2D((3, 1)), keras.layers.Conv2D(2, (7, 3), padding='same', activation='relu'),
     BatchNormalization(), keras.layers.MaxPooling2D((2, 3)), keras.layers.Dropout(0.5)],
    [keras.layers.Conv2D(3, (2, 2)), keras.layers.MaxPooling2D((5, 2))]], ids=['even', 'wide', 'pooled first', 'valid'])
@pytest.mark.parametrize('n_frames', [30, 31, 35, 44])
def test_networks_that_do_not_exist_yet(layers, n_frames):
    x = inputs = keras.Input((n_frames, 12))
    layers = [type(layer).from_config({**layer.get_config(), 'name': None}) for layer in layers]
    for layer in [keras.layers.Reshape((n_frames, 12, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(CLASSES)]:
        x = layer(x)
    model, frames = randomise(keras.Model(inputs, x)), spectrogram(70, 12)
    starts = np.int64([0, 1, 7, 3, 26, 25])  # in any order
    same(make_slider(model)[0](frames, starts).numpy(), patch_by_patch(model, frames, starts))


@pytest.mark.parametrize('window', [*range(1, 10), 31, 122])
@pytest.mark.parametrize('stride', [1, 2, 5])
def test_sliding_maximum(window, stride):
    x = np.random.default_rng(window).normal(size=(1, (window - 1) * stride + 20, 3)).astype(np.float32)
    expected = np.stack([x[0, t:t + (window - 1) * stride + 1:stride].max(axis=0) for t in range(20)])
    np.testing.assert_array_equal(sliding_maximum(x, window, stride)[0], expected)


# ---- what has no sliding form ----------------------------------------------------------------------------------------

def network(*layers, bands=12):
    x = inputs = keras.Input((30, bands))
    for layer in [keras.layers.Reshape((30, bands, 1)), *layers]:
        x = layer(x)
    return keras.Model(inputs, x)


class Doubled(keras.layers.Conv2D):
    def call(self, x):
        return 2 * super().call(x)


def branched():
    inputs = keras.Input((30, 12))
    x = keras.layers.Reshape((30, 12, 1))(inputs)
    a, b = keras.layers.Conv2D(2, 3)(x), keras.layers.Conv2D(2, 3)(x)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(a))), keras.Model(inputs, [a, b])


def repeated():
    """One layer in two places."""
    inputs, layer = keras.Input((30, 12)), keras.layers.Conv2D(1, 3)
    x = keras.layers.Reshape((30, 12, 1))(inputs)
    return keras.Model(inputs, keras.layers.Flatten()(layer(layer(x))))


@pytest.mark.parametrize('model, reason', [
    (lambda: network(keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()), 'GlobalAveragePooling2D is not known'),
    (lambda: network(keras.layers.LayerNormalization(), keras.layers.Flatten()), 'LayerNormalization is not known'),
    (lambda: network(Doubled(2, 3), keras.layers.Flatten()), 'Doubled is not known'),
    (lambda: network(keras.layers.Conv2D(2, 3, strides=2), keras.layers.Flatten()), 'has options'),
    (lambda: network(keras.layers.Conv2D(2, 3, dilation_rate=2), keras.layers.Flatten()), 'has options'),
    (lambda: network(keras.layers.Conv2D(2, 3, use_bias=False), keras.layers.Flatten()), 'has options'),
    (lambda: network(keras.layers.MaxPooling2D(3, padding='same'), keras.layers.Flatten()), 'has options'),
    (lambda: network(keras.layers.MaxPooling2D(3, strides=1), keras.layers.Flatten()), 'has options'),
    (lambda: network(keras.layers.Reshape((15, 24, 1)), keras.layers.Conv2D(2, 3)), 'moves values between frames'),
    (lambda: branched()[1], 'not a chain'), (repeated, 'not a chain'),
    (lambda: network(*[keras.layers.Conv2D(2, 9, padding='same') for _ in range(4)], keras.layers.Flatten()), 'too short'),
    (lambda: network(keras.layers.Conv2D(2, (32, 1), padding='same'), keras.layers.Flatten()), 'too short'),
    (lambda: network(keras.layers.Conv2D(1, (15, 1), padding='same'), *[keras.layers.MaxPooling2D((5, 1)) for _ in range(2)],
                     keras.layers.Flatten()), 'too short'),
    (lambda: network(keras.layers.Conv2D(1, 3, padding='same'), StrongestMatch(2, (3, 4))), 'comes after zero padding'),
    (lambda: network(keras.layers.Reshape((30, 12, 1)), keras.layers.Flatten()), 'moves values between frames'),
    (lambda: build(3, n_frames=32), 'too short'), (lambda: build(3, n_frames=50), 'too short'),
    (lambda: models_proto.build({**configuration(2), 'filters': 2}, 32), 'FrameNormalization is not known'),
    (lambda: models_proto.build({**configuration(12), 'filters': 2}, 32), 'FrameNormalization is not known'),
    (lambda: models_transfer.build({'network': 'vggish', 'checkpoint': None}, 3), 'VGGish is not known')])
def test_models_without_a_sliding_form_are_scored_patch_by_patch(capsys, model, reason):
    keras.utils.set_random_seed(0)  # the same weights each time: what rounding does depends on them
    model = model()
    with pytest.raises(NoSlidingForm, match=reason):
        make_slider(model)
    config = {'n_frames': model.input_shape[1], 'pad_short': 'repeat-pad', 'pre_processing': None, 'test_hop': 1,
              'test_batch_size': 2}
    arrays = Arrays(a=spectrogram(config['n_frames'] + 2, model.input_shape[2]))
    scorer = Scorer(Forms(model), config, arrays, test=arrays)
    assert capsys.readouterr().out.startswith('scoring: patch by patch (the model has no sliding form: its ')
    if len(model.outputs) == 1:
        expected = make_scorer(model)(arrays['a'], np.arange(3))
        np.testing.assert_allclose(scored(scorer, arrays, config)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_chain_of_a_branch_is_one():
    assert len(make_slider(branched()[0])) == 2


# ---- scoring clips ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('pad', ['zero-pad', 'repeat-pad'])
@pytest.mark.parametrize('number, hop', [(1, 1), (2, 5), (3, 3)])
def test_clip_scores_are_those_of_patch_by_patch(capsys, number, hop, pad):
    """Short clips are padded, passes span clips, and every patch counts for its own clip."""
    lengths = [300, 1, 128, 60, 127, 129, 280, 400, 131]
    arrays = Arrays({str(length): spectrogram(length) for length in lengths})
    config = configuration(number, test_hop=hop, pad_short=pad, pre_processing='log10000', test_batch_size=20)
    model, labels = build(number), {key: i % CLASSES for i, key in enumerate(arrays)}
    results = []
    for sliding in (True, False):
        options = {**config, 'sliding': sliding}
        scorer = Scorer(Forms(model), options, arrays, test=labels)
        results.append(score_clips(scorer, arrays, labels, options, 'test', (1.5, 2.0)))
    assert capsys.readouterr().out == 'scoring: sliding window\nscoring: patch by patch (sliding=False)\n'
    (ours, cost), (expected, expected_cost) = results
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    assert cost == pytest.approx(expected_cost, abs=1e-5)


def watched(scorer, part='test'):
    """The shapes (frames, patches) that its passes are given from now on (list)."""
    slide, shapes = scorer._slide[part], []

    def watch(frames, starts):
        shapes.append((len(frames), len(starts)))
        return slide(frames, starts)

    scorer._slide[part] = watch
    return shapes


@pytest.mark.parametrize('hop, batch_size', [(1, 8), (2, 16), (7, 5)])
def test_memory_does_not_grow_with_the_length_of_a_clip(hop, batch_size):
    """A pass has a quarter of the frames that a batch of patches has, in which case its memory was measured to be less."""
    config, model = configuration(2, test_hop=hop, test_batch_size=batch_size), build(2)
    largest = []
    for length in (1000, 6000):
        arrays = Arrays(a=spectrogram(length), b=spectrogram(length // 2))
        scorer = Scorer(Forms(model), config, arrays, test=arrays)
        shapes = watched(scorer)
        logits = scored(scorer, arrays, config)
        assert [len(found) for found in logits] == [len(all_starts(length, hop)), len(all_starts(length // 2, hop))]
        assert sum(patches for _, patches in shapes) == sum(map(len, logits))
        largest.append(max(frames for frames, _ in shapes))
        assert batch_size * 32 - hop < largest[-1] <= batch_size * 32 == frames_at_once(config, 'test')
        checked = np.linspace(0, len(logits[0]) - 1, 20).astype(int)
        same(logits[0][checked], patch_by_patch(model, arrays['a'], all_starts(length, hop)[checked]))
    assert largest[0] == largest[1]


@pytest.mark.parametrize('number, hop, way', [(3, 43, 'sliding window'), (3, 46, 'patch by patch'), (1, 17, 'sliding window'),
                                              (1, 19, 'patch by patch'), (2, 118, 'sliding window'), (2, 123, 'patch by patch')])
def test_the_way_with_fewer_multiplications_is_chosen(capsys, number, hop, way):
    """A frame of VGG takes 1142784 multiplications, a patch 4497408 more, alone 54853632: as many at a hop of 44.06 frames."""
    long = Arrays(a=np.broadcast_to(np.float32(1), (1_000_000, 128)))
    config = configuration(number, test_hop=hop, test_batch_size=4096)
    Scorer(Forms(build(number)), config, long, test=['a'])
    reason = f' (fewer multiplications at test_hop={hop} and these lengths of clips)'
    assert capsys.readouterr().out == f'scoring: {way}{reason if way == "patch by patch" else ""}\n'


@pytest.mark.parametrize('lengths, batch_size, way', [([128] * 9, 128, 'patch by patch'), ([20] * 9, 128, 'patch by patch'),
                                                      ([128] * 40 + [173], 128, 'patch by patch'),
                                                      ([128] + [173] * 9, 128, 'sliding window'),
                                                      # passes of hardly more frames than a patch has would gain nothing
                                                      ([900], 1, 'patch by patch'), ([900], 4, 'patch by patch'),
                                                      ([900], 8, 'sliding window')])
def test_lengths_of_clips_are_taken_into_account(capsys, lengths, batch_size, way):
    arrays = Arrays({i: np.zeros((length, 128), np.float32) for i, length in enumerate(lengths)})
    Scorer(Forms(build(3)), configuration(3, test_batch_size=batch_size), arrays, test=arrays)
    assert capsys.readouterr().out.startswith(f'scoring: {way}')


def test_multiplications_are_counted():
    """VGG with 32 filters: all convolutions but the first see 32 channels; the ends of a patch are 1 + 1, then 2 + 2 columns."""
    bands, taps = np.array([128, 64, 32, 16, 8]), np.array([9, *[9 * 32] * 4]) * 32
    work = make_slider(build(3))[1]
    assert work.frame == (bands * taps).sum()
    assert work.patch == (bands * taps * [2, 4, 4, 4, 4]).sum()
    assert work.plain == (bands * bands * taps).sum()


def test_validation_and_test_have_hops_of_their_own(capsys):
    arrays, model = Arrays(a=spectrogram(300)), build(2)
    config = configuration(2, val_hop=150, val_batch_size=256, test_hop=3)
    scorer = Scorer(Forms(model), config, arrays, val=arrays, test=arrays)
    assert capsys.readouterr().out == ('validation: patch by patch (fewer multiplications at val_hop=150 and these lengths of '
                                       'clips)\nscoring: sliding window\n')
    for part, hop in (('val', 150), ('test', 3)):
        same(scored(scorer, arrays, config, part)[0], patch_by_patch(model, arrays['a'], all_starts(300, hop)))
    Scorer(Forms(model), config, arrays, val=None)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('number', [1, 12, 13])
def test_new_weights_are_used_at_once(number):
    """One model serves all runs of an experiment, and every epoch of a training."""
    model, arrays, config = build(number), Arrays(a=spectrogram(200)), configuration(number)
    scorer = Scorer(Forms(model), config, arrays, test=arrays)
    results = []
    for seed in (1, 2, 1):
        randomise(model, seed)
        results.append(scored(scorer, arrays, config)[0])
        same(results[-1], patch_by_patch(model, arrays['a'], all_starts(200)))
    np.testing.assert_array_equal(results[0], results[2])
    assert np.abs(results[0] - results[1]).max() > 0.1
    assert scorer._slide['test'].experimental_get_tracing_count() == 1


@pytest.mark.parametrize('number', [1, 2, 3])
def test_the_same_bits_again(number):
    arrays, config = Arrays(a=spectrogram(700), b=spectrogram(173)), configuration(number, test_batch_size=16)
    first, again = (scored(Scorer(Forms(build(number)), config, arrays, test=arrays), arrays, config) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_scoring_changes_nothing():
    model = build(3)
    before = [variable.numpy() for variable in model.weights]
    make_slider(model)[0](spectrogram(200), all_starts(200))
    assert all(np.array_equal(old, new) for old, new in zip(before, model.weights, strict=True))


# ---- ESC-10 ----------------------------------------------------------------------------------------------------------

@pytest.mark.long
@pytest.mark.skipif(not ESC10, reason='the environment variable ESC10 does not name the folder of the recordings')
def test_esc10(tmp_path):
    """Both ways decide alike about all 80 test clips."""
    succeeded(run_script('index_esc.py', Path(ESC10).resolve(), data_folder=tmp_path))
    succeeded(run_script('preprocess.py', 'esc10_spec', data_folder=tmp_path))
    assert len((tmp_path / 'audio_representation/esc10__time-freq/index.tsv').read_text().splitlines()) == 400
    succeeded(warm('sl_train.py', 'spec', 'dataset=esc10', 'n_shot=2', 'model_number=3', 'epochs=15',
                   data_folder=tmp_path))
    predictions = []
    for sliding, way in (('True', 'sliding window'), ('False', 'patch by patch (sliding=False)')):
        done = warm('sl_evaluate.py', 'latest', f'sliding={sliding}', 'test_hop=16', data_folder=tmp_path, timeout=300)
        assert f'scoring: {way}\n' in succeeded(done)
        path = max(tmp_path.glob('experiments/fold_*/model_*/test_predictions.tsv'), key=lambda path: path.stat().st_mtime_ns)
        predictions.append([line.split('\t') for line in path.read_text().splitlines()[1:]])
    ours, expected = predictions
    assert len(ours) == 80 and len({row[3] for row in expected}) > 2
    assert [row[:5] for row in ours] == [row[:5] for row in expected]
    ours, expected = (np.array([row[6:] for row in table], float) for table in predictions)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
