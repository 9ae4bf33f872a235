"""The result of a preparation: its figures, and every departure file by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.cache import Cache
from fusionkit.data.films.records import ClipRecord, Status
from fusionkit.storage.files import as_json, write_file

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Preparation:
    """The result of a preparation.

    Args:
        folder: The folder of prepared clips.
        report: The file that lists all departures in words.
        records: What is known of every clip, in the dataset's order.
        kept: How many of them were there already.
        deaths: By clip, why the process that prepared it died.
        spec: How they were prepared.
        notes: What the dataset says of its files: what there is, what is missing, left out or mended.
    """

    folder: Path
    report: Path
    records: Mapping[str, ClipRecord]
    kept: int
    deaths: Mapping[str, str]
    spec: PrepareSpec
    notes: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """Clips of a status."""
        return sum(record.status == status for record in self.records.values())

    @property
    def minutes(self) -> Mapping[str, float]:
        """Minutes of film and sound."""
        rates = {"video": self.spec.frame_rate, "audio": float(self.spec.sample_rate)}
        return {
            name: sum(record.lengths.get(name, 0) for record in self.records.values()) / rate / 60
            for name, rate in rates.items()
        }

    @property
    def departures(self) -> Mapping[str, int]:
        """Clips with a departure, by its kind; the commonest first."""
        kinds = Counter(
            kind for record in self.records.values() for kind in {departure.kind for departure in record.departures}
        )
        return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))

    @property
    def failed(self) -> Mapping[str, str]:
        """By clip, why it failed or why its process died."""
        failed = {name: record.reason for name, record in self.records.items() if record.status == "failed"}
        return {**failed, **self.deaths}

    @property
    def figures(self) -> dict[str, Any]:
        """Figures that do not depend on where the cache is and in how many goes it was made."""
        return {
            "notes": list(self.notes),
            "clips": len(self.records) + len(self.deaths),
            **{status: self.count(status) for status in STATUSES},
            "minutes": dict(self.minutes),
            "departures": dict(self.departures),
            "errors": dict(self.failed),
        }

    def plain(self) -> dict[str, Any]:
        """Returns all figures as plain data."""
        return {"folder": str(self.folder), "kept": self.kept, **self.figures}


def write_report(cache: Cache, result: Preparation) -> None:
    """Writes every departure, file by file, as data and in words.

    Raises:
        RunError: It cannot be written.
    """
    unplain = [record for record in result.records.values() if record.departures or record.status != "prepared"]
    plain = {**result.figures, "files": [record.plain() for record in unplain]}
    write_file(cache.report_file, as_json(plain))
    write_file(cache.written_report_file, "\n".join(_write_in_words(result, unplain)).encode())


def _write_in_words(result: Preparation, unplain: list[ClipRecord]) -> list[str]:
    counts = ", ".join(f"{result.count(status)} {status}" for status in STATUSES)
    lines = ["# Preparation", "", f"{len(result.records) + len(result.deaths)} clips: {counts}.", ""]
    lines += [f"- {_join_lines(note)}" for note in result.notes] + ([""] if result.notes else [])
    if result.departures:
        lines += ["| Departure | Clips |", "| --- | ---: |"]
        lines += [f"| {kind} | {count} |" for kind, count in result.departures.items()] + [""]
    for record in unplain:
        lines.append(f"- `{record.id}`: **{record.status}**")
        lines += [f"  - {departure.kind}: {_join_lines(departure.text)}" for departure in record.departures]
    lines += [f"- `{name}`: **not prepared**: {reason}" for name, reason in result.deaths.items()]
    return [*lines, ""]


def _join_lines(text: str) -> str:
    return " ".join(text.split())
