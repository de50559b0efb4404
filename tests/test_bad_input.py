"""What a user can get wrong: each time one line with the offending value and the remedy, a non-zero exit, no traceback."""
import os
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

import commands
from commands import FAST, MEL, RATE, arrays, copy_of, experiments, labels, models, refused, rows, run_script, succeeded, temporary_files, tree, warm

TRAIN = ('sl_train.py', *FAST, 'epochs=2')
PROTO = ('proto.py', *FAST, 'filters=4', 'max_accuracy=0')
PREPROCESS = ('preprocess.py', 'spec', 'dataset=tones')
INDEX = 'index/tones/index_tones_folds_all.tsv'
TRUTH = 'index/tones/gt_tones_fold0_train.tsv'
TEST = 'index/tones/gt_tones_fold0_test.tsv'
SOURCE = 'index/tones/source_tones.json'


def train(*arguments):
    """The usual command with some keys set otherwise."""
    keys = {argument.partition('=')[0] for argument in arguments}
    return [argument for argument in TRAIN if argument.partition('=')[0] not in keys] + list(arguments)


@pytest.fixture(scope='module')
def tones():
    return commands.tones()


@pytest.fixture(scope='module')
def clean(tones, tmp_path_factory):
    """Index and spectrograms, no experiments; for commands that should write nothing."""
    folder = tmp_path_factory.mktemp('clean')
    for name in ('index/tones', MEL):
        shutil.copytree(tones / name, folder / name)
    return folder


@pytest.fixture
def data(clean, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(clean, tmp_path / 'data')


@pytest.fixture(scope='module')
def trained(clean, tmp_path_factory):
    """The same with a trained experiment."""
    folder = shutil.copytree(clean, tmp_path_factory.mktemp('trained') / 'data')
    succeeded(warm(*TRAIN, data_folder=folder))
    return folder


@pytest.fixture
def experiment(trained, tmp_path):
    """A copy of the trained experiment in its data folder, to be changed."""
    shutil.copytree(trained, tmp_path / 'data')
    return experiments(tmp_path / 'data')[0]


# ---- the command line ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('script, arguments, parts', [
    ('sl_train.py', ['nospec'], ["'nospec'", 'config_sl', 'spec_val']),
    ('preprocess.py', ['nospec'], ["'nospec'", 'config_preprocess', 'us8k_spec']),
    ('reproduce.py', ['nospec'], ["'nospec'", 'config_reproduce', 'paper']),
    ('reproduce.py', ['demo', 'datasets=nothing'], ["'nothing'", 'aux/', 'tones']),
    ('reproduce.py', ['demo', 'datasets=tones', 'methods=VGG,VGH'], ["['VGH']", 'config_methods', 'TIMBRE']),
    ('reproduce.py', ['demo', 'datasets=tones', 'folds=7'], ['folds=[7]', 'tones has the folds 0, 1, 2']),
    ('reproduce.py', ['demo', 'datasets=tones', 'fold=1'], ["'fold=1'", 'folds']),
    ('reproduce.py', ['demo', 'datasets=tones', 'methods=knn_mfcc', 'epochs=3'], ['epochs', 'no method of the plan']),
    ('sl_train.py', ['spec', 'foo=3'], ["'foo=3'", 'learning_rate', 'n_shot']),
    ('sl_train.py', ['spec', 'n_shot'], ["'n_shot'", 'key=value']),
    ('sl_train.py', ['spec', '=3'], ["'=3'", 'key=value']),
    ('knn_mfcc.py', ['epochs=3'], ["'epochs=3'", 'metric']),
    ('report.py', ['fold=3'], ["'fold=3'", 'dataset']),
    ('sl_train.py', ['spec', 'epochs=3', 'epochs=4'], ['epochs is given twice']),
    ('sl_train.py', ['spec', 'dataset=nothing'], ["'nothing'", 'aux/', 'tones']),
    ('knn_mfcc.py', ['dataset=nothing'], ["'nothing'", 'aux/', 'tones']),
    ('preprocess.py', ['spec', 'dataset=nothing'], ['index_nothing_folds_all.tsv does not exist', 'aux/']),
    ('report.py', ['dataset=nothing'], ['results.tsv does not exist', 'evaluated']),
    ('sl_evaluate.py', ['fold_0_1'], ["'fold_0_1'", 'sl_train.py']),
    ('sl_evaluate.py', ['latest'], ["'latest'", 'sl_train.py']),
    ('preprocess.py', ['spec', 'dataset=tones', 'audio_folder=/no/such'], ['/no/such does not exist', 'audio_folder=']),
    ('preprocess.py', ['spec', 'dataset=tones', 'n_machines=2', 'machine_i=2'], ['machine_i=2', '0 to n_machines - 1 = 1']),
    ('preprocess.py', ['spec', 'dataset=tones', 'n_mels=64'], ['n_mels=128 (asked: 64)', 'overwrite=True', 'identifier']),
    ('sl_train.py', ['spec', 'dataset=tones', 'fold=9'], ['gt_tones_fold9_train.tsv does not exist', 'aux/']),
    ('sl_train.py', ['spec', 'dataset=tones', 'num_classes_dataset=5'], ['num_classes_dataset=5', 'tones has 3 classes']),
    ('sl_train.py', ['spec', 'dataset=tones', 'n_shot=7'], ['n_shot=7', 'high (', 'n_shot up to ']),
    ('knn_mfcc.py', ['dataset=tones', 'n_shot=7'], ['n_shot=7', 'high (', 'n_shot up to ']),
    ('reproduce.py', ['demo', 'datasets=tones', 'n_shots=7', 'methods=TIMBRE', '--dry-run'], ['n = 7', 'the smallest class has']),
    ('sl_train.py', ['spec', 'dataset=tones', 'audio_representation_folder=nowhere'],
     ['nowhere', 'preprocess.py spec dataset=tones']),
])
def test_command_lines_that_cannot_work(clean, script, arguments, parts):
    refused(warm(script, *arguments, data_folder=clean), *parts)
    assert not (clean / 'experiments').exists()


