"""Registry of the pretrained networks: for each its front end, its weights file and its Keras layer. A new network is one entry."""
import functools
import glob
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mobilenet_input
import vggish_input
import vggish_params
import yamnet_input
from shared import UserError

# ---- from sound files to the input of networks -----------------------------------------------------------------------

@dataclass(frozen=True)
class FrontEnd:
    """How sounds become the input of networks. Networks with the same front end read the same representation.

    Attributes:
        from_file: function (path, **options) -> (N, F, M) float32, or (T, M) for networks that take a clip as a whole.
        from_samples: the same of samples (length,) at sample_rate, with the options other than the resampler.
        sample_rate: Hz.
        options: names of the options, keys of a configuration.
        module, names: module and names of the constants that the arrays depend on.
        windows: function from such an array to the windows that the network embeds one by one, (W, F, M).
    """
    from_file: Callable
    from_samples: Callable
    sample_rate: int
    options: tuple
    module: ModuleType
    names: tuple
    windows: Callable = lambda array: array

    @property
    def constants(self):
        """Names and values of the constants that the arrays depend on (dictionary)."""
        return {name: getattr(self.module, name) for name in self.names}


# key: `type` of the representation
FRONT_ENDS = {
    'audioset': FrontEnd(
        vggish_input.file_to_examples,
        lambda samples, **options: vggish_input.waveform_to_examples(samples, vggish_params.SAMPLE_RATE, rounded=False, **options),
        vggish_params.SAMPLE_RATE, ('resampler', 'skip_silence'),
        vggish_params, ('SAMPLE_RATE', 'STFT_WINDOW_LENGTH_SECONDS', 'STFT_HOP_LENGTH_SECONDS', 'NUM_MEL_BINS', 'MEL_MIN_HZ',
                        'MEL_MAX_HZ', 'LOG_OFFSET', 'EXAMPLE_WINDOW_SECONDS')),
    'yamnet': FrontEnd(
        yamnet_input.file_to_patches, yamnet_input.patches, yamnet_input.SAMPLE_RATE, ('resampler', 'skip_silence'),
        yamnet_input, ('SAMPLE_RATE', 'STFT_WINDOW_SECONDS', 'STFT_HOP_SECONDS', 'NUM_BANDS', 'MEL_MIN_HZ', 'MEL_MAX_HZ',
                       'LOG_OFFSET', 'PATCH_FRAMES', 'PATCH_HOP')),
    'mobilenet': FrontEnd(
        mobilenet_input.file_to_log_mel, mobilenet_input.log_mel, mobilenet_input.SAMPLE_RATE, ('resampler', 'level'),
        mobilenet_input, ('SAMPLE_RATE', 'HOP', 'WINDOW', 'FFT', 'NUM_BANDS', 'MEL_MIN_HZ', 'MEL_MAX_HZ', 'PRE_EMPHASIS',
                          'LOG_OFFSET', 'SHIFT', 'SCALE'),
        mobilenet_input.windows),
}


# ---- networks (TensorFlow is imported when a layer is made: it takes seconds to start) -------------------------------

def vggish_layer(path, output, seed):
    import vggish_slim
    activation = {} if output == 'embedding' else {'last_activation': None}
    return vggish_slim.VGGish(path and vggish_slim.read_checkpoint(path), seed=seed, name='vggish', **activation)


def yamnet_layer(path, output, seed):
    import yamnet
    return yamnet.build(path, output, seed)


def mobilenet_layer(variant):
    def make(path, output, seed):
        import mobilenet
        return mobilenet.build(variant, path, output, seed)
    return make


@dataclass(frozen=True)
class Sine:
    """What a network computes of 3 s of a sine of 1 kHz, as its authors published or as their own code computes it.

    Attributes: amplitude; shape of the input; output (name of the embedding), its mean and standard deviation; tolerance (part
    of these figures).
    """
    amplitude: float
    shape: tuple
    mean: float
    standard_deviation: float
    tolerance: float
    output: str = 'embedding'


@dataclass(frozen=True)
class Network:
    """A pretrained network.

    Attributes:
        title: its name in messages.
        address, size, sha256: of its weights file as published; bytes and hexadecimal, None where they are not known.
        licence, trained_on: of the weights; what they were trained on.
        download: the name that aux/download.py knows it by.
        entry: of config_preprocess, that makes its input.
        type: key of FRONT_ENDS.
        shape: (F, M) of an example; F None: any number of frames.
        input: keys of a configuration that follow from the network, see patches.py.
        outputs: D of each of its embeddings by name; the first one is the default.
        make_layer: function (path of the weights or None, name of the embedding, seed of random weights) -> Keras layer or
            model (N, F, M) -> (N, D) that is named as in NETWORKS.
        sine: Sine for smoke_test.py; None: not known.
    """
    title: str
    address: str
    size: int | None
    sha256: str | None
    licence: str
    trained_on: str
    download: str
    entry: str
    type: str
    shape: tuple
    input: dict
    outputs: dict
    make_layer: Callable
    sine: Sine | None = None

    @property
    def front_end(self):
        return FRONT_ENDS[self.type]

    @property
    def remedy(self):
        """Where the weights are published and how to download them, for messages."""
        known = ', '.join(filter(None, (self.size and f'{self.size} bytes', self.sha256 and f'sha256 {self.sha256}')))
        return (f'The published file is at {self.address}{f" ({known})" if known else ""}; download it with: '
                f'python ../aux/download.py {self.download}')


# the input of networks: their own compression; short clips are repeated
RAW = {'pre_processing': None, 'normalize': None, 'pad_short': 'repeat-pad'}
AUDIOSET = 'AudioSet (sound tracks of YouTube)'


