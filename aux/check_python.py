"""Say which Python can run this project; used by the Makefile. Runs on any Python, even version 2."""
import os
import platform
import sys

SUPPORTED = ((3, 11), (3, 12), (3, 13))  # by the pinned TensorFlow, NumPy and pandas


def main():
    if sys.version_info[:2] in SUPPORTED and sys.maxsize > 2 ** 32:
        return
    names = ['python%d.%d' % version for version in SUPPORTED]
    folders = os.environ.get('PATH', '').split(os.pathsep)
    here = [name for name in names if any(os.access(os.path.join(folder, name), os.X_OK) for folder in folders)]
    advice = 'found here: ' + ', '.join(here) if here else 'install one of them, none was found here'
    sys.exit('error: Python %s (%s, %s) cannot run the pinned TensorFlow. Versions that work: %s (64 bit); %s.\n'
             'Choose one like this: make PYTHON=%s demo'
             % (platform.python_version(), sys.executable, platform.architecture()[0],
                ', '.join('%d.%d' % version for version in SUPPORTED), advice, (here or names)[-1]))


if __name__ == '__main__':
    main()
