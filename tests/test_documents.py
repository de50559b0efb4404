"""The figures in README and docs follow from docs/results.tsv."""

import pytest

import analysis
import evaluation
from commands import ROOT
from results import read_results

SHOTS = ['1', '2', '5', '10', '20']
PAIRS = ['VGG', 'log-learn VGG', 'SB-CNN BN', 'TIMBRE', 'proto']
FROM_SCRATCH = ['SB-CNN BN', 'TIMBRE', 'VGG', 'log-learn VGG', 'proto']


@pytest.fixture(scope='module')
def rows():
    return read_results(ROOT / 'docs/results.tsv')


@pytest.fixture(scope='module')
def means(rows):
    """(method, n_shot) -> mean accuracy in per cent, rounded as in the table of the README."""
    return {(row.method, row.n_shot): 100 * float(f'{row.mean:.3f}') for row in analysis.summarise(rows).itertuples()}


@pytest.fixture(scope='module')
def differences(rows):
    """(method, other) -> {n_shot: row of analysis.compare, seen from method}, in points."""
    found, pairs = {}, analysis.compare(rows)
    for method in set(pairs['method']) | set(pairs['other']):
        for row in analysis.against(pairs, method):
            points = {key: 100 * row[key] for key in ('difference', 'low', 'high')}
            found.setdefault((method, row['other']), {})[row['n_shot']] = {**row, **points}
    return found


def text_of(name):
    return ' '.join((ROOT / name).read_text().split())


def cells(values):
    return [values.get(n, '') for n in SHOTS]


def statistics_table(means, differences):
    """The table of docs/from_scratch.md (list of lines)."""
    lines = ['| | ' + ' | '.join(f'n = {n}' for n in SHOTS) + ' |', '|---' * (1 + len(SHOTS)) + '|']
    for name in PAIRS:
        new, pairs = f'{name}, new statistics', differences[f'{name}, new statistics', name]
        for label, values in ((f'{name}, as in the study', {n: f'{means[name, n]:.1f}' for n in SHOTS if (name, n) in means}),
                              (new, {n: f'{means[new, n]:.1f}' for n in SHOTS if (new, n) in means}),
                              ('difference on the same draws', {n: f'{row["difference"]:+.1f}' for n, row in pairs.items()}),
                              ('95 % interval', {n: f'{row["low"]:.1f} to {row["high"]:.1f}' for n, row in pairs.items()}),
                              ('p; draws', {n: f'{evaluation.probability(row["p"])}; {row["pairs"]}' for n, row in pairs.items()})):
            lines.append('| ' + ' | '.join([label, *cells(values)]) + ' |')
    return lines


def test_the_table_of_networks_from_scratch(means, differences):
    written = [line for line in (ROOT / 'docs/from_scratch.md').read_text().splitlines() if line.startswith('|')]
    wanted = statistics_table(means, differences)
    assert written[:len(wanted)] == wanted, '\n'.join(wanted)


def test_the_first_paragraph_of_the_readme(means):
    text, best, new = text_of('README.md'), 'mn04 class mean', 'log-learn VGG, new statistics'
    lowest, highest = ([f'{side(means[name, n] for name in FROM_SCRATCH):.0f}' for n in ('1', '5')] for side in (min, max))
    for sentence in (f'right on **{means[best, "1"]:.1f} %** of the test clips from **one** clip per class and on {means[best, "5"]:.1f} % from five',
                     f'Networks from scratch reach {lowest[0]} to {highest[0]} % and {lowest[1]} to {highest[1]} %, as the study evaluates them',
                     f'its log-learn VGG with better batch statistics reaches {means[new, "1"]:.0f} % and {means[new, "5"]:.0f} %'):
        assert sentence in text, sentence


def points(pairs, signed=True):
    """'-5, +4, -17' or '59, 52, 42': the differences at each n."""
    return ', '.join(f'{row["difference"]:{"+" * signed}.0f}' for n in SHOTS if (row := pairs.get(n)))


