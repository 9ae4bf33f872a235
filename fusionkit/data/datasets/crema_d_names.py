"""The names of CREMA-D files, the clips that there are, and those of them that are broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

EMOTIONS: Mapping[str, str] = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
"""The emotions in the words of the dataset's authors, by their code."""

LEVELS: Mapping[str, str | None] = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
"""Requested strength of an emotion; only "It's eleven o'clock" was spoken at stated levels."""

SENTENCES: Mapping[str, str] = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
"""Sentences by their code."""

ACTORS = tuple(str(actor) for actor in range(1001, 1092))


@dataclass(frozen=True)
class CremaDName:
    """The name of a CREMA-D file: ``ACTOR_SENTENCE_EMOTION_LEVEL``.

    Args:
        actor: ``1001`` to ``1091``.
        sentence: One of the twelve codes of `SENTENCES`.
        emotion: The code of one of `EMOTIONS`.
        level: The code of one of `LEVELS`.

    Source:
        Cao et al. 2014, https://doi.org/10.1109/TAFFC.2014.2336244.

    Example:
        >>> name = CremaDName.parse("1001_IEO_ANG_HI")
        >>> name.actor, name.clip, EMOTIONS[name.emotion], LEVELS[name.level]
        ('1001', '1001_IEO_ANG_HI', 'anger', 'high')
    """

    actor: str
    sentence: str
    emotion: str
    level: str

    @classmethod
    def parse(cls, name: str) -> CremaDName:
        """Reads a name without its ending; the level ``X`` of one distributed file stands for ``XX``.

        Raises:
            ValueError: It is no name of CREMA-D; the message says which field is wrong.
        """
        found = re.fullmatch(r"([0-9]{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})", name)
        if found is None:
            raise ValueError(f"{name!r} is not actor, sentence, emotion and level, such as 1001_IEO_ANG_HI")
        actor, sentence, emotion, level = found.groups()
        level = "XX" if level == "X" else level
        if actor not in ACTORS:
            raise ValueError(f"{name!r}: the actor {actor} is outside {ACTORS[0]}..{ACTORS[-1]}")
        for what, given, known in (
            ("sentence", sentence, SENTENCES),
            ("emotion", emotion, EMOTIONS),
            ("level", level, LEVELS),
        ):
            if given not in known:
                raise ValueError(f"{name!r}: unknown {what} {given} (known: {', '.join(known)})")
        return cls(actor, sentence, emotion, level)

    @property
    def clip(self) -> str:
        """The name of the clip, which its film and its sound share."""
        return f"{self.actor}_{self.sentence}_{self.emotion}_{self.level}"


_NEVER_RECORDED = ("1002_TIE_NEU", "1008_WSI", "1009_MTI", "1019_ITH", "1076_ITS_NEU")


def list_distributed_clips() -> list[CremaDName]:
    """Lists all 7,442 clips that the authors distribute, in the order of their names.

    Every actor speaks every sentence with every emotion, one of them at three levels unless it is neutral; five actors
    lack one clip or one sentence.

    Example:
        >>> len(list_distributed_clips())
        7442
    """
    clips = [
        CremaDName(actor, sentence, emotion, level)
        for actor in ACTORS
        for sentence in sorted(SENTENCES)
        for emotion in sorted(EMOTIONS)
        for level in (("HI", "LO", "MD") if sentence == "IEO" and emotion != "NEU" else ("XX",))
    ]
    return [name for name in clips if not name.clip.startswith(_NEVER_RECORDED)]


def count_distributed_clips() -> Mapping[str, Mapping[str, int]]:
    """Counts by actor and emotion the clips that the authors distribute."""
    counts: dict[str, Counter[str]] = {actor: Counter() for actor in ACTORS}
    for name in list_distributed_clips():
        counts[name.actor][EMOTIONS[name.emotion]] += 1
    return counts


@dataclass(frozen=True)
class Fault:
    """A fault of a clip as it is distributed.

    Args:
        film: What is wrong with its film.
        sound_is_good: Whether its wav is what its name says.
    """

    film: str
    sound_is_good: bool


BROKEN: Mapping[str, Fault] = {
    "1076_MTI_NEU_XX": Fault("the film is very short and silent", sound_is_good=True),
    "1064_TIE_SAD_XX": Fault("the film has no duration", sound_is_good=True),
    "1076_MTI_SAD_XX": Fault(
        "film and sound are very short and silent, the picture is an error's", sound_is_good=False
    ),
    "1064_IEO_DIS_MD": Fault("film and sound last a minute and hold every emotion", sound_is_good=False),
}
"""The clips that do not show what their name says, as the authors list them.

Source:
    The section "Video Files" of https://github.com/CheyneyComputerScience/CREMA-D.
"""

SILENT: frozenset[str] = frozenset(
    {
        "1005_IWW_DIS_XX",
        "1007_IWL_HAP_XX",
        "1037_DFA_ANG_XX",
        "1037_WSI_DIS_XX",
        "1037_WSI_FEA_XX",
        "1037_WSI_SAD_XX",
        "1039_IWL_SAD_XX",
        "1039_WSI_SAD_XX",
        "1045_ITS_HAP_XX",
        "1045_WSI_DIS_XX",
        "1046_TIE_HAP_XX",
        "1058_IEO_SAD_HI",
        "1061_TIE_ANG_XX",
        "1063_IEO_DIS_HI",
        "1067_IEO_FEA_LO",
        "1068_IEO_SAD_MD",
        "1070_IWL_SAD_XX",
        "1071_WSI_ANG_XX",
        "1072_WSI_ANG_XX",
        "1073_MTI_SAD_XX",
        "1075_IWW_DIS_XX",
        "1075_WSI_DIS_XX",
        "1076_ITH_HAP_XX",
        "1076_ITH_NEU_XX",
        "1076_TAI_NEU_XX",
        "1079_IWL_ANG_XX",
        "1079_TAI_DIS_XX",
        "1091_IWW_FEA_XX",
    }
)
"""The 28 films that had no sound in copies from before 16 December 2020, from the same source; their wavs are good."""
