"""What records the parts of a watched step: a clock that divides its time, and a tracer that names them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch

REST = "everything else"

Part = tuple[str, str | None]
"""A part of a step, and the modality whose part it is."""


def wait_for(device: torch.device) -> None:
    """Waits until a device has done what it was given: before that, a clock says nothing of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Recorder(Protocol):
    """What is told when a part of a step begins and ends."""

    def enter(self, part: Part) -> None:
        """A part begins, possibly within another."""

    def leave(self) -> None:
        """The part that began last ends."""


class Clock:
    """Divides time among parts that may lie in each other: it runs for the innermost, so that they add up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open: list[Part] = [(REST, None)]
        self.seconds: dict[Part, float] = defaultdict(float)
        self._since = self._now()

    def enter(self, part: Part) -> None:
        """Runs for a part from here."""
        self.book()
        self._open.append(part)

    def leave(self) -> None:
        """Runs for what the part lies in from here."""
        self.book()
        self._open.pop()

    def book(self) -> None:
        """Counts the time up to here."""
        now = self._now()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def _now(self) -> float:
        wait_for(self._device)
        return time.perf_counter()


class Tracer:
    """A step in PyTorch's profiler, with the parts by name; nothing is waited for."""

    def __init__(self, device: torch.device) -> None:
        kinds = torch.profiler.ProfilerActivity
        activities = [kinds.CPU, *([kinds.CUDA] if device.type == "cuda" else [])]
        self._profiler = torch.profiler.profile(activities=activities, acc_events=True)
        self._open: list[ExitStack] = []
        self._on_gpu = device.type == "cuda"
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells the terminal of every start and stop
        self._profiler.start()

    def enter(self, part: Part) -> None:
        """Names what follows."""
        self._open.append(ExitStack())
        self._open[-1].enter_context(torch.profiler.record_function(named(*part)))

    def leave(self) -> None:
        """Ends what was named last."""
        self._open.pop().close()

    def stop(self) -> None:
        """Ends the step."""
        while self._open:
            self.leave()
        self._profiler.stop()

    def trace(self) -> dict[str, Any]:
        """The step in Chrome's format."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(file))
            trace: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        trace.pop("traceName", None)  # the temporary file
        return trace

    def calls(self) -> list[tuple[str, float]]:
        """Every call of an operator, with the seconds in it, without those of operators that it calls."""
        key = "self_device_time_total" if self._on_gpu else "self_cpu_time_total"
        events = self._profiler.events()  # type: ignore[no-untyped-call]
        return [(event.name, getattr(event, key) / 1e6) for event in events if event.name.startswith("aten::")]


def named(part: str, modality: str | None) -> str:
    """How a part is called in tables and traces."""
    return part if modality is None else f"{modality}: {part}"
