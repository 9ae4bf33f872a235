"""The tables of the page on performance, from the result files of speed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]

HEADER = (
    "| | what | figure | 95 % interval | noise | target | |",
    "| --- | --- | ---: | --- | --- | --- | --- |",
)
NOT_MEASURED = "Not measured yet: `python benchmarks/speed/measure.py --device {device}` makes this table.\n"


def write_speed(results: Path, generated: Path) -> None:
    """Writes ``speed_cpu.md`` and ``speed_cuda.md``, which the page includes."""
    for device in ("cpu", "cuda"):
        file = results / f"speed_{device}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        text = NOT_MEASURED.format(device=device) if found is None else speed_table(found)
        target = generated / f"speed_{device}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def speed_table(result: Result) -> str:
    """All rows of a result file: what was measured, and whether it reaches its target."""
    lines = list(HEADER)
    for name, row in result["rows"].items():
        if row["not_measured"]:
            lines.append(f"| {name} | {row['title']} | not measured: {row['not_measured']} | | | | |")
            continue
        lines.append(f"| {name} | {row['title']} | | | | | |")
        lines += [f"| | {' | '.join(cells(each))} |" for each in row["measurements"]]
    return "\n".join([*lines, "", *(f"{line}\n" for line in conditions(result))])


def cells(measurement: Mapping[str, Any]) -> Sequence[str]:
    """What, figure, interval, noise, target and verdict of a measurement."""
    of, target = measurement["measured"], measurement["target"]
    unit = f" {measurement['unit']}" if measurement["unit"] else ""
    figure = f"{rounded(of['median'] if 'median' in of else of['value'])}{unit}"
    noise = between(of["noise"]) if "noise" in of else ""
    told = f"{target['sign']} {target['limit']:g}" if target else ""
    if target and target["figure"] in ("high", "low"):
        told += f" ({target['figure']} end)"
    return measurement["what"], figure, between(of), noise, told, verdict(measurement)


def verdict(measurement: Mapping[str, Any]) -> str:
    """Whether the target is met; nothing where there is none."""
    target = measurement["target"]
    if target is None:
        return ""
    value = measurement["measured"][target["figure"]]
    reached = {
        "<=": value <= target["limit"],
        "<": value < target["limit"],
        ">=": value >= target["limit"],
    }[target["sign"]]
    return "met" if reached else "**missed**"


def conditions(result: Result) -> Sequence[str]:
    """With what the rows were made, once for all that share it."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for name, row in result["rows"].items():
        made = row["made"]
        key = (
            *(str(made[what]) for what in ("device", "platform", "torch", "threads", "processor", "rounds")),
            (made["commit"] or "")[:10],
            made["time"][:10],
        )
        shared.setdefault(key, []).append(name)
    return [
        f"{', '.join(names)}: {device}, {threads} threads of {processor}, {platform}, torch {torch}, {rounds} rounds, "
        f"commit {commit}, {day}."
        for (device, platform, torch, threads, processor, rounds, commit, day), names in shared.items()
    ]


def between(of: Mapping[str, Any]) -> str:
    """An interval, where there is one."""
    return f"{rounded(of['low'])} to {rounded(of['high'])}" if "low" in of else ""


def rounded(value: float) -> str:
    """Three figures behind the point of what is about one, no more than three digits of what is larger."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"
