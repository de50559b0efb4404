"""Index and ground-truth files, and the small helpers that every script needs.

Legend of array shapes in this repository: S clips, N patches (or vectors), B patches of a batch, P and Q patches of the support and the query
set, W windows of a clip, F frames of a patch, T frames of a clip, M mel bands, C classes, D embedding size.
"""
import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import config_file

# arguments of every tqdm bar: redrawn often on a terminal, rarely in a log file; a bar below another one vanishes at its end
PROGRESS = {'mininterval': 0.2 if sys.stderr.isatty() else 30, 'dynamic_ncols': True, 'leave': None}


# errors of an OSError after which nothing more can be written
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)

OUT_OF_MEMORY = 'ResourceExhaustedError'  # name of TensorFlow's error: to import TensorFlow takes seconds


class UserError(Exception):
    """An error that the user can correct: the message says what is wrong, where, and the remedy."""


def run_script(main):
    """Call main(). Errors that the user can correct become one clear message and a non-zero exit code."""
    for stream in (sys.stdout, sys.stderr):  # file names may have letters that the terminal's encoding lacks
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    try:
        main()
        sys.stdout.flush()  # here, because a closed pipe is handled below
    except UserError as error:
        sys.exit(f'\nerror: {error}')
    except KeyboardInterrupt:
        print('\ninterrupted: the same command continues from what is already on disk', file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `| head` has ended; keep Python from reporting it again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno in NO_PLACE:
            sys.exit(f'\nerror: {error}. Make room or correct the permissions, or choose another place (environment variable '
                     f'DATA_FOLDER, now {data_folder()}), and start the same command again: finished work is kept')
        raise
    except Exception as error:
        if type(error).__name__ != OUT_OF_MEMORY:
            raise
        sys.exit(f'\nerror: {out_of_memory(error)}')


def out_of_memory(error):
    """What TensorFlow's error of that kind means to the user, with the remedy (str)."""
    return (f'the memory of the device is not enough ({str(error).splitlines()[0]}): if it is a GPU, `nvidia-smi` shows whether another '
            f'program uses it; else give those of the keys batch_size, test_batch_size, val_batch_size, max_patches_per_class and filters '
            f'that the method has smaller values, and start the same command again')


def data_folder():
    """Where everything is written (absolute Path).

    The environment variable DATA_FOLDER wins over config_file.DATA_FOLDER (relative: to this repository); without both it
    is data/ of this repository.
    """
    return _absolute(os.environ.get('DATA_FOLDER'), config_file.DATA_FOLDER, os.getcwd())


@functools.lru_cache
def _absolute(environment, configured, _):  # cached: called for every file. The current directory matters to `environment`
    if environment:
        return expanded(environment).resolve()
    return Path(__file__).resolve().parents[1] / expanded(configured or 'data')


def expanded(path):
    """A path with the home directory in place of ~ or ~name (Path)."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f'{path}: no user of this machine has the home directory {Path(path).parts[0]}: write the path in full') from None


def make_folder(folder):
    """Make a folder and those above it, unless they are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f'the folder {folder} cannot be made ({problem.strerror}): choose another place with the environment '
                        f'variable DATA_FOLDER, now {data_folder()}') from None


