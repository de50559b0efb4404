"""Real sounds and weights, ESC-10 and mn04: frozen embeddings, classifiers, suspicious labels."""
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import calibration
import classifier
import diagnosis
import shallow
from commands import experiments, models, succeeded, warm
from methods import METHODS
from results import read_results
from shared import read_classes, read_ground_truth

MN04, ESC10 = (os.environ.get(name) for name in ('MN04', 'ESC10'))

pytestmark = pytest.mark.skipif(not (MN04 and ESC10), reason='MN04 and ESC10 do not name the weights of mn04 and the recordings')


@pytest.fixture(scope='module')
def embedded(tmp_path_factory):
    """A data folder with the embeddings of all clips, and what the experiment that made them printed: a nearest class mean."""
    folder = tmp_path_factory.mktemp('esc10') / 'data'
    succeeded(warm('index_esc.py', Path(ESC10).resolve(), data_folder=folder))
    succeeded(warm('preprocess.py', 'esc10_mn04', data_folder=folder))
    return folder, succeeded(warm('frozen.py', 'mn04', 'dataset=esc10', 'n_shot=5', f'checkpoint={Path(MN04).resolve()}', data_folder=folder))


@pytest.fixture
def folder(embedded, tmp_path, monkeypatch):
    """A data folder with index, log-mel values and embeddings, and no experiments; also of what runs in this process."""
    folder = tmp_path / 'data'
    shutil.copytree(embedded[0] / 'index', folder / 'index')
    shutil.copytree(embedded[0] / 'audio_representation', folder / 'audio_representation', copy_function=os.link)
    monkeypatch.setenv('DATA_FOLDER', str(folder))
    return folder


def test_frozen(embedded):
    """A nearest class mean over mn04 is right on more than 95 % of the clips from five examples per class."""
    accuracy = float(embedded[1].partition('n_shot 5: accuracy ')[2].split()[0])
    assert 0.95 < accuracy <= 1


def test_folds_2_to_5_classify_fold_1(folder, tmp_path):
    """A classifier of ESC-10's folds 2 to 5 decides on the files of fold 1 as the experiment's own test did."""
    succeeded(warm('frozen.py', 'mn04', 'dataset=esc10', 'fold=0', 'n_shot=all', 'num_experiment_runs=1', f'checkpoint={MN04}', data_folder=folder))
    experiment = experiments(folder)[-1]
    told = pd.read_csv(models(experiment)[0] / 'test_predictions.tsv', sep='\t')
    method = METHODS['config_frozen']
    config = method.configure('mn04', ['dataset=esc10', 'fold=0', 'n_shot=all', f'checkpoint={MN04}'])
    split = method.load_split(config)
    target = folder / 'classifiers/four'
    target.mkdir(parents=True)
    method.fit(target, config, split)
    scores = told[[f'score: {name}' for name in split.classes]].to_numpy()
    known = calibration.calibrate(scores, list(split.test.values()), np.arange(80) % 5, 0.95, similarities=True)
    classifier.Classifier('four', target, target, 'mn04 class mean', {**config, **split.identity}, {'median': 5.0, 'longest': 5.0}, known).save()
    text = succeeded(warm('classify.py', 'four', *(f'{ESC10}/{path}' for path in told['audio']), '--csv', tmp_path / 'out.csv', data_folder=folder))
    found = pd.read_csv(tmp_path / 'out.csv', keep_default_na=False)
    assert len(found) == 80 and found['best'].tolist() == told['predicted'].tolist() and 'mn04 class mean' in text
    assert (found['class'] != classifier.NONE).mean() >= 0.95
    opened = classifier.load('four')
    np.testing.assert_allclose(opened.scores([opened.array_of(f'{ESC10}/{path}') for path in told['audio'][:16]]), scores[:16], atol=2e-5)
    assert shallow.HEAD in {path.name for path in target.iterdir()}


def test_swapped_labels_are_the_most_suspicious(folder):
    """5 % of the labels are wrong: the first 5 % of the ranking hold at least 80 % of them."""
    rng = np.random.default_rng(0)
    swapped = set(map(str, rng.choice(400, 20, replace=False)))
    wrong = {key: (int(key) % 9 + 1) for key in swapped}  # so many classes further
    for path in sorted(folder.glob('index/esc10/*fold*_t*.tsv')):
        labels = read_ground_truth(path, 10)
        labels = {key: (label + wrong.get(key, 0)) % 10 for key, label in labels.items()}
        path.write_text(''.join(f'{key}\t{[float(c == label) for c in range(10)]}\n' for key, label in labels.items()))
    method = METHODS['config_frozen']
    for fold in range(5):
        config = method.configure('mn04', ['dataset=esc10', f'fold={fold}', 'n_shot=all', 'num_experiment_runs=1', f'checkpoint={MN04}',
                                           'classifier=logistic_regression'])
        method.train(config, method.load_split(config))
    table, classes = diagnosis.held_out(read_results())
    assert len(table) == 400 and classes == read_classes('esc10')
    first = diagnosis.suspicious(table, classes)['id'].head(20)
    assert len(swapped & set(first)) >= 16, len(swapped & set(first))
