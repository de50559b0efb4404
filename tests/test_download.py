"""aux/download.py against a server on this machine: every name up to its index, interruptions, wrong and hostile files."""
import dataclasses
import errno
import fcntl
import functools
import hashlib
import http.server
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import commands
from conftest import tone
from pretrained import NETWORKS
from shared import run_script
from test_torch_file import write_tensors

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'aux'))
import download
import sources
from index_asc import DEVELOPMENT, EVALUATION, SCENES
from index_us8k import CLASSES as US8K
from sources import SOURCES, File

BELOW = '/some/folder'  # of the mirror


# ---- a server --------------------------------------------------------------------------------------------------------

class Handler(http.server.BaseHTTPRequestHandler):
    """Sends server.files; can be told to break off, to ignore Range, to say no length, to fail, to wait; moved/ is elsewhere."""

    def do_GET(self):
        server, name = self.server, self.path.removeprefix(f'{BELOW}/')
        server.requests.append((self.path, self.headers.get('Range')))
        server.agents.add(self.headers['User-Agent'])
        if server.silent:
            server.closing.wait(5)
            return
        if name.startswith('moved/'):
            self.send_response(302)
            self.send_header('Location', self.path.replace('/moved/', '/'))
            self.end_headers()
            return
        data, start = server.files.get(name), 0
        status = server.status or (200 if data is not None else 404)
        if self.headers.get('Range') and server.ranges and status == 200:
            start = int(re.fullmatch('bytes=([0-9]+)-', self.headers['Range']).group(1))
            status = 206 if start < len(data) else 416
        self.send_response(status)
        if status < 300:
            if server.lengths:
                self.send_header('Content-Length', str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:server.cut.pop(name, None)])
        else:
            self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server; `files` are what it has, `requests` what it was asked for: list of (path, Range). Nothing else is reachable."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.files, running.requests, running.agents, running.cut = {}, [], set(), {}
        running.ranges, running.lengths, running.status, running.silent = True, True, None, False
        running.closing = threading.Event()
        running.mirror = f'http://127.0.0.1:{running.server_port}{BELOW}'
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        resolve = socket.getaddrinfo

        def only_here(host, *arguments, **options):
            if host != '127.0.0.1':
                raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
            return resolve(host, *arguments, **options)
        monkeypatch.setattr(socket, 'getaddrinfo', only_here)
        monkeypatch.setenv('no_proxy', '*')
        monkeypatch.setattr(download, 'CHUNK', 250)
        yield running
        running.closing.set()
        running.shutdown()


# ---- what it has -----------------------------------------------------------------------------------------------------

@functools.cache
def wav():
    file = io.BytesIO()
    soundfile.write(file, tone(seconds=0.01), 44100, format='WAV')
    return file.getvalue()


