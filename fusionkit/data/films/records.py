"""Records of prepared clips, and of what departed from the plain case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Status = Literal["prepared", "dropped", "failed"]


@dataclass(frozen=True)
class Departure:
    """Something in which a film or sound departs from a plain one.

    Args:
        kind: A few words by which departures are counted, such as ``"no sound"``.
        text: What was found, and what was made of it.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Source:
    """A film or sound that a clip was prepared from.

    Args:
        role: ``film`` or ``sound``.
        name: The file's name.
        state: Its size and the time of its last change; ``absent`` where it is not there.
        sha256: The hash of its bytes; empty where it is not there.
    """

    role: str
    name: str
    state: str
    sha256: str


@dataclass(frozen=True)
class ClipRecord:
    """The cache's record of a clip.

    Args:
        id: The clip.
        status: Whether it was prepared, dropped by a policy, or failed.
        reason: Why it was dropped or failed.
        detector: The version of the face detector.
        sources: What it was prepared from.
        lengths: Elements by modality; one that is missing is left out.
        departures: Everything in which its film and sound depart from plain ones.
        sha256: The hash of the file's content.
    """

    id: str
    status: Status
    reason: str
    detector: str
    sources: tuple[Source, ...]
    lengths: Mapping[str, int]
    departures: tuple[Departure, ...]
    sha256: str = ""

    def plain(self) -> dict[str, Any]:
        """Returns the record as plain data."""
        return asdict(self)

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> ClipRecord:
        """Makes the record of plain data.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of another kind.
            ValueError: The status is none of the known ones.
        """
        if plain["status"] not in get_args(Status):
            raise ValueError(f"the status {plain['status']!r} is none of {', '.join(get_args(Status))}")
        return cls(
            id=plain["id"],
            status=plain["status"],
            reason=plain["reason"],
            detector=plain["detector"],
            sources=tuple(Source(**source) for source in plain["sources"]),
            lengths=dict(plain["lengths"]),
            departures=tuple(Departure(**departure) for departure in plain["departures"]),
            sha256=plain["sha256"],
        )
