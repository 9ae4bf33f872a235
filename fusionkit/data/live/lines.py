"""Rows of sensors as lines of JSON: ``{"t": 0.1, "motion": [0.2, 9.8, 0.1]}``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from threading import Event
from typing import Any

from fusionkit.data.live.devices import Clock, Signal, Tell, wait_until
from fusionkit.errors import suggest_names
from fusionkit.storage.records.inputs import InputModality

_FAR = 10.0
"""Seconds that a line may lie ahead without a word: one in milliseconds would be waited for for hours."""

_LONGEST = 1_000_000
"""Characters of a line."""


def read_lines(
    lines: Iterable[str], modalities: Mapping[str, InputModality], clock: Clock, stop: Event, tell: Tell
) -> Iterator[Signal]:
    """Yields the rows of lines as they come; lines that are none are told and passed over.

    A line is an object of modalities with an element or several each, and ``t``, the seconds of the first. The first
    line is of the time when it comes, whatever its ``t``. Without ``t`` a line is of the time when it comes, or
    follows the one before at the rate of the modality where it comes earlier. Lines that come before their time, as out
    of a file, wait for it.

    Args:
        lines: The lines.
        modalities: Those that a line may have.
        clock: The time of the recording.
        stop: Ends the reading.
        tell: What is told of a line.
    """
    begin: tuple[float, float] | None = None
    ends = dict.fromkeys(modalities, 0.0)
    for number, line in enumerate(lines, start=1):
        if stop.is_set():
            return
        if not line.strip():
            continue
        origin = f"line {number}"
        try:
            row = _parse(line, modalities)
        except ValueError as error:
            tell(f"{origin}: {error}; passed over")
            continue
        stamp = row.pop("t", None)
        if stamp is None:
            at = max([clock.now(), *(ends[name] for name in row)])
        else:
            begin = begin or (clock.now(), stamp)
            at = begin[0] + stamp - begin[1]
        if at - clock.now() > _FAR:
            tell(f"{origin}: by its t it comes in {at - clock.now():,.0f} s, and is waited for; t are seconds")
        wait_until(at, clock, stop)
        for modality, elements in row.items():
            ends[modality] = at + _measure_seconds(elements, modalities[modality])
            yield Signal(modality, at, elements, origin)


def _measure_seconds(elements: Any, stated: InputModality) -> float:
    """Measures how long the elements of a line last; those of wrong shapes are refused where they are pushed."""
    within = elements
    for _ in stated.shape:
        within = within[0] if isinstance(within, list) and within else None
    several = isinstance(within, list) and isinstance(elements, list)
    return (len(elements) if several else 1) / stated.rate if stated.rate else 0.0


def _parse(line: str, modalities: Collection[str]) -> dict[str, Any]:
    """Parses a line.

    Raises:
        ValueError: It is no row of these modalities; the message says why.
    """
    example = f'{{"t": 0.1, "{next(iter(modalities), "motion")}": [...]}}'
    if len(line) > _LONGEST:
        raise ValueError(f"has over {_LONGEST:,} characters")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"is no JSON; a row is {example}") from None
    if not isinstance(row, dict):
        raise ValueError(f"is no object; a row is {example}")
    unknown = [name for name in row if name != "t" and name not in modalities]
    if unknown:
        raise ValueError(f"has no modality {unknown[0]!r}; {suggest_names(unknown[0], modalities)}")
    if len(row) == ("t" in row):
        raise ValueError(f"holds no modality; a row is {example}")
    stamp = row.get("t")
    if stamp is not None and (not isinstance(stamp, (int, float)) or isinstance(stamp, bool) or not abs(stamp) < 1e12):
        raise ValueError(f"has t = {stamp!r}, which is no number of seconds")
    return row
