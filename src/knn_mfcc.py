"""Nearest-neighbour baseline on MFCC statistics; features are computed once per clip and kept.

Usage:  python knn_mfcc.py
        python knn_mfcc.py dataset=us8k fold=3 n_shot=5 metric=euclidean
Reads:  index/<dataset>/ and the sound files.
Writes: audio_representation/<identifier>__mfcc/ (features), experiments/fold_<fold>_<seconds>/ (train_ids.tsv and results
        per run), a row per run in experiments/results.tsv; all under DATA_FOLDER.
"""
import sys

import nearest
import representations
from experiment import configuration_from_command_line
from fewshot import Task
from shared import run_script


def main():
    config = configuration_from_command_line(__doc__, 'config_knn_mfcc', 'mfcc')
    refused = representations.store(config)
    if refused and not config['skip_missing']:
        sys.exit(f'\n{len(refused)} sound files were refused: mend or remove them, or set skip_missing=True')
    task = Task.load(config)
    experiment = nearest.run_baseline('knn_mfcc', config, task, nearest.stored_vectors(task))
    print(f'results: experiments/{experiment}\nnext: python report.py dataset={config["dataset"]}')


if __name__ == '__main__':
    run_script(main)
