"""Audio representations on disk: computed from sound files in parallel, one .npy file per clip, resumable.

A representation is a folder audio_representation/<identifier>__<type>/ under DATA_FOLDER with config.json (the parameters
it was made with), one float32 array per clip, index_<machine_i>.tsv (id, path of the representation, path of the
audio), errors_<machine_i>.tsv where files were refused, and index.tsv once all machines are through.
"""
import contextlib
import errno
import functools
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from scipy import sparse
from tqdm import tqdm

import cluster
import vggish_input
import vggish_params
from audio import read_audio
from shared import (PROGRESS, UserError, atomic, data_folder, index_folder, locked, read_index, read_json, read_rows, write_json,
                    write_text)

# what a representation of each type depends on; anything else may change without making it again
PARAMETERS = {
    'time-freq': ('type', 'spectrogram_type', 'resample_sr', 'resampler', 'hop'),
    'mel': ('n_fft', 'n_mels'),
    'stft': ('n_fft',),
    'cqt': ('cqt_bins',),
    'waveform': ('type', 'resample_sr', 'resampler'),
    'mfcc': ('type', 'resample_sr', 'resampler', 'MFCC_number'),
    'audioset': ('type', 'resampler', 'SAMPLE_RATE', 'STFT_WINDOW_LENGTH_SECONDS', 'STFT_HOP_LENGTH_SECONDS', 'NUM_MEL_BINS',
                 'MEL_MIN_HZ', 'MEL_MAX_HZ', 'LOG_OFFSET', 'EXAMPLE_WINDOW_SECONDS'),  # the constants: vggish_params.py
}
REMEDY = 'run preprocess.py again'
FILES_PER_PROCESS = 16  # a process takes seconds to start; fewer files than this are quicker done without it


# ---- samples -> array ------------------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=8)
def mel_basis(sample_rate, n_fft, n_mels):
    """librosa's mel filter bank, sparse (n_mels, n_fft // 2 + 1) float32; librosa itself builds it anew at every call.

    A dense product would be slower, and its last bits would depend on the number of threads.
    """
    import librosa
    return sparse.csr_array(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels))


def mel_spectrogram(samples, sample_rate, n_fft, hop, n_mels):
    """Mel power spectrogram, (T, n_mels) float32: that of librosa.feature.melspectrogram, transposed."""
    return (mel_basis(sample_rate, n_fft, n_mels) @ np.square(stft_magnitude(samples, n_fft, hop)).T).T


def stft_magnitude(samples, n_fft, hop):
    """Magnitude of the short-time Fourier transform, (T, n_fft // 2 + 1) float32; T = 1 + length // hop."""
    import librosa
    with warnings.catch_warnings():  # clips shorter than a frame are expected: librosa pads them with zeros
        warnings.filterwarnings('ignore', message='n_fft=.* is too large')
        return np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop)).T


def cqt_magnitude(samples, sample_rate, hop, n_bins):
    """Magnitude of the constant-Q transform from C1, 12 bins per octave, (T, n_bins) float32."""
    import librosa
    with warnings.catch_warnings():  # as above
        warnings.filterwarnings('ignore', message='n_fft=.* is too large')
        return np.abs(librosa.cqt(samples, sr=sample_rate, hop_length=hop, n_bins=n_bins)).T


def mfcc_statistics(samples, sample_rate, n_mfcc):
    """Mean and standard deviation over time of MFCCs and their first and second differences, (6 n_mfcc,) float32.

    MFCCs are librosa's with its defaults (FFT 2048, hop 512, 128 mel bands). Clips below 1024 samples are zero-padded
    at their end, so that second differences exist.
    """
    import librosa
    samples = np.pad(samples, (0, max(0, 1024 - len(samples))))
    mel = mel_spectrogram(samples, sample_rate, n_fft=2048, hop=512, n_mels=128).T
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=n_mfcc)
    differences = (mfcc, np.diff(mfcc), np.diff(mfcc, n=2))
    return np.concatenate([statistic(d, axis=1) for d in differences for statistic in (np.mean, np.std)])


def compute(path, config):
    """Representation of one sound file, float32, C-contiguous.

    Its shape is (T, M), for waveform (samples, 1), for mfcc (D,), for audioset (examples, 96, 64).
    """
    if config['type'] == 'audioset':
        return vggish_input.file_to_examples(path, config['resampler'])
    samples, rate = read_audio(path, config['resample_sr'], config['resampler'])
    with np.errstate(over='ignore', invalid='ignore'):  # the check below says it better
        array = represent(samples, rate, config)
    if not np.isfinite(array).all():  # e.g. the power of float samples far beyond full scale
        raise UserError('its representation is not finite: are the samples far beyond full scale?')
    return np.ascontiguousarray(array, dtype=np.float32)


