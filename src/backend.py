"""TensorFlow and Keras, with start-up logs suppressed. All other modules import them from here."""
import contextlib
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from shared import UserError


def check_processor(machine=platform.machine(), cpuinfo=Path('/proc/cpuinfo')):
    """Raise UserError on a processor that TensorFlow's packages do not support: it would end this process without a word."""
    if machine != 'x86_64' or not cpuinfo.is_file():
        return
    flags = re.search(r'^flags\s*:(.*)$', cpuinfo.read_text(encoding='utf-8', errors='replace'), re.MULTILINE)
    if flags and 'avx' not in flags[1].split():
        raise UserError('this processor lacks AVX instructions, which the packages of TensorFlow need: use another machine, or a '
                        'TensorFlow that was built for this processor')


@contextlib.contextmanager
def quiet():
    """Suppress what native code writes to stderr in the block; print it if the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


check_processor()
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # errors are still shown
os.environ['KERAS_BACKEND'] = 'tensorflow'  # whatever keras.json or the environment says for other projects
with quiet():  # no setting turns off the lines about instructions and drivers
    import keras
    import tensorflow as tf
    with contextlib.suppress(RuntimeError):  # the caller has computed with TensorFlow already: its choice stays
        # a process works on one GPU, and would take memory on all that it sees, and all of their memory
        tf.config.set_visible_devices(tf.config.list_physical_devices('GPU')[:1], 'GPU')
        for gpu in tf.config.get_visible_devices('GPU'):
            tf.config.experimental.set_memory_growth(gpu, True)

# Settings that Keras may have read from a keras.json of other projects: with another one, the networks are not those of the study
keras.config.set_image_data_format('channels_last')
keras.config.set_floatx('float32')
keras.config.set_epsilon(1e-7)
keras.config.set_dtype_policy('float32')

__all__ = ['keras', 'tf', 'set_up_device']

INSTALL_CUDA = f".venv/bin/pip install 'tensorflow[and-cuda]=={tf.__version__}'"


def set_up_device():
    """Make every operation repeatable and exact to float32, and print which device is used.

    A warning goes to the terminal, even if the output goes to a file, when the machine has an NVIDIA GPU that TensorFlow does not use.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # TF32 rounds the factors of convolutions to 10 bits
    gpus = tf.config.get_visible_devices('GPU')
    names = [tf.config.experimental.get_device_details(gpu).get('device_name', gpu.name) for gpu in gpus]
    print(f'device: {"GPU " + names[0] if names else f"CPU, {os.cpu_count()} cores"}; TensorFlow {tf.__version__}')
    if not names and (warning := unused_gpu()):
        print(f'warning: {warning}', file=sys.__stderr__)


def unused_gpu(driver=Path('/proc/driver/nvidia/gpus')):
    """Why TensorFlow probably finds no GPU on a machine that has one, with the remedy; '' where there is none, or it is hidden on purpose."""
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    if chosen in ('', '-1') or not (driver.is_dir() and any(driver.iterdir())):
        return ''
    hidden = f', or CUDA_VISIBLE_DEVICES={chosen} names none of those that `nvidia-smi -L` lists' if chosen else ''
    return (f'this machine has an NVIDIA GPU, but TensorFlow does not find it, and works on the CPU: the CUDA libraries are missing '
            f"({INSTALL_CUDA}){hidden}. CUDA_VISIBLE_DEVICES=-1 hides the GPU and this warning")
