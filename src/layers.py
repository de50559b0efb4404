"""Keras layers that the study needs and that Keras lacks or computes slowly on a CPU. All work in float32, channels last.

Batch normalisation is that of the study: momentum 0.99, epsilon 0.001, and moving variances from the unbiased batch variance,
as TensorFlow's fused kernel computes them.
"""
import random

from backend import keras, tf

MOMENTUM, EPSILON = 0.99, 0.001


class Seeds:
    """The seeds of a model's initialisers and dropout layers, one after the other, from one seed.

    Without them, Keras draws seeds from Python's global generator, which other threads, e.g. of a Dask worker, use too.
    """

    def __init__(self, seed):
        self._random = random.Random(seed)

    def __call__(self):
        """The next seed (int)."""
        return self._random.randint(1, 10 ** 9)

    def glorot(self):
        """A Glorot uniform initialiser with the next seed."""
        return keras.initializers.GlorotUniform(self())


def batch_moments_normalised(x, scale, offset):
    """Normalise (..., C) over all other axes; returns the result, the batch mean and the unbiased batch variance, (C,) each."""
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=[], variance=[],
                                                        epsilon=EPSILON, is_training=True)
    return y, mean, variance


class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over the last axis of (N, height, width, C) by TensorFlow's fused kernel.

    Keras's own layer consists of single operations, which make a training step of VGG 1.7 times slower on a CPU.
    """

    def build(self, shape):
        self.add_statistics(shape[-1])

    def add_statistics(self, channels):
        """Create scale, offset and the moving statistics of `channels` channels."""
        self.gamma = self.add_weight(shape=(channels,), initializer='ones', name='gamma')
        self.beta = self.add_weight(shape=(channels,), initializer='zeros', name='beta')
        self.moving_mean = self.add_weight(shape=(channels,), initializer='zeros', trainable=False, name='moving_mean')
        self.moving_variance = self.add_weight(shape=(channels,), initializer='ones', trainable=False,
                                               name='moving_variance')

    collecting = False  # whether calls out of training use the statistics of the batch and keep them in `collected`

    def update_statistics(self, mean, variance):
        """Move the moving statistics towards those of a batch."""
        self.moving_mean.assign(MOMENTUM * self.moving_mean + (1 - MOMENTUM) * mean)
        self.moving_variance.assign(MOMENTUM * self.moving_variance + (1 - MOMENTUM) * variance)

    def normalise_in_evaluation(self, x):
        """Normalise by the moving statistics; while they are re-estimated, by those of the batch, see training.make_statistics_step."""
        if self.collecting:
            y, *self.collected = batch_moments_normalised(x, self.gamma, self.beta)
            return y
        return tf.raw_ops.FusedBatchNormV3(x=x, scale=self.gamma, offset=self.beta, mean=self.moving_mean,
                                           variance=self.moving_variance, epsilon=EPSILON, is_training=False)[0]

    def call(self, x, training=False):
        if not training:
            return self.normalise_in_evaluation(x)
        y, mean, variance = batch_moments_normalised(x, self.gamma, self.beta)
        self.update_statistics(mean, variance)
        return y


class FrameNormalization(BatchNormalization):
    """Batch normalisation of (N, F, M, 1) with statistics, scale and offset per time frame, taken over patches and bands."""

    def build(self, shape):
        self.add_statistics(shape[1])

    def call(self, x, training=False):
        swap = [0, 3, 2, 1]  # the fused kernel normalises over the last axis
        return tf.transpose(super().call(tf.transpose(x, swap), training=training), swap)


class NormalizedConv2D(BatchNormalization):
    """Batch normalisation of a one-channel input and the convolution that follows it, in one layer.

    For the normalised input x' and the kernel W, conv(gamma x' + beta, W) = conv(x', gamma W) + beta conv(1, W), and the last
    term is the same for all patches. So the gradients of gamma and beta follow from that of the kernel. The gradient of the
    convolution's input, the most expensive part of a training step for one channel, is not computed. The result is the same
    up to rounding; on 2 CPU cores, the training step of VGG is 1.2 and that of SB-CNN 1.6 times faster.
    """

    def __init__(self, filters, size, padding, activation, initializer='glorot_uniform', **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.padding, self.initializer = filters, size, padding.upper(), initializer
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        self.add_statistics(1)
        self.kernel = self.add_weight(shape=(*self.size, 1, self.filters), initializer=self.initializer, name='kernel')
        self.bias = self.add_weight(shape=(self.filters,), initializer='zeros', name='bias')

    def call(self, x, training=False):
        if not training:
            x = self.normalise_in_evaluation(x)
            return self.activation(tf.nn.bias_add(tf.nn.conv2d(x, self.kernel, 1, self.padding), self.bias))
        x, mean, variance = batch_moments_normalised(x, tf.ones(1), tf.zeros(1))
        self.update_statistics(mean, variance)
        y = tf.nn.conv2d(x, self.gamma * self.kernel, 1, self.padding)
        # zero padding follows the normalisation, so that beta's part is smaller at the edges
        offset = self.beta * tf.nn.conv2d(tf.ones_like(x[:1]), self.kernel, 1, self.padding)
        return self.activation(y + (offset + self.bias))


class StrongestMatch(keras.layers.Layer):
    """Valid convolution of a one-channel input followed by the maximum over all places: (N, height, width, 1) -> (N, filters).

    Only the window of the maximum has a gradient. In training, the convolution only finds the place of each maximum, and the
    value is computed again from that window. The result is the same up to rounding; on 2 CPU cores, the training step of
    TIMBRE is 12 times faster than with the gradient of the whole convolution.
    """

    def __init__(self, filters, size, initializer='glorot_uniform', **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.initializer = filters, size, initializer

    def build(self, shape):
        self.width = shape[2]
        self.kernel = self.add_weight(shape=(*self.size, 1, self.filters), initializer=self.initializer, name='kernel')
        self.bias = self.add_weight(shape=(self.filters,), initializer='zeros', name='bias')

    def call(self, x, training=False):
        match = tf.nn.conv2d(x, self.kernel, 1, 'VALID')
        if not training:
            return tf.reduce_max(match, [1, 2]) + self.bias
        height, width = self.size
        columns = match.shape[2]
        match = tf.reshape(match, [-1, match.shape[1] * columns, self.filters])
        # int64 throughout: TensorFlow computes int32 on the host, even beside a GPU
        place = tf.argmax(match, axis=1)  # (N, filters); the first one where several are equal
        row = place // columns
        corner = row * self.width + (place - row * columns)
        window = tf.range(height, dtype=tf.int64)[:, None] * self.width + tf.range(width, dtype=tf.int64)
        pixels = tf.reshape(corner[..., None] + tf.reshape(window, [-1]), [tf.shape(x)[0], -1])
        windows = tf.gather(tf.reshape(x, [tf.shape(x)[0], -1]), pixels, batch_dims=1)
        windows = tf.reshape(windows, [-1, self.filters, height * width])
        return tf.einsum('nfp,pf->nf', windows, tf.reshape(self.kernel, [height * width, self.filters])) + self.bias


class LogLearn(keras.layers.Layer):
    """Learnt compression log(alpha x + beta) of uncompressed input, alpha = exp(ta), beta = log(1 + exp(ba))."""

    def build(self, shape):
        self.ta = self.add_weight(shape=(), initializer=keras.initializers.Constant(7.0), name='ta')
        self.ba = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.0), name='ba')

    @property
    def alpha(self):
        return tf.exp(self.ta)

    @property
    def beta(self):
        return tf.nn.softplus(self.ba)

    def call(self, x):
        return tf.math.log(self.alpha * x + self.beta)
