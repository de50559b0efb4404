"""VGGish embeddings of clips, computed once per checkpoint and kept on disk."""
import hashlib
import json

import numpy as np
from tqdm import tqdm

import vggish_params
from patches import ahead, patch_batches
from representations import is_up_to_date, keep_array, parameters
from shared import PROGRESS, UserError, data_folder, locked, write_json


def embeddings_of(keys, representation, config):
    """Embeddings of clips: dictionary id -> (examples, 128) float32. What is not on disk yet is computed first.

    Args:
        keys: ids.
        representation: patches.Representation of type audioset.
        config: from checkpoint.configuration, with a checkpoint; test_batch_size is how many examples are embedded at once.
    """
    # examples that were made in another way have the times of the same sound files, and need a folder of their own
    about = {'checkpoint_sha256': config['checkpoint_sha256'], **parameters(representation.settings)}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = representation.folder.with_name(f'{representation.folder.name}__vggish_{digest}')
    sources = {key: data_folder() / representation.paths[key] for key in keys}
    # named by the sound: ids may mean other sounds once the index was made again
    targets = {key: folder / f'{representation.audio[key]}.npy' for key in keys}
    with locked(folder.with_name(f'.lock_{folder.name}')):
        pending = [key for key in keys if not is_up_to_date(sources[key], targets[key])]
        if pending:
            write_json(folder / 'config.json', about)
            embed_and_keep(pending, representation, config, sources, targets)
    return {key: np.load(targets[key]) for key in keys}


def embed_and_keep(keys, representation, config, sources, targets):
    """Compute and store the embeddings of clips."""
    import models_transfer  # here, because TensorFlow takes seconds to start, and mostly all embeddings are there
    from backend import set_up_device
    from training import make_scorer
    set_up_device()
    embed = make_scorer(models_transfer.build(config))
    modified = {key: sources[key].stat().st_mtime_ns for key in keys if sources[key].exists()}  # before they are read
    for key, rows in tqdm(embed_clips(embed, keys, representation, config), desc='embeddings', total=len(keys), unit='clip',
                          **PROGRESS):
        if not np.isfinite(rows).all():
            raise UserError(f'the embeddings of id {key} are not finite: {sources[key]} or the checkpoint is damaged. Delete that '
                            f'file and {representation.remedy.replace(" first", " again")}')
        keep_array(targets[key], rows, modified[key])


def embed_clips(embed, keys, representation, config):
    """Yield (id, (examples, 128)) clip by clip; batches span clips, memory holds one batch and one clip."""
    rows, owners = np.empty((0, vggish_params.EMBEDDING_SIZE), np.float32), np.empty(0, int)
    for frames, starts, clip in ahead(patch_batches(representation, keys, config, 1, config['test_batch_size'])):
        rows, owners = np.concatenate([rows, embed(frames, starts).numpy()]), np.concatenate([owners, clip])
        whole = owners < owners[-1]  # the last clip may go on in the next batch
        for number in np.unique(owners[whole]):
            yield keys[number], rows[owners == number]
        rows, owners = rows[~whole], owners[~whole]
    yield keys[owners[0]], rows
