"""Score the fine-tuned VGGish models of an experiment on the test part of its data set.

Usage:  CUDA_VISIBLE_DEVICES=0 python transfer_evaluate.py fold_0_1541174334
        python transfer_evaluate.py latest test_batch_size=64
Reads:  experiments/<experiment>/ (transfer_train.py), audio_representation/<dataset>__audioset/, index/<dataset>/.
Writes: in each model folder test.result, test_predictions.tsv, confusion_matrix.tsv / .png, class_report.tsv; in the
        experiment folder experiment.result; a row per run in experiments/results.tsv.
"""
from experiment import evaluation_from_command_line
from fewshot import Task
from shared import UserError, run_script


def main():
    folder, config, models = evaluation_from_command_line(__doc__, 'transfer_train', ('gt_test', 'test_hop', 'test_batch_size',
                                                                                      'skip_missing'))
    if not config['keep_weights']:
        raise UserError(f'{folder.name} was trained with keep_weights=False: it was evaluated then, and its weights are gone. Its '
                        f'results are in {folder}; train with keep_weights=True to evaluate later')
    task = Task.load(config, wanted=('test',), expected=config['audio_rep'])
    import backend  # after the checks, because TensorFlow takes seconds to start
    import supervised
    backend.set_up_device()
    supervised.evaluate(folder, {**config, 'checkpoint': None}, models, task)  # the weights come from the experiment
    print(f'results: {folder}\nnext: python report.py dataset={config["dataset"]}')


if __name__ == '__main__':
    run_script(main)
