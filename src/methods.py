"""The methods of the study: for each its dictionary in config_file.py, its input, its training, and the main of its scripts.

A new kind of method is one more entry of METHODS; modules below this one know no script by name.
"""
import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import config_file
import embeddings
import pretrained
import representation
import shallow
from configuration import KEYS, configuration_from_command_line, configure, parse_arguments
from experiment import check_unheard, draw_confusion, draw_training, find_experiment, finished_models
from fewshot import PARTS, DataSplit, split_key
from results import experiments_folder
from shared import UserError, atomic

# ---- the networks of each method: functions () -> a module with build and name -------------------------------------------
# (TensorFlow is imported when it is needed: it takes seconds to start)

def cnns():
    import models_sl
    return models_sl


def embedding_networks():
    import models_proto
    return models_proto


def fine_tuned():
    import models_transfer
    return models_transfer.CLASSIFIER


def fine_tuned_embeddings():
    import models_transfer
    return models_transfer.EMBEDDING


# ---- how each method is trained ----------------------------------------------------------------------------------------

def deferred(module, function, models):
    """A function of a module with TensorFlow, called with models() and its arguments. The module is imported at the first call."""
    return lambda *arguments, **options: getattr(importlib.import_module(module), function)(models(), *arguments, **options)


def classify_mfcc(config, split, again=True, wait=True):
    return shallow.train('knn_mfcc', shallow.stored_vectors(split), config, split, again, wait)


def nearest_embeddings(config, split, again=True, wait=True):
    name = 'knn_audioset' if config['network'] == 'vggish' else f'{config["network"]} nearest'
    return shallow.train(name, embeddings.of_split(split, config), config, split, again, wait)


def classify_embeddings(config, split, again=True, wait=True):
    name = f'{config["network"]} {config["classifier"].replace("_", " ")}'
    return shallow.train(name, embeddings.of_split(split, config), config, split, again, wait)


# ---- one model of all clips of a split: function (folder, config, split) that writes it, as Method.open reads it ---------

def fit_network(train, *files, **options):
    """The fit of methods with a network: an ordinary experiment, trained with `options`, whose `files` are copied."""
    def fit(folder, config, split):
        experiment = experiments_folder() / train(config, split, again=False, **options)
        model, = finished_models(experiment)
        for file in ('model.json', 'model.weights.h5', *files):
            with atomic(folder / file) as temporary:
                shutil.copyfile(experiment / model / file, temporary)
    return fit


def fit_head(folder, config, split):
    features = embeddings.embeddings_of(list(split.train), split.representation, config)
    shallow.fit(folder, features, config, split)


def fit_mfcc(folder, config, split):
    shallow.fit(folder, shallow.single_vectors(split.representation, split.train), config, split)


# ---- trained models for other clips, see supervised.opened and Method.open ----------------------------------------------

def open_head(folder, config, bands):
    score, embed = shallow.opened(folder, config), embeddings.embedder(config)
    return lambda arrays, names: score(dict(embeddings.embed_clips(embed, names, arrays, config)), names)


def open_mfcc(folder, config, bands):
    score = shallow.opened(folder, config)
    return lambda arrays, names: score(shallow.single_vectors(arrays, names), names)


# ---- registry --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Method:
    """What experiments of one dictionary of config_file.py have in common.

    Attributes:
        group: name of the dictionary.
        script: name of the script that trains, without .py; the key `method` of an experiment.
        kind: representation.Kind that it reads; None: that of its pretrained network.
        train: function (config, split, again, wait) -> id of the experiment, which has all its runs then.
        fit: function (folder, config, split) that fits one model to all training clips of a split and writes it into a folder.
        open: function (model folder, config, bands) -> function (representation.ArraysInMemory, names) -> scores of clips (S, C).
        evaluate: function (folder, config, split) that scores trained models again; None: they are scored when they are trained, only.
        evaluate_script: name of the script that does that. It also scores what `script` has trained.
        models: function () -> module of its networks, with build and name; None: no network learns.
        pretrained: whether it starts from a network of pretrained.NETWORKS.
        needs_weights: whether random weights (checkpoint=None) are no choice.
        entry: the entry of the dictionary that its script takes when it is not told another; None: the script's first argument
            must name one.
        similarities: function (config) -> whether the scores of its models are similarities or log-probabilities, not probabilities.
    """
    group: str
    script: str
    kind: representation.Kind | None
    train: Callable
    fit: Callable
    open: Callable
    evaluate: Callable | None = None
    evaluate_script: str | None = None
    models: Callable | None = None
    pretrained: bool = False
    needs_weights: bool = False
    entry: str | None = None
    similarities: Callable = lambda config: False

    @property
    def network(self):
        """Whether a network learns, with TensorFlow."""
        return self.models is not None

    @property
    def applies_network(self):
        """Whether its trained models need TensorFlow."""
        return self.network or self.pretrained

    def kind_of(self, config):
        """The representation.Kind that a configuration reads."""
        if self.kind:
            return self.kind
        network = pretrained.of(config)
        return representation.Kind(f'the input of {network.title}', (network.type,), 'preprocess.py', network.entry)

    @property
    def parts(self):
        """The sets that it reads: the validation set only where its configuration can name one."""
        entries = getattr(config_file, self.group).values()
        return PARTS if any('gt_val' in entry for entry in entries) else ('train', 'test')

    def configure(self, name, arguments=(), **values):
        """The complete configuration of an experiment, see configuration.configure."""
        return self.complete(configure(self.group, name, arguments, **values))

    def complete(self, config):
        """A configuration with what follows from the method."""
        config = {**config, 'method': self.script}
        if config.get('optimizer') == 'many_lr_audioset' and not self.pretrained:
            raise UserError("optimizer='many_lr_audioset' is not valid here, it has a learning rate of its own for a pretrained "
                            "network: expected 'SGD_clip'")
        if self.needs_weights:
            pretrained.path_of(config)
        if self.pretrained:
            return pretrained.complete(config)
        return config if self.kind.entry else representation.complete(config, type=self.kind.types[0])

    def split_key(self, config):
        """What load_split reads of a configuration, for any n_shot and seed: equal for experiments on the same data (tuple)."""
        return split_key(config) + ((('network', config['network']),) if self.pretrained else ())

    def load_split(self, config, parts=None, expected=None, optional=(), opened=None):
        """The DataSplit of a configuration, see fewshot.DataSplit.load."""
        return DataSplit.load(config, self.kind_of(config), parts or self.parts, expected, optional, opened)


