"""Synthesise ten classes of environmental-like sounds, so that everything can be tried without a download.

Usage: python aux/make_demo_sounds.py [<folder>] [--clips-per-class 30] [--seed 0]
Reads: nothing
Writes: <folder>/<class>/<class>_<nn>.wav (44.1 kHz, 16 bit, mono, 3.2 s); <folder> is audio/demo/ under DATA_FOLDER
        where none is given

The sounds are simple imitations. Use them to check the pipeline, not to compare methods.
"""
import argparse
import io
import shlex
import sys
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'src'))
from shared import PROGRESS, UserError, atomic, data_folder, listing, run_script

RATE = 44100                # Hz
LENGTH = 137 * 1024 + 512   # samples: 138 spectrogram frames at hop 1024, hence 11 patches of 128 frames
TIME = np.arange(LENGTH) / RATE
# how far one clip of a class is from the next; chosen so that a nearest neighbour over MFCC statistics is right for about
# half of the clips when it knows one clip per class, and for three quarters when it knows ten
SNR = (2, 32)               # sound over background noise; dB
RESPONSE = 3                # standard deviation of the microphone's response, per octave; dB
LEVEL = (3, 9)              # peak below full scale; dB


# ---- building blocks: each returns float64 samples; pitch, rate and timbre are drawn from rng --------------------------

