"""Speed of sliding-window evaluation: all patches of clips at hop 1 against the bare forward pass.

Usage:  python benchmarks/bench_sliding.py
Prints: patches per second for VGG, TIMBRE and SB-CNN on clips of 173, 216 and 431 frames (4, 5 and 10 s): ours from the frames
        of the clips in main memory to the logits of all their patches there, as many clips at once as evaluation takes; the
        reference takes as many constant patches that are on the device, in batches of 128.
"""
import numpy as np
from timing import compare

import models_sl
from backend import set_up_device, tf
from scoring import frames_at_once
from sliding import make_slider

CLIPS, F, M, C, BATCH = 40, 128, 128, 10, 128
WANTED = {'VGG': (3, {173: 4, 216: 5, 431: 7}), 'TIMBRE': (2, {173: 10, 216: 10, 431: 10}),
          'SB-CNN': (1, {173: 4, 216: 4, 431: 4})}


def main():
    set_up_device()
    rng = np.random.default_rng(0)
    constant = tf.constant(rng.random((BATCH, F, M), dtype=np.float32))
    for name, (number, wanted) in WANTED.items():
        model = models_sl.build({'model_number': number, 'n_frames': F, 'num_classes_dataset': C, 'pre_processing': 'logEPS',
                                 'normalize': None}, M)
        slide, _ = make_slider(model)
        forward = tf.function(lambda x, model=model: model(x, training=False))
        for T, target in wanted.items():
            clips, starts = rng.random((CLIPS, T, M), dtype=np.float32), np.arange(T - F + 1)
            amount, together = CLIPS * len(starts), frames_at_once({'n_frames': F, 'test_batch_size': BATCH}, 'test') // T
            passes = [(np.concatenate(some), np.concatenate([clip * T + starts for clip in range(len(some))]))
                      for some in (clips[i:i + together] for i in range(0, CLIPS, together))]
            batches = [constant] * (amount // BATCH) + [constant[:amount % BATCH]] * (amount % BATCH > 0)

            def ours(passes=passes):
                for frames, starts in passes:
                    slide(frames, starts).numpy()

            def bare():
                for patches in batches:
                    forward(patches).numpy()

            compare(f'{name}, {T} frames: sliding / bare', ours, bare, amount, 'patches', target)


if __name__ == '__main__':
    main()
