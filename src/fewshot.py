"""Which clips a run may learn from: the parts of a data set, the seeded draw of a few clips per class, and episodes."""
import functools
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from experiment import ALL
from patches import Representation, mean_and_std
from shared import UserError, data_folder, read_classes, read_ground_truth, write_text


@dataclass(eq=False)
class Task:
    """A data set's parts as dictionaries id -> label (None where not asked for), ready to be loaded."""
    representation: Representation
    classes: list
    train: dict | None
    val: dict | None
    test: dict | None

    @classmethod
    def load(cls, config, wanted=('train', 'val', 'test'), expected=None):
        """Read and check the `wanted` parts that the configuration names, before any slow work begins.

        `expected` are the settings of the representation that a trained model belongs to.
        Raises UserError: missing or damaged files, clips without representation, clips in two parts, too few clips.
        """
        representation = Representation(config['audio_representation_folder'], config['dataset'], expected)
        if (representation.settings.get('type') == 'audioset') != ('checkpoint' in config):
            kind, entry = ('examples for VGGish', 'audioset') if 'checkpoint' in config else ('spectrograms', 'spec')
            raise UserError(f'{representation.folder} does not hold {kind}: set audio_representation_folder to a folder that does '
                            f'(python preprocess.py {entry} dataset={config["dataset"]})')
        parts = {}
        for part in ('train', 'val', 'test'):
            path = config.get(f'gt_{part}') if part in wanted else None
            labels = read_ground_truth(data_folder() / path, config['num_classes_dataset']) if path else None
            parts[part] = labels and representation.select(labels, path, config['skip_missing'])
            if parts[part] == {}:
                raise UserError(f'no clip of {path} has a representation in {representation.folder}')
        for a, b in (('train', 'test'), ('train', 'val'), ('val', 'test')):
            both = sorted(set(parts[a] or ()) & set(parts[b] or ()))
            if both:
                raise UserError(f'id {both[0]} and {len(both) - 1} more are in both {config["gt_" + a]} and '
                                f'{config["gt_" + b]}: make the index again with the script in aux/')
        task = cls(representation, read_classes(config['dataset']), **parts)
        if task.train:
            draw_clips(task.train, task.classes, config, run=0)  # fails now if a class has too few clips
        return task

    @functools.cached_property
    def data(self):
        """What the parts hold, in short: dictionary part -> digest of the ids, labels, sound files and their times."""
        parts = {'train': self.train, 'val': self.val, 'test': self.test}
        return {part: hashlib.sha256(''.join(f'{key}\t{self.classes[label]}\t{self.representation.audio[key]}\t'
                                             f'{self.representation.modified(key)}\n'
                                             for key, label in labels.items()).encode()).hexdigest()[:12]
                for part, labels in parts.items() if labels is not None}

    @property
    def identity(self):
        """What an experiment's configuration must say about its data besides its names: how it was made, and `data`."""
        return {'audio_rep': self.representation.settings, 'data': self.data}

    def draw(self, config, run, folder):
        """The training clips of a run, as ids and labels (lists); train_ids.tsv in `folder` keeps them with their classes."""
        ids = draw_clips(self.train, self.classes, config, run)
        labels = [self.train[key] for key in ids]
        write_text(folder / 'train_ids.tsv', ''.join(f'{key}\t{self.classes[label]}\n' for key, label in zip(ids, labels)))
        return ids, labels

    def statistics(self, config, ids):
        """(mean, std) of the input as the configuration asks: of the whole training part, of the clips `ids`, or two None."""
        if config['normalize'] is None:
            return None, None
        return mean_and_std(self.representation, ids if config['normalize'] == 'chosen' else self.train, config)


def task_key(config):
    """What Task.load asks of a configuration, for any n_shot: equal for experiments on the same data (tuple; dict() of it is
    a configuration to load)."""
    names = ('dataset', 'fold', 'seed', 'audio_representation_folder', 'gt_train', 'gt_val', 'gt_test', 'num_classes_dataset',
             'skip_missing', 'checkpoint')
    return *((name, config[name]) for name in names if name in config), ('n_shot', ALL)


def draw_clips(labels, classes, config, run):
    """The training clips of one run: n_shot per class, without replacement (list of ids, class by class).

    The draw depends on data set, fold, n_shot, run and seed alone, so that all methods learn from the same clips.

    Args:
        labels: id -> label of the training part.
        classes: class names.
        config: with dataset, fold, n_shot (a number or 'all') and seed.
        run: number of the run, from 0.
    """
    members = [[key for key, label in labels.items() if label == c] for c in range(len(classes))]
    n_shot = config['n_shot']
    short = [f'{name} ({len(ids)})' for name, ids in zip(classes, members) if len(ids) < (1 if n_shot == ALL else n_shot)]
    if short:
        fewest = min(len(ids) for ids in members)
        raise UserError(f'n_shot={n_shot}, but these classes have fewer training clips: {", ".join(short)}. ' +
                        (f'Choose n_shot up to {fewest}, or n_shot=all' if fewest else 'Every class needs a training clip'))
    if n_shot == ALL:
        return [key for ids in members for key in ids]
    rng = np.random.default_rng([config['seed'], zlib.crc32(config['dataset'].encode()), config['fold'], n_shot, run])
    return [ids[i] for ids in members for i in rng.choice(len(ids), n_shot, replace=False)]


def at_most(most, groups, rng):
    """Positions of `most` (a number or 'all') random members of each group, or all of a smaller one, without replacement.

    Args:
        groups: (N,) int, the group that each position belongs to.

    Returns an int array, group by group.
    """
    groups = np.asarray(groups)
    order = np.lexsort((rng.random(len(groups)), groups))
    first = np.searchsorted(groups[order], groups[order])  # where the group begins in this order
    return order if most == ALL else order[np.arange(len(order)) - first < most]


class Episodes:
    """The support set of a prototypical run, which stays the same, and query sets, drawn anew for every update.

    Source: the study's released experiments; see the README.

    Attributes: support (P,) numbers of the support patches, class by class; updates (in an epoch).
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
