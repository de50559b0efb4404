"""Which VGGish an experiment starts from: its checkpoint file, checked before TensorFlow starts, and its kind of input."""
import functools
import glob
import hashlib
from pathlib import Path

import vggish_params
from shared import UserError

ADDRESS = 'https://storage.googleapis.com/audioset/vggish_model.ckpt'
SIZE = 291108469  # bytes
SHA256 = '0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6'
REMEDY = f'The published one is at {ADDRESS} ({SIZE} bytes, sha256 {SHA256}); fetch it with: python ../aux/download.py vggish'

# VGGish takes whole examples as they are stored: log-mel, cut without overlap
EXAMPLES = {'n_frames': vggish_params.NUM_FRAMES, 'grid': vggish_params.NUM_FRAMES, 'pre_processing': None, 'normalize': None,
            'pad_short': 'repeat-pad'}


def configuration(config):
    """The configuration with what follows from using VGGish: its input, and the digest of the checkpoint that is meant."""
    return {**config, **EXAMPLES, 'checkpoint_sha256': config['checkpoint'] and digest(path_of(config))}


def path_of(config):
    """Path of the checkpoint that config['checkpoint'] names, relative to this folder or absolute, after checking its digest.

    In TensorFlow's V1 format it is one file; in V2 it is what the files .index and .data-* have in common.
    """
    if not config['checkpoint']:
        raise UserError(f'checkpoint=None is not valid here: the weights of a trained VGGish are needed. {REMEDY}')
    path = place(config['checkpoint'])
    if not files_of(path):
        raise UserError(f'the VGGish checkpoint {path} does not exist. {REMEDY}')
    if config.get('checkpoint_sha256') not in (None, digest(path)):
        raise UserError(f'the VGGish checkpoint {path} was replaced while it was in use: start the same command again')
    return path


def place(name):
    """Path of a checkpoint that a configuration names, relative to this folder or absolute."""
    return Path(__file__).resolve().parent / name


def files_of(path):
    """The files of a checkpoint (list of Path); where it is there in both formats, those of V2, which TensorFlow prefers."""
    index = path.with_name(path.name + '.index')
    if index.is_file():
        return [index, *sorted(path.parent.glob(glob.escape(path.name) + '.data-*'))]
    return [path] if path.is_file() else []


def digest(path):
    """sha256 of a checkpoint's files (hexadecimal)."""
    return _digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files_of(path)))


@functools.lru_cache
def _digest(files):  # a second or so: many experiments ask for it
    found = hashlib.sha256()
    for file, *_ in files:
        with open(file, 'rb') as content:
            while block := content.read(1 << 20):
                found.update(block)
    return found.hexdigest()
