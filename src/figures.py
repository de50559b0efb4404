"""Figures, from arrays to an image file: confusion matrices, embeddings, accuracy over the number of clips per class."""
import os
import warnings

os.environ['MPLBACKEND'] = 'Agg'  # files only; a notebook's back end may not exist here
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from shared import NO_PLACE, atomic

plt.rcdefaults()  # a matplotlibrc of other projects does not count
plt.rcParams['text.parse_math'] = False  # class and file names may hold dollar signs

# Okabe and Ito's colours without the pale yellow, then some of Paul Tol's: colour-blind readers can distinguish them
COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#882255', '#332288', '#44AA99', '#999933', '#888888']
MARKERS = 'osD^vPX*'
LINES = ['-', '--', '-.']
TIMELINE = 'classify.py'  # what a timeline names as its software, so that it can be told from other pictures
# these have the same colour and marker in all figures
FIXED = ('SB-CNN BN', 'TIMBRE', 'VGG', 'knn_mfcc', 'log-learn VGG', 'proto', 'mn04 class mean', 'mn04 transfer', 'mn04 transfer proto',
         'yamnet class mean', 'mn04 logistic regression', 'mn04 nearest')


def style(number):
    """Colour and marker of item `number`; no two of 96 items share both."""
    return {'color': COLOURS[number % len(COLOURS)], 'marker': MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]}


def styles(methods):
    """Look of the curve of each method: dictionary method -> keyword arguments of errorbar.

    'VGG' and its variants 'VGG, ...' share colour and marker; variants have hollow markers and dashed lines. The lines of
    knn_... are dotted. Where colours repeat, markers differ.
    """
    numbers = {family: number for number, family in enumerate(dict.fromkeys([*FIXED, *(method.partition(',')[0] for method in methods)]))}
    looks, families = {}, {}
    for method in methods:
        family = families.setdefault(method.partition(',')[0], [])
        line = ':' if method.startswith('knn') else LINES[len(family) % len(LINES)]
        looks[method] = {**style(numbers[method.partition(',')[0]]), 'linestyle': line, 'markerfacecolor': 'white' if family else None}
        family.append(method)
    return looks


def save(figure, path, dpi, **metadata):
    """Write a figure to a file, with metadata that its format knows, and close it."""
    with warnings.catch_warnings():  # class names may be in any script; letters that the font lacks become boxes
        warnings.filterwarnings('ignore', message='Glyph .* missing from font')
        undated = {'CreationDate': None} if str(path).endswith('.pdf') else {}  # the same figure gives the same bytes
        figure.savefig(path, dpi=dpi, metadata={**undated, **metadata})
    plt.close(figure)


def draw(path, function, *arguments):
    """Draw a figure of results that are already stored: a failure is a warning, unless nothing more can be written.

    Calls function(*arguments, temporary path), and moves that file to `path`.
    """
    try:
        with atomic(path) as temporary:
            function(*arguments, temporary)
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in NO_PLACE:
            raise
        print(f'warning: {path} was not drawn ({type(problem).__name__}: {problem}); the results are stored')


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


def accuracy_curves(curves, methods, chance, title, path, apart=()):
    """Draw accuracy over the number of training clips per class.

    Args:
        curves: dictionary method -> list of (n, mean, low, high), n a number or 'all', which is drawn at the right; low and high may be NaN.
        methods: list of all methods of a report, see styles.
        chance: accuracy of guessing; None where it is not known.
        path: image file; the same input gives the same bytes.
        apart: methods that get a panel of their own, with a scale of their own, if there are others.
    """
    parts = [[method for method in curves if (method in apart) == own] for own in (False, True)]
    parts = [part for part in parts if part]
    figure, panels = plt.subplots(len(parts), 1, figsize=(8.5, 5.2 if len(parts) == 1 else 9), layout='constrained', squeeze=False)
    for axes, part in zip(panels[:, 0], parts):
        lowest = min(low if np.isfinite(low) else mean for method in part for _, mean, low, _ in curves[method])
        axes.set_ylim(0 if part is parts[0] else min(np.floor(10 * max(lowest, 0)) / 10, 0.9), 1)
        draw_panel(axes, {method: curves[method] for method in part}, styles(methods), chance)
    if len(parts) == 1:
        panels[0, 0].set_title(title)
    else:
        figure.suptitle(title)
        panels[0, 0].set_title('without pretrained networks')
        bottom = panels[1, 0].get_ylim()[0]
        panels[1, 0].set_title('with pretrained networks' + (f' (the axis begins at {bottom:g})' if bottom else ''))
    save(figure, path, 130)


