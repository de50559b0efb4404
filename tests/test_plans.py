"""Plans: which runs they consist of, in which order, which of these are done, what the others will take."""
import numpy as np
import pandas as pd
import pytest

import config_file
import plans
import pretrained
import representation
from configuration import configure
from conftest import make_representation
from fewshot import DataSplit
from methods import METHODS
from results import COLUMNS, config_hash, data_hash, results_so_far
from shared import UserError


@pytest.fixture
def toy(data_folder):
    """A data set of 9 training and 3 test clips with spectrograms, MFCCs and two folds, of which the second is the first turned."""
    labels = {str(i): i % 3 for i in range(12)}
    train, test = {k: v for k, v in labels.items() if int(k) < 9}, {k: v for k, v in labels.items() if int(k) >= 9}
    for kind, shape in (('time-freq', (130, 128)), ('mfcc', (6,))):
        make_representation(data_folder, {key: np.full(shape, float(key)) for key in labels}, train, test, kind=kind)
    index = data_folder / 'index/toy'
    (index / 'gt_toy_fold1_train.tsv').write_text((index / 'gt_toy_fold0_test.tsv').read_text())
    (index / 'gt_toy_fold1_test.tsv').write_text((index / 'gt_toy_fold0_train.tsv').read_text())
    return data_folder


def plan(*overrides, name='demo'):
    overrides = overrides if any(text.startswith('datasets=') for text in overrides) else ('datasets=toy', *overrides)
    return plans.Plan(configure('config_reproduce', name, overrides, {*plans.method_keys(), 'dry_run'}))


def described(jobs):
    return [(job.run, job.config['fold'], job.config['n_shot'], job.method) for job in jobs]


def test_one_run_of_everything_comes_first_then_more(toy):
    opened = plan('methods=knn_mfcc,TIMBRE', 'n_shots=3,1', 'num_experiment_runs=2')
    one = [(n, method) for n in (1, 3) for method in ('knn_mfcc', 'TIMBRE')]
    less = [(n, method) for n, method in one if n == 1]  # one training clip per class in fold 1
    folds = ((0, one), (1, less))
    assert described(opened.jobs()) == [(run, fold, *rest) for run in (0, 1) for fold, part in folds for rest in part]
    assert opened.notes == ['toy, n = 3: left out where the smallest class has fewer training clips (1)']


def test_what_is_named_twice_is_done_once_and_folds_must_be_there(toy):
    opened = plan('methods=TIMBRE,TIMBRE', 'n_shots=1,1', 'folds=[1,1]', 'datasets=toy,toy', 'num_experiment_runs=1')
    assert described(opened.jobs()) == [(0, 1, 1, 'TIMBRE')] and opened.notes == []
    with pytest.raises(UserError, match=r'no data set has fold 7'):
        plan('folds=1,7')


def test_methods_with_validation_need_a_validation_set(toy):
    arguments = 'methods=TIMBRE', 'n_shots=1', 'num_experiment_runs=1'
    both = "methods=['TIMBRE','TIMBRE, validated']"
    opened = plan(both, *arguments[1:])
    assert described(opened.jobs()) == described(plan(*arguments).jobs())
    assert opened.missing == [('toy', 'TIMBRE, validated', 'needs a validation set')]
    assert opened.notes == ['toy: methods with validation are left out where a fold has no validation set']
    index = toy / 'index/toy'
    lines = (index / 'gt_toy_fold0_train.tsv').read_text().splitlines(keepends=True)
    (index / 'gt_toy_fold0_train.tsv').write_text(''.join(lines[:6]))
    (index / 'gt_toy_fold0_val.tsv').write_text(''.join(lines[6:]))
    jobs = plan(both, 'folds=0', *arguments[1:]).jobs()
    assert [job.method for job in jobs] == ['TIMBRE', 'TIMBRE, validated']
    (plain, _), (validated, _) = ((job.identity[5], job.config.get('gt_val')) for job in jobs)
    assert plain != validated and jobs[1].config['gt_val'] == 'index/toy/gt_toy_fold0_val.tsv'


def test_all_clips_come_last(toy):
    opened = plan('methods=knn_mfcc', "n_shots=['all',2,1]", 'folds=0', 'num_experiment_runs=1')
    sizes = [(job.config['n_shot'], job.train_clips, job.test_clips) for job in opened.jobs()]
    assert sizes == [(1, 3, 3), (2, 6, 3), ('all', 9, 3)]


