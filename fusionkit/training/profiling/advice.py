"""Advice from the parts of a step: a sentence or two, about keys of the recipe."""

from __future__ import annotations

import torch

from fusionkit.config.schema import DataSpec, Recipe
from fusionkit.execution.workers import count_processors
from fusionkit.nn.timer import REST
from fusionkit.training.profiling.step_profile import StageProfile
from fusionkit.training.step.part_names import AGGREGATOR, DATA, ENCODERS, HEADS, LOSSES, MOVE, OPTIMIZER

NOTABLE = {DATA: 0.15, MOVE: 0.15, OPTIMIZER: 0.25, LOSSES: 0.25, REST: 0.25}
"""Shares of a step from which a part is worth a word; below them all, the network is."""

FEWEST = 5
"""Timed steps below which nothing is said: one that was interrupted would weigh too much."""

_IN_OPERATORS = 0.4  # of a step's computing on a CPU: below that, most of it is in none of PyTorch's operators
_ON_PYTHON = (
    "Most of the step is spent outside of PyTorch's operators: look at what components or a balancer compute in "
    "Python, and at what else this machine does."
)
_ARITHMETIC = 0.5  # of a step's computing in long calls of operators: from there on, the numbers are what takes time

_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # what processors that multiply such numbers say of themselves


def advise_on(profile: StageProfile, recipe: Recipe) -> str:
    """Says what to try first."""
    if profile.steps < FEWEST:
        return (
            f"Too few steps to tell what to change ({profile.steps} timed); give it more, with train.epochs, or with "
            "more data."
        )
    notable = [part for part, least in NOTABLE.items() if profile.share(part) >= least]
    if not notable:
        return _advise_on_network(profile, recipe)
    part = max(notable, key=profile.share)
    found = f"{part.capitalize()} is {profile.share(part):.0%} of a step"
    if part == DATA and profile.filling:
        return (
            f"{found}, but {profile.filling} of the {profile.steps} steps are of epochs in which data.cache is "
            "filled: too early to tell. Later epochs take their samples from memory."
        )
    return f"{found}: {_name_remedy(part, profile, recipe)}."


def _name_remedy(part: str, profile: StageProfile, recipe: Recipe) -> str:
    if part == DATA:
        return _advise_on_waiting(recipe.data)
    if part == MOVE:
        return "give the network fewer or smaller elements (subsample, smaller crops), or leave out transforms of it"
    larger = _name_larger_batches(profile, recipe)
    if part == OPTIMIZER:
        return f"update more rarely, with {'a larger ' + larger + ' or ' if larger else ''}train.accumulate"
    if part == LOSSES:
        return f"a balancer that computes less than {recipe.train.balancer.type}, or a larger batch"
    return "steps are short beside what surrounds them" + (f"; raise {larger}" if larger else "")


def _advise_on_waiting(data: DataSpec) -> str:
    """Says what shortens waiting: workers do where loading is work and a core is left for them."""
    workers, most = data.workers, count_processors() - 1  # one is for the training itself
    kept = "" if data.cache else "data.cache: true where the samples fit into memory"
    if workers and (data.cache or workers >= most):
        fewer = f"try data.workers: 0 (now {workers}, on {_count_cores(most + 1)})"
        why = "starting and feeding workers may cost more than loading here"
        return f"{fewer}: {why}{', or set ' + kept if kept else ''}"
    if data.cache:
        more = f", or try data.workers (now 0) up to {most}" if most > 0 else ""
        return f"the samples are in memory already, so leave out transforms of them{more}"
    if workers >= most:
        return f"set {kept}; a worker would have no core of its own here"
    return f"raise data.workers (now {workers}) up to {most}, on {_count_cores(most + 1)}, or set {kept}"


def _count_cores(count: int) -> str:
    return f"{count} core{'' if count == 1 else 's'}"


def _name_larger_batches(profile: StageProfile, recipe: Recipe) -> str:
    """Returns the key that makes batches larger; none where one batch holds the whole epoch already."""
    if profile.batches == 1:
        return ""
    return "data.batch_size" if recipe.data.budget is None else "data.budget"


def _advise_on_network(profile: StageProfile, recipe: Recipe) -> str:
    calls = profile.calls
    computing = profile.step_seconds * (1 - profile.share(DATA, MOVE))
    if calls.count and calls.long_seconds < _ARITHMETIC * computing:
        if profile.device == "cpu" and calls.seconds < _IN_OPERATORS * computing:
            return _ON_PYTHON
        return _advise_on_fixed_costs(profile, recipe)
    modal = [each for each in profile.parts if each.part in (ENCODERS, AGGREGATOR, HEADS)]
    less = "fewer elements (the transforms subsample and time_slice)"
    if recipe.data.prepare is not None:
        less += ", smaller crops (data.prepare.face.size)"
    if recipe.train.precision == "32-true" and _computes_in_bf16(profile.device):
        less += ", train.precision: bf16-mixed (which rounds, so results differ)"
    if not modal:
        return f"The step is the network's own arithmetic; what helps is less of it: {less}."
    heaviest = max(modal, key=lambda each: each.seconds)
    return (
        f"The step is the network's own arithmetic, most of its forward pass {heaviest.modality}'s {heaviest.part}; "
        f"what helps is less of it: {less}, or a smaller component there."
    )


def _advise_on_fixed_costs(profile: StageProfile, recipe: Recipe) -> str:
    calls, larger = profile.calls, _name_larger_batches(profile, recipe)
    mean = f"{calls.seconds / calls.count * 1e6:.2g} microseconds in the mean"
    found = f"The step is mostly what its {calls.count:,} calls of operators cost however little they compute ({mean})"
    if not larger:
        return f"{found}, and one batch holds the whole epoch already; what helps is fewer operations: a simpler model."
    spared = profile.share(OPTIMIZER)
    rarer = f", and train.accumulate spares some of the optimizer's {spared:.0%}" if spared >= 0.01 else ""
    return f"{found}: raise {larger}, so that each computes more{rarer}."


def _computes_in_bf16(device: str) -> bool:
    """Says whether a device multiplies bf16 numbers by itself, and not in other ones."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and any(torch.cpu.get_capabilities().get(name, False) for name in _BF16)