@pytest.mark.parametrize('script, value, expected', [
    ('sl_train.py', 'n_shot=two', 'whole number'), ('sl_train.py', 'n_shot=0', "'all' or a whole number from 1"),
    ('sl_train.py', 'n_shot=2.5', 'whole number'), ('sl_train.py', 'n_shot=True', 'whole number'),
    ('sl_train.py', 'n_shot=[1', 'whole number'), ('sl_train.py', 'epochs=0', 'from 1'),
    ('sl_train.py', 'epochs=2.0', 'whole number'),
    ('sl_train.py', 'learning_rate=0', 'above 0'), ('sl_train.py', 'learning_rate=nan', 'a number'),
    ('sl_train.py', 'learning_rate=1e999', 'a number'), ('sl_train.py', 'weight_decay=-1', 'None or a number from 0'),
    ('sl_train.py', 'skip_missing=1', 'True, False'), ('sl_train.py', 'skip_missing=yes', 'True, False'),
    ('sl_train.py', 'fold=-1', 'from 0'), ('sl_train.py', 'seed=0.5', 'whole number'),
    ('sl_train.py', 'batch_size=None', 'from 1'),
    ('sl_train.py', 'normalize=test', "None, 'train', 'chosen'"),
    ('sl_train.py', 'pre_processing=log', "'logEPS', 'log10000', None"),
    ('sl_train.py', 'pad_short=no', "'repeat-pad', 'zero-pad'"),
    ('sl_train.py', 'train_sampling=all', "'random', 'overlap_sampling'"),
    ('sl_train.py', 'param_train_sampling=0', 'from 1'), ('sl_train.py', 'optimizer=Adam', "'SGD_clip'"),
    ('sl_train.py', 'gt_val=', 'None or text'), ('sl_train.py', 'gt_train=', 'text'), ('sl_train.py', 'n_frames=0', 'from 1'),
    ('preprocess.py', 'type=mel', "'time-freq', 'waveform'"), ('preprocess.py', 'spectrogram_type=log', "'mel', 'cqt', 'stft'"),
    ('preprocess.py', 'num_processing_units=0', "'all' or a whole number from 1"), ('preprocess.py', 'hop=0', 'from 1'),
    ('preprocess.py', 'resample_sr=44.1', 'whole number'), ('preprocess.py', 'convert_id=0', 'True, False'),
    ('knn_mfcc.py', 'metric=manhattan', "'cosine', 'euclidean'"),
    ('knn_mfcc.py', 'MFCC_number=0', 'from 1'), ('reproduce.py', 'n_shots=x', 'a list'), ('reproduce.py', 'n_shots=[]', 'a list'),
    ('reproduce.py', 'folds=[2,x]', 'a list'),
])
def test_values_that_a_key_cannot_have(clean, script, value, expected):
    arguments = {'sl_train.py': ['spec'], 'preprocess.py': ['spec'], 'reproduce.py': ['demo']}.get(script, [])
    arguments += ['datasets=tones' if script == 'reproduce.py' else 'dataset=tones']
    key, _, text = value.replace('1e999', 'inf').partition('=')
    refused(warm(script, *arguments, value, data_folder=clean), f'{key}=', text, 'is not valid', expected)
    assert not (clean / 'experiments').exists()