def draw_panel(axes, curves, looks, chance):
    """Draw a panel of accuracy_curves; its vertical scale is set before. `looks`: see styles."""
    numbers = [n for points in curves.values() for n, *_ in points if n != 'all'] or [1]
    place_of_all = 2 * max(numbers)
    labels = {n: 'all' if n == 'all' else str(n) for points in curves.values() for n, *_ in points}
    labels = {place_of_all if n == 'all' else n: text for n, text in labels.items()}
    curves = {method: [(place_of_all if n == 'all' else n, *rest) for n, *rest in points] for method, points in curves.items()}
    names = sorted(curves, key=lambda method: -curves[method][-1][1])
    span = max(labels) / min(labels)
    for place, method in enumerate(names):
        n, mean, low, high = np.array(curves[method]).T
        # side by side, so that no interval covers another one
        n = n * max(span, 2) ** (0.07 * ((place + 0.5) / len(names) - 0.5))
        bars = np.abs(np.array([low, high]).clip(0, 1) - mean)
        axes.errorbar(n, mean, np.nan_to_num(bars), label=method, markersize=5.5, linewidth=1.3, elinewidth=0.9, capsize=2,
                      **looks[method])
    label_ends(axes, {method: curves[method][-1] for method in names}, looks)
    if chance is not None:
        axes.axhline(chance, color='grey', linestyle=':', label='chance')
        axes.annotate('chance', (1, chance), (-4, 2), xycoords=('axes fraction', 'data'), textcoords='offset points', fontsize=8, ha='right',
                      color='grey', annotation_clip=True)
    axes.set_xscale('log')
    axes.set_xticks(sorted(labels), [labels[n] for n in sorted(labels)])
    axes.minorticks_off()
    axes.set(xlabel='training clips per class (log scale)', ylabel='accuracy on the test set')
    axes.grid(alpha=0.3)


def label_ends(axes, ends, looks):
    """Write the name of each method to the right of the axes, at the height of its last point, from top to bottom.

    Args:
        ends: dictionary method -> (n, mean, ...), the highest mean first.
        looks: see styles.
    """
    height, heights = 0.045, []
    bottom, top = axes.get_ylim()
    for _, mean, *_ in ends.values():  # no two names overlap
        mean = (mean - bottom) / (top - bottom)
        heights.append(min(mean, heights[-1] - height) if heights else min(mean, 0.98))
    heights = np.array(heights) + max(0, 0.02 - heights[-1])  # nor leave the figure
    for (method, (n, mean, *_)), place in zip(ends.items(), heights):
        colour = looks[method]['color']
        axes.annotate(method, (n, mean), (1.03, place), textcoords='axes fraction', fontsize=9, va='center', color=colour,
                      arrowprops={'arrowstyle': '-', 'color': colour, 'alpha': 0.4, 'linewidth': 0.7, 'shrinkB': 4, 'relpos': (0, 0.5)},
                      annotation_clip=False)


def timeline(spectrogram, rows, events, title, path):
    """Draw a long recording: its spectrogram, the events of each class, and the probability of the best class of each window.

    Args:
        spectrogram: (M, columns) level in dB, from the first to the last second.
        rows: DataFrame of windows with start, end, class, probability.
        events: DataFrame with start, end, class, probability.
        path: image file.
    """
    seconds, classes = rows['end'].max(), sorted(events['class'].unique())
    figure, (upper, middle, lower) = plt.subplots(
        3, 1, figsize=(12, 4.2 + 0.28 * len(classes)), sharex=True, layout='constrained', height_ratios=[2.4, 0.35 + 0.28 * len(classes), 1])
    top = spectrogram.max()
    upper.imshow(spectrogram, origin='lower', aspect='auto', extent=(0, seconds, 0, len(spectrogram)), cmap='magma', vmin=top - 80, vmax=top)
    upper.set(ylabel='mel band', title=title)
    for place, name in enumerate(classes):
        own = events[events['class'] == name]
        middle.broken_barh(list(zip(own['start'], own['end'] - own['start'])), (place - 0.4, 0.8), color=style(place)['color'])
    middle.set_yticks(range(len(classes)), classes)
    middle.set(ylim=(-0.6, max(len(classes), 1) - 0.4))
    middle.grid(axis='x', alpha=0.3)
    lower.plot((rows['start'] + rows['end']) / 2, rows['probability'], color='black', linewidth=0.8, marker='.', markersize=3)
    lower.set(ylim=(0, 1.05), xlim=(0, seconds), ylabel='probability', xlabel='time in the recording (s)')
    lower.grid(alpha=0.3)
    save(figure, path, 110, Software=TIMELINE)


