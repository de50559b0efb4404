"""Which clips a run may learn from: the parts of a data set, and the seeded draw of a few clips per class."""
import zlib
from dataclasses import dataclass

import numpy as np

from experiment import ALL
from patches import Representation
from shared import UserError, data_folder, read_classes, read_ground_truth


@dataclass
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