@pytest.mark.parametrize('options', [['resampler=nonsense', 'resample_sr=22050'],
                                     ['cqt_bins=120', 'spectrogram_type=cqt']], ids=str)
def test_options_that_no_file_can_be_done_with(tones, tmp_path, options):
    """The option is to blame, not 27 sound files."""
    shutil.copytree(tones / 'index', tmp_path / 'index')
    refused(warm(*PREPROCESS, *options, data_folder=tmp_path), *options[0].split('='))


@pytest.mark.parametrize('arguments', [[], ['spec', '--unknown']])
def test_usage_is_shown(tmp_path, arguments):
    done = warm('sl_train.py', *arguments, data_folder=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith('usage: sl_train.py') and 'Traceback' not in done.stderr


def test_a_command_that_cannot_work_in_a_process_of_its_own(clean):
    refused(run_script('sl_train.py', 'spec', 'foo=3', data_folder=clean, without_tensorflow=True), "'foo=3'", 'n_shot')


# ---- index, ground truth, representation -----------------------------------------------------------------------------

def edit(change):
    """Function that changes the text of a file."""
    return lambda path: path.write_text(change(path.read_text()))


def rewrite(content):
    return lambda path: path.write_bytes(content)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def half(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def first_row(text):
    """Function that puts `text` in the place of the label in the first row."""
    return edit(lambda content: f'{content.partition(chr(9))[0]}\t{text}\n{content.partition(chr(10))[2]}')


def add(line):
    return edit(lambda content: content + line)


@pytest.mark.parametrize('file, change, command, parts', [
    (INDEX, remove, PREPROCESS, ['folds_all.tsv does not exist', 'aux/']),
    (INDEX, rewrite(b''), PREPROCESS, ['folds_all.tsv is empty', 'aux/']),
    (INDEX, rewrite(b'\xff\xfe\x00\x01'), PREPROCESS, ['folds_all.tsv is not a text file', 'aux/']),
    (INDEX, rewrite(b'0\n'), PREPROCESS, ['line 1', 'expected 2 columns', "'0'"]),
    (INDEX, add('99\ta.wav\tb\n'), PREPROCESS, ['line 28', 'expected 2 columns', '99']),
    (INDEX, add('5\tlow/other.wav\n'), PREPROCESS, ['line 28', 'the id 5 occurs twice']),
    (INDEX, add('99\t/etc/sound.wav\n'), PREPROCESS, ['id 99', "'/etc/sound.wav'", 'below the audio folder']),
    (INDEX, add('99\t../sound.wav\n'), PREPROCESS, ['id 99', "'../sound.wav'", 'below the audio folder']),
    (INDEX, add('99\tlow/low_0.flac\n'), PREPROCESS, ['low/low_0.flac', 'low/low_0.wav', 'convert_id=True']),
    (INDEX, edit(lambda text: text.replace('low_3', 'low_x')), TRAIN,
     ['disagree', '1 clips', 'preprocess.py spec dataset=tones']),
    (SOURCE, remove, PREPROCESS, ['source_tones.json does not exist', 'audio_folder=']),
    (SOURCE, rewrite(b'{"a'), PREPROCESS, ['source_tones.json is damaged', 'audio_folder=']),
    (SOURCE, rewrite(b'[]'), PREPROCESS, ['source_tones.json should hold', 'audio_folder=']),
    (SOURCE, rewrite(b'{"audio_folder": "/no/such"}'), PREPROCESS, ['/no/such does not exist', 'audio_folder=']),
    (SOURCE, rewrite(b'{}'), PREPROCESS, ['audio_folder=']),
    ('index/tones/classes_tones.txt', remove, TRAIN, ["'tones'", 'classes_tones.txt does not exist', 'aux/']),
    ('index/tones/classes_tones.txt', rewrite(b'high\nlow\nlow\n'), TRAIN, ['classes_tones.txt', 'once']),
    (TRUTH, remove, TRAIN, ['fold0_train.tsv does not exist', 'aux/']),
    (TRUTH, rewrite(b''), TRAIN, ['fold0_train.tsv is empty', 'aux/']),
    (TRUTH, add('77\t[1.0, 0.0, 0.0]\n'), TRAIN, ['1 clips', '77', 'index and ground truth disagree']),
    (TRUTH, edit(lambda text: text + text.splitlines()[0] + '\n'), TRAIN, ['fold0_train.tsv, line', 'occurs twice']),
    (TRUTH, first_row('[1.0, 0.0, 0.0, 0.0]'), TRAIN, ['out of range', '4 classes', 'num_classes_dataset']),
    (TRUTH, first_row('[1.0, 0.0]'), TRAIN, ['out of range', '2 classes']),
    (TRUTH, first_row('[1.0, 1.0, 0.0]'), TRAIN, ['exactly one 1', '[1.0, 1.0, 0.0]']),
    (TRUTH, first_row('[0.0, 0.0, 0.0]'), TRAIN, ['exactly one 1', '[0.0, 0.0, 0.0]']),
    (TRUTH, first_row('[NaN, 0.0, 1.0]'), TRAIN, ['exactly one 1', '[NaN, 0.0, 1.0]']),
    (TRUTH, first_row('[1.0, 0.0,'), TRAIN, ['expected a list', "'[1.0, 0.0,'"]),
    (TRUTH, first_row('high'), TRAIN, ['expected a list', "'high'"]),
    (TRUTH, first_row('2'), TRAIN, ['expected a list', "'2'"]),
    (TRUTH, first_row('"001"'), TRAIN, ['expected a list', '001']),
    (TRUTH, first_row('[[1.0], 0.0]'), TRAIN, ['expected a list']),
    (TRUTH, first_row(''), TRAIN, ['expected']),
    (MEL, remove, TRAIN, ['config.json does not exist', 'preprocess.py spec dataset=tones']),
    (f'{MEL}/config.json', remove, TRAIN, ['config.json does not exist', 'preprocess.py spec dataset=tones']),
    (f'{MEL}/config.json', rewrite(b'{"type": '), TRAIN, ['config.json is damaged', 'preprocess.py spec dataset=tones']),
    (f'{MEL}/config.json', rewrite(b'{"type": '), PREPROCESS, ['config.json is damaged', 'delete']),
    (f'{MEL}/index.tsv', remove, TRAIN, ['index.tsv does not exist', 'preprocess.py spec dataset=tones']),
    (f'{MEL}/index.tsv', rewrite(b''), TRAIN, ['index.tsv is empty', 'preprocess.py spec dataset=tones']),
    (f'{MEL}/index.tsv', rewrite(b'nonsense\n'), TRAIN, ['index.tsv, line 1', "'nonsense'", 'reprocess.py spec dataset=tones']),
])
def test_damaged_files(data, file, change, command, parts):
    change(data / file)
    refused(warm(*command, data_folder=data), *parts)
    assert not (data / 'experiments').exists()


def test_a_clip_in_training_and_test_part(data):
    key, = list(labels(data / TEST))[:1]
    add(f'{key}\t[1.0, 0.0, 0.0]\n')(data / TRUTH)
    refused(warm(*TRAIN, data_folder=data), f'id {key} ', TRUTH, TEST)


def flat(path):
    commands.replace_array(path, np.zeros(128, np.float32))


def narrow(path):
    commands.replace_array(path, np.zeros((50, 64), np.float32))


def not_finite(path):
    commands.replace_array(path, np.full((50, 128), np.nan, np.float32))


@pytest.mark.parametrize('change, expected', [
    (remove, 'does not exist'), (half, 'is damaged'), (rewrite(b''), 'is damaged'), (rewrite(b'text'), 'is damaged'),
    (flat, 'shape (128,)'), (narrow, 'shape (50, 64)'), (not_finite, 'finite'),
], ids=['missing', 'half', 'empty', 'text', 'flat', 'narrow', 'NaN'])
@pytest.mark.parametrize('part', [TRUTH, TEST], ids=['training', 'test'])
def test_a_damaged_array_is_named(experiment, part, change, expected):
    """The last clip of a part is hit: every training clip is drawn, every test clip scored."""
    data = experiment.parents[1]
    key = list(labels(data / part))[-1]
    change(arrays(data)[key])
    command = ('sl_evaluate.py', 'latest') if part == TEST else train('n_shot=all')
    done = warm(*command, data_folder=data)
    if change is not_finite and part == TRUTH:
        refused(done, 'cost of epoch 2 is nan', 'check the input')
    else:
        refused(done, f' {key}', expected)


# ---- sound files -----------------------------------------------------------------------------------------------------

def truncated(path):
    soundfile.write(path, 0.1 * np.ones(5000), RATE)
    half(path)


def odd(value, subtype='FLOAT'):
    def write(path):
        samples = np.zeros(5000, np.float32)
        samples[7] = value
        soundfile.write(path, samples, RATE, subtype=subtype)
    return write


BAD = {  # by clip: how it is spoilt, and what the reason should say
    'high/high_1': (remove, 'does not exist'),
    'high/high_2': (rewrite(b''), 'empty'),
    'low/low_0': (truncated, 'truncated'),
    'low/low_3': (lambda path: soundfile.write(path, np.zeros(0), RATE), 'no samples'),
    'low/low_4': (rewrite(b'this is a text\n' * 50), 'not readable as audio'),
    'mid/mid_1': (odd(np.nan), '1 samples are NaN or infinite'),
    'mid/mid_6': (odd(np.inf), '1 samples are NaN or infinite'),
    'mid/mid_7': (lambda path: (path.unlink(), path.mkdir()), 'does not exist'),
    'mid/mid_8': (odd(3e30), 'not finite'),
}


def test_bad_sounds_among_good_ones(tones, tmp_path):
    data = tmp_path / 'data'
    copy_of(tones, data)
    shutil.rmtree(data / 'experiments', ignore_errors=True)  # of other tests
    shutil.rmtree(data / MEL)
    for clip, (spoil, _) in BAD.items():
        spoil(data / 'audio' / f'{clip}.wav')
    bad = {key: audio for key, audio in rows(data / INDEX) if audio[:-4] in BAD}

    done = warm(*PREPROCESS, data_folder=data)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('9 sound files were refused; all others are done.')
    errors = {key: (audio, reason) for key, audio, reason in rows(data / MEL / 'errors_0.tsv')}
    assert {key: audio for key, (audio, _) in errors.items()} == bad
    for audio, reason in errors.values():
        assert BAD[audio[:-4]][1] in reason and f'{audio}: {reason}' in done.stdout
    assert rows(data / MEL / 'index.tsv') == [row for row in rows(tones / MEL / 'index.tsv') if row[0] not in bad]
    good = {name: content for name, content in tree(tones / MEL, '*.npy').items() if name[:-4] not in BAD}
    assert tree(data / MEL, '*.npy') == good  # the bad ones spoil none of their neighbours

    done = warm('knn_mfcc.py', 'dataset=tones', 'n_shot=1', data_folder=data)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('9 sound files were refused')
    assert not experiments(data)

    missing = [key for key in labels(data / TRUTH) if key in bad]
    refused(warm(*train('n_shot=1'), data_folder=data), f'{len(missing)} clips', 'skip_missing=True',
            *[f'{key} ({errors[key][1]}' for key in missing[:8]])
    assert not experiments(data)
    text = succeeded(warm(*train('n_shot=all', 'skip_missing=True'), data_folder=data))
    assert f'skipping {len(missing)} clips' in text
    model, = models(experiments(data)[0])
    assert sorted(key for key, _ in rows(model / 'train_ids.tsv')) == sorted(set(labels(data / TRUTH)) - set(bad))
    text = succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    assert f'skipping {len(set(labels(data / TEST)) & set(bad))} clips' in text
    tested = [row[0] for row in rows(model / 'test_predictions.tsv')[1:]]
    assert tested == [key for key in labels(data / TEST) if key not in bad]

    for clip in BAD:  # once they are mended, the same command does these and no others
        path = data / 'audio' / f'{clip}.wav'
        if path.is_dir():
            path.rmdir()
        shutil.copy2(tones / 'audio' / f'{clip}.wav', path)
    assert '18 of 27 clips are there already' in succeeded(warm(*PREPROCESS, data_folder=data))
    assert tree(data / MEL) == tree(tones / MEL)


def test_a_sound_that_broke_is_left_out_whoever_did_it_before(tones, tmp_path):
    """Two machines made the representation; then a file breaks, and one machine does all."""
    data = tmp_path / 'data'
    copy_of(tones, data)
    for machine in range(2):
        succeeded(warm(*PREPROCESS, 'n_machines=2', f'machine_i={machine}', data_folder=data))
    (data / 'audio/mid/mid_3.wav').write_bytes(b'')
    assert warm(*PREPROCESS, data_folder=data).returncode == 1
    key, = [key for key, audio in rows(data / INDEX) if audio == 'mid/mid_3.wav']
    assert [row[0] for row in rows(data / MEL / 'errors_0.tsv')] == [key]
    assert key not in [row[0] for row in rows(data / MEL / 'index.tsv')]


def test_no_sound_at_all(tones, tmp_path):
    data = tmp_path / 'data'
    copy_of(tones, data)
    shutil.rmtree(data / MEL)
    for path in (data / 'audio').rglob('*.wav'):
        path.unlink()
    done = warm(*PREPROCESS, data_folder=data)
    assert done.returncode == 1 and '27 sound files were refused' in done.stderr and 'next:' not in done.stdout
    refused(warm(*TRAIN, data_folder=data), 'preprocess.py spec dataset=tones')


# ---- representations made with other parameters ----------------------------------------------------------------------

@pytest.mark.parametrize('name, configuration', [('demo', 'spec dataset=demo'), ('tones', 'spec dataset=tones')])
def test_a_representation_older_than_its_configuration(clean, tmp_path, name, configuration):
    """As if n_mels had been edited in config_file.py after preprocess.py; also where the data set has an entry of its own."""
    for path, content in tree(clean).items():
        target = tmp_path / path.replace('tones', name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if target.suffix == '.npy' else content.replace(b'tones', name.encode()))
    train = ('sl_train.py', 'spec', f'dataset={name}', 'n_shot=1', 'model_number=2', 'epochs=2')
    succeeded(warm(*train, data_folder=tmp_path))
    config = tmp_path / f'audio_representation/{name}__time-freq/config.json'
    edit(lambda text: text.replace('"n_mels": 128', '"n_mels": 127'))(config)
    refused(warm(*train, data_folder=tmp_path), 'n_mels=128 (here: 127)', f'preprocess.py {configuration} overwrite=True')


def test_a_representation_made_anew_after_the_training(experiment):
    data = experiment.parents[1]
    succeeded(warm(*PREPROCESS, 'n_mels=110', 'overwrite=True', data_folder=data))
    refused(warm('sl_evaluate.py', 'latest', data_folder=data), 'trained with n_mels=128 (here: 110)', 'again')
    succeeded(warm(*TRAIN, data_folder=data))  # what the command line of preprocess.py asked for is respected
    refused(warm(*PREPROCESS, data_folder=data), 'n_mels=110 (asked: 128)', 'overwrite=True')


# ---- training --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('arguments, parts', [
    (['model_number=77'], ['model_number=77', '3 (VGG)', '14 (log-learn VGG-128)']),
    (['model_number=12'], ['model_number=12', 'pre_processing=None']),
    (['model_number=12', 'pre_processing=None', 'normalize=train'], ['model_number=12', 'normalize=None']),
    (['model_number=1', 'n_frames=64'], ['model_number=1', 'frames x 32 bands', '64 x 128', 'n_frames']),
    (['load_model=nowhere'], ["load_model='nowhere'", 'model.weights.h5', 'finished model']),
], ids=str)
def test_models_that_cannot_be(clean, arguments, parts):
    refused(warm(*train(*arguments), data_folder=clean), *parts)
    assert not (clean / 'experiments').exists()


