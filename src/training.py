"""Compiled updates of the weights: one SGD step on a batch of patches, supervised or episodic."""
import numpy as np

import models_proto
from backend import tf
from layers import BatchNormalization
from pretrained import NETWORKS
from shared import UserError

CLIP_NORM = 5.0
PRETRAINED_FACTOR = 0.0001  # of the study, under 'many_lr_audioset'


def cut_patches(frames, starts, n_frames):
    """Patches (N, n_frames, M) that begin at `starts` (N,) in `frames` (T, M); on the device."""
    patches = tf.gather(frames, starts[:, None] + tf.range(n_frames, dtype=tf.int64))  # TensorFlow computes int32 on the host
    return tf.ensure_shape(patches, (None, n_frames, frames.shape[1]))


def frames_spec(model):
    """The signature of frames (T, M) of any length for a model with patches (N, F, M)."""
    return tf.TensorSpec((None, model.input_shape[2]), tf.float32)


def apply_step(model, weight_decay, patches, labels, learning_rate, optimizer='SGD_clip',
               pretrained_factor=PRETRAINED_FACTOR):
    """One update of the model on patches (N, F, M) with labels (N,); returns the cost before it. To be compiled.

    Cost: mean softmax cross-entropy + weight_decay x sum of half the squared norm of each kernel, pretrained ones apart. Optimizers: see sgd_step.
    """
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        logits = model(patches, training=True)
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        if weight_decay is not None:
            pretrained = pretrained_variables(model)
            cost += weight_decay * tf.add_n([tf.nn.l2_loss(v.value) for v in variables if v.name == 'kernel' and id(v) not in pretrained])
    sgd_step(model, optimizer, tape.gradient(cost, variables), learning_rate, pretrained_factor)
    return cost


def pretrained_variables(model):
    """Identities of the trainable variables of pretrained layers, which are named as in pretrained.NETWORKS (set)."""
    return {id(variable) for layer in model.layers if layer.name in NETWORKS for variable in layer.trainable_variables}


def sgd_step(model, optimizer, gradients, learning_rate, pretrained_factor=PRETRAINED_FACTOR):
    """One step of plain SGD on all trainable variables of the model. To be compiled.

    'SGD_clip': gradients are clipped to global norm 5.0. 'many_lr_audioset': pretrained layers learn with the learning
    rate x pretrained_factor; nothing is clipped.
    """
    variables = model.trainable_variables
    if optimizer == 'SGD_clip':
        gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
        for variable, gradient in zip(variables, gradients):
            variable.assign_sub(learning_rate * gradient)
        return
    pretrained = pretrained_variables(model)
    if not pretrained:
        raise UserError(f'optimizer={optimizer!r} is not valid here, it has a learning rate of its own for a pretrained network: '
                        f"expected 'SGD_clip'")
    for variable, gradient in zip(variables, gradients):
        rate = learning_rate * (pretrained_factor if id(variable) in pretrained else 1.0)
        # in place: a product would need another 288 MB for VGGish
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.value.handle, alpha=rate, delta=gradient)


def make_train_step(model, weight_decay, optimizer='SGD_clip', pretrained_factor=PRETRAINED_FACTOR):
    """A compiled step(frames, starts, labels, learning_rate) -> cost: apply_step on patches cut on the device."""
    # with an open batch size, the last, smaller batch of an epoch does not trace the function again
    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64),
                                  tf.TensorSpec((), tf.float32)])
    def step(frames, starts, labels, learning_rate):
        patches = cut_patches(frames, starts, model.input_shape[1])
        return apply_step(model, weight_decay, patches, labels, learning_rate, optimizer, pretrained_factor)
    return step


def make_statistics_step(model):
    """A compiled step(frames, starts) -> list of (mean, variance) of each layer of batch normalisation on patches cut on the device.

    Weights stay as they are and dropout is off; each layer normalises by the statistics of the batch that it returns.
    """
    layers = normalised_layers(model)

    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64)])
    def step(frames, starts):
        for layer in layers:
            layer.collecting = True
        try:
            model(cut_patches(frames, starts, model.input_shape[1]), training=False)
        finally:
            for layer in layers:
                layer.collecting = False
        return [layer.collected for layer in layers]
    return step


