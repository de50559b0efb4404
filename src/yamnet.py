"""YAMNet: MobileNet of the first version, trained on AudioSet, as a Keras model, and its weights.

Source: YAMNet as its authors released it with AudioSet (TensorFlow Models); Howard et al., MobileNets (arXiv 1704.04861), table 1.
"""
import h5py
import numpy as np

from backend import keras, tf
from layers import Seeds
from mobilenet import FixedNormConv2D, check_shapes
from pretrained import NETWORKS
from shared import UserError
from yamnet_input import NUM_BANDS, PATCH_FRAMES

EPSILON = 1e-4
# channels out and stride of layers 2 to 14, each a depthwise convolution and one of size 1
SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
REMEDY = NETWORKS['yamnet'].remedy
CLASSES = 521   # of AudioSet, in the version of 2019


def outputs(examples, seeds):
    """The network on examples, a Keras tensor (N, 96, 64): dictionary of its outputs, see build."""
    def convolution(filters, size, stride, name):
        return FixedNormConv2D(filters, size, stride, tf.nn.relu, EPSILON, scale=False, padding='same', seed=seeds(), name=name)

    net = keras.layers.Reshape((PATCH_FRAMES, NUM_BANDS, 1))(examples)
    net = convolution(32, 3, 2, 'layer1-conv')(net)
    for i, (filters, stride) in enumerate(SEPARABLE, 2):
        net = convolution(None, 3, stride, f'layer{i}-depthwise_conv')(net)
        net = convolution(filters, 1, 1, f'layer{i}-pointwise_conv')(net)
    embedding = keras.layers.GlobalAveragePooling2D()(net)
    logits = keras.layers.Dense(CLASSES, kernel_initializer=seeds.glorot(), name='logits')(embedding)
    return {'embedding': embedding, 'logits': logits, 'scores': keras.layers.Activation('sigmoid')(logits)}


def build(path=None, output='embedding', seed=0):
    """A Keras model (N, 96, 64) -> (N, D) float32 of log-mel patches, see yamnet_input.patches.

    Batch normalisation uses the statistics of the file in training too, see mobilenet.FixedNormConv2D.

    Args:
        path: of the weights; None: random ones from `seed`.
        output: 'embedding', the mean over time and bands of the last layer, which is never negative (D = 1024); 'logits', or
            'scores' in [0, 1], of 521 AudioSet classes.

    Raises UserError for another output, and when the file does not fit: see load.
    """
    examples = keras.Input((PATCH_FRAMES, NUM_BANDS), name='examples')
    tensors = outputs(examples, Seeds(seed))
    if output not in tensors:
        raise UserError(f'output={output!r}: expected one of {", ".join(tensors)}')
    if path is not None:
        load(keras.Model(examples, tensors['logits']), path)
    return keras.Model(examples, tensors[output], name='yamnet')


def load(model, path):
    """Give a whole network, up to the logits, the weights of a file in HDF5.

    Raises UserError when the file cannot be read, or when an array is missing, left over or of another shape.
    """
    variables = variables_by_name(model)
    values = read_weights(path)
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    check_shapes(expected, values, f'{path} does not hold the weights of YAMNet', REMEDY)
    for name, variable in variables.items():
        variable.assign(values[name])


def read_weights(path):
    """The arrays of a file of weights that Keras 2 wrote: dictionary name -> array.

    Raises UserError when the file cannot be read.
    """
    values = {}

    def keep(name, content):  # arrays have their own names: the lists of names in attributes, bytes or str, are not needed
        if isinstance(content, h5py.Dataset):
            values[name] = content[()]

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except (OSError, RuntimeError, ValueError, KeyError) as problem:
        raise UserError(f'{path} cannot be read as HDF5 ({str(problem)[:200]}). {REMEDY}') from None
    return {name: np.asarray(value) for name, value in values.items()}


def variables_by_name(model):
    """Name in the file -> variable, of the same shape there."""
    result = {}
    for layer in model.layers:
        name = layer.name.replace('-', '/')
        if isinstance(layer, FixedNormConv2D):
            result[f'{name}/{name}/{"kernel" if layer.filters else "depthwise_kernel"}:0'] = layer.kernel
            for kind in ('beta', 'moving_mean', 'moving_variance'):
                result[f'{name}/bn/{name}/bn/{kind}:0'] = getattr(layer, kind)
        elif isinstance(layer, keras.layers.Dense):
            result[f'{name}/{name}/kernel:0'], result[f'{name}/{name}/bias:0'] = layer.kernel, layer.bias
    return result