def zipped(entries):
    """A zip archive of a dictionary name -> bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(entries):
    """A tar.gz archive of a dictionary name -> bytes, or -> fields of the entry."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as archive:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            if isinstance(data, dict):
                for field, value in data.items():
                    setattr(entry, field, value)
                archive.addfile(entry)
            else:
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@functools.cache
def us8k():
    """UrbanSound8K with two clips per class and per folder, and what a Mac leaves in archives."""
    names = [(f'{i}-{i % 10}-0-0.wav', (i + i // 10) % 10 + 1, i % 10) for i in range(20)]
    table = ['slice_file_name,fsID,start,end,salience,fold,classID,class']
    table += [f'{name},1,0.0,4.0,1,{fold},{label},{US8K[label]}' for name, fold, label in names]
    entries = {f'UrbanSound8K/audio/fold{fold}/{name}': wav() for name, fold, _ in names}
    entries |= {f'UrbanSound8K/audio/fold{fold}/._{name}': b'Mac' for name, fold, _ in names}
    return {'UrbanSound8K.tar.gz': tarred({**entries, 'UrbanSound8K/metadata/UrbanSound8K.csv': '\n'.join(table).encode()})}


@functools.cache
def asc():
    """Both parts of TUT Acoustic Scenes 2017 with a clip per scene, in as many archives as published."""
    archives = {}
    for folder, parts, labels in ((DEVELOPMENT, 10, 'meta.txt'), (EVALUATION, 4, 'evaluation_setup/evaluate.txt')):
        rows = [f'audio/{i}.wav\t{scene}' + '\tplace' * (folder == DEVELOPMENT) for i, scene in enumerate(SCENES)]
        contents = {'doc': {'README.md': b'.'}, 'meta': {labels: '\r\n'.join(rows).encode()}}
        if folder == DEVELOPMENT:
            contents['error'] = {'error.txt': b''}
        for part in range(parts):
            contents[f'audio.{part + 1}'] = {f'audio/{i}.wav': wav() for i in range(part, 15, parts)}
        for part, entries in contents.items():
            archives[f'{folder}.{part}.zip'] = zipped({f'{folder}/{name}': data for name, data in entries.items()})
    return archives


@functools.cache
def esc(leave_out=0):
    """ESC-50 with a clip per fold of twelve of its classes, ten of them those of ESC-10."""
    root = f'ESC-50-{sources.ESC_COMMIT}'
    rows = [(f'{fold}-{target}-A-{target}.wav', fold, target) for fold in range(1, 6) for target in range(12)]
    table = ['filename,fold,target,category,esc10,src_file,take']
    table += [f'{name},{fold},{target},class{target},{target < 10},1,A' for name, fold, target in rows]
    sounds = {f'{root}/audio/{name}': wav() for name, _, _ in rows[leave_out:]}
    return {f'{sources.ESC_COMMIT}.zip': zipped({**sounds, f'{root}/meta/esc50.csv': '\n'.join(table).encode()})}


def weights(name):
    """A file of weights of which the script checks size and sha256 alone."""
    return {SOURCES[name].files[0].name: bytes(range(256)) * 40}


@functools.cache
def mn10():
    with tempfile.TemporaryDirectory() as folder:
        path = write_tensors(Path(folder) / 'w.pt', {'features.0.0.weight': np.zeros(5, np.float32)})
        return {'mn10_as_mAP_471.pt': path.read_bytes()}


# ---- starting the script ---------------------------------------------------------------------------------------------

CONTENT = {'us8k': (us8k, {'audio/fold*/*.wav': 20}),
           'asc': (asc, {f'{DEVELOPMENT}/audio/*.wav': 15, f'{EVALUATION}/audio/*.wav': 15}),
           'esc10': (esc, {'audio/*.wav': 60}),
           'esc50': (esc, {'audio/*.wav': 60}),
           'mn10': (mn10, None),
           **{name: (functools.partial(weights, name), None) for name in ('vggish', 'yamnet', 'mn04')}}


@pytest.fixture
def publish(server, monkeypatch, tmp_path):
    """publish(name, archives): the server has these archives, and the table of files and counts says so; returns the source.

    Sizes and checksums that are not known of the real files are not known of these.
    """
    monkeypatch.setenv('DATA_FOLDER', str(tmp_path / 'data'))

    def call(name, archives=None):
        make, counts = CONTENT[name]
        archives = make() if archives is None else archives
        source = SOURCES[name]
        assert [file.name for file in source.files] == list(archives)
        files = []
        for file in source.files:
            data, (algorithm, _, _) = archives[file.name], (file.checksum or '').partition(':')
            files.append(dataclasses.replace(file, size=file.size and len(data), sizes=file.sizes and
                                             range(len(data) - 100, len(data) + 1), checksum=file.checksum and
                                             f'{algorithm}:{hashlib.new(algorithm, data).hexdigest()}'))
        small = dataclasses.replace(source, files=files, fetched=sum(map(len, archives.values())), unpacked=100_000,
                                    content=counts and {**source.content, **counts})
        if name in NETWORKS:
            small = dataclasses.replace(small, place=tmp_path / 'src' / source.place.name)
        monkeypatch.setitem(SOURCES, name, small)
        server.files.update(archives)
        return small
    return call


@pytest.fixture
def run(server, monkeypatch, capsys, tmp_path_factory):
    """run(arguments...): the script with --mirror (unless it is given); (exit code, its output and error message)."""
    def call(*arguments):
        mirror = [] if '--mirror' in arguments or '--list' in arguments else ['--mirror', server.mirror]
        monkeypatch.setattr(sys, 'argv', ['download.py', *map(str, arguments), *mirror])
        monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path_factory.getbasetemp() / 'does not exist'))  # it is not used
        code, message = 0, ''
        try:
            run_script(download.main)
        except SystemExit as end:
            code, message = (end.code, '') if isinstance(end.code, int) else (1, end.code)
        printed = capsys.readouterr()
        return code, printed.err + printed.out + message
    return call


@pytest.fixture
def refused(run):
    """refused(parts of the message, arguments...): the script fails with one line that has them; returns it."""
    def call(parts, *arguments):
        code, output = run(*arguments)
        assert code == 1, output
        _, mark, message = output.rpartition('\nerror: ')
        assert mark and '\n' not in message, output
        for part in parts:
            assert str(part) in message
        return message
    return call


@pytest.fixture
def audio(tmp_path):
    """Where data sets go."""
    return tmp_path / 'data' / 'audio'


def succeeded(done):
    code, output = done
    assert code == 0, output
    return output


def ranges(server):
    """The Range headers since the last call."""
    found = [header for _, header in server.requests]
    server.requests.clear()
    return found


# ---- from address to index -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name, place, licence, counts', [
    ('us8k', 'us8k', 'CC BY-NC', '20 clips, 10 classes, 10 fold'),
    ('asc', 'asc', 'no commercial use', '30 clips, 15 classes, 1 fold'),
    ('esc10', 'esc50', 'clips of ESC-10 CC BY', '50 clips, 10 classes, 5 fold'),
    ('esc50', 'esc50', 'CC BY-NC', '60 clips, 12 classes, 5 fold')])
