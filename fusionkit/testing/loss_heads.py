"""Contract tests of loss heads."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.interfaces import (
    LossHead,
    RawTarget,
)
from fusionkit.testing.promises import build, check_module, draw_normal, find_component, is_close, promise

NO_TARGET = "\N{REPLACEMENT CHARACTER} no target"


def check_loss_head(
    cls: type[LossHead],
    values: Sequence[RawTarget],
    options: Mapping[str, Any] | None = None,
    *,
    in_features: int = 6,
) -> None:
    """Checks every promise of a loss head, with one dense unit and with a Scoring.

    It is registered and described; its scores have the declared width; it encodes targets alike, marks a missing one
    and refuses nonsense by `ValueError`; its loss is finite per sample and reaches every parameter; predictions and
    metrics fit their samples, one sample included; its metrics are those that it declares, within the ranges that it
    declares, and its score is one of them; a distribution is what its kind says; a confusion matrix counts every
    sample once; metrics by sums are the metrics; its constant answer is no worse than scores of zero; a sample's
    distribution does not depend on its batch in evaluation; and it copies, saves and computes in double precision as a
    module should.

    Args:
        cls: The head's class.
        values: Targets as data files state them, at least two that differ.
        options: Options as a recipe would set them.
        in_features: Width of the features.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(LOSS_HEADS, cls)
    name = component.name
    for hidden in (None, 5):
        wired = (in_features, hidden, (1, in_features - 1))[: 3 if cls.reads_blocks else 2]
        head: LossHead = build(component, *wired, options=options)
        targets = _check_targets(name, head, values)
        features = draw_normal(len(values), in_features)
        scores = head(features)
        wanted = (len(values), head.out_features)
        promise(tuple(scores.shape) == wanted, f"{name}: the scores are (batch, out_features) = {wanted}")
        _check_loss(name, head, scores, targets)
        _check_constant(name, copy.deepcopy(head), targets)
        _check_predictions(name, head.double().eval(), features.double(), targets)
        check_module(
            name,
            lambda wired=wired: build(component, *wired, options=options),  # type: ignore[misc]
            lambda module, dtype: module(draw_normal(len(values), in_features, dtype=dtype)),
        )


def _check_targets(name: str, head: LossHead, values: Sequence[RawTarget]) -> Tensor:
    encoded = [head.encode(value) for value in values]
    missing = head.encode(None)
    for target in (*encoded, missing):
        alike = target.shape == encoded[0].shape and target.dtype == encoded[0].dtype
        promise(alike, f"{name}: every target is encoded in one shape and dtype, a missing one too")
    promise(head.find_known(torch.stack(encoded)).all(), f"{name}: a stated target is known")
    promise(not head.find_known(torch.stack([missing])).any(), f"{name}: a missing target is not known")
    try:
        head.encode(NO_TARGET)
    except ValueError as error:
        promise(bool(str(error)), f"{name}: the refusal of a target says what would be right")
    else:
        promise(False, f"{name}: a value that is no target is refused by ValueError")
    return torch.stack(encoded)


