"""Speed of training: the loop against its bare step, and the step against the same network in plain TensorFlow.

Usage:  python benchmarks/bench_training.py
Prints: for VGG, TIMBRE and SB-CNN, on 200 clips of 216 frames (5 s), patches per second of the training loop against
        the bare step on a constant batch (an epoch is one step); and the bare step against one written with tf.nn.
"""

import numpy as np
from timing import compare
from toy_data import BANDS, Noise

import models_sl
from backend import keras, set_up_device, tf
from patches import Clips, sample_patches
from supervised import train_epoch
from training import CLIP_NORM, apply_step, make_train_step

CLIPS, F, C = 200, 128, 10
EPOCHS = 4  # the first one does not train


def plain_step(architecture):
    """A training step from tf.nn operations alone: fused batch normalisation, all gradients by TensorFlow."""
    glorot = keras.initializers.GlorotUniform(seed=0)
    variables, kernels = [], []

    def variable(shape, value=None):
        created = tf.Variable(glorot(shape) if value is None else tf.fill(shape, value))
        variables.append(created)
        kernels.extend([created] if value is None else [])
        return created

    def norm(c):
        scale, offset = variable((c,), 1.0), variable((c,), 0.0)
        return lambda x: tf.compat.v1.nn.fused_batch_norm(x, scale, offset, epsilon=0.001)[0]

    def conv(h, w, i, o, padding, activation):
        kernel, bias = variable((h, w, i, o)), variable((o,), 0.0)
        return lambda x: activation(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, padding), bias))

    def pool(h, w):
        return lambda x: tf.nn.max_pool2d(x, (h, w), (h, w), 'VALID')

    def dense(i, o):
        kernel, bias = variable((i, o)), variable((o,), 0.0)
        return lambda x: tf.reshape(x, (-1, i)) @ kernel + bias

    def dropout(x):
        return tf.nn.experimental.stateless_dropout(x, 0.5, seed=[1, 2])

    if architecture == 'VGG':
        stack = [norm(1)]
        for i in range(5):
            stack += [conv(3, 3, 32 if i else 1, 32, 'SAME', tf.nn.elu), norm(32), pool(2, 2)]
        stack += [dropout, dense(512, C)]
    elif architecture == 'TIMBRE':
        stack = [norm(1), conv(7, 108, 1, C, 'VALID', tf.identity), pool(122, 21), lambda x: tf.reshape(x, (-1, C))]
    else:
        stack = [norm(1), conv(5, 5, 1, 24, 'VALID', tf.nn.relu), pool(4, 2), conv(5, 5, 24, 48, 'VALID', tf.nn.relu),
                 pool(4, 2), conv(5, 5, 48, 48, 'VALID', tf.nn.relu), dropout, dense(2 * 25 * 48, 64), tf.nn.relu, dropout,
                 dense(64, C)]

    @tf.function
    def step(patches, labels):
        with tf.GradientTape() as tape:
            x = patches[..., None]
            for layer in stack:
                x = layer(x)
            cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x))
            cost += 0.001 * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        gradients, _ = tf.clip_by_global_norm(tape.gradient(cost, variables), CLIP_NORM)
        for target, gradient in zip(variables, gradients):
            target.assign_sub(0.01 * gradient)
        return cost

    return step


def main():
    set_up_device()
    config = {'n_frames': F, 'num_classes_dataset': C, 'pre_processing': 'logEPS', 'normalize': None, 'pad_short': 'repeat-pad',
              'train_sampling': 'random', 'param_train_sampling': 1, 'epochs': EPOCHS, 'batch_size': 256, 'learning_rate': 0.01}
    rng = np.random.default_rng(0)
    clips, labels = Clips(Noise(rng, CLIPS), range(CLIPS), config), rng.integers(0, C, CLIPS)
    learning_rate = tf.constant(config['learning_rate'], tf.float32)
    patches = tf.constant(np.stack([clips.frames[o:o + F] for o in clips.offsets]))
    constant_labels = tf.constant(labels)
    for number, name in ((3, 'VGG'), (2, 'TIMBRE'), (1, 'SB-CNN')):
        model = models_sl.build({**config, 'model_number': number}, BANDS)
        step = make_train_step(model, weight_decay=0.001)
        bare = tf.function(lambda x, y, model=model: apply_step(model, 0.001, x, y, tf.constant(0.01)))
        plain = plain_step(name)

        def loop(step=step):
            frames = tf.constant(clips.frames)
            for _ in range(EPOCHS - 1):
                train_epoch(step, frames, labels, *sample_patches(clips, config, rng), learning_rate, config)

        def repeat(function):
            for _ in range(EPOCHS - 1):
                function(patches, constant_labels).numpy()

        amount = CLIPS * (EPOCHS - 1)
        compare(f'{name}: loop / bare step', loop, lambda: repeat(bare), amount, 'patches', 0.95)
        compare(f'{name}: bare step / plain TensorFlow', lambda: repeat(bare), lambda: repeat(plain), amount, 'patches', 1.0)


if __name__ == '__main__':
    main()
