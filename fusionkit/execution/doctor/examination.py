"""One check after another: packages first, then what the machine offers."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from fusionkit.execution.doctor.machine import (
    CACHE,
    compiler_names,
    find_compiler,
    free_bytes,
    has_headers,
    has_nvidia_driver,
    small_shared_memory,
    why_not_writable,
)
from fusionkit.execution.doctor.packages import DISTRIBUTION, PACKAGES, Package, bounds_of, satisfies, version_bounds
from fusionkit.execution.doctor.probes import PATIENCE, Probe, probe
from fusionkit.version import __version__

Status = Literal["ok", "absent", "broken"]

_LITTLE = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: The package, or what else it is.
        status: ``ok``; ``absent``, which only what it is for misses; or ``broken``: an ordinary installation has it.
        found: The version, or what is wrong.
        needed_for: The commands and components that need it.
        remedy: What to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    needed_for: str = ""
    remedy: str = ""

    def plain(self) -> dict[str, str]:
        """Returns the check as plain data."""
        return asdict(self)


def examine(packages: Sequence[Package] = PACKAGES, patience: float = PATIENCE) -> Iterator[Check]:
    """Looks at everything, and gives what it finds as soon as it is known.

    Args:
        packages: The packages that are imported, each in the process of another.
        patience: Seconds that each may take to be imported.
    """
    yield _python()
    facts: dict[str, dict[str, Any]] = {}
    yield from _packages(packages, patience, facts)
    if "av" in facts:
        yield _ffmpeg(facts["av"])
    if any(package.module == "dlib" for package in packages):
        yield _face_network()
    if "torch" in facts:
        yield _gpu(facts["torch"])
    yield _compiler()
    yield from _folders()


def is_well(checks: Iterable[Check]) -> bool:
    """Says whether nothing is broken; what is absent is an extra that nobody asked for."""
    return all(check.status != "broken" for check in checks)


def _python() -> Check:
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    try:
        version(DISTRIBUTION)
    except PackageNotFoundError:
        remedy = "install it with pip to have the versions of packages compared as well"
        return Check("fusionkit", "ok", f"{__version__}, not installed by pip; {found}", remedy=remedy)
    return Check("fusionkit", "ok", f"{__version__}; {found}")


def _packages(packages: Sequence[Package], patience: float, facts: dict[str, dict[str, Any]]) -> Iterator[Check]:
    there = {package.module: _is_there(package.module) for package in packages}
    bounds = version_bounds()
    probes = probe([package.module for package in packages if there[package.module]], patience)
    for package in packages:
        if not there[package.module]:
            yield _missing(package, bounds)
            continue
        found = next(probes)
        if not found.error:
            facts[package.module] = found.facts
        yield _imported(package, found, facts, bounds)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _missing(package: Package, bounds: dict[str, str]) -> Check:
    if package.extra:
        remedy = f'pip install "{DISTRIBUTION}[{package.extra}]"'
        return Check(package.module, "absent", "is not installed", package.needed_for, remedy)
    return Check(package.module, "broken", "is not installed", package.needed_for, _install(package, bounds))


def _imported(package: Package, found: Probe, facts: dict[str, dict[str, Any]], bounds: dict[str, str]) -> Check:
    name, needed = package.module, package.needed_for
    stated = _version_of(package, found)
    if found.error:
        unsound = [other for other in package.beside if other not in facts]
        remedy = f"mend {unsound[0]} first" if unsound else _again(package)
        message = f"{stated} cannot be imported: {found.error}".strip()
        return Check(name, "broken", message, needed, remedy)
    wanted = bounds.get(package.distribution.lower(), "")
    if stated and not satisfies(stated, wanted):
        return Check(name, "broken", f"{stated}, where {wanted} is asked for", needed, _install(package, bounds))
    if apart := _apart(package, stated, facts):
        return Check(name, "broken", f"{stated} {apart}", needed, _TOGETHER)
    return Check(name, "ok", stated, needed)


def _version_of(package: Package, found: Probe) -> str:
    """Finds the version that a package states itself, with its build, or else the one that pip installed."""
    if stated := found.facts.get("version"):
        return str(stated)
    try:
        return version(package.distribution)
    except PackageNotFoundError:
        return ""


_TOGETHER = (
    "install torch, torchaudio and torchvision with one command and from one index, such as pip install --upgrade "
    "torch torchaudio torchvision --index-url https://download.pytorch.org/whl/cpu"
)


def _again(package: Package) -> str:
    if package.beside:
        return _TOGETHER
    return f"pip install --force-reinstall --no-deps {package.distribution}"


def _install(package: Package, bounds: dict[str, str]) -> str:
    return f'pip install "{package.distribution}{bounds.get(package.distribution.lower(), "")}"'


def _apart(package: Package, stated: str, facts: dict[str, dict[str, Any]]) -> str:
    """Says why a package does not go together with the PyTorch that is there, though both can be imported."""
    torch = facts.get("torch", {}).get("version", "")
    if "torch" not in package.beside or not torch:
        return ""
    wanted = bounds_of(package.distribution).get("torch", "")
    if not satisfies(torch, wanted):
        return f"asks for torch{wanted}, and torch is {torch}"
    own, other = _platform(stated), _platform(torch)
    if own and other and own != other:
        return f"is built for {own}, and torch {torch} for {other}"
    return ""


def _platform(version: str) -> str:
    """Finds what a build computes on: ``CUDA 13`` of ``2.14.1+cu130``, for minor versions agree; empty for a CPU."""
    build = version.partition("+")[2]
    return f"CUDA {build[2:-1]}" if build.startswith("cu") else build if build.startswith("rocm") else ""


def _ffmpeg(facts: dict[str, Any]) -> Check:
    lacks = facts.get("missing_codecs", [])
    if lacks:
        remedy = "pip install --force-reinstall --no-deps --only-binary av av"
        return Check("FFmpeg in PyAV", "absent", f"{facts['ffmpeg']} without {', '.join(lacks)}", _FILMS, remedy)
    return Check("FFmpeg in PyAV", "ok", facts.get("ffmpeg", ""), _FILMS)


_FILMS = "films and sounds of these codecs"


def _face_network() -> Check:
    needed = "detector dlib_cnn, unless its `model` names the file"
    if _is_there("face_recognition_models"):
        return Check("dlib's face network", "ok", "is installed", needed)
    remedy = "pip install face-recognition-models"
    return Check("dlib's face network", "absent", "is not installed", needed, remedy)


def _gpu(facts: dict[str, Any]) -> Check:
    if facts["gpus"]:
        build = f"CUDA {facts['cuda']}" if facts["cuda"] else f"ROCm {facts['hip']}"
        return Check("GPU", "ok", f"{'; '.join(facts['gpus'])} ({build})")
    if facts["mps"]:
        return Check("GPU", "ok", "that of Apple's chip (mps)")
    if has_nvidia_driver():
        why = "PyTorch is built without CUDA" if not facts["cuda"] else f"PyTorch's CUDA {facts['cuda']} cannot use it"
        remedy = "install torch from the index that fits the driver: https://pytorch.org/get-started/locally"
        return Check("GPU", "broken", f"there is one of NVIDIA, and {why}", "--device cuda", remedy)
    return Check("GPU", "absent", "none is found; everything runs on the CPU", "--device cuda")


def _compiler() -> Check:
    needed, found = "train.compile", find_compiler()
    if found is None:
        message = f"none of {', '.join(compiler_names())} is on PATH"
        return Check("C++ compiler", "absent", message, needed, "install g++, or leave train.compile: false")
    if not has_headers():
        remedy = "install python3-dev (Debian, Ubuntu) or python3-devel (Fedora)"
        return Check("C++ compiler", "absent", f"{found}, without Python's headers", needed, remedy)
    return Check("C++ compiler", "ok", found, needed)


def _folders() -> Iterator[Check]:
    needed = "prepare, and every command on films"
    if why := why_not_writable(CACHE):
        remedy = "name another folder: data.prepare.cache=FOLDER"
        yield Check(f"cache {CACHE}", "broken", f"cannot be written ({why})", needed, remedy)
    else:
        free = free_bytes(CACHE)
        remedy = "name a folder with more room: data.prepare.cache=FOLDER" if free < _LITTLE else ""
        yield Check(f"cache {CACHE}", "ok", f"can be written, {free / 2**30:.1f} GiB free", needed, remedy)
    if small := small_shared_memory():
        remedy = "docker run --shm-size=8g, or data.workers=0"
        yield Check("shared memory", "absent", f"{small / 2**20:.0f} MiB", "data.workers above 0", remedy)
    if (given := os.environ.get("FUSIONKIT_DATA")) is not None and not Path(given).is_dir():
        yield Check("FUSIONKIT_DATA", "broken", f"names {given}, which is no folder", "recipes that use it")
