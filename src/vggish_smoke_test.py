"""Check that the VGGish checkpoint is the right one, and that input and network compute what its authors published.

Usage:  python vggish_smoke_test.py
Reads:  vggish_model.ckpt (aux/download.py vggish).
Prints: shape of the examples of 3 s of a 1 kHz sine, mean and standard deviation of their embeddings before the last ReLU,
        beside the published figures; the exit code is not 0 when they differ.
"""
import numpy as np

import config_file
import pretrained
import vggish_input
import vggish_params
from configuration import parse_arguments, parse_overrides
from shared import UserError, run_script

SECONDS, FREQUENCY = 3, 1000
PUBLISHED = {'mean': 0.000657, 'standard deviation': 0.343}
TOLERANCE = 0.1  # of the published figure


def main():
    _, arguments = parse_arguments(__doc__)
    vggish = pretrained.NETWORKS['vggish']
    config = {'network': 'vggish', 'checkpoint': config_file.VGGISH_CHECKPOINT, **parse_overrides(arguments, ('checkpoint',))}
    path = pretrained.path_of(config)
    import backend  # after the checks, because TensorFlow takes seconds to start
    import vggish_slim
    backend.set_up_device()
    values = vggish_slim.read_checkpoint(path)
    digest = pretrained.digest(path)
    print(f'{path}: sha256 {digest}' + (', as published' if digest == vggish.sha256 else ''))
    rate = vggish_params.SAMPLE_RATE
    sine = np.sin(2 * np.pi * FREQUENCY * np.arange(SECONDS * rate) / rate)
    examples = vggish_input.waveform_to_examples(sine, rate, rounded=False)  # as when the figures were published
    expected = (SECONDS, vggish_params.NUM_FRAMES, vggish_params.NUM_BANDS)
    print(f'examples: shape {examples.shape}, expected {expected}')
    wrong = [] if examples.shape == expected else [f'the examples have shape {examples.shape}: vggish_input.py is wrong']
    embeddings = vggish_slim.VGGish(values, last_activation=None)(examples).numpy()
    for name, found in (('mean', embeddings.mean()), ('standard deviation', embeddings.std())):
        print(f'embeddings before the last ReLU, {name}: {found:.6f}, published {PUBLISHED[name]:.6f}')
        if not abs(found - PUBLISHED[name]) <= TOLERANCE * PUBLISHED[name]:
            wrong.append(f'the {name} of the embeddings is {found:.6f}, not {PUBLISHED[name]:.6f}')
    if wrong:
        raise UserError('; '.join(wrong) + ('. The checkpoint is the published one: input or network are wrong' if digest ==
                                            vggish.sha256 else f'. This is another checkpoint. {vggish.remedy}'))
    print('VGGish computes what its authors published')


if __name__ == '__main__':
    run_script(main)
