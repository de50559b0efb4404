"""Train prototypical networks on a few clips per class and score them, once per run (num_experiment_runs).

Usage:  CUDA_VISIBLE_DEVICES=0 python proto.py spec
        python proto.py spec dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 max_accuracy=10
Reads:  audio_representation/<dataset>__time-freq/ (preprocess.py) and index/<dataset>/.
Writes: experiments/fold_<fold>_<seconds>/ under DATA_FOLDER: config.json, sounds.tsv, models.list, experiment.result,
        training.png, and per run a model folder with train_ids.tsv, support.tsv, train_log.tsv, epoch_accuracies.tsv, model.weights.h5, model.json,
        prototypes.npz, embeddings_ and gt_{train,test}_set.npz, embeddings.png, test.result, test_predictions.tsv,
        confusion_matrix.tsv, class_report.tsv; confusion_matrix.png (all runs); a row per run in experiments/results.tsv. An
        interrupted experiment continues.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_proto')


if __name__ == '__main__':
    run_script(main)
