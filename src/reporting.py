"""Reports of results: a folder with Markdown, tables and figures, and the results part of a README."""
import datetime
import itertools
import re
from pathlib import Path

import numpy as np

import analysis
import evaluation
import figures
import page
import plans
from config_file import config_methods, config_reproduce
from configuration import ALL, differences
from experiment import config_of
from results import experiments_folder
from shared import UserError, atomic, listing, locked, read_classes, write_table, write_text

LEGEND = '''\
## How to read the tables

- A result is what a method gives for a data set, fold, n (training clips per class), seed and run. If it was measured again,
  the newest result counts. A code in brackets distinguishes results of one method with different settings.
- std is the standard deviation over all single results (divisor: their number). An empty cell was not measured.
- 95 % intervals are t intervals. Runs of one fold are tested on the same clips, so they are not independent measurements: where
  there are several folds, the mean is the mean over folds of the means over runs, and the interval is over the folds' means.
  With one fold it is over its runs, and says nothing about other test clips. A single value has no interval. The training sets of the
  folds overlap; the interval does not take this into account. Where a division into folds is repeated, the same clips are tested again:
  the interval and p are then those of as many folds as one division has.
- Verdicts compare the mean of this project on the reference's folds with the reference: inside the spread means that they differ by no more
  than the reference's spread, its standard deviation over runs. A mean of few runs is easily outside by chance.
- Paired comparisons use draws that both methods have: the same fold, n, seed, run and data, hence the same training clips. p is of
  the two-sided paired t-test, over the folds' mean differences where there are several folds, else over runs; p is not
  corrected for the number of comparisons. p (Holm) is corrected, for all pairs of methods at the same n (all in `paired.tsv`). p is empty
  for fewer than two differences, and where all are equal but not 0. The best method was chosen with the same results, so its advantage is
  overestimated: p (Holm) accounts for that, the difference and its interval do not.
- Times are sums over the results above. They do not include representations, stored embeddings of frozen networks, starting TensorFlow, and
  runs without a result.
'''


def write(rows, name, missing=(), quiet=False, commands=''):
    """Write the report of some results to experiments/report_<name>/; returns the folder (Path).

    Args:
        rows: DataFrame with the columns of results.tsv, or a part of it.
        name: of the report; an earlier one of the same name is replaced.
        missing: list of (dataset, method, reason) of methods that could not be run.
        quiet: whether to print nothing; otherwise the accuracy tables and the path of the report. report.html is made only then.
        commands: what made the results, for report.html (str).

    Writes report.html (see page.py), report.md; accuracy.tsv, paired.tsv, verdicts.tsv, costs.tsv (see analysis.py; empty cells: not defined);
    accuracy_<dataset>.png and .pdf; confusion_<dataset>_<method>.png of each method's runs at its largest n.
    Raises UserError when there is no row.
    """
    if rows.empty:
        raise UserError('there is no result to report: train and evaluate first, e.g. python sl_train.py spec')
    folder = experiments_folder() / f'report_{name}'
    notes = {dataset: [*analysis.left_out(own), *analysis.unknown_divisions(dataset, own)]
             for dataset in sorted({*rows['dataset'], *(name for name, *_ in missing)}) for own in [rows[rows['dataset'] == dataset]]}
    rows = analysis.newest(rows)
    with locked(folder / '.lock'):
        summary, pairs, verdicts, spent = tables(rows)
        for table, file in ((summary, 'accuracy'), (pairs, 'paired'), (verdicts, 'verdicts'), (spent, 'costs')):
            write_table(table, folder / f'{file}.tsv')
        methods, text, drawn = sorted(summary['method'].unique()), [f'# Results: {name}'], []
        curves, confusions = {}, {}
        for dataset in notes:
            paths = draw_curves(dataset, summary[summary['dataset'] == dataset], methods,
                                [folder / f'accuracy_{dataset}.{ending}' for ending in ('png', 'pdf')])
            matrices, lines = draw_confusions(rows[rows['dataset'] == dataset], folder)
            drawn += paths + list(matrices.values())
            curves.update({dataset: paths[0]} if paths else {})
            confusions.update({(dataset, label): path for label, path in matrices.items()})
            picture = paths[0].name if paths else None
            text += [f'## {dataset}', *notes[dataset], *overview(rows, dataset, picture, missing),
                     *configurations(rows, dataset), *details(dataset, summary, pairs, verdicts, spent),
                     *headed('Confusion matrices at the largest n', '\n'.join(lines))]
        write_text(folder / 'report.md', joined([*text, LEGEND]) + '\n')
        for pattern in ('accuracy_*', 'confusion_*', '.tmp-*'):  # of an earlier report
            for path in set(folder.glob(pattern)) - set(drawn):
                path.unlink()
        if quiet:
            return folder
        page.write(folder / 'report.html', f'Results: {name}', rows, notes, curves, confusions, commands)
    for sentence in itertools.chain(*notes.values()):
        print(f'note: {sentence}')
    for dataset in notes:
        print(f'\n{dataset}\n' * (len(notes) > 1) + f'\n{accuracy_table(rows, dataset, missing)}'.rstrip('\n'))
    print(f'\nreport: {folder / "report.html"} (open it in a browser), {folder / "report.md"}')
    return folder


