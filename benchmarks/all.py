"""All benchmarks, one after the other: a Markdown table of what is compared with a bound (stage, rate, bound, ratio, target), then the rest.

Usage:  python benchmarks/all.py <folder with sound files, e.g. ESC-10> [name of a benchmark, e.g. bench_training]
Prints: the date, the processor and the versions; a row per figure of the benchmarks; what else they print, below. Nothing else should run
        meanwhile. It takes about 12 minutes on 2 cores.
"""
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
WITH_SOUNDS = ('bench_preprocess', 'bench_vggish_input')
ROW = re.compile(r'(?P<stage>.+?) +(?P<rate>[\d.]+ \S+), (?:reference|bare) +(?P<bound>[\d.]+ \S+): ratio +(?P<ratio>[\d.]+) '
                 r'\(wanted: (?P<target>[\d.]+) or more\)')


def main():
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    sounds = Path(sys.argv[1]).resolve()
    names = sys.argv[2:] or [path.stem for path in sorted(HERE.glob('bench_*.py'))]
    rows, others, failed = [], [], []
    for name in names:
        done = subprocess.run([sys.executable, HERE / f'{name}.py', *([sounds] if name in WITH_SOUNDS else [])], text=True,
                              stdout=subprocess.PIPE)
        if done.returncode:  # its message stands above; the others go on
            failed.append(name)
        for line in done.stdout.splitlines():
            found = ROW.match(line)
            if found:
                rows.append([name, *found.group('stage', 'rate', 'bound', 'ratio', 'target')])
            elif not line.startswith(('device: ', 'scoring: ')):
                others.append(f'- {name}: {" ".join(line.split())}')
    print(f'{time.strftime("%Y-%m-%d")}, {processor()}, {os.cpu_count()} cores; TensorFlow {version("tensorflow")}, NumPy {version("numpy")}.\n')
    print('| benchmark | stage / bound | rate | bound | ratio | target |\n|---|---|---|---|---|---|')
    print(*('| ' + ' | '.join([*row[:-1], f'{row[-1]}{"" if float(row[-2]) >= float(row[-1]) else " (missed)"}']) + ' |' for row in rows), sep='\n')
    print('', *others, sep='\n')
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


def processor():
    """The processor's name."""
    found = re.search(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(encoding='utf-8'), re.MULTILINE)
    return found[1].strip() if found else 'unknown processor'


if __name__ == '__main__':
    main()
