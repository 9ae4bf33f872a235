"""Where the spec meets the registry: a recipe whose components are checked and whose defaults are written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fusionkit.errors import RecipeError
from fusionkit.registry import REGISTRIES, Component, import_plugins
from fusionkit.spec import ComponentSpec, Finding, Recipe, parse, read_document
from fusionkit.strict_yaml import Document

R = TypeVar("R", bound=BaseModel)


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, imports the plugins it lists, checks every key and component, and writes every default out.

    Args:
        source: A YAML file, a mapping, or a `Recipe`.
        overrides: ``key.path=value``, applied before anything is checked.

    Raises:
        RecipeError: Every problem of the recipe, with place, value and remedy.
    """
    plain = source.plain() if isinstance(source, Recipe) else source
    document, name = read_document(plain, overrides)
    return check_document(Recipe, document, name)


def check_document(record: type[R], document: Document, name: str = "") -> R:
    """A document, or a part of one, as a record with checked and completed components.

    Raises:
        RecipeError: Every problem of the document, with place, value and remedy.
    """
    plugins = document.value.get("plugins", [])
    listed = plugins if isinstance(plugins, list) else []
    problems = import_plugins([module for module in listed if isinstance(module, str)])
    try:
        checked = parse(record, document, name, check_component)
    except RecipeError as error:
        raise RecipeError([*problems, *error.problems], source=name) from None
    if problems:
        raise RecipeError(problems, source=name)
    return checked


def check_component(kind: str, name: str, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Finding]]:
    """The options of a component with every default, or what is wrong with them."""
    registry = REGISTRIES[kind]
    if name not in registry:
        problem = registry.unknown(name, kind)
        return {}, [(("type",), problem.message, problem.remedy)]
    return registry.get(name).check(options)


def build_component(spec: ComponentSpec, *wired: Any) -> Any:
    """Constructs what a component spec names, with what the model wires."""
    return REGISTRIES[spec.kind].build(spec.type, *wired, **spec.options)


def json_schema() -> dict[str, Any]:
    """A JSON Schema of recipes by which an editor completes component names and their options."""
    schema = Recipe.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for spec in ComponentSpec.__subclasses__():
        components = list(REGISTRIES[spec.kind])
        definitions[spec.__name__] = {
            "title": spec.kind,
            "anyOf": [
                {"enum": [component.name for component in components], "type": "string"},
                *[_component_schema(component, definitions) for component in components],
            ],
        }
    for modality in (definitions["ModalitySpec"]["properties"],):
        for key in ("encoder", "transforms"):
            chain = modality[key]
            several = {name: chain.pop(name) for name in ("type", "items", "minItems") if name in chain}
            chain["anyOf"] = [several["items"], several]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fusionkit recipe"}


def _component_schema(component: Component[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    options = component.options.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(options.pop("$defs", {}))
    return {
        "type": "object",
        "title": component.name,
        "description": component.summary,
        "properties": {"type": {"const": component.name}, **options.get("properties", {})},
        "required": ["type", *options.get("required", [])],
        "additionalProperties": False,
    }
