"""Fetch a data set or a pretrained network: check it, unpack it, and print the next command.

Usage: python aux/download.py us8k|asc|esc10|esc50|vggish|mn04|mn10|yamnet [--folder FOLDER] [--mirror URL] [--keep-archive]
       python aux/download.py --list
Reads: the published addresses (--list shows them), or with --mirror URL/<last part of the published address>
Writes: FOLDER, or for a network FOLDER/<its file>. Without --folder: audio/us8k/, audio/asc/ or audio/esc50/ (ESC-10 is a
        part of ESC-50) under DATA_FOLDER; networks go to src/

Files arrive in FOLDER.download/ (<file>.download/ for a network). There, sizes and checksums are compared with the published
ones and archives are unpacked; only what is complete gets its final name. After an interruption, start the same command again:
it continues a file that is partly there if the server supports that. Two files have no published checksum and always begin
again: ESC-50, whose content is checked after unpacking, and mn10, whose size and format are checked. Files that you have
already can be put into FOLDER.download/: they are checked and used.
"""
import argparse
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import requests
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from shared import PROGRESS, UserError, data_folder, listing, run_script
from sources import SOURCES
from torch_file import read_tensors

CHUNK = 2 ** 17  # of a transfer, the most that is lost when it breaks off; bytes
TIMEOUT = 30     # for a sign of life from the server; s
AGAIN = ('Start the same command again: it continues after what has arrived, or begins again where that is not possible. If it '
         'fails again, try later, or name another host that has the file (--mirror URL)')


# ---- is it the published file, the whole data set? -------------------------------------------------------------------

def readable(number):
    """A number of bytes for people, e.g. 6.02GB."""
    return tqdm.format_sizeof(number, 'B')


def digest(path, algorithm):
    """Hexadecimal digest of a file's content (str)."""
    print(f'{path.name}: {readable(path.stat().st_size)}, checking its {algorithm}')
    with open(path, 'rb') as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def fault(file, path):
    """How the file at `path` differs from the published one (str); empty when it does not."""
    found = path.stat().st_size
    if file.size not in (None, found):
        return f'it has {found} bytes, expected {file.size}'
    if file.checksum:
        algorithm, _, expected = file.checksum.partition(':')
        found = digest(path, algorithm)
        return '' if found == expected else f'its {algorithm} is {found}, expected {expected}'
    if file.sizes:
        if found not in file.sizes:
            return f'it has {found} bytes, expected {file.sizes[0]} to {file.sizes[-1]}'
        try:
            read_tensors(path)
        except UserError as problem:
            return str(problem)
        print(f'{file.name}: sha256 {digest(path, "sha256")}. No checksum is published: compare it with that of another copy')
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
    """Whether the data set or file is there; False when nothing is there, UserError when something else is."""
    if os.path.ismount(target):  # nothing could be renamed to it
        raise UserError(f'{target} is where a disk is mounted: name a new folder in it, --folder {target / "sounds"}')
    if not target.exists() or (source.content and target.is_dir() and not any(target.iterdir())):
        return False
    if problem := lacking(source, target) if source.content else fault(source.files[0], target):
        raise UserError(f'{target} is there already, but {problem}: remove it, or name a new folder (--folder)')
    return True


# ---- from the server to a checked file -------------------------------------------------------------------------------

def fetch(file, url, folder):
    """Path of the checked file in `folder`; it is fetched if it is not there, and continued if a part of it is."""
    path = folder / file.name
    if path.exists():
        problem = fault(file, path)
        if not problem:
            print(f'{path} is there already')
            return path
        print(f'{path} is not the published file ({problem}): fetching it')
    part = folder / f'{file.name}.part'
    if not file.checksum:  # no check would notice parts of two different transfers
        part.unlink(missing_ok=True)
    transfer(file, url, part)
    if problem := fault(file, part):
        if part.stat().st_size >= (file.size or 0):  # otherwise the transfer ended too early, and the next one continues it
            part.unlink()
            problem += '. It was deleted'
        raise UserError(f'{url} did not bring the published {file.name}: {problem}. {AGAIN}')
    os.replace(part, path)
    return path


def transfer(file, url, part):
    """Append to `part` what it lacks of the file; a server that cannot continue a transfer sends all of it again."""
    there = part.stat().st_size if part.exists() else 0
    if there and file.size and there >= file.size:
        return  # the caller checks it
    headers = {'User-Agent': f'download.py (requests {requests.__version__})',  # Zenodo slows down anonymous clients
               'Accept-Encoding': 'identity',  # a compressed answer could not be continued
               'Range': f'bytes={there}-' if there else None}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416 and there:  # nothing follows what has arrived: the caller checks it
                return
            response.raise_for_status()
            start = there if response.status_code == 206 else 0
            total = start + int(response.headers.get('Content-Length', 0)) or None
            if file.size and total and total > start and total != file.size:
                raise UserError(f'{url} has {total} bytes, the published {file.name} has {file.size}. {AGAIN}')
            if there:
                print(f'{file.name}: ' + (f'continuing after {readable(there)}' if start else
                                          'the server cannot continue a transfer, it starts from the beginning'))
            with open(part, 'ab') as output, tqdm(desc=file.name, total=file.size or total, initial=start, unit='B',
                                                  unit_scale=True, **{**PROGRESS, 'leave': False}) as progress:
                output.truncate(start)
                for chunk in response.iter_content(CHUNK):
                    output.write(chunk)
                    progress.update(len(chunk))
    except requests.RequestException as problem:
        answer = problem.response
        reason = origin(problem) if answer is None else f'the server answers {answer.status_code} {answer.reason}'
        raise UserError(f'{url} could not be fetched: {reason}. {AGAIN}') from None