def test_data_set_to_index(run, publish, server, audio, tmp_path, name, place, licence, counts):
    source = publish(name)
    output = succeeded(run(name))
    assert f'{source.title}: ' in output and licence in output
    assert server.requests == [(f'{BELOW}/{file.name}', None) for file in source.files]
    assert [path.name for path in audio.iterdir()] == [place]
    sound = next((audio / place).rglob('[!.]*.wav'))
    assert sound.read_bytes() == wav()

    last = output.splitlines()[-1]
    command = shlex.split(last.removeprefix('next: python aux/'))
    assert command[1] == str(audio / place)
    assert counts in commands.succeeded(commands.warm(*command, data_folder=tmp_path / 'data', cwd=ROOT))

    server.requests.clear()
    output = succeeded(run(name))
    assert 'nothing to download' in output and output.splitlines()[-1] == last
    assert server.requests == []


def test_esc10_and_esc50_are_fetched_once(run, publish, server):
    publish('esc10')
    publish('esc50')
    assert succeeded(run('esc10')).endswith(' --name esc10\n')
    server.requests.clear()
    assert succeeded(run('esc50')).endswith(' --name esc50\n')
    assert server.requests == []


def test_weights_without_a_published_checksum(run, refused, publish, server, tmp_path):
    source, (data,) = publish('mn10'), mn10().values()
    server.files['mn10_as_mAP_471.pt'] = data[:-50]
    refused(['cannot be read as a PyTorch file', 'deleted', 'Start the same command again'], 'mn10')
    server.files['mn10_as_mAP_471.pt'] = b'x' * 50
    refused([f'it has 50 bytes, expected {len(data) - 100} to '], 'mn10')
    server.files['mn10_as_mAP_471.pt'] = data
    output = succeeded(run('mn10'))
    assert f'sha256 {hashlib.sha256(data).hexdigest()}. No checksum is published' in output
    assert source.place.read_bytes() == data and output.endswith('next: cd src && python smoke_test.py mn10\n')


@pytest.mark.parametrize('name', ['vggish', 'yamnet', 'mn04'])
def test_weights(run, refused, publish, server, tmp_path, name):
    source, ((file, data),) = publish(name), weights(name).items()
    folder = source.place.parent
    last = f'\nnext: cd src && python smoke_test.py {name}\n'
    assert succeeded(run(name)).endswith(last)
    assert source.place.read_bytes() == data and [path.name for path in folder.iterdir()] == [file]
    assert ranges(server) == [None]
    assert 'nothing to download' in succeeded(run(name)) and ranges(server) == []

    elsewhere = tmp_path / 'else where'
    output = succeeded(run(name, '--folder', elsewhere))
    assert (elsewhere / file).read_bytes() == data and f'the scripts look for {source.place}' in output
    ranges(server)

    (folder / f'{file}.download').mkdir()  # a copy that the user has already
    source.place.rename(folder / f'{file}.download' / file)
    assert succeeded(run(name)).endswith(last) and ranges(server) == []
    assert [path.name for path in folder.iterdir()] == [file]

    for damaged, problem in ((data[:-1], 'it has 10239 bytes, expected 10240'), (data[:-1] + b'.', 'its sha256 is ')):
        source.place.write_bytes(damaged)
        refused([source.place, problem, 'remove it'], name)
        assert source.place.read_bytes() == damaged  # it may be somebody's own


