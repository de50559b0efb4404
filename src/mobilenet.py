"""mn04 and mn10: MobileNetV3-Large of two widths, trained on AudioSet, as Keras models, and their weights.

Source: Schmid et al., Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation (arXiv 2211.04772), in the
form that its authors released as EfficientAT; Howard et al., Searching for MobileNetV3 (arXiv 1905.02244), table 1.
"""
import numpy as np

from backend import keras, tf
from layers import Seeds
from mobilenet_input import NUM_BANDS
from pretrained import NETWORKS
from shared import UserError
from torch_file import read_tensors

WIDTHS = {'mn04': 0.4, 'mn10': 1.0}
EPSILON = 1e-3
# kernel, channels after expansion, channels out, squeeze-excitation, hard swish (else ReLU), stride; channels at width 1
BLOCKS = ((3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1), (5, 72, 40, True, False, 2),
          (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1), (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1),
          (3, 184, 80, False, True, 1), (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
          (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1))


def channels(number):
    """A number of channels as a multiple of 8, at least 8 and at least 90 % of the number."""
    rounded = max(8, int(number + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * number else rounded


def hard_swish(x):
    return x * tf.nn.relu6(x + 3) * (1 / 6)


class FixedNormConv2D(keras.layers.Layer):
    """Convolution without bias, batch normalisation by fixed statistics, activation: (N, height, width, C) -> (N, ..., filters).

    The statistics are those of the weights file, in training too: few examples would spoil them. The normalisation is part of the
    kernel, conv(x, W) s + b = conv(x, s W) + b, so that it costs nothing; kernel, scale and offset are trainable all the same.

    Args:
        filters: None: depthwise.
        size, stride: of the square kernel.
        activation: function or None.
        epsilon: added to the variances.
        scale: whether the normalisation has a factor.
        padding: 'same', TensorFlow's, or 'symmetric', PyTorch's: (size - 1) / 2 zeros at each border.
    """

    folded = None  # constant kernel and offset of a network that learns no more, see fold_normalisation

    def __init__(self, filters, size, stride=1, activation=None, epsilon=EPSILON, scale=True, padding='symmetric', seed=None,
                 **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.stride, self.activation = filters, size, stride, activation
        self.epsilon, self.scale, self.seed = epsilon, scale, seed
        # at stride 1 both are the same
        border = [(size - 1) // 2] * 2
        self.padding = [[0, 0], border, border, [0, 0]] if padding == 'symmetric' and stride > 1 else 'SAME'

    def build(self, shape):
        out = self.filters or shape[-1]
        kernel = (self.size, self.size, shape[-1], self.filters or 1)
        self.kernel = self.add_weight(shape=kernel, initializer=keras.initializers.HeNormal(self.seed), name='kernel')
        self.gamma = self.add_weight(shape=(out,), initializer='ones', name='gamma') if self.scale else 1.
        self.beta = self.add_weight(shape=(out,), initializer='zeros', name='beta')
        self.moving_mean = self.add_weight(shape=(out,), initializer='zeros', trainable=False, name='moving_mean')
        self.moving_variance = self.add_weight(shape=(out,), initializer='ones', trainable=False, name='moving_variance')

    def call(self, x):
        kernel, offset = self.folded or self.kernel_and_offset()
        y = tf.nn.bias_add(self.convolve(x, kernel), offset)
        return y if self.activation is None else self.activation(y)

    def kernel_and_offset(self):
        """Kernel and offset with the normalisation in them."""
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return self.kernel * (scale if self.filters else scale[:, None]), self.beta - self.moving_mean * scale

    def convolve(self, x, kernel):
        """The convolution alone, with another kernel of the same shape."""
        if self.filters:
            return tf.nn.conv2d(x, kernel, self.stride, self.padding)
        if self.padding == 'SAME':
            return tf.nn.depthwise_conv2d(x, kernel, [1, self.stride, self.stride, 1], 'SAME')
        # padded on its own: where TensorFlow 2.21 uses oneDNN (processors with AVX-512), its optimiser ends the process on an explicitly
        # padded depthwise convolution with a bias
        return tf.nn.depthwise_conv2d(tf.pad(x, self.padding), kernel, [1, self.stride, self.stride, 1], 'VALID')


def fold_normalisation(model):
    """Multiply the normalisations of a model into its kernels once and for all: from then on its weights have no effect.

    It computes the same, to the last bit, 10 to 20 % faster on a CPU.
    """
    for layer in model.layers:
        if hasattr(layer, 'layers'):
            fold_normalisation(layer)
        elif isinstance(layer, FixedNormConv2D):
            layer.folded = tuple(tf.constant(value.numpy()) for value in layer.kernel_and_offset())


class SqueezeExcitation(keras.layers.Layer):
    """Channels (N, height, width, C) weighted by what their means say, after Hu et al. (arXiv 1709.01507)."""

    def __init__(self, squeezed, seeds, **kwargs):
        super().__init__(**kwargs)
        self.squeezed, self.initializers = squeezed, [seeds.glorot(), seeds.glorot()]

    def build(self, shape):
        self.dense = [(self.add_weight(shape=size, initializer=initializer, name=f'fc{i}_kernel'),
                       self.add_weight(shape=size[1:], initializer='zeros', name=f'fc{i}_bias'))
                      for i, (size, initializer) in enumerate(zip([(shape[-1], self.squeezed), (self.squeezed, shape[-1])],
                                                                  self.initializers), 1)]

    def call(self, x):
        (kernel1, bias1), (kernel2, bias2) = self.dense
        squeezed = tf.nn.relu(tf.reduce_mean(x, [1, 2]) @ kernel1 + bias1)
        return x * tf.sigmoid(squeezed @ kernel2 + bias2)[:, None, None]


def outputs(examples, width, seeds):
    """The network on examples, a Keras tensor (N, T, 128): dictionary of its outputs, see build."""
    def convolution(filters, size=1, **kwargs):
        return FixedNormConv2D(filters, size, seed=seeds(), **kwargs)

    def dense(size, **kwargs):
        return keras.layers.Dense(size, kernel_initializer=seeds.glorot(), **kwargs)

    net = keras.layers.Reshape((-1, NUM_BANDS, 1))(examples)
    net = convolution(channels(16 * width), 3, stride=2, activation=hard_swish, name='features.0')(net)
    for i, (size, expanded, out, excited, swish, stride) in enumerate(BLOCKS, 1):
        expanded, out, kept = channels(expanded * width), channels(out * width), net
        activation = hard_swish if swish else tf.nn.relu
        layers = [convolution(None, size, stride=stride, activation=activation)]
        if expanded != net.shape[-1]:
            layers.insert(0, convolution(expanded, activation=activation))
        if excited:
            layers.append(SqueezeExcitation(channels(expanded // 4), seeds))
        for j, layer in enumerate([*layers, convolution(out)]):
            layer.name = f'features.{i}.block.{j}'
            net = layer(net)
        if stride == 1 and out == kept.shape[-1]:
            net = keras.layers.Add()([net, kept])
    net = convolution(6 * channels(160 * width), activation=hard_swish, name='features.16')(net)
    embedding = keras.layers.GlobalAveragePooling2D()(net)
    hidden = dense(channels(1280 * width), activation=hard_swish, name='classifier.2')(embedding)
    return {'embedding': embedding, 'hidden': hidden, 'logits': dense(527, name='classifier.5')(hidden)}


def build(variant='mn04', path=None, output='embedding', seed=0):
    """A Keras model (N, T, 128) -> (N, D) float32 of log-mel examples, see mobilenet_input.log_mel; T is free.

    Batch normalisation uses the statistics of the file in training too, see FixedNormConv2D.

    Args:
        variant: 'mn04' or 'mn10'.
        path: of the weights; None: random ones from `seed`.
        output: 'embedding', the mean over time and bands before the head (D = 384 or 960); 'hidden', the head's hidden layer
            (512 or 1280); 'logits' of AudioSet's 527 classes.

    Raises UserError for other names, and when the file does not fit: see load.
    """
    if variant not in WIDTHS or output not in ('embedding', 'hidden', 'logits'):
        raise UserError(f'variant={variant!r}, output={output!r}: expected one of {", ".join(WIDTHS)}, and one of embedding, '
                        'hidden, logits')
    examples = keras.Input((None, NUM_BANDS), name='examples')
    tensors = outputs(examples, WIDTHS[variant], Seeds(seed))
    if path is not None:
        load(keras.Model(examples, tensors['logits']), path, variant)
    return keras.Model(examples, tensors[output], name=variant)


def load(model, path, variant):
    """Give a whole network, up to the logits, the weights of a file.

    Raises UserError when the file cannot be read, or when an array is missing, left over or of another shape.
    """
    try:
        values = read_tensors(path)
    except UserError as problem:
        raise UserError(f'{problem}. {NETWORKS[variant].remedy}') from None
    # counters of training steps, one for each normalisation
    values = {name: value for name, value in values.items() if not name.endswith('.num_batches_tracked')}
    variables = variables_by_name(model)
    expected = {name: tuple(variable.shape[i] for i in np.argsort(axes)) for name, (variable, axes) in variables.items()}
    check_shapes(expected, values, f'{path} does not hold the weights of {variant}', NETWORKS[variant].remedy)
    for name, (variable, axes) in variables.items():
        variable.assign(np.transpose(values[name], axes))


def check_shapes(expected, values, message, remedy):
    """Raise UserError, with the message and the remedy, unless values (name -> array) have the expected shapes (name -> tuple)."""
    problems = [f'{name} is missing' if name not in values else f'{name} has shape {values[name].shape}, not {shape}'
                for name, shape in expected.items() if name not in values or values[name].shape != shape]
    problems += [f'{name} is left over' for name in values if name not in expected]
    if problems:
        raise UserError(f'{message}: {problems[0]}' + (f', and {len(problems) - 1} more differences' if problems[1:] else '') +
                        f'. {remedy}')


def variables_by_name(model):
    """Name in the file -> (variable, order in which it has the axes of the file's array)."""
    result = {}
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, FixedNormConv2D):
            # (out, in, bands, time) there; (time, bands, in, out), depthwise (time, bands, channels, 1), here
            result[f'{name}.0.weight'] = layer.kernel, (3, 2, 1, 0) if layer.filters else (3, 2, 0, 1)
            for kind, variable in (('weight', layer.gamma), ('bias', layer.beta), ('running_mean', layer.moving_mean),
                                   ('running_var', layer.moving_variance)):
                result[f'{name}.1.{kind}'] = variable, (0,)
        elif isinstance(layer, SqueezeExcitation):
            for i, (kernel, bias) in enumerate(layer.dense, 1):
                result[f'{name}.conc_se_layers.0.fc{i}.weight'] = kernel, (1, 0)
                result[f'{name}.conc_se_layers.0.fc{i}.bias'] = bias, (0,)
        elif isinstance(layer, keras.layers.Dense):
            result[f'{name}.weight'], result[f'{name}.bias'] = (layer.kernel, (1, 0)), (layer.bias, (0,))
    return result
