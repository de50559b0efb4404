"""Classify the embeddings of a pretrained network that does not learn: nearest class mean or logistic regression.

Usage:  CUDA_VISIBLE_DEVICES=0 python frozen.py mn04
        python frozen.py mn04 dataset=us8k fold=3 n_shot=5 classifier=logistic_regression
        python frozen.py yamnet dataset=esc10
Reads:  weights of the network (aux/download.py mn04), audio_representation/<dataset>__<type>/ (preprocess.py) and
        index/<dataset>/.
Writes: audio_representation/<dataset>__<type>__<network>_<digest>/ (embeddings, computed once), experiments/fold_<fold>_<seconds>/
        (config.json, sounds.tsv, train_ids.tsv and results per run), a row per run in experiments/results.tsv; all under DATA_FOLDER.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_frozen')


if __name__ == '__main__':
    run_script(main)
