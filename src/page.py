"""The page of a report: report.html, one file with all tables, pictures and sounds, that any browser opens from disk."""
import base64
import functools
import io
import tempfile
import time
from pathlib import Path

import jinja2
import numpy as np
import soundfile
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold

import analysis
import calibration
import classifier
import diagnosis
import embeddings
import evaluation
import figures
import plans
import shallow
from audio import read_audio
from experiment import config_of
from features import mel_spectrogram
from fewshot import draw_clips
from methods import method_of
from representation import audio_folder
from results import experiments_folder
from shared import UserError, data_folder, listing, read_recordings, write_text

SHOWN = 12          # clips of each list
SECONDS = 6         # of a clip that are embedded
RATE = 24000        # Hz of embedded sounds
WIDE = 0.2          # an interval of the accuracy that is wider says little


def write(path, title, rows, notes, curves, confusions, commands):
    """Write report.html.

    Args:
        path: of the file.
        title: of the page.
        rows: DataFrame from analysis.newest.
        notes: dictionary data set, in the order of the sections -> sentences of analysis.left_out (list).
        curves: dictionary data set -> path of the figure of accuracy over n.
        confusions: dictionary (data set, method) -> path of its confusion matrix.
        commands: commands that made the report (str).
    """
    parts = [section(rows[rows['dataset'] == dataset], dataset, sentences, curves.get(dataset), confusions, commands)
             for dataset, sentences in notes.items() if (rows['dataset'] == dataset).any()]
    template = environment().from_string((Path(__file__).parent / 'page_template.html').read_text(encoding='utf-8'))
    write_text(path, template.render(title=title, made=time.strftime('%Y-%m-%d %H:%M'), parts=parts, more=diagnosis.MORE))


@functools.cache
def environment():
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)


def section(rows, dataset, notes, curves, confusions, commands):
    """What the template shows of a data set (dictionary)."""
    best = analysis.recommend(rows, plans.cost)
    recordings = read_recordings(dataset)
    part = {'dataset': dataset, 'slug': f'data-{dataset}', 'recommendation': analysis.recommendation(best), 'warnings': [],
            'what': what_was_run(rows), 'accuracy': accuracy_table(rows), 'curves': picture(curves) if curves else None,
            'comparisons': comparison_table(best), 'naive': None, 'detail': None, 'commands': commands}
    own = rows[(rows['label'] == best['method']) & (rows['n_shot'].map(analysis.position) <= analysis.position(best['n_shot']))]
    whole = len(own) == (rows['label'] == best['method']).sum()  # otherwise the confusion matrix that is drawn already is of a larger n
    try:
        table, classes = diagnosis.held_out(own)
        found, figures_of = diagnosis.accuracy(table, recordings), diagnosis.per_class(table, classes, recordings)
        confusion = confusions.get((dataset, best['method'])) if whole else None
        part['detail'] = detail(table, classes, own, dataset, found, figures_of, units(recordings), confusion)
        part['recommendation'] += advice(figures_of, units(recordings))
        if found['high'] - found['low'] > WIDE:
            part['warnings'].append(f'There are too few {units(recordings)} ({found["recordings"]}) for a precise estimate: the 95 % interval of '
                                    f'the accuracy {found["accuracy"]:.3f} is {found["low"]:.3f} to {found["high"]:.3f}.')
    except (FileNotFoundError, ValueError, UserError) as problem:
        part['warnings'].append(f'Classes, labels and errors are not shown: {problem}.')
    part['warnings'] += notes
    part['naive'] = naive_split(rows, recordings)
    part['origin'] = origin(rows)
    return part


def units(recordings):
    """What the intervals count: 'recordings', or 'clips' where it is not known which clips are of one recording."""
    return 'recordings' if recordings else 'clips'


# ---- accuracy --------------------------------------------------------------------------------------------------------

def what_was_run(rows):
    return (f'{len(rows)} results on {rows["fold"].nunique()} fold(s). n is the number of training clips per class; if a class has fewer, all of '
            'them are used. Each cell: mean accuracy, its 95 % interval in brackets (over the folds; over the runs of a single fold), and the '
            'balanced accuracy, which counts every class alike, after "|".')


def accuracy_table(rows):
    """Method by n."""
    summary, balanced = analysis.summarise(rows), balanced_accuracies(rows)
    shots = sorted(summary['n_shot'].unique(), key=analysis.position)
    cells = {}
    for row in summary.itertuples():
        interval = f' ({row.low:.3f} to {row.high:.3f})' if np.isfinite(row.low) else ''
        mean = balanced.get((row.method, row.n_shot))
        cells[row.method, row.n_shot] = f'{row.mean:.3f}{interval}' + (f' | {mean:.3f}' if mean is not None else '')
    order = summary.groupby('method')['mean'].max().sort_values(ascending=False, kind='stable').index
    return {'head': ['method', *(f'n = {n}' for n in shots)], 'rows': [[method, *(cells.get((method, n), '') for n in shots)] for method in order]}