def normalised_layers(model):
    """The layers of batch normalisation of a model, also of models in it (list)."""
    return [inner for layer in model.layers for inner in (normalised_layers(layer) if hasattr(layer, 'layers') else [layer])
            if isinstance(inner, BatchNormalization)]


def estimate_statistics(model, step, frames, passes, batch_size):
    """Replace the moving statistics of batch normalisation by plain averages over training patches, with the weights as they are.

    With few updates (one per epoch, if the clips fit one batch), moving averages of momentum 0.99 lag behind the weights when training
    stops: the network that is evaluated is then not the one that was trained. Source of the idea: Wu and Johnson, Rethinking "batch" in
    BatchNorm (arXiv 2105.07576), "precise BN".

    Args:
        step: from make_statistics_step.
        frames: (T, M) tensor of the training clips.
        passes: iterable of start frames (N,) of the patches of each pass.
        batch_size: patches at once; averages over batches are weighted by their patches.
    """
    total, layers = 0, normalised_layers(model)
    sums = [[tf.zeros_like(layer.moving_mean), tf.zeros_like(layer.moving_variance)] for layer in layers]
    for starts in passes:
        for first in range(0, len(starts), batch_size):
            batch = starts[first:first + batch_size]
            for both, values in zip(sums, step(frames, batch)):
                both[:] = [part + len(batch) * value for part, value in zip(both, values)]
            total += len(batch)
    for layer, (mean, variance) in zip(layers, sums):
        layer.moving_mean.assign(mean / total)
        layer.moving_variance.assign(variance / total)


def apply_episode(model, distance, num_classes, support, support_labels, query, labels, learning_rate, optimizer='SGD_clip',
               pretrained_factor=PRETRAINED_FACTOR):
    """One update of an embedding network on an episode; returns figures from before it, (3 or 5,) float32. To be compiled.

    Support and query set pass the network separately, each normalised by its own batch statistics; both update the moving
    averages. Cost: mean cross-entropy of the query patches' classes. Optimizers: see sgd_step.

    Args:
        distance: 'euclidean' or 'cosine'.
        support, support_labels: patches (P, F, M) and their labels (P,).
        query, labels: patches (Q, F, M) and their labels (Q,).

    Returns cost, mean distance between the prototypes, accuracy on the query, and alpha and beta of log-learn if there.
    """
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        prototypes = models_proto.prototypes(model(support, training=True), support_labels, num_classes)
        log_probabilities = models_proto.log_probabilities(model(query, training=True), prototypes, distance)
        cost = -tf.reduce_mean(tf.gather(log_probabilities, labels, batch_dims=1))
    between = tf.reduce_mean(models_proto.distances(prototypes, prototypes, distance))
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(log_probabilities, -1) == labels, tf.float32))
    figures = tf.stack([cost, between, accuracy, *log_learn_values(model).values()])
    sgd_step(model, optimizer, tape.gradient(cost, variables), learning_rate, pretrained_factor)
    return figures


def log_learn_values(model):
    """{'alpha': ..., 'beta': ...} (tensors) of a model with log-learn, {} of any other."""
    layer = next((layer for layer in model.layers if layer.name == 'log_learn'), None)
    return {'alpha': layer.alpha, 'beta': layer.beta} if layer else {}


def make_episode_step(model, distance, num_classes, optimizer='SGD_clip', pretrained_factor=PRETRAINED_FACTOR):
    """A compiled step(frames, support starts, labels, query starts, labels, learning rate): apply_episode on these patches."""
    places = [tf.TensorSpec((None,), tf.int64)] * 2

    @tf.function(input_signature=[frames_spec(model), *places, *places, tf.TensorSpec((), tf.float32)])
    def step(frames, support, support_labels, query, labels, learning_rate):
        support, query = (cut_patches(frames, starts, model.input_shape[1]) for starts in (support, query))
        return apply_episode(model, distance, num_classes, support, support_labels, query, labels, learning_rate, optimizer, pretrained_factor)
    return step


def check_cost(costs, epoch, config):
    """Raise UserError unless the costs (and other figures) of an epoch are finite."""
    if not np.isfinite(costs).all():
        raise UserError(f'training diverged: the cost of epoch {epoch} is {np.mean(costs)}. Choose a smaller learning_rate than '
                        f'{config["learning_rate"]}, or check the input (pre_processing)')
