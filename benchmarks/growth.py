"""How time and memory grow with the number of training clips: 10, 100 and 1000 per class of made-up features.

Usage:  python benchmarks/growth.py [image file for the figure]
Prints: for each method and number of clips, the seconds of the command, start-up included; the milliseconds of training per clip (and
        epoch); those of evaluation per test clip; the peak memory of the command.

The data set has ten classes of 1000 training clips and 10 test clips of 216 frames (5 s). It takes 1.3 GB of disk and 4 minutes on 2 cores.
"""
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from timing import seconds
from toy_data import make_data_set

import figures
import results
import shared

CLASSES, TRAIN, TEST, SHOTS = 10, 1000, 10, (10, 100, 1000)
COMMANDS = {  # method -> command, and the epochs with updates that it trains for
    'knn_mfcc': (['knn_mfcc.py'], 1),
    'TIMBRE': (['sl_train.py', 'spec', 'model_number=2', 'epochs=6'], 5),
    'SB-CNN BN': (['sl_train.py', 'spec', 'model_number=1', 'epochs=3'], 2),
    'VGG': (['sl_train.py', 'spec', 'model_number=3', 'epochs=3'], 2),
}


def measure(method, n_shot):
    """Run the method's command; a row of the table (dictionary)."""
    (script, *arguments), epochs = COMMANDS[method]
    command = [sys.executable, Path(shared.__file__).with_name(script), *arguments, 'dataset=made', f'n_shot={n_shot}', 'num_experiment_runs=1']
    usage = []

    def run():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        error = process.stderr.read()
        _, status, resources = os.wait4(process.pid, 0)
        if status:
            sys.exit(error.decode())
        usage.append(resources)

    wall = seconds(run)
    if script == 'sl_train.py':
        subprocess.run([sys.executable, Path(shared.__file__).with_name('sl_evaluate.py'), 'latest'], check=True, capture_output=True)
    row = results.results_so_far().iloc[-1]
    return {'method': method, 'clips per class': n_shot, 'command (s)': wall,
            'training (ms per clip and epoch)': 1000 * row['train_seconds'] / (epochs * CLASSES * n_shot),
            'evaluation (ms per clip)': 1000 * row['test_seconds'] / (CLASSES * TEST), 'memory (MB)': usage[0].ru_maxrss / 1024}


def draw(table, path):
    """The figure: training time per clip and memory over the number of clips."""
    figure, panels = figures.plt.subplots(1, 2, figsize=(11, 4.2), layout='constrained')
    looks = figures.styles(table['method'].unique())
    for axes, column, label, ticks in zip(
            panels, ('training (ms per clip and epoch)', 'memory (MB)'), ('training time (ms per clip and epoch)', 'peak memory (MB)'),
            ((0.001, 0.01, 0.1, 1, 10), (250, 500, 1000, 2000, 4000, 8000))):
        for method, rows in table.groupby('method', sort=False):
            axes.plot(rows['clips per class'], rows[column], label=method, **looks[method])
        axes.set(xscale='log', yscale='log', xlabel='training clips per class, of ten classes (log scale)', ylabel=label)
        axes.set_xticks(SHOTS, list(map(str, SHOTS)))
        axes.set_yticks(ticks, list(map(str, ticks)))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].legend()
    figures.save(figure, path, 110)


def main():
    if sys.argv[1:] and Path(sys.argv[1]).suffix not in ('.png', '.pdf'):
        sys.exit(__doc__)
    count = CLASSES * (TRAIN + TEST)
    parts = {'train': np.arange(CLASSES * TRAIN), 'test': np.arange(CLASSES * TRAIN, count)}
    with contextlib.redirect_stdout(None):
        make_data_set('made', np.arange(count) % CLASSES, [parts])
    table = pd.DataFrame([measure(method, n_shot) for method in COMMANDS for n_shot in SHOTS])
    print(table.to_string(index=False, formatters={'command (s)': '{:.1f}'.format, 'training (ms per clip and epoch)': '{:.3f}'.format,
                                                   'evaluation (ms per clip)': '{:.1f}'.format, 'memory (MB)': '{:.0f}'.format}))
    if len(sys.argv) > 1:
        draw(table, Path(sys.argv[1]))


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        os.environ['DATA_FOLDER'] = temporary
        main()
