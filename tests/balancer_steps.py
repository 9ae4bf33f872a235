"""A step as the training loop gives it to a balancer, made of numbers; and its losses restated in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, ModelOutput, Review, Step

Scores = Mapping[str, Mapping[str, Any]]


def balancer_of(name: str, modalities: tuple[str, ...], targets: tuple[str, ...], **options: Any) -> Any:
    """A registered balancer in double precision."""
    balancer: Balancer = BALANCERS.build(name, modalities, targets, **options)
    return balancer.double()


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values))


def exact(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=1e-12)


def step_of(
    targets: Mapping[str, Any],
    *,
    unimodal: Scores | None = None,
    fused: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
    present: Mapping[str, Sequence[bool]] | None = None,
    epoch: int = 0,
    teacher: Mapping[str, Any] | None = None,
    scores_of: Callable[[Sequence[str]], Mapping[str, Tensor]] | None = None,
    fuse: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None,
) -> Step:
    """A step whose classes have cross-entropy and whose numbers have the squared error."""
    wanted = {name: tensor(values) for name, values in targets.items()}
    batch = len(next(iter(wanted.values())))
    names = {*(unimodal or {}), *(features or {}), *(present or {})}
    here = {name: tensor((present or {}).get(name, [True] * batch)) for name in names}

    def loss_of(term: str, scores: Tensor) -> Tensor:
        branch, _, target = term.partition("/")
        if wanted[target].is_floating_point():
            losses = (scores[:, 0] - wanted[target]).square()
            known = ~wanted[target].isnan()
        else:
            losses = functional.cross_entropy(scores, wanted[target].clamp(min=0), reduction="none")
            known = wanted[target] >= 0
        return torch.where(known if branch == "fused" else known & here[branch], losses, torch.nan)

    def output(of: Mapping[str, Any] | None) -> ModelOutput:
        return ModelOutput(
            fused={name: scores if isinstance(scores, Tensor) else tensor(scores) for name, scores in given.items()},
            unimodal={m: {t: tensor(s) for t, s in scores.items()} for m, scores in (unimodal or {}).items()},
            features={
                name: tensor(values) if not isinstance(values, Tensor) else values
                for name, values in (of or {}).items()
            },
            present=here,
        )

    def distribution_of(term: str, scores: Tensor) -> Tensor:
        return scores if wanted[term.partition("/")[2]].is_floating_point() else scores.softmax(dim=1)

    given = fused or {}
    ids = tuple(f"sample{row}" for row in range(batch))
    taught = None if teacher is None else output(teacher)
    asked: dict[str, Any] = {
        "loss_of": loss_of,
        "scores_of": scores_of,
        "fuse": fuse,
        "distribution_of": distribution_of,
    }
    extra = {name: answer for name, answer in asked.items() if answer is not None}
    return Step(epoch, 0, 10, output(features), wanted, ids, teacher=taught, **extra)


def softmax(scores: Any) -> np.ndarray:
    raised = np.exp(np.asarray(scores, dtype=np.float64))
    return raised / raised.sum(axis=-1, keepdims=True)


def terms_of(**values: float) -> dict[str, Tensor]:
    """Loss terms by names in which ``__`` stands for the stroke."""
    return {
        name.replace("__", "/"): torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in values.items()
    }


def numbers(weighted: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in weighted.items()}


def review_of(
    training: Sequence[Step] = (),
    held_out: Sequence[Step] = (),
    *,
    epoch: int = 0,
    branches: tuple[str, ...] = ("audio", "video", "fused"),
    trial: Callable[[str, int], AbstractContextManager[None]] | None = None,
) -> Review:
    """A review before an epoch, of steps as `step_of` makes them."""

    def refused(branch: str, epochs: int) -> AbstractContextManager[None]:
        raise AssertionError(f"{branch} was tried for {epochs} epochs")

    steps = {"training": training, "held_out": held_out}
    return Review(epoch, 100, (*branches, "fusion"), branches, lambda samples: iter(steps[samples]), trial or refused)
