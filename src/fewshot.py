"""Which clips a run may learn from: the split of a data set, the seeded draw of a few clips per class, and episodes."""
import csv
import functools
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configuration import ALL, select
from patches import mean_and_std
from representation import SPECTROGRAMS, Representation, parameters
from shared import UserError, data_folder, ground_truth_path, read_classes, read_ground_truth, write_text

PARTS = ('train', 'val', 'test')


@dataclass(eq=False)
class DataSplit:
    """The training, validation and test set of a fold: dictionaries id -> label, None for sets that were not asked for."""
    representation: Representation
    classes: list
    train: dict | None
    val: dict | None
    test: dict | None
    others: dict  # part -> labels, of the fold's sets that were not loaded, as far as there are arrays

    @classmethod
    def load(cls, config, kind=SPECTROGRAMS, parts=PARTS, expected=None, optional=(), opened=None):
        """Read and check the sets that the configuration names.

        Args:
            config: of an experiment; its keys of role data count, and n_shot, if the training set is read.
            kind: representation.Kind that the method reads.
            parts: which sets are needed.
            expected: parameters of the representation that a trained model belongs to; None while training.
            optional: sets among `parts` whose ground truth may be missing.
            opened: cache of representations that splits of the same data share, a dictionary that this call extends; only without `expected`.

        Raises UserError: missing or damaged files, clips without representation, clips or sounds in two sets, sounds replaced
        since the representation was made, too few clips.
        """
        place, opened = (config['audio_representation_folder'], config['dataset'], kind), {} if opened is None else opened
        if place not in opened:
            opened[place] = Representation(*place, expected)
        representation = opened[place]
        sets = {}
        for part in PARTS:
            path = config.get(f'gt_{part}') if part in parts else None
            if part in optional and path and not (data_folder() / path).exists():
                path = None
            labels = read_ground_truth(data_folder() / path, config['num_classes_dataset']) if path else None
            sets[part] = labels and representation.select(labels, path, config['skip_missing'])
            if sets[part] == {}:
                raise UserError(f'no clip of {path} has a representation in {representation.folder}')
        for a, b in (('train', 'test'), ('train', 'val'), ('val', 'test')):
            both = sorted(set(sets[a] or ()) & set(sets[b] or ()))
            if both:
                raise UserError(f'id {both[0]} and {len(both) - 1} more are in both {config["gt_" + a]} and '
                                f'{config["gt_" + b]}: make the index again with the script in aux/')
        split = cls(representation, read_classes(config['dataset']), **sets, others=_other_labels(config, sets, representation))
        representation.check_sounds([key for labels in sets.values() for key in labels or ()])
        if copies := set(split.sounds('train')) & set(split.sounds('test')):
            print(f'note: {len(copies)} sounds are in the training and in the test set of {config["dataset"]} fold {config["fold"]}, '
                  f'as files with identical content')
        if split.train:
            check_draw(split.train, split.classes, config)
        return split

    def sounds(self, part):
        """The digests of the sounds of a set, in its order (list of str); [] for a set that was not loaded."""
        return [self.representation.digest(key) for key in getattr(self, part) or ()]

    @functools.cached_property
    def data(self):
        """Hashes of what the sets hold, of the sounds and their labels, whatever their names: dictionary part -> hash.

        The part 'all' stands for the labels of all sounds of the fold, in no order: equal for all folds of one state of the data.
        """
        loaded = {part: labels for part in PARTS if (labels := getattr(self, part)) is not None}
        lines = {part: self._lines(labels) for part, labels in (loaded | self.others).items()}
        everything = sorted({line for part in lines.values() for line in part})
        return {**{part: hash_of(lines[part]) for part in loaded}, 'all': hash_of(everything)}

    def _lines(self, labels):
        return [f'{self.classes[label]}\t{self.representation.digest(key)}\n' for key, label in labels.items()]

    def learned_by(self, config):
        """Whether the fold's training set is the one that the experiment of a configuration learned from, although it may not be loaded."""
        now = self.others.get('train') if self.train is None else self.train
        return now is not None and hash_of(self._lines(now)) == config.get('data', {}).get('train')

    @property
    def identity(self):
        """What an experiment's configuration keeps of its data: parameters of the representation, class names, and `data`."""
        return {'representation': parameters(self.representation.settings), 'classes': self.classes, 'data': self.data}

    def draw(self, config, run, folder):
        """The training clips of a run, as ids and labels (lists); train_ids.tsv in `folder` lists them with their classes."""
        ids = draw_clips(self.train, self.classes, config, run)
        labels = [self.train[key] for key in ids]
        write_text(folder / 'train_ids.tsv', ''.join(f'{key}\t{self.classes[label]}\n' for key, label in zip(ids, labels)))
        return ids, labels

    def statistics(self, config, ids):
        """(mean, std) for `normalize`: of the whole training set, of the clips `ids`, or (None, None)."""
        if config['normalize'] is None:
            return None, None
        return mean_and_std(self.representation, ids if config['normalize'] == 'chosen' else self.train, config)