def test_folder_and_kept_archives(run, publish, server, tmp_path, monkeypatch):
    publish('us8k')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my sounds').mkdir()  # empty: taken as if it were not there
    output = succeeded(run('us8k', '--folder', 'my sounds', '--keep-archive'))
    assert output.endswith(f"next: python aux/index_us8k.py '{tmp_path}/my sounds'\n")
    assert (tmp_path / 'my sounds/metadata/UrbanSound8K.csv').is_file() and not (tmp_path / 'data').exists()
    archives = tmp_path / 'my sounds.download'
    assert [path.name for path in archives.iterdir()] == ['UrbanSound8K.tar.gz'] and str(archives) in output
    assert ranges(server) == [None]

    succeeded(run('us8k', '--folder', 'my sounds'))
    assert archives.exists()  # nobody asked to remove what was kept
    shutil.rmtree(tmp_path / 'my sounds')
    assert 'UrbanSound8K.tar.gz exists: it is not downloaded again' in succeeded(run('us8k', '--folder', 'my sounds'))
    assert ranges(server) == [] and not archives.exists()

    archives.mkdir()  # put there by hand, and not what it is called
    (archives / 'UrbanSound8K.tar.gz').write_bytes(b'something else')
    shutil.rmtree(tmp_path / 'my sounds')
    assert 'is not the published file (it has 14 bytes' in succeeded(run('us8k', '--folder', 'my sounds'))
    assert ranges(server) == [None] and not archives.exists()


def test_a_link_leads_to_the_disk_that_has_the_room(run, publish, audio, tmp_path):
    publish('us8k')
    (tmp_path / 'large').mkdir()
    audio.mkdir(parents=True)
    (audio / 'us8k').symlink_to(tmp_path / 'large')
    succeeded(run('us8k'))
    assert (tmp_path / 'large/metadata/UrbanSound8K.csv').is_file() and (audio / 'us8k').is_symlink()


# ---- wrong and broken transfers --------------------------------------------------------------------------------------

def test_wrong_checksum(run, refused, publish, server, audio):
    source = publish('us8k')
    right, name = server.files['UrbanSound8K.tar.gz'], 'UrbanSound8K.tar.gz'
    server.files[name] = right[:-1] + bytes([right[-1] ^ 1])
    found = hashlib.md5(server.files[name]).hexdigest()
    refused([f'{server.mirror}/{name}', found, source.files[0].checksum.removeprefix('md5:'), 'deleted',
             'Start the same command again', '--mirror'], 'us8k')
    assert list(audio.iterdir()) == []
    server.files[name] = right
    ranges(server)
    succeeded(run('us8k'))
    assert ranges(server) == [None]


@pytest.mark.parametrize('can_continue', [True, False])
@pytest.mark.parametrize('lengths', [True, False])
def test_continued_after_the_server_broke_off(run, refused, publish, server, audio, can_continue, lengths):
    publish('us8k')
    name, whole = 'UrbanSound8K.tar.gz', server.files['UrbanSound8K.tar.gz']
    server.cut[name], server.ranges, server.lengths = 1000, can_continue, lengths
    message = refused([f'{server.mirror}/{name}', 'Start the same command again', '--mirror'], 'us8k')
    assert ('the connection was closed' if lengths else 'it has 1000 bytes, expected') in message
    assert not (audio / 'us8k').exists()
    assert (audio / f'us8k.download/{name}.part').read_bytes() == whole[:1000]
    output = succeeded(run('us8k'))
    assert ('continuing after 1.00kB' if can_continue else 'starting from the beginning') in output
    assert ranges(server) == [None, 'bytes=1000-']
    assert len(list((audio / 'us8k').glob('audio/*/[!.]*.wav'))) == 20
    assert not (audio / 'us8k.download').exists()


def test_only_what_is_missing_is_fetched(run, refused, publish, server, audio):
    """The third of many archives breaks off; its size is not known in advance. Then it is whole but has not its name yet."""
    source = publish('asc')
    names = [file.name for file in source.files]
    name = f'{EVALUATION}.audio.1.zip'
    assert next(file for file in source.files if file.name == name).size is None
    server.cut[name] = 250
    refused([name, 'Start the same command again'], 'asc')
    server.requests.clear()
    (audio / f'asc.download/{name}.part').write_bytes(server.files[name])
    succeeded(run('asc'))
    after = names.index(name) + 1
    assert server.requests == [(f'{BELOW}/{name}', f'bytes={len(server.files[name])}-')] + \
        [(f'{BELOW}/{other}', None) for other in names[after:]]
    assert (audio / 'asc' / EVALUATION / 'audio/0.wav').read_bytes() == wav()


@pytest.mark.parametrize('part, asked', [(b'x' * 1000, True), (b'x' * 10 ** 6, False), (None, False)],
                         ids=['another beginning', 'too long', 'as long, not the same'])
