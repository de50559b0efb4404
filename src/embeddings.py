"""Embeddings of clips by a pretrained network, computed once per weights file and stored on disk."""
import hashlib
import json

import numpy as np
from tqdm import tqdm

import pretrained
from patches import patch_batches, prefetch
from representation import parameters, save_array
from shared import PROGRESS, UserError, data_folder, locked, write_json


def embeddings_of(keys, representation, config):
    """Embeddings of clips: dictionary id -> (examples, D) float32. Those that are not on disk are computed first.

    Args:
        keys: ids.
        representation: representation.Representation with the network's examples.
        config: from pretrained.complete, with a checkpoint; test_batch_size examples are embedded at once.
    """
    about = {'weights_sha256': config['weights_sha256'], **parameters(representation.settings)}
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
    from backend import set_up_device
    from scoring import make_scorer
    set_up_device()
    embed = make_scorer(models_transfer.build(config))
    for key, rows in tqdm(embed_clips(embed, keys, representation, config), desc='embeddings', total=len(keys), unit='clip',
                          **PROGRESS):
        if not np.isfinite(rows).all():
            raise UserError(f'the embeddings of id {key} are not finite: {data_folder() / representation.paths[key]} or the checkpoint is damaged. Delete that '
                            f'file and {representation.remedy.replace(" first", " again")}')
        save_array(targets[key], rows, representation.digest(key))


def embed_clips(embed, keys, representation, config):
    """Yield (id, (examples, D)) clip by clip. Batches span clips; memory holds one batch and one clip."""
    rows, owners = np.empty((0, pretrained.of(config).embedding_size), np.float32), np.empty(0, int)
    for frames, starts, clip in prefetch(patch_batches(representation, keys, config, 1, config['test_batch_size'])):
        rows, owners = np.concatenate([rows, embed(frames, starts).numpy()]), np.concatenate([owners, clip])
        whole = owners < owners[-1]  # the last clip may go on in the next batch
        for number in np.unique(owners[whole]):
            yield keys[number], rows[owners == number]
        rows, owners = rows[~whole], owners[~whole]
    yield keys[owners[0]], rows
