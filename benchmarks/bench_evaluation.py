"""Speed of evaluation: scoring clips on all their patches at hop 1 against the bare forward pass on a constant batch.

Usage:  python benchmarks/bench_evaluation.py
Prints: patches per second for VGG, TIMBRE and SB-CNN on clips of 216 frames (5 s) read from disk, patch by patch in batches of
        128 patches, and by sliding window.
"""
import tempfile
from pathlib import Path

import numpy as np
from timing import compare

import models_sl
from backend import set_up_device, tf
from scoring import Forms, Scorer, score_clips

CLIPS, T, F, M, C, BATCH = 20, 216, 128, 128, 10, 128


class Stored:
    """Stands in for a representation.Representation: its arrays are on disk and memory-mapped."""

    def __init__(self, folder):
        self.folder = Path(folder)
        rng = np.random.default_rng(0)
        for key in range(CLIPS):
            np.save(self.folder / f'{key}.npy', rng.random((T, M), dtype=np.float32))

    def open(self, key):
        return np.load(self.folder / f'{key}.npy', mmap_mode='r')


def main(folder):
    set_up_device()
    config = {'n_frames': F, 'num_classes_dataset': C, 'pre_processing': 'logEPS', 'normalize': None, 'pad_short': 'repeat-pad',
              'test_hop': 1, 'test_batch_size': BATCH}
    stored = Stored(folder)
    labels = {key: key % C for key in range(CLIPS)}
    constant = tf.constant(np.random.default_rng(1).random((BATCH, F, M), dtype=np.float32))
    amount = CLIPS * (T - F + 1)
    for number, name, gain in ((3, 'VGG', 5), (2, 'TIMBRE', 10), (1, 'SB-CNN', 4)):
        model = models_sl.build({**config, 'model_number': number}, M)
        forward = tf.function(lambda x, model=model: tf.nn.softmax(model(x, training=False)))

        def bare():
            for _ in range(amount // BATCH):
                forward(constant).numpy()
            forward(constant[:amount % BATCH]).numpy()

        for sliding, way, wanted in ((False, 'patch by patch', 0.9), (True, 'sliding window', gain)):
            score = Scorer(Forms(model), {**config, 'sliding': sliding}, stored, test=labels)
            compare(f'{name}: {way} / forward',
                    lambda score=score: score_clips(score, stored, labels, config, 'test', (None, None)), bare, amount,
                    'patches', wanted)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
