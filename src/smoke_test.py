"""Check that the weights of a pretrained network are the right ones, and that input and network compute what they should.

Usage:  python smoke_test.py mn04
        python smoke_test.py vggish checkpoint=/path/to/vggish_model.ckpt
Reads:  weights of the network (aux/download.py mn04).
Prints: shape of the input made of 3 s of a 1 kHz sine, mean and standard deviation of its embedding, beside the figures that the
        authors published or that their own code gives; the exit code is not 0 when they differ.
"""
import numpy as np

import config_file
import pretrained
from configuration import parse_arguments, parse_overrides
from shared import UserError, run_script

SECONDS, FREQUENCY = 3, 1000


def main(network=None, doc=__doc__):
    arguments = parse_arguments(doc, *(() if network else ('network', f'one of {", ".join(pretrained.NETWORKS)}')), keys='checkpoint=FILE')
    check(network or arguments[0], parse_overrides(arguments[1], ('checkpoint',)))


def check(name, overrides):
    """Compare what a network computes of a sine with the figures in the registry. Raises UserError where they differ."""
    config = {'network': name, **overrides}
    network = pretrained.of(config)
    path = pretrained.path_of({'checkpoint': config_file.config_knn_audioset[network.entry]['checkpoint'], **config})
    import backend  # after the checks, because TensorFlow takes seconds to start
    backend.set_up_device()
    sine = network.sine or pretrained.Sine(0.5, None, np.nan, np.nan, np.nan)
    digest = pretrained.digest(path)
    print(f'{path}: sha256 {digest}' + (', as published' if digest == network.sha256 else ''))
    layer = network.make_layer(path, sine.output, 0)  # raises UserError for files of another structure
    rate = network.front_end.sample_rate
    samples = sine.amplitude * np.sin(2 * np.pi * FREQUENCY * np.arange(SECONDS * rate) / rate)
    examples = network.front_end.from_samples(samples)
    print(f'input: shape {examples.shape}' + (f', expected {sine.shape}' if sine.shape else ''))
    wrong = [] if sine.shape in (None, examples.shape) else [f'the input has shape {examples.shape}: its front end is wrong']
    embeddings = np.asarray(layer(network.front_end.windows(examples)))
    for figure, found, expected in (('mean', embeddings.mean(), sine.mean),
                                    ('standard deviation', embeddings.std(), sine.standard_deviation)):
        print(f'{sine.output}, {figure}: {found:.6f}, expected {expected:.6f}')
        if network.sine and not abs(found - expected) <= sine.tolerance * abs(expected):
            wrong.append(f'the {figure} of the embeddings is {found:.6f}, not {expected:.6f}')
    if wrong:
        raise UserError('; '.join(wrong) + ('. The weights are the published ones: input or network are wrong' if digest ==
                                            network.sha256 else f'. These are other weights. {network.remedy}'))
    print(f'{network.title} computes what it should' if network.sine else
          f'{network.title} has the right structure; there are no figures to compare its output with')


if __name__ == '__main__':
    run_script(main)
