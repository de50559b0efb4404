"""Fetch a data set or the VGGish checkpoint: check it, unpack it, and say which command comes next.

Usage: python aux/download.py us8k|asc|esc10|esc50|vggish [--folder FOLDER] [--mirror URL] [--keep-archive]
       python aux/download.py --list
Reads: the published addresses (--list shows them); with --mirror URL/<what follows the last / of the published address>
Writes: FOLDER, for vggish FOLDER/vggish_model.ckpt. Where none is given: audio/us8k/, audio/asc/ or audio/esc50/ (ESC-10 is
        a part of ESC-50) under DATA_FOLDER, and src/vggish_model.ckpt

Files arrive in FOLDER.download/ (vggish_model.ckpt.download/), where their sizes and checksums are compared with the
published ones and archives are unpacked; only what is whole gets its final name. After an interruption the same command
continues. A file that is partly there is continued if the server can do that, otherwise fetched from the beginning; so is
ESC-50's archive, which is made on demand and has no checksum: its content is checked instead. Files that you have already
can be put into FOLDER.download/, they are checked and used.
"""
import argparse
import contextlib
import errno
import fcntl
import os
import re
import shlex
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pooch
import requests
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'src'))
import config_file
import pretrained
from shared import PROGRESS, UserError, data_folder, listing, run_script

VGGISH = pretrained.NETWORKS['vggish']
CHUNK = 2 ** 17  # of a transfer, the most that is lost when it breaks off; bytes


# ---- what there is to fetch ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class File:
    """One published file."""
    url: str
    size: int | None        # bytes; None: not known for certain, the checksum decides alone
    checksum: str | None    # algorithm:digits; None: differs from one transfer to the next

    @property
    def name(self):
        return self.url.rpartition('/')[2]


@dataclass(frozen=True)
class Source:
    """A data set, or a single file that is used as it comes."""
    title: str
    licence: str
    files: list
    fetched: int            # all files together, about; bytes
    unpacked: int           # about; bytes
    place: Path             # where it goes; relative to DATA_FOLDER, or absolute
    next: str               # the command that comes next; {} stands for the place
    root: str = ''          # what lies below this folder of the archives is the data set
    content: dict | None = None  # what the index script reads: pattern (or one of several) -> at least so many files;
                                 # None: a single file that is not unpacked


def tut(record, archive, parts):
    """The files of one of the two archives of TUT Acoustic Scenes 2017."""
    return [File(f'https://zenodo.org/record/{record}/files/{archive}.{part}.zip', size, f'md5:{md5}')
            for part, size, md5 in parts]


DEVELOPMENT = 'TUT-acoustic-scenes-2017-development'
EVALUATION = 'TUT-acoustic-scenes-2017-evaluation'
ESC_COMMIT = '33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6'

US8K = Source(
    'UrbanSound8K', 'CC BY-NC: no commercial use',
    [File('https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz', 6023741708, 'md5:9aa69802bbf37fb986f71ec1483a196e')],
    6_023_741_708, 7_200_000_000, Path('audio/us8k'), 'python aux/index_us8k.py {}', 'UrbanSound8K',
    {'metadata/UrbanSound8K.csv': 1, 'audio/fold*/*.wav': 8732})
ASC = Source(
    'TUT Acoustic Scenes 2017', 'licence of Tampere University of Technology: no commercial use',
    [*tut(400515, DEVELOPMENT, [
        ('doc', 54796, '2065495aaf3f1103e795c9899e2af1df'),
        ('meta', 104321, '9007fd4772d816590c5db5f5e9568f5d'),
        ('error', 1432, '802c700b021769e52a2c1e3b9c117a1b'),
        ('audio.1', 1071445248, '251325a9afaaad0326ad1c57f57d514a'),
        ('audio.2', 1073453613, 'c26861e05147dc319b4250eb103d9d99'),
        ('audio.3', 1073077819, 'a4815775f8a5e629179726ee4cd4f55a'),
        ('audio.4', 1072822038, '1732b03afe8c53ef8bba80ba14766e57'),
        ('audio.5', 1072644652, '611be754a0c951185c6ae4b7643c19a0'),
        ('audio.6', 1072667888, '165a201db800d3ea76fce5a9c2bd97d7'),
        ('audio.7', 1073417661, 'c7d79db84264401c0f8680dcc36013ad'),
        ('audio.8', 1072381222, '35043f25123439392338c790494c7a19'),
        ('audio.9', 1072087738, '0805dcf5d8e6871dc9610182b2efb93a'),
        ('audio.10', 1046262120, '5df83a191295a04e290b125c634e13e7')]),
     *tut(1040168, EVALUATION, [  # some of these were replaced once, after their sizes had been published
        ('doc', None, '53709a07416ea3b617c02fcf67dbeb9c'),
        ('meta', None, '200eee9493e8044403e1326e3d05cfde'),
        ('audio.1', None, '3d6dda4445871e9544e0fefe7d14c7d9'),
        ('audio.2', 1073362972, '4085ef5fa286f2169074993a4e405953'),
        ('audio.3', 1071521152, 'cac432579e7cf2dff0aec7aaed248956'),
        ('audio.4', 382756463, '664bf09c3d24bd26c6b587f1d709de36')])],
    14_300_000_000, 16_700_000_000, Path('audio/asc'), 'python aux/index_asc.py {}', '',
    {f'{DEVELOPMENT}/meta.txt': 1, f'{DEVELOPMENT}/audio/*.wav': 4680,
     f'{EVALUATION}/meta.txt or {EVALUATION}/evaluation_setup/evaluate.txt': 1, f'{EVALUATION}/audio/*.wav': 1620})