def tables(rows):
    """Accuracy, paired comparisons, verdicts and times of all data sets (DataFrames), see analysis.py."""
    return analysis.summarise(rows), analysis.compare(rows), analysis.verdicts(rows, analysis.read_references()), analysis.costs(rows)


def headed(heading, content):
    """A section of report.md (list of paragraphs); [] without content."""
    return [f'### {heading}', content] if content.strip() else []


def accuracy_table(rows, dataset, missing=()):
    """The Markdown table of a data set's accuracy, with a row for each method of `missing` (as in write) without results."""
    rows = rows[rows['dataset'] == dataset]
    reasons = {method: reason for name, method, reason in missing if name == dataset and method not in set(rows['method'])}
    return accuracy_markdown(analysis.summarise(rows), reasons.items())


def overview(rows, dataset, picture, missing=()):
    """The runs on a data set, accuracy and figure as Markdown (list of paragraphs).

    Args:
        picture: address of the figure, None where there is none.
    """
    text = [what_was_run(rows[rows['dataset'] == dataset]), accuracy_table(rows, dataset, missing)]
    if picture:
        names = set(rows['method'][rows['dataset'] == dataset])
        variants = len({name.partition(',')[0] for name in names}) < len(names)
        text += [f'![{dataset}: accuracy over the number of training clips per class]({picture})', 'Bars: 95 % intervals.'
                 + ' Hollow markers and dashed lines: variants of a method, e.g. "VGG, new statistics".' * variants]
    return text


def details(dataset, summary, pairs, verdicts, spent):
    """What the numbers of a data set say, as Markdown (list of paragraphs): references, intervals, paired comparisons, times.

    Args: see tables.
    """
    summary, pairs, verdicts, spent = (table[table['dataset'] == dataset] for table in (summary, pairs, verdicts, spent))
    sources = ['The means are over the folds of the reference alone, so they differ from those of the first table.'] * (len(verdicts) > 0)
    sources += [f'Reference for {", ".join(dict.fromkeys(group["method"]))}: {source}.' for source, group in verdicts.groupby('source', sort=False)]
    return [*headed('Comparison with published or released figures', joined([verdict_markdown(verdicts), *sources])),
            *headed('95 % intervals', interval_markdown(summary)),
            *headed('The best method against the others', comparison_markdown(summary, pairs)),
            *headed('Times (hours:minutes:seconds)', cost_markdown(spent))]


def what_was_run(rows):
    """A sentence on a data set's results: folds, runs, seeds."""
    if rows.empty:
        return 'No results.'
    rows = analysis.newest(rows)

    def span(numbers):
        return str(min(numbers)) if min(numbers) == max(numbers) else f'{min(numbers)} to {max(numbers)}'

    def several(word, values):
        values = sorted(set(values))
        return f'{word}{"s" * (len(values) > 1)} {", ".join(map(str, values))}'

    runs = rows.groupby(['label', 'n_shot', 'fold']).size()
    return (f'{rows["dataset"].iloc[0]}: {len(rows)} results, {several("fold", rows["fold"])} ({span(rows["clips"])} test clips '
            f'each), {span(runs)} run{"s" * (max(runs) > 1)} per method, n and fold, {several("seed", rows["seed"])}.\n'
            'In brackets: the number of runs over all folds.')


