"""The differences of two recipes, by which a training of one may or may not go on with the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from fusionkit.config.components.registry import REGISTRIES
from fusionkit.config.components.specs import ComponentSpec
from fusionkit.config.field_marks import ANY_ORDER, NO_RESULT, Mark
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe


def find_differences(there: Recipe, given: Recipe) -> list[str]:
    """Finds the keys in which two recipes differ so that their trainings do.

    A field whose type is marked `NO_RESULT` may differ. The order of a mapping's keys counts, since networks are built
    and numbers are drawn in it, unless its type is marked `ANY_ORDER`. Keys of records and of components have no order.

    Args:
        there: A complete recipe.
        given: Another one.

    Returns:
        By key that differs, its place and both values; nothing where a training of one may go on with the other.
    """
    if (there.data.prepare is None) != (given.data.prepare is None):  # None takes the defaults
        there, given = (
            each if each.data.prepare else load_recipe(each, ["data.prepare={}"]) for each in (there, given)
        )
    return list(_find_below(_Kind(Recipe), there.plain(), given.plain(), ""))


@dataclass(frozen=True)
class _Kind:
    """The values that a recipe may have at a place.

    Args:
        type: A record, or the type of a mapping or of a list; None where it is something else or not known.
        marks: Its marks.
        ordered: Whether the order of a mapping's keys counts there and below.
    """

    type: Any
    marks: frozenset[Mark] = frozenset()
    ordered: bool = True

    @property
    def is_record(self) -> bool:
        """True where its keys are fields."""
        return isinstance(self.type, type) and issubclass(self.type, BaseModel)

    def descend(self, key: str | int, value: Any) -> _Kind:
        """Returns what may be said at a key, given what stands there."""
        annotation, marks = None, set[Mark]()
        if self.is_record:
            if (field := self.type.model_fields.get(key)) is not None:
                annotation, marks = field.annotation, _pick_marks(field.metadata)
        elif arguments := get_args(self.type):
            annotation = arguments[-1 if isinstance(key, str) else 0]
        found = None
        for member in _list_members(annotation, marks):
            if found is None and _may_be(member, value):
                found = member
        return _Kind(found, frozenset(marks), self.ordered and ANY_ORDER not in marks)


def _may_be(member: Any, value: Any) -> bool:
    origin = get_origin(member) or member
    if isinstance(value, dict):
        return origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, BaseModel))
    return isinstance(value, list) and origin in (list, tuple)


def _pick_marks(metadata: Iterable[Any]) -> set[Mark]:
    return {each for each in metadata if isinstance(each, Mark)}


def _list_members(annotation: Any, marks: set[Mark]) -> Iterator[Any]:
    """Yields the members of a union, if it is one; notes the marks on it and on them."""
    if get_origin(annotation) is Annotated:
        held, *metadata = get_args(annotation)
        marks |= _pick_marks(metadata)
        yield from _list_members(held, marks)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _list_members(member, marks)
    else:
        yield annotation


def _find_below(kind: _Kind, there: Any, given: Any, place: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(given, dict):
        if kind.is_record and issubclass(kind.type, ComponentSpec):
            kind = _Kind(_find_options(kind.type, there, given), ordered=kind.ordered)
        elif kind.ordered and not kind.is_record and there.keys() == given.keys() and list(there) != list(given):
            yield f"{place} ({', '.join(there)} in this order there, {', '.join(given)} given)"
        for key in [*there, *(key for key in given if key not in there)]:
            one, other = there.get(key), given.get(key)
            below = kind.descend(key, one if isinstance(one, dict | list) else other)
            if NO_RESULT not in below.marks:
                yield from _find_below(below, one, other, f"{place}.{key}" if place else str(key))
    elif isinstance(there, list) and isinstance(given, list) and len(there) == len(given):
        for index, (one, other) in enumerate(zip(there, given, strict=True)):
            yield from _find_below(kind.descend(index, one), one, other, f"{place}[{index}]")
    elif there != given:
        yield f"{place} ({json.dumps(there)} there, {json.dumps(given)} given)"


def _find_options(spec: type[ComponentSpec], there: Mapping[str, Any], given: Mapping[str, Any]) -> type[BaseModel]:
    """Finds the record of a component's options; of two different ones, or an unknown one, what all have."""
    name, known = there.get("type"), REGISTRIES[spec.kind]
    return known.get(str(name)).options if name == given.get("type") and name in known else spec
