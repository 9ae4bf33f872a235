"""Diagnosing and re-learning: encoders that memorise go part of the way back to their start."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, EpochPlan, Review, Step
from fusionkit.training.balancers.terms import find_classes

Key = tuple[str, str]


@BALANCERS.register("relearning")
class Relearning(Balancer):
    r"""A way back for every encoder towards its initial weights, as far as it knows training samples by heart.

    .. math::
        \theta_m \leftarrow (1 - \alpha_m)\, \theta_m + \alpha_m\, \theta_m^{\mathrm{init}}, \qquad
        \alpha_m = \tanh\bigl(\lambda\, |P_m^{\mathrm{train}} - P_m^{\mathrm{held}}|\bigr), \qquad
        P = \frac{1}{n} \sum_k \max_c |K_k \cap C_c|

    P is the purity of modality m's features: they are clustered by k-means into as many clusters :math:`K_k` as there
    are classes :math:`C_c`, and each cluster is taken for its most frequent class. Features that fall apart into
    classes on training samples and do not on held-out ones were learned by heart: that encoder unlearns much, the
    encoder of a modality that is learned too little unlearns little and is not held back. Choose it where one modality
    overfits before the others are done and you do not want to suppress it for good. Targets that are numbers have no
    classes and are left out. It acts in training only and costs no further pass in a step, but an evaluation of all
    training and held-out samples and a clustering of their features every time.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        strength: :math:`\lambda`, at least 0.
        every: Epochs from one diagnosis to the next.
        times: How many diagnoses a stage has at most.

    Raises:
        TrainingError: No target has classes.

    Source:
        Wei et al. 2024 (ECCV), arXiv:2407.09705, from the authors' program, whose values the defaults are (CREMA-D);
        equation numbers not checked. As there, features are scaled to -1 to 1 before they are clustered, and momenta
        of the optimizer and batch statistics stay. What differs: the held-out samples are the inner groups of
        ``train.select: inner``; diagnoses come after `every` epochs, in the program one epoch later; several targets
        with classes are averaged; samples without the modality do not count.

    Example:
        >>> labels, clusters = np.array([0, 0, 1, 1]), np.array([5, 5, 5, 7])
        >>> purity(labels, clusters)
        0.75
    """

    held_out = True

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        strength: Annotated[float, Field(ge=0)] = 3.0,
        every: Annotated[int, Field(ge=1)] = 20,
        times: Annotated[int, Field(ge=1)] = 3,
    ) -> None:
        super().__init__()
        self.modalities, self.targets = modalities, targets
        self.strength, self.every, self.times = strength, every, times

    def before_epoch(self, review: Review) -> EpochPlan:
        """Returns the share that every encoder unlearns, where a diagnosis is due."""
        if not review.epoch or review.epoch % self.every or review.epoch // self.every > self.times:
            return EpochPlan()
        training, held = (_gather(review.walk(samples)) for samples in ("training", "held_out"))
        gaps: dict[str, list[float]] = {}
        for name, target in sorted(training.keys() & held.keys()):
            classes = len(np.unique(np.concatenate([training[name, target][1], held[name, target][1]])))
            seen, unseen = (
                purity(of[1], clusters(of[0], classes)) for of in (training[name, target], held[name, target])
            )
            gaps.setdefault(name, []).append(abs(seen - unseen))
        return EpochPlan(relearn={name: math.tanh(self.strength * float(np.mean(of))) for name, of in gaps.items()})


def purity(labels: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Returns the share of samples that are of the most frequent class of their cluster."""
    pairs = [np.unique(labels[found == cluster], return_counts=True)[1].max() for cluster in np.unique(found)]
    return float(sum(pairs) / len(labels))


def clusters(features: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Returns the cluster of every row by k-means, after each feature is scaled to -1 to 1."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    low, high = features.min(axis=0), features.max(axis=0)
    scaled = 2 * (features - low) / np.where(high > low, high - low, 1.0) - 1
    means = KMeans(min(count, len(np.unique(scaled, axis=0))), n_init=10, random_state=0)
    with threadpool_limits(1):  # sums of several threads round differently from run to run
        return np.asarray(means.fit_predict(scaled), dtype=np.int64)


def _gather(steps: Iterable[Step]) -> dict[Key, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Gathers by modality and target the features and classes of the samples that have both."""
    found: dict[Key, list[tuple[Tensor, Tensor]]] = {}
    for step in steps:
        assert step.output is not None
        classes = find_classes(step, "relearning: clusters are compared with classes")
        for target, wanted in classes.items():
            for name, features in step.output.features.items():
                counts = step.output.present[name] & (wanted >= 0)
                if counts.any():
                    found.setdefault((name, target), []).append((features[counts], wanted[counts]))
    return {
        key: (
            torch.cat([one for one, _ in pairs]).double().cpu().numpy(),
            torch.cat([wanted for _, wanted in pairs]).cpu().numpy(),
        )
        for key, pairs in found.items()
    }