@contextlib.contextmanager
def atomic(path, durable=False):
    """Yield a temporary path beside `path`. It replaces `path` when the block succeeds and is deleted when it fails.

    A killed process leaves at most the temporary file, which the next attempt overwrites. The suffix is kept, because some
    writers (Keras, matplotlib) choose the format by it. Processes that write the same file at the same time need a lock.
    durable: the file survives a power failure, too. It takes milliseconds more.
    """
    path = Path(path)
    make_folder(path.parent)
    name = path.name if len(os.fsencode(path.name)) < 250 else hashlib.sha1(os.fsencode(path.name)).hexdigest() + path.suffix
    temporary = path.with_name('.tmp-' + name)
    try:
        yield temporary
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path):
    """Wait until a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@functools.cache
def end_with(parent):
    """End this worker soon after the process `parent` has ended: a killed process cannot stop its workers.

    Cached: a worker starts one such thread, for however many files.
    """
    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def locked(path):
    """Hold a lock file, created if necessary: other processes that ask for it wait until the block ends."""
    make_folder(path.parent)
    with take_lock(path):
        yield


def take_lock(path, wait=True):
    """An open file that holds the lock of a lock file, created if necessary, until it is closed or the process ends.

    While another process holds the lock: waits for it, or, with wait=False, returns None.
    """
    file = open(path, 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except OSError as problem:
        file.close()
        raise UserError(f'{path} cannot be locked ({problem.strerror}), so that two processes could write the same file: mount this file '
                        f'system with locks (Lustre: option flock; NFS: without nolock), or choose another DATA_FOLDER, now '
                        f'{data_folder()}') from None
    return file


def signature(path):
    """Text that changes whenever a file is written or replaced; '' if it was written so recently that it could change unnoticed."""
    status = split_segment(path)[0].stat()
    recent = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < 2_000_000_000  # file systems have coarse clocks
    return '' if recent else f'{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}'


def once_per_file(function, size=128):
    """The function of a path. The results of the last `size` files are kept for as long as their file stays the same."""
    known = functools.lru_cache(size)(lambda path, _: function(path))

    @functools.wraps(function)
    def kept(path):
        current = signature(path)
        return known(path, current) if current else function(path)
    return kept


def split_segment(path):
    """The sound file (Path) and (start, end) in seconds of a clip 'long.wav#t=1.5,3', a part of a recording; None for a whole file."""
    found = '#t=' in (text := str(path)) and re.fullmatch(r'(.*)#t=(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)', text, re.DOTALL)
    return (Path(found[1]), (float(found[2]), float(found[3]))) if found else (Path(path), None)


def is_utf8(name):
    """Whether a file's name or path is valid UTF-8. Python passes other bytes on in a form that no text file can hold."""
    return str(name).encode(errors='replace').decode() == str(name)


def in_seconds(time):
    """A time in seconds as text, to the microsecond, as split_segment reads it: 1.5 -> '1.5'."""
    return f'{time:.6f}'.rstrip('0').rstrip('.')


def array_name(audio):
    """Name of a clip's array without .npy: the clip's path without the ending of the sound file (str)."""
    file, span = split_segment(audio)
    return str(file.with_suffix('')) + (f'__{str(audio).rpartition("=")[2].replace(",", "-")}' if span else '')


@contextlib.contextmanager
def reading():
    """A sound file is read: an error of the operating system becomes a UserError, so that the other files can be used."""
    try:
        yield
    except OSError as problem:
        raise UserError(f'cannot be read ({problem.strerror}): correct its permissions, or copy it again') from None


def content_digest(path):
    """What identifies the content of a clip, whatever its name and its times: size in bytes and 128 bits of BLAKE2b (str).

    For a part of a recording, start and end are added.
    """
    file, span = split_segment(path)
    return _file_digest(file) + (f'#{in_seconds(span[0])},{in_seconds(span[1])}' if span else '')


@once_per_file  # a clip is asked for before and after it is read, a recording once for each of its parts
def _file_digest(path):
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return f'{file.tell()}-{digest}'


def write_text(path, text, durable=False):
    """Write `text` to `path`, whole or not at all. `durable` as in atomic."""
    with atomic(path, durable) as temporary:
        temporary.write_text(text, encoding='utf-8')


def write_table(table, path):
    """Write a DataFrame as TSV, whole or not at all."""
    with atomic(path) as temporary:
        table.to_csv(temporary, sep='\t', index=False, float_format='%.6g')


def write_json(path, content):
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + '\n')


def read_json(path, remedy):
    """Read a JSON object; a missing or damaged file is a UserError that ends with `remedy`."""
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise UserError(f'{path} does not exist: {remedy}') from None
    except ValueError as problem:
        raise UserError(f'{path} is damaged ({problem}): {remedy}') from None
    if not isinstance(content, dict):
        raise UserError(f'{path} should hold a JSON object: {remedy}')
    return content


def listed(files):
    """Paths of sound files as a list. Raises UserError for none, and for a single path, whose letters would be taken for paths."""
    if isinstance(files, (str, os.PathLike)):
        raise UserError(f'expected a list of sound files, found {str(files)!r}: put it into a list, [{str(files)!r}]')
    if not (found := list(files)):
        raise UserError('no sound file was named')
    return found


def listing(items, limit=8):
    """The first `limit` items for a message, and how many more there are."""
    items = [str(item) for item in items]
    return ', '.join(items[:limit]) + (f' and {len(items) - limit} more' if len(items) > limit else '')


def check_name(option, name):
    """Raise UserError if a name cannot be part of file names; `option` says in the message what it names."""
    if not re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9_.-]*', name):
        raise UserError(f'{option} {name!r} becomes part of file names: use letters, digits, _, - and . only, and neither - '
                        'nor . at its beginning')


# ---- index and ground truth: index/<dataset>/ under DATA_FOLDER ------------------------------------------------------