def test_a_part_of_another_file_is_noticed(run, refused, publish, server, audio, part, asked):
    name = 'UrbanSound8K.tar.gz'
    publish('us8k')
    (audio / 'us8k.download').mkdir(parents=True)
    (audio / f'us8k.download/{name}.part').write_bytes(part or b'x' * len(server.files[name]))
    refused([name, 'is not the published', 'deleted', 'Start the same command again'], 'us8k')
    assert ranges(server) == ['bytes=1000-'] * asked
    succeeded(run('us8k'))
    assert ranges(server) == [None]


def test_another_file_of_that_name_is_refused_before_it_is_fetched(run, refused, publish, server, audio):
    """A page that a network shows to those who have not signed in does not cost what has arrived before."""
    name = 'UrbanSound8K.tar.gz'
    publish('us8k')
    whole, server.cut[name] = server.files[name], 1000
    refused([], 'us8k')
    server.files[name], server.ranges = b'<html>sign in</html>', False
    refused([f'{server.mirror}/{name} has 20 bytes', f'has {len(whole)}', 'it continues'], 'us8k')
    server.files[name], server.ranges = whole, True
    ranges(server)
    succeeded(run('us8k'))
    assert ranges(server) == ['bytes=1000-']


def test_redirection(run, refused, publish, server):
    """As published addresses do: what has arrived stays, and the other address is asked for the rest."""
    publish('us8k')
    server.cut['UrbanSound8K.tar.gz'] = 1000
    refused([], 'us8k')
    server.requests.clear()
    succeeded(run('us8k', '--mirror', server.mirror + '/moved'))
    assert server.requests == [(f'{BELOW}/{name}UrbanSound8K.tar.gz', 'bytes=1000-') for name in ('moved/', '')]


def test_archive_without_checksum_is_never_continued(run, refused, publish, server):
    publish('esc50')
    server.cut[f'{sources.ESC_COMMIT}.zip'] = 1000
    refused(['the connection was closed', 'Start the same command again'], 'esc50')
    succeeded(run('esc50'))
    assert ranges(server) == [None, None]


@pytest.mark.parametrize('status, reason', [(404, '404 Not Found'), (403, '403 Forbidden'), (429, '429 Too Many Requests'),
                                            (503, '503 Service Unavailable')])
def test_errors_of_the_server(refused, publish, server, audio, status, reason):
    publish('us8k')
    server.status = status
    refused([f'{server.mirror}/UrbanSound8K.tar.gz could not be downloaded: the server answers {reason}. ', '--mirror'], 'us8k')
    assert list(audio.iterdir()) == []


def test_no_server(refused, publish, server, audio, monkeypatch):
    source = publish('us8k')
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        address = f'http://127.0.0.1:{unused.getsockname()[1]}'
    refused([f'{address}/UrbanSound8K.tar.gz', 'Connection refused', '--mirror'], 'us8k', '--mirror', address)
    refused(['http://nowhere.invalid/', 'Name or service not known', '--mirror'], 'us8k', '--mirror', 'http://nowhere.invalid')
    monkeypatch.setattr(sys, 'argv', ['download.py', 'us8k'])  # without --mirror: the published address
    with pytest.raises(SystemExit, match=f'{re.escape(source.files[0].url)} could not be downloaded: Name or service not known'):
        run_script(download.main)
    monkeypatch.setattr(download, 'TIMEOUT', 0.1)
    server.silent = True
    refused(['timed out', '--mirror'], 'us8k')
    assert list(audio.iterdir()) == [] and ranges(server) == [None]


@pytest.mark.parametrize('mirror', ['ftp://127.0.0.1', '127.0.0.1/folder', '/some/folder', 'http://', 'http://[::1', 'http://a b'])
def test_mirror_that_is_no_address(refused, publish, mirror):
    publish('vggish')
    refused([mirror], 'vggish', '--mirror', mirror)


@pytest.mark.parametrize('slashes', ['', '/', '//'])
def test_mirror_addresses(run, publish, server, slashes):
    publish('vggish')
    succeeded(run('vggish', '--mirror', server.mirror + slashes))
    assert server.requests == [('/some/folder/vggish_model.ckpt', None)]
    assert len(server.agents) == 1 and server.agents.pop().startswith('download.py (requests ')


def test_interruption_by_hand(run, publish, server, audio, monkeypatch):
    """Ctrl-C in the middle of a transfer."""
    publish('us8k')
    update, calls = download.tqdm.update, []

    def interrupted(bar, n=1):
        calls.append(n)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return update(bar, n)
    with monkeypatch.context() as patch:
        patch.setattr(download.tqdm, 'update', interrupted)
        code, output = run('us8k')
    assert code == 130 and 'the same command continues' in output
    assert [path.name for path in audio.iterdir()] == ['us8k.download']
    succeeded(run('us8k'))
    assert ranges(server) == [None, 'bytes=1250-']