def test_timbre_needs_108_bands(data):
    succeeded(warm(*PREPROCESS, 'n_mels=64', 'overwrite=True', data_folder=data))
    refused(warm(*TRAIN, data_folder=data), 'model_number=2 (TIMBRE)', '108 bands', '128 x 64', 'n_mels')
    assert not (data / 'experiments').exists()


@pytest.mark.parametrize('source, target', [(2, 1), (2, 12), (12, 2)])
def test_load_model_of_another_architecture(data, source, target):
    compression = {12: ['pre_processing=None']}
    succeeded(warm(*train(f'model_number={source}', 'epochs=1', *compression.get(source, [])), data_folder=data))
    model, = models(experiments(data)[0])
    done = warm(*train(f'model_number={target}', f'load_model={model}', *compression.get(target, [])), data_folder=data)
    refused(done, model / 'model.weights.h5', 'model_number')
    assert len(experiments(data)) == 1


@pytest.mark.parametrize('configuration', ['spec', 'spec_val'])
def test_a_learning_rate_that_diverges(data, configuration):
    done = warm('sl_train.py', configuration, *train('epochs=5', 'learning_rate=1e38')[2:], data_folder=data)
    refused(done, 'diverged', 'smaller learning_rate than 1e+38')
    experiment, = experiments(data)
    assert not (experiment / 'models.list').exists()  # nothing that could be evaluated


