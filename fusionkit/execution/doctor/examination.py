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
    count_free_bytes,
    explain_unwritable,
    find_compiler,
    has_headers,
    has_nvidia_driver,
    list_compilers,
    measure_small_memory,
)
from fusionkit.execution.doctor.packages import DISTRIBUTION, PACKAGES, Package, read_bounds, read_bounds_of, satisfies
from fusionkit.execution.doctor.probes import PATIENCE, Probe, probe_packages
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
    yield _check_python()
    facts: dict[str, dict[str, Any]] = {}
    yield from _check_packages(packages, patience, facts)
    if "av" in facts:
        yield _check_ffmpeg(facts["av"])
    if any(package.module == "dlib" for package in packages):
        yield _check_face_network()
    if "torch" in facts:
        yield _check_gpu(facts["torch"])
    yield _check_compiler()
    yield from _check_folders()


def is_well(checks: Iterable[Check]) -> bool:
    """Says whether nothing is broken; what is absent is an extra that nobody asked for."""
    return all(check.status != "broken" for check in checks)


def _check_python() -> Check:
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    try:
        version(DISTRIBUTION)
    except PackageNotFoundError:
        remedy = "install it with pip to have the versions of packages compared as well"
        return Check("fusionkit", "ok", f"{__version__}, not installed by pip; {found}", remedy=remedy)
    return Check("fusionkit", "ok", f"{__version__}; {found}")


def _check_packages(packages: Sequence[Package], patience: float, facts: dict[str, dict[str, Any]]) -> Iterator[Check]:
    there = {package.module: _is_there(package.module) for package in packages}
    bounds = read_bounds()
    probes = probe_packages([package.module for package in packages if there[package.module]], patience)
    for package in packages:
        if not there[package.module]:
            yield _describe_missing(package, bounds)
            continue
        found = next(probes)
        if not found.error:
            facts[package.module] = found.facts
        yield _check_imported(package, found, facts, bounds)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _describe_missing(package: Package, bounds: dict[str, str]) -> Check:
    if package.extra:
        remedy = f'pip install "{DISTRIBUTION}[{package.extra}]"'
        return Check(package.module, "absent", "is not installed", package.needed_for, remedy)
    return Check(package.module, "broken", "is not installed", package.needed_for, _advise_install(package, bounds))


def _check_imported(package: Package, found: Probe, facts: dict[str, dict[str, Any]], bounds: dict[str, str]) -> Check:
    name, needed = package.module, package.needed_for
    stated = _find_version(package, found)
    if found.error:
        unsound = [other for other in package.beside if other not in facts]
        remedy = f"mend {unsound[0]} first" if unsound else _advise_again(package)
        message = f"{stated} cannot be imported: {found.error}".strip()
        return Check(name, "broken", message, needed, remedy)
    wanted = bounds.get(package.distribution.lower(), "")
    if stated and not satisfies(stated, wanted):
        return Check(name, "broken", f"{stated}, where {wanted} is asked for", needed, _advise_install(package, bounds))
    if apart := _find_mismatch(package, stated, facts):
        return Check(name, "broken", f"{stated} {apart}", needed, _TOGETHER)
    return Check(name, "ok", stated, needed)


def _find_version(package: Package, found: Probe) -> str:
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


def _advise_again(package: Package) -> str:
    if package.beside:
        return _TOGETHER
    return f"pip install --force-reinstall --no-deps {package.distribution}"


def _advise_install(package: Package, bounds: dict[str, str]) -> str:
    return f'pip install "{package.distribution}{bounds.get(package.distribution.lower(), "")}"'


def _find_mismatch(package: Package, stated: str, facts: dict[str, dict[str, Any]]) -> str:
    """Says why a package does not go together with the PyTorch that is there, though both can be imported."""
    torch = facts.get("torch", {}).get("version", "")
    if "torch" not in package.beside or not torch:
        return ""
    wanted = read_bounds_of(package.distribution).get("torch", "")
    if not satisfies(torch, wanted):
        return f"asks for torch{wanted}, and torch is {torch}"
    own, other = _find_platform(stated), _find_platform(torch)
    if own and other and own != other:
        return f"is built for {own}, and torch {torch} for {other}"
    return ""


def _find_platform(version: str) -> str:
    """Finds what a build computes on: ``CUDA 13`` of ``2.14.1+cu130``, for minor versions agree; empty for a CPU."""
    build = version.partition("+")[2]
    return f"CUDA {build[2:-1]}" if build.startswith("cu") else build if build.startswith("rocm") else ""


def _check_ffmpeg(facts: dict[str, Any]) -> Check:
    lacks = facts.get("missing_codecs", [])
    if lacks:
        remedy = "pip install --force-reinstall --no-deps --only-binary av av"
        return Check("FFmpeg in PyAV", "absent", f"{facts['ffmpeg']} without {', '.join(lacks)}", _FILMS, remedy)
    return Check("FFmpeg in PyAV", "ok", facts.get("ffmpeg", ""), _FILMS)


_FILMS = "films and sounds of these codecs"


def _check_face_network() -> Check:
    needed = "detector dlib_cnn, unless its `model` names the file"
    if _is_there("face_recognition_models"):
        return Check("dlib's face network", "ok", "is installed", needed)
    remedy = "pip install face-recognition-models"
    return Check("dlib's face network", "absent", "is not installed", needed, remedy)


def _check_gpu(facts: dict[str, Any]) -> Check:
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


def _check_compiler() -> Check:
    needed, found = "train.compile", find_compiler()
    if found is None:
        message = f"none of {', '.join(list_compilers())} is on PATH"
        return Check("C++ compiler", "absent", message, needed, "install g++, or leave train.compile: false")
    if not has_headers():
        remedy = "install python3-dev (Debian, Ubuntu) or python3-devel (Fedora)"
        return Check("C++ compiler", "absent", f"{found}, without Python's headers", needed, remedy)
    return Check("C++ compiler", "ok", found, needed)


def _check_folders() -> Iterator[Check]:
    needed = "prepare, and every command on films"
    if why := explain_unwritable(CACHE):
        remedy = "name another folder: data.prepare.cache=FOLDER"
        yield Check(f"cache {CACHE}", "broken", f"cannot be written ({why})", needed, remedy)
    else:
        free = count_free_bytes(CACHE)
        remedy = "name a folder with more room: data.prepare.cache=FOLDER" if free < _LITTLE else ""
        yield Check(f"cache {CACHE}", "ok", f"can be written, {free / 2**30:.1f} GiB free", needed, remedy)
    if small := measure_small_memory():
        remedy = "docker run --shm-size=8g, or data.workers=0"
        yield Check("shared memory", "absent", f"{small / 2**20:.0f} MiB", "data.workers above 0", remedy)
    if (given := os.environ.get("FUSIONKIT_DATA")) is not None and not Path(given).is_dir():
        yield Check("FUSIONKIT_DATA", "broken", f"names {given}, which is no folder", "recipes that use it")
