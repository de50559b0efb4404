"""Helpers of the command-line tests: start scripts, make a small data set, read what the scripts wrote."""
import atexit
import contextlib
import functools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RATE = 44100
CLASSES = ['high', 'low', 'mid']  # of the data set `tones`, in the order of their labels
MEL = 'audio_representation/tones__time-freq'
FAST = ('spec', 'dataset=tones', 'n_shot=2', 'model_number=2')  # sl_train.py: a second, once TensorFlow has started

# the dictionary of config_file.py that a script takes its entries from
GROUPS = {'preprocess.py': 'config_preprocess', 'sl_train.py': 'config_sl', 'knn_mfcc.py': 'config_knn_mfcc',
          'proto.py': 'config_proto', 'transfer_train.py': 'config_transfer', 'transfer_proto.py': 'config_transfer_proto',
          'knn_audioset.py': 'config_knn_audioset', 'frozen.py': 'config_frozen', 'reproduce.py': 'config_reproduce'}

# ---- starting scripts ------------------------------------------------------------------------------------------------


def script_path(name):
    return next(path for path in (ROOT / 'src' / name, ROOT / 'aux' / name) if path.exists())


def environment(data_folder, **more):
    """The environment that scripts are started in: without settings of others for Python and TensorFlow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(('TF_', 'PYTHON'))}
    return {**kept, 'DATA_FOLDER': str(data_folder), **more}


def temporary_folder():
    """A folder (Path) that is removed when the tests end."""
    folder = Path(tempfile.mkdtemp(dir=os.environ.get('TMPDIR'))).resolve()  # a test may have set tempfile.tempdir to a folder that does not exist
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def folder_without_tensorflow():
    """A folder whose modules tensorflow and keras end the process that imports them."""
    folder = temporary_folder()
    for module in ('tensorflow', 'keras'):
        (folder / f'{module}.py').write_text(f'raise SystemExit("{module} was imported")\n')
    return str(folder)


def run_script(name, *arguments, data_folder, timeout=120, cwd=None, without_tensorflow=False, prefix=()):
    """Run a script of src/ or aux/ in a process of its own; returns it with stdout and stderr as text.

    Args:
        without_tensorflow: end it with an error should it import TensorFlow or Keras.
        prefix: what stands before the command, e.g. ('unshare', '--mount').
    """
    more = {'PYTHONPATH': folder_without_tensorflow()} if without_tensorflow else {}
    return subprocess.run([*prefix, sys.executable, script_path(name), *map(str, arguments)], cwd=cwd, timeout=timeout,
                          env=environment(data_folder, **more), stdin=subprocess.DEVNULL, capture_output=True, text=True)


class Started:
    """A script that runs while the test goes on, in a session of its own, so that a signal can reach all its processes."""

    def __init__(self, name, *arguments, data_folder):
        self.output = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([sys.executable, script_path(name), *map(str, arguments)], env=environment(data_folder),
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
                                        start_new_session=True,
                                        # background jobs of a shell ignore Ctrl-C, and so would what they start
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()

    def text(self):
        """What it has printed so far, stdout and stderr together."""
        self.output.seek(0)
        return self.output.read()

    def wait_until(self, happened, timeout=60):
        """Return as soon as happened() is true; an error when the script ends before."""
        end = time.monotonic() + timeout
        while not happened():
            assert self.process.poll() is None, f'ended too early: {self.text()}'
            assert time.monotonic() < end, f'nothing happened in {timeout} s: {self.text()}'
            time.sleep(0.002)

    def wait(self, timeout=120):
        """Exit code."""
        return self.process.wait(timeout)

    def processes(self):
        """Living processes of its session (Linux): dictionary id -> command line."""
        found = {}
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / 'cmdline').read_text()  # before its state: of a process that has ended, it is empty
                    state, _, _, session = (entry / 'stat').read_text().rpartition(')')[2].split()[:4]
                except OSError:  # ended meanwhile
                    continue
                if int(session) == self.process.pid and state not in 'ZX':
                    found[int(entry.name)] = command
        return found


class Warm:
    """A process that runs one script after the other and keeps TensorFlow loaded, which takes seconds to start.

    Scripts get their arguments, environment, exit code and output as on the command line.

    Args:
        without_tensorflow: as of run_script.
    """

    running = []

    def __init__(self, without_tensorflow=False):
        self.folder = temporary_folder()
        more = {'PYTHONPATH': folder_without_tensorflow()} if without_tensorflow else {}
        self.process = subprocess.Popen([sys.executable, '-X', 'faulthandler', __file__, self.folder], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment('', **more))
        self.running.append(self)

    def end(self):
        """Let the process end by itself, so that it removes its temporary files; kill it if it does not."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def run(self, name, arguments, data_folder, cwd, timeout):
        job = {'path': str(script_path(name)), 'arguments': list(map(str, arguments)), 'data_folder': str(data_folder),
               'cwd': str(cwd or tempfile.gettempdir())}
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no answer then, either
            print(json.dumps(job), file=self.process.stdin, flush=True)
        limit = threading.Timer(timeout, self.process.kill)
        limit.start()
        answer = self.process.stdout.readline()
        limit.cancel()
        if not answer:  # the next script gets another process
            warm_process.cache_clear()
            raise AssertionError(f'{name} {arguments} ended the process, exit code {self.process.wait()}; it is killed after {timeout} s. '
                                 f'Its last output:\n{self.last_output()}')
        return subprocess.CompletedProcess([name, *arguments], *json.loads(answer))

    def last_output(self):
        """The end of what the last script printed, stdout before stderr; a crash adds the stacks of the threads."""
        lines = [line for path in (self.folder / 'out', self.folder / 'err') if path.exists()
                 for line in path.read_text(errors='replace').splitlines()[-120:]]
        return '\n'.join(line for line in lines if not line.startswith('Extension modules: '))  # a line of many thousand letters