ESC50 = Source(
    'ESC-50', 'CC BY-NC: no commercial use; the clips of ESC-10 CC BY',
    [File(f'https://github.com/karolpiczak/ESC-50/archive/{ESC_COMMIT}.zip', None, None)],
    650_000_000, 890_000_000, Path('audio/esc50'), 'python aux/index_esc.py {} --name esc50', f'ESC-50-{ESC_COMMIT}',
    {'meta/esc50.csv': 1, 'audio/*.wav': 2000})
VGGISH = Source(
    'VGGish checkpoint', 'Apache License 2.0, as the VGGish code that it was published with',
    [File(VGGISH.address, VGGISH.size, f'sha256:{VGGISH.sha256}')],
    VGGISH.size, 0, ROOT / 'src' / config_file.VGGISH_CHECKPOINT, 'cd src && python vggish_smoke_test.py')

SOURCES = {
    'us8k': US8K,
    'asc': ASC,
    'esc10': replace(ESC50, title='ESC-10 (a part of ESC-50)', next='python aux/index_esc.py {} --name esc10'),
    'esc50': ESC50,
    'vggish': VGGISH,
}


def print_list():
    """Names, sizes, licences, and every file with its size in bytes, checksum and address."""
    for name, source in SOURCES.items():
        unpacked = f' to fetch, {readable(source.unpacked)} unpacked' if source.content else ''
        print(f'{name}: {source.title}, {readable(source.fetched)}{unpacked}. {source.licence}')
        for file in source.files:
            print(f'    {file.size or "size unknown"}  {file.checksum or "no checksum"}  {file.url}')


# ---- what is there ---------------------------------------------------------------------------------------------------

def readable(number):
    """A number of bytes for people, e.g. 6.02GB."""
    return tqdm.format_sizeof(number, 'B')


def fault(file, path):
    """What distinguishes the file at `path` from the published one (str); empty when nothing does."""
    found = path.stat().st_size
    if file.size not in (None, found):
        return f'it has {found} bytes, expected {file.size}'
    if file.checksum:
        algorithm, _, expected = file.checksum.partition(':')
        print(f'{file.name}: {readable(found)}, checking its {algorithm}')
        found = pooch.file_hash(path, algorithm)
        if found != expected:
            return f'its {algorithm} is {found}, expected {expected}'
    return ''


def lacking(source, folder):
    """What a folder lacks of a data set (str); empty when it is whole."""
    lacks = []
    for patterns, wanted in source.content.items():
        found = sum(not path.name.startswith('.') for pattern in patterns.split(' or ') for path in folder.glob(pattern))
        if found < wanted:
            lacks.append(f'{patterns} ({found} of {wanted})')
    return f'it lacks {listing(lacks)}' if lacks else ''


def is_whole(source, target):
    """Whether the data set or file is there; False where nothing is, UserError where something else is."""
    if os.path.ismount(target):  # nothing could be renamed to it
        raise UserError(f'{target} is where a disk is mounted: name a new folder below it, --folder {target / "sounds"}')
    if not target.exists() or (source.content and target.is_dir() and not any(target.iterdir())):
        return False
    problem = lacking(source, target) if source.content else fault(source.files[0], target)
    if problem:
        raise UserError(f'{target} is there already, but {problem}: remove it, or name a folder that is new (--folder)')
    return True


# ---- from the server to a checked file -------------------------------------------------------------------------------

def address(file, mirror):
    """Where a file is fetched from: its published address, or the same last part below another one."""
    return f'{mirror.rstrip("/")}/{file.name}' if mirror else file.url


