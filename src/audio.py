"""From a sound file of any rate, channels and format to checked mono samples.

libsndfile decodes what it reads exactly (WAV, FLAC, Ogg, MP3, AIFF, ...), FFmpeg (PyAV) the rest (M4A, WebM, AMR, BW64, ...). A file
is used as a whole or refused: what it holds, what its header promises and what was decoded have to agree.
"""
import contextlib
import functools
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import soundfile
import soxr

from shared import UserError, is_utf8, once_per_file, reading, split_segment

# what libsndfile or FFmpeg decodes by itself; headerless formats (.raw, .gsm, .vox) are left out: their sample rate is unknown
SUFFIXES = frozenset('''.3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .au .avr .caf .flac .iff .m4a .m4b .mka .mov .mp1 .mp2 .mp3 .mp4 .nist
                        .oga .ogg .opus .paf .pvf .rf64 .sf .snd .sph .svx .voc .w64 .wav .wave .webm .wma'''.split())
TOLERANCE = 0.01  # part of the sound that may be missing: headers that are off by a few samples are common
PADDING = 0.15    # s that lossy codecs may add or leave out at the ends
UNKNOWN = 2 ** 62  # libsndfile gives 2^63 - 1 as the length of a FLAC file that was written to a pipe
PLACEHOLDER = 0x7FFF0000  # 32-bit lengths from here on are placeholders of programs that wrote to a pipe or were killed
TWO_FRAMES = 2 * 1441  # bytes of the largest MP3 frames: a header is as large as a frame of sound, or larger if that is silent
CANCELLED = 0.01  # part of the channels' level that must be left in their mean
CONVERT = 'convert it, e.g. to WAV with ffmpeg'
# formats that do not store their length: the end of such a file could be missing without a trace
ENDLESS = {'IRCAM', 'PAF', 'PVF', 'RAW', 'XI'}
# formats of FFmpeg whose duration is an estimate
ESTIMATED = {'mp3', 'aac', 'amr', 'amrnb', 'amrwb', 'ogg'}
MIRRORED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))  # each byte with its bits in the other order


# ---- mono samples ----------------------------------------------------------------------------------------------------

def read_audio(path, sample_rate, resampler='soxr_hq'):
    """Decode a sound file to mono at one sample rate.

    Args:
        path: sound file.
        sample_rate: wanted rate in Hz, or None for the file's own.
        resampler: see resample; not used when the rate is right already.

    Returns (samples, rate): samples float32, shape (length,), the mean over channels, full scale = 1.
    Raises UserError as `decode`, when samples are NaN or infinite, and when the channels cancel each other. Silence is legal audio.
    """
    samples, rate = decode(path)
    mono = mean_of_channels(samples)
    if sample_rate is None or rate == sample_rate:
        return np.ascontiguousarray(mono), rate
    return resample(mono, rate, sample_rate, resampler), sample_rate


def mean_of_channels(samples):
    """Samples (length, channels) as mono (length,). Raises UserError when some are NaN or infinite, and when the channels cancel each other."""
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    check_finite(mono)
    if samples.shape[1] > 1:
        check_cancellation(root_mean_square(samples), root_mean_square(mono))
    return mono


def root_mean_square(samples, block=2 ** 16):
    """Level of samples (length, ...): in double precision, but block by block, because recordings are long."""
    return (sum(float(np.square(samples[i:i + block], dtype=np.float64).sum()) for i in range(0, len(samples), block)) / samples.size) ** 0.5


def check_finite(samples):
    """Raise UserError if samples are NaN or infinite."""
    if not np.isfinite(samples).all():
        raise UserError(f'{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite')


def checked_samples(samples):
    """Samples (length,) of any floating-point type as float32.

    Raises UserError when there are no samples, or some are not finite, or they are whole numbers, or have several channels.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise UserError(f'samples of shape {samples.shape} and type {samples.dtype}: expected (length,), floating-point, full '
                        'scale = 1 (average the channels; divide whole numbers of 16 bits by 32768)')
    check_finite(samples)
    return samples.astype(np.float32, copy=False)


def check_cancellation(before, after):
    """Raise UserError if the level of the channels' mean, `after`, is far below that of the channels, `before` (root mean squares)."""
    if after < CANCELLED * before:
        raise UserError(f'its channels are out of phase: their mean has a level of {after:.2g}, they have {before:.2g} of full scale. '
                        f'Export one channel, or invert one')


