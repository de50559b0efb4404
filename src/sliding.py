"""The sliding-window form of a model: the logits of all patches of a clip from one pass over its frames, exactly.

Patches that begin a frame apart share nearly all their columns, at every depth of a network. Here the shared columns are
computed once for all patches, with the layers of the Keras model itself. The logits are those of patch by patch, up to rounding.
"""
from dataclasses import dataclass, field, replace

import numpy as np

from backend import keras, tf
from layers import BatchNormalization, LogLearn, NormalizedConv2D, StrongestMatch
from training import frames_spec


class NoSlidingForm(Exception):
    """A model can only be computed patch by patch; the message gives the reason."""


@dataclass
class Work:
    """Multiplications in the convolutions of one pass: per frame and per patch; plain: per patch, computed patch by patch."""
    frame: int = 0
    patch: int = 0
    plain: int = 0


@dataclass
class Columns:
    """The output of a layer for N patches, (N, number, M, C). Columns that patches share are stored once.

    Column j of the patch that begins at frame s is

        shared[0, s + j * stride - origin]        in the middle,
        left[patch, j], right[patch, j - number]  at the ends, where zero padding makes columns that belong to one patch.

    Attributes: shared (1, T, M, C); starts (N,) int64, s of each patch; left (N, l, M, C) and right (N, r, M, C), or None.
    """
    shared: tf.Tensor
    starts: tf.Tensor
    number: int
    stride: int = 1
    origin: int = 0
    left: tf.Tensor | None = None
    right: tf.Tensor | None = None
    work: Work = field(default_factory=Work)

    @property
    def own(self):
        """Numbers of columns (l, r) at the ends that are not shared."""
        return tuple(0 if end is None else end.shape[1] for end in (self.left, self.right))

    def columns(self, first, last):
        """Columns first to last - 1 of all patches: (N, last - first, M, C)."""
        l, r = self.own
        begin, end = max(first, l), min(last, self.number - r)  # of these, the shared ones
        parts = [self.left[:, first:last]] if first < l else []
        if begin < end:
            places = tf.range(begin, end, dtype=tf.int64) * self.stride - self.origin
            parts.append(tf.gather(self.shared[0], self.starts[:, None] + places))
        if last > self.number - r:
            parts.append(self.right[:, max(first - self.number + r, 0):last - self.number + r])
        return tf.concat(parts, axis=1)

    def patches(self):
        """All columns: (N, number, M, C)."""
        return self.columns(0, self.number)

    def map(self, function):
        """The same columns after a function that treats every column alike."""
        ends = [None if end is None else function(end) for end in (self.left, self.right)]
        return replace(self, shared=function(self.shared), left=ends[0], right=ends[1])

    def convolve(self, kernel, bias, padding, activation):
        """After a convolution with kernel (height, width, C, filters), bias (filters,) or None, and an activation.

        The shared columns are convolved with gaps of the stride. With zero padding, `before` further output columns at the left
        and `after` at the right depend on zeros. The columns that are not shared are computed from the few columns at each end of every patch.
        """
        height, width = kernel.shape[:2]
        before, after, low, high = ((height - 1) // 2, height // 2, (width - 1) // 2, width // 2) if padding == 'same' else [0] * 4
        l, r = self.own
        number = self.number + before + after - height + 1
        if l + before + after + r > number:
            raise NoSlidingForm('its patches are too short')

        def convolved(x, before=0, after=0, stride=1):
            y = tf.nn.conv2d(x, kernel, 1, [[0, 0], [before, after], [low, high], [0, 0]], dilations=(stride, 1))
            return activation(y if bias is None else tf.nn.bias_add(y, bias))

        shared = convolved(self.shared, stride=self.stride)
        left = convolved(self.columns(0, l + height - 1), before=before) if l + before else None
        right = convolved(self.columns(self.number - r - height + 1, self.number), after=after) if r + after else None
        each = int(np.prod(kernel.shape)) * shared.shape[2]
        self.work.frame += each
        self.work.patch += each * (l + before + r + after)
        self.work.plain += each * number
        return replace(self, shared=shared, left=left, right=right, number=number, origin=self.origin + before * self.stride)

    def pool(self, height, width):
        """After the maximum over `height` columns and `width` bands that are next to each other, as Keras pools."""
        l, r = self.own
        number = self.number // height
        first, last = -(-l // height), (self.number - r) // height  # of the pooled columns, those between are shared
        if first > last:
            raise NoSlidingForm('its patches are too short')
        x = self.map(lambda values: tf.nn.max_pool2d(values, (1, width), (1, width), 'VALID'))

        def pooled(begin, end):
            return tf.nn.max_pool2d(x.columns(begin * height, end * height), (height, 1), (height, 1), 'VALID')

        return replace(x, shared=sliding_maximum(x.shared, height, self.stride), number=number, stride=self.stride * height,
                       left=pooled(0, first) if first else None, right=pooled(last, number) if last < number else None)


def sliding_maximum(x, window, stride):
    """Maxima of x (1, T, ...) over `window` frames with gaps of `stride`: the one at t begins there. By doubling."""
    done = 1
    while done < window:
        step = min(done, window - done)
        x, done = tf.maximum(x[:, :-step * stride], x[:, step * stride:]), done + step
    return x


# ---- layers, by their types: (layer, Columns) -> Columns, or the values of patches (N, ...) ---------------------------

def column_by_column(layer, x):
    return x.map(lambda values: layer(values, training=False))


def convolution(layer, x):
    wanted = {'strides': (1, 1), 'dilation_rate': (1, 1), 'groups': 1, 'data_format': 'channels_last', 'use_bias': True}
    if any(getattr(layer, key) != value for key, value in wanted.items()) or layer.padding not in ('same', 'valid'):
        raise NoSlidingForm(f'its layer {layer.name} has options that are not known here')
    return x.convolve(tf.convert_to_tensor(layer.kernel), layer.bias, layer.padding, layer.activation)


def normalized_convolution(layer, x):
    x = x.map(layer.normalise_in_evaluation)
    return x.convolve(tf.convert_to_tensor(layer.kernel), layer.bias, layer.padding.lower(), layer.activation)


def pooling(layer, x):
    if layer.strides != layer.pool_size or layer.padding != 'valid' or layer.data_format != 'channels_last':
        raise NoSlidingForm(f'its layer {layer.name} has options that are not known here')
    return x.pool(*layer.pool_size)


def strongest_match(layer, x):
    match = x.convolve(tf.convert_to_tensor(layer.kernel), None, 'valid', tf.identity)
    if any(match.own):
        raise NoSlidingForm(f'its layer {layer.name} comes after zero padding')
    strongest = sliding_maximum(tf.reduce_max(match.shared, axis=2), match.number, match.stride)
    return tf.gather(strongest[0], match.starts) + layer.bias


def new_axis(layer, x):
    if layer.target_shape != (x.number, *x.shared.shape[2:], 1):
        raise NoSlidingForm(f'its layer {layer.name} moves values between frames')
    return x.map(lambda values: values[..., None])


def flattening(layer, x):
    return layer(x.patches())


# by the exact type: a subclass may compute something else
SLIDING = {
    LogLearn: column_by_column, BatchNormalization: column_by_column,
    keras.layers.Dropout: column_by_column, keras.layers.Dense: column_by_column,
    keras.layers.Reshape: new_axis, keras.layers.Conv2D: convolution, NormalizedConv2D: normalized_convolution,
    keras.layers.MaxPooling2D: pooling, StrongestMatch: strongest_match, keras.layers.Flatten: flattening,
}


def chain(model):
    """The layers of a model that are a chain, from input to output. Raises NoSlidingForm for other models."""
    layers, x = [], model.inputs[0]
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if type(layer) not in SLIDING:
            raise NoSlidingForm(f'its layer {type(layer).__name__} is not known here')
        if layer.input is not x:
            raise NoSlidingForm('its layers are not a chain')
        layers, x = [*layers, layer], layer.output
    if model.outputs[0] is not x or len(model.inputs) + len(model.outputs) > 2:
        raise NoSlidingForm('its layers are not a chain')
    return layers


def make_slider(model):
    """A compiled slide(frames, starts) -> logits (N, C) in evaluation mode, and the Work that it takes.

    It takes the arguments of scoring.make_scorer(model): frames (T, M) float32 of one or several clips, starts (N,) int64
    of patches anywhere in them. It reads the model's variables at every call, and is traced once.

    Raises NoSlidingForm for a model that can only be computed patch by patch.
    """
    layers, work = chain(model), Work()

    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64)], autograph=False)
    def slide(frames, starts):
        x = Columns(frames[None], starts, model.input_shape[1], work=work)
        for layer in layers:
            x = SLIDING[type(layer)](layer, x) if isinstance(x, Columns) else layer(x, training=False)
        return x.patches() if isinstance(x, Columns) else x

    slide.get_concrete_function()
    return slide, work
