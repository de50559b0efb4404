"""Speed of pretrained networks: embedding clips and fine-tuning, against the bare forward pass and the bare step on constant examples.

Usage:  python benchmarks/bench_transfer.py [vggish] [mn04] [yamnet]
Prints: examples per second, random weights: of VGGish and YAMNet on clips of 5 examples (5 s), of mn04 on whole clips of 5 s. Embedding takes
        batches of 64 examples; a step of fine-tuning takes an example of each of 48 clips (VGGish) or of 16.
"""
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import compare

import embeddings
import mobilenet
import models_transfer
import pretrained
from backend import keras, set_up_device, tf
from patches import Clips, sample_patches
from supervised import train_epoch
from training import apply_step, make_train_step

CLIPS, C, BATCH, EPOCHS = 48, 10, 64, 2  # of clips that are one example, five times as many are embedded
FRAMES = 500  # of a clip of 5 s that mn04 takes as a whole


class Stored:
    """Stands in for a representation.Representation: its arrays are on disk and memory-mapped."""
    remedy = ''

    def __init__(self, folder, shape):
        self.folder, self.shape = Path(folder), shape
        rng = np.random.default_rng(0)
        for key in range(5 * CLIPS):
            np.save(self.folder / f'{key}.npy', rng.random(shape, dtype=np.float32))

    def open(self, key, flat=True):
        array = np.load(self.folder / f'{key}.npy', mmap_mode='r')
        return array.reshape(-1, self.shape[-1]) if flat else array


def benchmark(name, folder):
    """Print both figures of a network."""
    keras.utils.set_random_seed(0)
    network = pretrained.NETWORKS[name]
    frames, bands = network.shape[0] or FRAMES, network.shape[1]
    examples = 5 if network.shape[0] else 1
    config = {'n_frames': frames, **network.input, 'network': name, 'checkpoint': None, 'num_classes_dataset': C, 'train_sampling': 'random',
              'param_train_sampling': 1, 'batch_size': CLIPS if name == 'vggish' else 16, 'test_batch_size': BATCH, 'learning_rate': 0.01}
    stored, rng = Stored(folder, (examples * frames, bands) if examples == 1 else (examples, frames, bands)), np.random.default_rng(0)
    constant = tf.constant(rng.random((BATCH, frames, bands), dtype=np.float32))
    model = embeddings.network(config)
    mobilenet.fold_normalisation(model)  # as embeddings.embedder
    embed, forward = embeddings.compiled(model), tf.function(lambda x: model(x, training=False))
    embedded = range(CLIPS if examples > 1 else 5 * CLIPS)
    amount = len(embedded) * examples

    def bare():
        for _ in range(amount // BATCH):
            forward(constant).numpy()
        if amount % BATCH:
            forward(constant[:amount % BATCH]).numpy()

    compare(f'{network.title}: embedding / forward pass', lambda: list(embeddings.embed_clips(embed, embedded, stored, config)), bare,
            amount, 'examples', 0.9)
    classifier = models_transfer.build(config, C)
    clips, labels = Clips(stored, range(CLIPS), config), np.arange(CLIPS) % C
    step = make_train_step(classifier, None, 'many_lr_audioset')
    bare_step = tf.function(lambda x, y: apply_step(classifier, None, x, y, tf.constant(0.01), 'many_lr_audioset'))
    batch, batch_labels = constant[:config['batch_size']], tf.constant(labels[:config['batch_size']])

    def loop():
        frames, learning_rate = tf.constant(clips.frames), tf.constant(config['learning_rate'], tf.float32)
        for _ in range(EPOCHS):
            train_epoch(step, frames, labels, *sample_patches(clips, config, rng), learning_rate, config)

    def bare_loop():
        for _ in range(EPOCHS * CLIPS // len(batch)):
            cost = bare_step(batch, batch_labels)
        cost.numpy()

    compare(f'{network.title}: fine-tuning / bare step', loop, bare_loop, EPOCHS * CLIPS, 'examples', 0.9)


def main():
    set_up_device()
    for name in sys.argv[1:] or ('vggish', 'mn04', 'yamnet'):
        with tempfile.TemporaryDirectory() as folder:
            benchmark(name, folder)


if __name__ == '__main__':
    main()
