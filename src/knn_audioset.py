"""Nearest-neighbour baseline on embeddings of a pretrained network, which are computed once per clip and stored.

Usage:  CUDA_VISIBLE_DEVICES=0 python knn_audioset.py
        python knn_audioset.py mn04 dataset=us8k fold=3 n_shot=5 metric=euclidean
Reads:  weights of the network (aux/download.py vggish or mn04, mn10, yamnet), audio_representation/<dataset>__<type>/
        (preprocess.py audioset or mn04, mn10, yamnet) and index/<dataset>/. Without an entry: VGGish, as in the study.
Writes: audio_representation/<dataset>__<type>__<network>_<digest>/ (embeddings), experiments/fold_<fold>_<seconds>/
        (config.json, sounds.tsv, train_ids.tsv and results per run), a row per run in experiments/results.tsv; all under DATA_FOLDER.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_knn_audioset')


if __name__ == '__main__':
    run_script(main)
