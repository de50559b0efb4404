"""The network of an experiment: built and traced once, with new weights for every run; weights on disk."""
import functools
import os
import shutil

import h5py
import numpy as np

from experiment import Experiment, check_unheard, heard_by
from fewshot import PARTS
from results import config_hash
from scoring import Forms
from shared import UserError, atomic, data_folder, make_folder, read_json
from training import PRETRAINED_FACTOR, make_episode_step, make_statistics_step, make_train_step

WEIGHTS = 'model.weights.h5'


class Network:
    """A model, reused across the runs of an experiment and across equal experiments, to avoid retracing.

    Attributes: config (of the current experiment), model (a Keras model), save_weights (whether the weights of runs are
    written), the compiled functions train_step and episode_step (see training.make_...), and forms (see scoring.Forms), which
    are made when they are needed.
    """
    _built = {}

    @classmethod
    def of(cls, models, config, bands):
        """The network for an experiment: that of an earlier experiment with the same configuration hash, or a new one.

        Args: as for Network.
        """
        kind = config_hash(config), config['num_classes_dataset'], config.get('save_weights'), bands
        if kind not in cls._built:
            cls._built[kind] = cls(models, config, bands)
        cls._built[kind].config = config
        return cls._built[kind]

    def __init__(self, models, config, bands):
        """Build the model and print what it is. Raises UserError if the weights of load_model do not fit.

        Args:
            models: a module with build and name, e.g. models_sl.
            config: the experiment's configuration.
            bands: M of the representation.
        """
        self.config, self._build = config, functools.partial(models.build, config, bands)
        self.model, self.save_weights = self._build(), config.get('save_weights', True)
        path = find_weights(config.get('load_model'))
        self._load_weights = path and functools.partial(load_weights, path=path)
        self._foreign = path and path.parent.parent  # folder of the experiment that the weights come from
        if self._load_weights:
            self._load_weights(self.model)
        number = f' {config["model_number"]}' if 'model_number' in config else ''
        print(f'model{number}: {models.name(config)}, {count_parameters(self.model)} trainable parameters')

    @functools.cached_property
    def train_step(self):
        return make_train_step(self.model, self.config['weight_decay'], self.config['optimizer'],
                               self.config.get('pretrained_factor', PRETRAINED_FACTOR))

    @functools.cached_property
    def statistics_step(self):
        return make_statistics_step(self.model)

    @functools.cached_property
    def episode_step(self):
        return make_episode_step(self.model, self.config['distance'], self.config['num_classes_dataset'], self.config['optimizer'],
                                 self.config.get('pretrained_factor', PRETRAINED_FACTOR))

    @functools.cached_property
    def forms(self):
        return Forms(self.model)

    def start_experiment(self, split, again, wait):
        """Begin or continue the configuration's experiment; print its folder and the disk space it needs.

        Args: split, fewshot.DataSplit; again and wait, see experiment.Experiment.start.

        Returns experiment.Experiment, whose config includes split.identity.
        """
        sounds, remedy = {part: split.sounds(part) for part in PARTS}, 'choose other weights, or load_model=None'
        if self._foreign and split.test:
            check_unheard(self._foreign, split, remedy)
        if self._foreign:
            sounds['before'] = sorted(heard_by(self._foreign, remedy))
        experiment = Experiment.start(self.config | split.identity, again, wait, sounds)
        print(f'experiment: {experiment.folder}')
        self.announce_disk(self.config['num_experiment_runs'] - len(experiment.models()))
        return experiment

    def start_run(self, run):
        """Give the model the initial weights and the dropout state of run number `run`."""
        randomise(self.model, self._build, (self.config['seed'] * 100_003 + run) % 2 ** 32)
        if self._load_weights:
            self._load_weights(self.model)

    def announce_disk(self, runs):
        """Print how much disk space the weights of `runs` take, if it is much. Raises UserError if there is less."""
        wanted = runs * weights_size(self.model) if self.save_weights else 0
        make_folder(data_folder())
        free = shutil.disk_usage(data_folder()).free
        if wanted > 2e8:
            print(f'disk: the weights of {runs} run(s) will take {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free')
        if wanted > free:
            raise UserError(f'the weights of {runs} run(s) need {wanted / 1e9:.2f} GB, {data_folder()} has {free / 1e9:.2f} GB '
                            f'free: make room, choose another DATA_FOLDER, or set save_weights=False where the script has it')

    def save(self, folder):
        """Write the weights into a model folder; with save_weights=False, only the last layer (head.npz)."""
        if self.save_weights:
            save_weights(self.model, folder / WEIGHTS)
            return
        with atomic(folder / 'head.npz') as temporary:
            np.savez(temporary, **{variable.name: variable.numpy() for variable in self.model.layers[-1].variables})


def randomise(model, build, seed):
    """Give all variables of `model` the values that a new model from build(seed=seed) has."""
    for variable, value in zip(model.variables, build(seed=seed).variables, strict=True):
        variable.assign(value)


def count_parameters(model):
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def find_weights(load_model):
    """The weights file (Path) in the model folder `load_model`; None if that is None.

    A relative path is searched for under DATA_FOLDER and its experiments/.
    """
    if load_model is None:
        return None
    places = [root / load_model for root in (data_folder(), data_folder() / 'experiments')]
    found = [place / WEIGHTS for place in places if (place / WEIGHTS).is_file()]
    if not found:
        raise UserError(f'load_model={load_model!r}: no {WEIGHTS} in {places[0]}; give the folder of a finished model, e.g. '
                        f'experiments/fold_0_1541174334/model_fold0_1541174335')
    return found[0]


def load_trained(models, folder, config, bands):
    """The content of model.json and the model with the weights in a model folder; all weights come from there.

    Args: as supervised.opened.
    """
    model = models.build({**config, 'checkpoint': None}, bands)
    load_weights(model, folder / WEIGHTS)
    return read_json(folder / 'model.json', 'train again'), model


def save_weights(model, path):
    """Write the weights of a model, whole or not at all."""
    with atomic(path) as temporary:
        with open(temporary, 'wb') as file:  # detect a full disk here: in HDF5 it would crash the process at exit
            os.posix_fallocate(file.fileno(), 0, weights_size(model))
        model.save_weights(temporary)


def weights_size(model):
    """Upper limit of the bytes that save_weights writes: float32 values and names."""
    return 4 * model.count_params() + 4096 * len(model.variables) + 65536


def load_weights(model, path):
    """Load weights into `model`. Raises UserError for a damaged file or one of another architecture."""
    values = 0

    def count(name, item):
        nonlocal values
        values += item.size if isinstance(item, h5py.Dataset) and 'seed_generator' not in name else 0

    try:
        with h5py.File(path) as file:  # Keras does not check whether values are left over
            file.visititems(count)
        if values != model.count_params():
            raise ValueError(f'it holds {values} values, the model {model.count_params()}')
        states = [v for v in model.variables if not any(v is w for w in model.weights)]  # of dropout's generators
        before = [state.numpy() for state in states]
        model.load_weights(path)
        for state, value in zip(states, before):  # the state of dropout belongs to the run, not to the weights
            state.assign(value)
    except (ValueError, OSError, KeyError) as problem:
        raise UserError(f'{path} does not fit the model: it is damaged, or was trained with another model_number, '
                        f'filters, num_classes_dataset, n_frames or n_mels ({str(problem).splitlines()[0]})') from None