def test_configurations_are_those_of_the_scripts(toy):
    jobs = plan('methods=log-learn VGG,proto', 'n_shots=2', 'folds=0', 'num_experiment_runs=2', 'seed=7', 'epochs=9',
                'filters=5').jobs()
    common = ['dataset=toy', 'fold=0', 'n_shot=2', 'seed=7', 'skip_missing=True']
    log_learn = [*common, 'model_number=13', 'pre_processing=None', 'epochs=9', 'batch_size=16']
    wanted = {'log-learn VGG': METHODS['config_sl'].configure('spec', log_learn),
              'proto': METHODS['config_proto'].configure('spec', [*common, 'filters=5', 'max_accuracy=5'])}
    for job in jobs:
        ours, script = ({k: v for k, v in config.items() if k != 'overrides'} for config in (job.config, wanted[job.method]))
        assert ours == {**script, 'num_experiment_runs': job.run + 1}
        task = DataSplit.load(job.config)
        assert job.identity == ('toy', 0, '2', 7, job.run, config_hash(script | task.identity), data_hash(task.data))


def test_another_resampler_makes_mfccs_of_their_own(toy):
    opened = plan('methods=knn_mfcc,TIMBRE', 'resampler=kaiser_2018', 'n_mels=96')
    mfcc, mel = (opened.configure(method, 'toy', 0, 1, 1) for method in ('knn_mfcc', 'TIMBRE'))
    assert mfcc['audio_representation_folder'] == 'audio_representation/toy-resamplerkaiser_2018__mfcc/' and mfcc['resampler'] == 'kaiser_2018'
    assert mel['audio_representation_folder'] == 'audio_representation/toy-resamplerkaiser_2018-n_mels96__time-freq/'
    plain = plan('methods=knn_mfcc,TIMBRE', 'n_mels=96').configure('knn_mfcc', 'toy', 0, 1, 1)
    assert plain['audio_representation_folder'] == 'audio_representation/toy__mfcc/'


def test_every_method_of_every_plan_exists():
    for name, config in config_file.config_reproduce.items():
        assert set(config['methods']) <= set(config_file.config_methods), name
    for group, entry, differing in config_file.config_methods.values():
        assert set(differing) <= set(getattr(config_file, group)[entry])
    assert config_file.config_reproduce['paper']['methods'] == list(config_file.config_methods)


def test_methods_that_need_the_checkpoint_are_left_out_and_named(toy, tmp_path):
    opened = plan('methods=transfer,knn_mfcc,knn_audioset', f'checkpoint={tmp_path}/none.ckpt', 'n_shots=1', 'folds=0')
    assert opened.missing == [('toy', method, 'needs the weights of VGGish') for method in ('transfer', 'knn_audioset')]
    assert opened.notes[0].startswith('transfer, knn_audioset: left out, no weights of VGGish.')
    assert 'download.py vggish' in opened.notes[0]
    assert {job.method for job in opened.jobs()} == {'knn_mfcc'}
    with pytest.raises(UserError, match='nothing can be run: transfer: left out'):
        plan('methods=transfer', f'checkpoint={tmp_path}/none.ckpt').jobs()


def test_methods_with_damaged_weights_are_left_out(toy, tmp_path, monkeypatch):
    """A file of the published name that is too small: download.py refuses to replace it."""
    monkeypatch.setattr(pretrained, 'locate', lambda name: tmp_path / name)  # as if that were src/
    path = tmp_path / 'mn04_as_mAP_432.pt'
    path.write_bytes(b'PK, and what the connection gave')
    opened = plan('methods=mn04 class mean,mn04 transfer,knn_mfcc', 'n_shots=1', 'folds=0')
    assert opened.missing == [('toy', method, 'needs the weights of mn04') for method in ('mn04 class mean', 'mn04 transfer')]
    assert opened.notes[0].startswith('mn04 class mean, mn04 transfer: left out, no weights of mn04. ')
    assert f'{path} with the weights of mn04 is damaged' in opened.notes[0] and 'delete it and download it again' in opened.notes[0]
    assert {job.method for job in opened.jobs()} == {'knn_mfcc'}
    with pytest.raises(UserError, match='is damaged, .*delete it and download it again, .*download.py mn04'):
        pretrained.path_of({'network': 'mn04', 'checkpoint': str(path)})
    path.rename(tmp_path / 'mine.pt')
    assert pretrained.path_of({'network': 'mn04', 'checkpoint': str(tmp_path / 'mine.pt')}) == tmp_path / 'mine.pt'


@pytest.mark.parametrize('overrides, message', [
    (['methods=VGG,VGH'], r"methods=\['VGH'\] are not in config_methods .*TIMBRE"),
    (['folds=5'], r'folds=\[5\]: toy has the folds 0, 1'),
    (['methods=knn_mfcc', 'epochs=3'], 'epochs: no method of the plan has such a key'),
    (['methods=knn_mfcc', 'n_shots=4'], 'nothing can be run: toy, n = 4: left out where the smallest class has fewer')])
def test_plans_that_cannot_be_carried_out(toy, overrides, message):
    with pytest.raises(UserError, match=message):
        plan(*overrides).jobs()


