"""By their names, the rows of the table and what measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from records import Measurement

Measure = Callable[["Place"], Iterable[Measurement]]


class NotMeasuredError(Exception):
    """A row cannot be measured here; the message says why, as the table will."""


@dataclass(frozen=True)
class Place:
    """The device of a measurement, and how thorough it is.

    Args:
        device: The device.
        rounds: Rounds of every comparison.
        minutes: After how many from now on nothing long is to be begun.
    """

    device: torch.device
    rounds: int
    minutes: float = 120.0
    _since: float = field(default_factory=time.monotonic)

    @property
    def large(self) -> bool:
        """True where full sizes are carried; a CPU takes small ones from the same code."""
        return self.device.type == "cuda"

    def is_late(self, share: float = 1.0) -> bool:
        """Says whether a share of the time is over."""
        return time.monotonic() - self._since > 60 * share * self.minutes


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Args:
        title: What it compares, for the table.
        measure: Measures it.
        devices: The kinds of device that it says something about.
    """

    title: str
    measure: Measure
    devices: tuple[str, ...]


ROWS: dict[str, Entry] = {}
"""By name, in the order of the table."""


def row(name: str, title: str, *, devices: tuple[str, ...] = ("cpu", "cuda")) -> Callable[[Measure], Measure]:
    """Registers what measures a row."""

    def register(measure: Measure) -> Measure:
        if name in ROWS:
            raise ValueError(f"there are two rows {name}")
        ROWS[name] = Entry(title, measure, devices)
        return measure

    return register
