"""Arrays of a PyTorch file of weights (.pt), read without PyTorch and without running anything that the file names.

The format, written by torch.save since version 1.6: a zip without compression, with `<folder>/data.pkl`, a pickle, and
`<folder>/data/<key>`, the raw little-endian values of each storage.
"""
import collections
import io
import math
import pickle
import zipfile

import numpy as np
from numpy.lib.stride_tricks import as_strided

from shared import UserError

STORAGES = {'FloatStorage': '<f4', 'DoubleStorage': '<f8', 'HalfStorage': '<f2', 'LongStorage': '<i8', 'IntStorage': '<i4',
            'ShortStorage': '<i2', 'CharStorage': 'i1', 'ByteStorage': 'u1', 'BoolStorage': '?'}
# what a damaged pickle makes the unpickler raise
DAMAGED = (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
           OverflowError, MemoryError, NotImplementedError, RuntimeError)


def read_tensors(path):
    """The tensors of a state dictionary: dictionary name -> array in the file's own type.

    Raises UserError when the file is damaged, is no such file, or asks for anything but tensors and dictionaries.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tensors = TensorUnpickler(archive).load()
    except UserError as problem:
        raise UserError(f'{path} is refused: {problem}') from None
    except (*DAMAGED, OSError) as problem:
        raise UserError(f'{path} cannot be read as a PyTorch file ({type(problem).__name__}: {str(problem)[:200]})') from None
    if not isinstance(tensors, dict) or not all(isinstance(name, str) and isinstance(tensor, np.ndarray)
                                                for name, tensor in tensors.items()):
        raise UserError(f'{path} is refused: expected a dictionary of tensors by name, as model.state_dict() gives it')
    return dict(tensors)


class TensorUnpickler(pickle.Unpickler):
    """Unpickler of `data.pkl` that knows three things: OrderedDict, the function that rebuilds a tensor, types of storage.

    A pickle can only call what find_class gives it, so no other code can run.
    """

    def __init__(self, archive):
        files = [name for name in archive.namelist() if name.count('/') == 1 and name.endswith('/data.pkl')]
        if len(files) != 1:
            raise UserError(f'its zip has {len(files)} files <folder>/data.pkl, expected one')
        self.archive, self.folder, self.storages = archive, files[0].removesuffix('data.pkl'), {}
        order = self.folder + 'byteorder'
        if order in archive.namelist() and self.read('byteorder') != b'little':
            raise UserError('its values are not little-endian: save it again on a little-endian machine, e.g. with an x86 processor')
        super().__init__(io.BytesIO(self.read('data.pkl')))

    def read(self, name):
        """Content of a file of the archive (bytes)."""
        if self.folder + name not in self.archive.namelist():
            raise UserError(f'{self.folder}{name} is missing in its zip')
        if self.archive.getinfo(self.folder + name).compress_type != zipfile.ZIP_STORED:
            raise UserError(f'{self.folder}{name} is compressed, which PyTorch does not do')  # could be of any size
        return self.archive.read(self.folder + name)

    def find_class(self, module, name):
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return self.rebuild_tensor  # a new bound method: a pickle cannot change its attributes
        if module == 'torch' and name in STORAGES:
            return STORAGES[name]
        raise UserError(f'its pickle asks for {module}.{name}; only tensors and dictionaries are read. The file may be '
                        'harmful: do not open it with PyTorch either')

    def persistent_load(self, pid):
        """Values of a storage (length,): pid is ('storage', type, key, device, length)."""
        kind, dtype, key, _, length = pid
        if kind != 'storage' or dtype not in STORAGES.values() or not isinstance(key, str):
            raise UserError(f'its pickle asks for {str(pid)[:100]}, expected a storage')
        if key not in self.storages:
            self.storages[key] = self.read(f'data/{key}')
        content = self.storages[key]
        if len(content) != length * np.dtype(dtype).itemsize:
            raise UserError(f'{self.folder}data/{key} has {len(content)} bytes, expected {length} values of type {dtype}')
        return np.frombuffer(content, dtype)

    def rebuild_tensor(self, storage, offset, shape, strides, *_):
        """Tensor (array) from its place in a storage; the other arguments concern gradients."""
        if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
            raise UserError(f'a tensor of shape {shape} with strides {strides} is not valid')
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
        if min([offset, *shape, *strides]) < 0 or math.prod(shape) and not math.prod(shape) <= last + 1 <= len(storage):
            raise UserError(f'a tensor of shape {shape} with strides {strides} does not fit its storage of {len(storage)} values')
        return as_strided(storage[offset:], shape, [stride * storage.itemsize for stride in strides]).copy()
