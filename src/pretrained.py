"""Registry of the pretrained networks: for each its input, its weights file and its Keras layer. A new network is one entry."""
import functools
import glob
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import vggish_params
from shared import UserError


def vggish_layer(path, seed):
    """VGGish with the weights of a checkpoint; path None: with random weights from this seed."""
    import vggish_slim  # imported here, because TensorFlow takes seconds to start
    return vggish_slim.VGGish(path and vggish_slim.read_checkpoint(path), seed=seed, name='vggish')


@dataclass(frozen=True)
class Network:
    """A pretrained network.

    Attributes:
        title: its name in messages.
        address, size, sha256: of its weights file as published; bytes, hexadecimal.
        download: the name that aux/download.py knows it by.
        input: keys of a configuration that follow from the network, see patches.py.
        shape: (F, M) of an example.
        embedding_size: D.
        make_layer: function (path of the weights or None, seed of random ones) -> Keras layer (N, F, M) -> (N, D) that is named
            as in NETWORKS.
    """
    title: str
    address: str
    size: int
    sha256: str
    download: str
    input: dict
    shape: tuple
    embedding_size: int
    make_layer: Callable

    @property
    def remedy(self):
        """Where the weights are published and how to download them, for messages."""
        return (f'The published one is at {self.address} ({self.size} bytes, sha256 {self.sha256}); download it with: '
                f'python ../aux/download.py {self.download}')


NETWORKS = {
    'vggish': Network(
        title='VGGish',
        address='https://storage.googleapis.com/audioset/vggish_model.ckpt',
        size=291108469,
        sha256='0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6',
        download='vggish',
        # whole examples as they are stored: log-mel, cut without overlap
        input={'n_frames': vggish_params.NUM_FRAMES, 'grid': vggish_params.NUM_FRAMES, 'pre_processing': None, 'normalize': None,
               'pad_short': 'repeat-pad'},
        shape=(vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS),
        embedding_size=vggish_params.EMBEDDING_SIZE,
        make_layer=vggish_layer),
}


def of(config):
    """The Network that a configuration names. Raises UserError for another name."""
    if config['network'] not in NETWORKS:
        raise UserError(f'network={config["network"]!r} does not exist; there are: {", ".join(NETWORKS)}')
    return NETWORKS[config['network']]


def complete(config):
    """The configuration with what follows from its network: the input, and the digest of the weights."""
    return {**config, **of(config).input, 'weights_sha256': config['checkpoint'] and digest(path_of(config))}


def path_of(config):
    """Path of the weights that config['checkpoint'] names, relative to this folder or absolute, after checking their digest.

    A checkpoint in TensorFlow's V1 format is one file; in V2 format the path is the common part of .index and .data-* files.
    """
    network = of(config)
    if not config['checkpoint']:
        raise UserError(f'checkpoint=None is not valid here: the weights of a trained {network.title} are needed. {network.remedy}')
    path = locate(config['checkpoint'])
    if not files_of(path):
        raise UserError(f'the {network.title} checkpoint {path} does not exist. {network.remedy}')
    if config.get('weights_sha256') not in (None, digest(path)):
        raise UserError(f'the {network.title} checkpoint {path} was replaced while it was in use: start the same command again')
    return path


def is_there(config):
    """Whether the weights that a configuration asks for exist; random weights always do."""
    return config['checkpoint'] is None or bool(files_of(locate(config['checkpoint'])))


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
