"""The machine's offers: a compiler, a GPU, folders that can be written."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from pathlib import Path

COMPILERS = ("g++", "c++", "clang++", "cl")

CACHE = Path("~/.cache/fusionkit")
"""Folder of prepared clips unless a recipe names another."""

_LEAST_SHARED = 2**30


def list_compilers() -> list[str]:
    """Lists the C++ compilers that PyTorch looks for, that of the environment variable CXX first."""
    return [*filter(None, [os.environ.get("CXX")]), *COMPILERS]


def find_compiler() -> str | None:
    """Finds the first C++ compiler that is on PATH, with its folder."""
    return next((found for name in list_compilers() if (found := shutil.which(name))), None)


def has_headers() -> bool:
    """Says whether Python's own headers are there, against which PyTorch compiles."""
    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def has_nvidia_driver() -> bool:
    """Says whether the system drives a GPU of NVIDIA, whatever PyTorch was built for."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def explain_unwritable(folder: Path) -> str:
    """Says why nothing can be written into a folder, or into what will hold it; empty where something can.

    Nothing is left there.
    """
    whole = folder.expanduser().absolute()
    there = next(path for path in (whole, *whole.parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{there} is a file"
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return f"{there}: {error.strerror}"
    return ""


def count_free_bytes(folder: Path) -> int:
    """Counts the bytes that are free where a folder is, or will be made."""
    whole = folder.expanduser().absolute()
    return shutil.disk_usage(next(path for path in (whole, *whole.parents) if path.is_dir())).free


def measure_small_memory() -> int | None:
    """Measures the shared memory, through which workers hand over batches, where it is small; None elsewhere."""
    shared = Path("/dev/shm")
    total = shutil.disk_usage(shared).total if shared.is_dir() else _LEAST_SHARED
    return total if total < _LEAST_SHARED else None
