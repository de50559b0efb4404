"""Check a folder of class folders before training: list its classes and files, and report problems.

Usage:  python check.py /path/to/folder
        python check.py /path/to/folder --name birds --group '(.*)_\\d+'
Reads:  the sound files in <folder>/<class>/.
Writes: check/<name>/ under DATA_FOLDER: classes.tsv (a row per class), files.tsv (a row per file), findings.tsv (what was found, with its
        severity and a remedy), pairs.tsv (identical files and near-duplicates).

Exit code: 0: no problem; 3: warnings; 2: errors, which make results wrong or stop the next step.
"""
import argparse
import collections
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

import near_duplicates
from audio import decode, mean_of_channels, resample, root_mean_square
from representation import watching_workers
from shared import PROGRESS, UserError, check_name, data_folder, listing, run_script, write_table

sys.path.append(str(Path(__file__).resolve().parents[1] / 'aux'))
from class_folders import read_clips  # noqa: E402
from indexing import read_background  # noqa: E402
from recordings import find_recordings, identical_files  # noqa: E402
from split_options import MOST_FOLDS  # noqa: E402

SILENT = 1e-5       # largest sample of a silent file, part of full scale
QUIET = -50         # dB of full scale: level of very quiet files
CLIPPED = 0.001     # part of the samples at full scale from which on a file is clipped
BEYOND = 1.5        # largest sample, part of full scale, from which on a file has another scale: resampling and MP3 exceed 1 a little
SHORT = 0.2         # s: shorter clips are hardly more than a click
SEVERITIES = ('error', 'warning', 'note')
# seconds of work per second of sound on two cores, and bytes of what is stored: rough, for an estimate
WORK = {'front ends and embeddings': 0.006, 'mn04 transfer': 0.12, 'TIMBRE': 0.1}
BYTES_PER_SECOND = 3 * 128 * 4 * 60


def main():
    args = read_arguments()
    report = Findings()
    clips = read_folder(args, report)
    if clips:
        paths, names, labels, classes = clips
        measured = measure(args.folder, paths)
        files = pd.DataFrame([{'file': path, 'class': classes[label], **found} for path, label, (found, _) in zip(paths, labels, measured)])
        judge_files(files, report)
        identical = identical_files(args.folder, paths)
        pairs = find_pairs(paths, identical, [found for _, found in measured], labels, classes, report)
        recordings = judge_recordings(args, paths, names, identical, pairs, report)
        table = class_table(files.assign(recording=recordings), classes)
        judge_size(table, report)
        show(table, files, args)
        folder = data_folder() / 'check' / args.name
        for content, name in ((table, 'classes'), (files, 'files'), (pairs, 'pairs'), (report.table(), 'findings')):
            write_table(content, folder / f'{name}.tsv')
        estimate(files, table)
    report.show()
    if clips:
        print(f'tables: {folder}')
    sys.exit({'error': 2, 'warning': 3}.get(report.worst(), 0))


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='a folder with one folder per class')
    parser.add_argument('--name', default='folder', help='of the data set, for the folder of the tables')
    parser.add_argument('--group', metavar='REGEX', help='as for aux/index_folder.py: what in a file name tells the recording')
    args = parser.parse_args()
    check_name('--name', args.name)
    return args


class Findings:
    """What was found: severity, what, a remedy."""

    def __init__(self):
        self.rows = []

    def add(self, severity, what, remedy=''):
        self.rows.append((severity, what, remedy))

    def worst(self):
        """The worst severity; None without findings."""
        return next((severity for severity in SEVERITIES if any(row[0] == severity for row in self.rows)), None)

    def table(self):
        return pd.DataFrame(self.rows, columns=['severity', 'finding', 'remedy'])

    def show(self):
        for severity, what, remedy in sorted(self.rows, key=lambda row: SEVERITIES.index(row[0])):
            print(f'{severity}: {what}' + (f'. {remedy}' if remedy else ''))
        print({'error': 'errors: correct them first', 'warning': 'warnings: look at them, results may be better or worse than they should be'}
              .get(self.worst(), 'no problem was found'))


# ---- files -----------------------------------------------------------------------------------------------------------

def read_folder(args, report):
    """Paths, names below the class folders, labels and class names; None where the folder cannot be used."""
    try:
        paths, names, labels, _, classes = read_clips(args.folder)
    except UserError as problem:
        report.add('error', str(problem))
        return None
    if background := read_background(args.folder):
        report.add('note', f'{len(background)} background sounds: no class, fit.py tells how many of them it rejects')
    return paths, names, labels, classes


