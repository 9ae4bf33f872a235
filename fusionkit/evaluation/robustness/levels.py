"""The strength of every corruption, level by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fusionkit.errors import Problem, RecipeError

CORRUPTIONS = ("missing", "noise", "shift", "swap")
"""Corruptions of a modality, in the order of reports."""

OPTIONS = {
    "missing": "--missing",
    "noise": "--noise",
    "shift": "--shift",
    "shift_share": "--shift-percent",
    "swap": "--swap",
}
"""Options of `fusionkit stress`, by the levels that they give."""

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
BOUNDS = {"missing": (0.0, 1.0), "noise": (0.0, math.inf), "shift_share": (-1.0, 1.0), "swap": (0.0, 1.0)}


@dataclass(frozen=True)
class Levels:
    """The levels of every corruption, in rising order; 0, which leaves everything as it is, is always among them.

    Args:
        missing: Shares of the samples that lack the modality, of those that have it.
        noise: Standard deviations of the noise, in standard deviations of the modality. Level s is a signal-to-noise
            ratio of -20 log10(s) dB, the signal being what varies in the modality.
        shift: Seconds by which the modality comes late, or early where they are negative.
        shift_share: The same where a modality has no rate: shares of each sample's length.
        swap: Shares of the samples whose modality is taken from another sample, of those that have it.

    Raises:
        RecipeError: A level is outside its range, or not finite; all of them are listed.

    Example:
        >>> Levels(noise=(2.0, 1.0)).noise
        (0.0, 1.0, 2.0)
    """

    missing: Sequence[float] = SHARES
    noise: Sequence[float] = (0.25, 0.5, 1.0, 2.0)
    shift: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0)
    shift_share: Sequence[float] = (0.05, 0.1, 0.25, 0.5)
    swap: Sequence[float] = SHARES

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            low, high = BOUNDS.get(field.name, (-math.inf, math.inf))
            given = getattr(self, field.name)
            problems += [
                Problem(f"levels of {field.name}", f"{_shown(level, high)} is no level", _range_of(low, high))
                for level in given
                if not (math.isfinite(level) and low <= level <= high)
            ]
            object.__setattr__(self, field.name, tuple(sorted({0.0, *map(float, given)})))
        if problems:
            raise RecipeError(problems)


def corruption_of(levels: str) -> str:
    """Returns the corruption whose strength levels say.

    Example:
        >>> corruption_of("shift_share"), corruption_of("noise")
        ('shift', 'noise')
    """
    return levels.removesuffix("_share")


def _shown(level: float, high: float) -> str:
    """Writes a level in the words of who gave it: shares, which alone have an upper end, are given in per cent."""
    return f"{100 * level:g} %" if math.isfinite(high) else f"{level:g}"


def _range_of(low: float, high: float) -> str:
    if math.isfinite(high):
        return f"a share between {_shown(low, high)} and {_shown(high, high)} is expected"
    return "a finite number is expected" + (f", {low:g} or more" if math.isfinite(low) else "")
