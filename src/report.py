"""Report what has been measured: tables, figures, comparisons of methods, verdicts beside published figures.

Usage:  python report.py
        python report.py dataset=esc10
        python report.py results=../docs/results.tsv readme=../README.md
Reads:  experiments/results.tsv under DATA_FOLDER, or the table that results= names; data/references.tsv of this repository.
Writes: experiments/report_<dataset>/ (report_all/ for all data sets): report.md, tables, figures. With readme=, the results
        between two marker lines of that file, and their figures into docs/ beside it.
"""
from pathlib import Path

import reports
from experiment import parse_arguments, parse_overrides, read_results
from shared import UserError, run_script


def main():
    _, arguments = parse_arguments(__doc__)
    options = parse_overrides(arguments, ('dataset', 'results', 'readme'))
    paths = {key: Path(options[key]).expanduser() for key in ('results', 'readme') if key in options}
    rows, name = read_results(paths.get('results')), options.get('dataset', 'all')
    if 'dataset' in options:
        rows = rows[rows['dataset'] == name]
        if rows.empty:
            raise UserError(f'there is no result on {name!r}: train and evaluate first, e.g. '
                            f'python sl_train.py spec dataset={name}')
    folder = reports.write(rows, name)
    if 'readme' in options:
        reports.update_readme(paths['readme'], rows, folder)


if __name__ == '__main__':
    run_script(main)
