"""The prototypical method: train an embedding network on episodes of the chosen clips, score clips by distance to prototypes."""
import contextlib
import time

import numpy as np
from tqdm import tqdm

import evaluation
import figures
import models_proto
from backend import tf
from experiment import Log
from fewshot import Episodes
from network import Network, load_trained
from patches import Clips, all_patches, patch_batches, prefetch, sample_patches
from scoring import make_scorer
from shared import PROGRESS, atomic, write_json
from training import check_cost, estimate_statistics, log_learn_values


def train(models, config, split, again=True, wait=True):
    """Train and evaluate all runs of an experiment, or those that it still lacks; returns the experiment's id.

    Args:
        models: a module like models_proto, with build and name.
        config: from methods.Method.configure.
        split: fewshot.DataSplit of that configuration; without a test set, nothing is evaluated.
        again, wait: see experiment.Experiment.start.
    """
    network = Network.of(models, config, split.representation.bands(next(iter(split.train))))
    with contextlib.closing(network.start_experiment(split, again, wait)) as experiment:
        config = experiment.config
        for run, folder in experiment.remaining_runs():
            network.start_run(run)
            prototypes, about = train_run(network, config, split, run, folder)
            if split.test is None:
                continue
            begin = time.perf_counter()
            embeddings, clip, scores = score_test_set(network.forms.patch_by_patch, prototypes, about, config, split.representation,
                                                      split.test)
            save_latents(folder, 'test_set', embeddings, list(split.test), np.array(list(split.test.values())), clip, split.classes)
            experiment.save_result(folder, models.name(config), about, scores, split, time.perf_counter() - begin)
            draw_embeddings(folder, embeddings, clip, scores, prototypes, config, split)
        experiment.print_summary()
    return experiment.id


def train_run(network, config, split, run, folder):
    """Train one run; returns its prototypes (C, D) and the content of model.json.

    Writes train_ids.tsv, support.tsv, train_log.tsv, epoch_accuracies.tsv, weights, model.json, prototypes.npz and the
    embeddings of the training clips into its folder.
    """
    begin = time.perf_counter()
    # data: the chosen clips stay on the device; the support set is drawn once
    ids, labels = split.draw(config, run, folder)
    labels, statistics = np.array(labels), split.statistics(config, ids)
    clips, rng = Clips(split.representation, ids, config, *statistics), np.random.default_rng([config['seed'], run])
    frames = tf.constant(clips.frames)
    starts, clip = sample_patches(clips, config, rng)
    patch_labels, episodes = labels[clip], Episodes(clip, labels[clip], config, rng)
    support = episodes.support
    Log(folder / 'support.tsv', ['id', 'class', 'first_frame']).add_all(
        (ids[clip[i]], split.classes[patch_labels[i]], starts[i] - clips.offsets[clip[i]]) for i in support)
    scored, scored_clip = all_patches(clips, config, config['test_hop'])
    support_set = tf.constant(starts[support]), tf.constant(patch_labels[support])
    # network
    model, step, embed = network.model, network.episode_step, network.forms.patch_by_patch
    rng_of_statistics = np.random.default_rng([config['seed'], run, 1])
    learning_rate, rule = tf.constant(config['learning_rate'], tf.float32), StopRule(config)
    log = Log(folder / 'train_log.tsv', ['update', 'epoch', 'loss', 'mean_distance_protos', 'accuracy', *log_learn_values(model)])
    accuracies = Log(folder / 'epoch_accuracies.tsv', ['epoch', 'accuracy', 'epoch_time'])
    # training
    with tqdm(desc=f'run {run + 1} of {config["num_experiment_runs"]}', unit='update', **PROGRESS) as bar:
        while not rule.reached:
            epoch, epoch_begin = rule.epoch + 1, time.perf_counter()
            rows = train_epoch(step, frames, support_set, starts, patch_labels, episodes, learning_rate, bar)
            check_cost(rows, epoch, config)
            seconds = time.perf_counter() - epoch_begin
            if config.get('statistics_passes'):
                passes = (rng_of_statistics.permutation(starts) for _ in range(config['statistics_passes']))
                estimate_statistics(model, network.statistics_step, frames, passes, config['test_batch_size'])
            prototypes = models_proto.prototypes(embed_all(embed, frames, starts[support], config), patch_labels[support],
                                                 len(split.classes))
            embeddings = embed_all(embed, frames, scored, config)
            scores = score(embeddings, scored_clip, prototypes, ids, 'training', config, split.representation)
            accuracy = float(np.mean(scores.argmax(axis=1) == labels))
            rule.add(accuracy)
            log.add_all(((epoch - 1) * len(rows) + i, epoch, *map(float, row)) for i, row in enumerate(rows, 1))
            accuracies.add(epoch, accuracy, seconds)
            bar.set_postfix_str(f'epoch {epoch}, best accuracy {rule.best:.3f}, not improved {rule.failures} times '
                                f'(stops above {config["max_accuracy"]})', refresh=False)
    # files
    network.save(folder)
    save_arrays(folder / 'prototypes.npz', prototypes)
    save_latents(folder, 'train_set', embeddings, ids, labels, scored_clip, split.classes)
    about = {'run': run, 'normalize_mean': statistics[0], 'normalize_std': statistics[1], 'epochs': rule.epoch,
             'updates': rule.epoch * episodes.updates, 'best_accuracy': rule.best, 'train_seconds': time.perf_counter() - begin}
    write_json(folder / 'model.json', about)
    return prototypes, about


