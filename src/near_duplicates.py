"""Near-duplicates: the same sound at another level, cut a little differently, or encoded again, found by comparing spectrograms.

A clip's fingerprint is its log-mel spectrogram minus the mean of each band and of each frame. It shows when each band is louder than the
others, and does not depend on the level of the clip or of a frame. Two clips are near-duplicates when their fingerprints correlate at some
time shift at which at least half of the shorter one overlaps.
"""
import numpy as np
from scipy import fft
from sklearn.neighbors import NearestNeighbors

from features import finite, mel_spectrogram

RATE = 16000        # Hz
HOP = 320           # samples, 20 ms
BANDS = 32
FRAMES = 1000       # 20 s: of longer clips, the beginning counts
NEIGHBOURS = 12     # clips that are compared in full, by their mean spectra
ALIKE = 0.85        # correlation of the overlap from which on two clips are the same sound
OVERLAP = 0.5       # part of the shorter clip that must overlap
FLAT = 0.5          # dB: what varies less over time than this has no fingerprint


def fingerprint(samples):
    """What a clip is recognised by: (T, BANDS) float32, each band and each frame with mean 0; and its mean spectrum (BANDS,), without its level.

    Args:
        samples: (length,) at RATE.

    Returns None for a clip that is silent or shorter than 0.2 s. Raises UserError when the spectrogram is not finite.
    """
    if len(samples) < RATE // 5 or not np.any(samples):
        return None
    level = 10 * np.log10(finite(mel_spectrogram)(samples[:FRAMES * HOP], RATE, 2048, HOP, BANDS, low=60) + 1e-10)
    level = np.maximum(level, level.max() - 50)  # what coding leaves of quiet parts differs
    mean = level.mean(axis=0)
    detail = level - mean
    detail -= detail.mean(axis=1, keepdims=True)
    return detail.astype(np.float32), (mean - mean.mean()).astype(np.float32)


def find(prints):
    """Pairs of near-duplicates: list of (i, j, correlation), i < j, the most alike first.

    Args:
        prints: list of what `fingerprint` returns; None is no near-duplicate of anything.
    """
    known = [i for i, found in enumerate(prints) if found is not None]
    if len(known) < 2:
        return []
    spectra = np.stack([np.concatenate([prints[i][1], prints[i][0].std(axis=0)]) for i in known])
    count = min(NEIGHBOURS + 1, len(known))
    _, places = NearestNeighbors(n_neighbors=count).fit(spectra).kneighbors(spectra)
    pairs = {tuple(sorted((known[a], known[b]))) for a, row in enumerate(places) for b in row if known[a] != known[b]}
    found = [(i, j, similarity(prints[i][0], prints[j][0])) for i, j in sorted(pairs)]
    return sorted((pair for pair in found if pair[2] >= ALIKE), key=lambda pair: -pair[2])


def similarity(a, b):
    """The largest correlation of two fingerprints (T, BANDS) over shifts that leave OVERLAP of the shorter one; 0 for flat ones."""
    if a.std() < FLAT or b.std() < FLAT:
        return 0.0
    size = fft.next_fast_len(len(a) + len(b) - 1)
    one_a, one_b, of_a, of_b, squared_a, squared_b = (fft.rfft(x, size, axis=0) for x in (
        np.ones((len(a), 1)), np.ones((len(b), 1)), a, b, np.square(a), np.square(b)))

    def correlate(x, y):  # for each shift and band, the sum over the overlap
        return fft.irfft(x * np.conj(y), size, axis=0)

    # Pearson's correlation over the overlap: the means of the bands there are taken away
    overlap = correlate(one_a, one_b)
    count = np.maximum(overlap, 1)
    sum_a, sum_b = correlate(of_a, one_b), correlate(one_a, of_b)
    product = (correlate(of_a, of_b) - sum_a * sum_b / count).sum(axis=1)
    energy_a = (correlate(squared_a, one_b) - sum_a ** 2 / count).sum(axis=1)
    energy_b = (correlate(one_a, squared_b) - sum_b ** 2 / count).sum(axis=1)
    allowed = overlap[:, 0] >= max(OVERLAP * min(len(a), len(b)), 3) - 0.5
    floor = 0.1 * min(np.square(a).sum(), np.square(b).sum())  # an overlap of what is nearly silent says nothing
    allowed &= (energy_a > floor) & (energy_b > floor)
    if not allowed.any():
        return 0.0
    return float((product[allowed] / np.sqrt(energy_a[allowed] * energy_b[allowed])).max())