def balanced_accuracies(rows):
    """Mean recall of the classes of each method and n, the mean over folds: dictionary (method, n_shot) -> float; without runs that are not here."""
    found = {}
    for (label, n_shot), group in rows.groupby(['label', 'n_shot']):
        try:
            recalls = diagnosis.class_recalls(group)
        except (FileNotFoundError, ValueError, KeyError):
            continue
        there = recalls[recalls['clips'] > 0].groupby(['fold', 'class'])[['right', 'clips']].sum()
        found[label, n_shot] = float((there['right'] / there['clips']).groupby('fold').mean().mean())
    return found


def comparison_table(best):
    """The recommended method (from analysis.recommend) against every other one, at its n."""
    return {'head': ['n', 'method', 'other', 'difference', '95 % interval', 'p'],
            'rows': [[best['n_shot'], best['method'], row['other'], *evaluation.difference(row)] for row in best['comparisons']]}


def naive_split(rows, recordings):
    """A sentence on what a random split, which divides recordings, would have told of a frozen network; None where there is no such case.

    Its training sets are as large as those of the folds: other sizes would change the accuracy, too.
    """
    largest = analysis.largest_shot(rows)
    own = rows[(rows['method'].map(plans.cost) == 0) & (rows['n_shot'] == largest)]
    if own.empty or len(set(recordings.values())) == len(recordings):
        return None
    own = own[own['label'] == own['label'].iloc[-1]]
    try:
        config = config_of(experiments_folder() / own['experiment'].iloc[0])
        split = method_of(config).load_split(config)
        labels = {**split.train, **split.test}
        features = embeddings.of_split(split, config)
        head = shallow.CLASSIFIERS[config['classifier']]
        truth, keys, right = np.array(list(labels.values())), np.array(list(labels)), []
        parts = min(max(round(len(labels) / len(split.test)), 2), np.bincount(truth).min())
        for train, test in StratifiedKFold(parts, shuffle=True, random_state=0).split(keys, truth):
            drawn_clips = draw_clips({key: label for key, label in zip(keys[train], truth[train])}, split.classes, config, 0)
            chosen = [labels[key] for key in drawn_clips]
            score = head.scorer(head.fit(*shallow.stack(features, drawn_clips), np.array(chosen), config), config)
            right += list(score(*shallow.stack(features, keys[test])).argmax(axis=1) == truth[test])
    except (UserError, ValueError, KeyError):
        return None
    grouped = analysis.averages(own)['mean']
    difference = np.mean(right) - grouped
    return (f'{len(labels)} clips come from {len({recordings.get(key, key) for key in labels})} recordings. With recordings kept together, '
            f'{own["label"].iloc[0]} reaches {grouped:.3f} at n = {largest}. A random split puts clips of one recording into both the training and '
            f'the test set, but a new recording has no clips in training. One such split gives {np.mean(right):.3f}, a difference of '
            f'{difference:+.3f}.')


# ---- the recommended method in detail ----------------------------------------------------------------------------------

def detail(table, classes, rows, dataset, found, figures_of, units, confusion):
    """Classes, learning curves, suspicious labels, errors and calibration of one method (dictionary).

    Args:
        table, classes: from diagnosis.held_out.
        rows: of the method in results.tsv, with the column `label`.
        found, figures_of: from diagnosis.accuracy and diagnosis.per_class.
        units: see units.
        confusion: path of its confusion matrix, or None.
    """
    ranked = diagnosis.suspicious(table, classes)
    contradicted = ranked[ranked['contradiction'] > 0]
    wrong = table[table['true'] != table['predicted']]['id'].unique()
    errors = ranked[ranked['id'].isin(wrong) & ~ranked['id'].isin(contradicted['id'].head(SHOWN))].sort_values('p_label', kind='stable')
    p, labels = diagnosis.probabilities(table, classes), table['true'].map(classes.index).to_numpy()
    sounds = Sounds(dataset)
    return {
        'method': rows['label'].iloc[0],
        'about': f'At n = {analysis.largest_shot(rows)}: accuracy {found["accuracy"]:.3f}, balanced accuracy {found["balanced"]:.3f}, on '
                 f'{found["clips"]} clips{" of " + str(found["recordings"]) + " recordings" if units == "recordings" else ""}. With so many '
                 f'{units}, the 95 % interval of the accuracy is '
                 f'{found["low"]:.3f} to {found["high"]:.3f}.',
        'classes': class_table(figures_of),
        'confusion': picture(confusion) if confusion else drawn(
            figures.confusion, confusion_matrix(table['true'], table['predicted'], labels=classes), classes, ''),
        'growth': growth_table(diagnosis.learning_curves(diagnosis.class_recalls(rows))),
        'suspicious': [sounds.show(clip) for clip in contradicted.head(SHOWN).to_dict('records')],
        'errors': [sounds.show(clip) for clip in errors.head(SHOWN).to_dict('records')],
        'calibration': f'The scores were turned into probabilities by one temperature, fitted on these held-out decisions. Expected calibration '
                       f'error: {calibration.calibration_error(p, labels):.3f}. Of the clips that were decided with a probability near 0.8, about '
                       f'80 % should be right: then the points lie on the diagonal.',
        'reliability': drawn(figures.reliability, *calibration.reliability(p, labels), 'held-out decisions'),
    }