@pytest.mark.parametrize('sentence, method, others', [
    ("mn04's class mean, for which nothing is trained, is ahead of SB-CNN by {0} points, of VGG by {1}, and of VGG with new statistics "
     '([from_scratch.md](from_scratch.md)) by {2}; all these 95 % intervals are above 0', 'mn04 class mean',
     ['SB-CNN BN', 'VGG', 'VGG, new statistics']),
    ("`mn04 transfer proto` is behind mn04's class means by {0} points, with intervals beyond 0", 'mn04 class mean', ['mn04 transfer proto']),
    ('and ahead of SB-CNN by {0} points', 'mn04 transfer proto', ['SB-CNN BN']),
    ('`proto` against VGG: {0} points', 'proto', ['VGG']),
    ('against SB-CNN {0}: ', 'proto', ['SB-CNN BN']),
    ('With new statistics for both, proto against VGG: {0}', 'proto, new statistics', ['VGG, new statistics']),
    ('VGG against SB-CNN: {0}; ', 'VGG, new statistics', ['SB-CNN BN, new statistics']),
    ('log-learn VGG against VGG: {0}; ', 'log-learn VGG', ['VGG']),
    ('With new statistics for both, log-learn VGG against VGG: {0}; ', 'log-learn VGG, new statistics', ['VGG, new statistics']),
])
def test_the_conclusions(differences, sentence, method, others):
    pairs = [differences[method, other] for other in others]
    signed = 'against' in sentence
    wanted = sentence.format(*(points(pair, signed) for pair in pairs))
    assert wanted in text_of('docs/study.md'), wanted
    if 'beyond 0' in sentence or 'above 0' in sentence:
        assert all(pair[n]['low'] > 0 for pair in pairs for n in SHOTS)


@pytest.mark.parametrize('method, other, beyond', [
    ('proto', 'VGG', []), ('proto', 'SB-CNN BN', []), ('SB-CNN BN', 'TIMBRE', []), ('TIMBRE', 'VGG', []), ('SB-CNN BN', 'VGG', ['20']),
    ('proto, new statistics', 'VGG, new statistics', ['5']), ('VGG, new statistics', 'SB-CNN BN, new statistics', ['1', '5', '10', '20']),
    ('log-learn VGG', 'VGG', ['20']), ('log-learn VGG, new statistics', 'VGG, new statistics', ['1']),
    ('TIMBRE, new statistics', 'TIMBRE', []), ('SB-CNN BN, new statistics', 'SB-CNN BN', []),
    ('VGG, new statistics', 'VGG', SHOTS), ('log-learn VGG, new statistics', 'log-learn VGG', SHOTS), ('proto, new statistics', 'proto', ['5', '10'])])
def test_where_the_intervals_of_the_conclusions_are_beyond_0(differences, method, other, beyond):
    """As docs/study.md and docs/from_scratch.md say."""
    pairs = differences[method, other]
    assert [n for n in SHOTS if n in pairs and not pairs[n]['low'] <= 0 <= pairs[n]['high']] == beyond


def test_what_the_table_of_networks_from_scratch_says(differences):
    text = text_of('docs/from_scratch.md')
    gains = [differences[f'{name}, new statistics', name][n]['difference'] for n in SHOTS for name in ('VGG', 'log-learn VGG')]
    proto = differences['proto, new statistics', 'proto']
    neighbours = [differences['VGG, new statistics', 'knn_mfcc'][n]['difference'] for n in SHOTS[2:]]
    ahead = [differences['mn04 class mean', f'{name}, new statistics'][n]['difference'] for n in SHOTS for name in ('VGG', 'log-learn VGG')]
    ahead_at_1 = differences['log-learn VGG, new statistics', 'VGG, new statistics']['1']
    for sentence in (f'the gain holds at every n: {min(gains):.0f} to {max(gains):.0f} points',
                     f'{proto["5"]["difference"]:+.0f} points at n = 5 and {proto["10"]["difference"]:+.0f} at n = 10, with intervals above 0',
                     f'VGG is {min(neighbours):.0f} to {max(neighbours):.0f} points above nearest neighbours from n = 5 on',
                     f'log-learn VGG is {ahead_at_1["difference"]:.0f} points ahead of VGG at n = 1 (95 % interval {ahead_at_1["low"]:.0f} to '
                     f'{ahead_at_1["high"]:.0f})',
                     f'stays ahead of both by {min(ahead):.0f} to {max(ahead):.0f} points'):
        assert sentence in text, sentence


@pytest.mark.parametrize('sentence, method', [('fine-tuned mn04 is right on {0} % of the clips', 'mn04 transfer'),
                                              ('YAMNet reaches {0} %', 'yamnet transfer'),
                                              ('`max_accuracy=10`) reach {0} % at n = 1, 2, 5, 10 and 20', 'mn04 transfer proto')])
def test_the_accuracies_of_pretrained_networks(means, sentence, method):
    *values, last = (f'{means[method, n]:.1f}' for n in SHOTS)
    wanted = sentence.format(f'{", ".join(values)} and {last}')
    assert wanted in text_of('docs/pretrained.md'), wanted
