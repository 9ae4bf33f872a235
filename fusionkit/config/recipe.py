"""Recipes: the schema meets the registry, components are checked, and defaults are written out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fusionkit.config.components.registry import REGISTRIES, check_component
from fusionkit.config.components.specs import ComponentSpec, LossHeadSpec
from fusionkit.config.documents import find_fields, parse, read_document, written_place
from fusionkit.config.plugins import import_plugins
from fusionkit.config.schema import Recipe
from fusionkit.config.shipped_recipes import locate_recipe
from fusionkit.config.trust import refuse_plugins
from fusionkit.config.validation import Place, find_value
from fusionkit.config.yaml import Document
from fusionkit.errors import PluginError, Problem, RecipeError
from fusionkit.interfaces import LossHead

R = TypeVar("R", bound=BaseModel)


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    plugins: Collection[str] | None = None,
) -> Recipe:
    """Reads a recipe, imports the plugins it lists, checks every key and component, and writes every default out.

    A `Recipe` comes from here and is trusted: without overrides it is returned as it is.

    Args:
        source: A YAML file, the name of a shipped recipe, a mapping, or a `Recipe`.
        overrides: ``key.path=value``, applied before anything is checked.
        plugins: Of a recipe that is not the user's own, the modules that it may import, beside installed plugins and
            those of `fusionkit.allow`. Left out, it imports all that it lists, for importing is running.

    Raises:
        RecipeError: Every problem of the recipe, with place, value and remedy.
        PluginError: It lists modules that it may not import; nothing was imported.
    """
    if isinstance(source, Recipe) and not overrides:
        return source
    plain = source.plain() if isinstance(source, Recipe) else source
    if not isinstance(plain, Mapping):
        plain = locate_recipe(plain)
    document, name = read_document(plain, overrides)
    if {"variants", "recipe"} & set(document.value) and "model" not in document.value:
        kind, command = ("a comparison", "compare") if "budget" in document.value else ("an experiment", "experiment")
        raise RecipeError(f"is {kind}, not a recipe; run it with `fusionkit {command}`", source=name)
    refused = [] if plugins is None else refuse_plugins(_list_plugins(document), plugins)
    if refused:
        raise PluginError(_placed(refused, document), source=name)
    return check_document(Recipe, document, name)


def check_document(record: type[R], document: Document, name: str = "") -> R:
    """Makes of a document, or of a part of one, a record with checked and completed components.

    Raises:
        RecipeError: Every problem of the document, with place, value and remedy.
    """
    problems = _placed(import_plugins(_list_plugins(document)), document)
    _name_defaults(record, document)
    try:
        checked = parse(record, document, name, check_component)
    except RecipeError as error:
        raise RecipeError([*problems, *error.problems], source=name) from None
    if problems:
        raise RecipeError(problems, source=name)
    return checked


def _name_defaults(record: type[BaseModel], document: Document) -> None:
    """Writes down a component that the document leaves out where an override sets one of its options."""
    for place, text in document.overridden.items():
        given = find_value(document.value, place)
        says_option = len(place) < len(text.partition("=")[0].split("."))
        if says_option and isinstance(given, dict) and "type" not in given:
            default = _default_at(record, place, document.value)
            if isinstance(default, ComponentSpec):
                given.update({"type": default.type, **default.options, **given})


def _default_at(record: type[BaseModel], place: Place, given: Any) -> Any:
    """Returns what stands at a place of a record if nothing is said there; of a chain of one, that one."""
    fields: Any = record
    default: Any = None
    for part in place:
        if isinstance(fields, type) and issubclass(fields, ComponentSpec):
            registry, name = REGISTRIES[fields.kind], given.get("type")
            fields = registry.get(name).options if name in registry else None
        found = getattr(fields, "model_fields", {}).get(part)
        default = None if found is None else found.get_default(call_default_factory=True, validated_data={})
        fields, given = find_fields(fields, part), find_value(given, (part,))
    return default[0] if isinstance(default, tuple) and len(default) == 1 else default


def build_component(spec: ComponentSpec, *wired: Any) -> Any:
    """Constructs what a component spec names, with what the model wires."""
    return REGISTRIES[spec.kind].build(spec.type, *wired, **spec.options)


def build_head(spec: LossHeadSpec, in_features: int = 1, hidden: int | None = None, *blocks: int) -> LossHead:
    """Constructs a loss head; without widths it serves for all that needs no features of a network.

    Args:
        spec: What a recipe says of the target.
        in_features: Width of the features.
        hidden: Width of its Scoring; None for one dense unit.
        blocks: Widths of the modalities' vectors in the features; none for one vector.
    """
    wired: list[Any] = [in_features, hidden]
    if REGISTRIES[spec.kind].get(spec.type).cls.reads_blocks:
        wired.append(blocks or (in_features,))
    head: LossHead = build_component(spec, *wired)
    return head


def _list_plugins(document: Document) -> list[Any]:
    plugins = document.value.get("plugins", [])
    return plugins if isinstance(plugins, list) else []


def _placed(problems: Sequence[Problem], document: Document) -> list[Problem]:
    """Problems of plugins with the line or the override that names them."""
    indices = [int(problem.place.removeprefix("plugins[").removesuffix("]")) for problem in problems]
    return [
        Problem(written_place(("plugins", index), document), problem.message, problem.remedy)
        for index, problem in zip(indices, problems, strict=True)
    ]