def coloured(rng, slope, length=LENGTH):
    """Noise whose amplitude falls with frequency to the power `slope`: 0 white, 1 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -float(slope)
    samples = np.fft.irfft(spectrum, length)
    return samples / samples.std()


def band(samples, low, high):
    """Keep the frequencies from low to high (Hz)."""
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE), 1)
    gain = 1 / np.sqrt(1 + ((frequency ** 2 - low * high) / (frequency * (high - low))) ** 4)  # Butterworth, order 2
    return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))


def slow(rng, rate, low, high):
    """A curve that wanders between low and high, with a new turning point about `rate` times per second."""
    points = rng.uniform(low, high, int(TIME[-1] * rate) + 4)
    return np.interp(TIME * rate, np.arange(len(points)), points)


def sweep(frequency, harmonics=(1.0,)):
    """Sum of harmonics (their amplitudes given) of a frequency that changes from sample to sample (Hz)."""
    fundamental = np.exp(2j * np.pi * np.cumsum(frequency) / RATE)
    # harmonic k is the k-th power of the fundamental: a polynomial is far cheaper than a sine per harmonic
    return np.polyval([*reversed(harmonics), 0], fundamental).imag


def decay(seconds, constant):
    """Envelope with a 1 ms attack that falls to 1/e after `constant` seconds."""
    time = np.arange(int(seconds * RATE)) / RATE
    return np.minimum(time / 0.001, 1) * np.exp(-time / constant)


def place(times, sounds):
    """Add short sounds at their times (s); what hangs over the end of the clip is cut."""
    samples = np.zeros(LENGTH)
    for start, sound in zip((np.asarray(times) * RATE).astype(int), sounds):
        end = min(start + len(sound), LENGTH)
        samples[start:end] += sound[:end - start]
    return samples


def beats(rng, rate, jitter):
    """Times (s) of events at `rate` per second, each moved by up to `jitter` of the distance between them."""
    count = int(TIME[-1] * rate) + 1
    return np.clip((np.arange(count) + rng.uniform(0, 1) + rng.uniform(-jitter, jitter, count)) / rate, 0, TIME[-1] - 0.01)


# ---- the ten classes -------------------------------------------------------------------------------------------------

def rain(rng):
    """Hiss and single drops."""
    drops = place(rng.uniform(0, TIME[-1], rng.integers(20, 250)),
                  (rng.uniform(0.5, 6) * decay(0.02, 0.003) * rng.standard_normal(882) for _ in range(250)))
    shower = coloured(rng, rng.uniform(0, 0.4)) * slow(rng, 1, 0.8, 1)
    return band(shower, rng.uniform(150, 1200), rng.uniform(5e3, 16e3)) + drops


def wind(rng):
    """Gusts of low noise, with or without a whistle."""
    gusts = slow(rng, rng.uniform(0.7, 3), 0.1, 1)
    low = rng.uniform(60, 500)
    whistle = band(rng.standard_normal(LENGTH), low * 2.5, low * 3) * gusts ** 2
    return band(coloured(rng, rng.uniform(0.2, 0.8)), low, low * rng.uniform(4, 30)) * gusts + rng.uniform(0, 3) * whistle


def engine(rng):
    """A low buzz of wavering speed over noise."""
    speed = rng.uniform(25, 140) * slow(rng, 2, 0.85, 1.15)
    harmonics = rng.uniform(0.2, 1, 24) * np.arange(1, 25) ** -rng.uniform(0.3, 1.2)
    return sweep(speed, harmonics) + rng.uniform(0.1, 1.2) * coloured(rng, rng.uniform(0.3, 0.8)) * slow(rng, 3, 0.6, 1)


def siren(rng):
    """A tone that swings, or two tones in turn."""
    centre, depth, rate = rng.uniform(500, 1500), rng.uniform(0.1, 0.5), rng.uniform(0.25, 4)
    swing = np.interp((rate * TIME + rng.uniform()) % 1, (0, rng.choice([0.5, 0.95]), 1), (-1, 1, -1))
    if rng.random() < 0.4:  # two tones in turn
        swing = np.sign(swing)
    return sweep(centre * (1 + depth * swing), rng.uniform(0.1, 1, 6) / np.arange(1, 7)) * slow(rng, 1, 0.4, 1)


def birds(rng):
    """Short gliding and trilling whistles."""
    songs = []
    for _ in range(rng.integers(3, 16)):
        time = np.arange(int(rng.uniform(0.04, 0.3) * RATE)) / RATE
        pitch = rng.uniform(1500, 6000) * (1 + rng.uniform(-0.4, 0.4) * time / time[-1]
                                           + rng.uniform(0, 0.15) * np.sin(2 * np.pi * rng.uniform(10, 60) * time))
        songs.append(rng.uniform(0.3, 1) * np.hanning(len(time)) * sweep(pitch, (1, rng.uniform(0, 0.4))))
    return place(rng.uniform(0, TIME[-1] - 0.3, len(songs)), songs)


def church_bell(rng):
    """Regular strikes of inharmonic partials; high ones fade first."""
    pitch = rng.uniform(180, 1100)
    partials = np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4]) * rng.normal(1, 0.01, 9)
    constants = rng.uniform(0.2, 1.6) / partials ** 0.7
    time = np.arange(int(3 * RATE)) / RATE
    strike = sum(rng.uniform(0.2, 1) * np.exp(-time / constant) * np.sin(2 * np.pi * pitch * partial * time)
                 for partial, constant in zip(partials, constants))
    times = beats(rng, rng.uniform(0.4, 1.6), 0.05)
    return place(times, rng.uniform(0.6, 1, len(times))[:, None] * strike)


def dog_bark(rng):
    """A few rough voiced bursts around one formant."""
    barks, seconds = [], rng.uniform(0.1, 0.35)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch, formant, roughness = rng.uniform(180, 900), rng.uniform(600, 2200), rng.uniform(0.2, 1)
    for _ in range(rng.integers(1, 7)):
        fall = pitch * rng.uniform(0.9, 1.1) * (1 + 0.4 * np.sin(np.pi * time / seconds))
        voice = sweep(fall, 1 / np.arange(1, 13) ** 0.5) + roughness * rng.standard_normal(len(time)) * 3
        barks.append(band(voice, formant * 0.5, formant * 2) * np.hanning(len(time)) ** 0.7)
    return place(np.sort(rng.uniform(0, TIME[-1] - seconds, len(barks))), barks)


def knock(rng, pitch, constant, noise):
    """One short impact: a damped tone with noise."""
    shape = decay(8 * constant, constant)
    time = np.arange(len(shape)) / RATE
    return shape * (np.sin(2 * np.pi * pitch * time) + noise * rng.standard_normal(len(shape)))


def clock_tick(rng):
    """Very regular bright impacts."""
    times = beats(rng, rng.uniform(1.5, 5), 0.01)
    pitch, constant, noise = rng.uniform(1500, 6000), rng.uniform(0.002, 0.015), rng.uniform(0.1, 1)
    second = rng.uniform(0.7, 1.3)  # tick and tock
    return place(times, (knock(rng, pitch * (second if i % 2 else 1), constant, noise) for i in range(len(times))))


def keyboard(rng):
    """Irregular bright impacts."""
    times = np.sort(rng.uniform(0, TIME[-1] - 0.1, rng.integers(8, 40)))
    pitch, constant = rng.uniform(800, 4000), rng.uniform(0.003, 0.015)
    return place(times, (rng.uniform(0.3, 1) * knock(rng, pitch * rng.uniform(0.6, 1.6), constant, rng.uniform(0.5, 2))
                         for _ in times))


def footsteps(rng):
    """Nearly regular dull impacts."""
    times = beats(rng, rng.uniform(1.2, 3.5), 0.08)
    pitch, constant, noise = rng.uniform(60, 400), rng.uniform(0.01, 0.05), rng.uniform(0.3, 2)
    ground = rng.uniform(300, 5000)  # gravel rustles higher than wood
    return place(times, (rng.uniform(0.6, 1) * band(knock(rng, pitch, constant, noise), 40, ground) for _ in times))


CLASSES = {sound.__name__: sound for sound in (birds, church_bell, clock_tick, dog_bark, engine, footsteps, keyboard, rain,
                                               siren, wind)}


# ---- from sound to file ----------------------------------------------------------------------------------------------

def record(samples, rng):
    """The same sound as a random microphone hears it in a random place: (LENGTH,) int16."""
    samples = samples / np.sqrt(np.mean(samples ** 2))
    samples = samples + coloured(rng, rng.uniform(0, 1)) * 10 ** (-rng.uniform(*SNR) / 20)
    spectrum = np.fft.rfft(samples)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(LENGTH, 1 / RATE), 20) / 20)
    response = np.interp(octaves, np.arange(11), rng.normal(0, RESPONSE, 11))  # dB, smooth over frequency
    samples = np.fft.irfft(spectrum * 10 ** (response / 20), LENGTH)
    peak = 32767 * 10 ** (-rng.uniform(*LEVEL) / 20)
    return np.round(samples / np.abs(samples).max() * peak).astype(np.int16)


def clip(name, seed, number):
    """One clip of a class: (LENGTH,) int16. Its generator is its own, so it is the same however many others are made."""
    rng = np.random.default_rng([seed, list(CLASSES).index(name), number])
    return record(CLASSES[name](rng), rng)


def write_clip(path, samples):
    """Write one WAV file; one that is there with the same content keeps its time, so that preprocess.py need not redo it."""
    wav = io.BytesIO()
    soundfile.write(wav, samples, RATE, format='WAV', subtype='PCM_16')
    if not path.is_file() or path.read_bytes() != wav.getvalue():
        with atomic(path) as temporary:
            temporary.write_bytes(wav.getvalue())


def refuse_foreign(folder, ours):
    """Raise UserError when the folder holds anything but the files that are about to be written."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f'{folder} is a file: give the name of a folder')
    found = {path.relative_to(folder) for path in folder.rglob('*') if not path.name.startswith('.')}
    foreign = sorted(found - ours - {path.parent for path in ours})
    if foreign:
        raise UserError(f'{folder} holds {len(foreign)} entries that this command would not write: {listing(foreign)}. '
                        'Choose a new folder, or remove this one')


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('folder', type=Path, nargs='?', default=data_folder() / 'audio' / 'demo',
                           help='a new folder, or one that this script made (default: %(default)s)')
    arguments.add_argument('--clips-per-class', type=int, default=30, help='default: %(default)s')
    arguments.add_argument('--seed', type=int, default=0, help='another seed, other sounds')
    args = arguments.parse_args()
    if args.clips_per_class < 1 or args.seed < 0:
        raise UserError(f'--clips-per-class {args.clips_per_class} --seed {args.seed}: expected at least 1 clip, and a '
                        'seed of at least 0')

    clips = {Path(name, f'{name}_{number:02d}.wav'): (name, number)
             for name in CLASSES for number in range(args.clips_per_class)}
    refuse_foreign(args.folder, set(clips))
    for path, (name, number) in tqdm(clips.items(), desc='demo sounds', unit='clip', **PROGRESS):
        write_clip(args.folder / path, clip(name, args.seed, number))
    print(f'{args.folder}: {len(clips)} clips of {LENGTH / RATE:.1f} s in {len(CLASSES)} classes ({listing(CLASSES, 10)})')
    print(f'next: python aux/index_folder.py {shlex.quote(str(args.folder.resolve()))} demo')


if __name__ == '__main__':
    run_script(main)