def efficient_at(name, file, size, sha256, outputs, sine=None):
    """The entry of a network that was released as EfficientAT."""
    return Network(
        title=name, address=f'https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{file}', size=size, sha256=sha256,
        licence='MIT', trained_on=f'{AUDIOSET}, with its labels and with the predictions of an ensemble of transformers',
        download=name, entry=name, type='mobilenet', shape=(None, mobilenet_input.NUM_BANDS), input={**RAW, 'grid': 1},
        outputs=outputs, make_layer=mobilenet_layer(name), sine=sine)


NETWORKS = {
    'vggish': Network(
        title='VGGish',
        address='https://storage.googleapis.com/audioset/vggish_model.ckpt',
        size=291108469,
        sha256='0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6',
        licence='Apache-2.0',
        trained_on='YouTube-8M (sound tracks of YouTube), a preliminary version',
        download='vggish',
        entry='audioset',
        type='audioset',
        shape=(vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS),
        # whole examples as they are stored: cut without overlap
        input={**RAW, 'n_frames': vggish_params.NUM_FRAMES, 'grid': vggish_params.NUM_FRAMES},
        outputs={'embedding': vggish_params.EMBEDDING_SIZE},
        make_layer=vggish_layer,
        sine=Sine(1.0, (3, 96, 64), 0.000657, 0.343, 0.1, 'before the last ReLU')),
    'yamnet': Network(
        title='YAMNet',
        address='https://storage.googleapis.com/audioset/yamnet.h5',
        size=15296092,
        sha256='13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744',
        licence='Apache-2.0',
        trained_on=AUDIOSET,
        download='yamnet',
        entry='yamnet',
        type='yamnet',
        shape=(yamnet_input.PATCH_FRAMES, yamnet_input.NUM_BANDS),
        input={**RAW, 'n_frames': yamnet_input.PATCH_FRAMES, 'grid': yamnet_input.PATCH_FRAMES},
        outputs={'embedding': 1024},
        make_layer=yamnet_layer,
        sine=Sine(0.5, (6, 96, 64), 0.085962, 0.457367, 0.001)),
    'mn04': efficient_at('mn04', 'mn04_as_mAP_432.pt', 4066513, '899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c',
                         {'embedding': 384, 'hidden': 512}, Sine(0.5, (300, 128), -0.076729, 0.242551, 0.001)),
    'mn10': efficient_at('mn10', 'mn10_as_mAP_471.pt', None, None, {'embedding': 960, 'hidden': 1280}),  # not known here
}


# ---- the network of a configuration ----------------------------------------------------------------------------------

def of(config):
    """The Network that a configuration names. Raises UserError for another name."""
    if config['network'] not in NETWORKS:
        raise UserError(f'network={config["network"]!r} does not exist; there are: {", ".join(NETWORKS)}')
    return NETWORKS[config['network']]


def complete(config):
    """The configuration with what follows from its network: the input, and the digest of the weights."""
    network = of(config)
    if config.get('embedding_layer', 'embedding') not in network.outputs:
        raise UserError(f'embedding_layer={config["embedding_layer"]!r}: {network.title} has {", ".join(network.outputs)}')
    return {**config, **network.input, 'weights_sha256': config['checkpoint'] and digest(path_of(config))}


def make_layer(config, seed):
    """The Keras layer or model of the configuration's network, with its weights; random ones for checkpoint=None."""
    network = of(config)
    return network.make_layer(config['checkpoint'] and path_of(config), config.get('embedding_layer', 'embedding'), seed)


def path_of(config):
    """Path of the weights that config['checkpoint'] names, relative to this folder or absolute, after checking their digest.

    A checkpoint in TensorFlow's V1 format is one file; in V2 format the path is the common part of .index and .data-* files.
    """
    network = of(config)
    if not config['checkpoint']:
        raise UserError(f'checkpoint=None is not valid here: the weights of a trained {network.title} are needed. {network.remedy}')
    path = locate(config['checkpoint'])
    if problem := problem_of(config):
        raise UserError(problem)
    if config.get('weights_sha256') not in (None, digest(path)):
        raise UserError(f'the file {path} with the weights of {network.title} was replaced while it was in use: start the same command again')
    return path


def problem_of(config):
    """Why the weights that a configuration asks for cannot be used, and the remedy (str); '' if they can, and for random weights.

    A file of the published name that is clearly smaller than the published one is damaged: a download, or a copy, was interrupted.
    """
    if config['checkpoint'] is None:
        return ''
    network, path = of(config), locate(config['checkpoint'])
    if not files_of(path):
        return f'the file {path} with the weights of {network.title} does not exist. {network.remedy}'
    if path.name == Path(network.address).name and network.size and path.is_file() and path.stat().st_size < 0.9 * network.size:
        return (f'the file {path} with the weights of {network.title} is damaged, it has {path.stat().st_size} bytes: delete it and download it '
                f'again, or rename it if these are other weights. {network.remedy}')
    return ''


def locate(name):
    """Path of a checkpoint that a configuration names, relative to this folder or absolute."""
    return Path(__file__).resolve().parent / name


def files_of(path):
    """The files of a checkpoint (list of Path); those of V2 format if both formats exist, because TensorFlow prefers them."""
    index = path.with_name(path.name + '.index')
    if index.is_file():
        return [index, *sorted(path.parent.glob(glob.escape(path.name) + '.data-*'))]
    return [path] if path.is_file() else []


def digest(path):
    """sha256 of a checkpoint's files (hexadecimal)."""
    return _digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files_of(path)))


@functools.lru_cache
def _digest(files):  # cached: it takes a second, and many experiments need it
    found = hashlib.sha256()
    for file, *_ in files:
        with open(file, 'rb') as content:
            while block := content.read(1 << 20):
                found.update(block)
    return found.hexdigest()
