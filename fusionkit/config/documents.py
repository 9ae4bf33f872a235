"""Plain data that become records: files, mappings and overrides, with the place of every problem."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fusionkit.config.validation import Finding, Place, find_value, list_findings, quote
from fusionkit.config.yaml import MAX_DEPTH, Document, read_yaml, read_yaml_file
from fusionkit.errors import Problem, RecipeError, RunError

ComponentCheck = Callable[[str, str, Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[Finding]]]
"""``check(kind, name, options)`` gives the completed options and what is wrong with them."""

R = TypeVar("R", bound=BaseModel)


def read_document(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[Document, str]:
    """Reads a file or mapping as plain data, applies overrides, and names it for messages.

    Raises:
        RecipeError: The file cannot be read, is not YAML, or an override cannot be applied.
    """
    if isinstance(source, Mapping):
        problems: list[Problem] = []
        document, name = Document(_plain(source, (), problems), {}), ""
    else:
        name = str(source)
        document, problems = read_yaml_file(Path(source)), []
    if not isinstance(document.value, dict):
        given = "an empty document" if document.value is None else quote(document.value)
        remedy = "begin with schema: 1, then data, model and train of a recipe, or recipe and variants of an experiment"
        raise RecipeError([Problem("", f"a mapping of keys is expected, given {given}", remedy)], source=name)
    overridden: dict[Place, str] = {}
    problems += [problem for text in overrides if (problem := _override(document.value, text, overridden))]
    if problems:
        raise RecipeError(problems, source=name)
    return replace(document, overridden=overridden), name


def parse(record: type[R], document: Document, name: str, check: ComponentCheck | None = None) -> R:
    """Makes a checked record of plain data.

    Raises:
        RecipeError: Every problem of the data, with place, value and remedy.
    """
    made, found = _validate(record, document, check)
    if made is None:
        raise RecipeError(_placed(found, document), source=name)
    return made


def parse_valid_part(
    record: type[R], document: Document, check: ComponentCheck | None = None
) -> tuple[R | None, list[Problem]]:
    """Makes a record of what is right in plain data, so that more can be checked than what is wrong with its keys.

    What is wrong is left out, again and again until the rest is valid.

    Returns:
        The record, None where nothing valid is left without what is wrong; and every problem.
    """
    left = replace(document, value=copy.deepcopy(document.value))
    problems, left_out = list[Problem](), set[Place]()
    made, found = _validate(record, left, check)
    while made is None:
        # What is missing now because it was left out is no mistake of the file.
        own = [each for each in found if not any(place[: len(each[0])] == each[0] for place in left_out)]
        problems += _placed(own, document)
        places = {path for path, *_ in found}
        for path in sorted(places, key=_place_in_order, reverse=True):  # later positions of a list go first
            if not _leave_out(left.value, path):
                return None, problems
        left_out |= places
        made, found = _validate(record, left, check)
    return made, problems


def _validate(record: type[R], document: Document, check: ComponentCheck | None) -> tuple[R | None, Sequence[Finding]]:
    try:
        return record.model_validate_json(json.dumps(document.value), context={"check": check}), ()
    except ValidationError as error:
        return None, list_findings(error, document.value, lambda place: _known_keys(record, place))


def _placed(found: Sequence[Finding], document: Document) -> list[Problem]:
    return [Problem(written_place(path, document), message, remedy) for path, message, remedy in found]


def _place_in_order(place: Place) -> tuple[tuple[bool, int, str], ...]:
    """Orders places, positions in lists by number."""
    return tuple((isinstance(p, str), p if isinstance(p, int) else 0, str(p)) for p in place)


def _leave_out(tree: Any, place: Place) -> bool:
    """Removes what stands at a place of plain data, or the nearest thing around it; never all of them."""
    for end in range(len(place), 0, -1):
        *above, last = place[:end]
        home = find_value(tree, tuple(above))
        inside = isinstance(home, dict) and last in home
        if inside or (isinstance(home, list) and isinstance(last, int) and last < len(home)):
            del home[last]
            return True
    return False


def check_shape(shape: type[R], value: Any, place: str) -> R:
    """Returns plain data as a record; refuses them where a key is missing or a value is of another kind.

    Args:
        shape: What is expected.
        value: What a file of a run or an experiment holds.
        place: The file, and the line where it has several documents.

    Raises:
        RunError: Every key that is wrong.
    """
    try:
        return shape.model_validate(value, strict=True)
    except ValidationError as error:
        found = list_findings(error, value, lambda _: ())
        told = [f"{written_place(where, Document(None, {})) or 'it'}: {message}" for where, message, _ in found]
        raise RunError(f"{place}: is damaged; {'; '.join(told)}") from None


def written_place(path: Place, document: Document) -> str:
    """Writes a key path as messages show it, with the line or the override that it comes from."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    for end in range(len(path), 0, -1):
        if path[:end] in document.overridden:
            return f"override {document.overridden[path[:end]]!r}: {place}"
        if path[:end] in document.lines:
            return f"line {document.lines[path[:end]]}: {place}"
    return place


