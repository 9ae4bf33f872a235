"""A lock by which one process alone works in a folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fusionkit.errors import RunError

LOCK = ".lock"
"""The file by which a process says that it works in a folder."""

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""The answers of a file system that knows no locks."""


@contextmanager
def lock_folder(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Keeps other processes out of a folder while it lasts, as far as they ask the same.

    The system ends it with the process, however that dies: processes that it has forked do not hold the lock. Where a
    file system knows no locks, nothing is kept out.

    Args:
        folder: The folder.
        wait: Seconds until another process must have left.

    Raises:
        RunError: Another process works in the folder, or it cannot be written.
    """
    # A marker in place of a lock would outlive a process that is killed, so there is no soft fallback.
    lock = FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        remedy = "wait until it ends, or take another folder"
        raise RunError(f"{folder}: another process is working in it; {remedy}") from None
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def refuse_if_taken(folder: Path, *, wait: float = 0.0) -> None:
    """Says early that another process works in a folder, before what takes its time; writes nothing there.

    Args:
        folder: The folder, which need not be there.
        wait: Seconds until the other process must have left.

    Raises:
        RunError: Another one does.
    """
    if (folder / LOCK).is_file():
        with lock_folder(folder, wait=wait):
            pass
