"""Export a classifier for use without this repository: a SavedModel and a LiteRT file, with the front end inside.

Usage:  python export.py birds
        python export.py birds --seconds 3 --to /path/to/folder
Reads:  a classifier of fit.py, or an experiment with weights, as classify.py does.
Writes: classifiers/<name>/export/ (or --to): saved_model/, model.tflite and model.json, which tells rate, length, classes and threshold.

Both models take the samples of one clip (float32, mono, full scale = 1, of the length and at the rate in model.json) and return
`probabilities`, one per class, and `confidence`. A sound with a confidence below the threshold is none of the classes. export.py compares
the probabilities of each model with those of classify.py on a set of sounds, and writes the model only if they agree within 0.0001.
"""
import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

import classifier
from methods import start_tensorflow
from shared import UserError, run_script, write_json

TOLERANCE = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('classifier', help='name of a classifier or of an experiment, or a folder')
    parser.add_argument('--seconds', type=float, help="length of the clips that the model takes (default: the classifier's window)")
    parser.add_argument('--to', type=Path, help='folder of the files')
    parser.add_argument('--checkpoint', help='weights of the pretrained network, where they are not in src/')
    args = parser.parse_args()
    opened = classifier.load(args.classifier, args.checkpoint)
    seconds = opened.window if args.seconds is None else args.seconds
    if not 0.1 <= seconds <= 60:
        raise UserError(f'--seconds {seconds}: expected 0.1 to 60')
    folder = args.to or opened.folder / 'export'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f'the folder {folder} cannot be made ({problem.strerror}): name another one with --to') from None
    length = round(seconds * opened.rate)
    start_tensorflow()  # after the checks, because it takes seconds
    from tensorflow.lite.python.convert_phase import ConverterError

    import portable
    from backend import tf
    module = portable.Portable(opened, length)
    sounds = test_sounds(length, opened.rate)
    expected = opened.predict_samples(sounds)
    writers, problems = {'saved_model': write_saved_model, 'model.tflite': write_tflite}, []
    for name in ('model.json', *writers):  # of an earlier classifier, whose classes may be others
        remove(folder / name)
    for name, write in writers.items():
        target = folder / name
        temporary = folder / f'.tmp-{name}'
        remove(temporary)
        try:
            run = write(module, temporary)
            difference = max(float(np.abs(run(sound) - p).max()) for sound, p in zip(sounds, expected))
            problem = None if difference <= TOLERANCE else f'differs from classify.py by up to {difference:.2g} and was not written'
        except (ValueError, RuntimeError, OSError, tf.errors.OpError, ConverterError) as error:
            problem = f'could not be made: {(str(error).strip() or repr(error)).splitlines()[0][:200]}'
        if problem:
            problems.append(f'{name} {problem}')
            remove(temporary)
            continue
        temporary.rename(target)
        print(f'{target}: {size(target) / 1e6:.1f} MB; probabilities within {difference:.1g} of those of classify.py on {len(sounds)} sounds')
    if len(problems) < len(writers):
        known = opened.calibration or {}
        write_json(folder / 'model.json', {'rate': opened.rate, 'length': length, 'classes': opened.classes, 'threshold': known.get('threshold'),
                                           'method': opened.method})
        print(f'{folder / "model.json"}: rate, length, classes, threshold')
    if problems:
        sys.exit('\nerror: ' + '; '.join(problems))


def test_sounds(length, rate, seed=0):
    """Noise and tones of several levels, clicks, a chord that begins late, and near silence: list of (length,) float32."""
    rng, time = np.random.default_rng(seed), np.arange(length) / rate
    sounds = [level * rng.normal(size=length) for level in (0.3, 0.03, 0.001)]
    sounds += [level * np.sin(2 * np.pi * tone * time) + 1e-3 * rng.normal(size=length) for level, tone in ((0.5, 440), (0.1, 3000), (0.02, 120))]
    sounds.append(np.where(rng.random(length) < 10 / rate, 0.8, 0.0) + 1e-4 * rng.normal(size=length))
    sounds.append((time > time[-1] / 2) * sum(0.1 * np.sin(2 * np.pi * tone * time) for tone in (220, 277, 330)) + 1e-4 * rng.normal(size=length))
    sounds.append(0.2 * np.sin(2 * np.pi * (200 + 2000 * time / time[-1]) * time) * np.exp(-3 * time / time[-1]) + 1e-4 * rng.normal(size=length))
    return [np.clip(sound, -1, 1).astype(np.float32) for sound in sounds]


def write_saved_model(module, path):
    """Write a SavedModel, load it again and return a function samples -> probabilities."""
    from backend import tf
    tf.saved_model.save(module, str(path), signatures=module.call)
    loaded = tf.saved_model.load(str(path)).signatures['serving_default']
    return lambda samples: loaded(samples=tf.constant(samples))['probabilities'].numpy()


def write_tflite(module, path):
    """Write a LiteRT file, load it with LiteRT's interpreter and return a function samples -> probabilities."""
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from backend import quiet, tf
    with quiet():
        # the converter by itself leaves the variables of such a module variables, without their values
        constant = convert_variables_to_constants_v2(module.call.get_concrete_function())
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([constant]).convert())
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    (given,), wanted = interpreter.get_input_details(), interpreter.get_output_details()

    def run(samples):
        interpreter.set_tensor(given['index'], samples)
        interpreter.invoke()
        return next(interpreter.get_tensor(detail['index']) for detail in wanted if len(detail['shape']) == 1)
    return run


def size(path):
    """Bytes of a file or of a folder's files."""
    return sum(file.stat().st_size for file in path.rglob('*') if file.is_file()) if path.is_dir() else path.stat().st_size


def remove(path):
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == '__main__':
    run_script(main)
