"""Score the fine-tuned networks of an experiment on the test part of its data set.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_evaluate.py fold_0_1541174334
        python transfer_evaluate.py latest test_batch_size=64
Reads:  experiments/<experiment>/ (transfer_train.py), audio_representation/<dataset>__<type>/, index/<dataset>/.
Writes: in each model folder test.result, test_predictions.tsv, confusion_matrix.tsv, class_report.tsv; in the
        experiment folder experiment.result and confusion_matrix.png (all models); a row per run in experiments/results.tsv.
"""
from methods import evaluate_from_command_line
from shared import run_script


def main():
    evaluate_from_command_line(__doc__, 'config_transfer')


if __name__ == '__main__':
    run_script(main)
