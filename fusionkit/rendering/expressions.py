"""Expressions of actors: what one clip shows of an emotion, as its actor plays it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionkit.rendering.emotions import (
    ACTION_SPREAD,
    ACTIONS,
    CUE_SPREAD,
    CUES,
    FACE_CONFUSIONS,
    FACES,
    STRENGTHS,
    VOICE_CONFUSIONS,
    VOICES,
)


@dataclass(frozen=True)
class Manner:
    """The manner in which one actor expresses every emotion: gains and habits in the order of `ACTIONS` and `CUES`.

    Args:
        face_gain: Factor on each action.
        face_habit: What the face does always, added to each action.
        voice_gain: Factor on each cue.
        voice_habit: Added to each cue.
    """

    face_gain: np.ndarray
    face_habit: np.ndarray
    voice_gain: np.ndarray
    voice_habit: np.ndarray

    @classmethod
    def draw(cls, generator: np.random.Generator, ambiguity: float = 1.0) -> Manner:
        """Draws an actor's manner; with ambiguity 0 every actor plays by the book."""
        actions, cues = len(ACTIONS), len(CUES)
        gains = [np.exp(0.15 * ambiguity * generator.standard_normal(size)) for size in (actions, cues)]
        habits = [ambiguity * generator.standard_normal(size) for size in (actions, cues)]
        return cls(gains[0], 0.6 * ACTION_SPREAD * habits[0], gains[1], 0.6 * _list_cue_spread() * habits[1])


@dataclass(frozen=True)
class Expression:
    """The content of one clip: each of `ACTIONS` at its height and each of `CUES`.

    Args:
        face: Actions, 0 to about 1.3.
        voice: Cues, in their units.
    """

    face: np.ndarray
    voice: np.ndarray


def express(
    emotion: str, intensity: str, manner: Manner, generator: np.random.Generator, ambiguity: float = 1.0
) -> Expression:
    r"""Draws what an actor shows of an emotion in one take; face and voice are drawn independently of each other.

    .. math::
        x = g \odot s \left( (1 - m)\, P_e + m\, P_o \right) + h + a \sigma z

    P are the prototypes of the emotion e and of the emotion o that it leans towards, which is drawn from
    `FACE_CONFUSIONS` or `VOICE_CONFUSIONS` and often is e itself; m, how far it leans, is drawn from Beta(4, 3), less
    far when played strongly; s is the intensity; g and h are the actor's gains and habits, a z of the take's spread.

    Args:
        emotion: One of `EMOTIONS`.
        intensity: ``low``, ``normal`` or ``strong``.
        manner: The actor's.
        generator: The take's.
        ambiguity: 0 shows the prototypes; 1 what people take for one another about as often as the tables say; the
            tables' shares and the spread grow with it.

    Source:
        The prototypes follow Ekman and Friesen's EMFACS for faces and, for voices, the directions that Juslin and
        Laukka 2003, https://doi.org/10.1037/0033-2909.129.5.770, table 7, and Scherer 2003,
        https://doi.org/10.1016/S0167-6393(02)00084-5, report. The directions of the confusions are those that studies
        of recognition by people report (fear with surprise and disgust with anger in faces; calm, neutral and sad, or
        happy, angry and surprised in voices); all numbers are ours.
    """
    strength = STRENGTHS[intensity]
    drawn: dict[str, Any] = {"strength": strength, "generator": generator, "ambiguity": ambiguity}
    face = _blend(emotion, FACES, ACTIONS, FACE_CONFUSIONS, **drawn)
    voice = _blend(emotion, VOICES, CUES, VOICE_CONFUSIONS, **drawn)
    face_noise = ambiguity * ACTION_SPREAD * generator.standard_normal(len(ACTIONS))
    voice_noise = ambiguity * _list_cue_spread() * generator.standard_normal(len(CUES))
    lowest = np.array([-math.inf, 0.3, -math.inf, -0.5, -math.inf, -math.inf, 0, 0, 0, 0, -math.inf])
    return Expression(
        np.clip(face * manner.face_gain + manner.face_habit + face_noise, 0.0, 1.3),
        np.maximum(voice * manner.voice_gain + manner.voice_habit + voice_noise, lowest),
    )


def _blend(
    emotion: str,
    prototypes: Mapping[str, Mapping[str, float]],
    names: tuple[str, ...],
    confusions: Mapping[str, Mapping[str, float]],
    *,
    strength: float,
    generator: np.random.Generator,
    ambiguity: float,
) -> np.ndarray:
    """Blends the prototype of an emotion with another, as strong as the intensity says."""
    point, lean = generator.random(), generator.beta(4.0, 3.0)
    shown = _list_values(prototypes[emotion], names)
    for other, share in confusions[emotion].items():
        point -= share * ambiguity
        if point < 0:
            mixed = min(1.0, lean / math.sqrt(strength)) * min(1.0, ambiguity)
            shown = (1 - mixed) * shown + mixed * _list_values(prototypes[other], names)
            break
    resting = _list_values(prototypes["neutral"], names)
    blend: np.ndarray = resting + strength * (shown - resting)
    return blend


def _list_values(values: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in names])


def _list_cue_spread() -> np.ndarray:
    return _list_values(CUE_SPREAD, CUES)
