"""Files that may lie in zip archives, which are read without being unpacked.

A path may lead through a zip file: ``Video_Speech_Actor_01.zip/Actor_01/01-01-01-01-01-01-01.mp4`` names a member of
the archive ``Video_Speech_Actor_01.zip``. Whoever reads films and sounds opens them with `open_member`, which takes
such paths and plain ones, and tells by `read_fingerprint` whether a file is still the one that it was.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from fusionkit.data.readers.files import name_errors
from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem

_UNPACK = "download the archive again, or unpack it yourself"

_IN_MEMORY = 1 << 24
"""Bytes of an unpacked member that are kept in memory; the rest lies in a temporary file."""

_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_NEAR_THE_END = 1 << 17
"""Bytes at an archive's end in which its end is looked for; a comment may follow it."""


def open_member(path: Path) -> BinaryIO:
    """Opens a file, or a member of a zip archive, for reading bytes; either can be sought in.

    A member is unpacked beforehand, large ones to the disk, which checks it against the checksum in the archive.

    Raises:
        DataError: There is no such file or member, it cannot be read, or is larger than the limit.
    """
    found = _find_archive(path)
    if found is None:
        try:
            return path.open("rb")
        except (OSError, ValueError) as error:
            raise DataError([Problem(str(path), f"cannot be read ({_describe_reason(error)})")]) from error
    archive, member = found
    info = _find_member(path, archive, member)
    check_size("bytes", info.file_size, str(path))
    with (
        name_errors(path, "cannot be unpacked", _UNPACK),
        zipfile.ZipFile(archive) as opened,
        ExitStack() as undo,
    ):
        unpacked = undo.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
        with opened.open(info) as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.seek(0)
        undo.pop_all()
        return cast(BinaryIO, unpacked)


@contextmanager
def unpack_to_disk(path: Path) -> Iterator[Path]:
    """Yields a path that decoders can open; a member of an archive is unpacked for as long as it is needed."""
    if not is_member(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as unpacked, open_member(path) as member:
        shutil.copyfileobj(member, unpacked)
        unpacked.flush()
        yield Path(unpacked.name)


def is_member(path: Path) -> bool:
    """Says whether a path leads through a zip file that is there, so that only `open_member` can open it."""
    return _find_archive(path) is not None


def read_fingerprint(path: Path) -> str:
    """Reads what tells, without reading a file, whether it is still the one that it was.

    A plain file is told by its size and the time of its last change, a member of a zip archive by its size and its
    checksum: copying an archive changes nothing, packing other films into it does.

    Raises:
        DataError: There is no such file or member.
    """
    found = _find_archive(path)
    if found is None:
        try:
            state = path.stat()
        except (OSError, ValueError) as error:
            raise DataError([Problem(str(path), f"cannot be read ({_describe_reason(error)})")]) from error
        return f"size {state.st_size}, changed {state.st_mtime_ns}"
    info = _find_member(path, *found)
    return f"size {info.file_size}, crc32 {info.CRC:08x}"


def list_members(archive: Path) -> Mapping[str, zipfile.ZipInfo]:
    """Lists the files in a zip archive, by their path in it, with ``/`` between its parts.

    Raises:
        DataError: It cannot be read, is no whole zip archive, as after a download that broke off, or holds a file whose
            name leads out of it, or more files than the limit.
    """
    try:
        state = archive.stat()
    except (OSError, ValueError) as error:
        raise DataError([Problem(str(archive), f"cannot be read ({_describe_reason(error)})")]) from error
    with name_errors(archive, "is no whole zip archive, as after a download that broke off", "download it again"):
        return _read_members(archive, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _read_members(archive: Path, size: int, changed: int) -> Mapping[str, zipfile.ZipInfo]:
    """Reads the members of an archive of this size and time; a changed one is read anew."""
    with archive.open("rb") as file:
        files, listed = _read_end(file)
        check_size("members", files, str(archive))
        check_size("table_bytes", listed, str(archive))
        with zipfile.ZipFile(file) as opened:
            # Some programs for Windows write the paths with backslashes.
            found = {info.filename.replace("\\", "/"): info for info in opened.infolist() if not info.is_dir()}
    astray = [name for name in found if name.startswith("/") or ".." in name.split("/") or "\0" in name]
    if astray:
        message = f"holds {len(astray):,} files whose names lead out of it, such as {astray[0]!r}"
        raise DataError([Problem(str(archive), message, "pack it again with names that begin in it")])
    check_size("members", len(found), str(archive))
    return found


def _read_end(file: BinaryIO) -> tuple[int, int]:
    """Reads how many files an archive states, and the bytes of their list, which is read whole when it is opened."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - _NEAR_THE_END))
    tail = file.read()
    for mark, form, at in ((_END_64, "<QQ", 32), (_END, "<HI", 10)):
        begin = tail.rfind(mark)
        if begin >= 0 and len(tail) >= begin + at + struct.calcsize(form):
            files, listed = struct.unpack_from(form, tail, begin + at)
            return files, listed
    return 0, 0


def _find_member(path: Path, archive: Path, member: str) -> zipfile.ZipInfo:
    info = list_members(archive).get(member)
    if info is None:
        raise DataError([Problem(str(path), f"{archive.name} holds no such file")])
    return info


def _describe_reason(error: OSError | ValueError) -> str:
    """Says why a file cannot be opened; Python itself refuses a name with a zero in it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _find_archive(path: Path) -> tuple[Path, str] | None:
    """Finds the archive that a path leads through, and the path of the member in it."""
    for parent in path.parents:
        if parent.suffix.lower() == ".zip" and os.path.isfile(parent):
            return parent, path.relative_to(parent).as_posix()
    return None
