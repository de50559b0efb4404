"""Audio representations on disk: computed in parallel from sound files, one .npy file per clip, resumable; opened and checked.

A representation is a folder audio_representation/<identifier>__<type>/ under DATA_FOLDER. It has config.json (the parameters
that it was made with), one float32 array per clip, index_<machine_i>.tsv (id, path of the array, path of the sound file),
errors_<machine_i>.tsv if files were refused, and index.tsv when all machines have finished.
"""
import contextlib
import errno
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import soundfile
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

import cluster
import config_file
from configuration import configure
from features import compute, empty_bands
from pretrained import FRONT_ENDS
from shared import (
    NO_PLACE,
    PROGRESS,
    UserError,
    array_name,
    atomic,
    check_name,
    content_digest,
    data_folder,
    end_with,
    ids_in_sets,
    index_path,
    listing,
    locked,
    read_index,
    read_json,
    read_rows,
    reading,
    signature,
    source_path,
    split_segment,
    write_json,
    write_text,
)

# what the arrays of each type depend on
PARAMETERS = {
    'time-freq': ('type', 'spectrogram_type', 'resample_sr', 'resampler', 'hop'),
    'mel': ('n_fft', 'n_mels'),
    'stft': ('n_fft',),
    'cqt': ('cqt_bins',),
    'waveform': ('type', 'resample_sr', 'resampler'),
    'mfcc': ('type', 'resample_sr', 'resampler', 'MFCC_number'),
    **{name: ('type', *front_end.options, *front_end.names) for name, front_end in FRONT_ENDS.items()},
}
REMEDY = 'run preprocess.py again'
FILES_PER_PROCESS = 16  # a process takes seconds to start: with fewer files than this it does not pay


@dataclass(frozen=True)
class Kind:
    """A kind of representation that a method reads.

    Attributes: name (for messages), types (allowed values of `type`), script (that makes it), entry (of config_preprocess, valid
    for any data set; None: the script has a configuration of its own).
    """
    name: str
    types: tuple
    script: str
    entry: str | None = None

    def entry_for(self, dataset):
        """The entry of config_preprocess that makes this kind of representation of a data set."""
        own = f'{dataset}_{self.entry}'
        return own if own in config_file.config_preprocess else self.entry

    def command(self, dataset):
        """The command that makes this kind of representation of a data set (str)."""
        entry = self.entry and self.entry_for(dataset)
        return ' '.join(filter(None, (self.script, entry, None if entry and entry != self.entry else f'dataset={dataset}')))

    def configuration(self, dataset, **more):
        """The configuration of preprocess.py that makes this kind of representation of a data set, with `more` keys (dictionary)."""
        return complete(configure('config_preprocess', self.entry_for(dataset), dataset=dataset, **more))


SPECTROGRAMS = Kind('spectrograms', ('time-freq', 'waveform'), 'preprocess.py', 'spec')
MFCC = Kind('MFCC statistics', ('mfcc',), 'knn_mfcc.py')


def complete(config, **defaults):
    """A configuration of a representation with its folder, and with keys that its entry leaves out."""
    config = {'convert_id': False, 'n_machines': 1, 'machine_i': 0, **defaults, **config}
    parameters(config)  # raises UserError if the type does not fit the entry
    check_name('identifier', config['identifier'])
    return {**config, 'audio_representation_folder': f'audio_representation/{config["identifier"]}__{config["type"]}/'}


def parameters(config):
    """The part of a configuration, or of config.json, that determines what the arrays hold (dictionary)."""
    names = PARAMETERS[config['type']]
    if config['type'] == 'time-freq':
        names += PARAMETERS[config['spectrogram_type']] if 'spectrogram_type' in config else ()
    values = {**FRONT_ENDS[config['type']].constants, **config} if config['type'] in FRONT_ENDS else config
    missing = [name for name in names if name not in values]
    if missing:
        raise UserError(f'type={config["type"]!r} is not valid here, the configuration lacks {listing(missing)}: start from '
                        f'another entry, e.g. spec for spectrograms')
    return {name: values[name] for name in names}


