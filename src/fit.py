"""Make the final classifier of a data set: trained on all of its clips, calibrated on clips that models did not learn from.

Usage:  python fit.py mydata
        python fit.py mydata --method "mn04 logistic regression" --name birds --kept 0.9
        CUDA_VISIBLE_DEVICES=0 python fit.py mydata --method VGG epochs=100
Reads:  index/<data set>/, the sound files, experiments/results.tsv; representations are made where they are missing.
Writes: classifiers/<name>/ under DATA_FOLDER: classifier.json (classes, front end, calibration, versions) and the model. It can be
        copied to another machine, which also needs the weights of the pretrained network. Held-out scores come from one experiment
        per fold with all training clips (n_shot=all), which are ordinary experiments with a row in results.tsv.

Without --method, fit.py takes the recommended method. It compares the methods at the largest n at which more than half of them were measured, and
only those that were measured on the largest number of folds. Among the methods whose mean accuracy is at most one standard error (over the folds)
below the best one, it takes the first in this order: frozen networks, nearest neighbours, fine-tuned networks, networks from scratch.
"""
import argparse
import contextlib
import shutil

import numpy as np

import analysis
import calibration
import classifier
import evaluation
import plans
import runner
from audio import seconds_of
from config_file import config_methods
from configuration import ALL, CHECKS, differences, parse_overrides, print_overrides
from experiment import config_of, finished_models
from methods import method_of, start_tensorflow
from representation import audio_folder, complete, store
from results import data_hash, experiments_folder, results_so_far
from shared import (
    UserError,
    all_clips_path,
    check_name,
    data_folder,
    folds_of,
    listing,
    locked,
    make_folder,
    read_background,
    read_classes,
    run_script,
)


def main():
    args = read_arguments()
    classes, (folds, _) = read_classes(args.dataset), folds_of(args.dataset)
    if not folds or not (data_folder() / all_clips_path(args.dataset)).is_file():
        raise UserError(f'{args.dataset} has no fold with a training and a test set, or its index was made by an earlier version: make '
                        f'the index again with the script in aux/')
    name, state = (args.method, None) if args.method else best_method(args.dataset, args.overrides)
    method, entry = plans.method_named(name), plans.entry_of(name)
    configs = {fold: plans.configure(name, args.overrides, args.dataset, fold, ALL, 1) for fold in folds}
    first = configs[folds[0]]
    print(f'{args.dataset}: {name}, {len(classes)} classes')
    make_representation(method, first)
    scores, labels, groups, clips = held_out_scores(configs, classes)
    similarities = method.similarities(first)
    values = calibration.logits(scores, similarities)
    if np.ptp(calibration.confidence(values, similarities)) < 1e-9:
        print(f'note: {name} gives all clips the same confidence: the classifier never answers "none of these"')
    calibrated = calibration.calibrate(values, labels, groups, args.kept, similarities)
    calibrated['clips'] = clips

    folder = classifier.classifiers_folder() / (args.name or args.dataset)
    weights = {'save_weights': True} if 'save_weights' in entry else {}
    config = {**plans.configure(name, args.overrides, args.dataset, folds[0], ALL, 1, **weights), 'gt_train': all_clips_path(args.dataset)}
    split = method.load_split(config, ('train',))
    if state not in (None, data_hash(split.data).partition('.')[0]):
        print(f'note: {name} was recommended by results on an earlier state of the data (other sounds or labels): compare the methods again '
              f'with `python reproduce.py own datasets={args.dataset}`')
    if method.network:
        start_tensorflow()
    seconds = durations(config, split)
    with replacing(folder) as temporary:
        method.fit(temporary, config, split)
        made = classifier.Classifier(folder.name, temporary, temporary, name, {**config, **split.identity},
                                     {'median': float(np.median(seconds)), 'longest': float(np.max(seconds))}, calibrated)
        rejected = background(made)
        if rejected is not None:
            calibrated['background_rejected'] = rejected
        made.save()
    report(folder, calibrated, rejected, len(split.train))


@contextlib.contextmanager
def replacing(folder):
    """Yield a temporary folder. When the block succeeds, its files take the place of a classifier's; when it fails, they are deleted.

    What else the folder holds, e.g. an export, stays.
    """
    folder = folder.resolve()  # it may be a link to another disk
    temporary = folder.with_name(f'.tmp-{folder.name}')
    with locked(folder.with_name(f'.lock-{folder.name}')):
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        make_folder(temporary)
        try:
            yield temporary
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        make_folder(folder)
        for name in (classifier.FILE, *classifier.MODEL_FILES):  # the description goes first and comes last: it never stands beside another model
            (folder / name).unlink(missing_ok=True)
        for name in (*classifier.MODEL_FILES, classifier.FILE):
            if (temporary / name).exists():
                (temporary / name).rename(folder / name)
        temporary.rmdir()


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dataset', help='data set: the name that its index has')
    parser.add_argument('--method', help='one of config_methods: ' + ', '.join(repr(name) for name in config_methods if not validated(name)))
    parser.add_argument('--name', help='of the classifier (default: that of the data set)')
    parser.add_argument('--kept', type=float, default=0.95,
                        help='share of your own held-out clips that are accepted; a sound with a confidence below the resulting threshold is '
                             'labelled "none of these" (default: 0.95)')
    parser.add_argument('overrides', nargs='*', metavar='key=value', help='set a key of the method, e.g. checkpoint=/path/to/weights')
    args = parser.parse_intermixed_args()
    if args.name:
        check_name('--name', args.name)
    if args.method and args.method not in config_methods:
        raise UserError(f'there is no method {args.method!r} in config_methods; there are: {listing(config_methods, 99)}')
    if args.method and validated(args.method):
        raise UserError(f'--method "{args.method}" chooses its weights by a validation set, and the final model learns from all clips: choose '
                        f'--method "{args.method.removesuffix(", validated")}"')
    if not 0 < args.kept <= 1:
        raise UserError(f'--kept {args.kept}: expected a share above 0, up to 1')
    args.overrides = parse_overrides(args.overrides, plans.method_keys() - set(plans.SPECTROGRAM_KEYS))
    print_overrides(args.overrides)
    return args


