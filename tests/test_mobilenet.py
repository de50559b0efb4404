"""mn04 and mn10: input, structure, weights; the outputs of the authors' own code where the files are at hand.

Environment variables: ESC10, folder of ESC-10; MN04, path of mn04_as_mAP_432.pt; REFERENCE, folder of mn04_reference.npz.
"""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import correlate2d

import mobilenet
from backend import keras, tf
from commands import environment
from conftest import tone, write_sound
from mobilenet_input import NUM_BANDS, at_level, file_to_log_mel, log_mel, windows
from shared import UserError
from test_torch_file import write_tensors

ESC10, WEIGHTS, REFERENCE = (Path(os.environ.get(name, '')) for name in ('ESC10', 'MN04', 'REFERENCE'))
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason='MN04 does not name a file of weights')
needs_reference = pytest.mark.skipif(not (REFERENCE / 'mn04_reference.npz').is_file(), reason='REFERENCE is not set')
needs_sounds = pytest.mark.skipif(not (ESC10 / '002 - Rain').is_dir(), reason='ESC10 is not set')
CLIPS = ['001 - Dog bark/2-114280-A.ogg', '002 - Rain/4-161127-A.ogg', '004 - Baby cry/2-50666-A.ogg']


def reference(clip, kind):
    with np.load(REFERENCE / 'mn04_reference.npz') as arrays:
        return arrays[f'{clip}|{kind}']


# input

@pytest.mark.parametrize('frequency', [200, 1000, 6000])
def test_a_tone_lands_in_its_band(frequency):
    spectrogram = log_mel(tone(frequency, 2, 32000))
    assert spectrogram.shape == (200, 128) and spectrogram.dtype == np.float32 and spectrogram.flags.c_contiguous
    centres = 700 * np.expm1(np.arange(1, 129) * np.log1p(15000 / 700) / 129)
    assert set(spectrogram.argmax(axis=1)) == {np.abs(centres - frequency).argmin()}


def test_values_by_another_way():
    """One frame after the other, by the definition, in float64."""
    samples = np.random.default_rng(0).normal(0, 0.1, 33000)
    samples[20000:] = 0
    emphasised = np.convolve(samples, [1, -0.97], 'valid')
    padded = np.pad(emphasised, 512, mode='reflect')
    window = np.zeros(1024)
    window[112:912] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799)
    centres = np.linspace(0, 1127 * np.log1p(15000 / 700), 130)
    mel = 1127 * np.log1p(np.arange(513) * 31.25 / 700)
    triangles = np.stack([np.interp(mel, centres[i:i + 3], [0, 1, 0]) for i in range(128)])
    found = log_mel(samples)
    assert len(found) == 1 + 32999 // 320
    for t in (0, 1, 50, 62, 63, len(found) - 1):
        power = np.abs(np.fft.rfft(padded[320 * t:320 * t + 1024] * window)) ** 2
        np.testing.assert_allclose(found[t], (np.log(triangles @ power + 1e-5) + 4.5) / 5, atol=5e-5)


@pytest.mark.parametrize('length, frames', [(32000, 100), (32001, 101), (32320, 101), (32321, 102), (320000, 1000)])
def test_number_of_frames(length, frames):
    assert log_mel(np.zeros(length, np.float32)).shape == (frames, NUM_BANDS)


def test_blocks_leave_no_trace():
    """Frames of a long recording are those of its parts, away from the ends."""
    samples = np.random.default_rng(1).normal(0, 0.1, 5 * 32000).astype(np.float32)
    np.testing.assert_allclose(log_mel(samples)[150:390], log_mel(samples[32000:])[50:290], atol=1e-6)


def test_silence_and_short_clips():
    np.testing.assert_allclose(log_mel(np.zeros(1, np.float32)), (np.log(1e-5) + 4.5) / 5, rtol=1e-6)
    short = tone(seconds=0.3, rate=32000)
    np.testing.assert_array_equal(log_mel(short), log_mel(np.concatenate([short] * 4)[:32000]))
    assert log_mel(short).shape == (100, 128)


@pytest.mark.parametrize('samples, message', [
    (np.zeros(0, np.float32), 'shape \\(0,\\)'), (np.zeros((9, 2), np.float32), 'average the channels'),
    (np.zeros(9, np.int16), 'divide whole numbers'), (np.array([0, np.nan, np.inf]), '2 samples are NaN or infinite')])
