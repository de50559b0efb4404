"""Reading PyTorch files of weights: values, and the refusal of everything that is not a tensor."""
import collections
import os
import pickle
import zipfile

import numpy as np
import pytest

from shared import UserError
from torch_file import read_tensors


class Global:
    """Pickled as the name of a function or class of another module, without its being there."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a call: function(*arguments)."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Storage:
    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle._Pickler):
    """Writes what torch.save writes: global names without importing them, storages by their persistent id."""

    def persistent_id(self, thing):
        return thing.pid if isinstance(thing, Storage) else None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Global):
            self.write(pickle.GLOBAL + f'{thing.module}\n{thing.name}\n'.encode())
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(thing.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(thing, save_persistent_id)


REBUILD = Global('torch._utils', '_rebuild_tensor_v2')
FLOATS, LONGS = Global('torch', 'FloatStorage'), Global('torch', 'LongStorage')


def tensor(key, length, shape, strides, offset=0, kind=FLOATS):
    storage = Storage('storage', kind, key, 'cpu', length)
    return Call(REBUILD, storage, offset, shape, strides, False, Call(Global('collections', 'OrderedDict')))


def write_file(path, content, compression=zipfile.ZIP_STORED, pickled=None, **data):
    """A .pt file: `content` is pickled, data: key -> array or bytes."""
    with open(path.with_suffix('.pkl'), 'wb') as file:
        Pickler(file, 2).dump(content)
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', path.with_suffix('.pkl').read_bytes() if pickled is None else pickled)
        for key, values in data.items():
            archive.writestr(f'archive/data/{key}', values if isinstance(values, bytes) else values.tobytes())
        archive.writestr('archive/version', '3\n')
    return path


def write_tensors(path, tensors):
    """A .pt file of a dictionary name -> float32 or int64 array."""
    content, data = {}, {}
    for key, (name, array) in enumerate(tensors.items()):
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides) if array.ndim else ()
        content[name] = tensor(str(key), array.size, array.shape, strides, kind=LONGS if array.dtype == np.int64 else FLOATS)
        data[str(key)] = array
    return write_file(path, content, **data)


VALUES = np.arange(24, dtype=np.float32)


def test_values(tmp_path):
    content = collections.OrderedDict(
        plain=tensor('a', 24, (2, 3, 4), (12, 4, 1)), part=tensor('a', 24, (2, 3), (3, 1), offset=5),
        transposed=tensor('a', 24, (4, 6), (1, 4)), scalar=tensor('b', 1, (), (), kind=LONGS),
        empty=tensor('a', 24, (0, 3), (3, 1)))
    tensors = read_tensors(write_file(tmp_path / 'w.pt', dict(content), a=VALUES, b=np.array([7])))
    assert list(tensors) == list(content) and tensors['scalar'] == 7 and tensors['scalar'].dtype == np.int64
    np.testing.assert_array_equal(tensors['plain'], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(tensors['part'], [[5, 6, 7], [8, 9, 10]])
    np.testing.assert_array_equal(tensors['transposed'], VALUES.reshape(6, 4).T)
    assert tensors['plain'].dtype == np.float32 and tensors['empty'].shape == (0, 3) and tensors['part'].flags.owndata


def test_all_storage_types(tmp_path):
    for name, dtype in (('DoubleStorage', 'f8'), ('HalfStorage', 'f2'), ('ShortStorage', 'i2'), ('ByteStorage', 'u1')):
        array = np.array([1, 2, 250]).astype(dtype)
        content = {'x': tensor('a', 3, (3,), (1,), kind=Global('torch', name))}
        found = read_tensors(write_file(tmp_path / 'w.pt', content, a=array))['x']
        assert found.dtype == array.dtype and found.tolist() == [1, 2, 250]


@pytest.mark.parametrize('module, name', [('os', 'system'), ('posix', 'system'), ('nt', 'system')])
def test_a_command_is_refused_and_not_run(tmp_path, module, name):
    trace = tmp_path / 'executed'
    path = write_file(tmp_path / 'w.pt', {'x': Call(Global(module, name), f'touch {trace}')})
    with pytest.raises(UserError, match=rf'w.pt is refused: its pickle asks for {module}\.system'):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize('module', ['builtins', '__builtin__'])
def test_eval_is_refused_and_not_run(tmp_path, monkeypatch, module):
    monkeypatch.delenv('EXECUTED', raising=False)
    code = "__import__('os').environ.__setitem__('EXECUTED', '1')"
    for content in (Call(Global(module, 'eval'), code), {'x': Call(Global(module, 'exec'), code)},
                    {'x': Call(REBUILD, Call(Global(module, 'getattr'), code, 'lower'))}):
        with pytest.raises(UserError, match=rf'asks for {module}'):
            read_tensors(write_file(tmp_path / 'w.pt', content))
    assert 'EXECUTED' not in os.environ


@pytest.mark.parametrize('module, name', [('torch', 'load'), ('torch._utils', '_rebuild_parameter'), ('collections', 'deque'),
                                          ('torch_file', 'read_tensors'), ('collections', 'OrderedDict.fromkeys'),
                                          ('torch._utils', '_rebuild_tensor_v2.__globals__')])
def test_other_names_are_refused(tmp_path, module, name):
    with pytest.raises(UserError, match='asks for .*only tensors and dictionaries are read'):
        read_tensors(write_file(tmp_path / 'w.pt', {'x': Call(Global(module, name))}))


@pytest.mark.parametrize('content, data, message', [
    (tensor('b', 24, (24,), (1,)), {}, 'archive/data/b is missing'),
    (tensor('a', 24, (24,), (1,)), {'a': VALUES[1:]}, 'data/a has 92 bytes, expected 24 values of type <f4'),
    (tensor('a', 25, (24,), (1,)), {}, 'data/a has 96 bytes, expected 25 values'),
    (tensor('a', 24, (5, 5), (5, 1)), {}, 'does not fit its storage of 24 values'),
    (tensor('a', 24, (24,), (1,), offset=1), {}, 'does not fit'),
    (tensor('a', 24, (2,), (1,), offset=-1), {}, 'does not fit'),
    (tensor('a', 24, (2, 2), (-1, 1), offset=4), {}, 'does not fit'),
    (tensor('a', 24, (10 ** 6, 10 ** 6), (0, 0)), {}, 'does not fit'),
    (tensor('a', 24, (2, 2), (1,)), {}, 'is not valid'),
    (Call(REBUILD, 'no storage', 0, (1,), (1,)), {}, 'is not valid'),
    (Call(REBUILD, Storage('module', FLOATS, 'a', 'cpu', 1), 0, (1,), (1,)), {}, 'expected a storage'),
    (Storage('storage', 'O', 'a', 'cpu', 24), {}, 'expected a storage'),
    (Call(REBUILD, Storage(1, 2), 0, (1,), (1,)), {}, 'cannot be read'),
    (Call(REBUILD), {}, 'cannot be read'),
    (3, {}, 'expected a dictionary of tensors'),
])
def test_damaged_content(tmp_path, content, data, message):
    with pytest.raises(UserError, match=message):
        read_tensors(write_file(tmp_path / 'w.pt', {'x': content}, **{'a': VALUES, **data}))


def test_damaged_files(tmp_path):
    path = write_tensors(tmp_path / 'w.pt', {'x': VALUES})
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:len(whole) // 2], b'', b'no zip', whole.replace(VALUES.tobytes(), bytes(96))):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match='w.pt cannot be read as a PyTorch file'):
            read_tensors(path)
    with pytest.raises(UserError, match='cannot be read.*FileNotFoundError'):
        read_tensors(tmp_path / 'missing.pt')
    for pickled in (b'', b'\x80\x02}', b'cos\n', b'\x80\x02(((.', b'\x80\x02U\xffabc', b'\x80\x63.'):
        with pytest.raises(UserError, match='w.pt'):
            read_tensors(write_file(path, {}, pickled=pickled))
    with pytest.raises(UserError, match='compressed'):
        read_tensors(write_file(path, {}, compression=zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('other.txt', 'x')
    with pytest.raises(UserError, match='0 files <folder>/data.pkl'):
        read_tensors(path)
    with zipfile.ZipFile(write_tensors(path, {'x': VALUES}), 'a') as archive:
        archive.writestr('archive/byteorder', 'big')
    with pytest.raises(UserError, match='not little-endian'):
        read_tensors(path)
