"""Label sound files with a trained classifier: clips, and long recordings window by window.

Usage:  python classify.py birds recording.wav folder/ --csv out.csv
        python classify.py birds night.flac --csv out.csv --events events.csv --audacity labels/ --raven tables/ --timeline pictures/
        python classify.py fold_0_1541174334 folder/ --csv out.csv
Reads:  a classifier of fit.py (its name, or a folder), or an experiment of sl_train.py, proto.py, transfer_train.py or
        transfer_proto.py with weights; sound files of any length and format.
Writes: out.csv, a row per clip, or per window of a long recording: file, start, end (seconds), class, the most probable class (`best`)
        and its probability, and the runner-up. `class` is `best`, or `none of these` if the sound is too different from the training
        clips. Files that cannot be used are listed in <csv>.errors.csv, all others are done, and the exit code is not 0. An interrupted
        command with --csv continues when it is started again. For --events, --audacity, --raven and --timeline, neighbouring windows with
        the same class are merged into one event. Only files that this script wrote are replaced.
"""
import argparse
import hashlib
import itertools
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import classifier
import figures
from audio import SUFFIXES, stream
from features import mel_spectrogram
from methods import method_of, start_tensorflow
from shared import PROGRESS, UserError, atomic, content_digest, listing, run_script, write_text

sys.path.append(str(Path(__file__).resolve().parents[1] / 'aux'))
from indexing import audio_files  # noqa: E402

SHOWN = 20  # rows on the terminal
EVENTS = ['file', 'start', 'end', 'class', 'probability']
ERRORS = ['file', 'reason']
RAVEN = ['Selection', 'View', 'Channel', 'Begin Time (s)', 'End Time (s)', 'Begin File', 'Annotation', 'Score']
ENDINGS = {'audacity': '.txt', 'raven': '.selections.txt', 'timeline': '.png'}  # of the names of the files in the folder that an option names
# regular expression that the output of each option matches: its beginning, or each line if people edit such files. Other files are not replaced
FORMS = {
    'csv': re.escape(','.join(classifier.COLUMNS)) + '\n',
    'events': re.escape(','.join(EVENTS)) + '\n',
    'errors': re.escape(','.join(ERRORS)) + '\n',
    'audacity': r'(\d+\.\d{6}\t\d+\.\d{6}\t[^\t\n]+ [01]\.\d\d\n)*\Z',
    'raven': re.escape('\t'.join(RAVEN)) + r'\n(\d+\tSpectrogram 1\t1\t\d+\.\d{6}\t\d+\.\d{6}\t[^\t\n]+\t[^\t\n]+\t[01]\.\d{4}\n)*\Z',
    'timeline': f'(?s:.{{,99}})Software\0{re.escape(figures.TIMELINE)}',
}


def main():
    args = read_arguments()
    model = classifier.load(args.classifier, args.checkpoint)
    files = find_files(args.files)
    names = set()
    stems = {str(path): unique_name(path, names) for path in files}
    check_outputs(args, files, stems)
    describe(model, files)
    try:
        label(args, model, files, stems)
    except KeyboardInterrupt:
        if args.csv:
            raise
        print('\ninterrupted: without --csv, the same command starts from the beginning', file=sys.stderr)
        sys.exit(130)


def label(args, model, files, stems):
    """Label the files and write what the command line asks for."""
    begin, results = time.perf_counter(), Results(args, model, files)
    options = {'window': args.window, 'hop': args.hop, 'longest': args.longest, 'threshold': args.threshold}
    pending = [path for path in files if not results.has(path)]
    if len(pending) < len(files):
        print(f'{len(files) - len(pending)} of {len(files)} files are done already')
    if pending and method_of(model.config).applies_network:
        start_tensorflow()
    problems = {}
    for path, rows in tqdm(model.decisions(pending, **options), total=len(pending), unit='file', disable=not pending, **PROGRESS):
        if isinstance(rows, UserError):
            problems[path] = str(rows)
        else:
            results.add(path, rows)
    table = results.write(problems)
    export(table, args, stems)
    results.forget_partial()  # now everything is written
    summarise(table, problems, time.perf_counter() - begin, args)
    if problems:
        sys.exit(f'\n{len(problems)} of {len(files)} files could not be used, see above; all others are done')


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('classifier', help='name of a classifier or of an experiment, or a folder')
    parser.add_argument('files', nargs='+', type=Path, help='sound files, and folders that are searched for sound files')
    parser.add_argument('--csv', type=Path, help='where the table goes (default: only the first rows are shown)')
    parser.add_argument('--events', type=Path, help='CSV file of the events: file, start, end, class, probability')
    parser.add_argument('--audacity', type=Path, metavar='FOLDER', help='a label track per file (Audacity: File, Import, Labels)')
    parser.add_argument('--raven', type=Path, metavar='FOLDER', help='a selection table per file (Raven: File, Open Selection Table)')
    parser.add_argument('--timeline', type=Path, metavar='FOLDER', help='a picture per long recording: spectrogram and classes over time')
    parser.add_argument('--window', type=positive, metavar='S',
                        help='length of a window in seconds (default: the median of the training clips, at most 10)')
    parser.add_argument('--hop', type=positive, metavar='S', help='seconds between windows (default: half a window)')
    parser.add_argument('--longest', type=positive, metavar='S',
                        help='files of up to so many seconds are one clip, longer ones are cut into windows (default: 30, or twice the longest '
                             'training clip if that is more)')
    parser.add_argument('--threshold', type=float, help="confidence below which a sound is none of the classes (default: the classifier's own)")
    parser.add_argument('--checkpoint', help='weights of the pretrained network, where they are not in src/')
    return parser.parse_args()


