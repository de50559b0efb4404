"""Compute the audio representation of a data set and store it, one .npy file per clip.

Usage:  python preprocess.py asc_spec
        python preprocess.py spec dataset=mine num_processing_units=4
        python preprocess.py esc10_mn04
Reads:  index/<dataset>/index_<dataset>_folds_all.tsv and the sound files.
Writes: audio_representation/<identifier>__<type>/ under DATA_FOLDER: the arrays, config.json, index_<machine_i>.tsv,
        index.tsv, errors_<machine_i>.tsv. Files that are up to date stay, so an interrupted run continues.
"""
import sys

import representation
from configuration import configuration_from_command_line
from pretrained import NETWORKS
from shared import data_folder, folds_of, ground_truth_path, read_classes, read_ground_truth, run_script


def main():
    config = representation.complete(configuration_from_command_line(__doc__, 'config_preprocess'))
    refused = representation.store(config)
    if refused:
        sys.exit(f'\n{len(refused)} sound files were refused; all others are done. Correct or remove them and run the same '
                 f'command again, or train without them (skip_missing=True)')
    if config['type'] != 'waveform':
        entries = [network.entry for network in NETWORKS.values() if network.type == config['type']]
        command = f'frozen.py {entries[0]}' if entries else 'sl_train.py spec'
        own = config['identifier'] != config['dataset']
        folder = f' audio_representation_folder={config["audio_representation_folder"]}' if own else ''
        print(f'next: python {command} dataset={config["dataset"]} n_shot={possible_shots(config["dataset"])}{folder}')


def possible_shots(dataset, most=10):
    """An n_shot that the data set's first fold can give: `most`, or all of the smallest class."""
    fold = next(iter(folds_of(dataset)[0]), 0)
    path = data_folder() / ground_truth_path(dataset, fold, 'train')
    if not path.exists():
        return most
    labels = list(read_ground_truth(path, len(read_classes(dataset))).values())
    return max(1, min(most, *(labels.count(label) for label in set(labels))))


if __name__ == '__main__':
    run_script(main)
