"""The names of RAVDESS files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fusionkit.errors import Problem
from fusionkit.interfaces import RawTarget

CHANNELS = ("speech", "song")
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES = ("normal", "strong")
STATEMENTS = ("kids", "dogs")
SEXES = ("male", "female")

_TAKES = {"neutral": 4} | dict.fromkeys(EMOTIONS[1:], 8)
_SUNG = {emotion: _TAKES[emotion] for emotion in EMOTIONS[:6]}
WHOLE: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "speech": {f"{actor:02}": _TAKES for actor in range(1, 25)},
    "song": {f"{actor:02}": _SUNG for actor in range(1, 25) if actor != 18},
}
"""By channel, actor and emotion, the takes of the whole dataset: 1,440 spoken and 1,012 sung ones."""


@dataclass(frozen=True)
class RavdessName:
    """The name of a RAVDESS file: ``MM-VV-EE-II-SS-RR-AA``.

    Args:
        modality: 1 film with sound, 2 film without, 3 sound alone.
        channel: 1 speech, 2 song.
        emotion: One of eight.
        intensity: ``normal`` or ``strong``; neutral is never strong.
        statement: ``kids`` ("Kids are talking by the door") or ``dogs`` ("Dogs are sitting by the door").
        repetition: 1 or 2.
        actor: 1 to 24; odd actors are male.

    Source:
        Livingstone and Russo 2018, https://doi.org/10.1371/journal.pone.0196391.

    Example:
        >>> name = RavdessName.parse("03-01-06-02-01-02-12")
        >>> name.emotion, name.sex, name.clip
        ('fearful', 'female', '01-06-02-01-02-12')
    """

    modality: int
    channel: int
    emotion: str
    intensity: str
    statement: str
    repetition: int
    actor: int

    highest: ClassVar[tuple[int, ...]] = (3, 2, 8, 2, 2, 2, 24)

    @classmethod
    def parse(cls, name: str) -> RavdessName:
        """Reads a name without its ending.

        Raises:
            ValueError: It is no name of RAVDESS; the message says which field is wrong.
        """
        if not re.fullmatch(r"[0-9]{2}(-[0-9]{2}){6}", name):
            raise ValueError(f"{name!r} is not seven numbers of two digits, such as 03-01-06-01-02-01-12")
        codes = [int(code) for code in name.split("-")]
        fields = ("modality", "channel", "emotion", "intensity", "statement", "repetition", "actor")
        for field, code, highest in zip(fields, codes, cls.highest, strict=True):
            if not 1 <= code <= highest:
                raise ValueError(f"{name!r}: the {field} {code:02} is outside 01..{highest:02}")
        modality, channel, emotion, intensity, statement, repetition, actor = codes
        if (emotion, intensity) == (1, 2):
            raise ValueError(f"{name!r}: neutral is never strong")
        return cls(
            modality,
            channel,
            EMOTIONS[emotion - 1],
            INTENSITIES[intensity - 1],
            STATEMENTS[statement - 1],
            repetition,
            actor,
        )

    @property
    def sex(self) -> str:
        """``male`` or ``female``."""
        return SEXES[(self.actor + 1) % 2]

    @property
    def group(self) -> str:
        """The actor with two digits."""
        return f"{self.actor:02}"

    @property
    def clip(self) -> str:
        """The name without its modality: what the sound and the film of one take share."""
        codes = (
            self.channel,
            EMOTIONS.index(self.emotion) + 1,
            INTENSITIES.index(self.intensity) + 1,
            STATEMENTS.index(self.statement) + 1,
            self.repetition,
            self.actor,
        )
        return "-".join(f"{code:02}" for code in codes)

    @property
    def targets(self) -> Mapping[str, RawTarget | None]:
        """Everything that a network may be asked for."""
        return {"emotion": self.emotion, "intensity": self.intensity, "statement": self.statement, "sex": self.sex}


def parse_name(name: str, place: str, problems: list[Problem]) -> RavdessName | None:
    """Parses a name; notes a problem at its place, and gives nothing, where it is another."""
    try:
        return RavdessName.parse(name)
    except ValueError as error:
        problems.append(Problem(place, str(error)))
        return None
