"""The network of an experiment: built and traced once, with new weights for every run; weights on disk."""
import functools
import tempfile
from pathlib import Path

import h5py
import numpy as np

from backend import keras
from experiment import WEIGHTS
from shared import UserError, atomic, data_folder


class Network:
    """A model that serves all runs of an experiment, because a new one for every run would be traced anew.

    Attributes: model (a Keras model).
    """

    def __init__(self, models, config, bands):
        """Build it and say what it is; weights to start from that do not fit are refused now.

        Args:
            models: models_sl or models_proto.
            config: the experiment's configuration.
            bands: M of the representation.
        """
        self.config, self._build = config, functools.partial(models.build, config, bands)
        self.model = self._build()
        self._load_weights = find_weights(config['load_model'])
        if self._load_weights:
            self._load_weights(self.model)
        print(f'model {config["model_number"]}: {models.name(config)}, {count_parameters(self.model)} trainable parameters')

    def begin(self, run):
        """Give the model the weights that run number `run` begins with, and a dropout of its own."""
        randomise(self.model, self._build, (self.config['seed'] * 100_003 + run) % 2 ** 32)
        if self._load_weights:
            self._load_weights(self.model)


def randomise(model, build, seed):
    """Give all variables of `model` the values that a new model from build() has for this seed."""
    keras.utils.set_random_seed(seed)
    for variable, fresh in zip(model.variables, build().variables, strict=True):
        variable.assign(fresh)


def count_parameters(model):
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def find_weights(load_model):
    """A function that loads the weights of a model folder into a model, or None when `load_model` is None.

    A relative path is looked for under DATA_FOLDER and its experiments/.
    """
    if load_model is None:
        return None
    places = [root / load_model for root in (data_folder(), data_folder() / 'experiments')]
    found = [place / WEIGHTS for place in places if (place / WEIGHTS).is_file()]
    if not found:
        raise UserError(f'load_model={load_model!r}: no {WEIGHTS} in {places[0]}; give the folder of a finished model, e.g. '
                        f'experiments/fold_0_1541174334/model_fold0_1541174335')
    return functools.partial(load_weights, path=found[0])


def save_weights(model, path):
    """Write the weights of a model, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:  # a write that fails in HDF5 would crash the process when it ends
        model.save_weights(Path(folder, WEIGHTS))
        with atomic(path) as temporary:
            temporary.write_bytes(Path(folder, WEIGHTS).read_bytes())


def load_weights(model, path):
    """Load weights into `model`; a damaged file or one of another architecture is refused."""
    values = 0

    def count(name, item):
        nonlocal values
        values += item.size if isinstance(item, h5py.Dataset) and 'seed_generator' not in name else 0

    try:
        with h5py.File(path) as file:  # Keras itself is content when every layer finds its values, whatever is left over
            file.visititems(count)
        if values != model.count_params():
            raise ValueError(f'it holds {values} values, the model {model.count_params()}')
        states = [v for v in model.variables if not any(v is w for w in model.weights)]  # of dropout's generators
        before = [state.numpy() for state in states]
        model.load_weights(path)
        for state, value in zip(states, before):  # dropout belongs to the run, not to the weights
            state.assign(value)
    except (ValueError, OSError, KeyError) as problem:
        raise UserError(f'{path} does not fit the model: it is damaged, or was trained with another model_number, '
                        f'num_classes_dataset, n_frames or n_mels ({str(problem).splitlines()[0]})') from None
