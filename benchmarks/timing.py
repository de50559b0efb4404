"""Timing two ways of doing the same work in turn, so that a machine whose speed drifts treats both alike."""
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))


def seconds(function):
    """Seconds that one call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def compare(name, ours, reference, amount, unit, target, rounds=5):
    """Time both functions in turn and print rates, the median ratio of ours to the reference, and the target.

    Both are called once before, unmeasured. `amount` of `unit` is what one call works through. Returns the ratio.
    """
    ours(), reference()
    times = [(seconds(ours), seconds(reference)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in times)
    mine, bare = (amount / statistics.median(t) for t in zip(*times))
    print(f'{name:34s} {mine:9.1f} {unit}/s, reference {bare:9.1f} {unit}/s: ratio {ratio:5.2f} '
          f'(wanted: {target:.2f} or more){"" if ratio >= target else "  MISSED"}', flush=True)
    return ratio
