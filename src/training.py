"""The two training loops, supervised and episodic, and the compiled functions that they call."""
import time

import numpy as np
from tqdm import tqdm

import models_proto
from backend import tf
from shared import PROGRESS, UserError

CLIP_NORM = 5.0
PRETRAINED_FACTOR = 0.0001  # of the learning rate, for pre-trained layers under 'many_lr_audioset'


def cut_patches(frames, starts, n_frames):
    """Patches (N, n_frames, M) that begin at `starts` (N,) in `frames` (T, M); on the device."""
    patches = tf.gather(frames, starts[:, None] + tf.range(n_frames, dtype=tf.int64))  # int32 would be computed on the host
    return tf.ensure_shape(patches, (None, n_frames, frames.shape[1]))


def frames_spec(model):
    return tf.TensorSpec((None, model.input_shape[2]), tf.float32)


def apply_step(model, weight_decay, patches, labels, learning_rate, optimizer='SGD_clip'):
    """One update of the model on patches (N, F, M) with labels (N,); returns the cost before it. To be compiled.

    Cost: mean softmax cross-entropy + weight_decay x sum of half the squared norm of each kernel. Optimizers: see descend.
    """
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        logits = model(patches, training=True)
        cost = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        if weight_decay is not None:
            cost += weight_decay * tf.add_n([tf.nn.l2_loss(v.value) for v in variables if v.name == 'kernel'])
    descend(model, optimizer, tape.gradient(cost, variables), learning_rate)
    return cost


def descend(model, optimizer, gradients, learning_rate):
    """One step of plain SGD on all trainable variables of the model. To be compiled.

    'SGD_clip': gradients are clipped to global norm 5.0. 'many_lr_audioset': the layer named vggish learns with the learning
    rate x 0.0001, nothing is clipped.
    """
    variables = model.trainable_variables
    if optimizer == 'SGD_clip':
        gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
        for variable, gradient in zip(variables, gradients):
            variable.assign_sub(learning_rate * gradient)
        return
    pretrained = {id(variable) for variable in model.get_layer('vggish').trainable_variables}
    for variable, gradient in zip(variables, gradients):
        rate = learning_rate * (PRETRAINED_FACTOR if id(variable) in pretrained else 1.0)
        # 288 MB of variables: in place, without a product of their size in between
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.value.handle, alpha=rate, delta=gradient)


def make_train_step(model, weight_decay, optimizer='SGD_clip'):
    """A compiled step(frames, starts, labels, learning_rate) -> cost: apply_step on patches cut on the device."""
    # the batch size stays open, so that the last, smaller batch of an epoch does not trace and compile a second time
    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64),
                                  tf.TensorSpec((), tf.float32)])
    def step(frames, starts, labels, learning_rate):
        patches = cut_patches(frames, starts, model.input_shape[1])
        return apply_step(model, weight_decay, patches, labels, learning_rate, optimizer)
    return step


def apply_episode(model, distance, num_classes, support, support_labels, query, labels, learning_rate, optimizer='SGD_clip'):
    """One update of an embedding network on an episode; returns its figures before it, (3 or 5,) float32. To be compiled.

    Support and query pass the network one after the other, each normalised by its own batch statistics; both move the
    moving averages. Cost: mean cross-entropy of the query patches' classes. Optimizers: see descend.

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
    descend(model, optimizer, tape.gradient(cost, variables), learning_rate)
    return figures


def log_learn_values(model):
    """{'alpha': ..., 'beta': ...} of a model behind log-learn (tensors), {} of any other."""
    layer = next((layer for layer in model.layers if layer.name == 'log_learn'), None)
    return {'alpha': layer.alpha, 'beta': layer.beta} if layer else {}


def make_episode_step(model, distance, num_classes, optimizer='SGD_clip'):
    """A compiled step(frames, support starts, labels, query starts, labels, learning rate): apply_episode on patches cut there."""
    places = [tf.TensorSpec((None,), tf.int64)] * 2

    @tf.function(input_signature=[frames_spec(model), *places, *places, tf.TensorSpec((), tf.float32)])
    def step(frames, support, support_labels, query, labels, learning_rate):
        support, query = (cut_patches(frames, starts, model.input_shape[1]) for starts in (support, query))
        return apply_episode(model, distance, num_classes, support, support_labels, query, labels, learning_rate, optimizer)
    return step


def make_scorer(model):
    """A compiled score(frames, starts) -> logits (N, C), or embeddings (N, D), in evaluation mode."""
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
                    raise_diverged(epoch, cost, config)
                bar.set_postfix(cost=f'{cost:.3f}', refresh=False)
            after_epoch(epoch, cost, time.perf_counter() - begin)


def raise_diverged(epoch, cost, config):
    raise UserError(f'training diverged: the cost of epoch {epoch} is {cost}. Choose a smaller learning_rate than '
                    f'{config["learning_rate"]}, or check the input (pre_processing)')


class StopRule:
    """When an episodic run has learnt enough: the study's rule.

    It stops when the accuracy after an epoch failed for more than max_accuracy times to exceed the best one before. The
    failures of the whole run count, not only those in a row. max_epochs (None: any number) stops it earlier.

    Attributes: epoch, best (accuracy), failures, reached.
    """

    def __init__(self, config):
        self._max_failures, self._max_epochs = config['max_accuracy'], config['max_epochs']
        self.epoch, self.best, self.failures, self.reached = 0, -1.0, 0, False

    def add(self, accuracy):
        """Count an epoch that ended with this accuracy."""
        self.epoch += 1
        self.failures += accuracy <= self.best
        self.best = max(self.best, accuracy)
        self.reached = self.failures > self._max_failures or self.epoch == self._max_epochs


def train_episodic(step, frames, starts, labels, episodes, config, after_epoch, description, hidden=False):
    """Train an embedding network on episodes until the stop rule is reached; returns the rule with its counts.

    Args:
        step: from make_episode_step.
        frames: (T, M) float32 tensor of all chosen clips, on the device.
        starts, labels: (N,) int64, the training patches.
        episodes: fewshot.Episodes of those patches.
        after_epoch: called as after_epoch(epoch from 1, figures (updates, 3 or 5) of step, seconds); returns the accuracy.
        description, hidden: text before the progress bar, and whether to show none.

    Raises UserError when the cost is no longer finite.
    """
    rule, learning_rate = StopRule(config), tf.constant(config['learning_rate'], tf.float32)
    support = tf.constant(starts[episodes.support]), tf.constant(labels[episodes.support])
    with tqdm(desc=description, unit='update', disable=hidden, **PROGRESS) as bar:
        while not rule.reached:
            begin, figures = time.perf_counter(), []
            for _ in range(episodes.updates):
                query = episodes.query()
                figures.append(step(frames, *support, starts[query], labels[query], learning_rate))
                bar.update()
            figures = tf.stack(figures).numpy()  # the only wait for the device in an epoch's updates
            if not np.isfinite(figures).all():
                raise_diverged(rule.epoch + 1, figures[:, 0].mean(), config)
            rule.add(after_epoch(rule.epoch + 1, figures, time.perf_counter() - begin))
            bar.set_postfix_str(f'epoch {rule.epoch}, best accuracy {rule.best:.3f}, not improved {rule.failures} times '
                                f'(stops above {config["max_accuracy"]})', refresh=False)
    return rule
