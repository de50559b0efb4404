"""From patches to scores of clips: compiled forward passes, the choice between them, and means over the patches of a clip."""
import functools

import numpy as np
from scipy.special import log_softmax

import evaluation
from backend import tf
from patches import count_patches, grid, padded_lengths, patch_batches, prefetch
from sliding import NoSlidingForm, make_slider
from training import cut_patches, frames_spec

MOST_KEPT = 5e8  # bytes of a validation set that stay on the device: UrbanSound8K's takes 7e7, TUT's 3e8


def make_scorer(model):
    """A compiled score(frames, starts) -> logits (N, C), or embeddings (N, D), in evaluation mode."""
    @tf.function(input_signature=[frames_spec(model), tf.TensorSpec((None,), tf.int64)])
    def score(frames, starts):
        return model(cut_patches(frames, starts, model.input_shape[1]), training=False)
    return score


class Forms:
    """The compiled forward passes of a model on patches. Each is made once, when it is needed.

    Attributes: patch_by_patch (see make_scorer), sliding (see sliding.make_slider).
    """

    def __init__(self, model):
        self.model = model

    @functools.cached_property
    def patch_by_patch(self):
        return make_scorer(self.model)

    @functools.cached_property
    def sliding(self):
        return make_slider(self.model)


class Scorer:
    """Scores the patches of clips: with the sliding window where that takes fewer multiplications, else patch by patch.

    Measured on 2 CPU cores, both ways are equally fast, within a third, where they take equally many multiplications. On long
    clips that is at a hop of 44 frames for VGG, 18 for SB-CNN and 122 for TIMBRE. Clips of one patch are faster patch by patch.

    Attributes: num_classes.
    """

    def __init__(self, forms, config, representation, quiet=False, **parts):
        """Choose how the clips of each set will be scored, and print it unless `quiet`.

        Args:
            forms: Forms of the model.
            config: with sliding (default: True), n_frames, and for each set {part}_hop and {part}_batch_size.
            parts: val and test, ids of clips; None: that set will not be scored.
        """
        self._patch_by_patch, self._slide, self.num_classes = forms.patch_by_patch, {}, forms.model.output_shape[-1]
        parts = {part: keys for part, keys in parts.items() if keys is not None}
        slide = work = reason = None
        if not config.get('sliding', True):
            reason = 'sliding=False'
        elif parts:
            try:
                slide, work = forms.sliding
            except NoSlidingForm as problem:
                reason = f'the model has no sliding form: {problem}'
        for part, keys in parts.items():
            chosen = slide and pays(work, representation, keys, config, part)
            self._slide[part] = slide if chosen else None
            fewer = f'fewer multiplications at {part}_hop={config[f"{part}_hop"]} and these lengths of clips'
            if grid(config) == 1 and not quiet:  # examples of pretrained networks do not overlap, there is no choice
                print(f'{"scoring" if part == "test" else "validation"}: ' +
                      ('sliding window' if chosen else f'patch by patch ({reason or fewer})'))

    def inputs(self, representation, keys, config, part, mean=None, std=None):
        """The batches of all patches of the clips `keys`, for the way in which their set is scored: see patches.patch_batches."""
        slide, hop = self._slide[part], config[f'{part}_hop']
        size = frames_at_once(config, part) if slide else config[f'{part}_batch_size']
        return patch_batches(representation, keys, config, hop, size, mean, std, by_frames=slide is not None)

    def keep(self, representation, keys, config, part, mean=None, std=None):
        """The same on the device, for a set that is scored after every epoch (list); None if they take more than MOST_KEPT bytes."""
        if padded_lengths(representation, keys, config).sum() * representation.bands(next(iter(keys))) * 4 > MOST_KEPT:
            return None
        return [(tf.constant(frames), tf.constant(starts), clip)
                for frames, starts, clip in self.inputs(representation, keys, config, part, mean, std)]

    def logits(self, part, inputs):
        """Logits of batches of patches, from `inputs` or `keep`: yields (logits (B, C) float32, clip numbers (B,) int64)."""
        forward = self._slide[part] or self._patch_by_patch
        if isinstance(inputs, list):  # nothing to read: all passes are begun before the first result is awaited
            found = [(forward(frames, starts), clip) for frames, starts, clip in inputs]
        else:
            found = ((forward(frames, starts), clip) for frames, starts, clip in prefetch(inputs))
        for logits, clip in found:
            yield logits.numpy(), clip


def frames_at_once(config, part):
    """Frames that the sliding window takes in one pass, so that memory is about that of {part}_batch_size patches.

    The pass stores up to four times as much for a frame, and the patch that begins there, as a patch stores for a frame.
    """
    return max(config[f'{part}_batch_size'] * config['n_frames'] // 4, config['n_frames'])


def pays(work, representation, keys, config, part):
    """Whether the sliding window takes fewer multiplications than the patches of the clips `keys` one by one."""
    lengths = padded_lengths(representation, keys, config)
    patches = count_patches(lengths, config, config[f'{part}_hop']).sum()
    # a clip that is cut at the end of a pass is computed twice there
    frames = lengths.sum() * frames_at_once(config, part) / (frames_at_once(config, part) - config['n_frames'] + 1)
    return work.frame * frames + work.patch * patches < work.plain * patches


def score_clips(scorer, representation, labels, config, part, statistics, bar=None, kept=None):
    """Mean softmax probabilities of clips over all their patches.

    Args:
        scorer: Scorer of this set.
        representation: representation.Representation of the clips.
        labels: id -> label of S clips.
        part: 'val' or 'test', chooses hop and batch size in `config`.
        statistics: (mean, std) of the input normalisation.
        bar: progress bar that counts clips, or None.
        kept: from Scorer.keep with the same arguments; None: the clips are read.

    Returns scores (S, C) float64 and the mean cross-entropy over patches.
    """
    truth, means, costs = np.array(list(labels.values())), evaluation.MeanPerClip(len(labels), scorer.num_classes), []
    for logits, clip in scorer.logits(part, kept or scorer.inputs(representation, labels, config, part, *statistics)):
        log_probabilities = log_softmax(logits, axis=1)
        means.add(np.exp(log_probabilities), clip)
        costs.append(-log_probabilities[np.arange(len(clip)), truth[clip]])
        if bar is not None:
            bar.update(int(clip[-1]) + 1 - bar.n)
    evaluation.check_finite(means, labels, part, config, representation)
    return means.result(), float(np.concatenate(costs).mean())
