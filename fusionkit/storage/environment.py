"""The environment of a result: versions, commit, device and platform."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fusionkit import version
from fusionkit.errors import FusionKitError
from fusionkit.version import __version__

DEVICE = "FUSIONKIT_DEVICE"
"""The environment variable that names the device where nothing else does; processes that are started inherit it."""


def describe_environment(device: str) -> dict[str, Any]:
    """Versions, commit, device, platform and command: what a result must carry to be made again."""
    return {
        "fusionkit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        **_commit(),
        "device": device,
        "platform": platform.platform(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def describe_processor() -> str:
    """Returns the processor's name, and says whether it multiplies matrices of bfloat16, where the system tells."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return platform.processor() or platform.machine()
    known = {key.strip(): value.strip() for key, _, value in lines}
    half = {"avx512_bf16", "amx_bf16", "bf16"} & set(known.get("flags", known.get("Features", "")).split())
    name = known.get("model name", platform.machine())
    return f"{name}, {'with' if half else 'without'} bfloat16"


def choose_device(name: str | None) -> torch.device:
    """Returns the device of a name; without one that of `use_device`, or else a GPU where there is one.

    Raises:
        FusionKitError: This machine has no such device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    name = name or os.environ.get(DEVICE)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = [*(["cuda"] if gpus else []), *(f"cuda:{number}" for number in range(gpus)), "cpu"]
    known += ["mps"] if torch.backends.mps.is_available() else []
    if name is not None and name not in known:
        # Names are not guessed: "gpu" is meant, "cpu" is nearest to it, and the difference is what matters.
        unseen = "" if gpus or "mps" in known else " (PyTorch sees no GPU here)"
        listed = ", ".join(known)
        raise FusionKitError(f"device {name!r}: this machine has none of that name; known: {listed}{unseen}")
    return torch.device(name or ("cuda" if gpus else "cpu"))


@contextmanager
def use_device(name: str) -> Iterator[None]:
    """Computes everything within it on one device, in this process and in those that it starts.

    Raises:
        FusionKitError: This machine has no such device.
    """
    choose_device(name)
    before = os.environ.get(DEVICE)
    os.environ[DEVICE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[DEVICE]
        else:
            os.environ[DEVICE] = before


def _commit() -> dict[str, Any]:
    """Returns the commit of fusionkit's own source, where it is used from a checkout and not from a wheel."""
    home = Path(version.__file__).parent

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, check=False)

    try:
        tracked = git("ls-files", "--error-unmatch", "__init__.py").returncode == 0
        if not tracked:
            return {"commit": None}
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode != 0
        return {"commit": git("rev-parse", "HEAD").stdout.strip(), "uncommitted_changes": changed}
    except OSError:
        return {"commit": None}  # no git on this machine