def fetch(file, url, folder):
    """Path of the checked file in `folder`; it is fetched if it is not there, and continued if a part of it is.

    pooch.retrieve would do most of this, but it begins every transfer anew and throws away what an interruption leaves.
    """
    path = folder / file.name
    if path.exists():
        problem = fault(file, path)
        if not problem:
            print(f'{path} is there already')
            return path
        print(f'{path} is not the published file ({problem}): fetching that')
    part = folder / f'{file.name}.part'
    if not file.checksum:  # nothing would tell that two parts do not belong together
        part.unlink(missing_ok=True)
    transfer(file, url, part)
    problem = fault(file, part)
    if problem and part.stat().st_size < (file.size or 0):
        raise UserError(f'{url} ended too early ({problem}). ' + again(file, part))
    if problem:
        part.unlink()
        raise UserError(f'{url} is not the published {file.name}: {problem}. It was deleted. ' + again(file, part))
    os.replace(part, path)
    return path


def again(file, part):
    """The remedy when a transfer fails, and what becomes of what has arrived."""
    there = part.stat().st_size if file.checksum and part.exists() else 0
    return ('The same command '
            + (f'continues after the {readable(there)} that have arrived' if there else 'fetches it from the beginning')
            + '; should it fail again, try later, or name another host that has the file: --mirror URL')


def transfer(file, url, part):
    """Append to `part` what it lacks of the file; a server that cannot begin in the middle sends all of it once more."""
    there = part.stat().st_size if part.exists() else 0
    if there and file.size and there >= file.size:
        return  # the caller finds out whether it is right
    # Zenodo slows down clients that do not say who they are; a compressed answer could not be continued
    headers = {'User-Agent': f'pooch/{pooch.__version__} (https://www.fatiando.org/pooch)', 'Accept-Encoding': 'identity'}
    if there:
        headers['Range'] = f'bytes={there}-'
    # pooch sets the total when it knows it, but asks before whether there is a bar, and one without a total is none
    progress = tqdm(desc=file.name, total=file.size or CHUNK, unit='B', unit_scale=True, **PROGRESS)
    with open(part, 'ab') as output, progress:
        def begin(response, **_):
            """See what the server is about to send; `requests` calls this before the content comes."""
            if response.status_code not in (200, 206):  # a redirection, or an error that pooch raises
                return
            before = there if response.status_code == 206 else 0
            length = response.headers.get('Content-Length')
            if file.size and length and before + int(length) != file.size:
                raise UserError(f'{url} has {before + int(length)} bytes, the published {file.name} has {file.size}. '
                                + again(file, part))
            if there:
                progress.write(f'{file.name}: continuing after {readable(there)}' if before else
                               f'{file.name}: the server cannot continue a transfer, it starts from the beginning')
            output.truncate(before)

        try:
            pooch.HTTPDownloader(progress, CHUNK, headers=headers, hooks={'response': begin})(url, output, None)
        except requests.RequestException as problem:
            status = problem.response.status_code if problem.response is not None else None
            if status == 416 and there:  # nothing follows what has arrived: the caller finds out whether it is right
                return
            reason = f'the server answers {status} {problem.response.reason}' if status else origin(problem)
            raise UserError(f'{url} could not be fetched: {reason}. ' + again(file, part)) from None


def origin(problem):
    """Why a transfer failed (str): the error at the bottom of those that libraries have wrapped around it."""
    if isinstance(problem, requests.exceptions.ChunkedEncodingError):
        return 'the connection broke off'
    while problem.__cause__ or problem.__context__:
        problem = problem.__cause__ or problem.__context__
    return getattr(problem, 'strerror', None) or str(problem) or type(problem).__name__


# ---- from archives to a folder ---------------------------------------------------------------------------------------

def refuse_unsafe(name, plain):
    """Raise ValueError unless an entry of an archive is a plain file or folder that comes to lie below the target."""
    if not plain or PurePosixPath(name).is_absolute() or '..' in PurePosixPath(name).parts:
        raise ValueError(f'the entry {name!r} is a link or a device, or leads out of the folder')


def unpack(path, folder):
    """Unpack a zip or tar archive into an empty folder; ValueError unless it is sound and all of it comes to lie there.

    pooch.Unzip and pooch.Untar are no help: they unpack where the data set will be looked for, so an interruption leaves
    a part that looks whole, and the latter filters nothing before Python 3.12.
    """
    show = {'desc': f'unpacking {path.name}', 'unit': 'file', 'leave': False, **PROGRESS}
    data_only = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}  # not in Python 3.11.0 to 3.11.3
    try:
        if path.suffix == '.zip':
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    refuse_unsafe(entry.filename, not stat.S_ISLNK(entry.external_attr >> 16))
                for entry in tqdm(archive.infolist(), **show):
                    archive.extract(entry, folder)
        else:
            with tarfile.open(path) as archive:
                for entry in tqdm(archive, **show):
                    refuse_unsafe(entry.name, entry.isfile() or entry.isdir())
                    archive.extract(entry, folder, **data_only)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError, OSError) as problem:
        if getattr(problem, 'errno', None) not in (None, errno.EINVAL):  # a full disk and the like, not the archive's fault
            raise
        raise ValueError(f'{path} cannot be unpacked ({problem})') from None