def test_bad_samples(samples, message):
    with pytest.raises(UserError, match=message):
        log_mel(samples)


def test_files(tmp_path):
    """Channels are averaged, other rates resampled."""
    stereo = tone(1000, 2, 44100, channels=2) * np.array([1, 0.5], np.float32)
    found = file_to_log_mel(write_sound(tmp_path / 'x.wav', stereo, 44100, subtype='FLOAT'))
    expected = log_mel(0.75 * tone(1000, 2, 32000))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[5:-5, 30:45], expected[5:-5, 30:45], atol=0.01)


def test_level(tmp_path):
    path = write_sound(tmp_path / 'x.wav', tone(1000, 1, 32000) * 0.01, 32000, subtype='FLOAT')
    np.testing.assert_allclose(file_to_log_mel(path, level=-20), log_mel(tone(1000, 1, 32000) * np.sqrt(0.08)), atol=1e-3)
    np.testing.assert_array_equal(at_level(np.zeros(5, np.float32), -20), np.zeros(5))


@pytest.mark.parametrize('frames, starts', [(1, [0]), (1000, [0]), (1001, [0, 1]), (1500, [0, 500]), (1501, [0, 500, 501]),
                                            (2000, [0, 500, 1000]), (2700, [0, 500, 1000, 1500, 1700])])
def test_windows(frames, starts):
    spectrogram = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 128, axis=1)
    cut = windows(spectrogram)
    assert cut.shape == (len(starts), min(frames, 1000), 128) and cut.dtype == np.float32
    assert cut[:, 0, 0].tolist() == starts and cut[-1, -1, 0] == frames - 1


# network

@pytest.mark.parametrize('variant, millions, embedding, hidden', [('mn04', 0.98, 384, 512), ('mn10', 4.88, 960, 1280)])
def test_sizes(variant, millions, embedding, hidden):
    sizes = {'embedding': embedding, 'hidden': hidden, 'logits': 527}
    for output, size in sizes.items():
        model = mobilenet.build(variant, output=output)
        assert model.output_shape == (None, size)
    trainable = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert abs(trainable / 1e6 - millions) < 0.005


def test_channels_of_mn04():
    """The table of the network, written out."""
    layers = {layer.name: layer for layer in mobilenet.build(output='logits').layers}
    expanded = [8, 24, 32, 32, 48, 48, 96, 80, 72, 72, 192, 272, 272, 384, 384]
    out = [8, 16, 16, 16, 16, 16, 32, 32, 32, 32, 48, 48, 64, 64, 64]
    squeezed = [None] * 3 + [8, 16, 16] + [None] * 4 + [48, 72, 72, 96, 96]
    sizes = [3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5]
    for i in range(15):
        blocks = [layers[f'features.{i + 1}.block.{j}'] for j in range(4) if f'features.{i + 1}.block.{j}' in layers]
        depthwise = blocks[0 if i == 0 else 1]
        assert depthwise.kernel.shape == (sizes[i], sizes[i], expanded[i], 1)
        assert depthwise.stride == (2 if i + 1 in (2, 4, 7, 13) else 1)
        assert depthwise.activation is (tf.nn.relu if i < 6 else mobilenet.hard_swish)
        assert blocks[-1].kernel.shape == (1, 1, expanded[i], out[i]) and blocks[-1].activation is None
        found = [block.squeezed for block in blocks if isinstance(block, mobilenet.SqueezeExcitation)]
        assert found == ([squeezed[i]] if squeezed[i] else [])
    assert sum(isinstance(layer, keras.layers.Add) for layer in layers.values()) == 10
    assert layers['features.16'].kernel.shape == (1, 1, 64, 384)


def test_names_are_refused():
    for arguments in ({'variant': 'mn40'}, {'output': 'scores'}):
        with pytest.raises(UserError, match='expected one of mn04, mn10, and one of embedding, hidden, logits'):
            mobilenet.build(**arguments)


def randomised(layer, shape, seed=0):
    """The layer with random weights; small variances, so that epsilon matters."""
    random = np.random.default_rng(seed)
    layer.build(shape)
    for variable in layer.variables:
        variable.assign(random.uniform(1e-4, 3e-3, variable.shape) if variable.name == 'moving_variance' else
                        random.normal(size=variable.shape))
    return layer


