"""The contracts of training: balancers, strategies, optimizers and schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.interfaces.network import ModelOutput


def _refuse_early(*_: object) -> Any:
    raise RuntimeError("there are no losses and no scores yet: this hook runs before the forward pass")


@dataclass(frozen=True)
class Step:
    """The view that a balancer has of one training step.

    `loss_of`, `scores_of`, `fuse` and `distribution_of` compute when they are called and cost nothing otherwise; hooks
    that run before the forward pass have none of them.

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
        fuse: From features (before dropout) and presence by modality to the fused scores by target that they have in
            the mode of this step, with gradients and with the dropout that the step drew. Every call is one more pass
            of the fusion and the fused heads, and none of the encoders. Behind a fusion that reads sequences the
            features must be those of `output`.
        distribution_of: From a loss term and scores to what its loss head makes of them: probabilities of classes or
            labels, or numbers. Gradients flow through it.
    """

    epoch: int
    step: int
    epochs: int
    output: ModelOutput | None
    targets: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]
    teacher: ModelOutput | None = None
    loss_of: Callable[[str, Tensor], Tensor] = _refuse_early
    scores_of: Callable[[Sequence[str]], Mapping[str, Tensor]] = _refuse_early
    fuse: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]] = _refuse_early
    distribution_of: Callable[[str, Tensor], Tensor] = _refuse_early


@dataclass(frozen=True)
class GradientScale:
    """``gradient * scale + noise * std(gradient) * normal``, drawn anew for every tensor."""

    scale: float | Tensor = 1.0
    noise: float | Tensor = 0.0


@dataclass(frozen=True)
class Plan:
    """The course of one training step; the default is the ordinary one.

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


@dataclass(frozen=True)
class Review:
    """The view that a balancer has between two epochs; both functions compute when they are called.

    Args:
        epoch: Epochs finished in this stage.
        epochs: Epochs of this stage.
        trains: Parts that learn in this stage.
        branches: Branches whose loss terms count in this stage.
        walk: Goes once over the ``"training"`` or the ``"held_out"`` samples, in evaluation mode, without gradients and
            without chance in the transforms: a `Step` for each batch, with the scores of `branches`. Samples are held
            out where `Balancer.held_out` asks for it. Every process walks over all samples.
        trial: Within ``with trial(branch, epochs):`` the network is what it becomes if the branch is trained by itself
            for so many epochs from the current weights, with an optimizer of its own; afterwards it is as before.
    """

    epoch: int
    epochs: int
    trains: tuple[str, ...]
    branches: tuple[str, ...]
    walk: Callable[[Literal["training", "held_out"]], Iterator[Step]]
    trial: Callable[[str, int], AbstractContextManager[None]]


@dataclass(frozen=True)
class Repeat:
    """A training sample that an epoch has once more, with some of its modalities only; the others are absent."""

    sample_id: str
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class EpochPlan:
    """The course of the next epoch; the default is the ordinary one.

    Args:
        relearn: By modality, which share of the way its encoder goes back to its initial weights before the epoch, 0 to
            1. Its heads and batch statistics stay, and so does an encoder that the stage does not train.
        repeats: Samples that the epoch has beside every training sample.
    """

    relearn: Mapping[str, float] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()


class Balancer(nn.Module, ABC):
    """Named loss terms to one total, and the hooks by which the literature balances modalities.

    Terms are named ``fused/<target>`` and ``<modality>/<target>``. A subclass overrides the hooks that it needs; one
    that is not overridden is not called and costs nothing. State that a run must resume with belongs in buffers or
    parameters (parameters are trained by the run's optimizer). One that sets `reads_widths` has a further wired
    parameter ``in_features`` (mapping of modality to the width of its features).
    """

    wired: ClassVar[tuple[str, ...]] = ("modalities", "targets")
    reads_widths: ClassVar[bool] = False
    #: Modalities whose separately trained uni-modal network is wanted as a frozen teacher (`Step.teacher`).
    teachers: tuple[str, ...] = ()
    #: Whether it looks at samples that are held out of the training part (`Review.walk`).
    held_out: bool = False
    #: Uni-modal heads train nothing but themselves; where gradients are clipped, theirs are apart from the others.
    heads_watch: ClassVar[bool] = False

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Returns the weighted terms, whose sum is the total (hook 1); terms may be dropped or added."""
        return terms

    def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
        """Scales gradients (hook 2): ``<modality>`` those of a branch, ``features/<modality>`` those of features."""
        return {}

    def replace_features(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Returns other features, or fewer present ones, for the fusion (hook 3); uni-modal heads see the originals.

        Features are whole here as everywhere in a balancer: dropout drops of what the hook returns.
        """
        return features, present

    def sample_weights(self, step: Step) -> Mapping[str, Tensor]:
        """Returns by loss term a weight per sample ``(batch,)`` (hook 4); a term left out weighs all by one."""
        return {}

    def plan(self, step: Step) -> Plan:
        """Plans what this step trains, resets and combines (hook 5)."""
        return Plan()

    def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
        """Merges gradients per weighted term into one, where `plan` asked for `separate_gradients`.

        Each sequence follows the order of the parameters that the step trains; None stands for no dependence, by which
        a balancer can tell what several terms share.
        """
        columns = zip(*gradients.values(), strict=True)
        return [_sum(gradient for gradient in column if gradient is not None) for column in columns]

    def before_epoch(self, review: Review) -> EpochPlan:
        """Plans what the next epoch unlearns and repeats (hook 6); a run that stops within the hook calls it again."""
        return EpochPlan()

    def uses(self, hook: str) -> bool:
        """Tells whether this balancer overrides a hook."""
        return getattr(type(self), hook) is not getattr(Balancer, hook)


def _sum(gradients: Iterable[Tensor]) -> Tensor | None:
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
        """Returns the stages, in order."""


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
        """Returns the factor for the next step.

        Args:
            progress: Finished share of the stage's steps, 0 to 1.
            losses: The monitored loss of every finished epoch.
        """