def represent(samples, rate, config):
    """The array that the configuration asks for, of samples (length,) at `rate` Hz."""
    if config['type'] == 'waveform':
        return samples[:, None]
    if config['type'] == 'mfcc':
        return mfcc_statistics(samples, rate, config['MFCC_number'])
    if config['spectrogram_type'] == 'mel':
        return mel_spectrogram(samples, rate, config['n_fft'], config['hop'], config['n_mels'])
    if config['spectrogram_type'] == 'stft':
        return stft_magnitude(samples, config['n_fft'], config['hop'])
    return cqt_magnitude(samples, rate, config['hop'], config['cqt_bins'])


# ---- one file, many files --------------------------------------------------------------------------------------------

def is_up_to_date(audio, target):
    """Whether `target` is a whole array made from `audio` as it is now.

    A representation carries the modification time of its audio file, so that any replaced audio file, older or newer,
    is noticed.
    """
    try:
        same_time = abs(target.stat().st_mtime_ns - audio.stat().st_mtime_ns) < 10_000  # ns; some file systems round
        return same_time and np.load(target, mmap_mode='r', allow_pickle=False).dtype == np.float32
    except (OSError, ValueError, EOFError):  # not there, or not a whole .npy file
        return False


@functools.cache
def end_with(parent):
    """End this worker soon after the process `parent`, which, if killed, cannot tell its workers to stop.

    Cached, so that a worker starts one such watch however many files it gets.
    """
    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def make_in_worker(audio, target, config, parent):
    """make_one in whatever process joblib chooses."""
    if os.getpid() != parent:
        end_with(parent)
    return make_one(audio, target, config)


def make_one(audio, target, config):
    """Compute and store one representation; returns None, or the reason why the audio file was refused."""
    try:
        modified = audio.stat().st_mtime_ns if audio.exists() else None  # before it is read: it may be replaced meanwhile
        array = compute(audio, config)
    except UserError as problem:
        return str(problem)
    except Exception as problem:  # whatever a decoder does with a foreign file must not stop the others
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return f'{type(problem).__name__}: {problem}'
    keep_array(target, array, modified)
    return None


def keep_array(target, array, modified):
    """Store an array that was made from a file with this time of modification, ns; is_up_to_date compares it."""
    with atomic(target) as temporary:
        try:
            np.save(temporary, array)
        except OSError as problem:  # of a full disk NumPy only says how much it wrote
            raise OSError(problem.errno or errno.ENOSPC, problem.strerror or str(problem), str(target)) from None
        os.utime(temporary, ns=(modified, modified))