def index_folder(dataset):
    """The folder of a data set's index files (Path)."""
    return data_folder() / 'index' / dataset


def index_path(dataset):
    """The index of a data set, see read_index (Path)."""
    return index_folder(dataset) / f'index_{dataset}_folds_all.tsv'


def source_path(dataset):
    """The file that says what the index of a data set was made from (Path)."""
    return index_folder(dataset) / f'source_{dataset}.json'


def ground_truth_path(dataset, fold, part):
    """Ground truth of one part (train, val or test) of a fold, relative to DATA_FOLDER (str)."""
    return f'index/{dataset}/gt_{dataset}_fold{fold}_{part}.tsv'


def all_clips_path(dataset):
    """Ground truth of all clips that the sets of a data set name, relative to DATA_FOLDER (str)."""
    return f'index/{dataset}/all_clips_{dataset}.tsv'


def read_recordings(dataset):
    """The recording of each clip of a data set: dictionary id -> name (str); {} where it is not known."""
    path = index_folder(dataset) / f'recordings_{dataset}.tsv'
    return {key: name for key, (name,) in read_rows(path, 2, 'make the index again').items()} if path.exists() else {}


def read_background(dataset):
    """Paths of a data set's sounds that are of no class: dictionary id -> path relative to the audio folder (str)."""
    path = index_folder(dataset) / f'background_{dataset}.tsv'
    return {key: audio for key, (audio,) in read_rows(path, 2, 'make the index again').items()} if path.exists() else {}


def independent_folds(dataset, count):
    """How many of `count` folds of a data set test different clips: those of one division, where divisions into folds are repeated."""
    path = source_path(dataset)
    division = read_json(path, 'make the index again').get('folds_per_division') if path.exists() else None
    return min(count, division or count)


def folds_of(dataset):
    """The folds of a data set that have a training and a test set, and those that have only one of them: two lists of numbers."""
    train, test = ({int(path.name[len(f'gt_{dataset}_fold'):-len(f'_{part}.tsv')])
                    for path in index_folder(dataset).glob(f'gt_{dataset}_fold*_{part}.tsv')} for part in ('train', 'test'))
    return sorted(train & test), sorted(train ^ test)


def read_rows(path, columns, remedy):
    """Rows of a TSV file without header as a dictionary: first column (an id, unique) -> list of the other columns."""
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except FileNotFoundError:
        raise UserError(f'{path} does not exist: {remedy}') from None
    except (UnicodeDecodeError, IsADirectoryError) as problem:
        raise UserError(f'{path} is not a text file ({problem}): {remedy}') from None
    rows = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, *rest = line.rstrip('\r\n').split('\t')
        if len(rest) != columns - 1 or not key:
            raise UserError(f'{path}, line {number}: expected {columns} columns separated by tabs, '
                            f'found {line[:80]!r}. {remedy[0].upper() + remedy[1:]}')
        if key in rows:
            raise UserError(f'{path}, line {number}: the id {key} occurs twice. {remedy[0].upper() + remedy[1:]}')
        rows[key] = rest
    if not rows:
        raise UserError(f'{path} is empty: {remedy}')
    return rows


def read_index(path):
    """Index of a data set: dictionary id (str) -> path of the audio file relative to the audio folder (str)."""
    remedy = f'make the index files with the script of your data set in aux/ ({path} is one of them)'
    index = {key: audio for key, (audio,) in read_rows(path, 2, remedy).items()}
    for key, audio in index.items():
        if not audio or Path(audio).is_absolute() or '..' in Path(audio).parts:
            raise UserError(f'{path}: id {key}: the path {audio!r} must lie below the audio folder; {remedy}')
    return index


def ids_in_sets(dataset):
    """The ids that the training, validation and test sets of a data set's folds name (set); all ids if there are no such sets."""
    files = sorted(index_folder(dataset).glob(f'gt_{dataset}_fold*.tsv'))
    return {key for path in files or [index_path(dataset)] for key in read_rows(path, 2, 'make the index again with the script in aux/')}


