"""YAMNet: input, structure, weights; the outputs of the authors' network where the files are at hand.

Environment variables: ESC10, folder of ESC-10; YAMNET, path of yamnet.h5; REFERENCE, folder of yamnet_reference.npz.
"""
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.signal import correlate2d

import yamnet
from backend import tf
from conftest import tone, write_sound
from mobilenet import FixedNormConv2D
from shared import UserError
from yamnet_input import file_to_patches, patches, tensorflow_hann

ESC10, WEIGHTS, REFERENCE = (Path(os.environ.get(name, '')) for name in ('ESC10', 'YAMNET', 'REFERENCE'))
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason='YAMNET does not name a file of weights')
needs_reference = pytest.mark.skipif(not (REFERENCE / 'yamnet_reference.npz').is_file(), reason='REFERENCE is not set')
needs_sounds = pytest.mark.skipif(not (ESC10 / '002 - Rain').is_dir(), reason='ESC10 is not set')
CLIPS = ['001 - Dog bark/1-100032-A.ogg', '002 - Rain/1-17367-A.ogg', '009 - Rooster/1-26806-A.ogg']


def reference(clip, kind):
    with np.load(REFERENCE / 'yamnet_reference.npz') as arrays:
        return arrays[f'{clip}|{kind}']


# input

@pytest.mark.parametrize('frequency', [300, 1000, 5000])
def test_a_tone_lands_in_its_band(frequency):
    found = patches(tone(frequency, 0.975, 16000))
    assert found.shape == (1, 96, 64) and found.dtype == np.float32 and found.flags.c_contiguous
    mel = 1127 * np.log1p(np.array([125, 7500, frequency]) / 700)
    centres = mel[0] + np.arange(1, 65) * (mel[1] - mel[0]) / 65
    assert set(found[0].argmax(axis=1)) == {np.abs(centres - mel[2]).argmin()}


