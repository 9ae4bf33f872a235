"""Contract tests of balancers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import (
    Balancer,
    EpochPlan,
    GradientScale,
    ModelOutput,
    Plan,
    Review,
    Step,
)
from fusionkit.testing.promises import SEED, build, draw_normal, find_component, promise

WIDTH = 5


def check_balancer(
    cls: type[Balancer],
    options: Mapping[str, Any] | None = None,
    *,
    modalities: tuple[str, ...] = ("audio", "video"),
    targets: tuple[str, ...] = ("emotion", "valence"),
) -> None:
    """Checks every promise of a balancer.

    It is registered and described; weighs all terms, or only those of one branch, to finite scalars whose sum has a
    gradient; each hook that it overrides returns what the training loop can use; and it copies and saves its state.

    Args:
        cls: The balancer's class.
        options: Options as a recipe would set them.
        modalities: The model's modalities.
        targets: The model's targets.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(BALANCERS, cls)
    name = component.name
    wired = (modalities, targets, dict.fromkeys(modalities, WIDTH))[: 3 if cls.reads_widths else 2]
    balancer: Balancer = build(component, *wired, options=options)
    promise(set(balancer.teachers) <= set(modalities), f"{name}: its teachers are modalities")
    step = _step(modalities, targets)
    for branches in (("fused", *modalities), ("fused",), (modalities[0],)):
        _check_weights(name, balancer, [f"{branch}/{target}" for branch in branches for target in targets], step)
    _check_hooks(name, balancer, modalities, step)
    copied = copy.deepcopy(balancer)
    fresh: nn.Module = build(component, *wired, options=options)
    fresh.load_state_dict(copied.state_dict())
    promise(fresh.state_dict().keys() == balancer.state_dict().keys(), f"{name}: its state can be saved and loaded")


def _step(modalities: tuple[str, ...], targets: tuple[str, ...], batch: int = 4) -> Step:
    scores = {target: draw_normal(batch, 3).requires_grad_() for target in targets}
    output = ModelOutput(
        fused=scores,
        unimodal=dict.fromkeys(modalities, scores),
        features={modality: draw_normal(batch, WIDTH).requires_grad_() for modality in modalities},
        present={modality: torch.ones(batch, dtype=torch.bool) for modality in modalities},
    )
    wanted = {target: torch.arange(batch) % 3 for target in targets}
    return Step(
        1,
        3,
        10,
        output,
        wanted,
        tuple(f"sample{row}" for row in range(batch)),
        teacher=output,
        loss_of=lambda term, given: functional.cross_entropy(given, wanted[term.partition("/")[2]], reduction="none"),
        scores_of=lambda of: {target: draw_normal(batch, 3, seed=len(of)) for target in targets},
        fuse=lambda features, present: {
            target: torch.stack([features[name][:, :3] * present[name][:, None] for name in modalities]).sum(dim=0)
            for target in targets
        },
        distribution_of=lambda term, given: given.softmax(dim=1),
    )


def _check_weights(name: str, balancer: Balancer, terms: Sequence[str], step: Step) -> None:
    losses = {term: torch.tensor(1.0 + place, requires_grad=True) for place, term in enumerate(terms)}
    weighted = balancer.weigh(losses, step)
    promise(bool(weighted), f"{name}: at least one of the terms {list(terms)} remains")
    for term, value in weighted.items():
        promise(value.ndim == 0 and value.isfinite(), f"{name}: the weighted term {term} is a finite scalar")
    total = torch.stack(list(weighted.values())).sum()
    promise(total.requires_grad, f"{name}: the total of the terms {list(terms)} has a gradient")


def _check_hooks(name: str, balancer: Balancer, modalities: tuple[str, ...], step: Step) -> None:
    assert step.output is not None
    if balancer.uses("gradient_scales"):
        scales = balancer.gradient_scales({"fused/x": torch.tensor(1.0)}, step)
        known = {*modalities, *(f"features/{modality}" for modality in modalities)}
        promise(set(scales) <= known, f"{name}: gradient_scales are keyed by {sorted(known)}")
        promise(all(isinstance(s, GradientScale) for s in scales.values()), f"{name}: they are GradientScale records")
    if balancer.uses("replace_features"):
        torch.manual_seed(SEED)
        features, present = balancer.replace_features(step.output.features, step.output.present, step)
        for modality, before in step.output.features.items():
            promise(features[modality].shape == before.shape, f"{name}: replaced features keep their shape")
            promise(present[modality].dtype == torch.bool, f"{name}: replaced presence is boolean")
    if balancer.uses("sample_weights"):
        for term, weight in balancer.sample_weights(step).items():
            fits = weight.shape == (len(step.sample_ids),) and bool((weight.isfinite() & (weight >= 0)).all())
            promise(fits, f"{name}: {term} has one weight per sample, finite and not negative")
    if balancer.uses("plan"):
        plan = balancer.plan(step)
        promise(isinstance(plan, Plan), f"{name}: plan returns a Plan")
        parts = {*(plan.trains or ()), *plan.resets}
        promise(parts <= {*modalities, "fusion"}, f"{name}: a plan's parts are modalities and 'fusion', not {parts}")
    if balancer.uses("before_epoch"):
        seen = _detach(step)
        for epoch in range(10):
            review = Review(
                epoch, 10, (*modalities, "fusion"), (*modalities, "fused"), lambda of: iter([seen]), _skip_trial
            )
            epoch_plan = balancer.before_epoch(review)
            promise(isinstance(epoch_plan, EpochPlan), f"{name}: before_epoch returns an EpochPlan")
            shares = epoch_plan.relearn.values()
            promise(set(epoch_plan.relearn) <= set(modalities), f"{name}: what relearns are modalities")
            promise(all(0 <= share <= 1 for share in shares), f"{name}: each relearns a share from 0 to 1")
            for repeat in epoch_plan.repeats:
                fits = repeat.sample_id in step.sample_ids and set(repeat.modalities) <= set(modalities)
                promise(fits, f"{name}: repeats are of training samples and of modalities, not {repeat}")


def _detach(step: Step) -> Step:
    """Returns a step as a review shows it."""
    output = step.output
    assert output is not None
    unimodal = {
        modality: {target: scores.detach() for target, scores in of.items()} for modality, of in output.unimodal.items()
    }
    detached = ModelOutput(
        fused={target: scores.detach() for target, scores in output.fused.items()},
        unimodal=unimodal,
        features={modality: features.detach() for modality, features in output.features.items()},
        present=output.present,
    )
    return replace(step, output=detached)


def _skip_trial(branch: str, epochs: int) -> AbstractContextManager[None]:
    return nullcontext()
