"""README and docs: their figures follow from docs/results.tsv, their commands exist."""
import re
import shlex

import pytest

import analysis
import config_file
import configuration
import evaluation
import plans
from commands import GROUPS, ROOT, succeeded, warm
from results import read_results
from shared import UserError

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
            rounded = {key: 100 * float(f'{row[key]:.3f}') for key in ('accuracy', 'other_accuracy')}  # as in the table of the README
            found.setdefault((method, row['other']), {})[row['n_shot']] = {**row, **points, **rounded}
    return found


def text_of(name):
    return ' '.join((ROOT / name).read_text().split())


def cells(values):
    return [values.get(n, '') for n in SHOTS]


def statistics_table(differences):
    """The table of docs/from_scratch.md (list of lines); all its figures are those of the draws that both have."""
    lines = ['| | ' + ' | '.join(f'n = {n}' for n in SHOTS) + ' |', '|---' * (1 + len(SHOTS)) + '|']
    for name in PAIRS:
        pairs = differences[f'{name}, new statistics', name]
        for label, values in ((f'{name}, as in the study', {n: f'{row["other_accuracy"]:.1f}' for n, row in pairs.items()}),
                              (f'{name}, new statistics', {n: f'{row["accuracy"]:.1f}' for n, row in pairs.items()}),
                              ('difference', {n: f'{round(row["difference"], 1) + 0:+.1f}' for n, row in pairs.items()}),
                              ('95 % interval', {n: f'{row["low"]:.1f} to {row["high"]:.1f}' for n, row in pairs.items()}),
                              ('p; draws', {n: f'{evaluation.probability(row["p"])}; {row["pairs"]}' for n, row in pairs.items()})):
            lines.append('| ' + ' | '.join([label, *cells(values)]) + ' |')
    return lines


def test_the_table_of_networks_from_scratch(differences):
    written = [line for line in (ROOT / 'docs/from_scratch.md').read_text().splitlines() if line.startswith('|')]
    wanted = statistics_table(differences)
    assert written[:len(wanted)] == wanted, '\n'.join(wanted)


def test_the_first_paragraph_of_the_readme(means):
    text, best, new = text_of('README.md'), 'mn04 class mean', 'log-learn VGG, new statistics'
    lowest, highest = ([f'{side(means[name, n] for name in FROM_SCRATCH):.0f}' for n in ('1', '5')] for side in (min, max))
    for sentence in (f'classify **{means[best, "1"]:.1f} %** of the test clips correctly with **one** training clip per class, and '
                     f'{means[best, "5"]:.1f} % with five',
                     f'Networks from scratch, evaluated as in the study, reach {lowest[0]} to {highest[0]} % with one clip and {lowest[1]} to '
                     f'{highest[1]} % with five',
                     f"The study's log-learn VGG reaches {means[new, '1']:.0f} % and {means[new, '5']:.0f} % when the statistics"):
        assert sentence in text, sentence


# the rows of the table of docs/conclusions.md
CONCLUSIONS = [
    ('mn04 class mean', 'SB-CNN BN'), ('mn04 class mean', 'VGG'), ('mn04 class mean', 'VGG, new statistics'),
    ('yamnet class mean', 'VGG'), ('yamnet class mean', 'VGG, new statistics'),
    ('proto', 'VGG'), ('proto', 'SB-CNN BN'), ('proto', 'TIMBRE'), ('proto, new statistics', 'VGG, new statistics'),
    ('proto, new statistics', 'SB-CNN BN, new statistics'), ('proto, new statistics', 'TIMBRE, new statistics'),
    ('mn04 transfer proto', 'mn04 class mean'), ('mn04 transfer proto', 'SB-CNN BN'),
    ('SB-CNN BN', 'TIMBRE'), ('SB-CNN BN', 'VGG'), ('TIMBRE', 'VGG'), ('SB-CNN BN, new statistics', 'VGG, new statistics'),
    ('TIMBRE, new statistics', 'VGG, new statistics'),
    ('log-learn VGG', 'VGG'), ('log-learn VGG, new statistics', 'VGG, new statistics')]


def conclusions_table(differences):
    """The table of docs/conclusions.md (list of lines)."""
    def cell(row):
        text = f'{round(row["difference"]) + 0:+.0f}'
        text = text if row['low'] <= 0 <= row['high'] else f'**{text}**'
        return text + ' \\*' * bool(row['p_holm'] < 0.05)

    return ['| method | compared with | ' + ' | '.join(f'n = {n}' for n in SHOTS) + ' |', '|---' * (2 + len(SHOTS)) + '|',
            *('| ' + ' | '.join([method, other, *cells({n: cell(row) for n, row in differences[method, other].items()})]) + ' |'
              for method, other in CONCLUSIONS)]


def test_the_conclusions(differences):
    written = [line for line in (ROOT / 'docs/conclusions.md').read_text().splitlines() if line.startswith('|')]
    wanted = conclusions_table(differences)
    assert written[:len(wanted)] == wanted, '\n'.join(wanted)
    scratch = [f'{name}{more}' for name in FROM_SCRATCH for more in ('', ', new statistics')]
    for method, others in (('mn04 class mean', [*scratch, 'mn04 transfer proto']), ('mn04 transfer proto', scratch)):
        assert all(differences[method, other][n]['low'] > 0 for other in others for n in SHOTS), method