def test_a_fold_without_a_training_set_is_left_out(toy):
    (toy / 'index/toy/gt_toy_fold1_train.tsv').rename(toy / 'train.tsv')
    try:
        opened = plan('methods=knn_mfcc', 'n_shots=1', 'num_experiment_runs=1')
        assert opened.notes == ['toy, folds 1: left out, they have no training or no test set']
        assert {job.config['fold'] for job in opened.jobs()} == {0}
    finally:
        (toy / 'train.tsv').rename(toy / 'index/toy/gt_toy_fold1_train.tsv')


def test_a_checkpoint_for_several_networks_is_refused(toy):
    with pytest.raises(UserError, match='checkpoint=.*several networks .mn04, vggish'):
        plan('methods=transfer,mn04 class mean', 'checkpoint=x')


@pytest.mark.parametrize('key', ['network', 'model_number', 'fold', 'n_shot', 'dataset', 'gt_test', 'resume', 'pre_processing'])
def test_keys_that_a_plan_decides(toy, key):
    with pytest.raises(UserError, match='is not understood'):
        plan(f'{key}=1')


def results(*jobs, **columns):
    """Rows of results.tsv of jobs."""
    common = {'train_seconds': 8.0, 'test_seconds': 2.0, 'clips': 4, 'experiment': 'fold_0_1', 'model': 'm', 'accuracy': 0.5}
    rows = [dict(zip(plans.IDENTITY, job.identity)) | common | columns for job in jobs]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize('column, value', [('config_hash', 'other'), ('data', 'other'), ('seed', 1), ('fold', 1), ('n_shot', '2'),
                                           ('run', 1), ('dataset', 'two')])
def test_only_a_result_of_the_same_configuration_seed_and_data_counts(toy, column, value):
    jobs = plan('methods=knn_mfcc,TIMBRE', 'n_shots=1', 'folds=0', 'num_experiment_runs=1').jobs()
    assert plans.without_result(jobs, results(jobs[0])) == jobs[1:]
    assert plans.without_result(jobs, results(jobs[0], **{column: value})) == jobs
    both = pd.concat([results(*jobs), results(jobs[0], **{column: value})])
    assert plans.without_result(jobs, both) == [] and len(plans.rows_of(jobs, both)) == 2


def test_sounds_that_changed_are_other_data(toy):
    job, = plan('methods=knn_mfcc', 'n_shots=1', 'folds=0', 'num_experiment_runs=1').jobs()
    done = results(job)
    array = next((toy / 'audio_representation/toy__mfcc').glob('*.npy'))
    representation.save_array(array, np.load(array), 'another sound')
    again, = plan('methods=knn_mfcc', 'n_shots=1', 'folds=0', 'num_experiment_runs=1').jobs()
    assert again.identity[:6] == job.identity[:6] and plans.without_result([again], done) == [again]


def test_estimates_are_medians_of_runs_of_the_same_kind(toy):
    small, big, other, *_ = jobs = plan('methods=TIMBRE', "n_shots=1,2,3", 'folds=0', 'num_experiment_runs=1').jobs()
    nothing = plans.Times(results_so_far())
    assert [nothing.seconds(job) for job in jobs] == [None] * 3
    assert nothing.describe(jobs) == '3 run(s) without a comparable measurement'
    measured = [(small, 3.0, 0), (other, 90.0, 0), (other, 99.0, 1), (other, 500.0, 2)]
    times = plans.Times(pd.concat(results(job, train_seconds=seconds, run=run) for job, seconds, run in measured))
    # 2 s of evaluation each
    assert times.seconds(small) == 3 + 2 and times.seconds(other) == 99 + 2 and times.seconds(big) is None
    assert times.describe(jobs) == 'about 2 min; 1 run(s) without a comparable measurement'


@pytest.mark.parametrize('seconds, text', [(0, '0 s'), (89, '89 s'), (91, '2 min'), (3599, '1 h 00 min'), (7500, '2 h 05 min'),
                                           (200000, '55 h 33 min')])
def test_durations(seconds, text):
    assert plans.duration(seconds) == text


def test_before_there_is_a_representation_a_dry_run_lists_and_nothing_else_does(toy):
    (toy / 'audio_representation/toy__mfcc/index.tsv').unlink()
    job, = plan('methods=knn_mfcc', 'n_shots=1', 'folds=0', 'num_experiment_runs=1', 'dry_run=True').jobs()
    assert job.identity == ('toy', 0, '1', 0, 0, None, None)
    assert plans.without_result([job], results(job, config_hash='', data='')) == [job]
    with pytest.raises(UserError, match='knn_mfcc.py dataset=toy'):
        plan('methods=knn_mfcc', 'n_shots=1', 'folds=0').jobs()
