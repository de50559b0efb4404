"""A classifier as one TensorFlow function, front end included: samples of a clip -> class probabilities. For export.py.

It computes what classifier.Classifier computes, in float32 throughout and for clips of one length.
"""
import numpy as np

import embeddings
import mobilenet_input
import models_proto
import shallow
import vggish_params
import yamnet_input
from backend import tf
from features import mel_basis
from mel_features import SILENT_PART, SILENT_RMS, mel_matrix, periodic_hann
from methods import method_of
from network import load_trained
from patches import EPS, grid
from shared import UserError


class Portable(tf.Module):
    """The function of a classifier for clips of `length` samples.

    Attributes: length; call, a tf.function: samples (length,) float32 -> dictionary with probabilities (C,) and confidence (), which is
    to be compared with the threshold of the classifier.
    """

    def __init__(self, opened, length):
        super().__init__(name='classifier')
        self.length = length
        front = front_end(opened.config['representation'])
        bands = front(tf.zeros((length,)))[0].shape[-1]
        score, self._model = scorer(opened, bands)  # the model is an attribute, so that its variables are saved
        temperature = opened.calibration['temperature'] if opened.calibration else 1.0

        @tf.function(input_signature=[tf.TensorSpec((length,), tf.float32, name='samples')])
        def call(samples):
            scores = score(*front(samples))
            logits = scores if opened.similarities else tf.math.log(tf.maximum(scores, 1e-12))
            confidence = tf.reduce_max(logits) if opened.similarities else tf.reduce_logsumexp(2 * logits)
            return {'probabilities': tf.nn.softmax(logits / temperature), 'confidence': confidence}
        self.call = call


# ---- front ends: functions samples (length,) -> (array, weights of its examples or None), as features.represent ---------

def front_end(settings):
    """The front end of a representation with these settings. Raises UserError for one that has no such form."""
    kind = settings['type']
    if kind == 'mobilenet':
        return lambda samples: (mobilenet(samples, settings['level']), None)
    if kind in ('audioset', 'yamnet'):
        return lambda samples: examples(samples, settings)
    if kind == 'mfcc':
        return lambda samples: (mfcc_statistics(samples, settings), None)
    if kind == 'waveform':
        return lambda samples: (samples[:, None], None)
    if settings.get('spectrogram_type') in ('mel', 'stft'):
        return lambda samples: (spectrogram(samples, settings), None)
    raise UserError(f'a classifier on {settings.get("spectrogram_type", kind)} cannot be exported: train on mel or stft')


def at_least(samples, length):
    """Samples repeated up to `length`."""
    return samples if samples.shape[0] >= length else tf.gather(samples, np.resize(np.arange(samples.shape[0]), length))


def power(frames, window, fft_length):
    """Power spectrum (T, fft_length // 2 + 1) of frames (T, window) under a window."""
    spectrum = tf.signal.rfft(frames * tf.constant(window, tf.float32), [fft_length])
    return tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))


def mobilenet(samples, level):
    """See mobilenet_input.log_mel."""
    m = mobilenet_input
    if level is not None:
        rms = tf.sqrt(tf.reduce_mean(tf.square(samples)))
        samples = samples * tf.where(rms > 0, 10 ** (level / 20) / tf.maximum(rms, 1e-12), 1.0)
    samples = at_least(samples, m.MIN_SAMPLES)
    emphasised = samples[1:] - m.PRE_EMPHASIS * samples[:-1]
    half = m.WINDOW // 2
    padded = tf.concat([emphasised[1:half + 1][::-1], emphasised, emphasised[-half - 1:-1][::-1]], 0)
    matrix = mel_matrix(m.FFT, m.SAMPLE_RATE, m.NUM_BANDS, m.MEL_MIN_HZ, m.MEL_MAX_HZ).astype(np.float32)
    mel = power(tf.signal.frame(padded, m.WINDOW, m.HOP), np.hanning(m.WINDOW), m.FFT) @ matrix
    return (tf.math.log(mel + m.LOG_OFFSET) + m.SHIFT) / m.SCALE


