"""Actors: a face, a voice and a manner that stay the same from clip to clip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fusionkit.rendering.expressions import Manner
from fusionkit.rendering.looks import Look
from fusionkit.rendering.voice import Speaker


@dataclass(frozen=True)
class Actor:
    """Someone who plays.

    Args:
        name: As in the names of the clips.
        sex: ``male`` or ``female``.
        look: The face.
        speaker: The voice.
        manner: How emotions are expressed.
    """

    name: str
    sex: str
    look: Look
    speaker: Speaker
    manner: Manner

    @classmethod
    def cast(cls, name: str, sex: str, *, seed: int = 0, ambiguity: float = 1.0) -> Actor:
        """Casts the actor of a name, who depends on nothing but the arguments.

        Example:
            >>> Actor.cast("07", "male") == Actor.cast("07", "male", seed=1)
            False
        """
        return cls(
            name,
            sex,
            Look.draw(sex, make_generator(seed, "look", name)),
            Speaker.draw(sex, make_generator(seed, "voice", name)),
            Manner.draw(make_generator(seed, "manner", name), ambiguity),
        )


def make_generator(seed: int, *names: str) -> np.random.Generator:
    """Makes a generator of its own for a thing that has a name, whatever is made before it.

    Example:
        >>> first, again = (int(make_generator(0, "clip", "01-01").integers(1000)) for _ in range(2))
        >>> first == again
        True
    """
    digest = hashlib.sha256("\n".join([str(seed), *names]).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
