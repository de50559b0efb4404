"""Reports: the folder with tables and figures, and the results section of the README."""
import json
import re
import shlex
import shutil
import sys

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import analysis
import figures
import page
import reporting
from commands import ROOT, refused, succeeded, temporary_files, tree, warm
from configuration import parse_arguments, parse_overrides
from conftest import results
from results import add_results, experiments_folder, read_results, results_path
from shared import UserError, write_dataset, write_table

FILES = {'.lock', 'report.html', 'report.md', 'accuracy.tsv', 'paired.tsv', 'verdicts.tsv', 'costs.tsv'}
CURVES = {'accuracy_toy.png', 'accuracy_toy.pdf'}


@pytest.fixture
def toy(data_folder):
    """A data set of four classes."""
    write_dataset('toy', data_folder, ['a.wav'] * 4, [0, 1, 2, 3], list('abcd'), [{'train': [0, 1, 2, 3]}], {})
    return data_folder


def files(folder):
    return {path.name for path in folder.iterdir()}


def cells(text, head):
    """Lines below the heading of the Markdown table that begins with `head` (list of lists of str)."""
    block = text[text.index(f'| {head}'):].partition('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in block[2:]]


def keep_matrix(row, counts, classes='ab'):
    """The confusion matrix of a row of results, where the evaluation would have left it."""
    folder = experiments_folder() / row.experiment / row.model
    folder.mkdir(parents=True)
    write_table(pd.DataFrame(counts, columns=list(classes), index=pd.Index(list(classes), name='true')).reset_index(),
                folder / 'confusion_matrix.tsv')
    return folder / 'confusion_matrix.tsv'


def shown(picture, method, methods):
    """How many pixels of a picture have the colour of a method."""
    colour = plt.matplotlib.colors.to_rgb(figures.styles(methods)[method]['color'])
    return int((np.abs(matplotlib.image.imread(picture)[..., :3] - colour).max(axis=2) < 0.02).sum())


# ---- the folder ------------------------------------------------------------------------------------------------------

def test_report(toy, capsys):
    rows = results({'accuracy': 0.25}, {'accuracy': 0.75, 'run': 1}, {'n_shot': '10'}, {'n_shot': 'all'},
                   {'method': 'TIMBRE', 'accuracy': 0.125}, {'method': 'TIMBRE', 'accuracy': 0.5, 'run': 1})
    folder = reporting.write(rows, 'mine')
    assert folder == experiments_folder() / 'report_mine' and files(folder) == FILES | CURVES
    text = (folder / 'report.md').read_text()
    assert text.startswith('# Results: mine\n\n## toy\n\ntoy: 6 results, fold 0 (10 test clips each), 1 to 2 runs per method')
    accuracy = [['TIMBRE', '0.312 +- 0.188 (2)', '', ''], ['VGG', '0.500 +- 0.250 (2)', '0.500 (1)', '0.500 (1)']]
    assert cells(text, 'accuracy, mean +- std (runs) | n = 5 ') == accuracy
    assert cells(text, 'mean (95 % interval) | n = 5 ')[0][1] == '0.312 (0.000 to 1.000, 2 runs)'
    assert cells(text, 'n | best') == [['5', 'VGG', 'TIMBRE', '+0.188', '-0.607 to +0.982', '0.205', '0.205', '2 in 1 fold']]
    assert cells(text, 'method | runs') == [['TIMBRE', '2', '0:00:20', '0:00:02'], ['VGG', '4', '0:00:40', '0:00:04']]
    assert '](accuracy_toy.png)' in text and 'Comparison with published' not in text  # there is no reference for this data set
    assert text.endswith(reporting.LEGEND)
    printed = capsys.readouterr().out
    assert cells(printed, 'accuracy, mean') == accuracy and printed.endswith(
        f'|\n\nreport: {folder / "report.html"} (open it in a browser), {folder / "report.md"}\n')
    for name, table in (('accuracy', analysis.summarise(rows)), ('paired', analysis.compare(rows)), ('costs', analysis.costs(rows))):
        stored = pd.read_csv(folder / f'{name}.tsv', sep='\t', dtype={'n_shot': str})
        pd.testing.assert_frame_equal(stored, table, check_dtype=False, rtol=1e-5)
        assert stored['dataset'].unique().tolist() == ['toy'] and len(stored)
    assert (folder / 'verdicts.tsv').read_text().startswith('dataset\tmethod\tn_shot\tfolds\tmean\t')


def test_verdicts_stand_in_the_report(data_folder):
    folder = reporting.write(results({'dataset': 'esc10', 'accuracy': 0.6}, {'dataset': 'esc10', 'method': 'proto'}), 'esc10')
    text = (folder / 'report.md').read_text()
    assert cells(text, 'method | n |') == [
        ['VGG', '5', '0', '0.600 (1)', '0.538 +- 0.081 (3)', '', '+0.062', 'inside the spread'],
        ['proto', '5', '0', '0.500 (1)', '0.438 (1)', 'max_accuracy=10', '+0.062', 'no spread known']]
    assert "Reference for VGG, proto: the study's released scripts, ported only as far as TensorFlow 2.21 requires" in text
    assert pd.read_csv(folder / 'verdicts.tsv', sep='\t')['verdict'].tolist() == ['inside the spread', 'no spread known']


def test_all_clips_alone(toy):
    """Without any number n, the figure has one place."""
    folder = reporting.write(results({'n_shot': 'all'}), 'toy')
    text = (folder / 'report.md').read_text()
    assert 'n = all' in text and files(folder) == FILES | CURVES
    assert 'docs/toy.png' in reporting.section(results({'n_shot': 'all'}))


def test_methods_that_could_not_be_run(toy, capsys):
    reason = 'needs the weights of VGGish'
    missing = [('toy', 'transfer', reason), ('toy', 'transfer', reason), ('toy', 'VGG', reason), ('other', 'knn_audioset', reason)]
    text = (reporting.write(results({}, {'n_shot': '20'}), 'toy', missing) / 'report.md').read_text()
    other, own = text.split('## toy')
    assert cells(own, 'accuracy, mean') == [['VGG', '0.500 (1)', '0.500 (1)'], ['transfer', reason, '']]
    assert '## other\n\nNo results.\n\n' in other and cells(other, 'accuracy, mean') == [['knn_audioset', reason]]
    printed = capsys.readouterr().out
    assert printed.startswith('\nother\n\n| accuracy') and '\n\ntoy\n\n| accuracy' in printed and printed.count(reason) == 2


def test_nothing_to_report(toy):
    with pytest.raises(UserError, match=r'no result to report: train and evaluate first, e\.g\. python sl_train\.py spec'):
        reporting.write(results({})[:0], 'toy', [('toy', 'transfer', 'needs the weights of VGGish')])
    assert not list(experiments_folder().glob('report_*'))


def test_an_earlier_report_is_replaced(toy):
    rows = results({'experiment': 'fold_0_7', 'model': 'm', 'correct': 2, 'clips': 3})
    keep_matrix(rows.loc[0], [[1, 1], [0, 1]])
    folder = reporting.write(rows, 'toy')
    assert files(folder) == FILES | CURVES | {'confusion_toy_VGG.png'}
    (folder / 'notes.txt').write_text('mine')
    (folder / '.tmp-accuracy_x.png').write_text('of a process that was killed')
    reporting.write(results({'dataset': 'other'}), 'toy')
    assert files(folder) == FILES | {'accuracy_other.png', 'accuracy_other.pdf', 'notes.txt'}
    assert '## toy' not in (folder / 'report.md').read_text()


def test_the_same_rows_give_the_same_bytes(toy, monkeypatch):
    monkeypatch.setattr(page.time, 'strftime', lambda form: 'now')  # the page tells the minute
    rows = results({}, {'run': 1, 'accuracy': 0.7}, {'n_shot': '10', 'method': 'TIMBRE'})
    first = tree(reporting.write(rows, 'toy'))
    second = tree(reporting.write(rows, 'toy'))
    assert first == second and first['accuracy_toy.pdf'].startswith(b'%PDF') and b'CreationDate' not in first['accuracy_toy.pdf']
    assert first['accuracy_toy.png'].startswith(b'\x89PNG')


def test_nothing_half_written_when_it_fails(toy, monkeypatch):
    rows = results({})
    before = tree(reporting.write(rows, 'toy'))

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(figures, 'accuracy_curves', fail)
    with pytest.raises(OSError, match='No space'):
        reporting.write(rows, 'toy')
    assert tree(experiments_folder() / 'report_toy') == before and not temporary_files(toy)


def test_configurations_tell_what_differs(toy):
    """Of the resolved configurations, whatever was set on the command line; of the representation, what differs in it."""
    for number, epochs, bands in ((1, 200, 128), (2, 60, 64)):
        config = {'epochs': epochs, 'batch_size': 256, 'representation': {'n_mels': bands, 'hop': 1024}, 'n_shot': 5, 'dataset': 'toy',
                  'overrides': {}}
        (experiments_folder() / f'fold_0_{number}').mkdir(parents=True)
        (experiments_folder() / f'fold_0_{number}/config.json').write_text(json.dumps(config))
    rows = results({}, {'config_hash': 'bbbbbbbb', 'experiment': 'fold_0_2'})
    _, text = (reporting.write(rows, 'toy') / 'report.md').read_text().split('### Configurations\n\n')
    assert text.startswith('- VGG [aaaaaaaa]: e.g. experiments/fold_0_1 (epochs=200, representation: n_mels=128)\n'
                           '- VGG [bbbbbbbb]: e.g. experiments/fold_0_2 (epochs=60, representation: n_mels=64)\n')


# ---- confusion matrices ----------------------------------------------------------------------------------------------

def test_confusion_of_all_runs_at_the_largest_n(toy, monkeypatch):
    rows = results({'experiment': 'fold_0_7', 'accuracy': 0.6, 'correct': 3, 'clips': 5, 'run': 2},
                   {'experiment': 'fold_0_7', 'accuracy': 0.4, 'correct': 2, 'clips': 5},
                   {'experiment': 'fold_0_6', 'accuracy': 1.0, 'correct': 5, 'clips': 5, 'n_shot': '2'},
                   {'experiment': 'fold_1_8', 'method': 'log-learn VGG', 'fold': 1, 'accuracy': 1.0, 'correct': 5, 'clips': 5})
    keep_matrix(rows.loc[0], [[2, 1], [1, 1]])
    keep_matrix(rows.loc[1], [[0, 3], [0, 2]])
    keep_matrix(rows.loc[3], [[3, 0], [0, 2]])
    drawn = []
    draw = figures.confusion
    monkeypatch.setattr(figures, 'confusion', lambda *given: (drawn.append(given), draw(*given)))
    folder = reporting.write(rows, 'toy')
    assert {'confusion_toy_VGG.png', 'confusion_toy_log-learn_VGG.png'} < files(folder)
    assert [(matrix.tolist(), classes, title) for matrix, classes, title, _ in drawn] == [
        ([[2, 4], [1, 3]], ['a', 'b'], 'toy: VGG\nn = 5, 2 run(s), 5 of 10 decisions right'),
        ([[3, 0], [0, 2]], ['a', 'b'], 'toy: log-learn VGG\nn = 5, 1 run(s), 5 of 5 decisions right')]
    text = (folder / 'report.md').read_text()
    assert '- [log-learn VGG](confusion_toy_log-learn_VGG.png): n = 5, 1 run(s), 5 of 5 decisions right\n' in text


@pytest.mark.parametrize('damage, reason', [('deleted', 'experiments/fold_0_1/m0/confusion_matrix.tsv is not here (deleted, or made elsewhere)'),
                                            ('text', 'confusion_matrix.tsv of experiments/fold_0_1/m0 or another run cannot be used: '),
                                            ('other', 'confusion_matrix.tsv of experiments/fold_0_1/m0 or another run cannot be used: it is '
                                             'of another ')])
def test_confusion_that_is_not_there(toy, damage, reason):
    rows = results({'correct': 3, 'clips': 5, 'accuracy': 0.6})
    path = keep_matrix(rows.loc[0], [[2, 1], [1 + (damage == 'other'), 1]])
    if damage == 'text':
        path.write_text('true\ta\tb\na\tx\t1\nb\t0\t1\n')
    elif damage == 'deleted':
        shutil.rmtree(path.parents[1])
    folder = reporting.write(rows, 'toy')
    assert files(folder) == FILES | CURVES
    assert f'not drawn, {reason}' in (folder / 'report.md').read_text()


@pytest.mark.parametrize('label, name', [('VGG', 'VGG'), ('log-learn VGG', 'log-learn_VGG'), ('a/../b', 'a_.._b'),
                                         ('proto, 16 filters', 'proto_16_filters'), ('VGG [1a2b3c4d]', 'VGG_1a2b3c4d')])
def test_slug(label, name):
    assert reporting.slug(label) == name


# ---- curves ----------------------------------------------------------------------------------------------------------

def test_a_method_keeps_its_colour(toy):
    rows = results(*({'method': method, 'n_shot': n} for method in 'abc' for n in ('1', '10')),
                   *({'dataset': 'other', 'method': 'c', 'n_shot': n} for n in ('1', '10')))
    folder = reporting.write(rows, 'both')
    assert all(shown(folder / 'accuracy_toy.png', method, ['a', 'b', 'c']) > 100 for method in 'c')
    seen = {method: shown(folder / 'accuracy_other.png', method, ['a', 'b', 'c']) for method in 'abc'}
    assert seen['c'] > 100 and seen['a'] == seen['b'] == 0


def curve(path, low=0.3, high=0.7, chance=0.25, method='VGG'):
    figures.accuracy_curves({method: [(1, 0.5, low, high), (10, 0.5, low, high)]}, [method], chance, 'title', path)
    return matplotlib.image.imread(path)[..., :3]


def test_what_is_in_the_figure(monkeypatch):
    """The axes as matplotlib has them: scale, ticks, lines, intervals within 0 to 1, names beside."""
    kept = []
    monkeypatch.setattr(figures, 'save', lambda figure, *_: kept.append(figure))
    points = [(1, 0.2, -0.1, 0.5), (5, 0.4, 0.3, 0.5), (100, 0.9, 0.7, 1.1)]
    figures.accuracy_curves({'VGG': points, 'knn_mfcc': points[:2]}, ['TIMBRE', 'VGG', 'knn_mfcc'], 0.1, 'a title', None)
    axes, = kept[0].axes
    vgg, knn = axes.containers
    for (line, _, (bars,)), expected in ((vgg, points), (knn, points[:2])):
        np.testing.assert_allclose(line.get_xdata(), [n for n, *_ in expected], rtol=0.15)
        assert line.get_ydata().tolist() == [mean for _, mean, *_ in expected]
        ends = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, np.clip([(low, high) for *_, low, high in expected], 0, 1))
    assert (vgg[0].get_xdata() != knn[0].get_xdata()[0]).all()  # side by side
    assert [part[0].get_linestyle() for part in (vgg, knn)] == ['-', ':'] and set(axes.get_lines()[-1].get_ydata()) == {0.1}
    assert (vgg[0].get_color(), knn[0].get_marker()) == (figures.style(2)['color'], figures.style(3)['marker'])
    assert axes.get_xscale() == 'log' and axes.get_ylim() == (0, 1) and axes.get_title() == 'a title'
    assert [label.get_text() for label in axes.get_xticklabels()] == ['1', '5', '100']
    kept[0].canvas.draw()
    names = {text.get_text(): text for text in axes.texts}
    assert list(names) == ['VGG', 'knn_mfcc', 'chance']
    assert names['VGG'].xyann[0] > 1 and names['VGG'].xyann[1] == 0.9 and names['knn_mfcc'].xyann[1] == 0.4
    plt.close(kept[0])


