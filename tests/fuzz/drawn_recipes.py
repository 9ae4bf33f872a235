"""Recipes that the JSON Schema allows, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from fusionkit.config.components.registry import REGISTRIES
from fusionkit.config.json_schema import make_json_schema

WORDS = ("a", "b", "calm", "happy", "audio", "video", "emotion", "label")

LEFT_OUT = {"timm"}
"""Its networks take seconds to build, and its weights are fetched from elsewhere."""

DEEPEST = 12


@cache
def schema() -> Mapping[str, Any]:
    """The schema of recipes."""
    return make_json_schema()


FITTING = {"conv2d": [[1, 16, 16], [3, 12, 20]], "spectrogram": [[]], "log_mel": [[]]}
"""Shapes of elements that an encoder reads; all others read vectors."""

SHAPES: list[list[int]] = [[3], [8], [], [1, 16, 16]]


def drawn_recipe(chance: Random) -> dict[str, Any]:
    """A recipe of two or three modalities whose components, options and settings are drawn; half of them fit."""
    definitions = schema()["$defs"]
    names = ("audio", "video", "pose")[: chance.choice((2, 2, 3))]
    model, train = drawn(definitions["ModelSpec"], chance), drawn(definitions["TrainSpec"], chance)
    model["modalities"] = {name: drawn_modality(chance) for name in names}
    model["targets"] = {name: drawn_target(chance) for name in ("label", "mood")[: chance.choice((1, 2))]}
    if chance.random() < 0.8:
        for key in ("export", "patience", "compile"):
            train.pop(key, None)
    return {"schema": 1, "data": drawn(definitions["DataSpec"], chance), "model": model, "train": train}


def drawn_target(chance: Random) -> Any:
    """A target that mostly says its classes or labels."""
    target = drawn(schema()["$defs"]["LossHeadSpec"], chance)
    target = {"type": target} if isinstance(target, str) else target
    if chance.random() < 0.9 and target["type"] not in ("regression", "concordance"):
        target["labels" if target["type"] == "multilabel" else "classes"] = ["calm", "happy"]
    return target


def drawn_modality(chance: Random) -> dict[str, Any]:
    """A modality of waves, vectors or images, mostly those that its encoder takes."""
    modality: dict[str, Any] = drawn(schema()["$defs"]["ModalitySpec"], chance)
    encoders = modality.get("encoder", "identity")
    first = encoders[0] if isinstance(encoders, list) and encoders else encoders
    name = first.get("type") if isinstance(first, dict) else first
    fitting = FITTING.get(name, [[3], [8]]) if isinstance(name, str) else SHAPES
    modality["shape"] = chance.choice(fitting if chance.random() < 0.9 else SHAPES)
    return modality


def _left_out(name: Any) -> bool:
    return name in LEFT_OUT or name in _of_other_tests()


@cache
def _of_other_tests() -> frozenset[str]:
    """Components that other tests registered in this process, which would change what is drawn."""
    components = (component for registry in REGISTRIES.values() for component in registry)
    return frozenset(each.name for each in components if not each.cls.__module__.startswith("fusionkit."))


def drawn(of: Mapping[str, Any], chance: Random, depth: int = 0) -> Any:
    """A value that a schema allows."""
    if "$ref" in of:
        return drawn(schema()["$defs"][of["$ref"].removeprefix("#/$defs/")], chance, depth + 1)
    if "const" in of:
        return of["const"]
    if "enum" in of:
        return chance.choice([each for each in of["enum"] if not _left_out(each)])
    if "anyOf" in of:
        return drawn(chance.choice([each for each in of["anyOf"] if not _left_out(each.get("title"))]), chance, depth)
    draw = {
        "object": _mapping,
        "array": _list,
        "integer": _number,
        "number": _number,
        "string": lambda of, chance, depth: chance.choice(WORDS),
        "boolean": lambda of, chance, depth: chance.random() < 0.5,
        "null": lambda of, chance, depth: None,
    }
    return draw[of["type"]](of, chance, depth)


def _mapping(of: Mapping[str, Any], chance: Random, depth: int) -> dict[str, Any]:
    made = {}
    for name, inner in of.get("properties", {}).items():
        if name in of.get("required", ()) or (depth < DEEPEST and chance.random() < 0.3):
            made[name] = drawn(inner, chance, depth + 1)
    inner = next(iter(of.get("patternProperties", {}).values()), of.get("additionalProperties"))
    if isinstance(inner, dict):
        for name in chance.sample(WORDS, chance.choice((1, 2, 3))):
            made[name] = drawn(inner, chance, depth + 1)
    return made


def _list(of: Mapping[str, Any], chance: Random, depth: int) -> list[Any]:
    if "prefixItems" in of:
        return [drawn(each, chance, depth + 1) for each in of["prefixItems"]]
    least = of.get("minItems", 0)
    count = chance.randint(least, min(of.get("maxItems", least + 3), least + 3))
    return [drawn(of["items"], chance, depth + 1) for _ in range(count)]


def _number(of: Mapping[str, Any], chance: Random, depth: int) -> float | int:
    low = of.get("minimum", of.get("exclusiveMinimum", 0))
    high = of.get("maximum", of.get("exclusiveMaximum", low + 8))
    if of["type"] == "integer":
        first = low + 1 if "exclusiveMinimum" in of else low
        return chance.randint(int(first), max(int(first), min(int(high), int(first) + 8)))
    share = chance.choice((0.0, 0.5, chance.random()))
    value = low + share * (high - low)
    return value or 0.125 if "exclusiveMinimum" in of else value
