"""How well foreign sounds are told from own ones: classifiers of five classes of ESC-10, the other five classes are foreign.

Usage: python benchmarks/open_set.py [divisions]      with DATA_FOLDER set to one with an index of ESC-10 and the input of mn04
Each division of the ten classes into own and foreign ones is measured by cross-validation over ESC-10's folds: the temperature and the
threshold come from held-out clips of the four training folds, own and foreign clips of the fifth are judged.
"""
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
import calibration
import embeddings
import shallow
from methods import METHODS

KEPT = 0.95


def main(divisions=20):
    rows, rng = [], np.random.default_rng(0)
    own_sets = [sorted(rng.choice(10, 5, replace=False).tolist()) for _ in range(divisions)]
    checkpoint = [f'checkpoint={os.environ["MN04"]}'] if 'MN04' in os.environ else []
    for name in ('class_mean', 'logistic_regression'):
        method = METHODS['config_frozen']
        config = method.configure('mn04', ['dataset=esc10', f'classifier={name}', 'n_shot=all', *checkpoint])
        folds = [method.load_split({**config, **{f'gt_{part}': f'index/esc10/gt_esc10_fold{fold}_{part}.tsv' for part in ('train', 'test')}})
                 for fold in range(5)]
        features = embeddings.of_split(folds[0], config)
        tested = [list(split.test.items()) for split in folds]
        for own in own_sets:
            rows.append({'classifier': name, **division(name, config, features, tested, own)})
    table = pd.DataFrame(rows).groupby('classifier').mean()
    print(f'{divisions} divisions of ESC-10 into 5 own and 5 foreign classes, all clips of four folds to learn from; means over the divisions')
    print(table.round(3).to_string())


def division(name, config, features, tested, own):
    """Figures of one choice of own classes (dictionary)."""
    head, similarities = shallow.CLASSIFIERS[name], shallow.CLASSIFIERS[name].similarities

    def logits(learn, judge):
        keys, labels = zip(*[(key, own.index(label)) for fold in learn for key, label in tested[fold] if label in own])
        score = head.scorer(head.fit(*shallow.stack(features, keys), np.array(labels), config), config)
        keys = [key for key, _ in judge]
        return calibration.logits(score(*shallow.stack(features, keys)), similarities)

    known, confidences, right, accepted = [], [], [], []
    for fold in range(5):
        others = [k for k in range(5) if k != fold]
        held_out = [(logits([k for k in others if k != inner], [item for item in tested[inner] if item[1] in own]),
                     [own.index(label) for _, label in tested[inner] if label in own], inner) for inner in others]
        values, labels = np.concatenate([v for v, *_ in held_out]), np.concatenate([y for _, y, _ in held_out])
        found = calibration.calibrate(values, labels, np.repeat(others, [len(y) for _, y, _ in held_out]), KEPT, similarities)
        judged = logits(others, tested[fold])
        confidence = calibration.confidence(judged, similarities)
        known += [label in own for _, label in tested[fold]]
        confidences += list(confidence)
        accepted += list(confidence >= found['threshold'])
        right += [label in own and own[values.argmax()] == label for values, (_, label) in zip(judged, tested[fold])]
    known, accepted, right = map(np.array, (known, accepted, right))
    return {'area under ROC': roc_auc_score(known, confidences), 'own kept': accepted[known].mean(), 'foreign rejected': 1 - accepted[~known].mean(),
            'accuracy of accepted own': right[known & accepted].mean(), 'accuracy of own': right[known].mean()}


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