def measure(folder, paths):
    """For each file what `measure_file` returns."""
    work = joblib.Parallel(n_jobs=-1, return_as='generator')(joblib.delayed(measure_file)(folder / path) for path in paths)
    with watching_workers('start the same command again with fewer of them, LOKY_MAX_CPU_COUNT=1 python check.py ...'):
        return list(tqdm(work, total=len(paths), desc='reading', unit='file', **PROGRESS))


def measure_file(path):
    """Figures of a file (dictionary: seconds, rate, channels, peak, level in dB, clipped, problem), and its fingerprint."""
    try:
        samples, rate = decode(path)
    except UserError as problem:
        return {'seconds': np.nan, 'rate': 0, 'channels': 0, 'peak': np.nan, 'level': np.nan, 'clipped': np.nan, 'problem': str(problem)}, None
    found = {'seconds': len(samples) / rate, 'rate': rate, 'channels': samples.shape[1], 'peak': float(max(samples.max(), -samples.min())),
             'level': float(10 * np.log10(root_mean_square(samples) ** 2 + 1e-12)),
             'clipped': float(np.mean(samples >= 0.999) + np.mean(samples <= -0.999)), 'problem': ''}
    longest = near_duplicates.FRAMES * near_duplicates.HOP / near_duplicates.RATE
    try:
        mono = mean_of_channels(samples)[:int(longest * rate)]
        return found, near_duplicates.fingerprint(resample(mono, rate, near_duplicates.RATE, 'soxr_mq'))
    except UserError as problem:
        return {**found, 'problem': str(problem)}, None


def judge_files(files, report):
    """Unreadable, silent, wrongly scaled, clipped, quiet and short files; rates and channels."""
    def tell(severity, mask, what, remedy):
        if mask.any():
            report.add(severity, f'{mask.sum()} {what}: {listing(files["file"][mask])}', remedy)

    bad = files['problem'] != ''
    tell('error', bad, 'files cannot be used (' + listing(dict.fromkeys(files['problem'][bad]), 3) + ')', 'Correct or remove them')
    tell('warning', files['peak'] <= SILENT, 'files are silent', 'Remove them if that is a mistake')
    beyond = (files['peak'] > BEYOND) & ~bad
    tell('warning', beyond, f'files have samples beyond full scale, the largest is {files["peak"][beyond].max():.6g} where 1 is full scale',
         'If the largest is near 32768, divide the samples by 32768; otherwise export them again')
    tell('warning', (files['clipped'] > CLIPPED) & ~beyond, 'files are clipped', 'Record at a lower level; they can be used')
    tell('note', (files['level'] < QUIET) & (files['peak'] > SILENT), f'files are very quiet, below {QUIET} dB of full scale',
         'If your recordings differ in level, see Level in docs/pretrained.md')
    tell('warning', files['seconds'] < SHORT, f'files are shorter than {SHORT} s', 'Remove them, or cut longer ones')
    good = files[~bad]
    if good['rate'].nunique() > 1:
        lowest = good['rate'].min()
        rates = ', '.join(f'{rate} Hz: {count}' for rate, count in good['rate'].value_counts().sort_index().items())
        by_class = good.groupby('class')['rate'].agg(lambda rates: rates.mode().iloc[0])
        report.add('warning' if by_class.nunique() > 1 else 'note', f'sample rates differ ({rates})',
                   f'Some files have no sound above {lowest / 2:.0f} Hz: if these are mainly of one class, a model may learn that instead of '
                   f'the sounds')
    if good['channels'].nunique() > 1:
        report.add('note', 'some files have more channels than others: the mean of the channels is used')


# ---- clips that belong together ----------------------------------------------------------------------------------------

def find_pairs(paths, identical, prints, labels, classes, report):
    """Identical files and near-duplicates: a DataFrame with kind, similarity, file, other, class, other_class."""
    rows, same = [], set()
    for group in identical:
        rows += [('identical', 1.0, group[0], other) for other in group[1:]]
        same |= {(a, b) for a in group for b in group if a < b}
    rows += [('near-duplicate', similarity, i, j) for i, j, similarity in near_duplicates.find(prints) if (i, j) not in same]
    pairs = pd.DataFrame([{'kind': kind, 'similarity': similarity, 'file': paths[i], 'other': paths[j], 'class': classes[labels[i]],
                           'other_class': classes[labels[j]], 'i': i, 'j': j} for kind, similarity, i, j in rows],
                         columns=['kind', 'similarity', 'file', 'other', 'class', 'other_class', 'i', 'j'])
    two = pairs[pairs['class'] != pairs['other_class']]
    for kind, severity in (('identical', 'error'), ('near-duplicate', 'warning')):
        found = two[two['kind'] == kind]
        if len(found):
            named = listing(map(' = '.join, zip(found['file'], found['other'])), 4)
            report.add(severity, f'{len(found)} pair{"s" * (len(found) > 1)} of {kind} files in two classes: {named}',
                       'Keep the one whose class is right')
    return pairs


