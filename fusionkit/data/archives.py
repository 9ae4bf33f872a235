"""Files that may lie in zip archives, which are read without being unpacked.

A path may lead through a zip file: ``Video_Speech_Actor_01.zip/Actor_01/01-01-01-01-01-01-01.mp4`` names a member of
the archive ``Video_Speech_Actor_01.zip``. Whoever reads films and sounds opens them with `open_member`, which takes
such paths and plain ones, and tells by `fingerprint` whether a file is still the one that it was.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from fusionkit.errors import DataError, Problem

_UNPACK = "download the archive again, or unpack it yourself"


def open_member(path: Path) -> BinaryIO:
    """Opens a file, or a member of a zip archive, for reading bytes; either can be sought in.

    A member is decompressed into memory, which checks it against the checksum in the archive.

    Raises:
        DataError: There is no such file or member, or it cannot be read.
    """
    found = _archive_of(path)
    try:
        if found is None:
            return path.open("rb")
        archive, member = found
        info = members(archive).get(member)
        if info is None:
            raise DataError([Problem(str(path), f"{archive.name} holds no such file")])
        with zipfile.ZipFile(archive) as opened:
            return io.BytesIO(opened.read(info))
    except OSError as error:
        raise DataError([Problem(str(path), f"cannot be read ({error.strerror or error})")]) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError([Problem(str(path), f"cannot be unpacked ({error})", _UNPACK)]) from error


def is_member(path: Path) -> bool:
    """Whether a path leads through a zip file that is there, so that only `open_member` can open it."""
    return _archive_of(path) is not None


def fingerprint(path: Path) -> str:
    """What tells, without reading it, whether a file is still the one that it was.

    A plain file is told by its size and the time of its last change, a member of a zip archive by its size and its
    checksum: copying an archive changes nothing, packing other films into it does.

    Raises:
        DataError: There is no such file or member.
    """
    found = _archive_of(path)
    if found is None:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError([Problem(str(path), f"cannot be read ({error.strerror})")]) from error
        return f"size {state.st_size}, changed {state.st_mtime_ns}"
    archive, member = found
    info = members(archive).get(member)
    if info is None:
        raise DataError([Problem(str(path), f"{archive.name} holds no such file")])
    return f"size {info.file_size}, crc32 {info.CRC:08x}"


def members(archive: Path) -> Mapping[str, zipfile.ZipInfo]:
    """The files in a zip archive, by their path in it, with ``/`` between its parts.

    Raises:
        DataError: It cannot be read, or is no whole zip archive, as after a download that broke off.
    """
    try:
        state = archive.stat()
        return _members(archive, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError([Problem(str(archive), f"cannot be read ({error.strerror or error})")]) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        message = f"is no whole zip archive ({str(error).rstrip('.')}), as after a download that broke off"
        raise DataError([Problem(str(archive), message, "download it again")]) from error


@lru_cache(maxsize=256)
def _members(archive: Path, size: int, changed: int) -> Mapping[str, zipfile.ZipInfo]:
    """The members of an archive of this size and time; a changed one is read anew."""
    with zipfile.ZipFile(archive) as opened:
        # Some programs for Windows write the paths with backslashes.
        return {info.filename.replace("\\", "/"): info for info in opened.infolist() if not info.is_dir()}


def _archive_of(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads through, and the path of the member in it."""
    for parent in path.parents:
        if parent.suffix.lower() == ".zip" and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None