def configurations(rows, dataset):
    """Settings that are not those of config_methods, and what tells several configurations of one method apart (Markdown).

    Known are those whose experiments still exist.
    """
    rows, lines = rows[rows['dataset'] == dataset].drop_duplicates('label').sort_values('label'), []
    configs = {row.label: config_of(experiments_folder() / row.experiment) for row in rows.itertuples()}
    for row in rows.itertuples():
        own = configs[row.label]
        others = [configs[other.label] for other in rows.itertuples() if other.method == row.method and configs[other.label]]
        keys = [key for other in others for key in differences(own, other, ('method', 'evaluation'))] if own else []
        settings = [in_words(key, own.get(key), [other.get(key) for other in others])
                    for key in dict.fromkeys([*keys, *plans.changed_settings(row.method, own)])]
        if settings or row.label != row.method:
            lines.append(f'- {row.label}: e.g. experiments/{row.experiment}' + (f' ({", ".join(settings)})' if settings else ''))
    return headed('Configurations', '\n'.join(lines))


def in_words(key, value, others):
    """'epochs=3'; of a dictionary such as the representation, only what differs from others: 'representation: n_mels=64'."""
    if not isinstance(value, dict):
        return f'{key}={value!r}'
    differing = [name for name in value if any(isinstance(other, dict) and other.get(name) != value[name] for other in others)]
    return f'{key}: ' + ', '.join(f'{name}={value[name]!r}' for name in differing)


def draw_curves(dataset, summary, methods, paths):
    """Draw accuracy over n to image files; returns the paths of those that were drawn.

    Args:
        methods: of the whole report, see figures.accuracy_curves.
    """
    if summary.empty:
        return []
    curves = {method: [(row.n_shot if row.n_shot == ALL else int(row.n_shot), row.mean, row.low, row.high) for row in group.itertuples()]
              for method, group in summary.groupby('method')}
    try:
        chance = 1 / len(read_classes(dataset))
    except UserError as problem:
        print(f'note: the figure of {dataset} is without the line of chance: {problem}')
        chance = None
    apart = [method for method in methods if starts_pretrained(method)] if len(curves) > 8 else []  # fewer can be told apart in one panel
    for path in paths:
        with atomic(path) as temporary:
            figures.accuracy_curves(curves, methods, chance, f'{dataset}: mean accuracy and its 95 % interval', temporary, apart)
    return paths


def starts_pretrained(label):
    """Whether a method's name in tables, with what tells its variants apart, is that of one that starts from a pretrained network."""
    name = re.split(r' \[|, ', label)[0]
    return name in config_methods and plans.begins_pretrained(name)


def draw_confusions(rows, folder):
    """Draw the confusion matrix of each method on a data set, of all runs at its largest n.

    Returns method -> path, and lines for report.md.
    """
    paths, lines = {}, []
    for (dataset, label), runs in analysis.with_most_shots(rows).groupby(['dataset', 'label'], sort=False):
        about = f'n = {runs["n_shot"].iloc[0]}, {len(runs)} run(s), {runs["correct"].sum()} of {runs["clips"].sum()} decisions right'
        models = [f'{row.experiment}/{row.model}' for row in runs.itertuples()]
        try:
            classes, counts = evaluation.add_confusions([experiments_folder() / model for model in models])
            if (counts.trace(), counts.sum()) != (runs['correct'].sum(), runs['clips'].sum()):
                raise ValueError('it is of another evaluation')
        except FileNotFoundError as problem:
            path = Path(problem.filename).relative_to(experiments_folder())
            lines.append(f'- {label}: {about}; not drawn, experiments/{path} is not here (deleted, or made elsewhere)')
        except ValueError as problem:  # of pandas and of this function
            lines.append(f'- {label}: {about}; not drawn, confusion_matrix.tsv of experiments/{models[0]} or another run cannot be used: '
                         f'{problem}')
        else:
            paths[label] = folder / f'confusion_{dataset}_{slug(label)}.png'
            lines.append(f'- [{label}]({paths[label].name}): {about}')
            with atomic(paths[label]) as temporary:
                figures.confusion(counts, classes, f'{dataset}: {label}\n{about}', temporary)
    return paths, lines


