"""Fine-tune a network that was trained on AudioSet on a few clips per class, once per run (num_experiment_runs).

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_train.py audioset
        python transfer_train.py mn04 dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 save_weights=False
Reads:  weights of the network (aux/download.py vggish or mn04, mn10, yamnet), audio_representation/<dataset>__<type>/
        (preprocess.py audioset or mn04, mn10, yamnet) and index/<dataset>/. The entry `audioset` is VGGish, as in the study.
Writes: experiments/fold_<fold>_<seconds>/ under DATA_FOLDER: config.json, sounds.tsv, models.list, training.png, and per run a model
        folder with train_ids.tsv, train_log.tsv, model.weights.h5 (289 MB with VGGish), model.json; with save_weights=False head.npz instead of
        the weights, and what transfer_evaluate.py writes. An interrupted experiment continues.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_transfer')


if __name__ == '__main__':
    run_script(main)
