"""Train prototypical networks that begin as VGGish on a few clips per class and score them.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_proto.py audioset
        python transfer_proto.py audioset dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 max_accuracy=10
Reads:  vggish_model.ckpt (aux/download.py vggish), audio_representation/<dataset>__audioset/ (preprocess.py) and
        index/<dataset>/.
Writes: what proto.py writes, under experiments/fold_<fold>_<seconds>/ and experiments/results.tsv; head.npz (the new layer)
        instead of the weights unless save_weights=True. An interrupted experiment continues.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_transfer_proto')


if __name__ == '__main__':
    run_script(main)
