"""Packages imported in a process of their own, so that one that fails, kills the process or hangs stops no other."""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

PATIENCE = 120.0
"""Seconds that a package may take to be imported; a cold disk takes some."""

CODECS = ("h264", "hevc", "mpeg4", "vp9", "aac", "mp3", "vorbis", "opus", "flac")
"""Codecs of most films and sounds."""

_PROGRAM = (
    "import json, sys; asked = json.loads(sys.argv[1]); sys.path[:] = asked['path']; "
    "from fusionkit.execution.doctor.probes import answer_probe; answer_probe(asked['modules'])"
)


@dataclass(frozen=True)
class Probe:
    """The result of importing a package.

    Args:
        module: The package.
        error: Why it cannot be imported; empty where it can.
        facts: What it says of itself, such as its version.
    """

    module: str
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def probe_packages(modules: Sequence[str], patience: float = PATIENCE) -> Iterator[Probe]:
    """Imports packages one after the other, and gives what came of each as soon as it is known.

    Args:
        modules: Their names, in the order in which they are imported.
        patience: Seconds that each may take.
    """
    left = list(modules)
    while left:
        asked = json.dumps({"path": sys.path, "modules": left})
        with subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, asked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            lines, reader = _read_lines(child.stdout)
            try:
                yield from _read_answers(left, child, lines, patience)
            finally:
                child.kill()
                reader.join()  # before its stream is closed


def _read_answers(
    left: list[str], child: subprocess.Popen[str], lines: queue.Queue[str | None], patience: float
) -> Iterator[Probe]:
    """Yields what a process says of the packages that are left, until one of them is its end."""
    while left:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            yield Probe(left.pop(0), f"is not imported within {patience:g} s")
            return
        if line is None:
            yield Probe(left.pop(0), f"ends the process ({_name_ending(child.wait())})")
            return
        yield Probe(left.pop(0), **json.loads(line))


def answer_probe(modules: Sequence[str]) -> None:
    """Imports packages and writes a line of JSON on each, in the process that `probe_packages` starts."""
    out = os.dup(1)
    os.dup2(2, 1)  # what packages print while they are imported is no answer
    for module in modules:
        told: dict[str, Any] = {}
        try:
            found = importlib.import_module(module)
            told["facts"] = {
                "version": str(getattr(found, "__version__", "")),
                **(FACTS[module](found) if module in FACTS else {}),
            }
        except BaseException as error:
            told["error"] = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        os.write(out, (json.dumps(told) + "\n").encode())


def _ask_torch(torch: Any) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count() if cuda else 0)]
    return {
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus],
        "mps": bool(torch.backends.mps.is_available()),
    }


def _ask_torchaudio(torchaudio: Any) -> dict[str, Any]:
    import torch

    importlib.import_module("torchaudio.functional")
    torchaudio.functional.resample(torch.zeros(8), 2, 1)  # what is built for another PyTorch may fail here only
    return {}


def _ask_av(av: Any) -> dict[str, Any]:
    return {
        "ffmpeg": str(getattr(av, "ffmpeg_version_info", "")),
        "missing_codecs": [codec for codec in CODECS if codec not in av.codecs_available],
    }


def _ask_dlib(dlib: Any) -> dict[str, Any]:
    dlib.get_frontal_face_detector()
    return {"cuda": bool(dlib.DLIB_USE_CUDA)}


FACTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "torch": _ask_torch,
    "torchaudio": _ask_torchaudio,
    "av": _ask_av,
    "dlib": _ask_dlib,
}
"""By module, what is asked of it beside its version."""


def _read_lines(stream: IO[str] | None) -> tuple[queue.Queue[str | None], threading.Thread]:
    """Queues the lines of a stream as they come, None at its end; returns the thread that reads them too."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream or ():
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return lines, reader


def _name_ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
