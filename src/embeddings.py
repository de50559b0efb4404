"""VGGish embeddings of clips, computed once per checkpoint and kept on disk."""
import numpy as np
from tqdm import tqdm

import checkpoint
import vggish_params
import vggish_slim
from backend import keras
from patches import ahead, patch_batches
from representations import is_up_to_date, keep_array
from shared import PROGRESS, UserError, data_folder, locked, write_json
from training import make_scorer


def embeddings_of(keys, representation, config):
    """Embeddings of clips: dictionary id -> (examples, 128) float32. What is not on disk yet is computed first.

    Args:
        keys: ids.
        representation: patches.Representation of type audioset.
        config: from checkpoint.configuration; with test_batch_size, examples that are embedded at once.
    """
    if not config['checkpoint']:
        raise UserError('checkpoint=None is not valid: nearest neighbours need the weights of a trained VGGish')
    folder = representation.folder.with_name(f'{representation.folder.name}__vggish_{config["checkpoint_sha256"][:16]}')
    targets = {key: folder / f'{key}.npy' for key in keys}
    with locked(folder.with_name(f'.lock_{folder.name}')):
        pending = [key for key in keys if not is_up_to_date(data_folder() / representation.paths[key], targets[key])]
        if pending:
            write_json(folder / 'config.json', {'representation': representation.folder.name, 'checkpoint': config['checkpoint'],
                                                'checkpoint_sha256': config['checkpoint_sha256']})
            embed = make_scorer(embedding_model(config))
            for key, rows in tqdm(embed_clips(embed, pending, representation, config), desc='embeddings', total=len(pending),
                                  unit='clip', **PROGRESS):
                keep_array(targets[key], rows, (data_folder() / representation.paths[key]).stat().st_mtime_ns)
    return {key: np.load(targets[key]) for key in keys}


def embedding_model(config):
    """VGGish alone as a Keras model: examples (N, 96, 64) -> (N, 128)."""
    values = vggish_slim.read_checkpoint(checkpoint.path_of(config))
    examples = keras.Input((vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS))
    return keras.Model(examples, vggish_slim.VGGish(values, name='vggish')(examples))


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
