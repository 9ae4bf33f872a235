"""Paths as users write them, and errors that say where they arose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, FusionKitError, Problem
from fusionkit.nn.memory import is_full

_MOST_SAID = 300
"""Letters of what a library says that are shown; some print what they found."""

_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar"})
_SHEETS = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})
"""Endings of files that hold what is read, in a form that is not."""


def expand_path(path: str | os.PathLike[str]) -> Path:
    """Replaces ``~`` and environment variables (``$NAME`` or ``${NAME}``) in a path.

    Raises:
        DataError: A variable is not set, or there is no user of the name behind ``~``; the message names it.

    Example:
        >>> expand_path("clips/manifest.csv").as_posix()
        'clips/manifest.csv'
    """
    text = os.fspath(path)
    problems = []

    def find_value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            remedy = f"set {name} to the folder that holds the data, or write the path out"
            problems.append(Problem(text, f"the environment variable {name} is not set", remedy))
        return os.environ.get(name, "")

    expanded = re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", find_value, text)
    if problems:
        raise DataError(problems)
    try:
        return Path(expanded).expanduser()
    except RuntimeError:
        user = Path(expanded).parts[0]
        raise DataError([Problem(text, f"no home folder of {user} is known", "write the path out")]) from None


def find_path_hint(name: str) -> str:
    """Finds what may be wrong with the name of a missing file, as a table writes it; empty where nobody knows.

    Example:
        >>> find_path_hint("$DATA/a.wav")
        'names in tables stand for themselves: give $DATA as root, where $NAME and ~ are replaced'
        >>> find_path_hint("clips/a.wav")
        ''
    """
    if os.sep != "\\" and ("\\" in name or re.match(r"[A-Za-z]:/", name)):
        return "it looks like a path of Windows: write it with /, from a folder of this machine or from root"
    if name.startswith("~") or "$" in name:
        folder = name.split("/", maxsplit=1)[0]
        return f"names in tables stand for themselves: give {folder} as root, where $NAME and ~ are replaced"
    return ""


def is_there(path: Path) -> bool:
    """Says whether a path leads to a file or a folder.

    Raises:
        DataError: The system refuses to look, as at a name that is too long.
    """
    try:
        return path.exists()
    except OSError as error:
        remedy = "check its name, and the rights of the folders above it"
        raise DataError([Problem(str(path), f"cannot be read ({error.strerror})", remedy)]) from error


def is_file(path: Path) -> bool:
    """Tells whether a path leads to a file.

    Raises:
        DataError: The system refuses to look, as at a name that is too long.
    """
    return is_there(path) and path.is_file()


def find_existing(path: str | os.PathLike[str]) -> Path:
    """Expands the path of a file that is there.

    Raises:
        DataError: It is not there, or is no file.
    """
    expanded = expand_path(path)
    refuse_no_file(expanded)
    return expanded


def refuse_no_file(path: Path) -> None:
    """Refuses a path that leads to no file.

    Raises:
        DataError: It leads nowhere, or to a folder or a device, or the system refuses to look.
    """
    if not is_file(path):
        raise DataError([Problem(str(path), describe_what_is_there(path))])


def describe_what_is_there(path: Path) -> str:
    """Says what a path leads to that leads to no file."""
    if path.is_dir():
        return "is a folder, not a file"
    return "is no regular file" if is_there(path) else "no such file"


@contextmanager
def name_errors(place: str | os.PathLike[str], message: str, remedy: str = "copy it again") -> Iterator[None]:
    """Names the file in whatever a library raises while it reads it.

    Lists of the exceptions of Pillow, NumPy, libsndfile, zipfile and others were found wrong one after another, so all
    are turned here but our own, and memory that runs out, which says something about the machine.

    Args:
        place: The file.
        message: What is wrong with it, such as ``"cannot be read as an image"``.
        remedy: What would be right.

    Raises:
        DataError: The library raised something.
    """
    try:
        yield
    except FusionKitError:
        raise
    except Exception as error:
        if is_full(error):
            raise
        said = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
        reason = " ".join(str(said).split()).rstrip(".") or type(error).__name__
        shown = reason if len(reason) <= _MOST_SAID else f"{reason[:_MOST_SAID]} ..."
        raise DataError([Problem(os.fspath(place), f"{message} ({shown})", remedy)]) from error


def read_text(path: Path) -> str:
    """Reads a UTF-8 file, with or without a byte order mark.

    Raises:
        DataError: It cannot be read, is no UTF-8, or larger than the limit of tables.
    """
    try:
        check_size("table_bytes", path.stat().st_size, str(path))
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8"
        raise DataError([Problem(str(path), f"is no UTF-8 text (byte {error.start})", remedy)]) from None
    except OSError as error:
        raise DataError([Problem(str(path), f"cannot be read ({error.strerror})")]) from error


def place_error(error: DataError, place: str) -> DataError:
    """Tells the same problems with the place that they matter to, such as a row of a manifest."""
    return DataError(
        [Problem(f"{place}: {found.place}".rstrip(": "), found.message, found.remedy) for found in error.problems]
    )


def describe_wrapping(suffix: str) -> str:
    """Describes why a file whose ending says that it is packed or a spreadsheet is not read; nothing of any other.

    Example:
        >>> describe_wrapping(".gz"), describe_wrapping(".csv")
        ('is packed (.gz); unpack it first', '')
    """
    if suffix in _PACKED:
        return f"is packed ({suffix}); unpack it first"
    return f"is a spreadsheet ({suffix}); save it as .csv" if suffix in _SHEETS else ""