def read_drawn(folder):
    """The training clips of a run, from what DataSplit.draw wrote into its model folder: DataFrame with id and class (both str)."""
    return pd.read_csv(folder / 'train_ids.tsv', sep='\t', header=None, names=['id', 'class'], dtype=str, keep_default_na=False,
                       quoting=csv.QUOTE_NONE)


def hash_of(lines):
    """A short hash of lines of text (str)."""
    return hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]


def _other_labels(config, sets, representation):
    """See DataSplit.others."""
    labels = {}
    for part in PARTS:
        path = data_folder() / (config.get(f'gt_{part}') or ground_truth_path(config['dataset'], config['fold'], part))
        if sets[part] is None and path.exists():
            found = read_ground_truth(path, config['num_classes_dataset'])
            labels[part] = {key: label for key, label in found.items() if key in representation.paths}
    return labels


def split_key(config):
    """What DataSplit.load reads of a configuration, for any n_shot and seed: equal for experiments on the same data (tuple)."""
    return tuple(sorted(select(config, 'data').items(), key=str)) + (('n_shot', ALL), ('allow_fewer', True))


def check_draw(labels, classes, config):
    """Raise UserError unless every class has n_shot clips (a number or 'all'; with allow_fewer: one) among `labels` (id -> label)."""
    counts, n_shot = np.bincount(list(labels.values()), minlength=len(classes)), config['n_shot']
    needed = 1 if n_shot == ALL or config.get('allow_fewer') else n_shot
    short = [f'{name} ({count})' for name, count in zip(classes, counts) if count < needed]
    if short:
        raise UserError(f'n_shot={n_shot}, but these classes have fewer training clips: {", ".join(short)}. ' +
                        (f'Choose n_shot up to {counts.min()}, n_shot=all, or allow_fewer=True' if counts.min() else
                         'Every class needs a training clip'))


def draw_clips(labels, classes, config, run):
    """The training clips of one run: n_shot per class, without replacement (list of ids, class by class).

    With allow_fewer, all clips of classes that have fewer. The draw depends on data set, fold, n_shot, run and seed alone, so that all
    methods learn from the same clips.

    Args:
        labels: id -> label of the training set.
        classes: class names.
        config: with dataset, fold, n_shot (a number or 'all') and seed.
        run: number of the run, from 0.
    """
    check_draw(labels, classes, config)
    members = [[key for key, label in labels.items() if label == c] for c in range(len(classes))]
    n_shot = config['n_shot']
    if n_shot == ALL:
        return [key for ids in members for key in ids]
    rng = np.random.default_rng([config['seed'], zlib.crc32(config['dataset'].encode()), config['fold'], n_shot, run])
    return [ids[i] for ids in members for i in rng.choice(len(ids), min(n_shot, len(ids)), replace=False)]


def at_most(most, groups, rng):
    """Positions of `most` (a number or 'all') random members of each group, without replacement; all of a smaller group.

    Args:
        groups: (N,) int, the group that each position belongs to.

    Returns an int array, group by group.
    """
    groups = np.asarray(groups)
    order = np.lexsort((rng.random(len(groups)), groups))
    first = np.searchsorted(groups[order], groups[order])  # where the group begins in this order
    return order if most == ALL else order[np.arange(len(order)) - first < most]


class Episodes:
    """The support set of a prototypical run, drawn once, and its query sets, one for every update.

    Source: the study's released experiments; see docs/deviations.md.

    Attributes: support (P,), numbers of the support patches, class by class; updates, their number in an epoch.
    """

    def __init__(self, clip, labels, config, rng):
        """Draw the support set: a random patch of each of at most patches_per_prototype clips of a class.

        Args:
            clip: (N,) int, the clip of each training patch.
            labels: (N,) int, its class.
            config: with patches_per_prototype and max_patches_per_class, numbers or 'all'.
            rng: generator of all draws.
        """
        self._labels, self._most, self._rng = labels, config['max_patches_per_class'], rng
        candidates = at_most(1, clip, rng)
        self.support = candidates[at_most(config['patches_per_prototype'], labels[candidates], rng)]
        counts = np.bincount(labels)
        self.updates = len(labels) // int(counts.sum() if self._most == ALL else np.minimum(counts, self._most).sum())

    def query(self):
        """Numbers (Q,) of the query patches of an update: at most max_patches_per_class of all patches of each class."""
        return at_most(self._most, self._labels, self._rng)