def origin(problem):
    """Why a transfer failed (str): the error at the bottom of those that libraries have wrapped around it."""
    if isinstance(problem, requests.exceptions.ChunkedEncodingError):
        return 'the connection broke off'
    while problem.__cause__ or problem.__context__:
        problem = problem.__cause__ or problem.__context__
    return getattr(problem, 'strerror', None) or str(problem) or type(problem).__name__


# ---- from archives to a folder ---------------------------------------------------------------------------------------

def unpack(path, folder):
    """Unpack a zip or tar archive into a folder.

    Raise ValueError when it is damaged, or has links, devices or paths that lead out of the folder.
    """
    is_zip = path.suffix == '.zip'
    try:
        with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
            archive.extraction_filter = getattr(tarfile, 'data_filter', None)  # of tar; not in Python 3.11.0 to 3.11.3
            entries = archive.infolist() if is_zip else archive
            for entry in tqdm(entries, desc=f'unpacking {path.name}', unit='file', **{**PROGRESS, 'leave': False}):
                name = PurePosixPath(entry.filename if is_zip else entry.name)
                plain = not stat.S_ISLNK(entry.external_attr >> 16) if is_zip else entry.isfile() or entry.isdir()
                if not plain or name.is_absolute() or '..' in name.parts:
                    raise ValueError(f"the entry '{name}' is a link or a device, or leads out of the folder")
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError, OSError) as problem:
        if getattr(problem, 'errno', None) not in (None, errno.EINVAL):  # a full disk and the like: the archive may be good
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
        if all(file.checksum for file in source.files):  # a further transfer would bring the same
            raise UserError(f'{problem}. The checksums of the archives in {folder.parent} are right: unpack them by hand') from None
        for path in paths:
            path.unlink()
        raise UserError(f'{problem}. {listing(path.name for path in paths)} was deleted. {AGAIN}') from None
    return folder / source.root


# ---- the command -----------------------------------------------------------------------------------------------------

def download_folder(target):
    """Where files arrive and are unpacked (Path): on the same disk as `target`."""
    return target.with_name(f'{target.name}.download')


@contextlib.contextmanager
def work_in(folder):
    """Make a folder, lock it against a second process that would write to the same files, and remove it if it ends empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / '.lock', 'w')
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f'another process is writing to {folder}: wait until it has finished') from None
    except OSError as problem:
        raise UserError(f'{folder} cannot be written to ({problem.strerror}): choose another place (--folder)') from None
    with lock:
        try:
            shutil.rmtree(folder / 'unpacked', ignore_errors=True)  # of a process that was killed
            yield
        finally:
            shutil.rmtree(folder / 'unpacked', ignore_errors=True)
            for path in folder.iterdir():
                if path.is_file() and not path.stat().st_size:  # the lock, and a transfer that brought nothing
                    path.unlink()
            with contextlib.suppress(OSError):  # it is not empty
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
    """Fetch a data set or file, and give it its final name as the last step."""
    folder = download_folder(target)
    with work_in(folder):
        check_space(source, folder)
        paths = [fetch(file, f'{mirror.rstrip("/")}/{file.name}' if mirror else file.url, folder) for file in source.files]
        os.replace(unpack_all(source, paths, folder / 'unpacked') if source.content else paths[0], target)
        if not keep_archive:
            for path in paths:
                path.unlink(missing_ok=True)
    print(f'{target}: ready')


def print_list():
    """Names, sizes, licences, and every file with its size in bytes, checksum and address."""
    for name, source in SOURCES.items():
        unpacked = f' to fetch, {readable(source.unpacked)} unpacked' if source.content else ''
        print(f'{name}: {source.title}, {readable(source.fetched)}{unpacked}. {source.licence}')
        for file in source.files:
            print(f'    {file.size or "size unknown"}  {file.checksum or "no checksum"}  {file.url}')


def read_arguments():
    """Parsed and checked arguments."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('name', nargs='?', choices=SOURCES, help='what to fetch')
    arguments.add_argument('--list', action='store_true', help='show names, sizes, licences, checksums and addresses')
    arguments.add_argument('--folder', type=Path, help='where to put it (default: see above)')
    arguments.add_argument('--mirror', metavar='URL', help='fetch URL/<last part of the published address> instead')
    arguments.add_argument('--keep-archive', action='store_true', help='do not delete the archives after unpacking')
    args = arguments.parse_args()
    if not args.name and not args.list:
        arguments.error(f'name what to fetch: {", ".join(SOURCES)}')
    if args.mirror and not re.fullmatch(r'https?://[^/\s]\S*', args.mirror):
        raise UserError(f'--mirror {args.mirror}: expected an address such as https://host/folder')
    return args


def main():
    args = read_arguments()
    if args.list:
        print_list()
        return

    source = SOURCES[args.name]
    target = default = data_folder() / source.place
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
        print(f'note: the scripts look for {default}: move it there, or pass checkpoint={target} to them')
    if source.next:
        print(f'next: {source.next.format(shlex.quote(str(target)))}')


if __name__ == '__main__':
    run_script(main)