def supervised_method(group, script, kind, models, evaluate_script, **more):
    """The Method of networks that learn to classify."""
    train, opened, evaluate = (deferred('supervised', function, models) for function in ('train', 'opened', 'evaluate'))
    return Method(group, script, kind, train, fit_network(train, score=False), opened, evaluate, evaluate_script, models=models,
                  **more)


def prototypical_method(group, script, kind, models, **more):
    """The Method of networks that learn to embed."""
    train, opened = (deferred('prototypical', function, models) for function in ('train', 'opened'))
    return Method(group, script, kind, train, fit_network(train, 'prototypes.npz'), opened, models=models, similarities=lambda config: True,
                  **more)


METHODS = {method.group: method for method in (
    supervised_method('config_sl', 'sl_train', representation.SPECTROGRAMS, cnns, 'sl_evaluate.py'),
    prototypical_method('config_proto', 'proto', representation.SPECTROGRAMS, embedding_networks),
    supervised_method('config_transfer', 'transfer_train', None, fine_tuned, 'transfer_evaluate.py', pretrained=True),
    prototypical_method('config_transfer_proto', 'transfer_proto', None, fine_tuned_embeddings, pretrained=True),
    Method('config_knn_audioset', 'knn_audioset', None, nearest_embeddings, fit_head, open_head, pretrained=True, needs_weights=True,
           entry='audioset'),
    Method('config_frozen', 'frozen', None, classify_embeddings, fit_head, open_head, pretrained=True, needs_weights=True,
           similarities=lambda config: shallow.head_of(config).similarities),
    Method('config_knn_mfcc', 'knn_mfcc', representation.MFCC, classify_mfcc, fit_mfcc, open_mfcc, entry='mfcc'),
)}


def method_of(config):
    """The Method that an experiment's configuration belongs to."""
    return next(method for method in METHODS.values() if method.script == config['method'])


def start_tensorflow():
    """Set up the device. To be called after all checks, and only if a network is needed: TensorFlow takes seconds to start."""
    import backend
    backend.set_up_device()


# ---- the main of the scripts -----------------------------------------------------------------------------------------

def train_from_command_line(doc, group, before=None):
    """Configure, load the data, train and print the next command.

    Args:
        doc: the script's docstring, for --help.
        group: key of METHODS.
        before: function (config) called before the data are loaded, e.g. to compute features; None: nothing.
    """
    method = METHODS[group]
    config = method.complete(configuration_from_command_line(doc, group, method.entry))
    if before:
        before(config)
    later = method.evaluate_script if config.get('save_weights', True) else None
    # a script that only trains does not need the test set, but learns from it which sounds must not be in it
    split = method.load_split(config, optional=('test',) if later else ())
    if method.network:
        start_tensorflow()
    experiment = method.train(config, split, **{'score': False} if later else {})
    draw_confusion(experiments_folder() / experiment)
    draw_training(experiments_folder() / experiment)
    print(f'next: python {later} {experiment}' if later else
          f'results: experiments/{experiment}\nnext: python report.py dataset={config["dataset"]}')


def evaluate_from_command_line(doc, group):
    """Find the experiment that a script is asked to evaluate, load its test set, score its models and print the next command."""
    method = METHODS[group]
    entries = getattr(config_file, group)
    keys = {'gt_test', 'skip_missing', 'sliding', *(key for key, (_, role) in KEYS.items() if role == 'evaluation')}
    keys = sorted(keys & set().union(*entries.values()))
    name, arguments = parse_arguments(doc, 'experiment', 'folder name below experiments/, or latest',
                                      keys=f'set an option for this evaluation: {", ".join(keys)}')
    folder, config = find_experiment(name, method.script, f'python {method.script}.py {next(iter(entries))}', arguments, keys)
    if not config.get('save_weights', True):
        raise UserError(f'{folder.name} was trained with save_weights=False: it was evaluated then, and its weights were not saved. '
                        f'Its results are in {folder}; train with save_weights=True to evaluate later')
    split = method.load_split(config, ('test',), expected=config['representation'])
    if split.classes != config['classes']:
        raise UserError(f'{folder.name} was trained on the classes {", ".join(config["classes"])}, {config["dataset"]} has '
                        f'{", ".join(split.classes)} now: train again, or restore the index')
    check_unheard(folder, split, 'train again, or restore the index')
    start_tensorflow()
    method.evaluate(folder, config, split)
    draw_confusion(folder)
    print(f'results: {folder}\nnext: python report.py dataset={config["dataset"]}')