# ---- one file, many files --------------------------------------------------------------------------------------------

MARK = b'\nsound '  # begins the line behind an array that identifies its sound


def save_array(target, array, digest):
    """Write an array as .npy, followed by a line with the digest of the sound it was made from. NumPy ignores that line."""
    with atomic(target) as temporary:
        try:
            with open(temporary, 'wb') as file:
                np.save(file, array)
                file.write(MARK + f'{digest}\n'.encode())
        except OSError as problem:  # on a full disk, NumPy reports only how much it wrote
            raise OSError(problem.errno or errno.ENOSPC, problem.strerror or str(problem), str(target)) from None


def sound_of(target):
    """shared.content_digest of the sound that an array was made from; '' if its file does not tell."""
    with open(target, 'rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 256))
        _, mark, line = file.read().rpartition(MARK)
    return line[:-1].decode(errors='replace') if mark and line.endswith(b'\n') else ''


class Digests:
    """Digests of the sound files of a data set. A file whose signature is known is not read again.

    They are stored in audio_representation/.digests_<dataset>.json, which can be deleted at any time.
    """

    def __init__(self, dataset):
        self._path = data_folder() / 'audio_representation' / f'.digests_{dataset}.json'
        self._known, self._changed = {}, False
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(self._path.read_text(encoding='utf-8'))

    def of(self, audio):
        """shared.content_digest of a sound file. Raises OSError if it cannot be read."""
        current, key = signature(audio), str(audio)
        if current and self._known.get(key, [''])[0] == current:
            return self._known[key][1]
        digest = content_digest(audio)
        if current:
            self._known[key], self._changed = [current, digest], True
        return digest

    def save(self):
        """Store what was learned, if it is new."""
        if self._changed:
            with locked(self._path.with_name(f'{self._path.name}.lock')):
                write_text(self._path, json.dumps(self._known))
            self._changed = False


def is_up_to_date(audio, target, digests):
    """Whether `target` is a complete array made from the content that `audio` has now, whatever its times are."""
    try:
        digest = sound_of(target)
        complete = bool(digest) and np.load(target, mmap_mode='r', allow_pickle=False).dtype == np.float32
        return complete and digests.of(audio) == digest
    except (OSError, ValueError, EOFError):  # missing, or not a complete .npy file
        return False


@dataclass
class Made:
    """What became of a sound file.

    Attributes: reason (why it was refused, None otherwise), unexpected (whether the reason is an error that no check foresees),
    silent (whether all its samples are equal).
    """
    reason: str | None = None
    unexpected: bool = False
    silent: bool = False


def make_in_worker(audio, target, config, parent):
    """make_one in the process that joblib chooses."""
    if os.getpid() != parent:
        end_with(parent)
    return make_one(audio, target, config)


def make_one(audio, target, config):
    """Compute and store one representation; returns Made."""
    try:
        array, digest = compute_unchanged(audio, config)
        save_array(target, array, digest)
    except UserError as problem:
        return Made(str(problem))
    except Exception as problem:  # an error of one file must not stop the others
        if isinstance(problem, OSError) and problem.errno in NO_PLACE:
            raise
        return Made(f'{type(problem).__name__}: {problem}', unexpected=True)
    # of a silent clip, all values are equal; all deviations and differences of its MFCCs are 0, up to rounding
    return Made(silent=bool(array.size and np.ptp(array) == 0 or array.ndim == 1 and np.ptp(array[config['MFCC_number']:]) < 1e-3))


def compute_unchanged(audio, config):
    """The representation of a sound file and the digest of the content that it was made from."""
    for _ in range(3):
        with reading():
            if not split_segment(audio)[0].is_file():
                raise UserError('the file does not exist')
            digest = content_digest(audio)
        array = compute(audio, config)
        with reading():
            if content_digest(audio) == digest:
                return array, digest
    raise UserError('the file changes while it is read: start again when it is complete')


def make_all(clips, config, processes):
    """Call make_one for every (id, audio, target) in several processes or on a cluster.

    Returns id -> reason of the refused files. Raises UserError if not even a sound without faults can be processed.
    """
    digests = Digests(config['dataset'])
    pending = [clip for clip in clips if not is_up_to_date(clip[1], clip[2], digests)]
    digests.save()
    if len(pending) < len(clips):
        print(f'{len(clips) - len(pending)} of {len(clips)} clips are there already and up to date')
    on_cluster = bool(config.get('scheduler') and pending)
    processes = -1 if on_cluster else max(1, min(processes, len(pending) // FILES_PER_PROCESS))
    with contextlib.ExitStack() as stack:
        if on_cluster:
            stack.enter_context(cluster.connect(config['scheduler']))
            stack.enter_context(joblib.parallel_config('dask'))
        # small batches keep all processes busy until the end
        pool = joblib.Parallel(n_jobs=processes, return_as='generator', batch_size=4, pre_dispatch='4*n_jobs')
        # this process handles Ctrl-C; its workers, which this call starts, inherit that the signal is ignored
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            outcomes = pool(joblib.delayed(cluster.remote(make_one))(cluster.pack(audio, target, config)) if on_cluster else
                           joblib.delayed(make_in_worker)(audio, target, config, os.getpid()) for _, audio, target in pending)
        finally:
            signal.signal(signal.SIGINT, handler)
        where = 'Dask workers' if on_cluster else f'{processes} process(es)'
        outcomes = tqdm(outcomes, total=len(pending), desc=f'{config["type"]}, {where}', unit='clip', disable=not pending, **PROGRESS)
        with watching_workers('start the same command again with a smaller num_processing_units; finished clips are kept'):
            found = {}
            for made, (key, _, _) in zip(outcomes, pending):
                if made.unexpected and not any(other.unexpected for other in found.values()):
                    check_set_up(config)
                found[key] = made
    if silent := [key for key, made in found.items() if made.silent]:
        print(f'silent: {len(silent)} clips (ids {listing(silent)}). They are still used: remove them if they should not be silent')
    return {key: made.reason for key, made in found.items() if made.reason}


@contextlib.contextmanager
def watching_workers(remedy):
    """joblib's processes work in this block: if one of them is killed, that is a UserError with this remedy."""
    try:
        yield
    except TerminatedWorkerError:
        raise UserError(f'a process was killed, perhaps because memory ran out: {remedy}') from None


def check_set_up(config):
    """Raise UserError if the representation of a generated sound cannot be computed: then no sound is to blame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'sine.wav'
        soundfile.write(path, 0.5 * np.sin(np.arange(48000) / 10), 48000)
        try:
            compute(path, config)
        except Exception as problem:
            hint = '; set NUMBA_CACHE_DIR to a folder that you can write to' if 'cache' in str(problem) else ''
            raise UserError(f'no sound can be processed on this machine, {type(problem).__name__}: {problem}. This is an error of the '
                            f'set-up, not of the sounds: install the packages again (make clean), or correct what it names{hint}') from None


# ---- making a representation -------------------------------------------------------------------------------------------

def audio_folder(dataset, configured=None):
    """The folder of a data set's sound files: the configured one, relative to DATA_FOLDER, or the one that the index script read."""
    if configured is not None:
        folder = data_folder() / configured
        remedy = 'set audio_folder, e.g. audio_folder=/path/to/the/audio'
    else:
        source = source_path(dataset)
        remedy = 'make the index with the script in aux/, or set audio_folder, e.g. audio_folder=/path/to/the/audio'
        folder = Path(read_json(source, remedy).get('audio_folder') or source / 'audio_folder')
    if not folder.is_dir():
        raise UserError(f'the audio folder {folder} does not exist: {remedy}')
    return folder


def list_clips(config, folder):
    """This machine's contiguous share of the index as a list of (id, audio path, target path)."""
    index = read_index(data_folder() / config['index_file'])
    audio_root = audio_folder(config['dataset'], config['audio_folder'])
    clips = [(key, audio_root / audio, folder / ((key if config['convert_id'] else array_name(audio)) + '.npy'))
             for key, audio in index.items()]
    targets = {}
    for key, audio, target in clips:
        if target in targets:
            raise UserError(f'{audio} and {targets[target]} would share the file {target.name}: set convert_id=True')
        targets[target] = audio
    share = len(clips) // config['n_machines']
    first = share * config['machine_i']
    return clips[first:] if config['machine_i'] == config['n_machines'] - 1 else clips[first:first + share]


def claim_folder(config):
    """Create the representation's folder, or check that it was made with the same parameters; returns its Path."""
    folder = data_folder() / config['audio_representation_folder']
    settings = folder / 'config.json'
    wanted = {**parameters(config), 'dataset': config['dataset'], 'convert_id': config['convert_id']}
    if settings.exists():
        found = read_json(settings, 'delete the folder and run again')
        differing = [f'{k}={found.get(k)!r} (asked: {v!r})' for k, v in wanted.items() if found.get(k) != v]
        if not differing:
            write_json(settings, {**found, 'configuration': config['configuration'], 'overrides': config['overrides']})
            return folder
        if not config['overwrite']:
            raise UserError(f'{folder} holds a representation made with other parameters: {", ".join(differing)}. Set '
                            f'overwrite=True to replace it, or another identifier to keep both')
        print(f'replacing what was made with {", ".join(differing)}')
        # config.json goes last: after an interruption it still describes the arrays that are left
        for stale in [*folder.glob('*.tsv'), *folder.rglob('*.npy'), settings]:
            stale.unlink()
    write_json(settings, {**wanted, 'identifier': config['identifier'], 'configuration': config['configuration'],
                          'overrides': config['overrides']})
    return folder


def finish(config, folder, clips, refused):
    """Write this machine's index and error list and, when all shares exist, index.tsv; returns whether they do."""
    machine = config['machine_i']
    index = read_index(data_folder() / config['index_file'])
    good = [f'{key}\t{target.relative_to(data_folder())}\t{index[key]}\n' for key, _, target in clips if key not in refused]
    bad = [f'{key}\t{index[key]}\t{" ".join(reason.split())}\n' for key, reason in refused.items()]
    for stale in folder.glob(f'*_{machine}.tsv'):
        stale.unlink()
    if bad:
        write_text(folder / f'errors_{machine}.tsv', ''.join(bad))
    if good:
        write_text(folder / f'index_{machine}.tsv', ''.join(good))
    # All shares count, for any number of machines. A row that names another file than the index belongs to an older index.
    made, failed, ours = {}, set(), {key for key, *_ in clips}
    for part in sorted(folder.glob('index_*.tsv')):
        own = part.name == f'index_{machine}.tsv'  # other shares may have older rows of this machine's clips
        made.update((key, row) for key, row in read_rows(part, 3, REMEDY).items()
                    if row[1] == index.get(key) and (own or key not in ours))
    for part in folder.glob('errors_*.tsv'):
        failed.update(key for key, row in read_rows(part, 3, REMEDY).items() if row[0] == index.get(key))
    if not made.keys() | failed >= index.keys():
        return False
    write_text(folder / 'index.tsv', ''.join('\t'.join([key, *made[key]]) + '\n' for key in index if key in made))
    return True


def store(config):
    """Make a representation, or this machine's share of it; arrays that are up to date stay.

    `config` is a configuration from `complete`. errors_<machine_i>.tsv lists all refused sound files. Returns id -> reason of those
    that a training, validation or test set of the data set names.
    """
    folder = data_folder() / config['audio_representation_folder']
    clips = list_clips(config, folder)
    processes = joblib.cpu_count() if config['num_processing_units'] == 'all' else config['num_processing_units']
    # one lock for shared files, one for this share, held throughout
    lock, own_lock = (folder.with_name(f'.lock_{folder.name}{suffix}') for suffix in ('', f'_{config["machine_i"]}'))
    with locked(own_lock):
        with locked(lock):
            claim_folder(config)
        if empty := empty_bands(config):
            print(f'note: {empty} of {config["n_mels"]} mel bands lie between two bins of the FFT and are always 0: choose a larger n_fft or fewer '
                  f'n_mels')
        refused = make_all(clips, config, processes)
        with locked(lock):
            complete = finish(config, folder, clips, refused)
    print(f'{folder}: {len(clips) - len(refused)} of {len(clips)} clips')
    unused = refused.keys() - ids_in_sets(config['dataset']) if refused else ()
    if unused:
        print(f'{len(unused)} clips are missing or cannot be used (errors_{config["machine_i"]}.tsv); no training, validation or test set '
              'names them')
        refused = {key: reason for key, reason in refused.items() if key not in unused}
    if not complete:
        print(f'index.tsv is written when all {config["n_machines"]} machines have finished')
    if refused:
        names = {key: audio for key, audio, _ in clips}
        print(f'refused, see errors_{config["machine_i"]}.tsv there:')
        print('\n'.join(f'  id {key}: {names[key]}: {reason}' for key, reason in list(refused.items())[:20]))
        print(f'  and {len(refused) - 20} more' if len(refused) > 20 else '', end='')
    return refused


# ---- reading a representation ----------------------------------------------------------------------------------------

class Representation:
    """A representation folder made by preprocess.py, ready to be read.

    Attributes: folder (Path), settings (content of config.json), paths (id -> path of the array relative to
    DATA_FOLDER), audio (id -> path of the sound file relative to the audio folder).
    """

    def __init__(self, relative_folder, dataset, kind=SPECTROGRAMS, expected=None):
        """Open and check a folder.

        Args:
            relative_folder: folder relative to DATA_FOLDER.
            dataset: name of the data set; its index must agree with the one that the representation was made from.
            kind: Kind that the folder must hold.
            expected: parameters that a trained model was made with, for its evaluation; None otherwise.

        Raises UserError when the folder is missing, incomplete, stale or of another kind, with the command that corrects it.
        """
        self.folder, self._dataset = data_folder() / relative_folder, dataset
        identifier, _, _ = self.folder.name.rpartition('__')
        own = '' if identifier == dataset else f' identifier={identifier}'
        command = f'run `python {kind.command(dataset)}{own}`'
        self.remedy, self.again = f'{command} first', f'{command} again'
        self.settings = read_json(self.folder / 'config.json', self.remedy)
        rows = read_rows(self.folder / 'index.tsv', 3, self.remedy)
        self.paths = {key: path for key, (path, _) in rows.items()}
        self.audio = {key: audio for key, (_, audio) in rows.items()}
        self._sounds, self._checked, self.refused = {}, set(), {}
        for errors in sorted(self.folder.glob('errors_*.tsv')):
            self.refused.update({key: reason for key, (_, reason) in read_rows(errors, 3, self.remedy).items()})
        if self.settings.get('type') not in kind.types:
            raise UserError(f'{self.folder} does not hold {kind.name}: set audio_representation_folder to a folder that does '
                            f'(python {kind.command(dataset)})')
        if expected is not None:
            self._compare(expected, 'the experiment was trained with', 'make that representation again, or train again')
        elif kind.entry:
            self._compare_with_configuration(self.settings.get('configuration', kind.entry_for(dataset)), dataset)
        index_file = index_path(dataset)
        if index_file.exists():
            index = read_index(index_file)
            stale = [key for key in self.audio if self.audio[key] != index.get(key)]
            if stale:
                raise UserError(f'{self.folder / "index.tsv"} and {index_file} disagree about {len(stale)} clips (ids '
                                f'{listing(stale)}): the index was made again since; {self.remedy}')

    def _compare_with_configuration(self, name, dataset):
        """Raise UserError if the entry of config_preprocess was edited since the representation was made.

        Keys that were set on the command line of preprocess.py stand in config.json and count.
        """
        if name not in config_file.config_preprocess:
            return
        overrides = {k: v for k, v in self.settings.get('overrides', {}).items() if k in config_file.config_preprocess[name]}
        wanted = complete(configure('config_preprocess', name, dataset=dataset))
        command = f'{name} dataset={dataset}' if config_file.config_preprocess[name]['dataset'] != dataset else name
        wanted.update(overrides)
        if data_folder() / wanted['audio_representation_folder'] == self.folder:
            self._compare(parameters(wanted), f'config_preprocess[{name!r}] asks for',
                          f'run `python preprocess.py {command} overwrite=True`, or correct the configuration')

    def _compare(self, wanted, who, remedy):
        differing = [f'{k}={v!r} (here: {self.settings.get(k)!r})' for k, v in wanted.items() if self.settings.get(k) != v]
        if differing:
            raise UserError(f'{self.folder} was made with other parameters: {who} {", ".join(differing)}; {remedy}')

    def select(self, labels, path, skip_missing):
        """Those of labels (id -> label) that can be loaded; missing ones are an error unless skip_missing."""
        missing = [key for key in labels if key not in self.paths]
        if missing and not skip_missing:
            reasons = [f'{key} ({self.refused.get(key, "not in its index: index and ground truth disagree")})' for key in missing]
            raise UserError(f'{len(missing)} clips of {path} are missing in {self.folder}: ids {listing(reasons)}. Correct the '
                            f'files and {self.again}, or set skip_missing=True to go on without them')
        if missing:
            print(f'skipping {len(missing)} clips of {path} that are missing in the representation: ids {listing(missing)}')
        return {key: label for key, label in labels.items() if key in self.paths}

    def digest(self, key):
        """The digest of the sound that a clip's array was made from (str)."""
        if key not in self._sounds:
            path = data_folder() / self.paths[key]
            try:
                self._sounds[key] = sound_of(path)
            except FileNotFoundError:
                raise self._missing(key) from None
            if not self._sounds[key]:
                raise UserError(f'{path} (id {key}) is damaged or was made by an earlier version (it does not tell its sound): delete it '
                                f'and {self.again}')
        return self._sounds[key]

    def check_sounds(self, keys):
        """Raise UserError if sound files were replaced since their arrays were made. Files that do not exist are not checked.

        A sound is checked once, however many sets of clips are read from this object.
        """
        keys = [key for key in keys if key not in self._checked]
        try:
            folder = audio_folder(self._dataset, self.settings.get('overrides', {}).get('audio_folder'))
        except UserError:  # the sounds are not on this machine
            return
        digests = Digests(self._dataset)
        replaced = []
        for key in keys:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                replaced += [key] if digests.of(folder / self.audio[key]) != self.digest(key) else []
        digests.save()
        self._checked.update(set(keys) - set(replaced))
        if replaced:
            raise UserError(f'{len(replaced)} sound files in {folder} were replaced since {self.folder} was made (ids '
                            f'{listing(replaced)}): {self.again}')

    def _missing(self, key):
        return UserError(f'{data_folder() / self.paths[key]} (id {key}) does not exist: {self.again}')

    def open(self, key, flat=True):
        """The array of a clip, float32, memory-mapped: (T, M), or (D,) for a type with one vector per clip.

        Examples of pretrained networks (N, F, M) come as their frames (N F, M), one after the other, unless flat=False.
        """
        path = data_folder() / self.paths[key]
        try:
            array = np.load(os.fspath(path), mmap_mode='r', allow_pickle=False)  # of a Path, NumPy resolves all links, which takes long
        except FileNotFoundError:
            raise self._missing(key) from None
        except (ValueError, EOFError) as problem:
            raise UserError(f'{path} (id {key}) is damaged ({problem}): delete it and '
                            f'{self.again}') from None
        return array.reshape(-1, array.shape[2]) if flat and array.ndim == 3 else array

    def bands(self, key):
        """M, after checking that the clip has two dimensions."""
        array = self.open(key)
        if array.ndim != 2:
            raise UserError(f'{data_folder() / self.paths[key]} has shape {array.shape}: expected frames x bands')
        return array.shape[1]


class ArraysInMemory:
    """Arrays of clips that are not stored, which are read like those of a Representation: dictionary name -> array."""

    def __init__(self, arrays):
        self._arrays, self.paths = arrays, {name: name for name in arrays}
        self.remedy = self.again = 'check the sound files'

    def open(self, key, flat=True):
        """See Representation.open."""
        array = self._arrays[key]
        return array.reshape(-1, array.shape[2]) if flat and array.ndim == 3 else array