def make_all(clips, config, processes):
    """make_one for every (id, audio, target) on several processes, or on a cluster's; returns id -> reason of the refused."""
    pending = [clip for clip in clips if not is_up_to_date(clip[1], clip[2])]
    if len(pending) < len(clips):
        print(f'{len(clips) - len(pending)} of {len(clips)} clips are there already and up to date')
    on_cluster = bool(config.get('scheduler') and pending)
    processes = -1 if on_cluster else max(1, min(processes, len(pending) // FILES_PER_PROCESS))
    with contextlib.ExitStack() as stack:
        if on_cluster:
            stack.enter_context(cluster.connect(config['scheduler']))
            stack.enter_context(joblib.parallel_config('dask'))
        # small batches keep the processes busy to the end, and the results in flight few
        pool = joblib.Parallel(n_jobs=processes, return_as='generator', batch_size=4, pre_dispatch='4*n_jobs')
        # Ctrl-C is this process's to answer: the workers, which this call starts, inherit that it is ignored
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            reasons = pool(joblib.delayed(cluster.remote(make_one))(cluster.pack(audio, target, config)) if on_cluster else
                           joblib.delayed(make_in_worker)(audio, target, config, os.getpid()) for _, audio, target in pending)
        finally:
            signal.signal(signal.SIGINT, handler)
        where = 'Dask workers' if on_cluster else f'{processes} process(es)'
        reasons = tqdm(reasons, total=len(pending), desc=f'{config["type"]}, {where}', unit='clip', disable=not pending, **PROGRESS)
        try:
            return {key: reason for reason, (key, _, _) in zip(reasons, pending) if reason}
        except TerminatedWorkerError:
            raise UserError('a process was killed, perhaps because memory ran out: start the same command again with a '
                            'smaller num_processing_units; finished clips are kept') from None


# ---- the whole representation ----------------------------------------------------------------------------------------

def parameters(config):
    """The part of a configuration that determines what a representation holds."""
    names = PARAMETERS[config['type']]
    if config['type'] == 'time-freq':
        names += PARAMETERS[config['spectrogram_type']]
    values = {**vars(vggish_params), **config}
    return {name: values[name] for name in names}


def audio_folder(config):
    """The folder of the sound files: the configured one, or where the index script saw them."""
    if config['audio_folder'] is not None:
        folder = data_folder() / config['audio_folder']
        remedy = 'set audio_folder, e.g. audio_folder=/path/to/the/audio'
    else:
        source = index_folder(config['dataset']) / f'source_{config["dataset"]}.json'
        remedy = 'make the index with the script in aux/, or set audio_folder, e.g. audio_folder=/path/to/the/audio'
        folder = Path(read_json(source, remedy).get('audio_folder') or source / 'audio_folder')
    if not folder.is_dir():
        raise UserError(f'the audio folder {folder} does not exist: {remedy}')
    return folder


def list_clips(config, folder):
    """This machine's contiguous share of the index as a list of (id, audio path, target path)."""
    index = read_index(data_folder() / config['index_file'])
    audio_root = audio_folder(config)
    clips = [(key, audio_root / audio, folder / ((key if config['convert_id'] else str(Path(audio).with_suffix(''))) + '.npy'))
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
            return folder
        if not config['overwrite']:
            raise UserError(f'{folder} holds a representation made with other parameters: {", ".join(differing)}. Set '
                            f'overwrite=True to replace it, or another identifier to keep both')
        print(f'replacing what was made with {", ".join(differing)}')
        # the settings go last: after an interruption they still tell that what is left is of another kind
        for stale in [*folder.glob('*.tsv'), *folder.rglob('*.npy'), settings]:
            stale.unlink()
    write_json(settings, {**wanted, 'identifier': config['identifier'], 'configuration': config['configuration'],
                          'overrides': config['overrides'],
                          'normalize_mean': None, 'normalize_std': None})
    return folder


def finish(config, folder, clips, refused):
    """Write this machine's index and error list and, when all parts are there, index.tsv; returns whether they are."""
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
    # What counts is the union of the parts, whatever the number of machines was; a row that names another file than
    # the index of today is left over from an index that has been replaced.
    made, failed, ours = {}, set(), {key for key, *_ in clips}
    for part in sorted(folder.glob('index_*.tsv')):
        own = part.name == f'index_{machine}.tsv'  # what other parts say about this machine's clips is older
        made.update((key, row) for key, row in read_rows(part, 3, REMEDY).items()
                    if row[1] == index.get(key) and (own or key not in ours))
    for part in folder.glob('errors_*.tsv'):
        failed.update(key for key, row in read_rows(part, 3, REMEDY).items() if row[0] == index.get(key))
    if not made.keys() | failed >= index.keys():
        return False
    write_text(folder / 'index.tsv', ''.join('\t'.join([key, *made[key]]) + '\n' for key in index if key in made))
    return True


def store(config):
    """Make a representation, or this machine's share of it, as `config` says; what is up to date stays.

    Returns the dictionary id -> reason of the sound files that were refused; they are listed in errors_<machine_i>.tsv.
    """
    folder = data_folder() / config['audio_representation_folder']
    clips = list_clips(config, folder)
    processes = joblib.cpu_count() if config['num_processing_units'] == 'all' else config['num_processing_units']
    # two locks: for what machines write in common, and, all the while, for what a second process with the same share would
    lock, own_lock = (folder.with_name(f'.lock_{folder.name}{suffix}') for suffix in ('', f'_{config["machine_i"]}'))
    with locked(own_lock):
        with locked(lock):
            claim_folder(config)
        refused = make_all(clips, config, processes)
        with locked(lock):
            complete = finish(config, folder, clips, refused)
    print(f'{folder}: {len(clips) - len(refused)} of {len(clips)} clips')
    if not complete:
        print(f'index.tsv follows when the other of the {config["n_machines"]} machines are through')
    if refused:
        names = {key: audio for key, audio, _ in clips}
        print(f'refused, see errors_{config["machine_i"]}.tsv there:')
        print('\n'.join(f'  id {key}: {names[key]}: {reason}' for key, reason in list(refused.items())[:20]))
        print(f'  and {len(refused) - 20} more' if len(refused) > 20 else '', end='')
    return refused