def examples(samples, settings):
    """See vggish_input.waveform_to_examples and yamnet_input.patches; weights leave silent examples out."""
    yamnet = settings['type'] == 'yamnet'
    m = yamnet_input if yamnet else vggish_params
    seconds, hop = ((m.STFT_WINDOW_SECONDS, m.STFT_HOP_SECONDS) if yamnet else (m.STFT_WINDOW_LENGTH_SECONDS, m.STFT_HOP_LENGTH_SECONDS))
    if yamnet:
        more = max(0, -(-(samples.shape[0] - m.PATCH_SAMPLES) // m.PATCH_HOP_SAMPLES))
        samples = tf.pad(samples, [[0, m.PATCH_SAMPLES + more * m.PATCH_HOP_SAMPLES - samples.shape[0]]])
        frames, step, length, stride = m.PATCH_FRAMES, m.PATCH_HOP, m.PATCH_SAMPLES, m.PATCH_HOP_SAMPLES
    else:
        samples = at_least(samples, m.SAMPLE_RATE)
        frames = step = m.NUM_FRAMES
        length = stride = round(m.EXAMPLE_WINDOW_SECONDS * m.SAMPLE_RATE)
    window = round(seconds * m.SAMPLE_RATE)
    size = 1 << (window - 1).bit_length()
    matrix = mel_matrix(size, m.SAMPLE_RATE, m.NUM_BANDS, m.MEL_MIN_HZ, m.MEL_MAX_HZ).astype(np.float32)
    hann = yamnet_input.tensorflow_hann() if yamnet else periodic_hann(window)
    magnitude = tf.sqrt(power(tf.signal.frame(samples, window, round(hop * m.SAMPLE_RATE)), hann, size))
    log_mel = tf.math.log(magnitude @ matrix + m.LOG_OFFSET)
    starts = np.arange(0, log_mel.shape[0] - frames + 1, step)
    array = tf.gather(log_mel, starts[:, None] + np.arange(frames))
    if not settings['skip_silence']:
        return array, None
    pieces = tf.gather(samples, (np.arange(len(starts)) * stride)[:, None] + np.arange(length))
    level = tf.sqrt(tf.reduce_mean(tf.square(pieces), axis=1))
    loud = tf.cast(level > tf.maximum(SILENT_RMS, SILENT_PART * tf.reduce_max(level)), tf.float32)
    return array, loud + tf.cast(tf.reduce_max(loud) == 0, tf.float32)


def short_time(samples, n_fft, hop):
    """Power of librosa's STFT: frames centred, zeros at both ends; (T, n_fft // 2 + 1)."""
    padded = tf.pad(samples, [[n_fft // 2, n_fft // 2]])
    return power(tf.signal.frame(padded, n_fft, hop), periodic_hann(n_fft), n_fft)


def spectrogram(samples, settings):
    """See features.mel_spectrogram and features.stft_magnitude."""
    values = short_time(samples, settings['n_fft'], settings['hop'])
    if settings['spectrogram_type'] == 'stft':
        return tf.sqrt(values)
    return values @ mel_basis(settings['resample_sr'], settings['n_fft'], settings['n_mels']).toarray().T


def mfcc_statistics(samples, settings):
    """See features.mfcc_statistics: (1, D)."""
    from scipy.fft import dct
    samples = tf.pad(samples, [[0, max(0, 1024 - samples.shape[0])]])
    mel = short_time(samples, 2048, 512) @ mel_basis(settings['resample_sr'], 2048, 128).toarray().T
    level = tf.math.log(tf.maximum(mel, 1e-10)) * (10 / np.log(10))
    level = tf.maximum(level, tf.reduce_max(level) - 80)
    mfcc = level @ dct(np.eye(128), norm='ortho').astype(np.float32)[:, :settings['MFCC_number']]
    first = mfcc[1:] - mfcc[:-1]
    return tf.concat([statistic(d, axis=0) for d in (mfcc, first, first[1:] - first[:-1])
                      for statistic in (tf.reduce_mean, tf.math.reduce_std)], 0)[None]


# ---- models: a function (array, weights) -> scores (C,), and the Keras model in it or None ------------------------------

def scorer(opened, bands):
    """The scores of a classifier.Classifier, as its `scores` for one clip, for arrays of so many bands."""
    config, folder, method = opened.config, opened.model, method_of(opened.config)
    if not method.network:
        return head(config, folder)
    about, model = load_trained(method.models(), folder, config, bands)
    prototypes = models_proto.read_prototypes(folder) if opened.similarities else None

    def score(array, weights):
        patches = cut(array, config, about['normalize_mean'], about['normalize_std'])
        outputs = model(patches, training=False)
        values = tf.nn.softmax(outputs) if prototypes is None else models_proto.log_probabilities(outputs, prototypes, config['distance'])
        return weighted_mean(values, weights)
    return score, model


def cut(array, config, mean, std):
    """All patches (N, n_frames, M) of a clip at test_hop, padded, compressed and normalised: see patches.prepare."""
    array = tf.reshape(array, (-1, array.shape[-1]))
    frames, total = config['n_frames'], array.shape[0]
    if total < frames and config['pad_short'] == 'repeat-pad':
        array = tf.gather(array, np.resize(np.arange(total), frames))
    elif total < frames:
        missing = frames - total
        array = tf.pad(array, [[missing // 2, missing - missing // 2], [0, 0]])
    if config['pre_processing'] == 'logEPS':
        array = tf.math.log(array + EPS) / np.float32(np.log(10))
    elif config['pre_processing'] == 'log10000':
        array = tf.math.log(10000 * array + 1) / np.float32(np.log(10))
    if mean is not None:
        array = (array - mean) / std
    starts = np.arange(0, array.shape[0] - frames + 1, config['test_hop'] * grid(config))
    return tf.gather(array, starts[:, None] + np.arange(frames))


def weighted_mean(values, weights):
    """Mean (C,) of values (N, C)."""
    return tf.reduce_mean(values, 0) if weights is None else tf.linalg.matvec(values, weights, transpose_a=True) / tf.reduce_sum(weights)


def head(config, folder):
    """The same for a classifier of shallow.py on embeddings or MFCC statistics."""
    with np.load(folder / shallow.HEAD) as file:
        arrays = dict(file)
    name = config.get('classifier', 'nearest')
    model = embeddings.network(config) if 'network' in config else None

    def vectors(array):
        if model is None:
            return array
        if array.shape.rank == 2:  # a whole clip
            starts = mobilenet_input.window_starts(array.shape[0])
            array = tf.stack([array[start:start + mobilenet_input.WINDOW_FRAMES] for start in starts])
        return model(array, training=False)

    def score(array, weights):
        values = vectors(array)
        if name == 'class_mean':
            return tf.linalg.matvec(arrays['prototypes'].astype(np.float32), tf.math.l2_normalize(weighted_mean(values, weights)))
        if name == 'logistic_regression':
            logits = values @ arrays['weights'].T.astype(np.float32) + arrays['bias'].astype(np.float32)
            logits = tf.concat([tf.zeros_like(logits), logits], 1) if len(arrays['bias']) == 1 else logits  # two classes
            return weighted_mean(tf.nn.softmax(logits), weights)
        known = arrays['vectors'].astype(np.float32)
        if config['metric'] == 'cosine':
            closeness = tf.math.l2_normalize(values, 1) @ (known / np.linalg.norm(known, axis=1, keepdims=True)).T
        else:
            closeness = 2 * values @ known.T - np.square(known).sum(axis=1)
        votes = tf.gather(np.eye(arrays['labels'].max() + 1, dtype=np.float32)[arrays['labels']], tf.argmax(closeness, 1))
        return weighted_mean(votes, weights)
    return score, model
