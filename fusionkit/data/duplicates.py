"""Files that stand on both sides of a split: under one name, under two, or as copies with the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from fusionkit.data.readers.archives import is_member, read_fingerprint
from fusionkit.errors import DataError
from fusionkit.interfaces import Split

_SAMPLE = 4096
"""Bytes of the beginning, the middle and the end that are compared before all are."""

_HEADER = 128
"""Bytes that the header of another file than a wave or an array may take: half of a file that is shorter than two."""

_PERIOD = 8
"""Bytes of the largest number: what repeats them is one value over and over."""

_READ = 2**20
"""Bytes that are read at once, a multiple of the period."""

Copies = tuple[tuple[str, Path, str, Path], ...]
"""A training sample and its file, and a test sample and its file that holds the same."""


def find_copies(split: Split, files: Mapping[str, Sequence[Path]]) -> Copies:
    """Finds the files of test samples that training samples have as well, each once, in the order of the test part.

    Files are told apart by their bytes, which are read of those only that have one size and agree in samples of
    themselves. One that holds a single value over and over, such as silence, tells nothing and counts as no copy; nor
    does one that is not there. One that only ends in silence or in zeros is a copy like any other.

    Args:
        split: The split.
        files: By sample, its files.
    """
    train, test = (list(_list_files(side, files)) for side in (split.train, split.test))
    for key in (_read_size, _hash_some, _hash_file):
        both = {key(file) for _, file in train} & {key(file) for _, file in test} - {""}
        train, test = ([each for each in side if key(each[1]) in both] for side in (train, test))
    first: dict[str, tuple[str, Path]] = {}
    for sample, file in train:
        first.setdefault(_hash_file(file), (sample, file))
    found: dict[tuple[str, Path], tuple[str, Path, str, Path]] = {}
    for sample, file in test:
        found.setdefault((sample, file), (*first[_hash_file(file)], sample, file))
    return tuple(found.values())


def describe_copies(copies: Copies, shown: int = 3) -> str:
    """Says how many copies there are, and names the first of them.

    Example:
        >>> describe_copies((("a", Path("a.wav"), "b", Path("b.wav")), ("a", Path("a.wav"), "c", Path("a.wav"))))
        '2 files of the test part are in the training part too: b.wav of b is a.wav of a; a.wav of c is that of a'
    """
    told = [
        f"{after} of {test} is {'that' if before == after else before} of {train}"
        for train, before, test, after in copies[:shown]
    ]
    more = f"; and {len(copies) - shown} more" if len(copies) > shown else ""
    what = "1 file of the test part is" if len(copies) == 1 else f"{len(copies)} files of the test part are"
    return f"{what} in the training part too: {'; '.join(told)}{more}"


def _list_files(samples: Iterable[str], files: Mapping[str, Sequence[Path]]) -> Iterable[tuple[str, Path]]:
    for sample in samples:
        for file in files.get(sample, ()):
            if os.path.isfile(file) or is_member(file):
                yield sample, file


def _read_size(file: Path) -> str:
    """Reads the size of a file, or of a member of an archive with its checksum; empty for a file without a byte."""
    try:
        if is_member(file):
            return read_fingerprint(file)
        return str(file.stat().st_size or "")
    except (OSError, DataError):  # a damaged archive or a file that is gone is told by who reads it
        return ""


def _hash_some(file: Path) -> str:
    """Hashes samples of a file."""
    if is_member(file):
        return read_fingerprint(file)
    state = file.stat()
    return _hash_samples(file, state.st_size, state.st_mtime_ns)


def _hash_file(file: Path) -> str:
    """Hashes all bytes of a file; empty where they tell nothing."""
    if is_member(file):
        return read_fingerprint(file)
    state = file.stat()
    return _hash_bytes(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2**17)
def _hash_samples(file: Path, size: int, changed: int) -> str:
    """Hashes samples of a file of this size and time; a changed one is read anew."""
    with file.open("rb") as opened:
        pieces = []
        for start in (0, size // 2, max(0, size - _SAMPLE)):
            opened.seek(start)
            pieces.append(opened.read(_SAMPLE))
    return hashlib.sha256(b"".join(pieces)).hexdigest()


@lru_cache(maxsize=2**17)
def _hash_bytes(file: Path, size: int, changed: int) -> str:
    """Hashes all bytes; empty where one value follows the header over and over, or nothing does."""
    with file.open("rb") as opened:
        header = _measure_header(opened.read(_SAMPLE))
        opened.seek(0)
        digest = hashlib.sha256(opened.read(header))
        period, is_one_value = b"", True
        while piece := opened.read(_READ):
            digest.update(piece)
            period = period or (piece[:_PERIOD] if len(piece) > _PERIOD else piece[:1])
            is_one_value = is_one_value and piece == (period * (len(piece) // len(period) + 1))[: len(piece)]
    return "" if is_one_value else digest.hexdigest()


def _measure_header(beginning: bytes) -> int:
    """Counts the bytes before the numbers of a wave or an array; of another file, those that a header may take."""
    if beginning.startswith(b"RIFF") and (chunk := beginning.find(b"data", 12)) >= 0:
        return chunk + 8
    if beginning.startswith(b"\x93NUMPY"):
        stated = 8 + (2 if beginning[6:7] == b"\x01" else 4)
        return stated + int.from_bytes(beginning[8:stated], "little")
    return min(_HEADER, len(beginning) // 2)