def advice(figures_of, units):
    """Which class needs clips most: a sentence with a blank in front, or nothing."""
    figures_of = figures_of[figures_of['clips'] > 0].set_index('class')
    weakest = figures_of['recall'].idxmin()
    few = figures_of['recordings'].idxmin()
    if figures_of.loc[weakest, 'recall'] < figures_of['recall'].median() - 0.1:
        return f' Collect more clips of {weakest}: only {figures_of.loc[weakest, "recall"]:.0%} of its clips are recognised.'
    if figures_of.loc[few, 'recordings'] < 10:
        return f' Collect more clips of {few}: with {figures_of.loc[few, "recordings"]} {units}, its figures are the least certain.'
    return ''


def class_table(table):
    def cell(row, name):
        if not row['clips']:  # of the test set
            return ''
        return f'{row[name]:.2f}' + (f' ({row[f"{name}_low"]:.2f} to {row[f"{name}_high"]:.2f})' if np.isfinite(row[f'{name}_low']) else '')
    return {'head': ['class', 'clips', 'recordings', 'precision', 'recall', 'F1'],
            'rows': [[row['class'], row['clips'], row['recordings'], *(cell(row, name) for name in ('precision', 'recall', 'f1'))]
                     for row in table.to_dict('records')]}


def growth_table(table):
    def gain(row):
        return f'+{row["gain"]:.3f} ({row["low"]:.3f} to {row["high"]:.3f})' if np.isfinite(row['gain']) else 'cannot tell'
    return {'head': ['class', 'training clips', 'recall', f'{diagnosis.MORE} more clips'],
            'rows': [[row['class'], row['now'], f'{row["recall"]:.3f}', gain(row)] for row in table.to_dict('records')]}


class Sounds:
    """The sound files of a data set, as pictures and sounds for the page."""

    def __init__(self, dataset):
        try:
            self.folder, self.problem = audio_folder(dataset), None
        except UserError as problem:
            self.folder, self.problem = None, f'no sound: {problem}'

    def show(self, clip):
        """The clip (dictionary) with `picture` and `sound`, or with `problem`."""
        clip = {**clip, 'picture': None, 'sound': None, 'problem': self.problem}
        if self.folder:
            try:
                samples, _ = read_audio(self.folder / clip['audio'], RATE)
                samples = samples[:SECONDS * RATE]
                clip.update(picture=drawn(figures.small_spectrogram, mel_spectrogram(samples, RATE, 1024, 512, 96)), sound=mp3(samples))
            except UserError as problem:
                clip['problem'] = f'no sound: {problem}'
        return clip


def mp3(samples):
    """Samples (length,) at RATE as the address of an embedded sound."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), RATE, format='MP3', subtype='MPEG_LAYER_III')
    return 'data:audio/mpeg;base64,' + base64.b64encode(file.getvalue()).decode()


def picture(path):
    """An image file as the address of an embedded image."""
    return 'data:image/png;base64,' + base64.b64encode(Path(path).read_bytes()).decode()


def drawn(function, *arguments):
    """What a function of figures.py draws, as the address of an embedded image."""
    with tempfile.TemporaryDirectory() as folder:
        function(*arguments, Path(folder) / 'figure.png')
        return picture(Path(folder) / 'figure.png')


# ---- how it was made ---------------------------------------------------------------------------------------------------

def origin(rows):
    """A line per method and configuration, and the versions."""
    lines = [['versions on this machine now', listing([f'{name} {version}' for name, version in classifier.versions().items()], 99)],
             ['seeds', listing(sorted(rows['seed'].unique()))],
             ['data', f'{listing(sorted(rows["state"].unique()))} (hash of the labels of all sounds)'],
             ['results', f'{data_folder() / "experiments/results.tsv"}, {rows["date"].min()} to {rows["date"].max()}']]
    for row in rows.drop_duplicates('label').sort_values('label').itertuples():
        config = config_of(experiments_folder() / row.experiment)
        chosen = plans.changed_settings(row.method, config)
        lines.append([row.label, f'configuration {row.config_hash}, e.g. experiments/{row.experiment}'
                      + (f' ({listing([f"{key}={value!r}" for key, value in chosen.items()], 20)})' if chosen else '')])
    return {'head': ['', ''], 'rows': lines}

