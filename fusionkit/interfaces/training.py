"""The contracts of training: balancers, strategies, optimizers and schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.interfaces.network import ModelOutput


def _not_yet(*_: object) -> Any:
    raise RuntimeError("there are no losses and no scores yet: this hook runs before the forward pass")


@dataclass(frozen=True)
class Step:
    """What a balancer may look at in one training step.

    `loss_of` and `scores_of` compute when they are called and cost nothing otherwise; hooks that run before the
    forward pass have neither.

    Args:
        epoch: Epochs finished in this stage.
        step: Steps finished in this stage.
        epochs: Epochs of this stage.
        output: The model's output of this batch; None in hooks that run before the forward pass.
        targets: The batch's targets on the model's device.
        sample_ids: The batch's samples.
        teacher: The output of the frozen teachers on this batch, where `Balancer.teachers` asks for them.
        loss_of: From a loss term and scores to the loss that each sample would have with them, ``(batch,)``; NaN
            where the sample does not count in the term. Gradients flow through it.
        scores_of: From modalities to the fused scores by target where only these are present; in evaluation mode,
            without gradients. Every call is one more forward pass of them and the fusion.
    """

    epoch: int
    step: int
    epochs: int
    output: ModelOutput | None
    targets: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]
    teacher: ModelOutput | None = None
    loss_of: Callable[[str, Tensor], Tensor] = _not_yet
    scores_of: Callable[[Sequence[str]], Mapping[str, Tensor]] = _not_yet


@dataclass(frozen=True)
class GradientScale:
    """``gradient * scale + noise * std(gradient) * normal``, drawn anew for every tensor."""

    scale: float | Tensor = 1.0
    noise: float | Tensor = 0.0


@dataclass(frozen=True)
class Plan:
    """What happens in one training step; the default is the ordinary one.

    Args:
        trains: Parts that are updated (modalities and ``"fusion"``); None for all of the stage.
        terms: Loss terms that count; None for all of the stage.
        resets: Parts that go back to their initial weights before this step.
        separate_gradients: Compute one gradient per loss term and let `Balancer.combine` merge them.
    """

    trains: tuple[str, ...] | None = None
    terms: tuple[str, ...] | None = None
    resets: tuple[str, ...] = ()
    separate_gradients: bool = False


class Balancer(nn.Module, ABC):
    """Named loss terms to one total, and the hooks by which the literature balances modalities.

    Terms are named ``fused/<target>`` and ``<modality>/<target>``. A subclass overrides the hooks that it needs; one
    that is not overridden is not called and costs nothing. State that a run must resume with belongs in buffers or
    parameters (parameters are trained by the run's optimizer).
    """

    wired: ClassVar[tuple[str, ...]] = ("modalities", "targets")
    #: Modalities whose separately trained uni-modal network is wanted as a frozen teacher (`Step.teacher`).
    teachers: tuple[str, ...] = ()
    #: Uni-modal heads train nothing but themselves; where gradients are clipped, theirs are apart from the others.
    heads_watch: ClassVar[bool] = False

    @abstractmethod
    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Hook 1: the weighted terms, whose sum is the total; terms may be dropped or added."""

    def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
        """Hook 2: by ``<modality>`` for its branch's parameters, by ``features/<modality>`` for its features."""
        return {}

    def replace_features(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Hook 3: other features, or fewer that are present, for the fusion; uni-modal heads see the originals."""
        return features, present

    def sample_weights(self, step: Step) -> Mapping[str, Tensor]:
        """Hook 4: by loss term, a weight per sample ``(batch,)``; a term left out weighs every sample by one."""
        return {}

    def plan(self, step: Step) -> Plan:
        """Hook 5: what this step trains, resets and combines."""
        return Plan()

    def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
        """Merges gradients per weighted term into one, where `plan` asked for `separate_gradients`.

        Each sequence follows the order of the parameters that the step trains; None stands for no dependence, by which
        a balancer can tell what several terms share.
        """
        columns = zip(*gradients.values(), strict=True)
        return [_sum_of(gradient for gradient in column if gradient is not None) for column in columns]

    def uses(self, hook: str) -> bool:
        """Whether this balancer overrides a hook."""
        return getattr(type(self), hook) is not getattr(Balancer, hook)


def _sum_of(gradients: Iterable[Tensor]) -> Tensor | None:
    present = list(gradients)
    return torch.stack(present).sum(dim=0) if present else None


@dataclass(frozen=True)
class Stage:
    """One leg of a training: which parts learn, from which branches' losses.

    Args:
        name: A short name, unique in the strategy; it stands in logs and in the run folder.
        trains: Parts that learn (modalities and ``"fusion"``); all others are frozen, batch statistics included.
        branches: Branches whose loss terms count: modalities, and ``"fused"``.
        becomes_teacher: Keep a frozen copy of what was trained as a teacher, then put the parts back to their start.
    """

    name: str
    trains: tuple[str, ...]
    branches: tuple[str, ...]
    becomes_teacher: bool = False


class Strategy(ABC):
    """The order in which the parts of a model are trained."""

    wired: ClassVar[tuple[str, ...]] = ("modalities", "unimodal_heads")

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order."""


class OptimizerRecipe(ABC):
    """The recipe of an optimizer."""

    wired: ClassVar[tuple[str, ...]] = ()
    lr: float

    @abstractmethod
    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Makes the optimizer of some parameters."""


class Schedule(ABC):
    """The factor on the learning rate, as a function of progress; a pure function, so that a resumed run agrees."""

    wired: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """The factor for the next step.

        Args:
            progress: Finished share of the stage's steps, 0 to 1.
            losses: The monitored loss of every finished epoch.
        """
