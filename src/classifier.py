"""Classifiers for new recordings: a trained model with its classes, its front end and its calibration, loaded and applied.

A classifier is a folder classifiers/<name>/ that fit.py wrote, which can be copied to another machine, or an experiment.
"""
import functools
import itertools
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

import calibration
import pretrained
from audio import seconds_of, stream
from experiment import finished_models
from features import compute, represent, sample_rate
from methods import method_of
from representation import ArraysInMemory
from results import experiments_folder
from shared import UserError, content_digest, data_folder, expanded, listed, listing, read_json, write_json

FORMAT = 1
FILE = 'classifier.json'
KEYS = ('method', 'seconds', 'calibration', 'config')
MODEL_FILES = ('head.npz', 'model.json', 'model.weights.h5', 'prototypes.npz')
NONE = 'none of these'
LONG = 30       # s: files that are longer than this, and longer than twice the longest training clip, are cut into windows
WINDOW = 10     # s: no window is longer, unless it is asked for
BATCH = 16      # clips or windows that are scored at once
PACKAGES = ('tensorflow', 'librosa', 'soxr', 'numpy', 'scikit-learn')
COLUMNS = ['file', 'start', 'end', 'class', 'probability', 'best', 'runner_up', 'runner_up_probability']


def classifiers_folder():
    return data_folder() / 'classifiers'


def versions():
    """Versions of Python and of the packages that results depend on (dictionary)."""
    return {'python': platform.python_version(), **{name: version(name) for name in PACKAGES}}


def load(name: str | os.PathLike, checkpoint: str | os.PathLike | None = None) -> 'Classifier':
    """The Classifier `name`: a folder, the name of one below classifiers/, or an experiment, whose first run counts.

    Args:
        checkpoint: path of the weights of the pretrained network, where they are not where config_file.py expects them.

    Raises UserError when there is no such classifier, or it cannot be used.
    """
    places = [expanded(name), classifiers_folder() / name, experiments_folder() / name]
    folder = next((place for place in places if (place / FILE).is_file() or (place / 'config.json').is_file()), None)
    if folder is None:
        there = sorted(path.parent.name for path in classifiers_folder().glob(f'*/{FILE}'))
        raise UserError(f'there is no classifier {name!r}: give a folder, a name below {classifiers_folder()} ({listing(there) or "none"} '
                        f'so far: make one with `python fit.py <data set>`), or an experiment')
    return _of_folder(folder, checkpoint) if (folder / FILE).is_file() else _of_experiment(folder)


def _of_folder(folder, checkpoint):
    about = read_json(folder / FILE, 'make the classifier again with fit.py')
    if about.get('format') != FORMAT:
        raise UserError(f'{folder / FILE} has the format {about.get("format")!r}, this version reads {FORMAT}: make it again with fit.py')
    # classifiers of earlier versions do not name their files
    lacking = [key for key in KEYS if key not in about] + [name for name, digest in about.get('files', {}).items()
                                                           if not (folder / name).is_file() or content_digest(folder / name) != digest]
    if lacking:
        raise UserError(f'{folder} is incomplete (missing or damaged: {listing(lacking)}): copy the folder again, or make it again with fit.py')
    config = about['config']
    if method_of(config).needs_weights:
        config = {**config, 'checkpoint': str(find_weights(config, checkpoint))}
    return Classifier(folder.name, folder, folder, about['method'], config, about['seconds'], about['calibration'])


def _of_experiment(folder):
    config = read_json(folder / 'config.json', 'train again')
    models = finished_models(folder)
    if not models:
        raise UserError(f'{folder} has no trained model yet: start its training command again, it continues there')
    if not (folder / models[0] / 'model.weights.h5').is_file():
        remedy = 'train with save_weights=True, or make a classifier with fit.py'
        if 'save_weights' not in config:
            name = read_json(folder / models[0] / 'result.json', 'train again')['method']
            remedy = f'{config["method"]}.py keeps no model. Make a classifier with `python fit.py {config["dataset"]} --method "{name}"`'
        raise UserError(f'{folder} holds no weights: {remedy}')
    return Classifier(folder.name, folder, folder / models[0], config['method'], config, None, None)


def find_weights(config, checkpoint=None):
    """Path of the pretrained weights that a classifier needs: given, as when it was made, or of that name in src/."""
    if checkpoint:
        places = [expanded(checkpoint).resolve()]
    else:
        places = [pretrained.locate(config['checkpoint']), pretrained.locate(Path(config['checkpoint']).name)]
    path = next((place for place in places if pretrained.files_of(place)), None)
    network = pretrained.of(config)
    if path is None:
        raise UserError(f'the classifier needs the weights of {network.title}, and {places[-1]} does not exist: name the file with --checkpoint. '
                        f'{network.remedy}')
    if pretrained.digest(path) != config['weights_sha256']:
        raise UserError(f'{path} does not hold the weights of {network.title} that the classifier was made with (sha256 '
                        f'{config["weights_sha256"]}): name the right file with --checkpoint')
    return path