@pytest.mark.parametrize('method, other, beyond', [
    ('proto', 'VGG', ['20']), ('proto', 'SB-CNN BN', ['20']), ('SB-CNN BN', 'TIMBRE', []), ('TIMBRE', 'VGG', ['20']), ('SB-CNN BN', 'VGG', []),
    *(('proto, new statistics', f'{name}, new statistics', ['2', '5', '20']) for name in ('SB-CNN BN', 'TIMBRE')),
    ('proto, new statistics', 'VGG, new statistics', ['5', '10']), ('VGG, new statistics', 'SB-CNN BN, new statistics', SHOTS),
    ('log-learn VGG', 'VGG', ['10', '20']), ('log-learn VGG, new statistics', 'VGG, new statistics', ['1', '2']),
    ('TIMBRE, new statistics', 'TIMBRE', []), ('SB-CNN BN, new statistics', 'SB-CNN BN', []),
    ('mn04 transfer', 'mn04 class mean', ['1', '2', '10']), ('mn04 transfer', 'mn04 logistic regression', ['2']),
    ('yamnet transfer', 'yamnet class mean', ['1', '20']),
    *(('yamnet class mean', f'{name}{more}', SHOTS) for name in ('SB-CNN BN', 'VGG') for more in ('', ', new statistics')),
    ('VGG, new statistics', 'VGG', SHOTS), ('log-learn VGG, new statistics', 'log-learn VGG', SHOTS),
    ('log-learn VGG, new statistics', 'knn_mfcc', SHOTS), ('log-learn VGG, new statistics', 'proto, new statistics', SHOTS[:4]),
    *(('log-learn VGG, new statistics', f'{name}, new statistics', SHOTS) for name in ('SB-CNN BN', 'TIMBRE')),
    ('proto, new statistics', 'proto', ['2', '10'])])
def test_where_the_intervals_of_the_conclusions_are_beyond_0(differences, method, other, beyond):
    """As docs/conclusions.md, docs/from_scratch.md and docs/pretrained.md say."""
    pairs = differences[method, other]
    assert [n for n in SHOTS if n in pairs and not pairs[n]['low'] <= 0 <= pairs[n]['high']] == beyond


def test_what_the_table_of_networks_from_scratch_says(differences):
    text = text_of('docs/from_scratch.md')
    gains = [differences[f'{name}, new statistics', name][n]['difference'] for n in SHOTS for name in ('VGG', 'log-learn VGG')]
    proto = differences['proto, new statistics', 'proto']
    neighbours = [differences['VGG, new statistics', 'knn_mfcc'][n]['difference'] for n in SHOTS[2:]]
    ahead = [differences['mn04 class mean', f'{name}, new statistics'][n]['difference'] for n in SHOTS for name in ('VGG', 'log-learn VGG')]
    ahead_at_1 = differences['log-learn VGG, new statistics', 'VGG, new statistics']['1']
    at_2, at_5, at_10, at_20 = (f'{proto[n]["difference"]:+.0f}' for n in SHOTS[1:])
    for sentence in (f'the gain holds at every n: {min(gains):.0f} to {max(gains):.0f} points',
                     f'For `proto` the gain is clear at n = 2 and 10: {at_2} and {at_10} points; it is {at_5} at n = 5 and {at_20} at n = 20, '
                     'with 0 in',
                     f'VGG is {min(neighbours):.0f} to {max(neighbours):.0f} points above nearest neighbours from n = 5 on',
                     f'log-learn VGG is {ahead_at_1["difference"]:.0f} points ahead of VGG at n = 1 (95 % interval {ahead_at_1["low"]:.0f} to '
                     f'{ahead_at_1["high"]:.0f})',
                     f'stays ahead of both by {min(ahead):.0f} to {max(ahead):.0f} points'):
        assert sentence in text, sentence


def test_the_folds_that_nothing_was_tried_on(rows):
    pairs, found = analysis.compare(rows[rows['fold'].isin([2, 3, 4])]), {}
    for name in ('VGG', 'log-learn VGG', 'proto'):
        found[name] = ', '.join(f'{100 * row["difference"]:+.0f}' for row in analysis.against(pairs, f'{name}, new statistics')
                                if row['other'] == name)
    wanted = (f'On folds 2, 3 and 4 alone the differences are {found["VGG"]} points for VGG, {found["log-learn VGG"]} for log-learn VGG, and '
              f'{found["proto"]} for `proto`')
    assert wanted in text_of('docs/from_scratch.md'), wanted


@pytest.mark.parametrize('sentence, method', [('fine-tuned mn04 is right on {0} % of the clips', 'mn04 transfer'),
                                              ('YAMNet reaches {0} %', 'yamnet transfer'),
                                              ('`max_accuracy=10`) reach {0} % at n = 1, 2, 5, 10 and 20', 'mn04 transfer proto')])