def test_intervals_are_drawn_where_there_are_any(tmp_path):
    with_interval, without = curve(tmp_path / 'a.png'), curve(tmp_path / 'b.png', np.nan, np.nan)
    assert (with_interval != without).any(axis=2).sum() > 300
    white = (without == 1).all(axis=2).mean()
    assert white > 0.8 and not plt.get_fignums()


def test_chance_that_is_not_known(data_folder, capsys):
    """Results of a data set without index here are drawn without it."""
    folder = reporting.write(results({'dataset': 'far'}), 'far')
    assert {'accuracy_far.png', 'accuracy_far.pdf'} < files(folder)
    assert 'note: the figure of far is without the line of chance: there is no index' in capsys.readouterr().out
    assert (curve(data_folder / 'a.png', chance=None) != curve(data_folder / 'b.png')).any()


def test_variants_look_like_their_method():
    looks = figures.styles(['SB-CNN', 'VGG', 'VGG, new statistics', 'VGG, validated', 'proto, 16 filters'])
    assert {looks[name]['color'] for name in looks if name.startswith('VGG')} == {figures.style(2)['color']}
    assert [look['linestyle'] for look in looks.values()] == ['-', '-', '--', '-.', '-']
    assert [look['markerfacecolor'] for look in looks.values()] == [None, None, 'white', 'white', None]
    assert looks['proto, 16 filters']['color'] == figures.styles(['proto'])['proto']['color']  # in all figures
    assert looks['SB-CNN']['color'] not in {look['color'] for method, look in looks.items() if method != 'SB-CNN'}
    assert len({(look['color'], look['marker']) for look in map(figures.style, range(96))}) == 96


