"""Tables and curves of accuracy, method by number of clips per class, from the rows of results.tsv."""
import pandas as pd

import figures
from evaluation import mean_interval, write_table
from experiment import ALL, experiments_folder
from shared import UserError, atomic, read_classes, write_text


def summarise(rows):
    """Accuracy per method and n_shot.

    Rows of one method that were made in different ways (other epochs, other input, ...) are told apart by the recipe
    behind the method's name. Of a run that was repeated the newest row counts.

    Args:
        rows: DataFrame with the columns of results.tsv.

    Returns a DataFrame with method, n_shot, mean, std, low, high, runs, folds, train_seconds, test_seconds (means),
    sorted by method and n_shot.
    """
    rows = rows.sort_values('date', kind='stable')
    rows = rows.drop_duplicates(['method', 'recipe', 'fold', 'n_shot', 'seed', 'run'], keep='last')
    several = rows.groupby('method')['recipe'].transform('nunique') > 1
    rows = rows.assign(method=rows['method'].where(~several, rows['method'] + ' [' + rows['recipe'] + ']'))
    summary = []
    for (method, n_shot), group in rows.groupby(['method', 'n_shot'], sort=False):
        mean, std, low, high = mean_interval(group['accuracy'])
        summary.append({'method': method, 'n_shot': n_shot, 'mean': mean, 'std': std, 'low': low, 'high': high,
                        'runs': len(group), 'folds': group['fold'].nunique(),
                        'train_seconds': group['train_seconds'].mean(), 'test_seconds': group['test_seconds'].mean()})
    return pd.DataFrame(summary).sort_values(['method', 'n_shot'], key=lambda c: c.map(position) if c.name == 'n_shot' else c)


def position(n_shot):
    """Place of an n_shot in an ascending order; 'all' comes last."""
    return float('inf') if n_shot == ALL else int(n_shot)


def markdown(summary):
    """The summary as a Markdown table: a row per method, a column per n, cells mean +- std (runs)."""
    columns = sorted(summary['n_shot'].unique(), key=position)
    cells = {(row.method, row.n_shot): f'{row.mean:.3f} +- {row.std:.3f} ({row.runs})' for row in summary.itertuples(index=False)}
    lines = [['accuracy, mean +- std (runs)'] + [f'n = {n}' for n in columns]]
    lines += [[method] + [cells.get((method, n), '') for n in columns] for method in summary['method'].unique()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    text = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in lines]
    return '\n'.join([text[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *text[1:]]) + '\n'


def report(rows, dataset):
    """Print the table of a data set and store it with the figure under experiments/; returns the three paths.

    Args:
        rows: DataFrame with the columns of results.tsv, or a part of it.
        dataset: name of the data set.
    """
    rows = rows[rows['dataset'] == dataset]
    if rows.empty:
        raise UserError(f'results.tsv has no result on {dataset!r}: train and evaluate first, e.g. '
                        f'python sl_train.py spec dataset={dataset}')
    summary = summarise(rows)
    table = markdown(summary)
    paths = [experiments_folder() / f'report_{dataset}.{ending}' for ending in ('md', 'tsv', 'png')]
    write_text(paths[0], f'Accuracy on {dataset}\n\n{table}')
    write_table(summary, paths[1])
    points = summary[summary['n_shot'] != ALL]
    curves = {method: [(int(row.n_shot), row.mean, row.std) for row in group.itertuples(index=False)]
              for method, group in points.groupby('method', sort=False)}
    with atomic(paths[2]) as temporary:
        figures.accuracy_curves(curves, 1 / len(read_classes(dataset)), f'{dataset}: mean and standard deviation over runs',
                                temporary)
    print(f'\n{table}\ntable:  {paths[0]}\n        {paths[1]}\nfigure: {paths[2]}')
    return paths
