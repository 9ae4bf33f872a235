"""The folder of an experiment's runs: whether it can be made and written, and that one experiment works there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.storage.locks import LOCK, lock_folder
from fusionkit.storage.run_folder import RunFolder

_LONGEST_NAME = 255
"""Bytes of a file's name that every common file system allows."""


@contextmanager
def claim_out_folder(out: Path) -> Iterator[None]:
    """Makes the folder of the runs; within it no other experiment works there.

    A folder that it has made goes again where an error leaves nothing in it.

    Raises:
        RunError: Another one does, or nothing can be written there.
    """
    is_new = not out.exists()
    _make_folder(out)
    with lock_folder(out):
        try:
            yield
        except BaseException:
            if is_new and [file.name for file in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
                out.rmdir()
            raise


def _make_folder(out: Path) -> None:
    """Makes the folder of the runs, or finds before any of them is begun that nothing can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise _not_writable(out, error) from error


def refuse_no_place(out: Path) -> None:
    """Finds that the folder of the runs is a run itself, or could not be made or written, without making it.

    A file in its place is found by the agenda. What else lies in the folder stays as it is: an experiment may stand
    beside the user's own files, since it writes under names of its own.

    Raises:
        RunError: No runs can be kept there.
    """
    if RunFolder(out).begun:
        raise RunError(f"{out}: is a run of `fusionkit train`; take a new folder, or that of the same experiment")
    try:
        nearest = next(place for place in (out.absolute(), *out.absolute().parents) if _is_there(place))
        longest = max(len(os.fsencode(part)) for part in out.absolute().relative_to(nearest).parts or ("",))
        if longest > _LONGEST_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if nearest.is_dir() and not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _not_writable(out, error) from error


def _is_there(place: Path) -> bool:
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _not_writable(out: Path, error: OSError) -> RunError:
    return RunError(f"{out}: no runs can be written there ({error.strerror}); name a folder that can be written")