def best_method(dataset, overrides):
    """The method that the results on a data set recommend, and the state of the data that they were measured on: see analysis.labelled.

    Raises UserError without results, and when the best ones have settings that would not be those of the classifier.
    """
    rows = results_so_far()
    rows = rows[(rows['dataset'] == dataset) & rows['method'].isin([name for name in config_methods if not validated(name)])]
    if rows.empty:
        raise UserError(f'no method was measured on {dataset} yet: compare them with `python reproduce.py own datasets={dataset}`, or '
                        f'name one with --method')
    for sentence in analysis.left_out(rows):
        print(f'note: {sentence}')
    best = analysis.recommend(rows, plans.cost)
    print(analysis.recommendation(best))
    measured = config_of(experiments_folder() / best['experiment'])
    if measured:
        ours = plans.configure(best['name'], overrides, dataset, measured['fold'], ALL, 1)
        other = [f'{key}={measured.get(key)}' for key in [*differences(measured, ours, ('method', 'evaluation')), 'audio_representation_folder']
                 if key in CHECKS and key not in overrides and measured.get(key) != ours.get(key)]
        if other:
            raise UserError(f'{best["method"]} was measured with {listing(other)}, and the classifier would have other settings: add these as '
                            f'key=value, set them in config_file.py, or choose with --method "{best["name"]}"')
    else:
        print(f'note: experiments/{best["experiment"]} is not here, so it is not known whether {best["name"]} was measured with the '
              'settings of the classifier')
    return best['name'], best['state']


def validated(name):
    """Whether a method chooses its weights by a validation set: the final model learns from all clips, so there is none."""
    return bool(plans.entry_of(name).get('gt_val'))


def make_representation(method, config):
    """Make or update the arrays that a method reads."""
    kind = method.kind_of(config)
    refused = store(kind.configuration(config['dataset']) if kind.entry else complete(config))
    if refused and not config['skip_missing']:
        raise UserError(f'{len(refused)} sound files were refused, see above: correct or remove them, or set skip_missing=True')


def held_out_scores(configs, classes):
    """Scores (S, C) of the test clips of all folds, each by a model of the training clips of its fold; their labels (S,) and groups (S,); and
    the number of clips.

    A clip is in the group of the first fold that tests it: repeated divisions test it again.

    `configs`: dictionary fold -> configuration.
    """
    scores, labels, groups, first = [], [], [], {}
    for fold, config in configs.items():
        experiment = runner.run_experiment(config, wait=True)
        folder = experiments_folder() / experiment
        table, _ = evaluation.read_decisions(folder / finished_models(folder)[0])
        scores.append(evaluation.scores_of(table, classes))
        labels += [classes.index(name) for name in table['true']]
        groups += [first.setdefault(key, fold) for key in table['id']]
    return np.concatenate(scores), np.array(labels), np.array(groups), len(first)


def durations(config, split):
    """Seconds of the training clips (list)."""
    folder = audio_folder(config['dataset'])
    found = [seconds_of(folder / split.representation.audio[key]) for key in split.train]
    return [seconds for seconds in found if seconds] or [5.0]


def background(made):
    """Share of the data set's sounds of no class that the threshold of a classifier rejects, of long ones the share of their windows; None
    without such sounds.
    """
    sounds = read_background(made.config['dataset'])
    if not sounds:
        return None
    if method_of(made.config).applies_network:
        start_tensorflow()
    folder = audio_folder(made.config['dataset'])
    decisions = [rows for _, rows in made.decisions(folder / path for path in sounds.values()) if not isinstance(rows, UserError)]
    if len(decisions) < len(sounds):
        print(f'note: {len(sounds) - len(decisions)} of {len(sounds)} background files cannot be used and are not counted')
    return float(np.mean([(rows['class'] == classifier.NONE).mean() for rows in decisions])) if decisions else None


def report(folder, calibrated, rejected, clips):
    before, after = calibrated['calibration_error_before'], calibrated.get('calibration_error_after')
    print(f'held-out clips: accuracy {calibrated["accuracy"]:.3f} on {calibrated["clips"]} clips; expected calibration error {before:.3f}'
          + (f', {after:.3f} with the temperature {calibrated["temperature"]:.3g}' if after is not None else ''))
    print(f'threshold: {calibrated["accepted"]:.0%} of the held-out clips are accepted'
          + (f', {rejected:.0%} of the background clips are rejected' if rejected is not None else ''))
    print(f'classifier: {folder} ({clips} training clips)\nnext: python classify.py {folder.name} /path/to/recordings --csv out.csv')


if __name__ == '__main__':
    run_script(main)
