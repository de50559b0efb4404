"""An experiment with prototypical networks from end to end: train its runs and score each on the test part."""
import contextlib
import time

import numpy as np
from tqdm import tqdm

import evaluation
import figures
import models_proto
import models_transfer
from backend import tf
from experiment import Log
from fewshot import Episodes
from network import Network
from patches import Clips, ahead, all_patches, patch_batches, sample_patches
from shared import PROGRESS, atomic, write_json
from training import log_learn_values, train_episodic

MODELS = {'proto': models_proto, 'transfer_proto': models_transfer.EMBEDDING}  # by the script whose experiments they are


def train_and_evaluate(config, task, again=True):
    """All runs of an experiment, or those that it still lacks; returns the experiment's id.

    Args:
        config: from experiment.configure; with 'script', a key of MODELS.
        task: fewshot.Task of that configuration, with training and test part.
        again: whether to train an experiment anew that has all its runs.
    """
    models = MODELS[config['script']]
    network = Network.of(models, config, task.representation.bands(next(iter(task.train))))
    with contextlib.closing(network.start_experiment(task, again)) as experiment:
        config = experiment.config
        for run, folder in experiment.remaining_runs():
            network.begin(run)
            prototypes, about = train_run(network, config, task, run, folder)
            begin = time.perf_counter()
            accuracy = evaluate(network.forms.patch_by_patch, prototypes, about, config, task, folder)
            row = evaluation.result_row(folder, run, models.name(config), config, accuracy, len(task.test), about['train_seconds'],
                                        time.perf_counter() - begin)
            evaluation.keep_run_result(experiment, folder, row)
    return experiment.id


def train_run(network, config, task, run, folder):
    """Train one run; returns its prototypes (C, D) and the content of model.json.

    Writes train_ids.tsv, support.tsv, train_log.tsv, epoch_accuracies.tsv, weights, model.json, prototypes.npz and the
    latent files of the training clips.
    """
    model, begin = network.model, time.perf_counter()
    ids, labels = task.draw(config, run, folder)
    labels, statistics = np.array(labels), task.statistics(config, ids)
    clips = Clips(task.representation, ids, config, *statistics)
    rng = np.random.default_rng([config['seed'], run])
    starts, clip = sample_patches(clips, config, rng)
    episodes = Episodes(clip, labels[clip], config, rng)
    Log(folder / 'support.tsv', ['id', 'class', 'first_frame']).add_all(
        (ids[clip[i]], task.classes[labels[clip[i]]], starts[i] - clips.offsets[clip[i]]) for i in episodes.support)
    log = Log(folder / 'train_log.tsv', ['update', 'epoch', 'loss', 'mean_distance_protos', 'accuracy', *log_learn_values(model)])
    accuracies = Log(folder / 'epoch_accuracies.tsv', ['epoch', 'accuracy', 'epoch_time'])
    frames = tf.constant(clips.frames)
    scored, scored_clip = all_patches(clips, config, config['test_hop'])
    prototypes = embeddings = None

    def after_epoch(epoch, rows, seconds):
        nonlocal prototypes, embeddings
        support = embed_all(network.forms.patch_by_patch, frames, starts[episodes.support], config)
        prototypes = models_proto.prototypes(support, labels[clip[episodes.support]], len(task.classes))
        embeddings = embed_all(network.forms.patch_by_patch, frames, scored, config)
        scores = score(embeddings, scored_clip, prototypes, ids, 'training', config, task)
        accuracy = float(np.mean(scores.argmax(axis=1) == labels))
        log.add_all(((epoch - 1) * len(rows) + i, epoch, *map(float, row)) for i, row in enumerate(rows, 1))
        accuracies.add(epoch, accuracy, seconds)
        return accuracy

    rule = train_episodic(network.episode_step, frames, starts, labels[clip], episodes, config, after_epoch,
                          f'run {run + 1} of {config["num_experiment_runs"]}')
    network.keep(folder)
    keep_arrays(folder / 'prototypes.npz', prototypes)
    keep_latents(folder, 'train_set', embeddings, ids, labels, scored_clip, task.classes)
    about = {'run': run, 'normalize_mean': statistics[0], 'normalize_std': statistics[1], 'epochs': rule.epoch,
             'updates': rule.epoch * episodes.updates, 'best_accuracy': rule.best, 'train_seconds': time.perf_counter() - begin}
    write_json(folder / 'model.json', about)
    return prototypes, about


def embed_all(embed, frames, starts, config):
    """Embeddings (N, D) of the patches that begin at `starts` in `frames`, batch by batch."""
    size = config['test_batch_size']
    return tf.concat([embed(frames, starts[i:i + size]) for i in range(0, len(starts), size)], 0)


def score(embeddings, clip, prototypes, keys, part, config, task):
    """Mean log-probabilities (S, C) of clips over their patches.

    Args:
        embeddings, clip: (N, D) and the clip numbers (N,) of the patches.
        prototypes: (C, D).
        keys, part: ids of the S clips, and of which part they are, for messages.
    """
    means = evaluation.MeanPerClip(len(keys), len(prototypes))
    means.add(models_proto.log_probabilities(embeddings, prototypes, config['distance']).numpy(), clip)
    evaluation.check_finite(means, keys, part, config, task.representation)
    return means.result()


def evaluate(embed, prototypes, about, config, task, folder):
    """Score the test clips on their patches at test_hop; returns the accuracy.

    Writes the files of evaluation.keep_model_result, the latent files of the test clips and embeddings.png.
    """
    keys, truth, embeddings, clip = list(task.test), np.array(list(task.test.values())), [], []
    batches = patch_batches(task.representation, keys, config, config['test_hop'], config['test_batch_size'],
                            about['normalize_mean'], about['normalize_std'])
    with tqdm(total=len(keys), desc='test part', unit='clip', **PROGRESS) as bar:
        for frames, starts, clip_of_patch in ahead(batches):
            embeddings.append(embed(frames, starts))
            clip.append(clip_of_patch)
            bar.update(int(clip_of_patch[-1]) + 1 - bar.n)
    embeddings, clip = tf.concat(embeddings, 0), np.concatenate(clip)
    scores = score(embeddings, clip, prototypes, keys, 'test', config, task)
    keep_latents(folder, 'test_set', embeddings, keys, truth, clip, task.classes)
    accuracy = evaluation.keep_model_result(folder, keys, [task.representation.audio[key] for key in keys], truth,
                                            scores, task.classes)
    with atomic(folder / 'embeddings.png') as temporary:
        figures.embeddings(embeddings.numpy(), truth[clip], prototypes.numpy(), task.classes, config,
                           f'{len(clip)} test patches and the prototypes, accuracy {accuracy:.3f}', temporary)
    return accuracy


def keep_latents(folder, part, embeddings, ids, labels, clip, classes):
    """Write embeddings_<part>.npz (N, D) and gt_<part>.npz: one-hot labels (N, C) and the ids (N,) of the patches' clips."""
    keep_arrays(folder / f'embeddings_{part}.npz', embeddings)
    keep_arrays(folder / f'gt_{part}.npz', np.eye(len(classes))[labels[clip]], ids=np.array(ids)[clip])


def keep_arrays(path, array, **more):
    """Write an array, named arr_0 as in the released experiments, and others by name to an npz file."""
    with atomic(path) as temporary:
        np.savez(temporary, np.asarray(array), **more)
