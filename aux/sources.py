"""What aux/download.py can fetch: published files with their sizes and checksums, data sets and pretrained networks."""
from dataclasses import dataclass, replace
from pathlib import Path

import config_file
from pretrained import NETWORKS

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class File:
    """One published file."""
    url: str
    size: int | None        # bytes; None: not known for certain
    checksum: str | None    # algorithm:digits; None: unknown, or different in each transfer
    sizes: range | None = None  # for a zip file without checksum: the sizes that are plausible; bytes

    @property
    def name(self):
        return self.url.rpartition('/')[2]


@dataclass(frozen=True)
class Source:
    """A data set, or a single file that is used as it is."""
    title: str
    licence: str
    files: list
    fetched: int            # all files together, about; bytes
    unpacked: int           # about; bytes
    place: Path             # where it goes; relative to DATA_FOLDER, or absolute
    next: str = ''          # the command that comes next; {} stands for the place
    root: str = ''          # the folder of the archives that is the data set
    content: dict | None = None  # what the index script reads: pattern (or one of several) -> at least so many files;
                                 # None: a single file that is not unpacked


def tut(record, archive, parts):
    """The files of one of the two archives of TUT Acoustic Scenes 2017."""
    return [File(f'https://zenodo.org/record/{record}/files/{archive}.{part}.zip', size, f'md5:{md5}')
            for part, size, md5 in parts]


DEVELOPMENT = 'TUT-acoustic-scenes-2017-development'
EVALUATION = 'TUT-acoustic-scenes-2017-evaluation'
ESC_COMMIT = '33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6'

US8K = Source(
    'UrbanSound8K', 'CC BY-NC: no commercial use',
    [File('https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz', 6023741708, 'md5:9aa69802bbf37fb986f71ec1483a196e')],
    6_023_741_708, 7_200_000_000, Path('audio/us8k'), 'python aux/index_us8k.py {}', 'UrbanSound8K',
    {'metadata/UrbanSound8K.csv': 1, 'audio/fold*/*.wav': 8732})
ASC = Source(
    'TUT Acoustic Scenes 2017', 'licence of Tampere University of Technology: no commercial use',
    [*tut(400515, DEVELOPMENT, [
        ('doc', 54796, '2065495aaf3f1103e795c9899e2af1df'),
        ('meta', 104321, '9007fd4772d816590c5db5f5e9568f5d'),
        ('error', 1432, '802c700b021769e52a2c1e3b9c117a1b'),
        ('audio.1', 1071445248, '251325a9afaaad0326ad1c57f57d514a'),
        ('audio.2', 1073453613, 'c26861e05147dc319b4250eb103d9d99'),
        ('audio.3', 1073077819, 'a4815775f8a5e629179726ee4cd4f55a'),
        ('audio.4', 1072822038, '1732b03afe8c53ef8bba80ba14766e57'),
        ('audio.5', 1072644652, '611be754a0c951185c6ae4b7643c19a0'),
        ('audio.6', 1072667888, '165a201db800d3ea76fce5a9c2bd97d7'),
        ('audio.7', 1073417661, 'c7d79db84264401c0f8680dcc36013ad'),
        ('audio.8', 1072381222, '35043f25123439392338c790494c7a19'),
        ('audio.9', 1072087738, '0805dcf5d8e6871dc9610182b2efb93a'),
        ('audio.10', 1046262120, '5df83a191295a04e290b125c634e13e7')]),
     *tut(1040168, EVALUATION, [  # some of these were replaced once, after their sizes had been published
        ('doc', None, '53709a07416ea3b617c02fcf67dbeb9c'),
        ('meta', None, '200eee9493e8044403e1326e3d05cfde'),
        ('audio.1', None, '3d6dda4445871e9544e0fefe7d14c7d9'),
        ('audio.2', 1073362972, '4085ef5fa286f2169074993a4e405953'),
        ('audio.3', 1071521152, 'cac432579e7cf2dff0aec7aaed248956'),
        ('audio.4', 382756463, '664bf09c3d24bd26c6b587f1d709de36')])],
    14_300_000_000, 16_700_000_000, Path('audio/asc'), 'python aux/index_asc.py {}', '',
    {f'{DEVELOPMENT}/meta.txt': 1, f'{DEVELOPMENT}/audio/*.wav': 4680,
     f'{EVALUATION}/meta.txt or {EVALUATION}/evaluation_setup/evaluate.txt': 1, f'{EVALUATION}/audio/*.wav': 1620})
ESC50 = Source(
    'ESC-50', 'CC BY-NC: no commercial use; the clips of ESC-10 CC BY',
    [File(f'https://github.com/karolpiczak/ESC-50/archive/{ESC_COMMIT}.zip', None, None)],
    650_000_000, 890_000_000, Path('audio/esc50'), 'python aux/index_esc.py {} --name esc50', f'ESC-50-{ESC_COMMIT}',
    {'meta/esc50.csv': 1, 'audio/*.wav': 2000})


def network(name):
    """The weights of a pretrained network: one file that goes to src/."""
    facts, place = NETWORKS[name], config_file.config_knn_audioset[NETWORKS[name].entry]['checkpoint']
    plausible = None if facts.size else range(15_000_000, 25_000_001)  # of mn10, whose exact size is not known
    file = File(facts.address, facts.size, facts.sha256 and f'sha256:{facts.sha256}', plausible)
    return Source(f'weights of {facts.title}', facts.licence, [file], facts.size or 18_000_000, 0, ROOT / 'src' / place,
                  f'cd src && python smoke_test.py {name}')


SOURCES = {
    'us8k': US8K,
    'asc': ASC,
    'esc10': replace(ESC50, title='ESC-10 (a part of ESC-50)', next='python aux/index_esc.py {} --name esc10'),
    'esc50': ESC50,
    **{name: network(name) for name in NETWORKS},
}