def test_values_by_another_way():
    """One frame after the other, by the definition, in float64."""
    samples = np.random.default_rng(0).normal(0, 0.1, 16000 * 2)
    found = patches(samples)
    padded = np.append(samples, np.zeros(15600 + 3 * 7680 - 32000))
    edges = np.linspace(*(1127 * np.log1p(np.array([125, 7500]) / 700)), 66)
    mel = 1127 * np.log1p(np.arange(257) * 31.25 / 700)
    triangles = np.stack([np.interp(mel, edges[i:i + 3], [0, 1, 0]) for i in range(64)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    assert found.shape == (4, 96, 64)
    for n, f in ((0, 0), (0, 95), (1, 0), (2, 40), (3, 60), (3, 95)):
        start = 7680 * n + 160 * f
        magnitude = np.abs(np.fft.rfft(padded[start:start + 400] * window, 512))
        np.testing.assert_allclose(found[n, f], np.log(triangles @ magnitude + 0.001), atol=1e-4)
    np.testing.assert_array_equal(found[0, 48:], found[1, :48])


@pytest.mark.parametrize('length, number', [(1, 1), (15600, 1), (15601, 2), (23280, 2), (23281, 3), (80000, 10)])
def test_number_of_patches(length, number):
    found = patches(np.zeros(length, np.float32))
    assert found.shape == (number, 96, 64)
    np.testing.assert_allclose(found, np.log(0.001), rtol=1e-6)


@pytest.mark.parametrize('samples', [np.zeros(0), np.zeros((9, 2)), np.zeros(9, int), np.array([np.nan])])
def test_bad_samples(samples):
    with pytest.raises(UserError, match='expected .length,., floating-point|1 samples are NaN'):
        patches(samples)


def test_silent_patches_are_left_out(tmp_path):
    samples = np.zeros(15600 + 4 * 7680, np.float32)
    samples[:7680] = 0.5                     # patch 0: RMS 0.35
    samples[4 * 7680:] = 0.02                # patches 3 and 4: RMS 0.014, 0.02; 5 % of the loudest: 0.0175
    path = write_sound(tmp_path / 'x.wav', samples, 16000, subtype='FLOAT')
    np.testing.assert_array_equal(file_to_patches(path, skip_silence=True), patches(samples)[[0, 4]])
    np.testing.assert_array_equal(file_to_patches(path), patches(samples))


def test_window_is_that_of_tensorflow():
    np.testing.assert_array_equal(tensorflow_hann(), tf.signal.hann_window(400))


def test_files(tmp_path):
    stereo = tone(1000, 2, 44100, channels=2) * np.array([1, 0.5], np.float32)
    found = file_to_patches(write_sound(tmp_path / 'x.wav', stereo, 44100, subtype='FLOAT'))
    expected = patches(0.75 * tone(1000, 2, 16000))
    np.testing.assert_allclose(found[:3, :, 15:22], expected[:3, :, 15:22], atol=0.02)


# network

def test_sizes():
    for output, size in (('embedding', 1024), ('logits', 521), ('scores', 521)):
        model = yamnet.build(output=output)
        assert model.output_shape == (None, size)
    assert model.count_params() == 3751369 and len(model.variables) == 110
    sizes = {layer.name: layer.output.shape[1:] for layer in model.layers if isinstance(layer, FixedNormConv2D)}
    assert sizes['layer1-conv'] == (48, 32, 32) and sizes['layer5-pointwise_conv'] == (12, 8, 256)
    assert sizes['layer12-depthwise_conv'] == (6, 4, 512) and sizes['layer14-pointwise_conv'] == (3, 2, 1024)
    with pytest.raises(UserError, match="output='hidden': expected one of embedding, logits, scores"):
        yamnet.build(output='hidden')


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('name', ['layer1-conv', 'layer3-depthwise_conv'])
def test_convolution(name, stride):
    """Zeros are added as TensorFlow does: at stride 2 and even sizes only after the end."""
    whole, random = yamnet.build().get_layer(name), np.random.default_rng(0)
    layer = FixedNormConv2D(whole.filters, whole.size, stride, whole.activation, whole.epsilon, whole.scale, 'same')
    assert whole.padding == 'SAME' and whole.activation is tf.nn.relu and whole.epsilon == 1e-4 and not whole.scale
    x = random.normal(size=(1, 6, 8, 1)).astype(np.float32)
    layer.build(x.shape)
    kernel, beta, mean, variance = random.normal(size=(3, 3)), 0.3, -0.2, 2e-4
    for variable, value in ((layer.kernel, kernel[..., None, None]), (layer.beta, beta), (layer.moving_mean, mean),
                            (layer.moving_variance, variance)):
        variable.assign(np.broadcast_to(value, variable.shape))
    y = correlate2d(np.pad(x[0, ..., 0], 1 if stride == 1 else (0, 1)), kernel, 'valid')[::stride, ::stride]
    expected = np.maximum((y - mean) / np.sqrt(variance + 1e-4) + beta, 0)
    np.testing.assert_allclose(layer(x)[0, ..., 0], expected, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope='module')
def file_weights():
    """A random network up to its scores, and its weights as the file has them."""
    model, random = yamnet.build(output='scores', seed=1), np.random.default_rng(1)
    values = {}
    for name, variable in yamnet.variables_by_name(model).items():
        variable.assign(variable + random.uniform(0, 0.1, variable.shape))
        values[name] = variable.numpy()
    return model, values


def write_weights(path, values, text=bytes):
    """An HDF5 file as Keras 2 writes it: names in attributes, as bytes or str; groups of layers without weights."""
    with h5py.File(path, 'w') as file:
        groups = ['input_1', 'layer1/relu', *sorted({name.rsplit('/', 2)[0] for name in values})]
        file.attrs['layer_names'] = [name.encode() if text is bytes else name for name in groups]
        for group in groups:
            file.require_group(group).attrs['weight_names'] = np.zeros(0)
        for name, value in values.items():
            file[name] = value
    return path


@pytest.mark.parametrize('text', [bytes, str])
def test_weights_come_back(tmp_path, file_weights, text):
    model, values = file_weights
    assert len(values) == 110 and values['layer1/conv/layer1/conv/kernel:0'].shape == (3, 3, 1, 32)
    assert values['layer14/depthwise_conv/layer14/depthwise_conv/depthwise_kernel:0'].shape == (3, 3, 1024, 1)
    assert values['layer2/pointwise_conv/bn/layer2/pointwise_conv/bn/moving_variance:0'].shape == (64,)
    assert values['logits/logits/kernel:0'].shape == (1024, 521) and values['logits/logits/bias:0'].shape == (521,)
    path = write_weights(tmp_path / 'w.h5', values, text)
    x = np.random.default_rng(0).normal(size=(1, 96, 64)).astype(np.float32)
    np.testing.assert_array_equal(yamnet.build(path, 'scores')(x), model(x))


@pytest.mark.parametrize('change, message', [
    (lambda v: v.pop('logits/logits/bias:0'), 'does not hold the weights of YAMNet: logits/logits/bias:0 is missing'),
    (lambda v: v.update({'other/x:0': np.zeros(2)}), 'other/x:0 is left over'),
    (lambda v: v.update({'logits/logits/kernel:0': np.zeros((1024, 3))}), r'has shape \(1024, 3\), not \(1024, 521\)'),
    (lambda v: v.clear(), 'kernel:0 is missing, and 109 more differences')])
def test_files_that_do_not_fit(tmp_path, file_weights, change, message):
    values = dict(file_weights[1])
    change(values)
    with pytest.raises(UserError, match=rf'w\.h5.*{message}.*python \.\./aux/download\.py yamnet'):
        yamnet.build(write_weights(tmp_path / 'w.h5', values))


def test_files_that_are_damaged_or_missing(tmp_path, file_weights):
    path = write_weights(tmp_path / 'w.h5', file_weights[1])
    whole = path.read_bytes()
    for content in (b'no HDF5', whole[:len(whole) // 2], None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r'w\.h5 cannot be read as HDF5.*download\.py yamnet'):
            yamnet.build(path)


# against the authors' network

@needs_reference
@needs_weights
@needs_sounds
def test_clips_as_published():
    embeddings, scores = yamnet.build(WEIGHTS), yamnet.build(WEIGHTS, 'scores')
    for clip in CLIPS:
        found = file_to_patches(ESC10 / clip)
        np.testing.assert_allclose(found, reference(clip, 'patches'), atol=2e-4)
        np.testing.assert_allclose(embeddings(found), reference(clip, 'embeddings'), atol=1e-3)
        np.testing.assert_allclose(scores(found), reference(clip, 'scores'), atol=1e-4)


@needs_reference
def test_patches_of_the_sine_as_published():
    np.testing.assert_allclose(patches(tone(1000, 3, 16000)), reference('sine1k', 'patches'), atol=2e-4)


@needs_weights
def test_smoke():
    """The embeddings of 3 s of a 1 kHz sine; figures from the authors' own network."""
    embeddings = yamnet.build(WEIGHTS)(patches(tone(1000, 3, 16000))).numpy()
    assert embeddings.shape == (6, 1024) and embeddings.min() >= 0
    assert abs(embeddings.mean() - 0.085962) < 1e-4 and abs(embeddings.std() - 0.457367) < 1e-4
