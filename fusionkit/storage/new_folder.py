"""A folder that appears in one piece, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.storage.files import guard_write


@contextmanager
def appear_at_the_end(out: Path) -> Iterator[Path]:
    """Gives a folder beside the wanted one, whose files move there at the end; what fails leaves nothing.

    An empty folder that is there is filled, not replaced: it may be the current one, or a mounted volume.

    Args:
        out: The wanted folder.

    Raises:
        RunError: It holds something, or cannot be made.
    """
    out = Path(os.path.abspath(out))
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists and is not empty; take a new or empty folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    guard_write(partial, lambda: partial.mkdir(parents=True))
    try:
        yield partial
        guard_write(out, lambda: _move(partial, out))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    for path in sorted(partial.iterdir()):
        shutil.move(path, out / path.name)
