"""Train a regularised CNN on a few clips per class, once per run (num_experiment_runs).

Usage:  CUDA_VISIBLE_DEVICES=0 python sl_train.py spec
        python sl_train.py spec dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 seed=1 model_number=2
Reads:  audio_representation/<dataset>__time-freq/ (preprocess.py) and index/<dataset>/.
Writes: experiments/fold_<fold>_<seconds>/ under DATA_FOLDER: config.json, sounds.tsv, models.list, training.png, and per run a model
        folder with train_ids.tsv, train_log.tsv, model.weights.h5, model.json. An interrupted experiment continues.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_sl')


if __name__ == '__main__':
    run_script(main)
