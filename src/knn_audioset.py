"""Nearest-neighbour baseline on VGGish embeddings, which are computed once per clip and checkpoint and kept.

Usage:  CUDA_VISIBLE_DEVICES=0 python knn_audioset.py
        python knn_audioset.py dataset=us8k fold=3 n_shot=5 metric=euclidean
Reads:  vggish_model.ckpt (aux/download.py vggish), audio_representation/<dataset>__audioset/ (preprocess.py) and
        index/<dataset>/.
Writes: audio_representation/<dataset>__audioset__vggish_<checkpoint>/ (embeddings), experiments/fold_<fold>_<seconds>/
        (train_ids.tsv and results per run), a row per run in experiments/results.tsv; all under DATA_FOLDER.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_knn_audioset')


if __name__ == '__main__':
    run_script(main)