def positive(text):
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a number of seconds above 0')
    return value


def find_files(paths):
    """Sound files in the order given; those of a folder are sorted, and what has no name of a sound file is left out."""
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path / name for name in audio_files(path, path, Counter()))
            if not inside:
                raise UserError(f'{path} holds no sound file ({listing(sorted(SUFFIXES), 99)})')
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f'{path} does not exist: check the path of the recording or folder')
    return list(dict.fromkeys(found))


def check_outputs(args, files, stems):
    """Make the folders of all outputs, so that what cannot be written is known before the work.

    Raises UserError for an output that cannot be written, that would replace somebody's file, or that another option writes too.
    """
    wanted = [('csv', args.csv, 'csv'), ('csv', args.csv and beside(args.csv, 'errors.csv'), 'errors'), ('events', args.events, 'events')]
    wanted += [(option, output(args, option, stem), option) for option in ENDINGS for stem in stems.values()]
    inputs, writers, folders = {path.resolve() for path in files}, {}, set()
    for option, path, form in wanted:
        if path is None:
            continue
        writer = writers.setdefault(path.resolve(), option)
        try:
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=path.parent).close()
                folders.add(path.parent)
            problem = why_not(path, FORMS[form], inputs) if writer == option else f'is written by --{writer}, too: name another file'
        except OSError as error:
            problem = f'cannot be written ({error.strerror}: {error.filename}): name another place'
        if problem:
            raise UserError(f'--{option}: {path} {problem}')


def why_not(path, form, inputs):
    """Why a file must not be written to a path, and the remedy (str); '' if it may be. Raises OSError for a path that no file can have."""
    if path.is_dir():
        return f'is a folder: name a file in it, e.g. {path / "out.csv"}'
    if path.resolve() in inputs:
        return 'is one of the recordings: name another file'
    if path.suffix.lower() in SUFFIXES:
        return 'has the name of a sound file: name a file that ends with .csv'
    try:
        path.lstat()  # and not exists(): a name that is too long is an error here
    except FileNotFoundError:
        return ''
    if not path.is_file():
        return 'is no regular file: name another file'
    content = path.read_text(encoding='latin-1')
    return 'was not written by classify.py and would be lost: move it away, or name another place' if content and not re.match(form, content) else ''


def output(args, option, stem):
    """Path of a file's output in the folder that an option names; None without the option."""
    folder = getattr(args, option)
    return folder and folder / f'{stem}{ENDINGS[option]}'


def beside(path, ending):
    """The path with a further ending."""
    return path.with_name(f'{path.name}.{ending}')


def describe(model, files):
    """Print what will be done."""
    print(f'{model.folder}: {model.method}; {listing(model.classes, 12)}; {len(files)} file(s), those above {model.longest:.0f} s in windows of '
          f'{model.window:.3g} s')
    if model.calibration is None:
        print('note: an experiment is not calibrated: its probabilities are as the model gives them, and every sound gets one of its classes. '
              'fit.py makes a calibrated classifier')