@functools.cache
def warm_process(without_tensorflow=False):
    return Warm(without_tensorflow)


def end_warm_processes():
    """Scripts get new processes from now on: the old ones may have grown."""
    for process in Warm.running:
        process.end()
    Warm.running.clear()
    warm_process.cache_clear()


def warm(name, *arguments, data_folder, cwd=None, timeout=120, without_tensorflow=False):
    """As run_script, in a process that has run other scripts before."""
    return (warm_process(True) if without_tensorflow else warm_process()).run(name, arguments, data_folder, cwd, timeout)


def serve(folder):
    """The other end of Warm: a line of JSON in, a line of JSON out. What the scripts print goes to the files out and err of a folder."""
    sys.path[:0] = [str(ROOT / 'src'), str(ROOT / 'aux')]
    replies = os.fdopen(os.dup(1), 'w')
    for line in sys.stdin:
        job = json.loads(line)
        os.environ['DATA_FOLDER'] = job['data_folder']
        os.chdir(job['cwd'])
        sys.argv = [job['path'], *job['arguments']]
        with open(folder / 'out', 'w+') as out, open(folder / 'err', 'w+') as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = run_path(job['path'])
            sys.stdout.flush()
            sys.stderr.flush()
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        print(json.dumps([code, *texts]), file=replies, flush=True)
    # as the interpreter ends: joblib's idle workers, then temporary files
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(0)  # taking apart what TensorFlow has built can last longer than the tests' patience


def run_path(path):
    """Run a script as Python does and return its exit code."""
    try:
        runpy.run_path(path, run_name='__main__')
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


# ---- what every command should do ------------------------------------------------------------------------------------

def succeeded(done):
    """Check that a command ended well and return its stdout."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done, *parts):
    """Check that a command ended with one error line, no traceback, and the given words in that line."""
    assert done.returncode == 1, f'exit code {done.returncode}: {done.stdout + done.stderr}'
    assert 'Traceback' not in done.stderr, done.stderr
    *before, error = done.stderr.rstrip('\n').split('\n')
    assert error.startswith('error: ') and not any('rror' in line for line in before), done.stderr
    for part in parts:
        assert str(part) in error, f'{part!r} is missing in {error!r}'


# ---- a small data set ------------------------------------------------------------------------------------------------

def make_sounds(folder, clips_per_class=9, lengths=(1.0, 3.2, 0.3), pitches=(('high', 6000), ('low', 200), ('mid', 1500))):
    """Class folders of WAV files, noisy tones of the given lengths (s) in turn; every clip has an own pitch and noise."""
    import numpy as np
    import soundfile
    rng = np.random.default_rng(0)
    for name, pitch in pitches:
        (folder / name).mkdir(parents=True)
        for i in range(clips_per_class):
            time = np.arange(int(lengths[i % len(lengths)] * RATE)) / RATE
            tone = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.7, 1.3) * time)
            soundfile.write(folder / name / f'{name}_{i}.wav', tone + 0.1 * rng.standard_normal(len(time)), RATE)
    return folder


@functools.cache
def tones():
    """A data folder with the data set `tones`: 3 classes of 9 clips, 3 folds with a validation part, spectrograms.

    Tests may add experiments and data sets; those that change what is there take a copy.
    """
    folder = temporary_folder()
    make_sounds(folder / 'audio')
    succeeded(warm('index_folder.py', folder / 'audio', 'tones', '--folds', 3, '--val-fraction', 0.2, data_folder=folder))
    succeeded(warm('preprocess.py', 'spec', 'dataset=tones', data_folder=folder))
    return folder


def copy_of(folder, target):
    """A copy with the same modification times that can be changed; its index names its own sounds. Returns `target`."""
    shutil.copytree(folder, target)
    for source in target.glob('index/*/source_*.json'):
        source.write_text(source.read_text().replace(str(folder.resolve()), str(target.resolve())))
    return target


# ---- what the scripts wrote ------------------------------------------------------------------------------------------

def replace_array(path, array):
    """Replace the array of a clip; the line behind it still names its sound."""
    import representation
    representation.save_array(path, array, representation.sound_of(path))


def tree(folder, pattern='*'):
    """Contents of the files below a folder: dictionary relative path -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(pattern)) if path.is_file()}


def temporary_files(folder):
    return [path for path in folder.rglob('*') if path.name.startswith('.tmp-')]


def experiments(data_folder):
    """The experiment folders, the oldest first."""
    return sorted((data_folder / 'experiments').glob('fold_*'), key=lambda path: int(path.name.rpartition('_')[2]))


def models(experiment):
    """The finished model folders of an experiment in the order of models.list."""
    return [experiment / name for name in (experiment / 'models.list').read_text().splitlines()]


def rows(path):
    """Cells of a TSV file (list of lists of str)."""
    return [line.split('\t') for line in path.read_text(encoding='utf-8').splitlines()]


def arrays(data_folder, folder=MEL):
    """The arrays of a representation: dictionary id -> path."""
    return {key: data_folder / path for key, path, _ in rows(data_folder / folder / 'index.tsv')}


def labels(path):
    """Ground truth: dictionary id -> label."""
    return {key: json.loads(onehot).index(1.0) for key, onehot in rows(path)}


def weights(model_folder):
    """All arrays of model.weights.h5: dictionary name -> array."""
    import h5py
    found = {}
    with h5py.File(model_folder / 'model.weights.h5') as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def same_weights(one, other):
    """Whether two model folders hold bit-identical weights."""
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


if __name__ == '__main__':
    serve(Path(sys.argv[1]))
