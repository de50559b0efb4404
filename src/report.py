"""Print what has been measured on a data set: a table, method by number of clips per class, and a figure.

Usage:  python report.py dataset=esc10
Reads:  experiments/results.tsv under DATA_FOLDER.
Writes: experiments/report_<dataset>.md, .tsv and .png.
"""
import config_file
import tables
from experiment import parse_arguments, parse_overrides, read_results
from shared import run_script


def main():
    _, arguments = parse_arguments(__doc__)
    dataset = parse_overrides(arguments, ('dataset',)).get('dataset', config_file.DATASET)
    tables.report(read_results(), dataset)


if __name__ == '__main__':
    run_script(main)