class Results:
    """The rows found so far. With --csv they are kept on disk while the work goes on, so that an interruption loses little."""

    def __init__(self, args, model, files):
        self.path, self.rows = args.csv, {}
        # taken before the work, so that a restarted command does not use the rows of a file that has grown in the meantime
        self._stamps = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
        about = model.folder / classifier.FILE
        options = [str(model.folder.resolve()), content_digest(about) if about.exists() else '', args.window, args.hop, args.longest, args.threshold]
        self._key = hashlib.sha1(json.dumps(options).encode()).hexdigest()
        self._partial = self.path and beside(self.path, 'partial')
        if self._partial and self._partial.exists():
            for line in self._partial.read_text(encoding='utf-8').splitlines():
                try:
                    key, path, stamp, rows = json.loads(line)
                except ValueError:  # the line that was written when the power failed
                    continue
                if key == self._key and stamp == self._stamps.get(path):
                    self.rows[path] = pd.DataFrame(rows, columns=classifier.COLUMNS)

    def has(self, path):
        return str(path) in self.rows

    def add(self, path, rows):
        self.rows[str(path)] = rows
        if self._partial:
            with open(self._partial, 'a', encoding='utf-8') as file:
                file.write(json.dumps([self._key, str(path), self._stamps[str(path)], rows.to_numpy(object).tolist()]) + '\n')

    def write(self, problems):
        """All rows in the order of the files; written to --csv."""
        tables = [self.rows[path] for path in self._stamps if path in self.rows]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=classifier.COLUMNS)
        if self.path:
            write_csv(table, self.path)
            errors = beside(self.path, 'errors.csv')
            errors.unlink(missing_ok=True)
            if problems:
                write_csv(pd.DataFrame([(str(path), reason) for path, reason in problems.items()], columns=ERRORS), errors)
        return table

    def forget_partial(self):
        """Remove what an interrupted command would continue from."""
        if self._partial:
            self._partial.unlink(missing_ok=True)


def write_csv(table, path):
    """Write a table, whole or not at all; seconds and probabilities with four digits after the point."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format='%.4f', errors='backslashreplace')  # of file names that are not valid UTF-8


def export(table, args, stems):
    """Write the events of each file as the command line asks for."""
    if not (args.events or args.audacity or args.raven or args.timeline):
        return
    found = []
    for file, rows in table.groupby('file', sort=False):
        events = classifier.events(rows)
        found.append(events.assign(file=file)[EVENTS])
        track, selections, picture = (output(args, option, stems[file]) for option in ('audacity', 'raven', 'timeline'))
        if track:
            write_text(track, ''.join(
                f'{row["start"]:.6f}\t{row["end"]:.6f}\t{row["class"]} {row["probability"]:.2f}\n' for row in events.to_dict('records')))
        if selections:
            write_raven(selections, Path(file), events)
        if picture and len(rows) > 1:  # a long recording
            figures.draw(picture, figures.timeline, spectrogram(file, rows['end'].max()), rows, events, Path(file).name)
    if args.events:
        write_csv(pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=EVENTS), args.events)


def unique_name(path, names):
    """The file's name without its ending; its folders' in front of it, then a number behind it, where two files have the same one."""
    folders = path.resolve().parts[1:-1]
    candidates = ['_'.join((*folders[place:], path.stem)) for place in range(len(folders), -1, -1)]
    name = next(name for name in itertools.chain(candidates, (f'{candidates[-1]}_{number}' for number in itertools.count(2))) if name not in names)
    names.add(name)
    return name


def write_raven(path, file, events):
    """A selection table of Raven: tabs, a header, one selection per event."""
    lines = [f'{i}\tSpectrogram 1\t1\t{row["start"]:.6f}\t{row["end"]:.6f}\t{file.name}\t{row["class"]}\t{row["probability"]:.4f}'
             for i, row in enumerate(events.to_dict('records'), 1)]
    write_text(path, '\n'.join(['\t'.join(RAVEN), *lines]) + '\n')


def spectrogram(file, seconds, columns=1200, rate=16000):
    """Level in dB of 64 mel bands over the whole of a file, (64, columns): the loudest frame of each column, with memory for a part."""
    loudest, begin = np.full((64, columns), 1e-10, np.float32), 0
    for block in stream(file, rate):
        if len(block) >= 512:
            mel = mel_spectrogram(block, rate, 1024, 512, 64)
            column = ((begin + 512 * np.arange(len(mel))) / rate / seconds * columns).astype(int).clip(0, columns - 1)
            np.maximum.at(loudest.T, column, mel)
        begin += len(block)
    empty = (loudest == 1e-10).all(axis=0)  # short files have fewer frames than columns
    filled = np.maximum.accumulate(np.where(empty, 0, np.arange(columns)))
    return 10 * np.log10(loudest[:, filled])


def summarise(table, problems, seconds, args):
    """Print the first rows, how often each class was found, and what could not be used."""
    with pd.option_context('display.width', 160, 'display.max_colwidth', 60):
        print(table.head(SHOWN).to_string(index=False, float_format='%.3f') if len(table) else 'no rows')
    if len(table) > SHOWN:
        print(f'and {len(table) - SHOWN} more rows')
    if len(table):
        print('classes: ' + ', '.join(f'{name} {count}' for name, count in table['class'].value_counts().items()))
        sound = table.groupby('file')['end'].max().sum()
        print(f'{sound:.0f} s of sound in {seconds:.1f} s')
    for path, reason in problems.items():
        print(f'not used: {path}: {reason}')
    if args.csv:
        print(f'table: {args.csv}' + (f'\nfiles that could not be used: {args.csv}.errors.csv' if problems else ''))


if __name__ == '__main__':
    run_script(main)
