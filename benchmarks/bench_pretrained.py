"""Speed of mn04, mn10 and YAMNet: inputs against their Fourier transforms alone, networks against the bare forward pass.

Usage:  python benchmarks/bench_pretrained.py
Prints: ms per second of sound, beside the same work done by the bare operations, for noise and random weights. The bare forward pass has
        the normalisation multiplied into constant kernels and no layers.
"""
import statistics

import numpy as np
from scipy import fft
from timing import seconds

import mobilenet
import mobilenet_input
import yamnet
import yamnet_input
from backend import keras, tf
from mel_features import magnitude_blocks

SECONDS = 10


def bare_forward(model):
    """A compiled function that computes a model's embedding from its weights as constants."""
    folded = {}
    for layer in model.layers:
        if isinstance(layer, mobilenet.FixedNormConv2D):
            scale = np.float32(layer.gamma) / np.sqrt(layer.moving_variance.numpy() + np.float32(layer.epsilon))
            folded[layer.name] = (tf.constant(layer.kernel.numpy() * (scale if layer.filters else scale[:, None])),
                                  tf.constant(layer.beta.numpy() - layer.moving_mean.numpy() * scale))

    def convolution(layer, x):
        kernel, offset = folded[layer.name]
        y = tf.nn.bias_add(layer.convolve(x, kernel), offset)
        return y if layer.activation is None else layer.activation(y)

    @tf.function
    def forward(examples):
        net = kept = examples[..., None]
        for layer in model.layers:
            if layer.name.endswith('block.0'):
                kept = net
            if isinstance(layer, mobilenet.FixedNormConv2D):
                net = convolution(layer, net)
            elif isinstance(layer, mobilenet.SqueezeExcitation):
                net = layer(net)
            elif isinstance(layer, keras.layers.Add):
                net = net + kept
        return tf.reduce_mean(net, [1, 2])
    return forward


def compare(name, ours, bare, target, rounds=9):
    """Time both functions in turn and print ms per second of sound and the ratio, which should reach the target."""
    ours(), bare()
    times = [(seconds(ours), seconds(bare)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in times)
    mine, reference = (1000 * statistics.median(t) / SECONDS for t in zip(*times))
    print(f'{name:34s} {mine:7.3f} ms/s_of_sound, bare {reference:7.3f} ms/s_of_sound: ratio {ratio:.2f} (wanted: {target:.2f} or more)'
          f'{"" if ratio >= target else "  MISSED"}', flush=True)


def main():
    random = np.random.default_rng(0)
    sound = random.normal(0, 0.1, SECONDS * mobilenet_input.SAMPLE_RATE).astype(np.float32)
    frames = random.normal(0, 0.1, (100 * SECONDS, mobilenet_input.WINDOW)).astype(np.float32)
    log_mel = mobilenet_input.log_mel(sound)[None]
    compare('input of mn04', lambda: mobilenet_input.log_mel(sound), lambda: fft.rfft(frames, mobilenet_input.FFT), 1 / 1.5)
    sound16 = sound[:SECONDS * yamnet_input.SAMPLE_RATE]
    patches = yamnet_input.patches(sound16)
    compare('input of YAMNet', lambda: yamnet_input.patches(sound16), lambda: list(magnitude_blocks(sound16, 400, 160, 512)), 1 / 1.5)
    for model, examples in ((mobilenet.build('mn04'), log_mel), (mobilenet.build('mn10'), log_mel), (yamnet.build(), patches)):
        examples, bare = tf.constant(examples), bare_forward(model)
        mobilenet.fold_normalisation(model)  # as embeddings.embedder
        ours = tf.function(lambda examples, model=model: model(examples, training=False))
        np.testing.assert_allclose(ours(examples), bare(examples), rtol=1e-3, atol=1e-4)
        compare(f'embedding of {model.name}', lambda: ours(examples).numpy(), lambda: bare(examples).numpy(), 0.9)


if __name__ == '__main__':
    main()