def test_a_learning_rate_whose_last_update_diverges(data):
    """No cost tells: it belongs to the weights before the update. The evaluation does at the latest."""
    done = warm(*train('learning_rate=1e38'), data_folder=data)
    if done.returncode == 0:
        done = warm('sl_evaluate.py', 'latest', data_folder=data)
    refused(done, 'finite', 'learning_rate')


# ---- evaluation ------------------------------------------------------------------------------------------------------

def change_weights(change):
    return lambda experiment: change(models(experiment)[0] / 'model.weights.h5')


def other_weights(path):
    """Weights of the same layers, of another size."""
    import h5py
    with h5py.File(path, 'r+') as file:
        del file['layers/strongest_match/vars/1']
        file['layers/strongest_match/vars/1'] = np.zeros(5, np.float32)


@pytest.mark.parametrize('change, parts', [
    (lambda e: remove(e / 'models.list'), ['no trained model', 'training command again']),
    (lambda e: rewrite(b'')(e / 'models.list'), ['no trained model', 'training command again']),
    (lambda e: remove(models(e)[0]), ['model.json does not exist', 'train again']),
    (lambda e: remove(models(e)[0] / 'model.json'), ['model.json does not exist', 'train again']),
    (lambda e: rewrite(b'{"run"')(models(e)[0] / 'model.json'), ['model.json is damaged', 'train again']),
    (lambda e: remove(e / 'config.json'), ['config.json does not exist', 'train again']),
    (lambda e: rewrite(b'{"dataset"')(e / 'config.json'), ['config.json is damaged', 'train again']),
    (lambda e: rewrite(b'{}')(e / 'config.json'), ['experiments/fold_0_', 'not by sl_train.py']),
    (change_weights(remove), ['model.weights.h5']), (change_weights(half), ['model.weights.h5', 'damaged']),
    (change_weights(rewrite(b'')), ['model.weights.h5', 'damaged']),
    (change_weights(rewrite(b'text')), ['model.weights.h5', 'damaged']),
    (change_weights(other_weights), ['model.weights.h5', 'damaged', 'model_number']),
    (lambda e: remove(e.parents[1] / 'audio_representation'),
     ['config.json does not exist', 'preprocess.py spec dataset=tones']),
    (lambda e: remove(e.parents[1] / 'index'), ['fold0_test.tsv does not exist', 'aux/']),
    (lambda e: add('77\t[1.0, 0.0, 0.0]\n')(e.parents[1] / TEST), ['1 clips', '77', 'skip_missing=True']),
], ids=['no list', 'empty list', 'no model', 'no model.json', 'half model.json', 'no config', 'half config', 'empty config',
        'no weights', 'half weights', 'empty weights', 'text for weights', 'weights of another size', 'no representation',
        'no index', 'unknown id'])