def resample(samples, rate, new_rate, resampler):
    """Resample (length,) samples, float32 or float64; at least one sample remains of the shortest clip.

    'soxr' is soxr_hq, 'kaiser_2018' the filter that resampy called kaiser_best until version 0.3; all others are librosa's. The result
    has the length that librosa gives it.
    """
    if len(samples) * new_rate < rate:
        return samples[:1]
    if resampler.startswith('soxr'):
        resampled = soxr.resample(samples, rate, new_rate, quality='soxr_hq' if resampler == 'soxr' else resampler)
    elif resampler == 'kaiser_2018':
        import resampy
        from scipy.signal.windows import kaiser
        resampled = resampy.resample(samples, rate, new_rate, filter='sinc_window', num_zeros=64, precision=9, rolloff=0.9475937167399596,
                                     window=functools.partial(kaiser, beta=14.769656459379492))
    else:
        import librosa  # takes 1.6 s to import
        return librosa.resample(samples, orig_sr=rate, target_sr=new_rate, res_type=resampler)
    length = -(-len(samples) * new_rate // rate)  # rounded up
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def seconds_of(path):
    """Duration in seconds of a sound file as its header or its packets tell it, or of a part of one; None where neither knows.

    Of joined MP3 files it is that of all parts, of joined Ogg files it is not known.
    """
    path, span = split_segment(path)
    if span:
        return span[1] - span[0]
    try:
        if joined_ogg(path, start_of_file(path)):
            return None
        with soundfile.SoundFile(path) as file:
            seconds = file.frames / file.samplerate
            if file.format == 'MP3':
                held, tagged = mp3_frames(path)
                return held if not tagged or longer(held, seconds) else seconds
            if 0 < file.frames < UNKNOWN:
                return seconds
    except UserError:  # decode and stream tell what is wrong
        return None
    except (soundfile.SoundFileError, RuntimeError, TypeError):
        pass
    import av
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(str(path), metadata_errors='ignore') as container:
            seconds = container.duration and container.duration / 1e6
            if ESTIMATED & set(container.format.name.split(',')):
                return sum(float((packet.duration or 0) * packet.time_base) for packet in container.demux(audio=0) if packet.size) or seconds
            return seconds
    except (av.error.FFmpegError, ValueError):
        return None


def stream(path, sample_rate):
    """Yield a sound file of any length as mono blocks (length,) float32 at one sample rate, with memory for a few seconds.

    The mean over channels is resampled with soxr_hq. The samples are those of read_audio, up to rounding.

    Raises UserError when the file is missing or not audio; when samples are not finite; and, at the latest after its last block, when
    it is shorter than its header promises or its channels cancel each other.
    """
    resampler, length, before, after = None, 0, 0.0, 0.0  # squares, summed
    for block, rate in blocks(path):
        channels = block.shape[1]
        mono = block[:, 0] if channels == 1 else block.mean(axis=1)
        check_finite(mono)
        if channels > 1:
            length += len(mono)
            before += float(np.square(block, dtype=np.float64).sum()) / channels
            after += float(np.square(mono, dtype=np.float64).sum())
        if rate == sample_rate:
            yield np.ascontiguousarray(mono)
            continue
        resampler = resampler or soxr.ResampleStream(rate, sample_rate, 1, dtype='float32', quality='HQ')
        yield resampler.resample_chunk(np.ascontiguousarray(mono))
    if resampler:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if length:
        check_cancellation((before / length) ** 0.5, (after / length) ** 0.5)


def blocks(path, seconds=5):
    """Yield a sound file as (samples (length, channels) float32, rate in Hz) of about `seconds`. Raises UserError, see stream."""
    path = Path(path)
    start = start_of_file(path)
    if start[:4] == b'RIFF' and not isinstance(checked_wav(path), Path):
        raise UserError('its header does not tell its length, the recorder may have stopped early. Write a new header, e.g. with '
                        'sox --ignore-length old.wav new.wav')
    joined = joined_ogg(path, start)
    found, promised, rate = 0, 0, 1
    try:
        with Forward(path) as file:
            promised, rate = promised_frames(file, path), file.samplerate
            exact = file.format != 'MP3' and not joined
            if exact:
                for block in file.parts(round(seconds * rate)):
                    found += len(block)
                    yield block, rate
                check_length(found, promised, rate)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as problem:
        check_damage(problem)
        if found:  # another decoder would begin again
            raise UserError(f'damaged after {found / rate:.1f} s ({problem})') from None
        check_content(start)
        exact = False
    if not exact:
        yield from ffmpeg_blocks(path, seconds, promised / rate)


# ---- decoding --------------------------------------------------------------------------------------------------------

def decode(path):
    """Samples of a sound file, or of a part of it, as they are, (length, channels) float32, full scale = 1, and its rate in Hz.

    Args:
        path: of the file, or of a part of it: see shared.split_segment.

    Raises UserError when the file is missing, empty, truncated or not audio, or when its header does not fit its content.
    """
    path, span = split_segment(path)
    if span:
        return decode_segment(path, *span)
    start, source = start_of_file(path), path
    if start[:4] == b'RIFF':
        source = checked_wav(path)
    elif joined_ogg(path, start):
        return decode_with_ffmpeg(path)
    try:
        return decode_with_libsndfile(source, path)
    except MemoryError as problem:  # formats compress silence to next to nothing: the size of the file does not tell which of the two it is
        raise UserError(f'there is not enough memory for the length in its header ({problem}): cut it into parts, or let fewer processes run at a '
                        'time. If the sound is short, its header is damaged') from None
    except ValueError as problem:  # a header that promises more than any array can hold
        raise UserError(f'not readable as audio ({problem}): its header is damaged') from None
    except (soundfile.SoundFileError, RuntimeError, TypeError) as problem:
        check_damage(problem)
        check_content(start)
        return decode_with_ffmpeg(path)


def check_damage(problem):
    """Raise UserError if libsndfile knows the format of a file that it cannot read: the file is damaged then."""
    if 'malformed' in str(problem) or 'lost sync' in str(problem):
        raise UserError(f'not readable as audio ({problem}): the file is damaged') from None


def decode_segment(path, begin, end):
    """decode of the part from `begin` to `end`, in seconds. Where libsndfile can go to a sample exactly, nothing else is decoded."""
    start = start_of_file(path)
    plain = isinstance(checked_wav(path), Path) if start[:4] == b'RIFF' else not joined_ogg(path, start)
    if plain:
        with contextlib.suppress(soundfile.SoundFileError, RuntimeError, TypeError), soundfile.SoundFile(path) as file:
            if file.format not in {'MP3', *ENDLESS} and file.seekable() and file.frames < UNKNOWN:
                first, last = part_of(begin, end, file.frames, file.samplerate)
                file.seek(first)
                samples = file.read(last - first, dtype='float32', always_2d=True)
                if len(samples) < last - first:
                    raise UserError(f'truncated: it ends at {(first + len(samples)) / file.samplerate:.3f} s')
                return samples, file.samplerate
    samples, rate = _decoded(path)
    first, last = part_of(begin, end, len(samples), rate)
    return samples[first:last], rate


def part_of(begin, end, frames, rate):
    """First and last frame of a part in seconds. Raises UserError if it is empty or outside the file, whose end may be 0.1 s off."""
    first = round(begin * rate)
    last = min(first + round((end - begin) * rate), frames)  # parts of equal duration have equally many samples
    if last <= first or end > frames / rate + 0.1:
        raise UserError(f'{begin:g} to {end:g} s is not a part of a recording of {frames / rate:.3f} s: correct the table of annotations')
    return first, last


_decoded = once_per_file(decode, 1)  # the parts of a recording follow each other


def start_of_file(path):
    """The first bytes of a file. Raises UserError when it is missing, empty or cannot be read."""
    if not is_utf8(path):
        raise UserError('its name is not valid UTF-8: rename it')
    with reading():
        if not path.is_file():
            raise UserError('the file does not exist')
        if path.stat().st_size == 0:
            raise UserError('the file is empty (0 bytes)')
        with open(path, 'rb') as file:
            return file.read(512)


def decode_with_libsndfile(source, path):
    """Samples (length, channels) float32, and their rate; those of FFmpeg for an MP3 file that holds more than libsndfile finds.

    Args:
        source: path, or a file in memory with the same content and a corrected header.
        path: for streams without a length.

    Raises UserError when fewer samples can be decoded than the header promises, or if the format promises nothing; soundfile's errors
    when libsndfile cannot read the file.
    """
    with soundfile.SoundFile(source) as file:
        promised, rate, form = promised_frames(file, path), file.samplerate, file.format
        if file.frames < UNKNOWN and file.seekable():
            samples = file.read(dtype='float32', always_2d=True)
        else:
            with Forward(path) as stream:
                samples = np.concatenate([*stream.parts(2 ** 20), np.zeros((0, stream.channels), np.float32)])
    if form == 'MP3':
        held, tagged = mp3_frames(path)
        promised *= tagged
        if longer(held, len(samples) / rate):
            return decode_with_ffmpeg(path, promised / rate)
    check_length(len(samples), promised, rate)
    return samples, rate


def promised_frames(file, path):
    """Frames that the header of an open SoundFile promises; 0 where it does not know.

    Raises UserError if the format promises nothing, or if libsndfile noticed when it opened the file that its end is missing.
    """
    form, log = file.format, file.extra_info
    if form in ENDLESS:
        raise UserError(f'{form} files do not store their length, so that a missing end cannot be noticed: {CONVERT}')
    missing = [(int(told), int(found)) for told, found in re.findall(r'(\d+) \(should be (\d+)\)', log)]
    missing += [(int(told), int(found)) for told, found in re.findall(r'Data length (\d+) should be (\d+)', log)]
    for told, found in missing:
        if told < PLACEHOLDER and found < (1 - TOLERANCE) * told and 'RF64' != form:
            raise UserError(f'truncated: {told - found} of {told} bytes are missing')
    if 'Seems to be a truncated file' in log:
        raise UserError(f'truncated: its header promises more than the {file.frames / file.samplerate:.3f} s that can be decoded')
    return max(file.frames if file.frames < UNKNOWN else 0, frames_in_header(log, start_of(path, form)))


def start_of(path, form):
    """The text header of a NIST file, whose length libsndfile does not tell; '' for other formats."""
    return path.open('rb').read(1024).decode('ascii', 'replace') if form == 'NIST' else ''


def frames_in_header(log, text):
    """Frames that a header promises, as libsndfile's log of it or a NIST header tells; 0 where it does not."""
    found = [*re.findall(r'(?:\n\s*Frames\s*|Rows : 1    Cols ): (\d+)', log), *re.findall(r'sample_count -i (\d+)', text)]
    return max(map(int, found), default=0)


def check_length(found, promised, rate, padding=0.0):
    """Raise UserError if there are no frames, or fewer than promised by more than a small part and `padding` seconds."""
    if not found:
        raise UserError('the file has no samples')
    if found < (1 - TOLERANCE) * promised - padding * rate:
        raise UserError(f'truncated: {found / rate:.3f} of {promised / rate:.3f} s can be decoded')


class Forward(soundfile.SoundFile):
    """A sound file that is read block by block, also if it does not know its length or libsndfile cannot go back in it (GSM, G.721)."""

    def seekable(self):  # otherwise every read ends with a seek, which such a file refuses
        return False

    def parts(self, frames):
        """Yield its samples, (up to `frames`, channels) float32."""
        while len(block := self.read(frames, dtype='float32', always_2d=True)):
            yield block


def decode_with_ffmpeg(path, promised=0.0):
    """Samples (length, channels) float32 of the first sound track, and its rate. `promised` and errors: see ffmpeg_blocks."""
    parts, rates = zip(*ffmpeg_blocks(path, promised=promised))
    return np.concatenate(parts), rates[0]


def ffmpeg_blocks(path, seconds=5, promised=0.0):
    """Yield (samples (length, channels) float32, rate) of about `seconds` of the first sound track.

    `promised`: its length in seconds as libsndfile knows it, for formats of which FFmpeg only estimates it.

    Raises UserError when FFmpeg cannot read the file or a part of it, or finds less than the container promises.
    """
    import av  # a second decoder for few files
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(str(path), metadata_errors='ignore') as container:
            if not container.streams.audio:
                raise UserError('the file has no sound')
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise UserError(f'not readable as audio: FFmpeg does not know how it is coded; {CONVERT}')
            if container.format.name == 'mp3':
                promised *= mp3_frames(path)[1]
            padding = PADDING if stream.codec_context.codec.lossy else 0.0
            rate, channels = stream.rate, stream.channels
            if not ESTIMATED & set(container.format.name.split(',')):
                durations = [stream.duration and float(stream.duration * stream.time_base), container.duration and container.duration / 1e6]
                promised = next(filter(None, durations), 0)
            converter, parts, held, found = av.AudioResampler(format='flt'), [], 0, 0
            for frame in container.decode(stream):
                if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                    raise UserError(f'rate or channels change within the file ({rate} Hz, {channels}; then {frame.sample_rate} Hz, '
                                    f'{frame.layout.nb_channels}): split it')
                parts += [part.to_ndarray().reshape(-1, channels) for part in converter.resample(frame)]
                held += len(parts[-1]) if parts else 0
                if held >= seconds * rate:
                    found += sum(map(len, parts))
                    yield np.concatenate(parts), rate
                    parts, held = [], 0
    except (av.error.FFmpegError, ValueError) as problem:
        raise UserError(f'not readable as audio ({problem}): it is damaged, truncated or of an unknown format; {CONVERT}') from None
    if rest := sum(map(len, parts)):
        found += rest
        yield np.concatenate(parts), rate
    check_length(found, promised * rate, rate, padding)


def longer(held, seconds):
    """Whether the frames of an MP3 file, `held` seconds, are more than `seconds`, which libsndfile decodes or promises.

    libsndfile stops at the length that the first header tells or that it estimates. So it misses a part of joined files, and of files
    with a variable bit rate and no header.
    """
    return held > (1 + TOLERANCE) * seconds + PADDING


@once_per_file
def mp3_frames(path):
    """Seconds of all frames of an MP3 file, and whether a header before them tells its length: without one, libsndfile guesses.

    Raises UserError if it holds anything between its frames but tags and a header.
    """
    import av
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(str(path), 'r', 'mp3', metadata_errors='ignore') as container, open(path, 'rb') as file:
            seconds, end, gaps = 0.0, 0, []
            for packet in container.demux(container.streams.audio[0]):
                if packet.size:
                    if packet.pos > end:
                        file.seek(end)
                        gaps.append((end, file.read(packet.pos - end)))
                    seconds += float(packet.duration * packet.time_base)
                    end = packet.pos + packet.size
    except av.error.FFmpegError as problem:
        raise UserError(f'not readable as audio ({problem}): the file is damaged') from None
    tagged = False
    for place, gap in gaps:
        header = place == 0 and any(word in gap[-TWO_FRAMES:] for word in (b'Xing', b'Info', b'VBRI'))  # ID3 tags come before it
        if not (header and len(gap) <= TWO_FRAMES) and not gap.startswith((b'ID3', b'TAG', b'APETAGEX')):
            raise UserError(f'damaged: {len(gap)} bytes after byte {place} are no MP3 frames')
        tagged |= header
    return seconds, tagged


# ---- what a file is --------------------------------------------------------------------------------------------------

def check_content(start):
    """Raise UserError, with a remedy, if a file's first bytes are those of something well known that is no sound."""
    text = start.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if text.startswith(b'version https://git-lfs'):
        raise UserError('not readable as audio: it is a Git LFS pointer, the sound was not fetched. Run `git lfs pull` in its repository')
    if text.startswith((b'<!doctype html', b'<html', b'<head', b'<?xml')):
        raise UserError('not readable as audio: it is a web page, e.g. the error message of a server. Download the sound again')
    for magic, kind in ((b'\x89PNG', 'a PNG image'), (b'\xff\xd8\xff', 'a JPEG image'), (b'%PDF', 'a PDF document'),
                        (b'PK\x03\x04', 'a zip archive: unpack it'), (b'\x1f\x8b', 'a gzip archive: unpack it')):
        if start.startswith(magic):
            raise UserError(f'not readable as audio: it is {kind}')
    if start and all(byte in b'\t\n\r' or 32 <= byte < 127 for byte in start):
        raise UserError(f'not readable as audio: it is text ({start[:30]!r}). If it is sound in another form, {CONVERT}')


def checked_wav(path):
    """What to decode of a WAV file: its path, or a copy in memory with a header that has been completed.

    Raises UserError when the length in the header of the sound is not that of the sound: libsndfile reads on without a word.
    """
    size = path.stat().st_size
    with open(path, 'rb') as file:
        whole, = struct.unpack('<4xI4x', file.read(12).ljust(12, b'\0'))
        while len(head := file.read(8)) == 8:
            length, begin = struct.unpack('<I', head[4:])[0], file.tell()
            if head[:4] != b'data':
                file.seek(length + length % 2, 1)  # chunks begin at even places
                continue
            held = size - begin
            if length == 0 and held and not ends_with_chunks(file, begin, size):
                return completed_header(path.read_bytes(), begin)
            if TOLERANCE * length < length - held and length < PLACEHOLDER:
                raise UserError(f'truncated: {length - held} of {length} bytes of sound are missing')
            if begin + length < size and not ends_with_chunks(file, begin + length + length % 2, size, TOLERANCE * length):
                raise UserError(f'its header promises {length} bytes of sound, {held} follow: the recorder may have stopped early, or the file is '
                                'larger than 4 GiB. Write a new header, e.g. with sox --ignore-length old.wav new.wav')
            break
    return path


def ends_with_chunks(file, place, size, unused=0):
    """Whether a RIFF file holds nothing but chunks from `place` to its end, apart from at most `unused` bytes."""
    while size - place > unused:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or not all(32 <= byte < 127 for byte in head[:4]):
            return False
        length = struct.unpack('<I', head[4:])[0]
        place += 8 + length + length % 2
    return place <= size + 1


def completed_header(content, begin):
    """A WAV file in memory whose sound, from byte `begin` on, reaches to its end."""
    length = struct.pack('<I', len(content) - begin)
    return io.BytesIO(content[:4] + struct.pack('<I', len(content) - 8) + content[8:begin - 4] + length + content[begin:])


def joined_ogg(path, start):
    """Whether a file that begins with `start` is several Ogg streams, of which libsndfile reads the first one. Errors: see count_ogg_streams."""
    return start[:4] == b'OggS' and count_ogg_streams(path) > 1


@once_per_file  # a recording has many parts
def count_ogg_streams(path):
    """How many streams an Ogg file has, one after the other.

    Raises UserError if it ends within a page, so that its end is missing, or if a page is damaged: libsndfile leaves it out. A last page
    without the mark of an end is legal: many recorders do not write it.
    """
    streams, place = 0, 0
    with open(path, 'rb', buffering=2 ** 18) as file:  # most clips are read at once
        while head := file.read(27):
            if head[:4] != b'OggS'[:len(head)]:
                raise UserError(f'damaged: after {place} bytes, the Ogg stream does not go on')
            sizes = file.read(head[26]) if len(head) == 27 else b''
            body = file.read(sum(sizes))
            if len(head) < 27 or len(sizes) < head[26] or len(body) < sum(sizes):
                raise UserError('truncated: the end of the Ogg stream is missing')
            page = head[:22] + bytes(4) + head[26:] + sizes + body  # the checksum counts as 0
            if ogg_checksum(page) != int.from_bytes(head[22:26], 'little'):
                raise UserError(f'damaged: the checksum of the Ogg page after {place} bytes is wrong')
            streams += bool(head[5] & 2)  # 2: the first page of a stream
            place += len(page)
    return streams


def ogg_checksum(page):
    """CRC-32 of Ogg (int): the polynomial of zlib's, with the bits of bytes and result in the other order, without inversions."""
    crc = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f'{crc:032b}'[::-1], 2)
