"""Speed of VGGish: embedding clips and fine-tuning, against the bare forward pass and the bare step on constant examples.

Usage:  python benchmarks/bench_transfer.py
Prints: examples per second, on clips of 5 examples (5 s), random weights; batches of 64 (embedding) and 50 (fine-tuning).
"""
import tempfile
from pathlib import Path

import numpy as np
from timing import compare

import embeddings
import models_transfer
import pretrained
from backend import keras, set_up_device, tf
from patches import Clips, sample_patches
from scoring import make_scorer
from supervised import train_epoch
from training import apply_step, make_train_step

CLIPS, EXAMPLES, F, M, C, BATCH = 50, 5, 96, 64, 10, 64


class Stored:
    """Stands in for a patches.Representation: arrays on disk, memory-mapped as there."""
    remedy = ''

    def __init__(self, folder):
        self.folder = Path(folder)
        rng = np.random.default_rng(0)
        for key in range(CLIPS):
            np.save(self.folder / f'{key}.npy', rng.random((EXAMPLES, F, M), dtype=np.float32))

    def open(self, key):
        return np.load(self.folder / f'{key}.npy', mmap_mode='r').reshape(-1, M)


def main(folder):
    set_up_device()
    keras.utils.set_random_seed(0)
    config = {**pretrained.NETWORKS['vggish'].input, 'network': 'vggish', 'checkpoint': None, 'num_classes_dataset': C, 'train_sampling': 'random',
              'param_train_sampling': 1, 'epochs': 3, 'batch_size': 128, 'test_batch_size': BATCH, 'learning_rate': 0.01}
    stored, rng = Stored(folder), np.random.default_rng(0)
    constant = tf.constant(rng.random((BATCH, F, M), dtype=np.float32))
    vggish = models_transfer.build(config)
    embed, forward = make_scorer(vggish), tf.function(lambda x: vggish(x, training=False))
    amount = CLIPS * EXAMPLES

    def bare():
        for _ in range(amount // BATCH):
            forward(constant).numpy()
        forward(constant[:amount % BATCH]).numpy()

    compare('VGGish: embedding / forward pass', lambda: list(embeddings.embed_clips(embed, range(CLIPS), stored, config)), bare,
            amount, 'examples', 0.9)
    model = models_transfer.build(config, C)
    clips, labels = Clips(stored, range(CLIPS), config), np.arange(CLIPS) % C
    step = make_train_step(model, None, 'many_lr_audioset')
    bare_step = tf.function(lambda x, y: apply_step(model, None, x, y, tf.constant(0.01), 'many_lr_audioset'))
    batch, batch_labels = constant[:CLIPS], tf.constant(labels)

    def loop():
        frames, learning_rate = tf.constant(clips.frames), tf.constant(config['learning_rate'], tf.float32)
        for _ in range(config['epochs'] - 1):
            train_epoch(step, frames, labels, *sample_patches(clips, config, rng), learning_rate, config)

    compare('VGGish: fine-tuning / bare step', loop, lambda: [bare_step(batch, batch_labels).numpy() for _ in range(2)],
            2 * CLIPS, 'examples', 0.9)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
