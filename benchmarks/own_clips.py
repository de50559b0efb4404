"""How well trained networks know their own training clips: what their moving averages of batch normalisation cost.

Usage: python benchmarks/own_clips.py [numbers of clips per class, e.g. 5 10]      with DATA_FOLDER set to one with trained networks
Prints the accuracy of each method of `sl_train.py` on the clips that it was trained on, as in the study and with new statistics, over the runs whose
weights are there for both. They are runs of `reproduce.py from_scratch`, with the same training clips and the same trained weights.
"""
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from experiment import config_of
from fewshot import read_drawn
from methods import method_of, start_tensorflow
from representation import Representation
from results import experiments_folder, results_so_far

NEW = ', new statistics'
RUN = ['dataset', 'fold', 'n_shot', 'seed', 'run']


def main(shots=()):
    rows = results_so_far().drop_duplicates(['method', *RUN], keep='last')
    folders = [experiments_folder() / experiment / model for experiment, model in zip(rows['experiment'], rows['model'])]
    rows = rows[[(folder / 'model.weights.h5').is_file() for folder in folders]]
    rows = rows[rows['n_shot'].isin(shots)] if shots else rows
    names = sorted(name for name in set(rows['method']) if f'{name}{NEW}' in set(rows['method']) and not name.startswith('proto'))
    start_tensorflow()
    found = []
    for name in names:
        both = rows[rows['method'] == name].merge(rows[rows['method'] == f'{name}{NEW}'], on=RUN, suffixes=('', '_new'))
        for row in both.itertuples():
            found.append({'method': name, 'n': int(row.n_shot), 'as in the study': accuracy(row.experiment, row.model),
                          'new statistics': accuracy(row.experiment_new, row.model_new), 'runs': 1})
    table = pd.DataFrame(found).groupby(['method', 'n']).agg({'as in the study': 'mean', 'new statistics': 'mean', 'runs': 'sum'})
    print(table.round(3).to_string())


def accuracy(experiment, model):
    """Share of a run's training clips that its network classifies correctly."""
    folder = experiments_folder() / experiment / model
    config = config_of(folder.parent)
    chosen = read_drawn(folder)
    arrays = Representation(config['audio_representation_folder'], config['dataset'])
    score = method_of(config).open(folder, config, arrays.open(chosen['id'][0]).shape[-1])
    decided = score(arrays, list(chosen['id'])).argmax(axis=1)
    return float(np.mean([config['classes'][label] == name for label, name in zip(decided, chosen['class'])]))


if __name__ == '__main__':
    main(sys.argv[1:])
