"""Figures: confusion matrices and accuracy over the number of clips per class. Axes, units and names are in the picture."""
import warnings

import matplotlib

matplotlib.use('Agg')  # files only: machines with GPUs rarely have a screen
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams['text.parse_math'] = False  # class and file names may hold dollar signs

# Okabe and Ito's colours, told apart by everyone; black last, because grid and text are dark too
COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#F0E442', '#000000']
MARKERS = 'osD^vPX*'


def save(figure, path, dpi):
    """Write a figure to a file and forget it."""
    with warnings.catch_warnings():  # classes may be named in any script; letters the font lacks become boxes
        warnings.filterwarnings('ignore', message='Glyph .* missing from font')
        figure.savefig(path, dpi=dpi)
    plt.close(figure)


def confusion(matrix, classes, title, path):
    """Draw a confusion matrix (C, C) of clip counts, rows = true class, to an image file."""
    size = 2.5 + 0.45 * len(classes)
    figure, axes = plt.subplots(figsize=(size + 0.6, size), layout='constrained')
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap='Blues', vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = 'white' if share[row, column] > 0.5 else 'black'
            axes.text(column, row, count, ha='center', va='center', fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha='right', rotation_mode='anchor')
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel='predicted class', ylabel='true class', title=title)
    figure.colorbar(image, ax=axes, label='share of the true class', shrink=0.8)
    save(figure, path, 110)


def accuracy_curves(curves, chance, title, path):
    """Draw accuracy over the number of training clips per class.

    Args:
        curves: dictionary method -> list of (n, mean, std), n a number.
        chance: accuracy of guessing.
        path: image file.
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout='constrained')
    for number, (method, points) in enumerate(curves.items()):
        n, mean, std = (np.array(column) for column in zip(*points))
        colour = COLOURS[number % len(COLOURS)]
        dash = '--' if method.startswith('knn') else '-'  # baselines that train nothing
        axes.plot(n, mean, marker=MARKERS[number % len(MARKERS)], linestyle=dash, color=colour, label=method)
        axes.fill_between(n, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(chance, color='grey', linestyle=':', label='chance')
    ticks = sorted({n for points in curves.values() for n, *_ in points})
    axes.set_xscale('log')
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set(xlabel='training clips per class (log scale)', ylabel='accuracy on the test part', ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc='upper left', fontsize=9)
    save(figure, path, 130)
