"""VGGish: the network, defined with tf-slim and used from TensorFlow 2, and its checkpoint.

Source: Hershey et al., CNN architectures for large-scale audio classification (arXiv 1609.09430), in the form that its
authors released with AudioSet.
"""
import glob
import warnings

import tf_slim as slim

import vggish_params as params
from backend import keras, tf
from pretrained import NETWORKS
from shared import UserError

REMEDY = NETWORKS['vggish'].remedy

# name in the checkpoint -> shape; kernels are height x width x channels in x channels out
VARIABLES = {f'vggish/{name}/{kind}': shape
             for name, weights in (('conv1', (3, 3, 1, 64)), ('conv2', (3, 3, 64, 128)),
                                   ('conv3/conv3_1', (3, 3, 128, 256)), ('conv3/conv3_2', (3, 3, 256, 256)),
                                   ('conv4/conv4_1', (3, 3, 256, 512)), ('conv4/conv4_2', (3, 3, 512, 512)),
                                   ('fc1/fc1_1', (12288, 4096)), ('fc1/fc1_2', (4096, 4096)),
                                   ('fc2', (4096, params.EMBEDDING_SIZE)))
             for kind, shape in (('weights', weights), ('biases', weights[-1:]))}


def define_vggish_slim(examples, last_activation=tf.nn.relu):
    """The network: log-mel examples (N, 96, 64) float32 -> embeddings (N, 128) float32.

    Its variables are created by tf-slim with the names and shapes of VARIABLES.

    Args:
        last_activation: what follows the embedding's layer. Its authors' later release ends without the ReLU.
    """
    with slim.arg_scope([slim.conv2d, slim.fully_connected], activation_fn=tf.nn.relu,
                        weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=params.INIT_STDDEV)), \
            tf.compat.v1.variable_scope('vggish', reuse=tf.compat.v1.AUTO_REUSE):
        net = tf.reshape(examples, (-1, params.NUM_FRAMES, params.NUM_BANDS, 1))
        net = slim.max_pool2d(slim.conv2d(net, 64, 3, scope='conv1'), 2, scope='pool1')
        net = slim.max_pool2d(slim.conv2d(net, 128, 3, scope='conv2'), 2, scope='pool2')
        net = slim.max_pool2d(slim.repeat(net, 2, slim.conv2d, 256, 3, scope='conv3'), 2, scope='pool3')
        net = slim.max_pool2d(slim.repeat(net, 2, slim.conv2d, 512, 3, scope='conv4'), 2, scope='pool4')
        net = slim.repeat(slim.flatten(net), 2, slim.fully_connected, 4096, scope='fc1')
        return slim.fully_connected(net, params.EMBEDDING_SIZE, activation_fn=last_activation, scope='fc2')


class VGGish(keras.layers.Layer):
    """VGGish as a Keras layer: (N, 96, 64) -> (N, 128). It owns the variables that the slim network asks for.

    Attributes: by_name, dictionary from names of VARIABLES to the layer's variables.
    """

    def __init__(self, values=None, last_activation=tf.nn.relu, seed=0, **kwargs):
        """
        Args:
            values: initial values, a dictionary from read_checkpoint; None: random values, as in the original training.
            last_activation: see define_vggish_slim.
            seed: of random values.
        """
        super().__init__(**kwargs)
        self.values, self.last_activation, self.seed = values, last_activation, seed

    def build(self, shape):
        self.by_name = {}
        for place, (name, size) in enumerate(VARIABLES.items()):
            # a seed of its own each: with the same one, a smaller array would be the beginning of a larger one
            random = keras.initializers.TruncatedNormal(stddev=params.INIT_STDDEV, seed=self.seed + place)
            start = random if name.endswith('weights') else 'zeros'
            if self.values is not None:
                start = lambda shape, dtype, name=name: tf.convert_to_tensor(self.values[name], dtype)
            self.by_name[name] = self.add_weight(shape=size, initializer=start, name=name.replace('/', '_'))
        self.values = None  # frees 288 MB

    def call(self, examples):
        def existing(next_creator, **kwargs):
            return self.by_name[kwargs['name']].value

        def graph(examples):
            with tf.variable_creator_scope(existing), warnings.catch_warnings():
                warnings.filterwarnings('ignore', module=r'tensorflow\.python\.keras')  # tf-slim calls what TensorFlow calls old
                return define_vggish_slim(examples, self.last_activation)

        # tf-slim keeps its variables by name in the graph: within tf.function another model's would be found again, because
        # all functions share them; a wrapped function has a graph to itself
        return tf.compat.v1.wrap_function(graph, [tf.TensorSpec(examples.shape, examples.dtype)])(examples)

    def compute_output_shape(self, shape):
        return shape[0], params.EMBEDDING_SIZE


def read_checkpoint(path):
    """The variables of a VGGish checkpoint: dictionary name -> float32 array, for all of VARIABLES.

    Reads TensorFlow's V1 format, as published, and V2; more variables may be in it.

    Raises UserError when it is damaged, lacks a variable, or has one of another shape.
    """
    try:
        reader = tf.train.load_checkpoint(glob.escape(str(path)) if path.is_file() else str(path))
        shapes = reader.get_variable_to_shape_map()
        for name, shape in VARIABLES.items():
            found = shapes.get(name)
            if found is None or tuple(found) != shape:
                raise UserError(f'{path} is no checkpoint of VGGish: {name} ' +
                                ('is missing' if found is None else f'has shape {tuple(found)}, not {shape}') + f'. {REMEDY}')
        return {name: reader.get_tensor(name) for name in VARIABLES}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as problem:
        raise UserError(f'{path} cannot be read as a checkpoint ({str(problem).splitlines()[0][:200]}). {REMEDY}') from None