def judge_recordings(args, paths, names, identical, pairs, report):
    """The recording of each clip; says how clips are grouped and which near-duplicates that leaves apart."""
    try:
        recordings = find_recordings(paths, names, args.group, identical)
    except UserError as problem:
        report.add('error', str(problem))
        return list(paths)
    apart = pairs[[recordings[row.i] != recordings[row.j] for row in pairs.itertuples()]]
    if len(apart):
        most = max(collections.Counter([*apart['i'], *apart['j']]).values())
        more = 'at least ' * (most >= near_duplicates.NEIGHBOURS)  # no clip is compared with more
        report.add('warning', f'{more}{len(apart)} pair{"s" * (len(apart) > 1)} of near-duplicates, counted as different recordings: '
                   + listing([f'{row.file} = {row.other} ({row.similarity:.2f})' for row in apart.itertuples()], 4),
                   'If they were cut from one recording, results would be too good: remove one of each pair, or name what they have in common '
                   'with --group')
    if len(set(recordings)) == len(paths) and args.group is None:
        if stem := common_stems(names):
            report.add('warning', f'file names look as if several clips were cut from one recording ({stem})',
                       "If so, keep them together with --group '(.*)[_-][0-9]+', here and for aux/index_folder.py")
    return recordings


def common_stems(names):
    """Examples of names that differ only in a number at their end, where most names do; '' otherwise.

    A name per class, such as dog_01 ... dog_40, is the usual way to number clips and no sign of recordings.
    """
    stems = collections.Counter(Path(name).stem.rstrip('0123456789').rstrip('_- .') for name in names)
    several = {stem: count for stem, count in stems.items() if stem and count > 1}
    if len(several) < 4 or sum(several.values()) < 0.5 * len(names) or max(several.values()) > 0.3 * len(names):
        return ''
    return listing([f'{stem}: {count}' for stem, count in several.items()], 4)


# ---- what it is good for -----------------------------------------------------------------------------------------------

def class_table(files, classes):
    """A row per class: clips, recordings, seconds in all, shortest, median and longest clip."""
    groups = files.groupby('class')
    return pd.DataFrame([{'class': name, 'clips': len(own), 'recordings': own['recording'].nunique(), 'seconds': own['seconds'].sum(),
                          'shortest': own['seconds'].min(), 'median': own['seconds'].median(), 'longest': own['seconds'].max(),
                          'level in dB': own['level'].median()} for name in classes for own in [groups.get_group(name)]])


def judge_size(table, report):
    """How many folds are possible, and whether that gives an honest estimate."""
    few = table[table['recordings'] < 2]
    if len(few):
        report.add('error', f'only one recording of {listing(few["class"])}: training and test need one each',
                   'Add recordings of it, or move its folder away')
        return
    scarce = table[table['recordings'] < 10]
    if len(scarce):
        report.add('warning', 'few recordings: ' + listing([f'{row["class"]} ({row["recordings"]})' for row in scarce.to_dict('records')]),
                   'Their figures will have wide intervals: with 5 recordings, a recall can be off by about 0.3')
    if table['clips'].max() > 3 * table['clips'].min():
        report.add('note', f'classes are unequal ({table["clips"].min()} to {table["clips"].max()} clips)',
                   'Look at the balanced accuracy, which counts every class alike')


def possible_folds(table):
    """How many folds aux/index_folder.py --folds auto can make, unless classes share recordings."""
    return min(MOST_FOLDS, int(table['recordings'].min()))


def show(table, files, args):
    """Print the table of classes and what the files are like."""
    good = files[files['problem'] == '']
    print(f'{args.folder}: {len(files)} clips, {len(table)} classes, {good["seconds"].sum() / 60:.1f} min; '
          f'rates {listing(sorted(good["rate"].unique()))} Hz; channels {listing(sorted(good["channels"].unique()))}')
    print(table.to_string(index=False, float_format='%.1f'))
    folds = possible_folds(table)
    if folds > 1:
        least, most = (int(clips) for clips in (table['clips'] * (folds - 1) // folds).agg(['min', 'max']))
        print(f'possible: {folds} folds; n up to {least} clips of every class (the largest class has {most} for training)')


def estimate(files, table):
    """Print roughly how long the comparison takes and what it stores."""
    seconds = files['seconds'].sum()
    work = seconds * (WORK['front ends and embeddings'] + max(2, possible_folds(table)) * (WORK['mn04 transfer'] + WORK['TIMBRE']))
    print(f'`make own`: about {max(1, round(work / 60))} min on two cores, {seconds * BYTES_PER_SECOND / 1e6:.0f} MB on disk')


if __name__ == '__main__':
    run_script(main)