def test_many_methods_can_be_told_apart(monkeypatch):
    kept, methods = [], [f'method {number}' for number in range(15)]
    monkeypatch.setattr(figures, 'save', lambda figure, *_: kept.append(figure))
    figures.accuracy_curves({method: [(1, 0.5, 0.4, 0.6)] for method in methods}, methods, None, '', None)
    looks = {(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line, *_ in kept[0].axes[0].containers}
    assert len(looks) == len({look[:2] for look in looks}) == 15  # also where hollow markers are taken for full ones
    heights = [text.xyann[1] for text in kept[0].axes[0].texts]
    assert np.diff(heights).max() < -0.04 and 0 < min(heights) and max(heights) < 1  # no name covers another one
    plt.close(kept[0])


# ---- report.py -------------------------------------------------------------------------------------------------------

def test_one_data_set_and_all(toy):
    add_results(results({'accuracy': 0.25}, {'dataset': 'other', 'accuracy': 0.875, 'run': 1, 'correct': 9}).to_dict('records'))
    succeeded(warm('report.py', 'dataset=toy', data_folder=toy))
    succeeded(warm('report.py', data_folder=toy))
    one, both = ((experiments_folder() / f'report_{name}/report.md').read_text() for name in ('toy', 'all'))
    assert '0.250 (1)' in one and 'other' not in one.partition('## How')[0].replace('against the others', '')
    assert '## other' in both and '## toy' in both and '0.875 (1)' in both
    refused(warm('report.py', 'dataset=third', data_folder=toy), "no result on 'third'", 'python sl_train.py spec dataset=third')


def test_another_table_of_results(toy, tmp_path):
    """Relative to where the user is; DATA_FOLDER needs none of its own."""
    (tmp_path / 'elsewhere').mkdir()
    results({'accuracy': 0.125}).to_csv(tmp_path / 'elsewhere/kept.tsv', sep='\t', index=False)
    done = warm('report.py', 'results=kept.tsv', data_folder=toy, cwd=tmp_path / 'elsewhere')
    assert '| 0.125 (1) |' in succeeded(done) and not results_path().exists()
    refused(warm('report.py', 'results=kept.tsv', data_folder=toy, cwd=tmp_path), 'kept.tsv does not exist')
    refused(warm('report.py', 'results=.', data_folder=toy, cwd=tmp_path), '. does not exist')


@pytest.mark.parametrize('column, value', [('accuracy', 'high'), ('fold', ''), ('run', '1.5'), ('n_shot', 'few'), ('n_shot', '0'),
                                           ('clips', 'x'), ('train_seconds', '')])
def test_a_damaged_row(tmp_path, column, value):
    results({}).astype(str).assign(**{column: value}).to_csv(tmp_path / 'kept.tsv', sep='\t', index=False)
    with pytest.raises(UserError, match=r'kept\.tsv is damaged \(.*\): move it away'):
        read_results(tmp_path / 'kept.tsv')


@pytest.mark.parametrize('arguments, wanted', [([], (None, [])), (['a=1', 'b=2'], (None, ['a=1', 'b=2'])),
                                               (['plan'], ('plan', [])), (['plan', 'a=1'], ('plan', ['a=1']))])
def test_a_positional_argument_that_may_be_left_out(monkeypatch, arguments, wanted):
    monkeypatch.setattr(sys, 'argv', ['report.py', *arguments])
    assert parse_arguments('doc', 'plan', 'a plan', optional=True) == wanted


# ---- README ----------------------------------------------------------------------------------------------------------

README = 'before\n\n<!-- results: python report.py readme=x -->\nold\n<!-- end of results -->\n\nafter\n'


def test_the_readme_says_what_the_kept_rows_say(tmp_path):
    """Its own command, on a copy, changes nothing."""
    copy = shutil.copy(ROOT / 'README.md', tmp_path / 'README.md')
    command, = re.findall(r'<!-- results: python (report\.py .*) -->', copy.read_text())
    arguments = shlex.split(command.replace('readme=../README.md', f'readme={copy}'))
    done = warm(*arguments, data_folder=tmp_path / 'data', cwd=ROOT / 'src', without_tensorflow=True)
    assert succeeded(done).endswith(f'readme: {copy}\n')
    assert copy.read_text() == (ROOT / 'README.md').read_text()
    rows = read_results(ROOT / 'docs/results.tsv')
    show = parse_overrides([argument for argument in arguments if argument.startswith('show=')], ('show',))['show']
    assert reporting.section(rows, show) in copy.read_text() and len(rows)
    assert (tmp_path / 'docs/results.md').read_text() == (ROOT / 'docs/results.md').read_text() == reporting.full_results(rows)
    pictures = re.findall(r'\]\((?:docs/)?(\w+\.png)\)', reporting.section(rows, show) + reporting.full_results(rows))
    assert len(pictures) == 2 * rows['dataset'].nunique()
    for name in pictures:
        assert (ROOT / 'docs' / name).read_bytes().startswith(b'\x89PNG') and (tmp_path / 'docs' / name).is_file()


def test_the_section_follows_the_rows():
    rows = results({'dataset': 'esc10', 'accuracy': 0.6}, {'dataset': 'esc10', 'accuracy': 0.7, 'run': 1, 'seed': 3, 'fold': 2})
    text = reporting.section(rows)
    assert text.startswith('esc10: 2 results, folds 0, 2 (10 test clips each), 1 run per method, n and fold, seeds 0, 3.\n')
    assert re.search(r'\| 0\.650 \+- 0\.050 \(2\) +\|', text)
    assert re.search(r'\| transfer +\| needs the weights of VGGish +\|', text)
    assert '](docs/esc10.png)' in text
    assert reporting.section(rows.assign(accuracy=0.1)) != text and reporting.section(rows[::-1]) == text


def test_the_full_results_have_references_intervals_pairs_and_times():
    rows = results(*({'dataset': 'esc10', 'accuracy': accuracy, 'fold': fold, 'method': method, 'n_shot': '20', 'experiment': f'fold_{fold}_{method}'}
                     for fold in (0, 1) for method, accuracy in (('VGG', 0.5 + fold / 10), ('TIMBRE', 0.6 + fold / 5))))
    text = reporting.full_results(rows)
    assert re.search(r'\| VGG +\| 20 \| 0 +\| 0\.500 \(1\) .*\| (inside|outside) the spread', text)  # on the reference's fold
    assert re.search(r'\| 20 \| TIMBRE \| VGG +\| \+0\.150 ', text) and '| 0:00:20 ' in text and text.endswith('runs without a result.\n')
    assert reporting.full_results(rows[::-1]) == text != reporting.full_results(rows.assign(accuracy=0.1))


def test_what_stands_around_the_section_is_kept(toy, tmp_path):
    path = tmp_path / 'README.md'
    path.write_text(README)
    rows = results({})
    folder = reporting.write(rows, 'toy')
    for _ in range(2):
        reporting.update_readme(path, rows, folder)
        assert path.read_text() == README.replace('old', f'\n{reporting.section(rows)}\n')
    assert (tmp_path / 'docs/toy.png').read_bytes() == (folder / 'accuracy_toy.png').read_bytes() == (tmp_path / 'docs/toy_all.png').read_bytes()


def test_a_readme_shows_the_chosen_methods_alone(toy, tmp_path):
    path = tmp_path / 'README.md'
    path.write_text(README)
    rows = results({'method': 'VGG'}, {'method': 'VGG, new statistics', 'config_hash': 'b'}, {'method': 'TIMBRE', 'config_hash': 'c'})
    folder = reporting.write(rows, 'toy')
    reporting.update_readme(path, rows, folder, ['TIMBRE', 'VGG, new statistics'])
    shown, full = path.read_text(), (tmp_path / 'docs/results.md').read_text()
    assert [line.split('|')[1].strip() for line in shown.splitlines() if line.startswith('| ')][1:] == ['TIMBRE', 'VGG, new statistics']
    assert 'toy: 2 results' in shown and 'toy: 3 results' in full and '\n| VGG  ' in full and '](toy_all.png)' in full
    assert (tmp_path / 'docs/toy.png').read_bytes() != (tmp_path / 'docs/toy_all.png').read_bytes()
    before = shown, full
    with pytest.raises(UserError, match="no results of SB-CNN; there are those of 'TIMBRE', 'VGG', 'VGG, new statistics'"):
        reporting.update_readme(path, rows, folder, ['SB-CNN'])
    assert before == (path.read_text(), (tmp_path / 'docs/results.md').read_text())


@pytest.mark.parametrize('text', ['', README.replace('<!-- end of results -->', ''), README.replace('<!-- results', '<!-- x'),
                                  README + README, README.replace('<!-- end', '<!-- results: python report.py a -->\n<!-- end'),
                                  '<!-- end of results -->\n<!-- results: python report.py a -->\n', None])
def test_a_readme_without_its_markers(toy, tmp_path, text):
    path = tmp_path / 'README.md'
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match='two marker lines' if text is not None else 'name the README with readme='):
        reporting.update_readme(path, results({}), tmp_path)
    assert not (tmp_path / 'docs').exists() and (text is None or path.read_text() == text)