def test_experiments_that_cannot_be_evaluated(experiment, change, parts):
    change(experiment)
    refused(warm('sl_evaluate.py', experiment.name, data_folder=experiment.parents[1]), *parts)
    assert not (experiment / 'experiment.result').exists()


@pytest.mark.parametrize('argument, parts', [('test_hop=0', ['test_hop=0', 'from 1']), ('epochs=5', ["'epochs=5'", 'test_hop']),
                                             ('gt_test=nowhere.tsv', ['nowhere.tsv does not exist'])])
def test_overrides_that_an_evaluation_cannot_have(trained, argument, parts):
    refused(warm('sl_evaluate.py', 'latest', argument, data_folder=trained), *parts)


def test_a_baseline_s_experiment(trained, tmp_path):
    """It has no network; `latest` is the newest experiment that has."""
    data = shutil.copytree(trained, tmp_path / 'data')
    succeeded(warm('knn_mfcc.py', 'dataset=tones', 'n_shot=1', 'num_experiment_runs=1', data_folder=data))
    network, baseline = experiments(data)
    refused(warm('sl_evaluate.py', baseline.name, data_folder=data), baseline.name, 'knn_mfcc.py', 'sl_train.py')
    assert f'experiments/{network.name}\n' in succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))


def test_a_folder_with_a_name_of_its_own_among_the_experiments(experiment):
    """A copy that the user made is no reason to fail."""
    shutil.copytree(experiment, experiment.with_name('fold_0_backup'))
    data = experiment.parents[1]
    assert f'experiments/{experiment.name}\n' in succeeded(warm('sl_evaluate.py', 'latest', data_folder=data))
    succeeded(warm('sl_evaluate.py', 'fold_0_backup', data_folder=data))
    refused(warm('sl_evaluate.py', 'fold_0_nothing', data_folder=data), "'fold_0_nothing'")


