"""Download a data set or the weights of a pretrained network: check them, unpack them, and print the next command.

Usage: python aux/download.py us8k|asc|esc10|esc50|vggish|yamnet|mn04|mn10 [--folder FOLDER] [--mirror URL] [--keep-archive]
       python aux/download.py --list
Reads: the published addresses (--list shows them), or with --mirror URL/<last part of the published address>
Writes: a data set to FOLDER, by default audio/us8k/, audio/asc/ or audio/esc50/ (ESC-10 is a part of ESC-50) under DATA_FOLDER;
        weights to FOLDER/<name of the file>, by default to src/

Files arrive in FOLDER.download/ (<name of the file>.download/ for weights). There they are checked and unpacked; only what is
complete gets its final name. After an interruption, start the same command again: it continues if the server supports that.
Two files have no published checksum and always start from the beginning: ESC-50, whose content is checked after unpacking, and
mn10, whose size and format are checked. Files that you have already can be put into FOLDER.download/: they are checked and used.
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
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import requests
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from shared import PROGRESS, UserError, data_folder, expanded, listing, run_script
from sources import SOURCES
from torch_file import read_tensors

CHUNK = 2 ** 17  # bytes that are written at once
TIMEOUT = 30     # longest silence of the server; s
BAR = {**PROGRESS, 'leave': False, 'disable': None}  # of tqdm; None: no bar unless stderr is a terminal
AGAIN = ('Start the same command again, it continues where that is possible. If it fails again, try later, or name another host '
         'that has the file (--mirror URL)')


def readable(number):
    """A number of bytes as text, e.g. 6.02GB."""
    return tqdm.format_sizeof(number, 'B')


# ---- checks ----------------------------------------------------------------------------------------------------------

def fault(file, path):
    """How the file at `path` differs from the published one (str); empty when it does not."""
    size = path.stat().st_size
    if file.size not in (None, size):
        return f'it has {size} bytes, expected {file.size}'
    if file.sizes:
        if size not in file.sizes:
            return f'it has {size} bytes, expected {file.sizes[0]} to {file.sizes[-1]}'
        try:
            read_tensors(path)
        except UserError as problem:
            return str(problem)
    if file.checksum or file.sizes:
        algorithm, _, expected = (file.checksum or 'sha256:').partition(':')
        print(f'{file.name}: {readable(size)}, computing its {algorithm}')
        with open(path, 'rb') as content:
            found = hashlib.file_digest(content, algorithm).hexdigest()
        if not expected:
            print(f'{file.name}: {algorithm} {found}. No checksum is published: compare it with that of another copy')
        elif found != expected:
            return f'its {algorithm} is {found}, expected {expected}'
    return ''


def lacking(source, folder):
    """Which files of a data set a folder lacks (str); empty when it is complete."""
    lacks = []
    for patterns, wanted in source.content.items():
        found = sum(not path.name.startswith('.') for pattern in patterns.split(' or ') for path in folder.glob(pattern))
        if found < wanted:
            lacks.append(f'{patterns} ({found} of {wanted})')
    return f'it lacks {listing(lacks)}' if lacks else ''


def is_complete(source, target):
    """Whether the data set or file is there; False when nothing is there, UserError when something else is."""
    if os.path.ismount(target):  # nothing could be renamed to it
        raise UserError(f'a disk is mounted at {target}: name a new folder on it, --folder {target / "sounds"}')
    if not target.exists() or (source.content and target.is_dir() and not any(target.iterdir())):
        return False
    if problem := lacking(source, target) if source.content else fault(source.files[0], target):
        raise UserError(f'{target} exists, but {problem}: remove it, or name a new folder (--folder)')
    return True


def check_space(source, folder):
    """Raise UserError when the disk has no room for what is still to be downloaded and unpacked."""
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    needed = max(source.fetched - there, 0) + source.unpacked
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f'{source.title} needs {readable(needed)} more (about), the disk of {folder} has {readable(free)} left: '
                        'make room, or choose a folder on another disk (--folder)')


# ---- from the server to a checked file -------------------------------------------------------------------------------

def fetch(file, url, folder):
    """Path of the checked file in `folder`; it is downloaded, or continued, unless it is there."""
    path, part = folder / file.name, folder / f'{file.name}.part'
    if path.exists():
        problem = fault(file, path)
        if not problem:
            print(f'{path} exists: it is not downloaded again')
            return path
        print(f'{path} is not the published file ({problem}): it is replaced')
    if not file.checksum:  # nothing would tell that two parts come from different files
        part.unlink(missing_ok=True)
    transfer(file, url, part)
    if problem := fault(file, part):
        if part.stat().st_size >= (file.size or 0):  # a shorter one is continued next time
            part.unlink()
            problem += '. It was deleted'
        raise UserError(f'{url} is not the published {file.name}: {problem}. {AGAIN}')
    os.replace(part, path)
    return path


def transfer(file, url, part):
    """Append to `part` what it lacks of the file; a server that cannot continue sends the whole file again.

    requests has no function for this; pooch and keras.utils.get_file always start from the beginning.
    """
    there = part.stat().st_size if part.exists() else 0
    if file.size and there >= file.size:
        return  # the caller checks it
    headers = {'User-Agent': f'download.py (requests {requests.__version__})',  # Zenodo slows down anonymous clients
               'Accept-Encoding': 'identity',  # a compressed answer could not be continued
               'Range': f'bytes={there}-' if there else None}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416 and there:  # `part` is complete: the caller checks it
                return
            response.raise_for_status()
            start = there if response.status_code == 206 else 0
            length = response.headers.get('Content-Length')
            total = start + int(length) if length else file.size
            if file.size not in (None, total):
                raise UserError(f'{url} has {total} bytes, the published {file.name} has {file.size}. {AGAIN}')
            print(f'{file.name}: {readable(total) if total else "size unknown"}, ' + (
                f'continuing after {readable(start)}' if start else
                'the server cannot continue, starting from the beginning' if there else 'downloading'))
            with open(part, 'ab') as output, tqdm(desc=file.name, total=total, initial=start, unit='B', unit_scale=True,
                                                  **BAR) as bar:
                output.truncate(start)
                for chunk in response.iter_content(CHUNK):
                    output.write(chunk)
                    bar.update(len(chunk))
    except requests.RequestException as problem:
        answer = problem.response
        reason = cause(problem) if answer is None else f'the server answers {answer.status_code} {answer.reason}'
        raise UserError(f'{url} could not be downloaded: {reason}. {AGAIN}') from None


def cause(problem):
    """Why a transfer failed (str): the first of the errors that libraries have wrapped in each other."""
    if isinstance(problem, requests.exceptions.ChunkedEncodingError):
        return 'the connection was closed'
    while problem.__cause__ or problem.__context__:
        problem = problem.__cause__ or problem.__context__
    return getattr(problem, 'strerror', None) or str(problem) or type(problem).__name__


# ---- from archives to a folder ---------------------------------------------------------------------------------------

def unpack(path, folder):
    """Unpack a zip or tar archive into a folder.

    Raises ValueError when it is damaged, has a path out of the folder, or (tar; zipfile makes no links) a link or a device.
    """
    is_zip = path.suffix == '.zip'
    try:
        with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
            archive.extraction_filter = getattr(tarfile, 'data_filter', None)  # of tar; not in Python 3.11.0 to 3.11.3
            entries = archive.infolist() if is_zip else archive
            for entry in tqdm(entries, desc=f'unpacking {path.name}', unit='file', **BAR):
                name = PurePosixPath(entry.filename if is_zip else entry.name)
                if name.is_absolute() or '..' in name.parts or not (is_zip or entry.isfile() or entry.isdir()):
                    raise ValueError(f"the entry '{name}' is a link or a device, or leads out of the folder")
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError, OSError) as problem:
        if getattr(problem, 'errno', None) not in (None, errno.EINVAL):  # a full disk and the like: the archive may be good
            raise
        raise ValueError(f'{path} cannot be unpacked ({problem})') from None


def unpack_all(source, paths, folder):
    """Unpack the archives of a data set into a new folder and return the folder of the complete data set (Path)."""
    try:
        for path in paths:
            print(f'{path.name}: unpacking')
            unpack(path, folder)
        if problem := lacking(source, folder / source.root):
            raise ValueError(f'the unpacked data set is not complete: {problem}')
    except ValueError as problem:
        if all(file.checksum for file in source.files):  # another download would be the same
            raise UserError(f'{problem}. The archives in {folder.parent} have the right checksums: unpack them by hand') from None
        for path in paths:
            path.unlink()
        raise UserError(f'{problem}. {listing(path.name for path in paths)} was deleted. {AGAIN}') from None
    return folder / source.root


# ---- the command -----------------------------------------------------------------------------------------------------

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
        shutil.rmtree(folder / 'unpacked', ignore_errors=True)  # of a process that was killed
        try:
            yield
        finally:
            shutil.rmtree(folder / 'unpacked', ignore_errors=True)
            (folder / '.lock').unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def install(source, target, folder, mirror, keep_archive):
    """Download a data set or file to `folder`, on the disk of `target`; rename it to `target` as the last step."""
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
        unpacked = f' to download, {readable(source.unpacked)} unpacked' if source.content else ''
        print(f'{name}: {source.title}, {readable(source.fetched)}{unpacked}. {source.licence}')
        for file in source.files:
            print(f'    {file.size or "size unknown"}  {file.checksum or "no checksum"}  {file.url}')


def read_arguments():
    """Parsed and checked arguments."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('name', nargs='?', choices=SOURCES, help='what to download')
    arguments.add_argument('--list', action='store_true', help='show names, sizes, licences, checksums and addresses')
    arguments.add_argument('--folder', type=Path, help='where to put it (default: see above)')
    arguments.add_argument('--mirror', metavar='URL', help='download URL/<last part of the published address> instead')
    arguments.add_argument('--keep-archive', action='store_true', help='do not delete the archives after unpacking')
    args = arguments.parse_args()
    if not args.name and not args.list:
        arguments.error(f'name what to download: {", ".join(SOURCES)}')
    if args.mirror and not re.fullmatch(r'https?://[^/\s]\S*', args.mirror):
        raise UserError(f'--mirror {args.mirror}: expected an address such as https://host/folder')
    return args


def main():
    args = read_arguments()
    if args.list:
        print_list()
        return

    source = SOURCES[args.name]
    target = default = (data_folder() / source.place).resolve()  # a link leads to the disk that has the room
    if args.folder:
        target = expanded(args.folder).resolve() / ('' if source.content else default.name)
    folder = target.parent / f'{target.name}.download'
    print(f'{source.title}: {source.licence}')
    if is_complete(source, target):
        print(f'{target} exists and is complete: nothing to download')
    else:
        install(source, target, folder, args.mirror, args.keep_archive)

    if folder.exists():
        print(f'{folder} holds the archives: remove it when you do not need them any more')
    if not source.content and target != default:
        print(f'note: the scripts look for {default}: move it there, or pass checkpoint={target} to them')
    print(f'next: {source.next.format(shlex.quote(str(target)))}')


if __name__ == '__main__':
    run_script(main)
