"""Optimizers and schedules of the learning rate, as recipes name them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import OPTIMIZERS, SCHEDULERS
from fusionkit.interfaces import OptimizerRecipe, Schedule

Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Factor = Annotated[float, Field(gt=0.0, lt=1.0)]


@OPTIMIZERS.register("adamw")
class AdamW(OptimizerRecipe):
    """Adam with decoupled weight decay, the paper's choice.

    Args:
        lr: Learning rate; the paper uses 5e-5 on pretrained ResNets, networks from scratch want more.
        weight_decay: Decoupled decay, on weights only: biases and norms are left alone.
        beta1: Decay of the mean of gradients.
        beta2: Decay of the mean of squared gradients.
        fused: Update in one kernel, which is faster; without it torch's loops, equal to rounding.

    Source:
        Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    def __init__(
        self,
        *,
        lr: Positive = 1e-3,
        weight_decay: Annotated[float, Field(ge=0.0)] = 0.01,
        beta1: Share = 0.9,
        beta2: Share = 0.999,
        fused: bool = True,
    ) -> None:
        self.lr, self.weight_decay, self.betas, self.fused = lr, weight_decay, (beta1, beta2), fused

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Makes the optimizer; vectors (biases, norms) are not decayed."""
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        held = [group for group in groups if group["params"]]
        optimizer = torch.optim.AdamW(held, lr=self.lr, betas=self.betas, fused=self.fused)
        if self.fused:
            optimizer.register_step_pre_hook(_lay_out_gradients)
            optimizer.register_step_post_hook(_count_update)
            optimizer.register_load_state_dict_post_hook(_lay_out_state)
        return optimizer


def _lay_out_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Gives gradients the strides of their weights: fused kernels walk memory and mix up numbers where they differ."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = _lay_out(parameter.grad, parameter)


def _count_update(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Counts the update in the weights' versions, as plain ones do: by them a change is seen."""
    for group in optimizer.param_groups:
        torch.autograd.graph.increment_version(group["params"])


def _lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    """Lays out what the optimizer keeps: it comes from a file without strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = _lay_out(value, parameter)


def _lay_out(values: Tensor, like: Tensor) -> Tensor:
    return torch.empty_like(like, dtype=values.dtype).copy_(values)


@OPTIMIZERS.register("sgd")
class SGD(OptimizerRecipe):
    """Stochastic gradient descent with momentum.

    Args:
        lr: Learning rate.
        momentum: Share of the last update that is kept.
        nesterov: Look ahead along the momentum; needs momentum above zero.
        weight_decay: L2 penalty.

    Source:
        Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html.
    """

    def __init__(
        self,
        *,
        lr: Positive = 0.01,
        momentum: Share = 0.9,
        nesterov: bool = False,
        weight_decay: Annotated[float, Field(ge=0.0)] = 0.0,
    ) -> None:
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Makes the optimizer; torch's fused one fails on a parameter whose first gradient comes after others'."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0.0,
            weight_decay=self.weight_decay,
        )


@SCHEDULERS.register("constant")
class Constant(Schedule):
    """The learning rate of the optimizer, unchanged.

    Example:
        >>> Constant().factor(0.7, [])
        1.0
    """

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """Returns one."""
        return 1.0


@SCHEDULERS.register("plateau")
class Plateau(Schedule):
    r"""The rate is multiplied by a factor whenever the monitored loss has not dropped for some epochs.

    The paper's schedule: halved after ten epochs without a lower validation loss. Without a validation set
    (``select: last``) the training loss is monitored.

    Args:
        factor: What the rate is multiplied by.
        patience: Epochs without a lower loss that are waited for.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 5.2.

    Example:
        >>> Plateau(patience=2).factor(0.5, [1.0, 1.1, 1.2, 1.3])
        0.5
    """

    def __init__(self, *, factor: Factor = 0.5, patience: Annotated[int, Field(gt=0)] = 10) -> None:
        self.ratio, self.patience = factor, patience

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """Returns the product of the reductions so far."""
        best, waited, rate = math.inf, 0, 1.0
        for loss in losses:
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited > self.patience:
                rate, waited = rate * self.ratio, 0
        return rate


@SCHEDULERS.register("cosine")
class Cosine(Schedule):
    r"""Half a cosine from the full rate to a share of it.

    .. math::
        e + (1 - e) \frac{1 + \cos(\pi p)}{2}

    with p the finished share of the stage and e the share at its end.

    Args:
        end: Share of the rate at the end.

    Source:
        Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.

    Example:
        >>> round(Cosine().factor(0.5, []), 3)
        0.5
    """

    def __init__(self, *, end: Share = 0.0) -> None:
        self.end = end

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """Returns the cosine at this progress."""
        return self.end + (1.0 - self.end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULERS.register("one_cycle")
class OneCycle(Schedule):
    r"""The rate rises to its full value, then falls to almost nothing, both along half a cosine.

    Args:
        rise: Share of the stage in which the rate rises.
        start: Share of the rate at the start.

    Source:
        Smith and Topin 2018, arXiv:1708.07120; the momentum is left alone.

    Example:
        >>> schedule = OneCycle(rise=0.25)
        >>> [round(schedule.factor(p, []), 2) for p in (0.0, 0.25, 1.0)]
        [0.04, 1.0, 0.0]
    """

    def __init__(self, *, rise: Factor = 0.3, start: Factor = 0.04) -> None:
        self.rise, self.start = rise, start

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """Returns the cycle at this progress."""
        if progress < self.rise:
            return self.start + (1.0 - self.start) * 0.5 * (1.0 - math.cos(math.pi * progress / self.rise))
        return 0.5 * (1.0 + math.cos(math.pi * (progress - self.rise) / (1.0 - self.rise)))
