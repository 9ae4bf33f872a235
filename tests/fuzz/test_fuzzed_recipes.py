"""Any recipe builds its network or is refused with what is wrong: drawn ones, altered ones, damaged ones."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import yaml
from damage import altered, damaged
from drawn_recipes import drawn_recipe
from trials import Trials

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import FusionKitError

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))

SPECIAL = (b"\t", b"&a ", b"*a", b"!!python/name:os ", b"!x ", b"? ", b"[", b"{", b"|\n", b"---\n", b"<<: ", b"'")
"""What means something to YAML."""


def load_and_build(recipe: Any) -> None:
    """What `fusionkit train` does before it opens the data."""
    loaded = load_recipe(recipe)
    fusionkit.build(loaded.model)


def test_a_recipe_that_the_schema_allows_builds_or_is_refused_with_the_key(trials: Trials) -> None:
    for chance in trials.cases(60):
        recipe = drawn_recipe(chance)
        trials.attempt(lambda recipe=recipe: load_and_build(recipe))
    assert 0 < trials.refused < trials.tried


def test_a_recipe_in_which_anything_is_altered_builds_or_is_refused(trials: Trials) -> None:
    for chance in trials.cases(100):
        recipe = altered(whole_recipe(chance), chance, chance.choice((1, 1, 2, 5)))
        trials.attempt(lambda recipe=recipe: load_and_build(recipe))
    assert 0 < trials.refused < trials.tried


def test_a_recipe_file_of_damaged_bytes_is_read_or_refused_with_its_name(trials: Trials, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    assert SHIPPED
    for chance in trials.cases(100):
        text = chance.choice(SHIPPED).read_bytes()
        if chance.random() < 0.5:
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(SPECIAL) + text[place:]
        else:
            text = damaged(text, chance)
        file.write_bytes(text)
        trials.attempt(lambda: load_recipe(file), names=file)
    assert 0 < trials.refused < trials.tried


def whole_recipe(chance: Random) -> dict[str, Any]:
    """A drawn recipe that builds, or one that is known to."""
    for _ in range(3):
        recipe = drawn_recipe(chance)
        try:
            load_and_build(recipe)
        except FusionKitError:
            continue
        return recipe
    known: dict[str, Any] = yaml.safe_load(KNOWN)
    return known


KNOWN = """\
schema: 1
data: {dataset: synthetic}
model:
  modalities:
    audio: {shape: [8], encoder: [{type: mlp, hidden: [8]}], aggregator: lstm}
    video: {shape: [4]}
  targets:
    emotion: {type: classification, classes: [calm, happy]}
"""