def test_the_accuracies_of_pretrained_networks(means, sentence, method):
    *values, last = (f'{means[method, n]:.1f}' for n in SHOTS)
    wanted = sentence.format(f'{", ".join(values)} and {last}')
    assert wanted in text_of('docs/pretrained.md'), wanted


@pytest.mark.parametrize('sentence, method, other, shots', [
    ('Against the class mean, it is {0:.1f} points behind at n = 1, {1:.1f} behind at n = 2', 'mn04 class mean', 'mn04 transfer', ['1', '2']),
    ('and {0:.1f} ahead at n = 10', 'mn04 transfer', 'mn04 class mean', ['10']),
    ('against logistic regression, it is {0:.1f} points behind at n = 2', 'mn04 logistic regression', 'mn04 transfer', ['2']),
    ('by {0:.0f}, {1:.0f}, {2:.0f}, {3:.0f} and {4:.0f} points against its class means', 'mn04 class mean', 'mn04 transfer proto', SHOTS)])
def test_what_is_said_of_fine_tuning(differences, sentence, method, other, shots):
    wanted = sentence.format(*(differences[method, other][n]['difference'] for n in shots))
    assert wanted in text_of('docs/pretrained.md'), wanted


# ---- commands --------------------------------------------------------------------------------------------------------

DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', *(f'docs/{path.name}' for path in sorted((ROOT / 'docs').glob('*.md')))]


def snippets(name):
    """What stands in code blocks, a line each, and between backquotes in a text (list of str)."""
    text = (ROOT / name).read_text()
    lines = [line for block in re.findall(r'^```\w*\n(.*?)^```', text, re.M | re.S) for line in block.splitlines()]
    return lines + [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))]


def commands_in(name):
    """(path of the script or None, arguments) of each command of a text that starts a script, without environment and comment.

    `python aux/index_us8k.py` is relative to the top of the repository, `python sl_train.py` to src/; without python, names stand alone.
    """
    for snippet in snippets(name):
        for part in snippet.split('&&'):
            if found := re.match(r'(?:\s*[A-Z_0-9]+=\S+|\s*taskset -c 0)*\s*(?:python )?((?:\S*/)?\w+\.py)( [^#|]*)?(?:#.*)?$', part):
                folders = ['', 'src'] if 'python ' in part else ['', 'src', 'aux', 'benchmarks']
                paths = (ROOT / folder / found[1] for folder in folders)
                yield next((path for path in paths if path.is_file()), None), shlex.split(found[2] or '')


def check_command(script, arguments, data_folder):
    assert script, 'there is no such file'
    name = script.name
    switches = [argument for argument in arguments if argument.startswith('--')]
    if script.parent.name != 'benchmarks' and switches:
        told = succeeded(warm(name, '--help', data_folder=data_folder))
        assert all(re.search(rf'{switch}\b', told) for switch in switches), switches
    group, given = getattr(config_file, GROUPS.get(name, ''), {}), [argument for argument in arguments if argument not in switches]
    if group and given:
        entry = next(iter(group)) if '=' in given[0] else given.pop(0)
        assert entry in group, entry
        more = plans.method_keys() if name == 'reproduce.py' else ()
        values = configuration.parse_overrides(given, {*group[entry], *more})
        configuration.check({**group[entry], **values})
        unknown = set(values.get('methods', ())) - set(config_file.config_methods)
        assert not unknown, unknown
    if name in ('download.py', 'smoke_test.py') and given:
        names = succeeded(warm(name, '--help', data_folder=data_folder))
        assert re.search(rf'\b{given[0]}\b', names), given


@pytest.mark.parametrize('document', DOCUMENTS)
def test_commands_in_documents_exist(tmp_path, document):
    for script, arguments in commands_in(document):
        try:
            check_command(script, arguments, tmp_path)
        except (UserError, AssertionError) as problem:
            pytest.fail(f'{script} {shlex.join(arguments)}: {problem}')


def test_commands_that_do_not_exist_are_found(tmp_path):
    for command in ('src/sl_train.py spectrum', 'src/reproduce.py esc10 methods=VGC', 'src/classify.py birds --cvs out.csv',
                    'aux/download.py audioset', 'src/sl_train.py spec shots=5', 'src/proto.py spec distance=far'):
        script, *arguments = command.split()
        with pytest.raises((UserError, AssertionError)):
            check_command(ROOT / script, arguments, tmp_path)
    (tmp_path / 'text.md').write_text('`nothing.py spec`, `python index_us8k.py`, `index_us8k.py`\n')
    assert [path and path.name for path, _ in commands_in(tmp_path / 'text.md')] == [None, None, 'index_us8k.py']
    assert sum(len(list(commands_in(document))) for document in DOCUMENTS) > 100


@pytest.mark.parametrize('document', DOCUMENTS)
def test_options_in_documents_exist(document):
    """`key=value` beside the text."""
    for snippet in snippets(document):
        if found := re.fullmatch(r'([a-z_]+)=([^\s,]*)', snippet.replace('key=value', '')):
            assert found[1] in configuration.CHECKS, snippet
            if found[2]:
                valid, expected = configuration.CHECKS[found[1]]
                assert valid(configuration.read_value(found[2].strip('"'), valid)), f'{snippet}: expected {expected}'
