"""The main job on a small data set, from sound files to a table and a figure; what `make demo` runs.

Usage:  python demo.py demo
        python demo.py demo dataset=mine n_shots=[1,5] epochs=200
Reads:  index/<dataset>/ (aux/index_folder.py) and the sound files.
Writes: what preprocess.py, knn_mfcc.py, sl_train.py, sl_evaluate.py and proto.py write, and experiments/report_<dataset>/
"""
import sys

import nearest
import representations
from experiment import configuration_from_command_line, configure, find_experiment, read_results
from fewshot import Task
from shared import UserError, run_script

SAME_KEYS = ('dataset', 'fold', 'num_experiment_runs', 'seed')
SUPERVISED_KEYS, PROTO_KEYS = ('epochs', 'batch_size'), ('filters', 'max_accuracy')


def main():
    demo = configuration_from_command_line(__doc__, 'config_demo')
    spectrogram = configure('config_preprocess', 'spec', [f'dataset={demo["dataset"]}'])
    mfcc = {**configure('config_knn_mfcc', 'mfcc', settings(demo, SAME_KEYS)), 'skip_missing': True}
    refused = {**representations.store(spectrogram), **representations.store(mfcc)}

    import backend  # after what needs no TensorFlow, because it takes seconds to start
    import prototypical
    import reports
    import supervised
    backend.set_up_device()
    task = Task.load({**mfcc, 'n_shot': 'all'})
    features = nearest.stored_vectors(task)
    fewest = min(list(task.train.values()).count(label) for label in range(len(task.classes)))
    n_shots, experiments = [n for n in demo['n_shots'] if n <= fewest], []
    if not n_shots:
        raise UserError(f'the smallest class has {fewest} training clips: n_shots={demo["n_shots"]} needs more')
    for n_shot in n_shots:
        experiments.append(nearest.run_baseline('knn_mfcc', {**mfcc, 'n_shot': n_shot}, task, features))
        for number in demo['model_numbers']:
            experiments.append(train_and_evaluate(supervised, demo, n_shot, number))
        experiments.append(prototypical.train_and_evaluate(*configured('config_proto', demo, PROTO_KEYS, n_shot)))
    results = read_results()
    reports.write(results[results['experiment'].isin(experiments)], demo['dataset'])
    if refused:
        sys.exit(f'{len(refused)} sound files were refused and left out, see above')


def settings(demo, keys):
    """Some keys of the demo's configuration as key=value arguments."""
    return [f'{key}={demo[key]}' for key in keys]


def configured(group, demo, keys, n_shot, *arguments):
    """The configuration of an experiment and its task."""
    arguments = [*settings(demo, SAME_KEYS + keys), f'n_shot={n_shot}', 'skip_missing=True', *arguments]
    config = configure(group, 'spec', arguments)
    return config, Task.load(config)


def train_and_evaluate(supervised, demo, n_shot, model_number):
    """One supervised experiment; returns its id."""
    config, task = configured('config_sl', demo, SUPERVISED_KEYS, n_shot, f'model_number={model_number}')
    experiment = supervised.train(config, task)
    supervised.evaluate(*find_experiment(experiment, 'sl_train'), task)
    return experiment


if __name__ == '__main__':
    run_script(main)
