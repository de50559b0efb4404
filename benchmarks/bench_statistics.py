"""What new statistics of batch normalisation cost: training with them against training without.

Usage:  python benchmarks/bench_statistics.py
Prints: for VGG, 20 epochs and 3 passes over the patches, a tenth of `sl_train.py spec_plus`, against the epochs alone; for the
        prototypical network, an epoch of `proto.py spec_plus` with 1 and with 5 clips per class against one of `spec`. Ten classes of
        noise, clips of 216 frames (5 s).
"""
import functools

import numpy as np
from timing import compare
from toy_data import BANDS, Noise
from tqdm import tqdm

import config_file
import models_proto
import models_sl
import prototypical
import supervised
from backend import set_up_device, tf
from fewshot import Episodes
from patches import Clips, all_patches, sample_patches
from scoring import make_scorer
from training import estimate_statistics, make_episode_step, make_statistics_step, make_train_step

CLASSES, SHARE = 10, 10


def supervised_epochs(config, n_shot):
    """A function `run(statistics)` that trains VGG for a share of its epochs, and the patches that it updates with."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(CLASSES), n_shot)
    clips, model = Clips(Noise(rng, len(labels)), range(len(labels)), config), models_sl.build(config, BANDS)
    frames, step, statistics_step = tf.constant(clips.frames), make_train_step(model, config['weight_decay']), make_statistics_step(model)
    epochs = config['epochs'] // SHARE

    def run(statistics):
        for _ in range(epochs):
            supervised.train_epoch(step, frames, labels, *sample_patches(clips, config, rng), tf.constant(config['learning_rate']), config)
        if statistics:
            passes = (sample_patches(clips, config, rng)[0] for _ in range(config['statistics_passes'] // SHARE))
            estimate_statistics(model, statistics_step, frames, passes, config['batch_size'])
    return run, epochs * len(labels)


def prototypical_epoch(config, n_shot):
    """A function `run(statistics)` that does an epoch of a prototypical network, and the patches that it updates with."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(CLASSES), n_shot)
    clips, model = Clips(Noise(rng, len(labels)), range(len(labels)), config), models_proto.build(config, BANDS)
    starts, clip = sample_patches(clips, config, rng)
    episodes, scored = Episodes(clip, labels[clip], config, rng), all_patches(clips, config, config['test_hop'])[0]
    frames, support, embed = tf.constant(clips.frames), episodes.support, make_scorer(model)
    step, statistics_step = make_episode_step(model, config['distance'], CLASSES), make_statistics_step(model)

    def run(statistics):
        support_set = tf.constant(starts[support]), tf.constant(labels[clip][support])
        with tqdm(disable=True) as bar:
            prototypical.train_epoch(step, frames, support_set, starts, labels[clip], episodes, tf.constant(config['learning_rate']), bar)
        if statistics:
            passes = (rng.permutation(starts) for _ in range(config['statistics_passes']))
            estimate_statistics(model, statistics_step, frames, passes, config['test_batch_size'])
        for places in (starts[support], scored):
            prototypical.embed_all(embed, frames, places, config).numpy()
    return run, episodes.updates * (len(support) + len(episodes.query()))


def main():
    set_up_device()
    settings = {'num_classes_dataset': CLASSES}
    for name, make, config, n_shot in (('VGG, n = 5', supervised_epochs, {**config_file.config_sl['spec_plus'], 'model_number': 3}, 5),
                                       ('proto, n = 1', prototypical_epoch, config_file.config_proto['spec_plus'], 1),
                                       ('proto, n = 5', prototypical_epoch, config_file.config_proto['spec_plus'], 5)):
        run, patches = make({**config, **settings}, n_shot)
        compare(f'{name}: new statistics / without', functools.partial(run, True), functools.partial(run, False), patches, 'patches', 0.83,
                rounds=3)


if __name__ == '__main__':
    main()
