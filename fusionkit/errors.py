"""Errors: where, what is wrong, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SCREENFUL = 4000
"""So many characters of an error are printed at most: what is above them nobody reads."""

_LONGEST = 1000
_MOST_PROBLEMS = 30
_LONGEST_NAME = 200


class FusionKitError(Exception):
    """The common class of every error that a user can cause and mend; printed, it fills a screen at most."""

    def __str__(self) -> str:
        return shorten(super().__str__(), SCREENFUL)


class ShapeError(FusionKitError, ValueError):
    """A tensor, a `Jagged` or a width does not fit the place it was given to."""


class ElementError(ShapeError):
    """An encoder fails of whole numbers that it was given, such as ids beyond its table.

    Args:
        message: What is wrong.
        value: The number that is the least likely to fit: the most negative one, or else the largest.
        modality: Whose encoder it is; empty until the network says it.
    """

    def __init__(self, message: str, value: int, modality: str = "") -> None:
        super().__init__(f"{modality}: {message}" if modality else message)
        self.message, self.value, self.modality = message, value, modality

    def __reduce__(self) -> tuple[type[ElementError], tuple[str, int, str]]:
        return type(self), (self.message, self.value, self.modality)


class TrainingError(FusionKitError):
    """Training cannot go on: a loss or a gradient is not finite, or nothing is left to train."""


class RunError(FusionKitError):
    """A run folder, a checkpoint or a card is missing, damaged, or belongs to something else."""


class ExportError(FusionKitError):
    """A network cannot be exported, or an exported file answers otherwise than the network."""


class FusionKitWarning(UserWarning):
    """Something was wrong and is mended without a loss, such as a damaged checkpoint for which there is an earlier."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        place: Where: a key path of a recipe, a row of a manifest, a file.
        message: What is wrong there, with the value that was given.
        remedy: What would be right; empty where the message says it already.
    """

    place: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place, message, remedy = (shorten(text, _LONGEST) for text in (self.place, self.message, self.remedy))
        text = f"{place}: {message}" if place else message
        return f"{text}; {remedy}" if remedy else text


class _ProblemsError(FusionKitError):
    """An error that lists everything that was found wrong, not only the first of it.

    `problems` holds all of it; printed is what fits on a screen, and how many there are more.
    """

    def __init__(self, problems: Sequence[Problem] | str, *, source: str = "") -> None:
        self.problems = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        self.source = source
        super().__init__(self._text())

    def within(self, place: str) -> list[Problem]:
        """Returns its problems as those of a part of something larger, such as a variant of an experiment."""
        return [Problem(f"{place}: {each.place}".rstrip(": "), each.message, each.remedy) for each in self.problems]

    def _text(self) -> str:
        prefix = f"{self.source}: " if self.source else ""
        if len(self.problems) == 1:
            problem, name = str(self.problems[0]), self.source.rpartition("/")[2]
            if name and problem.startswith(f"{name}, "):  # the place names the file already
                return f"{self.source}{problem.removeprefix(name)}"
            return f"{prefix}{problem}"
        lines = [f"{prefix}{len(self.problems)} problems"]
        room = SCREENFUL - len(lines[0])
        for line in (f"\n  - {problem}" for problem in self.problems[:_MOST_PROBLEMS]):
            room -= len(line)
            if room < 0 and len(lines) > 1:
                break
            lines.append(line)
        more = len(self.problems) + 1 - len(lines)
        return "".join(lines) + (f"\n  and {more} more" if more else "")


class RecipeError(_ProblemsError):
    """A recipe, an override or an experiment file is wrong; every problem of it is listed."""


class PluginError(RecipeError):
    """A run that may be somebody else's lists modules, which are not imported; every one is listed."""


class DataError(_ProblemsError):
    """Data are missing, damaged or contradict the recipe; every problem that was found is listed."""


def shorten(text: str, most: int) -> str:
    """Cuts a text where it is long: a list behind one of its entries, with how many more there are.

    Args:
        text: The text.
        most: So many characters are kept at most.

    Example:
        >>> shorten("known: gru, lstm, mlp, stft", 20)
        'known: gru, lstm and 2 more'
        >>> shorten("x" * 100, 5)
        'xxxxx... (95 more characters)'
    """
    if len(text) <= most:
        return text
    head = text[:most]
    separator = max(", ", "; ", "\n", key=head.rfind)
    end = head.rfind(separator)
    if end < most // 2:  # no list, or one whose next entry is what is long
        return f"{head}... ({len(text) - most} more characters)"
    return f"{text[:end]} and {text.count(separator, end)} more"


def suggest_names(given: str, known: Iterable[str]) -> str:
    """Names the closest known words, or all of them when none is close.

    Example:
        >>> suggest_names("lsmt", ["lstm", "gru"])
        "did you mean 'lstm'?"
        >>> suggest_names("xyz", ["lstm", "gru"])
        'known: gru, lstm'
    """
    words = sorted(set(known))
    lowered: dict[str, list[str]] = {}
    for word in words:  # MOTION is as near to motion as can be
        lowered.setdefault(word.lower(), []).append(word)
    near = difflib.get_close_matches(given.lower(), lowered, n=3, cutoff=0.6) if len(given) <= _LONGEST_NAME else []
    close = [word for each in near for word in lowered[each]][:3]
    if close:
        return "did you mean " + " or ".join(repr(word) for word in close) + "?"
    return "known: " + ", ".join(words) if words else "none is known"
