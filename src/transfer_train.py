"""Fine-tune VGGish, which was trained on AudioSet, on a few clips per class, as often as the configuration says.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_train.py audioset
        python transfer_train.py audioset dataset=us8k fold=3 n_shot=5 num_experiment_runs=3 keep_weights=False
Reads:  vggish_model.ckpt (aux/download.py vggish), audio_representation/<dataset>__audioset/ (preprocess.py) and
        index/<dataset>/.
Writes: experiments/fold_<fold>_<seconds>/ under DATA_FOLDER: config.json, models.list, and per run a model folder with
        train_ids.tsv, train_log.tsv, model.weights.h5 (289 MB), model.json; with keep_weights=False head.npz instead of
        the weights, and what transfer_evaluate.py writes. An interrupted experiment continues.
"""
import checkpoint
from experiment import configuration_from_command_line
from fewshot import Task
from shared import run_script


def main():
    config = checkpoint.configuration(configuration_from_command_line(__doc__, 'config_transfer'))
    task = Task.load(config)
    import backend  # after the checks, because TensorFlow takes seconds to start
    import supervised
    backend.set_up_device()
    experiment = supervised.train(config, task)
    print(f'next: python transfer_evaluate.py {experiment}' if config['keep_weights'] else
          f'results: experiments/{experiment}\nnext: python report.py dataset={config["dataset"]}')


if __name__ == '__main__':
    run_script(main)