@pytest.mark.parametrize('height, width', [(6, 8), (7, 5)])
@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('filters', [4, None])
def test_convolution(height, width, size, stride, filters):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    layer = randomised(mobilenet.FixedNormConv2D(filters, size, stride, activation=tf.nn.relu), x.shape)
    found, statistics = layer(x).numpy(), [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]
    kernel, border = layer.kernel.numpy(), size // 2
    padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
    for n in range(2):
        for c in range(filters or 3):
            parts = [correlate2d(padded[n, ..., i], kernel[..., i, c if filters else 0], 'valid')[::stride, ::stride]
                     for i in (range(3) if filters else [c])]
            gamma, beta, mean, variance = (v.numpy()[c] for v in statistics)
            expected = np.maximum((sum(parts) - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)
            np.testing.assert_allclose(found[n, ..., c], expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize('onednn', ['0', '1'])
def test_compiled_with_either_library_of_kernels(onednn, tmp_path):
    # TensorFlow uses oneDNN by itself on processors with AVX-512 only, where a user would meet what fails with it
    x = np.random.default_rng(0).normal(size=(2, 64, NUM_BANDS)).astype(np.float32)
    np.save(tmp_path / 'x.npy', x)
    code = ('import sys, numpy as np, mobilenet; from backend import tf\n'
            'network = tf.function(mobilenet.build("mn04", seed=1)); np.save(sys.argv[2], network(np.load(sys.argv[1])))')
    subprocess.run([sys.executable, '-c', code, tmp_path / 'x.npy', tmp_path / 'y.npy'], check=True,
                   env=environment(tmp_path, TF_ENABLE_ONEDNN_OPTS=onednn, PYTHONPATH=str(Path(mobilenet.__file__).parent)))
    expected = mobilenet.build('mn04', seed=1)(x).numpy()
    assert expected.std() > 0  # small, with random weights
    np.testing.assert_allclose(np.load(tmp_path / 'y.npy') / expected.std(), expected / expected.std(), atol=0.01)


@pytest.mark.parametrize('filters', [4, None])
def test_a_folded_layer_computes_the_same_and_ignores_its_weights(filters):
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
    layer = randomised(mobilenet.FixedNormConv2D(filters, 3, 2), x.shape)
    inputs = keras.Input(x.shape[1:])
    inner = keras.Model(inputs, layer(inputs))
    expected = layer(x).numpy()
    mobilenet.fold_normalisation(keras.Sequential([inner]))
    layer.kernel.assign(0 * layer.kernel)
    np.testing.assert_array_equal(inner(x), expected)
    assert np.ptp(expected) > 1


def test_other_layers():
    x = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(mobilenet.hard_swish(x), x * np.clip(x + 3, 0, 6) / 6, atol=1e-6)
    layer = mobilenet.SqueezeExcitation(2, mobilenet.Seeds(0))
    layer.build(x.shape)
    (kernel1, bias1), (kernel2, bias2) = layer.dense
    bias1.assign([0.5, -0.2])
    bias2.assign(np.arange(6))
    gate = 1 / (1 + np.exp(-(np.maximum(x.mean((1, 2)) @ kernel1.numpy() + bias1.numpy(), 0) @ kernel2.numpy() + np.arange(6))))
    np.testing.assert_allclose(layer(x), x * gate[:, None, None], atol=1e-5)


def test_statistics_stay_and_everything_else_trains():
    model = mobilenet.build()
    x = np.random.default_rng(0).normal(size=(2, 40, 128)).astype(np.float32)
    np.testing.assert_array_equal(model(x, training=True), model(x, training=False))
    statistics = {variable.path for variable in model.variables if variable.name.startswith('moving_')}
    assert {variable.path for variable in model.non_trainable_variables} == statistics and len(statistics) == 2 * 46
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True) ** 2)
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables])):
        assert gradient is not None and np.any(gradient), variable.path