def test_progress_on_a_terminal(run, publish, tmp_path, monkeypatch):
    publish('us8k')
    assert '\r' not in succeeded(run('us8k'))
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    output = succeeded(run('us8k', '--folder', tmp_path / 'other'))
    assert re.search(r'\rUrbanSound8K\.tar\.gz: +0%.* 0\.00/[0-9.]+k? .*B/s', output)
    assert '\runpacking UrbanSound8K.tar.gz: ' in output


def test_killed_while_unpacking(run, publish, server, audio, tmp_path):
    script = '''if True:
        import dataclasses, os, signal, sys, zipfile
        sys.path.insert(0, sys.argv.pop(1))
        import download
        download.SOURCES['esc50'] = dataclasses.replace(download.SOURCES['esc50'], fetched=0, unpacked=0)
        extract, calls = zipfile.ZipFile.extract, []
        def dying(*arguments):
            calls.append(arguments)
            if len(calls) == 50:
                os.kill(os.getpid(), signal.SIGKILL)
            return extract(*arguments)
        zipfile.ZipFile.extract = dying
        download.main()'''
    publish('esc50')
    done = subprocess.run([sys.executable, '-c', script, ROOT / 'aux', 'esc50', '--mirror', server.mirror],
                          env=commands.environment(tmp_path / 'data'), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and done.stderr == ''  # no progress bar in a file or pipe
    assert len(list(audio.glob('esc50.download/unpacked/*/audio/*.wav'))) == 49
    assert [path.name for path in audio.iterdir()] == ['esc50.download']
    next(audio.glob('esc50.download/unpacked/*/audio')).joinpath('of another time.wav').touch()
    ranges(server)
    succeeded(run('esc50'))
    assert ranges(server) == []  # the archive was whole
    assert [path.name for path in audio.iterdir()] == ['esc50'] and len(list(audio.glob('esc50/audio/*.wav'))) == 60


# ---- hostile and damaged archives ------------------------------------------------------------------------------------

OUTSIDE = Path(tempfile.gettempdir(), 'escape-of-test-download')  # absolute
HOSTILE = {
    'up.zip': zipped({'fine': b'', '../escape': b'out'}),
    'up inside.zip': zipped({'folder/../../escape': b'out'}),
    'absolute.zip': zipped({str(OUTSIDE): b'out'}),
    'up.tar.gz': tarred({'../escape': b'out'}),
    'up inside.tar.gz': tarred({'folder/../../escape': b'out'}),
    'absolute.tar.gz': tarred({str(OUTSIDE): b'out'}),
    'link.tar.gz': tarred({'link': {'type': tarfile.SYMTYPE, 'linkname': '..'}, 'link/escape': b'out'}),
    'link inside.tar.gz': tarred({'link': {'type': tarfile.SYMTYPE, 'linkname': 'other'}}),
    'hard link.tar.gz': tarred({'link': {'type': tarfile.LNKTYPE, 'linkname': '../kept'}}),
    'device.tar.gz': tarred({'null': {'type': tarfile.CHRTYPE, 'devmajor': 1, 'devminor': 3}}),
    'pipe.tar.gz': tarred({'pipe': {'type': tarfile.FIFOTYPE}}),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_nothing_leaves_the_folder(tmp_path, name):
    archive, target = tmp_path / name, tmp_path / 'target'
    archive.write_bytes(HOSTILE[name])
    (tmp_path / 'kept').write_text('kept')
    with pytest.raises(ValueError, match='is a link or a device, or leads out of the folder'):
        download.unpack(archive, target)
    assert {path.name for path in tmp_path.iterdir()} <= {name, 'target', 'kept'}
    assert not OUTSIDE.exists()
    assert not any(path.is_symlink() or path.name == 'escape' for path in target.rglob('*'))


def test_a_link_in_a_zip_becomes_a_file(tmp_path):
    """Zip programs store a symbolic link as a file with its target and a mode."""
    entry = zipfile.ZipInfo('link')
    entry.external_attr = 0o120777 << 16
    (tmp_path / 'link.zip').write_bytes(zipped({entry: '../escape'}))
    download.unpack(tmp_path / 'link.zip', tmp_path / 'target')
    link = tmp_path / 'target/link'
    assert not link.is_symlink() and link.read_text() == '../escape'


def damaged(how):
    """ESC-50's archive, damaged."""
    data = esc()[f'{sources.ESC_COMMIT}.zip']
    return {'truncated': data[:-30], 'half': data[:len(data) // 2], 'a page': b'<html>sorry</html>', 'empty': b'',
            'a bit turned': data[:100] + bytes([data[100] ^ 1]) + data[101:], 'hostile': HOSTILE['up.zip'],
            'other root': zipped({'ESC-50-master/meta/esc50.csv': b''}),
            'lacks sounds': esc(leave_out=3)[f'{sources.ESC_COMMIT}.zip']}[how]


@pytest.mark.parametrize('how, why', [
    ('truncated', 'not a zip file'), ('half', 'not a zip file'), ('a page', 'not a zip file'), ('empty', 'not a zip file'),
    ('a bit turned', 'cannot be unpacked'), ('hostile', "entry '../escape' is a link or a device, or leads out of the folder"),
    ('other root', 'it lacks meta/esc50.csv (0 of 1), audio/*.wav (0 of 60)'), ('lacks sounds', 'audio/*.wav (57 of 60)')])
def test_damaged_archive_without_checksum(run, refused, publish, server, audio, how, why):
    publish('esc50', {f'{sources.ESC_COMMIT}.zip': damaged(how)})
    refused([why, f'{sources.ESC_COMMIT}.zip', 'was deleted', '--mirror'], 'esc50')
    assert list(audio.iterdir()) == []
    server.files.update(esc())
    succeeded(run('esc50'))
    assert ranges(server) == [None, None]


@pytest.mark.parametrize('code, message, kept', [(errno.ENOSPC, 'No space left on device', True),
                                                 (errno.EINVAL, 'cannot be unpacked', False)])
def test_errors_while_unpacking(refused, publish, audio, monkeypatch, code, message, kept):
    """A full disk does not cost the archive; what zipfile says of a damaged directory does."""
    def fail(*_):
        raise OSError(code, os.strerror(code))
    publish('esc50')
    monkeypatch.setattr(zipfile.ZipFile, 'extract', fail)
    refused([message], 'esc50')
    assert [path.name for path in audio.rglob('*.zip')] == [f'{sources.ESC_COMMIT}.zip'] * kept
    assert not (audio / 'esc50').exists() and not (audio / 'esc50.download/unpacked').exists()


def test_archive_that_cannot_be_unpacked_although_its_checksum_is_right(refused, publish, audio):
    """What 6 GB of transfer have brought is not thrown away when another transfer would bring the same."""
    archive = us8k()['UrbanSound8K.tar.gz']
    publish('us8k', {'UrbanSound8K.tar.gz': archive[:len(archive) // 2]})
    refused([audio / 'us8k.download/UrbanSound8K.tar.gz', 'cannot be unpacked', 'the right checksums', 'by hand'], 'us8k')
    assert [path.name for path in audio.rglob('*')] == ['us8k.download', 'UrbanSound8K.tar.gz']


# ---- where it goes ---------------------------------------------------------------------------------------------------

def test_disk_space(run, refused, publish, server, audio, monkeypatch):
    source = publish('us8k')
    name, needed = 'UrbanSound8K.tar.gz', source.fetched + source.unpacked
    asked = []

    def free(number):
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: asked.append(path) or types.SimpleNamespace(free=number))
    free(needed - 1)
    refused([download.readable(needed), download.readable(needed - 1), audio / 'us8k.download', '--folder'], 'us8k')
    assert ranges(server) == [] and list(audio.iterdir()) == []
    assert asked == [audio / 'us8k.download']
    server.cut[name] = 1000
    free(needed)
    refused(['the connection was closed'], 'us8k')
    free(needed - 1001)
    refused(['make room'], 'us8k')
    free(needed - 1000)  # what has arrived needs no more room
    succeeded(run('us8k'))


def test_folder_that_holds_something_else(refused, publish, server, tmp_path):
    publish('us8k')
    (tmp_path / 'mine/metadata').mkdir(parents=True)
    (tmp_path / 'mine/metadata/UrbanSound8K.csv').touch()
    (tmp_path / 'mine/audio/fold1').mkdir(parents=True)
    (tmp_path / 'mine/audio/fold1/._1.wav').touch()  # a Mac's, no sound
    refused([tmp_path / 'mine', 'it lacks audio/fold*/*.wav (0 of 20)', 'remove it', '--folder'],
            'us8k', '--folder', tmp_path / 'mine')
    refused(['a disk is mounted at /: ', '--folder /sounds'], 'us8k', '--folder', '/')
    file = tmp_path / 'file'
    file.touch()
    refused([file, 'it lacks', 'remove it'], 'us8k', '--folder', file)
    refused([file / 'below.download', 'Not a directory', '--folder'], 'us8k', '--folder', file / 'below')
    assert ranges(server) == [] and {path.name for path in tmp_path.iterdir()} == {'mine', 'file'}


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_folder_that_is_not_writable(refused, publish, tmp_path):
    publish('us8k')
    tmp_path.chmod(0o500)
    refused([tmp_path / 'new.download', 'Permission denied', '--folder'], 'us8k', '--folder', tmp_path / 'new')
    tmp_path.chmod(0o700)


def test_two_processes(run, refused, publish, server, audio):
    publish('us8k')
    (audio / 'us8k.download').mkdir(parents=True)
    with open(audio / 'us8k.download/.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(['another process', audio / 'us8k.download'], 'us8k')
    assert ranges(server) == []
    succeeded(run('us8k'))


# ---- the table -------------------------------------------------------------------------------------------------------

def test_published_files():
    files = {name: source.files for name, source in SOURCES.items()}
    assert list(files) == ['us8k', 'asc', 'esc10', 'esc50', *NETWORKS] and files['esc10'] == files['esc50']
    assert {name: files[name] for name in NETWORKS} == {  # as published
        'vggish': [File('https://storage.googleapis.com/audioset/vggish_model.ckpt', 291108469,
                        'sha256:0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6')],
        'yamnet': [File('https://storage.googleapis.com/audioset/yamnet.h5', 15296092,
                        'sha256:13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744')],
        'mn04': [File('https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt', 4066513,
                      'sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c')],
        'mn10': [File('https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn10_as_mAP_471.pt', None, None,
                      range(15_000_000, 25_000_001))]}
    assert {name: SOURCES[name].place for name in NETWORKS} == {name: ROOT / 'src' / files[name][0].name for name in NETWORKS}
    parts = {archive: [f'{archive}.{part}.zip' for part in (*before, *(f'audio.{i}' for i in range(1, last + 1)))]
             for archive, before, last in ((DEVELOPMENT, ('doc', 'meta', 'error'), 10), (EVALUATION, ('doc', 'meta'), 4))}
    assert [file.name for file in files['asc']] == parts[DEVELOPMENT] + parts[EVALUATION]
    assert [file.name for name in ('us8k', 'esc50', 'vggish') for file in files[name]] == \
        ['UrbanSound8K.tar.gz', f'{sources.ESC_COMMIT}.zip', 'vggish_model.ckpt']
    digits = {'md5': 32, 'sha256': 64}
    for file in (file for name in ('us8k', 'asc', 'vggish', 'mn04', 'yamnet') for file in files[name]):
        algorithm, _, checksum = file.checksum.partition(':')
        assert re.fullmatch(f'[0-9a-f]{{{digits[algorithm]}}}', checksum)
        assert file.size is None or file.size > 1000
    every = [file for name in ('us8k', 'asc', 'esc50', 'vggish', 'mn04', 'yamnet') for file in files[name]]
    assert len({file.checksum for file in every}) == len({file.url for file in every}) == len(every)
    assert all(file.url.startswith('https://') for file in every)
    assert [file.name for file in every if file.size is None] == \
        [f'{EVALUATION}.{part}.zip' for part in ('doc', 'meta', 'audio.1')] + [f'{sources.ESC_COMMIT}.zip']
    for source in SOURCES.values():  # sizes that are not known: less than two further archives of a gigabyte
        known = sum(file.size or 0 for file in source.files)
        assert known <= source.fetched < known + 2e9
        assert source.unpacked > source.fetched if source.content else source.unpacked == 0
    counts = {name: sum(source.content.values()) for name, source in SOURCES.items() if source.content}
    assert counts == {'us8k': 8732 + 1, 'asc': 4680 + 1620 + 2, 'esc10': 2001, 'esc50': 2001}


def test_list(run):
    output = succeeded(run('--list'))
    for name, source in SOURCES.items():
        assert re.search(rf'^{name}: {re.escape(source.title)}, .*{re.escape(source.licence)}$', output, re.MULTILINE)
        for file in source.files:
            assert re.search(rf'{file.size or "size unknown"}  {file.checksum or "no checksum"}  {file.url}$', output, re.MULTILINE)
    assert '6.02GB to download, 7.20GB unpacked' in output


def test_nothing_named(run):
    code, output = run()
    assert code == 2 and 'us8k, asc, esc10, esc50, vggish, yamnet, mn04, mn10' in output


def test_file_names_its_last_part():
    assert File('https://host/a/b.zip', None, None).name == 'b.zip'
