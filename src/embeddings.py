"""Embeddings of clips by a pretrained network, computed once per weights file and stored on disk."""
import hashlib
import json

import numpy as np
from tqdm import tqdm

import pretrained
from patches import prefetch
from representation import parameters, save_array
from shared import PROGRESS, UserError, data_folder, locked, write_json


def of_split(split, config):
    """embeddings_of the training and test clips of a fewshot.DataSplit."""
    return embeddings_of([*split.train, *split.test], split.representation, config)


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
        pending = [key for key in keys if not is_complete(targets[key])]
        if pending:
            write_json(folder / 'config.json', about)
            embed_and_store(pending, representation, config, targets)
    return {key: np.load(targets[key]) for key in keys}


def is_complete(path):
    """Whether a file is a complete float32 array."""
    try:
        return np.load(path, mmap_mode='r', allow_pickle=False).dtype == np.float32
    except (OSError, ValueError, EOFError):
        return False


def embed_and_store(keys, representation, config, targets):
    """Compute and store the embeddings of clips."""
    import models_transfer  # imported here, because TensorFlow takes seconds to start and is rarely needed
    from backend import set_up_device, tf
    set_up_device()
    model = models_transfer.build({key: value for key, value in config.items() if key != 'n_frames'})
    embed = tf.function(lambda examples: model(examples, training=False), input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])
    for key, rows in tqdm(embed_clips(embed, keys, representation, config), desc='embeddings', total=len(keys), unit='clip',
                          **PROGRESS):
        if not np.isfinite(rows).all():
            raise UserError(f'the embeddings of id {key} are not finite: {data_folder() / representation.paths[key]} or the weights '
                            f'are damaged. Delete that file and {representation.remedy.replace(" first", " again")}')
        save_array(targets[key], rows, representation.digest(key))


def embed_clips(embed, keys, representation, config):
    """Yield (id, (W, D)) of the windows of each clip. Clips of equal length share batches of test_batch_size windows."""
    for batch in prefetch(batches(keys, representation, config)):
        rows = embed(np.concatenate([windows for _, windows in batch])).numpy()
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
