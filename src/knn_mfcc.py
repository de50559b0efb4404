"""Nearest-neighbour baseline on MFCC statistics; features are computed once per clip and kept.

Usage:  python knn_mfcc.py
        python knn_mfcc.py dataset=us8k fold=3 n_shot=5 metric=euclidean
Reads:  index/<dataset>/ and the sound files.
Writes: audio_representation/<identifier>__mfcc/ (features), experiments/fold_<fold>_<seconds>/
        (config.json, sounds.tsv, train_ids.tsv and results per run), a row per run in experiments/results.tsv; all under DATA_FOLDER.
"""
import sys

import representation
from methods import train_from_command_line
from shared import run_script


def compute_features(config):
    """Compute the features that are missing. Ends the script if sound files are refused, unless skip_missing."""
    refused = representation.store(config)
    if refused and not config['skip_missing']:
        sys.exit(f'\n{len(refused)} sound files were refused: correct or remove them, or set skip_missing=True')


def main():
    train_from_command_line(__doc__, 'config_knn_mfcc', before=compute_features)


if __name__ == '__main__':
    run_script(main)
