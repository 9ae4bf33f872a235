"""The targets that an experiment compares: known by name before a recipe is valid, so that a wrong one is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.config.documents import read_document
from fusionkit.config.schema import Recipe
from fusionkit.errors import Problem, RecipeError, suggest_names

if TYPE_CHECKING:
    from fusionkit.experiments.specs.experiment import ExperimentSpec


def list_targets(
    spec: ExperimentSpec, source: Path, overrides: Mapping[str, Sequence[str]], recipes: Mapping[str, Recipe]
) -> list[list[str]]:
    """Lists the names of every trained variant's targets, as far as they can be read.

    Args:
        spec: What the experiment's file says.
        source: The recipe.
        overrides: By variant, all changes to the recipe.
        recipes: By variant the recipe, where it has no problems.
    """
    known = []
    for name, variant in spec.variants.items():
        if name in recipes:
            known.append(list(recipes[name].model.targets))
        elif variant.of is None:
            with suppress(RecipeError):  # told already
                model = read_document(source, overrides[name])[0].value.get("model")
                targets = model.get("targets") if isinstance(model, Mapping) else None
                known += [list(targets)] if isinstance(targets, Mapping) else []
    return known


def choose_targets(spec: ExperimentSpec, known: Sequence[Sequence[str]], problems: list[Problem]) -> tuple[str, ...]:
    """Chooses the targets that are compared: those that are asked for, or else all that the variants share.

    Args:
        spec: What the experiment's file says.
        known: The targets of every variant whose targets are known.
        problems: Receives what is wrong with them.
    """
    shared = [name for name in (known[0] if known else ()) if all(name in targets for targets in known)]
    asked = (spec.target,) if isinstance(spec.target, str) else spec.target or tuple(shared)
    if known and not shared:
        problems.append(Problem("target", "the variants share none", "give every variant a target of the same name"))
        return asked
    wrong = [name for name in asked if known and name not in shared]
    problems += [Problem("target", f"not every variant has {name!r}", suggest_names(name, shared)) for name in wrong]
    problems += [Problem("target", f"{name!r} stands twice") for name in {*asked} if asked.count(name) > 1]
    if len(asked) > 1 and spec.metric is not None:
        message = f"{spec.metric!r} is given, but of {', '.join(asked)} each is compared by its own"
        problems.append(Problem("metric", message, f"leave it out, or compare one target: target={asked[0]}"))
    if len(asked) > 1 and hasattr(spec, "budget"):
        remedy = f"write target: {asked[0]}"
        problems.append(Problem("target", f"a comparison tunes for one, given {', '.join(asked)}", remedy))
    return asked
