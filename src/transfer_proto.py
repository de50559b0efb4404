"""Train prototypical networks that begin as a network trained on AudioSet, on a few clips per class, and score them.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_proto.py audioset
        python transfer_proto.py mn04 dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 max_accuracy=10
Reads:  weights of the network (aux/download.py vggish or mn04, mn10, yamnet), audio_representation/<dataset>__<type>/
        (preprocess.py audioset or mn04, mn10, yamnet) and index/<dataset>/. The entry `audioset` is VGGish, as in the study.
Writes: what proto.py writes, under experiments/fold_<fold>_<seconds>/ and experiments/results.tsv; head.npz (the new layer)
        instead of the weights unless save_weights=True. An interrupted experiment continues.
"""
from methods import train_from_command_line
from shared import run_script


def main():
    train_from_command_line(__doc__, 'config_transfer_proto')


if __name__ == '__main__':
    run_script(main)
