"""Speed and memory of preprocess.py on real files.

Usage:  python benchmarks/bench_preprocess.py <folder with sound files, e.g. ESC-10> [processes]
Prints: the rate of mel spectrograms on disk against that of decoding alone on the same processes; the wall time of
        preprocess.py as a command, start-up included; its peak memory for a quarter of the files and for all.
"""
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import joblib
from timing import compare, seconds

import audio
import config_file
import representation
import shared

SUFFIXES = {'.wav', '.ogg', '.flac', '.mp3'}


def index(name, folder, paths):
    """An index whose every clip is in the training and test part; only preprocess.py reads it."""
    with contextlib.redirect_stdout(None):
        shared.write_dataset(name, folder, paths, [i % 2 for i in range(len(paths))], ['a', 'b'],
                             [{'train': range(len(paths)), 'test': range(len(paths))}], {})


def run_command(name):
    """preprocess.py on an index, as a user runs it."""
    script = Path(shared.__file__).with_name('preprocess.py')
    subprocess.run([sys.executable, script, 'spec', f'dataset={name}', f'num_processing_units={PROCESSES}'],
                   check=True, capture_output=True)


def main(folder):
    files = sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)
    config = {**config_file.SPECTROGRAM}
    root = shared.data_folder()

    def decode():
        joblib.Parallel(n_jobs=PROCESSES, batch_size=4)(joblib.delayed(decode_one)(path) for path in files)

    count = iter(range(100))

    def preprocess():  # into a new folder each time: nothing is up to date
        target = root / f'run{next(count)}'
        clips = [(str(i), path, target / f'{i}.npy') for i, path in enumerate(files)]
        if representation.make_all(clips, config, PROCESSES):
            sys.exit('some files could not be decoded')

    compare('preprocess against decoding alone', preprocess, decode, len(files), 'clips', 0.75)
    index('all', folder, [str(path.relative_to(folder)) for path in files])
    index('quarter', folder, [str(path.relative_to(folder)) for path in files[::4]])
    run_command('quarter')
    small = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f'preprocess.py, {len(files)} files, start-up included: {seconds(lambda: run_command("all")):.1f} s')
    large = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f'peak memory of a process: {small:.0f} MB for {len(files[::4])} files, {large:.0f} MB for {len(files)}')


def decode_one(path):
    audio.read_audio(path, None)  # the samples themselves stay in the process that decoded them


if __name__ == '__main__':
    PROCESSES = int(sys.argv[2]) if len(sys.argv) > 2 else joblib.cpu_count()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ['DATA_FOLDER'] = temporary
        main(Path(sys.argv[1]).resolve())
