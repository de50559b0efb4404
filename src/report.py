"""Report results: tables, figures, comparisons of methods, verdicts beside published figures.

Usage:  python report.py
        python report.py dataset=esc10
        python report.py us8k methods=VGG,proto
        python report.py results=../docs/results.tsv readme=../README.md show=TIMBRE,VGG
        python report.py compare=fold_0_1541174334,fold_0_1541177777
Reads:  experiments/results.tsv under DATA_FOLDER, or the table that results= names; data/references.tsv of this repository.
        With a plan of reproduce.py, only the results that belong to it count.
With compare=, two experiments (a method before and after a change, or the same one on two versions of the data) are compared on the
test clips that both have, run by run: nothing is written.
Writes: experiments/report_<plan or dataset>/ (report_all/ for everything): report.md, tables, figures. With readme=, the
        results of the methods show= (without it: of all) between two marker lines of that file, and beside it docs/results.md
        (all methods) and the figures in docs/.
"""
import shlex
import sys
from pathlib import Path

import comparison
import plans
import reporting
from config_file import config_reproduce
from configuration import configure, parse_arguments, parse_overrides
from results import read_results
from shared import UserError, expanded, listing, run_script

OPTIONS = ('results', 'readme', 'show')


def main():
    plan, arguments = parse_arguments(__doc__, 'plan', f'entry of config_reproduce: {", ".join(config_reproduce)}', optional=True,
                                      keys='dataset=NAME, results=FILE, readme=FILE, show=METHODS, compare=EXPERIMENT,EXPERIMENT; with a '
                                           'plan also the options of reproduce.py')
    options = [argument for argument in arguments if argument.partition('=')[0] in OPTIONS]
    others = [argument for argument in arguments if argument not in options]
    values = parse_overrides(options, OPTIONS)
    show = values.pop('show', [])
    paths = {key: expanded(name) for key, name in values.items()}
    if show and 'readme' not in paths:
        raise UserError('show= chooses the methods that a README shows: give readme= too, or methods= with a plan')
    chosen = [argument for argument in others if argument.startswith('compare=')]
    if chosen:
        names = parse_overrides(chosen, ('compare',))['compare']
        if len(names) != 2:
            raise UserError(f'{chosen[0]}: expected two experiments, compare=fold_0_1541174334,fold_0_1541177777')
        print(comparison.describe(*names))
        return
    rows, name, missing = select(plan, others, paths.get('results'))
    folder = reporting.write(rows, name, missing, commands=f'cd src && python {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}')
    if 'readme' in paths:
        reporting.update_readme(paths['readme'], rows, folder, show)


def select(plan, arguments, results):
    """The rows that are asked for, the report's name, and (data set, method, reason) of what the plan must leave out.

    Args:
        plan: name, or None.
        arguments: key=value, for the plan, or dataset=.
        results: path of the table of results, None: that of DATA_FOLDER.
    """
    if plan:
        config = configure('config_reproduce', plan, arguments, plans.method_keys())
        opened = plans.Plan({**config, 'dry_run': True})  # nothing is made here
        for note in opened.notes:  # those of `jobs` are about what reproduce.py would do
            print(f'note: {note}')
        jobs = opened.jobs()
        rows = plans.rows_of(jobs, read_results(results))
        unknown = sorted({job.method for job in jobs if job.identity.data is None})
        if unknown:
            command = shlex.join(['python', 'reproduce.py', plan, *arguments])
            told = (f'the results of {listing(unknown, 99)} cannot be told from those on other data without their representations: make them '
                    f'with `{command}`, or report all results with `python report.py dataset={config["datasets"][0]}`')
            if rows.empty:
                raise UserError(told)
            print(f'note: {told}')
        return rows, opened.report, opened.missing
    dataset = parse_overrides(arguments, ('dataset', 'compare', *OPTIONS)).get('dataset')
    rows = read_results(results)
    if dataset is None:
        return rows, 'all', ()
    if dataset not in set(rows['dataset']):
        raise UserError(f'there is no result on {dataset!r}: train and evaluate first, e.g. '
                        f'python sl_train.py spec dataset={dataset}')
    return rows[rows['dataset'] == dataset], dataset, ()


if __name__ == '__main__':
    run_script(main)