def _check_loss(name: str, head: LossHead, scores: Tensor, targets: Tensor) -> None:
    losses = head.loss(scores, targets)
    promise(tuple(losses.shape) == (len(targets),), f"{name}: there is one loss per sample")
    promise(losses.isfinite().all(), f"{name}: the losses are finite")
    promise(head.loss(scores[:1], targets[:1]).isfinite().all(), f"{name}: the loss of a single sample is finite")
    learned = dict(head.named_parameters())
    gradients = torch.autograd.grad(losses.mean(), list(learned.values()), allow_unused=True)
    for key, gradient in zip(learned, gradients, strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        promise(reached, f"{name}: the loss sends a finite gradient to the parameter {key}")


def _check_predictions(name: str, head: LossHead, features: Tensor, targets: Tensor) -> None:
    distribution = head.distribution(head(features))
    promise(distribution.ndim == 2 and len(distribution) == len(targets), f"{name}: the distribution is (batch, _)")
    for row in range(len(targets)):
        alone = head.distribution(head(features[[row]]))[0]
        promise(
            is_close(alone, distribution[row]), f"{name}: in evaluation a sample alone gives what it gives in a batch"
        )
    promise(len(head.predict(distribution)) == len(targets), f"{name}: there is one prediction per sample")
    distribution = distribution.detach()
    figures = head.metrics(distribution, targets)
    promise(all(isinstance(figure, float) for figure in figures.values()), f"{name}: metrics are floats")
    stated = [each.name for each in head.measures]
    promise(
        sorted(figures) == sorted(stated), f"{name}: its metrics {sorted(figures)} are its measures {sorted(stated)}"
    )
    promise(head.score in figures, f"{name}: its score {head.score!r} is one of its metrics {sorted(figures)}")
    for each in head.measures:
        value, low, high = figures[each.name], each.low, each.high
        within = math.isnan(value) or ((low is None or value >= low) and (high is None or value <= high))
        promise(within, f"{name}: {each.name} = {value} lies between {low} and {high}, as declared")
    _check_kind(name, head, distribution, targets)
    if head.sums_suffice and (statistics := head.statistics(distribution, targets)) is not None:
        by_sums = head.metrics_of_sums(statistics.sum(dim=0, keepdim=True))
        for key, value in figures.items():
            agree = math.isnan(value) or abs(float(by_sums[key]) - value) < 1e-9
            promise(agree, f"{name}: {key} by sums of statistics is {key} ({value})")
    promise(math.isfinite(figures[head.score]), f"{name}: its score is finite where it is defined")
    promise(set(head.metrics(distribution[:1], targets[:1])) == set(figures), f"{name}: one sample has all metrics")


def _check_kind(name: str, head: LossHead, distribution: Tensor, targets: Tensor) -> None:
    shares = bool(((distribution >= -1e-9) & (distribution <= 1 + 1e-9)).all())
    if head.kind == "classes":
        promise(
            shares and is_close(distribution.sum(dim=1), torch.ones(len(targets)).to(distribution)),
            f"{name}: the probabilities of classes add up to one",
        )
        promise(distribution.shape[1] == len(head.classes), f"{name}: there is a probability for each of its classes")
    elif head.kind == "labels":
        promise(shares, f"{name}: the probabilities of labels lie between 0 and 1")
        promise(distribution.shape[1] == len(head.classes), f"{name}: there is a probability for each of its labels")
    else:
        promise(head.kind == "numbers" and not head.classes, f"{name}: its kind is classes, labels or numbers")
        numbers = head.predict(distribution)
        promise(numbers.shape == targets.shape, f"{name}: predicted numbers are of the shape of the targets")
        first = distribution[:, : targets[0].numel()].reshape(targets.shape)
        promise(is_close(numbers, first), f"{name}: the predicted numbers are the first columns of the distribution")
    confusion = head.confusion(distribution, targets)
    if confusion is not None:
        size = len(head.classes)
        fits = tuple(confusion.shape) == (size, size) and int(confusion.sum()) == len(targets)
        promise(fits, f"{name}: its confusion matrix has a row and a column per class and counts every sample once")


def _check_constant(name: str, head: LossHead, targets: Tensor) -> None:
    head.fit_targets(targets)
    scores = head.constant(targets)
    promise(tuple(scores.shape) == (head.out_features,), f"{name}: the constant answer is one row of scores")
    wide = scores.expand(len(targets), -1)
    promise(head.loss(wide, targets).isfinite().all(), f"{name}: the loss of the constant answer is finite")
    nothing = head.loss(torch.zeros_like(wide), targets).mean()
    promise(bool(head.loss(wide, targets).mean() <= nothing + 1e-4), f"{name}: the constant answer is no worse than 0")