@dataclass(eq=False)
class Classifier:
    """A trained model that labels sounds.

    Attributes:
        name, folder: of the classifier; model: folder of its model.
        method: its name in tables, or the script that trained it.
        config: configuration of the model.
        seconds: median and longest duration of the training clips (dictionary), None where they are not known.
        calibration: from calibration.calibrate (dictionary); None for experiments: probabilities are as the model gives them then, and
            no sound is none of its classes.
    """
    name: str
    folder: Path
    model: Path
    method: str
    config: dict
    seconds: dict | None
    calibration: dict | None

    def save(self):
        """Write classifier.json, which makes the folder of its model a classifier."""
        write_json(self.folder / FILE, {
            'format': FORMAT, 'method': self.method, 'classes': self.classes, 'made': time.strftime('%Y-%m-%d %H:%M:%S'),
            'seconds': self.seconds, 'calibration': self.calibration, 'versions': versions(), 'config': self.config,
            'files': {name: content_digest(self.model / name) for name in MODEL_FILES if (self.model / name).is_file()}})

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.config['classes']

    @property
    def rate(self) -> int:
        """Hz of the samples that it takes."""
        return sample_rate(self.config['representation'])

    @property
    def window(self) -> float:
        """Seconds of a window of a long recording: as long as the training clips are, at most 10 s."""
        return min(self.seconds['median'], WINDOW) if self.seconds else 5.0

    @property
    def longest(self) -> float:
        """Seconds up to which a file is one clip."""
        return max(LONG, 2 * self.seconds['longest'] if self.seconds else 0)

    @functools.cached_property
    def similarities(self):
        return method_of(self.config).similarities(self.config)

    @functools.cached_property
    def _open(self):
        return functools.lru_cache(functools.partial(method_of(self.config).open, self.model, self.config))

    def scores(self, arrays):
        """Scores of the model: arrays of clips (list, as features.represent gives them) -> (S, C) float64."""
        names = range(len(arrays))
        bands = arrays[0].shape[-1]
        return self._open(bands)(ArraysInMemory(dict(zip(names, arrays))), names)

    def logits(self, arrays):
        """Logits of arrays of clips, (S, C): softmax(logits / temperature) are the probabilities."""
        return calibration.logits(self.scores(arrays), self.similarities)

    def decide(self, arrays, threshold=None):
        """A DataFrame with the COLUMNS after `file`, start and end, a row per array.

        Args:
            threshold: confidence below which a clip is none of the classes, see calibration.confidence; None: the classifier's own.
        """
        values, known = self.logits(arrays), self.calibration or {'temperature': 1.0, 'threshold': -np.inf}
        p = calibration.probabilities(values, known['temperature'])
        order = np.argsort(-p, axis=1, kind='stable')
        rows, names = np.arange(len(p)), np.array(self.classes, object)
        best = names[order[:, 0]]
        accepted = calibration.confidence(values, self.similarities) >= (known['threshold'] if threshold is None else threshold)
        return pd.DataFrame({'class': np.where(accepted, best, NONE), 'probability': p[rows, order[:, 0]], 'best': best,
                             'runner_up': names[order[:, 1]], 'runner_up_probability': p[rows, order[:, 1]]})

    def array_of(self, path: str | os.PathLike) -> np.ndarray:
        """The array of a whole sound file."""
        return compute(path, self.config['representation'])

    def predict_samples(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities (S, C) of clips, samples (length,) at `rate`, full scale = 1; columns in the order of `classes`.

        Raises UserError for no clips, and for a single clip without a list.
        """
        clips = [np.asarray(samples, np.float32) for samples in clips]
        wrong = [f'one of shape {samples.shape}' for samples in clips if samples.ndim != 1] if clips else ['none']
        if wrong:
            raise UserError(f'expected a list of clips, an array of samples (length,) each, found {wrong[0]}')
        arrays = [represent(samples, self.config['representation']) for samples in clips]
        return calibration.probabilities(self.logits(arrays), self.calibration['temperature'] if self.calibration else 1.0)

    def predict(self, files: Iterable[str | os.PathLike], **options) -> pd.DataFrame:
        """Decisions on sound files: a DataFrame with COLUMNS. Options: see decisions.

        Raises UserError without files, and for a file that cannot be used.
        """
        tables = []
        for path, rows in self.decisions(listed(files), **options):
            if isinstance(rows, UserError):
                raise UserError(f'{path}: {rows}')
            tables.append(rows)
        return pd.concat(tables, ignore_index=True)

    def decisions(self, files: Iterable[str | os.PathLike], window: float | None = None, hop: float | None = None, longest: float | None = None,
                  threshold: float | None = None) -> Iterator[tuple[str | os.PathLike, pd.DataFrame | UserError]]:
        """Yield (file, DataFrame with COLUMNS) of each file, or (file, UserError) where it cannot be used.

        Files up to `longest` seconds are one clip each. Longer ones give a row per window; memory is bounded by BATCH windows.

        Args:
            files: paths.
            window, hop, longest: seconds; None: the classifier's own window, half a window, and `Classifier.longest`.
            threshold: see decide.
        """
        longest, window = longest or self.longest, window or self.window
        hop = hop or window / 2
        waiting = []
        for path in files:
            seconds = seconds_of(path) if Path(path).is_file() else 0
            short = seconds is not None and seconds <= longest
            if short:
                waiting.append((path, seconds))
            if len(waiting) == BATCH or not short:
                yield from self._clips(waiting, threshold)
                waiting = []
            if not short:
                try:
                    yield path, self._windows(path, window, hop, threshold)
                except UserError as problem:
                    yield path, problem
        yield from self._clips(waiting, threshold)

    def _clips(self, files, threshold):
        """Yield the decisions on short files, a list of (path, seconds), each as a clip."""
        outcomes = joblib.Parallel(n_jobs=-1 if len(files) > 1 else 1, prefer='threads')(
            joblib.delayed(_array_or_error)(self, path) for path, _ in files)
        arrays = [array for array in outcomes if not isinstance(array, UserError)]
        decided = iter(self.decide(arrays, threshold).to_dict('records')) if arrays else None
        for (path, seconds), outcome in zip(files, outcomes):
            if isinstance(outcome, UserError):
                yield path, outcome
            else:
                yield path, pd.DataFrame([{'file': str(path), 'start': 0.0, 'end': seconds, **next(decided)}], columns=COLUMNS)

    def _windows(self, path, window, hop, threshold):
        """The decisions on the windows of a file, a DataFrame with COLUMNS."""
        tables, settings = [], self.config['representation']
        parts = windows(stream(path, self.rate), round(window * self.rate), max(1, round(hop * self.rate)))
        while batch := list(itertools.islice(parts, BATCH)):
            table = self.decide([represent(samples, settings) for _, samples in batch], threshold)
            starts, lengths = np.array([(start, len(samples)) for start, samples in batch]).T
            tables.append(table.assign(file=str(path), start=starts / self.rate, end=(starts + lengths) / self.rate))
        return pd.concat(tables, ignore_index=True)[COLUMNS]


def _array_or_error(classifier, path):
    try:
        return classifier.array_of(path)
    except UserError as problem:
        return problem


def windows(blocks, length, hop):
    """Cut a stream of sample blocks (n,) into windows: yield (first sample, samples (length,)).

    The last window ends with the stream. A stream that is shorter than a window is one window.
    """
    held, first, start = np.zeros(0, np.float32), 0, 0  # held begins at sample `first`; the next window at `start`
    for block in blocks:
        held = np.concatenate([held, block])
        while start + length <= first + len(held):
            yield start, held[start - first:start - first + length]
            start += hop
        keep = max(0, min(start, first + len(held) - length) - first)  # the last window may need what comes before the next one
        held, first = held[keep:], first + keep
    end = first + len(held)
    last = max(0, end - length)
    if end and (start == 0 or last > start - hop):
        yield last, held[last - first:]


# ---- events ----------------------------------------------------------------------------------------------------------

def events(rows):
    """Merge the windows of one file into events: a DataFrame with start, end, class and probability (the mean).

    Each window counts from halfway to the window before it to halfway to the next one. Windows with the same answer that follow each
    other are one event.
    Windows that are none of the classes make no event.
    """
    middle = ((rows['start'] + rows['end']) / 2).to_numpy()
    borders = np.concatenate([[rows['start'].iloc[0]], (middle[1:] + middle[:-1]) / 2, [rows['end'].iloc[-1]]])
    number = (rows['class'] != rows['class'].shift()).cumsum().to_numpy()
    found = [{'start': borders[own[0]], 'end': borders[own[-1] + 1], 'class': rows['class'].iloc[own[0]],
              'probability': rows['probability'].iloc[own].mean()}
             for own in (np.flatnonzero(number == i) for i in range(1, number[-1] + 1))]
    table = pd.DataFrame([event for event in found if event['class'] != NONE], columns=['start', 'end', 'class', 'probability'])
    return table.astype({'start': float, 'end': float, 'probability': float})
