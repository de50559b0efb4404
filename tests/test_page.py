"""report.html, what it tells (diagnosis.py), and how a browser shows it."""
import base64
import html
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import analysis
import commands
import diagnosis
import page as page_module
from commands import succeeded, warm
from conftest import results
from shared import write_table, write_text

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


def decisions(true, predicted, p, classes, ids=None):
    """A table as diagnosis.held_out gives it."""
    table = pd.DataFrame({'id': ids or list(map(str, range(len(true)))), 'audio': [f'{i}.wav' for i in range(len(true))], 'true': true,
                          'predicted': predicted, 'fold': 0, 'run': 0})
    return pd.concat([table, pd.DataFrame(p, columns=[f'p: {name}' for name in classes])], axis=1)


def test_suspicious_labels_by_hand():
    p = [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.05, 0.9, 0.05], [0.3, 0.4, 0.3]]
    table = decisions(['a', 'a', 'c', 'b'], ['a', 'c', 'b', 'b'], p, ['a', 'b', 'c'])
    found = diagnosis.suspicious(pd.concat([table, table.assign(run=1)]), ['a', 'b', 'c'])
    assert found['id'].tolist() == ['2', '1', '3', '0'] and found['suggestion'].tolist() == ['b', 'c', 'a', 'b']
    np.testing.assert_allclose(found['contradiction'], [0.85, 0.3, -0.1, -0.8])


def test_intervals_count_recordings_and_not_clips():
    true = ['a'] * 40 + ['b'] * 40
    table = decisions(true, ['a'] * 30 + ['b'] * 50, np.full((80, 2), 0.5), ['a', 'b'])
    alone, grouped = diagnosis.accuracy(table, {}), diagnosis.accuracy(table, {str(i): f'r{i // 10}' for i in range(80)})
    assert alone['accuracy'] == grouped['accuracy'] == 0.875 and (alone['recordings'], grouped['recordings']) == (80, 8)
    assert grouped['high'] - grouped['low'] > 2 * (alone['high'] - alone['low'])
    found = diagnosis.per_class(table, ['a', 'b'], {str(i): f'r{i // 10}' for i in range(80)}).set_index('class')
    assert found.loc['a', ['precision', 'recall', 'recordings']].tolist() == [1, 0.75, 4] and found.loc['b', 'precision'] == 0.8
    assert found.loc['a', 'precision_low'] < 0.5 and found.loc['a', 'f1_low'] < 6 / 7 < found.loc['a', 'f1_high']


def test_a_learning_curve_that_is_a_power_law_is_continued():
    rows = []
    for n in (1, 2, 5, 10, 20):
        for run in range(30):
            clips = 200
            rows += [{'n_shot': str(n), 'fold': run % 5, 'run': run, 'class': 'law', 'train': n,
                      'right': clips - round(clips * 0.5 * n ** -0.4), 'clips': clips},
                     {'n_shot': str(n), 'fold': run % 5, 'run': run, 'class': 'flat', 'train': n, 'right': 120 + run % 3 * 10, 'clips': clips},
                     {'n_shot': str(n), 'fold': run % 5, 'run': run, 'class': 'done', 'train': n, 'right': clips, 'clips': clips}]
    found = diagnosis.learning_curves(pd.DataFrame(rows)).set_index('class')
    expected = 0.5 * (20 ** -0.4 - 40 ** -0.4)
    assert found.loc['law', 'gain'] == pytest.approx(expected, rel=0.05) and found.loc['law', 'low'] <= expected * 1.02
    assert np.isnan(found.loc[['flat', 'done'], 'gain']).all()  # honest: it cannot be told
    few = pd.DataFrame([row for row in rows if row['n_shot'] in ('1', '2')])
    assert np.isnan(diagnosis.learning_curves(few)['gain']).all()
    for runs, told in ((3, True), (2, False)):  # a bootstrap over one or two runs would be of no width
        gains = diagnosis.learning_curves(pd.DataFrame([row for row in rows if row['run'] < runs])).set_index('class')['gain']
        assert np.isfinite(gains['law']) == told


