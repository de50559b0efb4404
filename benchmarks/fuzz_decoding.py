"""A seeded campaign on decoding: damaged sound files are used as a whole, or refused, never in part without a word.

Usage:  python benchmarks/fuzz_decoding.py [files per container and kind of damage, default 6] [seed, default 0]
Prints: container x outcome; the exit code is not 0 when a file was shortened without a word or raised anything but UserError.

Damages: cuts at random places, random bytes in the first 128 (header), single bits anywhere, blocks of zeros. A damaged file is refused, or
decoded with at least 99 % of its length; lossy codecs may lack audio.PADDING seconds more. Where the header was changed to another legal
one, this is counted apart: a changed sample rate or number of channels cannot be noticed.
"""
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import timing  # noqa: F401 (src on the path)

import audio
from shared import UserError

RATE, SECONDS = 16000, 2
SOUNDFILE = [('wav', 'WAV', 'PCM_16'), ('wav', 'WAV', 'FLOAT'), ('wav', 'WAV', 'IMA_ADPCM'), ('wav', 'WAVEX', 'PCM_24'), ('wav', 'WAV', 'ULAW'),
             ('rf64', 'RF64', 'PCM_16'), ('w64', 'W64', 'PCM_16'), ('aiff', 'AIFF', 'PCM_16'), ('au', 'AU', 'PCM_16'), ('caf', 'CAF', 'PCM_16'),
             ('flac', 'FLAC', 'PCM_16'), ('ogg', 'OGG', 'VORBIS'), ('opus', 'OGG', 'OPUS'), ('mp3', 'MP3', 'MPEG_LAYER_III'),
             ('voc', 'VOC', 'PCM_16'), ('nist', 'NIST', 'PCM_16'), ('avr', 'AVR', 'PCM_16'), ('svx', 'SVX', 'PCM_16')]
FFMPEG = [('m4a', 'aac'), ('webm', 'libopus'), ('mka', 'flac'), ('wma', 'wmav2'), ('3gp', 'aac')]
LOSSY = {'VORBIS', 'OPUS', 'MPEG_LAYER_III', 'aac', 'libopus', 'wmav2'}


def encode(path, codec, sound, rate):
    """Write a sound (length,) with FFmpeg."""
    import av
    with av.open(str(path), 'w') as output:
        stream = output.add_stream(codec, rate)
        stream.layout, stream.bit_rate = 'mono', 64000
        size = stream.codec_context.frame_size or 1024
        for start in range(0, len(sound), size):
            frame = av.AudioFrame.from_ndarray(sound[None, start:start + size], 'fltp', 'mono')
            frame.sample_rate, frame.pts = rate, start
            output.mux(stream.encode(av.AudioResampler(stream.format, 'mono', rate).resample(frame)[0]))
        output.mux(stream.encode(None))


def whole_files(folder):
    """Yield (name of the container, content) of whole files in every container."""
    rng = np.random.default_rng(0)
    for suffix, form, subtype in SOUNDFILE:
        sound = (0.3 * np.sin(np.arange(SECONDS * RATE) / 5) + 0.1 * rng.standard_normal(SECONDS * RATE)).astype(np.float32)
        path = folder / f'whole.{suffix}'
        soundfile.write(path, sound, RATE, format=form, subtype=subtype)
        yield f'{suffix} {subtype}', path.read_bytes()
    for suffix, codec in FFMPEG:
        rate = 48000 if codec == 'libopus' else 44100
        sound = (0.3 * np.sin(np.arange(SECONDS * rate) / 5) + 0.1 * rng.standard_normal(SECONDS * rate)).astype(np.float32)
        path = folder / f'whole.{suffix}'
        encode(path, codec, sound, rate)
        yield f'{suffix} {codec}', path.read_bytes()


def damaged(content, kind, rng):
    """Content (bytes) with one damage of this kind."""
    data = bytearray(content)
    if kind == 'cut':
        return bytes(data[:rng.integers(1, int(0.97 * len(data)))])
    if kind == 'header':
        for place in rng.integers(0, min(128, len(data)), 3):
            data[place] = rng.integers(256)
    elif kind == 'bit':
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    else:
        start, size = rng.integers(len(data)), rng.integers(16, 2000)
        data[start:start + size] = bytes(len(data[start:start + size]))
    return bytes(data)


def outcome(path, whole, lossy):
    """What became of a damaged file (str); the last word of those that must not happen is '!'."""
    expected, rate = whole
    try:
        samples, found = audio.decode(path)
    except UserError:
        return 'refused'
    except Exception as problem:
        return f'{type(problem).__name__} !'
    seconds, wanted = len(samples) / found, len(expected) / rate
    if samples.shape == expected.shape and found == rate and np.array_equal(samples, expected):
        return 'equal'
    if found != rate or samples.shape[1] != expected.shape[1]:
        return 'another header'
    if seconds < 0.99 * wanted - audio.PADDING * lossy:
        return 'shortened !'
    return 'whole, other samples'


def main():
    each, seed = (int(argument) for argument in (sys.argv[1:] + ['6', '0'][len(sys.argv) - 1:]))
    rng, found, files = np.random.default_rng(seed), {}, 0
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        for name, content in whole_files(Path(folder)):
            path = Path(folder) / f'damaged.{name.split()[0]}'
            path.write_bytes(content)
            whole = audio.decode(path)
            for kind in ('cut', 'header', 'bit', 'zeros'):
                for number in range(each):
                    path.write_bytes(damaged(content, kind, rng))
                    result = outcome(path, whole, name.split()[1] in LOSSY)
                    if result.endswith('!'):
                        print(f'{name}, {kind}, number {number}: {result}')
                    found.setdefault(name, Counter())[result] += 1
                    files += 1
    table = pd.DataFrame(found).T.fillna(0).astype(int)
    print(table.to_string())
    wrong = sum(table[column].sum() for column in table if column.endswith('!'))
    print(f'{files} files, {wrong} wrong')
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
