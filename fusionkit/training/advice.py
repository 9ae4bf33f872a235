"""What follows from where the time of a step goes: one sentence, about keys of the recipe."""

from __future__ import annotations

from fusionkit.spec import Recipe
from fusionkit.training.recorders import REST
from fusionkit.training.watching import (
    AGGREGATOR,
    DATA,
    ENCODERS,
    HEADS,
    LOSSES,
    MOVE,
    OPTIMIZER,
    StageProfile,
)

NOTABLE = {DATA: 0.15, MOVE: 0.15, OPTIMIZER: 0.25, LOSSES: 0.25, REST: 0.25}
"""Shares of a step from which a part is worth a word; below them all, the network's own arithmetic is."""


def advice_on(profile: StageProfile, recipe: Recipe) -> str:
    """What to try first."""
    notable = [part for part, least in NOTABLE.items() if profile.share(part) >= least]
    if not notable:
        return _on_network(profile, recipe)
    part = max(notable, key=profile.share)
    return f"{part.capitalize()} is {profile.share(part):.0%} of a step: {_remedy(part, recipe)}."


def _remedy(part: str, recipe: Recipe) -> str:
    data = recipe.data
    if part == DATA:
        more = f"raise data.workers (now {data.workers}) up to the number of free cores"
        return more if data.cache else f"{more}, or set data.cache: true where the samples fit into memory"
    if part == MOVE:
        return "give the network fewer or smaller elements (subsample, smaller crops), or leave out transforms of it"
    if part == OPTIMIZER:
        return "update more rarely, with a larger data.batch_size or train.accumulate"
    if part == LOSSES:
        return f"a balancer that computes less than {recipe.train.balancer.type}, or a larger batch"
    return "steps are short beside what surrounds them; raise data.batch_size or data.budget"


def _on_network(profile: StageProfile, recipe: Recipe) -> str:
    modal = [each for each in profile.parts if each.part in (ENCODERS, AGGREGATOR, HEADS)]
    less = "fewer elements (the transforms subsample and time_slice)"
    if recipe.data.prepare is not None:
        less += ", smaller crops (data.prepare.face.size)"
    if profile.device.startswith("cuda") and recipe.train.precision == "32-true":
        less += ", train.precision: bf16-mixed"
    if not modal:
        return f"The step is the network's own arithmetic; what helps is less of it: {less}."
    heaviest = max(modal, key=lambda each: each.seconds)
    return (
        f"The step is the network's own arithmetic, most of its forward pass {heaviest.modality}'s {heaviest.part}; "
        f"what helps is less of it: {less}, or a smaller component there."
    )