def slug(label):
    """A method's name as a part of a file name: 'log-learn VGG' -> 'log-learn_VGG', 'VGG [1a2b3c4d]' -> 'VGG_1a2b3c4d'."""
    return re.sub(r'[^\w.-]+', '_', label).strip('_')


# ---- Markdown tables of one data set ---------------------------------------------------------------------------------

def markdown(head, lines):
    """A Markdown table with a heading (list of C str) and lines (lists of up to C str), its columns aligned."""
    lines = [head, *(line + [''] * (len(head) - len(line)) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in lines]
    return '\n'.join([text[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *text[1:]]) + '\n'


def by_n(summary, head, cell, missing=()):
    """A row per method, a column per n, each cell as cell(row of summary); `missing`: (method, reason) of rows without any."""
    columns = sorted(summary['n_shot'].unique(), key=analysis.position)
    cells = {(row.method, row.n_shot): cell(row) for row in summary.itertuples()}
    lines = [[method, *(cells.get((method, n), '') for n in columns)] for method in summary['method'].unique()]
    return markdown([head, *([f'n = {n}' for n in columns] or [''])], [*lines, *map(list, missing)])


def accuracy_markdown(summary, missing=()):
    """Method by n, see spread. `missing` as in by_n."""
    return by_n(summary, 'accuracy, mean +- std (runs)', spread, missing)


def spread(row):
    """mean +- standard deviation (runs) as text; of a single run without the deviation."""
    return f'{row.mean:.3f}' + f' +- {row.std:.3f}' * (row.runs > 1) + f' ({row.runs})'


def interval_markdown(summary):
    """Method by n: mean and its 95 % interval, and over how many folds or runs."""
    def cell(row):
        basis = f'{row.folds} folds' if row.folds > 1 else f'{row.runs} runs'
        return f'{row.mean:.3f}' + (f' ({row.low:.3f} to {row.high:.3f}, {basis})' if np.isfinite(row.low) else '')

    return by_n(summary, 'mean (95 % interval)', cell)


def verdict_markdown(verdicts):
    """A line per verdict; '' when there is none."""
    def cells(row):
        reference = f'{row.reference:.3f}' + ('' if np.isnan(row.spread) else f' +- {row.spread:.3f}') + f' ({row.reference_runs})'
        return [row.method, row.n_shot, row.folds, spread(row), reference, row.settings, f'{row.difference:+.3f}', row.verdict]

    head = ['method', 'n', 'folds', 'this project (runs)', 'reference (runs)', 'setting', 'difference', 'verdict']
    return markdown(head, [cells(row) for row in verdicts.itertuples()]) if len(verdicts) else ''


def comparison_markdown(summary, pairs):
    """At each n, the method with the highest mean against every other one; '' when there is nothing to compare."""
    lines = []
    for n_shot in sorted(summary['n_shot'].unique(), key=analysis.position):
        group = summary[summary['n_shot'] == n_shot]
        best = group['method'][group['mean'].idxmax()]
        for row in analysis.against(pairs[pairs['n_shot'] == n_shot], best):
            lines.append([n_shot, best, row['other'], *evaluation.difference(row), evaluation.probability(row['p_holm']),
                          f'{row["pairs"]} in {row["folds"]} fold{"s" * (row["folds"] > 1)}'])
    head = ['n', 'best', 'other', 'difference', '95 % interval', 'p', 'p (Holm)', 'pairs']
    return markdown(head, lines) if lines else ''


def cost_markdown(costs):
    """A line per method: runs and hours:minutes:seconds."""
    def time(seconds):
        return str(datetime.timedelta(seconds=round(seconds)))

    return markdown(['method', 'runs', 'training', 'test'],
                    [[row.method, str(row.runs), time(row.train_seconds), time(row.test_seconds)] for row in costs.itertuples()])


# ---- README ----------------------------------------------------------------------------------------------------------

BEGIN, END = r'<!-- results: python report\.py .* -->', '<!-- end of results -->'


def section(rows, show=()):
    """The results section of a README (Markdown); it depends on the arguments and config_file.py alone.

    Args:
        show: methods that it is about, () for all: then those of the data set's plan that begin with a pretrained network and have no
            result appear as such.
    """
    rows = selected(rows, show)
    return joined(part for dataset in sorted(set(rows['dataset']))
                  for part in overview(rows, dataset, f'docs/{dataset}.png', () if show else without_weights(dataset)))


def selected(rows, show):
    """The rows of the methods `show`, of all for (). Raises UserError for a method without a row."""
    unknown = set(show) - set(rows['method'])
    if unknown:
        there = ', '.join(map(repr, sorted(set(rows['method']))))
        raise UserError(f'show: there are no results of {listing(sorted(unknown))}; there are those of {there}')
    return rows[rows['method'].isin(show)] if show else rows


def without_weights(dataset):
    """(dataset, method, reason) of the methods of the data set's plan that begin with a pretrained network, as `write` takes them."""
    return [(dataset, method, plans.needed_weights(method))
            for method in config_reproduce.get(dataset, {}).get('methods', ()) if plans.begins_pretrained(method)]


TITLE = '# Results in full'


def full_results(rows, readme='README.md'):
    """docs/results.md (Markdown); it depends on `rows`, config_file.py and the references alone."""
    found = tables(rows)
    text = [TITLE, f'[{readme}](../{readme}) shows some of these methods. The same command writes both files. '
            'See [how to read the tables](#how-to-read-the-tables).']
    for dataset in sorted(set(rows['dataset'])):
        text += [f'## {dataset}', *analysis.left_out(rows[rows['dataset'] == dataset]),
                 *overview(rows, dataset, f'{dataset}_all.png', without_weights(dataset)), *details(dataset, *found)]
    return joined([*text, LEGEND]) + '\n'


def joined(paragraphs):
    """Paragraphs of Markdown as one text (str)."""
    return '\n\n'.join(paragraph.strip('\n') for paragraph in paragraphs)


def update_readme(path, rows, folder, show=()):
    """Replace what stands between the two marker lines of a README by the section of `rows`, see section.

    In docs/ beside the README, docs/results.md is written, <dataset>.png is drawn of the methods `show`, and <dataset>_all.png is copied from
    the report of `rows` in `folder`.
    Raises UserError unless both markers are there, once each: <!-- results: python report.py ... --> and <!-- end of results -->.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as problem:
        raise UserError(f'{path} is not a text file that can be read ({problem}): name the README with readme=') from None
    found = re.fullmatch(rf'(.*^{BEGIN}$)(.*)(^{END}$.*)', text, re.DOTALL | re.MULTILINE)
    if not found or len(re.findall(f'^(?:{BEGIN}|{END})$', text, re.MULTILINE)) != 2:
        raise UserError(f'{path} should have two marker lines, once each, between which the results go: '
                        f'<!-- results: python report.py ... --> and {END}')
    details = path.parent / 'docs' / 'results.md'
    if details.exists() and not details.read_text(encoding='utf-8').startswith(TITLE):
        raise UserError(f'{details} is another text: move it away, the results in full are written there')
    text, summary = section(rows, show), analysis.summarise(selected(rows, show))
    methods = sorted(summary['method'].unique())
    for dataset, group in summary.groupby('dataset'):
        draw_curves(dataset, group, methods, [details.with_name(f'{dataset}.png')])
    for dataset in set(rows['dataset']):
        with atomic(details.with_name(f'{dataset}_all.png')) as temporary:
            temporary.write_bytes((folder / f'accuracy_{dataset}.png').read_bytes())
    write_text(details, full_results(rows, path.name))
    write_text(path, f'{found[1]}\n\n{text}\n\n{found[3]}')
    print(f'readme: {path}')
