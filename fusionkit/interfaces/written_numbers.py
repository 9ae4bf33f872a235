"""The one grammar of numbers in tables, for inputs and targets alike."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_WHOLE_DECIMAL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0*)?")


class WrittenNumber(float):
    r"""A number that a table writes as text, and the text, which is its name where it is a class.

    .. math::
        [+-]? \; (\mathrm{whole} \; [. \; \mathrm{digits}] \mid . \; \mathrm{digits}) \;
        [\mathrm{e} \; [+-]? \; \mathrm{digits}]

    Digits are 0 to 9, and a whole part of several digits does not begin with 0. So ``007``, ``1_000``, ``1,5``,
    ``0x1F``, ``inf`` and digits of other scripts are words.

    Args:
        text: A number of this grammar.

    Raises:
        ValueError: The text is none, or a number that is too large for a float.

    Example:
        >>> WrittenNumber("1.10") + 1, WrittenNumber("1.10").text
        (2.1, '1.10')
    """

    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        """Reads the text."""
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is no number{_hint(text)}")
        number = super().__new__(cls, text)
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is no finite number")
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[WrittenNumber], tuple[str]]:
        return type(self), (self.text,)


def is_number(text: str) -> bool:
    """Tells whether a text is a finite number of the grammar.

    Example:
        >>> [is_number(text) for text in ("-1.5e-3", "+1", ".5", "007", "1_1", "1,5", "inf", "1e999")]
        [True, True, True, False, False, False, False, False]
    """
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def is_whole(text: str) -> bool:
    """Tells whether a text is written as an integer of at most 18 digits is, so that the integer can stand for it.

    Example:
        >>> [is_whole(text) for text in ("12", "-3", "0", "+3", "-0", "1.0", "1e1", "07", "9" * 19)]
        [True, True, True, False, False, False, False, False, False]
    """
    return bool(_WHOLE.fullmatch(text))


def class_names(value: int | float | str) -> tuple[str, ...]:
    """Returns the names that a target may have as a class: as it is written, and a whole number without its point.

    Tables write whole classes as ``1.0`` where others of the column are missing, so ``1.0`` is the class ``1`` too;
    ``1e1`` and ``+1`` are what is written and nothing else.

    Example:
        >>> class_names("happy"), class_names(3), class_names(3.0), class_names(WrittenNumber("1e1"))
        (('happy',), ('3',), ('3.0', '3'), ('1e1',))
    """
    text = value.text if isinstance(value, WrittenNumber) else str(value).strip()
    found = None if isinstance(value, str) else _WHOLE_DECIMAL.fullmatch(text)
    if found is None and isinstance(value, float) and not isinstance(value, WrittenNumber) and value.is_integer():
        return (text, str(int(value)))
    whole = found.group(1) if found else text
    return tuple(dict.fromkeys((text, "0" if whole == "-0" else whole)))


def find_class(value: object, classes: tuple[str, ...]) -> str | None:
    """Finds the class that a target names, as it is written or by the whole number that it is; None if it names none.

    Example:
        >>> find_class("happy", ("calm", "happy")), find_class(3.0, ("2", "3")), find_class("3.0", ("2", "3"))
        ('happy', '3', None)
    """
    names = class_names(value) if isinstance(value, str | int | float) else (str(value),)
    return next((name for name in names if name in classes), None)


def _hint(text: str) -> str:
    """Says what is probably meant by a text that is nearly a number."""
    plain = text.replace("\u2212", "-").replace("\u2013", "-")
    if plain != text and _NUMBER.fullmatch(plain):
        return ": write the sign as -"
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?", text):
        return ": write a decimal point, not a comma, and no separators between digits"
    if re.fullmatch(r"[+-]?[0-9]{1,3}(?:[ ,._'\u00a0\u202f\u2009][0-9]{3})+(?:[.,][0-9]+)?", text) or "_" in text:
        return ": write no separators between digits"
    if re.fullmatch(r"[+-]?0[0-9]+(?:\.[0-9]*)?", text):
        return ": leading zeros make it a code"
    if not text.isascii() and any(sign.isdecimal() for sign in text):
        return ": write digits from 0 to 9"
    return ""
