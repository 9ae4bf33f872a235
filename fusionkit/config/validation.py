"""The mistakes that pydantic finds, in the words of a recipe: where, what was given, what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fusionkit.errors import suggest_names

Place = tuple[str | int, ...]
Finding = tuple[Place, str, str]
"""A place in plain data, what is wrong there, and what would be right."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "none_required": "null",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
}

_MISSING = ("missing", "component_missing")

_LENGTHS = {
    "too_short": "{actual_length} entries are too few: at least {min_length}",
    "too_long": "{actual_length} entries are too many: at most {max_length}",
}


def list_findings(error: ValidationError, data: Any, known_keys: Callable[[Place], Iterable[str]]) -> list[Finding]:
    """Lists all mistakes of an error, each once.

    Args:
        error: What validation raised.
        data: The plain data that were validated: pydantic's places also name members of unions and positions in
            lists of one that were written without a list, the data do not.
        known_keys: The keys that are allowed at a place, for the remedy of an unknown one.
    """
    found: list[tuple[Finding, bool]] = []  # with whether it counts only where nothing else is wrong there or below
    expected: dict[Place, list[str]] = {}  # members of a union each say what they would have taken
    for item in error.errors(include_url=False):
        place = drop_unwritten(item["loc"], data, item["type"])
        wanted = _find_expected(item)
        if wanted is None:
            tentative = item["type"] == "too_short"  # wrong entries of a list are not counted as entries
            found.append(((place, *_describe_other(item, place, known_keys)), tentative))
        elif place in expected:
            expected[place] += [wanted] if wanted not in expected[place] else []
        else:
            expected[place] = [wanted]
            found.append(
                ((place, "", _find_remedy(item)), True)
            )  # of a union, the member that came furthest tells most
    places = {place for (place, _, _), _ in found}
    certain = {place for (place, _, _), tentative in found if not tentative}
    return [
        (place, message or _make_sentence(expected[place], find_value(data, place)), remedy)
        for (place, message, remedy), tentative in found
        if not tentative
        or not (place in certain or any(other != place and other[: len(place)] == place for other in places))
    ]


def quote(value: Any) -> str:
    """Quotes a value as a message does, cut where it is long.

    Example:
        >>> quote("x" * 100)
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def drop_unwritten(loc: Sequence[str | int], data: Any, kind: str = "") -> Place:
    """Drops from a place what the data do not have."""
    place: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif kind in _MISSING and index == len(loc) - 1:
            data = None
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        place.append(part)
    return tuple(place)


def find_value(data: Any, place: Place) -> Any:
    """Finds the value at a place; None where there is none."""
    for part in place:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _find_expected(item: Any) -> str | None:
    if item["loc"] and item["loc"][-1] == "[key]":
        return None
    template = _EXPECTED.get(item["type"])
    return None if template is None else template.format(**item.get("ctx", {}))


def _find_remedy(item: Any) -> str:
    if item["type"] not in ("literal_error", "enum") or not isinstance(item["input"], str):
        return ""
    words = [word.strip("'") for word in item["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    if item["input"] in words:  # a number that is written as text
        return "write it without quotation marks"
    remedy = suggest_names(item["input"], words)
    return remedy if remedy.startswith("did") else ""


def _make_sentence(expected: Sequence[str], given: Any) -> str:
    return f"{' or '.join(expected)} is expected, given {quote(given)}"


def _describe_other(item: Any, place: Place, known_keys: Callable[[Place], Iterable[str]]) -> tuple[str, str]:
    kind, context = item["type"], item.get("ctx", {})
    if kind in ("component", "component_missing"):
        return context["message"], context["remedy"]
    if kind == "extra_forbidden":
        return "unknown key", suggest_names(str(place[-1]), known_keys(place[:-1]))
    if kind == "missing":
        return "missing", "write schema: 1" if place == ("schema",) else "this key has no default"
    if item["loc"] and item["loc"][-1] == "[key]":
        return f"{item['input']!r} is no name", "a name is letters, digits and underscores, a letter first"
    if kind in _LENGTHS:
        return _LENGTHS[kind].format(**context), ""
    message = str(context["error"]) if kind in ("value_error", "assertion_error") else item["msg"]
    given = "" if kind == "value_error" and isinstance(item["input"], Mapping) else f", given {quote(item['input'])}"
    return f"{message[:1].lower()}{message[1:]}{given}", ""