@pytest.fixture(scope='module')
def file_weights():
    """A random mn04 up to its logits, and its weights as the file has them."""
    model, random = mobilenet.build('mn04', output='logits', seed=1), np.random.default_rng(1)
    tensors = {}
    for name, (variable, axes) in mobilenet.variables_by_name(model).items():
        variable.assign(variable + random.uniform(0, 0.1, variable.shape))
        tensors[name] = np.transpose(variable.numpy(), np.argsort(axes))
        if name.endswith('running_var'):
            tensors[name.replace('running_var', 'num_batches_tracked')] = np.array(3)
    return model, tensors


def test_weights_come_back(tmp_path, file_weights):
    model, tensors = file_weights
    assert len(tensors) == 312 and tensors['features.2.block.1.0.weight'].shape == (24, 1, 3, 3)
    assert tensors['features.4.block.2.conc_se_layers.0.fc1.weight'].shape == (8, 32)
    path = write_tensors(tmp_path / 'w.pt', tensors)
    x = np.random.default_rng(0).normal(size=(1, 50, 128)).astype(np.float32)
    np.testing.assert_array_equal(mobilenet.build(path=path, output='logits')(x), model(x))
    # the stem by another way, in the file's own order: bands, then time
    whole = mobilenet.build(path=path)
    stem = keras.Model(whole.inputs, whole.get_layer('features.0').output)
    kernel, (gamma, beta, mean, variance) = tensors['features.0.0.weight'][3, 0], (
        tensors[f'features.0.1.{kind}'][3] for kind in ('weight', 'bias', 'running_mean', 'running_var'))
    y = correlate2d(np.pad(x[0].T, 1), kernel, 'valid')[::2, ::2]
    y = (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(stem([x])[0, ..., 3], (y * np.clip(y + 3, 0, 6) / 6).T, atol=1e-4)


@pytest.mark.parametrize('change, message', [
    (lambda t: t.pop('features.16.1.bias'), r'does not hold the weights of mn04: features\.16\.1\.bias is missing'),
    (lambda t: t.update(extra=np.zeros(2, np.float32)), 'extra is left over'),
    (lambda t: t.update({'features.0.0.weight': np.zeros((8, 1, 5, 5), np.float32)}),
     r'features\.0\.0\.weight has shape \(8, 1, 5, 5\), not \(8, 1, 3, 3\)'),
    (lambda t: (t.pop('classifier.5.weight'), t.pop('classifier.5.bias')), 'is missing, and 1 more difference')])
def test_files_that_do_not_fit(tmp_path, file_weights, change, message):
    tensors = dict(file_weights[1])
    change(tensors)
    with pytest.raises(UserError, match=rf'w\.pt.*{message}.*python \.\./aux/download\.py mn04'):
        mobilenet.build(path=write_tensors(tmp_path / 'w.pt', tensors))


def test_files_of_the_other_network_and_no_files(tmp_path, file_weights):
    path = write_tensors(tmp_path / 'w.pt', file_weights[1])
    with pytest.raises(UserError, match=r'does not hold the weights of mn10: .*has shape .*python \.\./aux/download\.py mn10'):
        mobilenet.build('mn10', path)
    path.write_bytes(b'something else')
    with pytest.raises(UserError, match=r'cannot be read as a PyTorch file.*download\.py mn04'):
        mobilenet.build(path=path)


# against the authors' own code

@needs_reference
def test_log_mel_of_the_sine_as_published():
    np.testing.assert_allclose(log_mel(tone(1000, 3, 32000)), reference('sine', 'logmel'), atol=5e-4)


@needs_reference
@needs_weights
@needs_sounds
@pytest.mark.parametrize('output, tolerance', [('embedding', 1e-4), ('hidden', 2e-4), ('logits', 5e-4)])
def test_clips_as_published(output, tolerance):
    model = mobilenet.build(path=WEIGHTS, output=output)
    for clip in CLIPS:
        spectrogram = file_to_log_mel(ESC10 / clip)
        np.testing.assert_allclose(spectrogram, reference(clip, 'logmel'), atol=5e-4)
        np.testing.assert_allclose(model(spectrogram[None]), reference(clip, output), atol=tolerance)


@needs_weights
def test_smoke():
    """The embedding of 3 s of a 1 kHz sine; figures from the authors' own code."""
    embedding = mobilenet.build(path=WEIGHTS)(log_mel(tone(1000, 3, 32000))[None]).numpy()
    assert abs(embedding.mean() - -0.076730) < 1e-5 and abs(embedding.std() - 0.242551) < 1e-5