def _plain(value: Any, place: Place, problems: list[Problem]) -> Any:
    """Mappings as dicts, sequences as lists, everything else that is no plain value a problem."""
    if isinstance(value, str):
        return _text(value, place, problems)
    if value is None or isinstance(value, bool | int | float):
        return value
    if len(place) >= MAX_DEPTH:
        problems.append(Problem(written_place(place, Document(None, {})), f"nested deeper than {MAX_DEPTH} levels"))
        return None
    if isinstance(value, Mapping):
        texts = [_text(str(key), place, problems) for key in value]
        return {key: _plain(value, (*place, key), problems) for key, value in zip(texts, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, index), problems) for index, item in enumerate(value)]
    message = f"a value of type {type(value).__name__} is no plain data"
    where = written_place(place, Document(None, {}))
    problems.append(Problem(where, message, "a spec holds numbers, text, lists and mappings"))
    return None


def _text(text: str, place: Place, problems: list[Problem]) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        problems.append(Problem(written_place(place, Document(None, {})), f"{text!r} is not Unicode text"))
    return text


def _override(tree: dict[str, Any], text: str, overridden: dict[Place, str]) -> Problem | None:
    path, separator, value_text = text.partition("=")
    keys = path.split(".")
    where = f"override {text!r}"
    if not separator or not all(keys):
        return Problem(where, "is not key.path=value", "for example train.epochs=10")
    try:
        value = _value_of(path, value_text, where)
    except RecipeError as error:
        return Problem(where, str(error.problems[0]))
    node: Any = tree
    place: Place = ()
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        slot: Any = key
        if isinstance(node, list):
            if key not in map(str, range(len(node))):
                return Problem(where, f"{key!r} is no position in a list of {len(node)}", "positions count from 0")
            slot = int(key)
        place = (*place, slot)
        if following is None:
            node[slot] = value
            overridden[place] = text
            return None
        below = node[slot] if isinstance(node, list) else node.get(key)
        if isinstance(below, str):
            below = {"type": below}  # a bare name is a component that takes every default
        elif below is None:
            below = {}
            overridden.setdefault(place, text)
        elif not isinstance(below, dict | list):
            return Problem(where, f"{key!r} holds {quote(below)}, which has no keys")
        node[slot] = below
        node = below
    return None


def _value_of(path: str, text: str, where: str) -> Any:
    # An empty text is null in YAML. Here it is what a variable of a shell that is not set leaves.
    if not text.strip():
        raise RecipeError(
            [Problem("", "gives no value", f"{path}=null takes the default, {path}='\"\"' is an empty text")]
        )
    return read_yaml(text, where).value


def find_fields(fields: Any, part: str | int) -> Any:
    """Finds what a key of a record, or of a mapping of records, leads to: a record, or another annotation."""
    found = getattr(fields, "model_fields", {}).get(part)
    annotation = found.annotation if found else fields
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    records = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
    return (records or arguments)[-1] if arguments else fields


def _known_keys(record: type[BaseModel], path: Place) -> list[str]:
    fields: Any = record
    for part in path:
        fields = find_fields(fields, part)
    if isinstance(fields, type) and issubclass(fields, BaseModel):
        return [field.alias or name for name, field in fields.model_fields.items()]
    return []
