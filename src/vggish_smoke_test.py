"""Check that the VGGish checkpoint is the right one. The same as `python smoke_test.py vggish`.

Usage:  python vggish_smoke_test.py
Reads:  vggish_model.ckpt (aux/download.py vggish).
Prints: see smoke_test.py.
"""
import smoke_test
from shared import run_script


def main():
    smoke_test.main('vggish', __doc__)


if __name__ == '__main__':
    run_script(main)
