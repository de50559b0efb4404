"""Train prototypical networks that begin as VGGish on a few clips per class and score them.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_proto.py audioset
        python transfer_proto.py audioset dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 max_accuracy=10
Reads:  vggish_model.ckpt (aux/download.py vggish), audio_representation/<dataset>__audioset/ (preprocess.py) and
        index/<dataset>/.
Writes: what proto.py writes, under experiments/fold_<fold>_<seconds>/ and experiments/results.tsv; head.npz (the new layer)
        instead of the weights unless keep_weights=True. An interrupted experiment continues.
"""
import checkpoint
from experiment import configuration_from_command_line
from fewshot import Task
from shared import run_script


def main():
    config = checkpoint.configuration(configuration_from_command_line(__doc__, 'config_transfer_proto'))
    task = Task.load(config, wanted=('train', 'test'))
    import backend  # after the checks, because TensorFlow takes seconds to start
    import prototypical
    backend.set_up_device()
    experiment = prototypical.train_and_evaluate(config, task)
    print(f'results: experiments/{experiment}\nnext: python report.py dataset={config["dataset"]}')


if __name__ == '__main__':
    run_script(main)
