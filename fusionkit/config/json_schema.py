"""The JSON Schema of recipes, by which an editor completes them."""

from __future__ import annotations

import json
from typing import Any

from fusionkit.config.components.registry import REGISTRIES, Component
from fusionkit.config.components.specs import ComponentSpec
from fusionkit.config.schema import Recipe


def make_json_schema() -> dict[str, Any]:
    """Makes a JSON Schema of recipes by which an editor completes component names and their options."""
    schema = Recipe.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for spec in ComponentSpec.__subclasses__():
        if spec.kind in REGISTRIES:
            components = list(REGISTRIES[spec.kind])
            bare = [component.name for component in components if not _required(component)]
            definitions[spec.__name__] = {
                "title": spec.kind,
                "anyOf": [
                    *([{"enum": bare, "type": "string"}] if bare else []),
                    *[_component_schema(spec.kind, component, definitions) for component in components],
                ],
            }
    modality = definitions["ModalitySpec"]["properties"]
    for key in ("encoder", "transforms"):
        several = {name: modality[key].pop(name) for name in ("type", "items", "minItems") if name in modality[key]}
        modality[key]["anyOf"] = [several["items"], several]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fusionkit recipe"}


_COMPONENTS = frozenset(spec.__name__ for spec in ComponentSpec.__subclasses__())


def _required(component: Component[Any]) -> list[str]:
    return [name for name, field in component.options.model_fields.items() if field.is_required()]


def _component_schema(kind: str, component: Component[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{kind}.{component.name}."  # two components may each have a record of one name
    options = component.options.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    nested = options.pop("$defs", {})
    definitions.update({f"{prefix}{name}": nested[name] for name in nested if name not in _COMPONENTS})
    properties = json.dumps(options.get("properties", {}))
    for name in nested.keys() & _COMPONENTS:  # a component whose option is a component: the same as everywhere
        properties = properties.replace(f'"#/$defs/{prefix}{name}"', f'"#/$defs/{name}"')
    return {
        "type": "object",
        "title": component.name,
        "description": component.summary,
        "properties": {"type": {"const": component.name}, **json.loads(properties)},
        "required": ["type", *options.get("required", [])],
        "additionalProperties": False,
    }