def unpack_all(source, paths, folder):
    """Unpack the archives of a data set into a new folder and return the folder of the whole data set (Path)."""
    try:
        for path in paths:
            unpack(path, folder)
        if problem := lacking(source, folder / source.root):
            raise ValueError(f'what was unpacked is not the whole data set: {problem}')
    except ValueError as problem:
        if all(file.checksum for file in source.files):
            remedy = f'The checksums of the archives in {folder.parent} are right: unpack them by hand'
        else:
            for path in paths:
                path.unlink()
            remedy = (f'{listing(path.name for path in paths)} was deleted: the same command fetches it again, or name another '
                      'host that has it (--mirror URL)')
        raise UserError(f'{problem}. {remedy}') from None
    return folder / source.root


# ---- the command -----------------------------------------------------------------------------------------------------

def download_folder(target):
    """Where the files of a data set, or a single file, arrive and are unpacked (Path): on the same disk as `target`."""
    return target.with_name(f'{target.name}.download')


@contextlib.contextmanager
def work_in(folder):
    """Make a folder, lock it against a second process that would write to the same files, and remove it if nothing stays."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / '.lock', 'w')
    except OSError as problem:
        raise UserError(f'{folder} cannot be written to ({problem.strerror}): choose another place (--folder)') from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f'another process is writing to {folder}: wait until it has finished') from None
        try:
            shutil.rmtree(folder / 'unpacked', ignore_errors=True)  # of a process that was killed
            yield
        finally:
            shutil.rmtree(folder / 'unpacked', ignore_errors=True)
            for path in folder.iterdir():
                if path.is_file() and not path.stat().st_size:  # the lock, and a transfer that brought nothing
                    path.unlink()
            with contextlib.suppress(OSError):  # there is more in it
                folder.rmdir()


def check_space(source, folder):
    """Raise UserError when the disk has no room for what is still to be fetched and unpacked."""
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    needed = max(source.fetched - there, 0) + source.unpacked
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f'{source.title} needs about {readable(needed)} more, the disk of {folder} has {readable(free)} left: '
                        'make room, or choose a folder on another disk (--folder)')


def install(source, target, mirror, keep_archive):
    """Fetch a data set or file and give it its name as the last step."""
    folder = download_folder(target)
    with work_in(folder):
        check_space(source, folder)
        paths = [fetch(file, address(file, mirror), folder) for file in source.files]
        os.replace(unpack_all(source, paths, folder / 'unpacked') if source.content else paths[0], target)
        if not keep_archive:
            for path in paths:
                path.unlink(missing_ok=True)
    print(f'{target}: ready')


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('name', nargs='?', choices=SOURCES, help='what to fetch')
    arguments.add_argument('--list', action='store_true', help='show names, sizes, licences, checksums and addresses')
    arguments.add_argument('--folder', type=Path, help='where to put it (default: see above)')
    arguments.add_argument('--mirror', metavar='URL', help='fetch URL/<last part of the published address> instead')
    arguments.add_argument('--keep-archive', action='store_true', help='do not delete the archives after unpacking')
    args = arguments.parse_args()
    if args.list:
        print_list()
        return
    if not args.name:
        arguments.error(f'name what to fetch: {", ".join(SOURCES)}')
    if args.mirror and not re.fullmatch(r'https?://[^/\s]\S*', args.mirror):
        raise UserError(f'--mirror {args.mirror}: expected an address such as https://host/folder')

    source = SOURCES[args.name]
    default = data_folder() / source.place
    target = default
    if args.folder:
        target = args.folder.expanduser().resolve() / ('' if source.content else default.name)
    print(f'{source.title}: {source.licence}')
    if is_whole(source, target):
        print(f'{target} is there already and whole: nothing to fetch')
    else:
        install(source, target, args.mirror, args.keep_archive)
    if download_folder(target).exists():
        print(f'{download_folder(target)}: the archives; remove them when you do not need them any more')
    if not source.content and target != default:
        print(f'note: the scripts look for {default}; move it there, set VGGISH_CHECKPOINT in config_file.py, or pass '
              f'checkpoint={target}')
    print(f'next: {source.next.format(shlex.quote(str(target)))}')


if __name__ == '__main__':
    run_script(main)
