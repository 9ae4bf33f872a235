"""The reference of a registered component, read from its signature and docstring."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusionkit.config.components.registry import REGISTRIES, Component
from fusionkit.errors import Problem, RecipeError, suggest_names

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Option:
    """One option of a component.

    Args:
        name: Its key in a recipe.
        type: What it takes: a type, or the words it may be.
        default: Its default as a recipe would write it; ``required`` where there is none.
        bounds: The numbers it may be, such as ``≥ 0, < 1``; empty where there is no bound.
        description: What it means.
    """

    name: str
    type: str
    default: str
    bounds: str
    description: str


@dataclass(frozen=True)
class ComponentPage:
    """A component as its documentation states it.

    Args:
        kind: The kind of the component.
        name: Its name in recipes.
        summary: One line.
        formula: Its formulas in LaTeX, one per block; empty where it has none.
        text: What the symbols mean and when to choose it.
        options: What a recipe may set.
        source: Where it comes from, and what differs from there.
        example: A snippet with its result.
    """

    kind: str
    name: str
    summary: str
    formula: str
    text: str
    options: tuple[Option, ...]
    source: str
    example: str


def find_kind(kind: str) -> str:
    """Finds the kind that a word names, in singular or plural, as registries or recipes spell it.

    Raises:
        RecipeError: There is no such kind.

    Example:
        >>> find_kind("encoders"), find_kind("loss-heads"), find_kind("strategies")
        ('encoder', 'loss_head', 'strategy')
    """
    word = kind.lower().replace("-", "_")
    for candidate in (word, re.sub(r"ies$", "y", word), word.removesuffix("s")):
        if candidate in REGISTRIES:
            return candidate
    raise RecipeError([Problem("", f"unknown kind {kind!r}", suggest_names(word, REGISTRIES))])


def read_component(kind: str, name: str) -> ComponentPage:
    """Reads everything that a component says of itself.

    Raises:
        RecipeError: There is no such kind or component.

    Example:
        >>> page = read_component("encoder", "mlp")
        >>> page.options[0].name, page.options[0].default
        ('hidden', '[64]')
    """
    registry = REGISTRIES[find_kind(kind)]
    component = registry.get(name)
    sections = _split_sections(inspect.getdoc(component.cls) or "")
    formula, text = _split_formula(sections[""])
    summary, _, rest = text.partition("\n\n")
    return ComponentPage(
        registry.kind,
        name,
        " ".join(summary.split()),
        formula,
        rest.strip(),
        _list_options(component),
        sections.get("Source", ""),
        sections.get("Example", ""),
    )


def _list_options(component: Component[Any]) -> tuple[Option, ...]:
    schema = component.options.model_json_schema()
    definitions = schema.get("$defs", {})
    return tuple(
        Option(
            name,
            _describe_type(option, definitions),
            _write_plain(option["default"]) if "default" in option else "required",
            _describe_bounds(option),
            component.descriptions.get(name, ""),
        )
        for name, option in schema.get("properties", {}).items()
    )


def _write_plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _describe_type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    for words in ("enum", "const"):
        if words in schema:
            return " | ".join(map(_write_plain, schema[words] if words == "enum" else [schema[words]]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_describe_type(choice, definitions) for choice in schema["anyOf"]))
    return _describe_container(schema, definitions) or str(schema.get("type", "anything"))


def _describe_container(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Describes the type of a list, mapping or record; empty for anything else."""
    if schema.get("type") == "array":
        items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
        return f"list of {_describe_type(items, definitions)}"
    if "properties" in schema:
        return "{" + ", ".join(schema["properties"]) + "}"
    values = schema.get("additionalProperties")
    return f"mapping to {_describe_type(values, definitions)}" if isinstance(values, dict) else ""


def _describe_bounds(schema: Mapping[str, Any]) -> str:
    choices = [schema, *schema.get("anyOf", []), schema.get("items") or {}]
    found = [f"{sign} {choice[key]}" for choice in choices for key, sign in _BOUNDS.items() if key in choice]
    return ", ".join(dict.fromkeys(found))


def _split_sections(docstring: str) -> dict[str, str]:
    """Splits off the text before the first section, under the empty name, then every section without its indent."""
    parts = re.split(r"^(Args|Returns|Raises|Source|Example|Note):\n", docstring, flags=re.MULTILINE)
    bodies = [inspect.cleandoc("\n" + body) for body in parts[2::2]]
    return {"": parts[0].strip(), **dict(zip(parts[1::2], bodies, strict=True))}


def _split_formula(text: str) -> tuple[str, str]:
    """Splits the formulas off a text."""
    block = re.compile(r"^\.\. math::\n((?:[ ]+.*\n?|\n(?=[ ]))+)", flags=re.MULTILINE)
    formulas = [inspect.cleandoc("\n" + match) for match in block.findall(text)]
    return "\n".join(formulas), re.sub(r"\n{3,}", "\n\n", block.sub("", text))
