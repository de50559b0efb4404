"""Embeddings of clips by a pretrained network, computed once per weights file and stored on disk."""
import functools
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

import config_file
import pretrained
from features import compute
from patches import prefetch
from representation import ArraysInMemory, parameters, save_array
from shared import PROGRESS, UserError, data_folder, expanded, listed, locked, write_json


def of_split(split, config):
    """embeddings_of the training and test clips of a fewshot.DataSplit; those of the last few splits stay in memory."""
    keys = 'network', 'checkpoint', 'weights_sha256', 'embedding_layer', 'test_batch_size'
    return _of_split(split, tuple((key, config[key]) for key in keys if key in config))


@functools.lru_cache(maxsize=4)
def _of_split(split, config):
    return embeddings_of([*split.train, *split.test], split.representation, dict(config))


def embeddings_of(keys, representation, config):
    """Embeddings of clips: dictionary id -> (examples, D) float32. Those that are not on disk are computed first.

    Args:
        keys: ids.
        representation: representation.Representation with the network's examples.
        config: from pretrained.complete, with a checkpoint; test_batch_size examples are embedded at once.
    """
    about = {'weights_sha256': config['weights_sha256'], 'embedding_layer': config.get('embedding_layer', 'embedding'),
             **parameters(representation.settings)}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = representation.folder.with_name(f'{representation.folder.name}__{config["network"]}_{digest}')
    targets = {key: folder / f'{representation.digest(key)}.npy' for key in keys}  # named by the content of the sound
    with locked(folder.with_name(f'.lock_{folder.name}')):
        found = {key: stored(targets[key]) for key in keys}
        pending = [key for key in keys if found[key] is None]
        if pending:
            write_json(folder / 'config.json', about)
            found.update(embed_and_store(pending, representation, config, targets))
    return found


def embed_files(paths: Sequence[str | os.PathLike], network: str = 'mn04', checkpoint: str | os.PathLike | None = None) -> np.ndarray:
    """Embeddings of sound files, a vector each: (S, D) float32, the mean over the windows of a file. Nothing is stored.

    Args:
        paths: of the files.
        network: key of pretrained.NETWORKS.
        checkpoint: path of its weights; None: where config_file.py expects them.

    Raises UserError without paths, for the first file that cannot be used, for an unknown network, and without weights.
    """
    paths, name = listed(paths), pretrained.of({'network': network}).entry
    entry = config_file.config_frozen[name]
    weights = str(expanded(checkpoint).resolve()) if checkpoint else entry['checkpoint']
    config = pretrained.complete({**entry, 'checkpoint': weights})
    settings = config_file.config_preprocess[name]
    arrays = ArraysInMemory({str(path): compute(path, settings) for path in paths})
    found = dict(embed_clips(embedder(config), list(map(str, paths)), arrays, config))
    return np.stack([found[str(path)].mean(axis=0) for path in paths])


def stored(path):
    """A complete float32 array on disk; None where there is none."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.dtype == np.float32 else None


def embed_and_store(keys, representation, config, targets):
    """Compute, store and return the embeddings of clips: dictionary id -> (examples, D) float32."""
    from backend import set_up_device  # imported here, because TensorFlow takes seconds to start and is rarely needed
    set_up_device()
    found = {}
    for key, rows in tqdm(embed_clips(embedder(config), keys, representation, config), desc='embeddings', total=len(keys), unit='clip',
                          **PROGRESS):
        if not np.isfinite(rows).all():
            raise UserError(f'the embeddings of id {key} are not finite: {data_folder() / representation.paths[key]} or the weights '
                            f'are damaged. Delete that file and {representation.again}')
        save_array(targets[key], rows, representation.digest(key))
        found[key] = rows
    return found


def embedder(config):
    """A compiled function: examples (N, F, M) -> embeddings (N, D) by the configuration's network, in evaluation mode."""
    import mobilenet  # TensorFlow takes seconds to start
    model = network(config)
    mobilenet.fold_normalisation(model)
    return compiled(model)


def network(config):
    """The configuration's network without a head, for clips of any length that it takes: (N, F, M) -> (N, D)."""
    import models_transfer  # TensorFlow takes seconds to start
    return models_transfer.build({key: value for key, value in config.items() if key != 'n_frames'})


def compiled(model):
    """A compiled function: examples (N, F, M) -> embeddings (N, D), in evaluation mode."""
    from backend import tf
    return tf.function(lambda examples: model(examples, training=False), input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])


def embed_clips(embed, keys, representation, config):
    """Yield (id, (W, D)) of the windows of each clip. Clips of equal length share batches of test_batch_size windows."""
    for batch in prefetch(batches(keys, representation, config)):
        windows = np.concatenate([windows for _, windows in batch])
        # a window alone would be computed by other kernels, whose results differ in the last digit: never alone, it gets the same
        # embedding whichever clips share its batch, e.g. after an interruption
        rows = embed(windows if len(windows) > 1 else np.repeat(windows, 2, axis=0)).numpy()[:len(windows)]
        yield from zip([key for key, _ in batch], np.split(rows, np.cumsum([len(windows) for _, windows in batch])[:-1]))


def batches(keys, representation, config):
    """Yield lists of (id, windows (W, F, M)): as many clips of equal F as fit into test_batch_size windows, at least one."""
    network, batch = pretrained.of(config), []
    for key in keys:
        windows = network.front_end.windows(np.asarray(representation.open(key, flat=False)))
        full = sum(len(others) for _, others in batch) + len(windows) > config['test_batch_size']
        if batch and (full or windows.shape[1] != batch[0][1].shape[1]):
            yield batch
            batch = []
        batch.append((key, windows))
    yield batch