def training(logs, title, path):
    """Draw how the cost falls, and the accuracy rises, while networks train.

    Args:
        logs: train_log.tsv of each run (list of DataFrame): by epoch with train_cost and perhaps val_accuracy, or by update with loss and
            accuracy (of the query patches).
        path: image file.
    """
    time, cost, accuracy = (('epoch', 'train_cost', 'val_accuracy') if 'train_cost' in logs[0] else ('update', 'loss', 'accuracy'))
    shown = [(cost, 'training cost')] + ([(accuracy, accuracy.replace('val_', 'validation '))] if accuracy in logs[0] else [])
    figure, axes = plt.subplots(len(shown), 1, figsize=(7, 2.6 * len(shown) + 0.5), sharex=True, squeeze=False, layout='constrained')
    for place, (column, label) in zip(axes[:, 0], shown):
        for number, log in enumerate(logs):
            place.plot(log[time], log[column], linewidth=1, alpha=0.8, color=style(number)['color'], label=f'run {number + 1}')
        place.set(ylabel=label, ylim=(0, 1.02) if column == accuracy else (0, None))
        place.grid(alpha=0.3)
    axes[0, 0].set_title(title)
    axes[-1, 0].set_xlabel(time)
    if len(logs) > 1:
        axes[0, 0].legend(fontsize=8)
    save(figure, path, 110)


def reliability(confidences, right, counts, title, path):
    """Draw a reliability diagram: share of right decisions (B,) over their mean probability (B,), with the number of clips (B,)."""
    figure, axes = plt.subplots(figsize=(4.6, 4.4), layout='constrained')
    axes.plot([0, 1], [0, 1], color='grey', linestyle=':')
    axes.plot(confidences, right, color=COLOURS[0], marker='o')
    for x, y, count in zip(confidences, right, counts):
        axes.annotate(str(count), (x, y), (0, -14 if y > 0.5 else 8), textcoords='offset points', ha='center', fontsize=8)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel='probability of the decision', ylabel='share of right decisions', title=title)
    axes.grid(alpha=0.3)
    save(figure, path, 110)


def small_spectrogram(mel, path):
    """Draw a mel power spectrogram (T, M) without axes, a pixel per value."""
    level = 10 * np.log10(np.maximum(mel.T, 1e-10))
    plt.imsave(path, level, origin='lower', cmap='magma', vmin=level.max() - 80, vmax=max(level.max(), -99))


def embeddings(patches, labels, prototypes, classes, config, title, path):
    """Draw embeddings of patches, coloured by class, and the prototypes of the classes in two dimensions.

    Args:
        patches: (N, D) float32.
        labels: (N,) int.
        prototypes: (C, D) float32.
        classes: C names.
        config: with projection ('pca' or 'tsne', fitted to patches and prototypes together) and seed.
        path: image file.
    """
    points, names = project(np.concatenate([patches, prototypes]).astype(np.float64), config)
    size = 5 if len(classes) <= 20 else 5 + 0.03 * len(classes)
    figure, axes = plt.subplots(figsize=(size + 1.6 * -(-len(classes) // 20) + 0.4, size), layout='constrained')
    for label, name in enumerate(classes):
        own = points[:len(patches)][labels == label]
        axes.scatter(*own.T, s=14, alpha=0.6, linewidths=0, **style(label))
        axes.scatter(*points[len(patches) + label], s=130, edgecolors='black', linewidths=1.2, label=name, **style(label))
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper', ncols=-(-len(classes) // 20), fontsize=9, title='large: prototype')
    save(figure, path, 110)


def project(vectors, config):
    """Points (N, 2) of vectors (N, D) by PCA or t-SNE, and the names of the two axes."""
    if np.ptp(vectors, axis=0).max() <= np.finfo(np.float32).eps * np.abs(vectors).max():  # scikit-learn would divide by zero
        return np.zeros((len(vectors), 2)), ('all embeddings are the same', '')
    if config['projection'] == 'tsne':
        tsne = TSNE(perplexity=min(30, (len(vectors) - 1) / 3), random_state=config['seed'] % 2 ** 32)
        with threadpool_limits(1):  # its many short parallel loops are slow on a busy machine
            return tsne.fit_transform(vectors), ('t-SNE, first dimension', 't-SNE, second dimension')
    pca = PCA(2, svd_solver='full')
    points = pca.fit_transform(vectors)
    return points, [f'{nth} principal component ({100 * part:.0f} % of the variance)'
                    for nth, part in zip(('first', 'second'), pca.explained_variance_ratio_)]