def read_ground_truth(path, num_classes):
    """Labels of one part of a data set: dictionary id (str) -> label (int, 0 <= label < num_classes), in file order.

    The file has the id and a one-hot list such as [0.0, 1.0, 0.0] in each row.
    """
    remedy = 'make the index files again with the script of your data set in aux/'
    path = Path(path)
    if not path.exists() and (there := sorted(p.name for p in path.parent.glob('gt_*.tsv'))):
        raise UserError(f'{path} does not exist: choose a fold and parts that the data set has (fold, gt_val). '
                        f'There are: {listing(there, 12)}. Or {remedy}')
    labels, known = {}, {}  # every label is written in one way, hence read once
    for key, (text,) in read_rows(path, 2, remedy).items():
        if text in known:
            labels[key] = known[text]
            continue
        try:
            onehot = json.loads(text)
            if not isinstance(onehot, list):
                raise TypeError('not a list')
            onehot = [float(value) for value in onehot]
        except (ValueError, TypeError):
            raise UserError(f'{path}: id {key}: expected a list such as [0.0, 1.0], found {text[:80]!r}; {remedy}') from None
        if sorted(onehot) != [0.0] * (len(onehot) - 1) + [1.0]:
            raise UserError(f'{path}: id {key}: expected exactly one 1 among zeros, found {text[:80]!r}; {remedy}')
        if len(onehot) != num_classes:
            raise UserError(f'{path}: id {key}: the label is out of range, it has {len(onehot)} classes where '
                            f'{num_classes} are configured (num_classes_dataset); correct that, or {remedy}')
        labels[key] = known[text] = onehot.index(1.0)
    return labels


def read_classes(dataset):
    """Class names of a data set in the order of their labels (list of str)."""
    path = index_folder(dataset) / f'classes_{dataset}.txt'
    try:
        names = path.read_text(encoding='utf-8').split('\n')
    except FileNotFoundError:
        known = sorted(p.parent.name for p in (data_folder() / 'index').glob('*/classes_*.txt'))
        raise UserError(f'there is no index for the data set {dataset!r} ({path} does not exist): make it with '
                        f'the script in aux/. Data sets with an index here: {listing(known) or "none"}') from None
    names = [name.strip() for name in names if name.strip()]
    if not names or len(set(names)) != len(names):
        raise UserError(f'{path} must name every class once, a line each: make the index again with the script in aux/')
    return names


def write_dataset(dataset, audio_folder, audio_paths, labels, classes, folds, source, recordings=None, background=()):
    """Write the index files of a data set; used by every script in aux/.

    Args:
        dataset: name, see check_name.
        audio_folder: folder that audio_paths are relative to; remembered so that preprocess.py finds the files.
        audio_paths: list of S relative paths; the id of a clip is its position.
        labels: list of S labels, 0 <= label < C.
        classes: list of C class names.
        folds: list of dictionaries part -> list of positions, a dictionary per fold; parts are train, val, test. An empty
            dictionary leaves a fold out.
        source: dictionary kept beside the index: which script made it, with which arguments.
        recordings: list of S names, equal for clips of one recording; None: not known.
        background: further relative paths, of sounds that are of no class. Their ids follow those of the clips.

    Returns the folder. Whatever stood there before for this data set is replaced.
    """
    check_name('the data set name', dataset)
    folder = index_folder(dataset)
    names, index = folder / f'classes_{dataset}.txt', index_path(dataset)
    # The class names go first and come last: every training reads them, so none takes an interrupted mixture of old and new files, in which
    # ids mean other clips. A data set with fewer folds must not keep those of before.
    for stale in [names, index, *folder.glob(f'gt_{dataset}_fold*.tsv')]:
        stale.unlink(missing_ok=True)
    sets = {ground_truth_path(dataset, fold, part): positions for fold, parts in enumerate(folds) for part, positions in parts.items()}
    for path, positions in {**sets, all_clips_path(dataset): sorted(set().union(*sets.values()))}.items():
        rows = (f'{i}\t{[float(c == labels[i]) for c in range(len(classes))]}\n' for i in positions)
        write_text(data_folder() / path, ''.join(rows))
    write_json(source_path(dataset), {'audio_folder': str(Path(audio_folder).resolve()), **source})
    for name, rows in (('recordings', enumerate(recordings or ())), ('background', enumerate(background, len(audio_paths)))):
        path, text = folder / f'{name}_{dataset}.tsv', ''.join(f'{i}\t{value}\n' for i, value in rows)
        write_text(path, text) if text else path.unlink(missing_ok=True)
    write_text(index, ''.join(f'{i}\t{p}\n' for i, p in enumerate([*audio_paths, *background])))
    write_text(names, '\n'.join(classes) + '\n')
    print(f'{folder}: {len(audio_paths)} clips, {len(classes)} classes, {sum(map(bool, folds))} fold(s)')
    for fold, parts in enumerate(folds):
        if parts:
            print(f'  fold {fold}: ' + ', '.join(f'{part} {len(positions)}' for part, positions in parts.items()))
    return folder