def train_epoch(step, frames, support_set, starts, labels, episodes, learning_rate, bar):
    """The updates of one epoch; returns the figures of each update, (updates, 3 or 5), see training.apply_episode.

    Args:
        step: from training.make_episode_step.
        frames: (T, M) float32 tensor of all chosen clips.
        support_set: starts (P,) and labels (P,) of the support patches, tensors.
        starts, labels: (N,) int64, the training patches.
        episodes: fewshot.Episodes of those patches.
        bar: progress bar that counts updates.
    """
    figures_of_updates = []
    for _ in range(episodes.updates):
        query = episodes.query()
        figures_of_updates.append(step(frames, *support_set, starts[query], labels[query], learning_rate))
        bar.update()
    return tf.stack(figures_of_updates).numpy()  # the only wait for the device in an epoch's updates


class StopRule:
    """The rule of the study that ends the training of a run.

    Training stops when the accuracy after an epoch failed to exceed the best one before for more than max_accuracy times. The
    failures of the whole run count, consecutive or not. max_epochs (None: any number) stops it earlier.

    Attributes: epoch, best (accuracy), failures, reached.
    """

    def __init__(self, config):
        self._max_failures, self._max_epochs = config['max_accuracy'], config['max_epochs']
        self.epoch, self.best, self.failures, self.reached = 0, -1.0, 0, False

    def add(self, accuracy):
        """Count an epoch that ended with this accuracy."""
        self.epoch += 1
        self.failures += accuracy <= self.best
        self.best = max(self.best, accuracy)
        self.reached = self.failures > self._max_failures or self.epoch == self._max_epochs


def embed_all(embed, frames, starts, config):
    """Embeddings (N, D) of the patches that begin at `starts` in `frames`, batch by batch."""
    size = config['test_batch_size']
    return tf.concat([embed(frames, starts[i:i + size]) for i in range(0, len(starts), size)], 0)


def score(embeddings, clip, prototypes, keys, part, config, representation):
    """Mean log-probabilities (S, C) of clips over their patches.

    Args:
        embeddings, clip: (N, D) and the clip numbers (N,) of the patches.
        prototypes: (C, D).
        keys, part: ids of the S clips, and the name of their set, for messages.
    """
    means = evaluation.MeanPerClip(len(keys), len(prototypes))
    means.add(models_proto.log_probabilities(embeddings, prototypes, config['distance']).numpy(), clip)
    evaluation.check_finite(means, keys, part, config, representation)
    return means.result()


def score_test_set(embed, prototypes, about, config, representation, keys, quiet=False):
    """Embeddings (N, D) and clip numbers (N,) of the patches of test clips at test_hop, and scores (S, C) of these clips, whose ids are `keys`.

    `quiet`: without a progress bar.
    """
    keys, embeddings, clip = list(keys), [], []
    batches = patch_batches(representation, keys, config, config['test_hop'], config['test_batch_size'],
                            about['normalize_mean'], about['normalize_std'])
    with tqdm(total=len(keys), desc='test set', unit='clip', disable=quiet, **PROGRESS) as bar:
        for frames, starts, clip_of_patch in prefetch(batches):
            embeddings.append(embed(frames, starts))
            clip.append(clip_of_patch)
            bar.update(int(clip_of_patch[-1]) + 1 - bar.n)
    embeddings, clip = tf.concat(embeddings, 0), np.concatenate(clip)
    return embeddings, clip, score(embeddings, clip, prototypes, keys, 'test', config, representation)


def opened(models, folder, config, bands):
    """A trained model for other clips: function (representation.ArraysInMemory, names) -> mean log-probabilities (S, C).

    Args: as supervised.opened.
    """
    about, model = load_trained(models, folder, config, bands)
    prototypes, embed = models_proto.read_prototypes(folder), make_scorer(model)

    return lambda arrays, names: score_test_set(embed, prototypes, about, config, arrays, names, quiet=True)[2]


def draw_embeddings(folder, embeddings, clip, scores, prototypes, config, split):
    """Draw embeddings.png: the embeddings of the test patches and the prototypes."""
    truth = np.array(list(split.test.values()))
    accuracy = np.mean(scores.argmax(axis=1) == truth)
    figures.draw(folder / 'embeddings.png', figures.embeddings, embeddings.numpy(), truth[clip], prototypes.numpy(), split.classes,
                 config, f'{len(clip)} test patches and the prototypes, accuracy {accuracy:.3f}')


def save_latents(folder, part, embeddings, ids, labels, clip, classes):
    """Write embeddings_<part>.npz (N, D) and gt_<part>.npz: one-hot labels (N, C) and the ids (N,) of the patches' clips."""
    save_arrays(folder / f'embeddings_{part}.npz', embeddings)
    save_arrays(folder / f'gt_{part}.npz', np.eye(len(classes))[labels[clip]], ids=np.array(ids)[clip])


def save_arrays(path, array, **more):
    """Write an array, named arr_0 as in the released experiments, and others by name to an npz file."""
    with atomic(path) as temporary:
        np.savez(temporary, np.asarray(array), **more)
