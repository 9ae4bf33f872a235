"""Traced steps: in Chrome's format, and by the operators that they call."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fusionkit.training.profiling.step_profile import LONG_CALL, Calls, Operator


class Trace:
    """One step in PyTorch's profiler, from when it is made until `stop`; nothing is waited for.

    Args:
        device: Where the step computes.
    """

    def __init__(self, device: torch.device) -> None:
        kinds = torch.profiler.ProfilerActivity
        self._on_gpu = device.type == "cuda"
        activities = [kinds.CPU, *([kinds.CUDA] if self._on_gpu else [])]
        self._profiler = torch.profiler.profile(activities=activities, acc_events=True)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells the terminal of every start and stop
        self._profiler.start()

    def stop(self) -> None:
        """Ends the step."""
        self._profiler.stop()

    def export(self) -> dict[str, Any]:
        """Returns the step in Chrome's format."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(file))
            trace: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        trace.pop("traceName", None)  # the temporary file
        return trace

    def calls(self) -> list[tuple[str, float]]:
        """Returns every call of an operator, with the seconds in it, without those of operators that it calls."""
        key = "self_device_time_total" if self._on_gpu else "self_cpu_time_total"
        events = self._profiler.events()  # type: ignore[no-untyped-call]
        return [(event.name, getattr(event, key) / 1e6) for event in events if event.name.startswith("aten::")]


def merge_traces(traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the events of several traces under what the first says of the machine."""
    return {**traces[0], "traceEvents": [each for of in traces for each in of["traceEvents"]]} if traces else {}


def list_operators(traced: Sequence[Sequence[tuple[str, float]]]) -> list[Operator]:
    """Returns the operators that every traced step calls, the heaviest first."""
    steps = []
    for calls in traced:
        seconds: dict[str, list[float]] = defaultdict(list)
        for name, own in calls:
            seconds[name].append(own)
        steps.append({name: Operator(name, len(of), sum(of)) for name, of in seconds.items()})
    shared = set(steps[0]).intersection(*steps) if steps else set[str]()
    least = [min((step[name] for step in steps), key=lambda operator: operator.seconds) for name in shared]
    return sorted(least, key=lambda operator: operator.seconds, reverse=True)


def sum_calls(traced: Sequence[Sequence[tuple[str, float]]]) -> Calls:
    """Returns the calls of the traced step in which they took least."""
    steps = [[own for _, own in calls] for calls in traced]
    own = min(steps, key=sum, default=[])
    return Calls(len(own), sum(own), sum(seconds for seconds in own if seconds >= LONG_CALL))
