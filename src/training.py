"""The training loop, scoring and seeding of networks."""
import time

import numpy as np
from tqdm import tqdm

from backend import keras, tf
from shared import PROGRESS, UserError

CLIP_NORM = 5.0


def randomise(model, build, seed):
    """Give all variables of `model` the values that a new model from build() has for this seed.

    A new model for every run would be traced anew, which takes longer than some runs.
    """
    keras.utils.set_random_seed(seed)
    for variable, fresh in zip(model.variables, build().variables, strict=True):
        variable.assign(fresh)


def count_parameters(model):
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def cut_patches(frames, starts, n_frames):
    """Patches (N, n_frames, M) that begin at `starts` (N,) in `frames` (T, M); on the device."""
    patches = tf.gather(frames, starts[:, None] + tf.range(n_frames, dtype=tf.int64))  # int32 would be computed on the host
    return tf.ensure_shape(patches, (None, n_frames, frames.shape[1]))


def frames_spec(model):
    return tf.TensorSpec((None, model.input_shape[2]), tf.float32)


def apply_step(model, weight_decay, patches, labels, learning_rate):
    """One update of the model on patches (N, F, M) with labels (N,); returns the cost before it. To be compiled.

    Cost: mean softmax cross-entropy + weight_decay x sum of half the squared norm of each kernel. Gradients are clipped to
    global norm 5.0; plain SGD.
    """
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        logits = model(patches, training=True)
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        if weight_decay is not None:
            cost += weight_decay * tf.add_n([tf.nn.l2_loss(v.value) for v in variables if v.name == 'kernel'])
    gradients, _ = tf.clip_by_global_norm(tape.gradient(cost, variables), CLIP_NORM)
    for variable, gradient in zip(variables, gradients):
        variable.assign_sub(learning_rate * gradient)
    return cost


def make_train_step(model, weight_decay):
    """A compiled step(frames, starts, labels, learning_rate) -> cost: apply_step on patches cut on the device."""
    # the batch size stays open, so that the last, smaller batch of an epoch does not trace and compile a second time
    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64),
                                  tf.TensorSpec((), tf.float32)])
    def step(frames, starts, labels, learning_rate):
        return apply_step(model, weight_decay, cut_patches(frames, starts, model.input_shape[1]), labels, learning_rate)
    return step


def make_scorer(model):
    """A compiled score(frames, starts) -> logits (N, C) in evaluation mode."""
    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64)])
    def score(frames, starts):
        return model(cut_patches(frames, starts, model.input_shape[1]), training=False)
    return score


def train_supervised(step, clips, labels, sample, config, after_epoch, description, hidden=False):
    """Train for config['epochs'] epochs, of which the first trains nothing, so that random weights are logged.

    Args:
        step: from make_train_step.
        clips: patches.Clips of the S chosen clips; they stay on the device.
        labels: (S,) int.
        sample: function () -> (starts, clip numbers) of the patches of one epoch, in order.
        after_epoch: called as after_epoch(epoch from 1, mean cost or NaN, seconds so far in this epoch).
        description, hidden: text before the progress bar, and whether to show none.

    Raises UserError when the cost is no longer finite.
    """
    frames = tf.constant(clips.frames)
    labels = np.asarray(labels, np.int64)
    learning_rate = tf.constant(config['learning_rate'], tf.float32)
    with tqdm(range(1, config['epochs'] + 1), desc=description, unit='epoch', disable=hidden, **PROGRESS) as bar:
        for epoch in bar:
            begin, cost = time.perf_counter(), float('nan')
            if epoch > 1:
                starts, clip = sample()
                batches = [slice(i, i + config['batch_size']) for i in range(0, len(starts), config['batch_size'])]
                costs = [step(frames, starts[b], labels[clip[b]], learning_rate) for b in batches]
                cost = float(tf.reduce_mean(tf.stack(costs)))  # the only wait for the device in an epoch
                if not np.isfinite(cost):
                    raise UserError(f'training diverged: the cost of epoch {epoch} is {cost}. Choose a smaller '
                                    f'learning_rate than {config["learning_rate"]}, or check the input (pre_processing)')
                bar.set_postfix(cost=f'{cost:.3f}', refresh=False)
            after_epoch(epoch, cost, time.perf_counter() - begin)