def test_a_class_without_test_clips_is_left_out():
    rows = [{'n_shot': n, 'fold': 0, 'run': run, 'class': name, 'train': int(n), 'right': clips // 2, 'clips': clips}
            for n in ('1', '5') for run in range(2) for name, clips in (('a', 10), ('b', 0))]
    assert diagnosis.learning_curves(pd.DataFrame(rows))['class'].tolist() == ['a']
    table = decisions(['a'] * 4, ['a', 'a', 'a', 'b'], np.full((4, 3), 1 / 3), ['a', 'b', 'c'])
    figures_of = diagnosis.per_class(table, ['a', 'b', 'c'], {})
    assert page_module.advice(figures_of, 'clips') == ' Collect more clips of a: with 4 clips, its figures are the least certain.'
    assert [row[3:] for row in page_module.class_table(figures_of)['rows'][1:]] == [['', '', '']] * 2


# ---- the page ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """report.html of a few runs on `tones` (Path)."""
    folder = commands.copy_of(commands.tones(), tmp_path_factory.mktemp('page') / 'data')
    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    text = succeeded(warm('reproduce.py', 'own', 'datasets=tones', 'methods=knn_mfcc,TIMBRE', 'n_shots=1,2,all', 'folds=0,1,2', 'epochs=2',
                          data_folder=folder, timeout=300))
    path = folder / 'experiments/report_own_tones_part/report.html'
    assert str(path) in text
    return path


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and 'http' not in re.sub(r'data:[^"]*', '', text)
    for heading in ('Accuracy', 'Suspicious labels', 'Worst errors', 'Can the probabilities be trusted?', 'How this was made'):
        assert f'<h2>{heading}' in text
    assert 'Use knn_mfcc' in text or 'Use TIMBRE' in text
    assert '<script' not in text and 'reproduce.py own datasets=tones' in html.unescape(text)


def test_pictures_and_sounds_are_whole(page):
    text = page.read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    sounds = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', text)
    assert len(pictures) >= 3 + len(sounds)
    assert all(base64.b64decode(picture).startswith(b'\x89PNG') for picture in pictures)
    assert all(base64.b64decode(sound)[0] in (0xFF, 0x49) for sound in sounds)  # a frame, or an ID3 tag


def test_balanced_accuracy_is_a_mean_over_folds(data_folder):
    """Fold 0 has five runs, fold 1 one: with equally many clips of each class, it is the accuracy. And a class name may hold quotes."""
    names = ['"A" call', 'b']
    rows = results(*({'fold': fold, 'run': run, 'accuracy': accuracy, 'correct': round(4 * accuracy), 'clips': 4, 'experiment': f'fold_{fold}_0',
                      'model': f'm{run}'} for fold, runs, accuracy in ((0, 5, 0.5), (1, 1, 1.0)) for run in range(runs)))
    for row in rows.itertuples():
        folder = data_folder / 'experiments' / row.experiment / row.model
        write_text(folder / 'train_ids.tsv', ''.join(f'{i}\t{name}\n' for i, name in enumerate(names)))
        write_table(pd.DataFrame({'class': names, 'recall': row.accuracy, 'clips': 2}), folder / 'class_report.tsv')
    rows = analysis.newest(rows)
    assert diagnosis.class_recalls(rows)['train'].eq(1).all()
    assert page_module.balanced_accuracies(rows) == {('VGG', '5'): 0.75} and analysis.summarise(rows)['mean'].tolist() == [0.75]


def test_names_from_files_are_no_markup(tmp_path, monkeypatch):
    """Class and file names may hold any letters."""
    text = page_module.environment().from_string('{{ name }}').render(name='<b>&"')
    assert text == '&lt;b&gt;&amp;&#34;'


PROBE = '''
<script>
window.problems = [];
addEventListener('error', event => problems.push(event.message || event.target.tagName), true);
addEventListener('load', async () => {
  const images = [...document.images].filter(image => !image.complete || !image.naturalWidth).length;
  let played = 0, silent = 0;
  for (const audio of document.querySelectorAll('audio')) {
    audio.muted = true;
    try { await audio.play(); played += 1; } catch (error) { problems.push(String(error)); }
    if (!(audio.duration > 0)) silent += 1;
    audio.pause();
  }
  const wide = document.documentElement.scrollWidth > innerWidth + 1;
  document.body.innerHTML = `<pre id="told">${JSON.stringify({images, played, silent, wide, problems})}</pre>`;
});
</script>'''


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('width', [1200, 500])
def test_a_browser_shows_and_plays_the_page(page, tmp_path, width):
    """In headless Chromium without a network: no errors, every picture is there, every sound plays, nothing is cut off at the side."""
    text = page.read_text()
    path = tmp_path / 'probe.html'
    path.write_text(text.replace('<head>', '<head>' + PROBE))
    done = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', f'--user-data-dir={tmp_path}/profile',
                           '--autoplay-policy=no-user-gesture-required', '--host-resolver-rules=MAP * ~NOTFOUND', f'--window-size={width},900',
                           '--virtual-time-budget=20000', '--dump-dom', f'file://{path}'], capture_output=True, text=True, timeout=120)
    told = re.findall(r'<pre id="told">([^$]*?)</pre>', done.stdout)  # the script itself has a $ there
    assert told, done.stderr[-2000:]
    assert html.unescape(told[0]) == f'{{"images":0,"played":{text.count("<audio")},"silent":0,"wide":false,"problems":[]}}'