@pytest.mark.parametrize('content', [b'', b'nonsense', b'a\tb\n1\t2\n', b'\xff\xfe'],
                         ids=['empty', 'text', 'other table', 'binary'])
def test_a_damaged_table_of_results(experiment, content):
    data = experiment.parents[1]
    table = data / 'experiments/results.tsv'
    table.write_bytes(content)
    refused(warm('report.py', 'dataset=tones', data_folder=data), table)
    refused(warm('sl_evaluate.py', 'latest', data_folder=data), table)
    assert table.read_bytes() == content


# ---- where nothing can be written ------------------------------------------------------------------------------------

def in_namespace(*setup):
    """Prefix that runs a command with mounts of its own; skips the test where that is not permitted."""
    prefix = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', ' && '.join([*setup, 'exec "$@"']), '-']
    try:
        allowed = subprocess.run([*prefix, 'true'], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip('mounts are not permitted here')
    return prefix


@pytest.mark.parametrize('command', [('index_folder.py', 'audio', 'tones'), PREPROCESS, TRAIN,
                                     ('report.py', 'dataset=tones')], ids=str)
def test_data_folder_below_a_file(tones, tmp_path, command):
    (tmp_path / 'file').write_text('')
    done = warm(*command, data_folder=tmp_path / 'file/data', cwd=tones)
    refused(done, tmp_path / 'file')


def test_data_folder_that_cannot_be_made(tones):
    """/proc takes no folders, whoever asks."""
    refused(warm('index_folder.py', tones / 'audio', 'tones', data_folder='/proc/nowhere/data'), '/proc/nowhere', 'DATA_FOLDER')


def test_read_only_data_folder(tones, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(tones / 'index', data / 'index')
    prefix = in_namespace(f'mount --bind {data} {data}', f'mount -o remount,ro,bind {data}')
    refused(run_script(*PREPROCESS, data_folder=data, prefix=prefix), 'Read-only file system', data, 'DATA_FOLDER')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_data_folder_without_permission(clean, tmp_path):
    data = shutil.copytree(clean, tmp_path / 'data')
    data.chmod(0o555)
    refused(warm(*TRAIN, data_folder=data), 'Permission denied', data, 'DATA_FOLDER')


def test_files_beyond_the_limit_of_the_shell(tones, tmp_path):
    """`ulimit -f`: some arrays are larger. What is done stays, and without the limit the rest follows."""
    shutil.copytree(tones / 'index', tmp_path / 'index')
    limited = ['bash', '-c', 'ulimit -f 10 && exec "$@"', '-']
    refused(run_script(*PREPROCESS, data_folder=tmp_path, prefix=limited), 'DATA_FOLDER', 'same command again')
    assert temporary_files(tmp_path) == [] and not (tmp_path / MEL / 'index.tsv').exists()
    succeeded(warm(*PREPROCESS, data_folder=tmp_path))
    assert tree(tmp_path / MEL) == tree(tones / MEL)


@pytest.mark.parametrize('command, kilobytes', [(PREPROCESS, 400), (TRAIN, 24), (PROTO, 24)],
                         ids=['preprocess', 'sl_train', 'proto'])
def test_a_full_disk(clean, tmp_path, command, kilobytes):
    """A disk of that size holds the experiments or representation."""
    data = shutil.copytree(clean, tmp_path / 'data')
    small = data / (MEL if command == PREPROCESS else 'experiments')
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    prefix = in_namespace(f'mount -t tmpfs -o size={kilobytes}k none {small}')
    refused(run_script(*command, data_folder=data, prefix=prefix), 'DATA_FOLDER', 'same command again')
