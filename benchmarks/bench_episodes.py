"""Speed of prototypical training: the episodic loop against its bare step on constant patches.

Usage:  python benchmarks/bench_episodes.py [filters; default: 128, the study's]
Prints: patches per second (support and query) for ten classes with 1 and with 5 clips of 216 frames (5 s) each;
        the multiplications and additions of an update's convolutions per second, against those of matrix products of TensorFlow;
        the seconds that a first and a second run of two updates take, which tells what tracing costs.
"""
import sys

import numpy as np
from timing import compare, seconds
from toy_data import BANDS, Noise
from tqdm import tqdm

import models_proto
from backend import set_up_device, tf
from fewshot import Episodes
from patches import Clips, sample_patches
from prototypical import train_epoch
from training import apply_episode, make_episode_step

F, C = 128, 10


def convolution_gflop(model):
    """10^9 multiplications and additions of the convolutions of a training step, per patch.

    The gradients of input and kernel take as many as the convolution itself, each.
    """
    layers = [layer for layer in model.layers if hasattr(layer, 'kernel') and len(layer.kernel.shape) == 4]
    return 3 * sum(2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]) for layer in layers) / 1e9


def matrix_products(gflop):
    """A function that computes `gflop` x 10^9 multiplications and additions: ten compiled products of square matrices."""
    size = round((gflop * 1e9 / 10 / 2) ** (1 / 3))
    product, (a, b) = tf.function(tf.matmul), np.random.default_rng(0).random((2, size, size), np.float32)
    return lambda: [product(a, b).numpy() for _ in range(10)]


def main():
    set_up_device()
    config = {'model_number': 2, 'filters': int(sys.argv[1]) if len(sys.argv) > 1 else 128, 'n_frames': F,
              'pre_processing': 'logEPS', 'normalize': None,
              'pad_short': 'repeat-pad', 'train_sampling': 'overlap_sampling', 'param_train_sampling': 42, 'learning_rate': 0.01,
              'max_patches_per_class': 5, 'patches_per_prototype': 5, 'max_accuracy': 0, 'max_epochs': None}
    rng = np.random.default_rng(0)
    for n_shot, epochs in ((1, 3), (5, 1)):
        clips = Clips(Noise(rng, C * n_shot), range(C * n_shot), config)
        starts, clip = sample_patches(clips, config, rng)
        labels = clip // n_shot
        episodes = Episodes(clip, labels, config, rng)
        model = models_proto.build(config, BANDS)
        step = make_episode_step(model, 'euclidean', C)
        frames = tf.constant(clips.frames)
        support, query = episodes.support, episodes.query()
        constant = [(tf.constant(np.stack([clips.frames[s:s + F] for s in starts[chosen]])), tf.constant(labels[chosen]))
                    for chosen in (support, query)]
        bare_step = tf.function(lambda *episode, model=model: apply_episode(model, 'euclidean', C, *episode, tf.constant(0.01)))

        def loop(epochs=epochs):
            support_set = tf.constant(starts[support]), tf.constant(labels[support])
            learning_rate = tf.constant(config['learning_rate'], tf.float32)
            with tqdm(disable=True) as bar:
                for _ in range(epochs):
                    train_epoch(step, frames, support_set, starts, labels, episodes, learning_rate, bar)

        def bare():
            for _ in range(epochs * episodes.updates):
                bare_step(*constant[0], *constant[1]).numpy()

        if n_shot == 1:
            first, second = seconds(lambda: loop(2)), seconds(lambda: loop(2))
            print(f'two updates at n = 1: {first:.1f} s the first time, {second:.1f} s from then on')
        patches = epochs * episodes.updates * (len(support) + len(query))
        compare(f'proto, n = {n_shot}: loop / bare step', loop, bare, patches, 'patches', 0.9, rounds=3)
        gflop = patches * convolution_gflop(model)
        compare(f'proto, n = {n_shot}: update / matrix product', loop, matrix_products(gflop), gflop, 'GFLOP', 0.6, rounds=3)


if __name__ == '__main__':
    main()
