"""Sample-level modality valuation: samples are drawn again with the modality that contributes little to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, EpochPlan, Repeat, Review, Step
from fusionkit.training.balancers.terms import find_classes

Subset = tuple[str, ...]


@BALANCERS.register("sample_valuation")
class SampleValuation(Balancer):
    r"""Repeats of a sample with one modality only, the more the less that modality contributes to it.

    .. math::
        \phi_m(x) = \sum_{S \subseteq M \setminus \{m\}} \frac{|S|! \, (|M| - |S| - 1)!}{|M|!}
        \bigl(v(S \cup \{m\}) - v(S)\bigr), \qquad
        v(S) = \begin{cases} |S| & \text{the prediction from S is right} \\ 0 & \text{otherwise} \end{cases}

    .. math::
        \mathrm{repeats}_m(x) = \begin{cases} \lfloor r\,(1 - \phi_m(x)) + \tfrac{1}{2} \rfloor & \phi_m(x) < 1 \\
        0 & \text{otherwise} \end{cases}

    M are the modalities that the sample x has, and S those of them that the fusion is given. :math:`\phi_m(x)` is
    modality m's Shapley share of the value of x; each is 1 where every modality contributes its part, and with two
    modalities one that only misleads has -1/2. After `warmup` epochs, every epoch holds each training sample once as it
    is, and once more per repeat with modality m present and the others absent. So it is not whole modalities that are
    helped but each sample by itself. Choose it where which modality is informative differs from sample to sample.
    Numbers are neither right nor wrong and are left out. It acts in training only and costs :math:`2^{|M|} - 1` forward
    passes of every training sample before each epoch, and the longer epochs.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        rate: r, repeats per share that is missing, positive.
        warmup: Epochs at the start without repeats.

    Raises:
        TrainingError: No target has classes.

    Source:
        Wei et al. 2024 (CVPR), arXiv:2309.06255, the sample-level method; equation numbers not checked. The rate and
        the warm-up are those of the authors' program, which for two modalities has 1, 2 and 3 repeats at shares of
        1/2, 0 and -1/2, as here. What differs: any number of modalities; several targets with classes are averaged
        before the repeats are counted; a sample that lacks a modality is valued over those that it has, and one that
        has a single one is not repeated; an absent modality is the model's placeholder, where the program has zeros;
        the uni-modal losses stay where the model has them.

    Example:
        >>> right = {("audio",): torch.tensor([1.0]), ("video",): torch.tensor([0.0])}
        >>> right["audio", "video"] = torch.tensor([1.0])
        >>> [share.item() for share in shares(right, ("audio", "video"))]
        [1.5, 0.5]
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        rate: Annotated[float, Field(gt=0)] = 2.0,
        warmup: Annotated[int, Field(ge=0)] = 5,
    ) -> None:
        super().__init__()
        self.modalities, self.rate, self.warmup = modalities, rate, warmup

    def before_epoch(self, review: Review) -> EpochPlan:
        """Returns the samples that the epoch repeats, each with its modality."""
        if review.epoch < self.warmup or "fused" not in review.branches or len(self.modalities) < 2:
            return EpochPlan()
        repeats: list[Repeat] = []
        for step in review.walk("training"):
            repeats += self._plan_repeats(step)
        return EpochPlan(repeats=tuple(repeats))

    def _plan_repeats(self, step: Step) -> list[Repeat]:
        assert step.output is not None
        names, present = self.modalities, step.output.present
        every = [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]
        right = {subset: _judge(step, subset) for subset in every}
        patterns = list(zip(*(present[name].tolist() for name in names), strict=True))
        repeats = []
        # Samples that have the same modalities are valued together: their players are the same.
        for pattern in sorted(set(patterns)):
            players = tuple(name for name, here in zip(names, pattern, strict=True) if here)
            if len(players) < 2:
                continue
            found = [share.tolist() for share in shares(right, players)]
            for row in (row for row, own in enumerate(patterns) if own == pattern):
                for name, share in zip(players, found, strict=True):
                    again = Repeat(step.sample_ids[row], (name,))
                    repeats += [again] * self.count_repeats(share[row])
        return repeats

    def count_repeats(self, share: float) -> int:
        """Counts the repeats of a sample with a modality of this share; none where it is not known (NaN)."""
        wanted = round(self.rate * (1 - share), 9) if share < 1 else 0.0  # sums of fractions are not exact
        return math.floor(wanted + 0.5)


def shares(right: Mapping[Subset, Tensor], players: Sequence[str]) -> list[Tensor]:
    """Computes the Shapley shares of the players from how right each sample's prediction is by what is present."""
    count, found = len(players), []
    for name in players:
        others = [other for other in players if other != name]
        total = torch.zeros_like(right[(name,)])
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for subset in combinations(others, size):
                joined = tuple(player for player in players if player == name or player in subset)
                total += weight * ((size + 1) * right[joined] - (size * right[subset] if subset else 0.0))
        found.append(total)
    return found


def _judge(step: Step, subset: Subset) -> Tensor:
    """Returns by sample the share of its known targets that are predicted right; NaN where none is known."""
    classes = find_classes(step, "sample_valuation: a prediction is right or wrong for classes")
    scores = step.scores_of(subset)
    known = torch.stack([wanted >= 0 for wanted in classes.values()]).double()
    said = {name: step.distribution_of(f"fused/{name}", scores[name]).argmax(dim=1) for name in classes}
    hits = torch.stack([said[name] == wanted for name, wanted in classes.items()]).double()
    return (hits * known).sum(dim=0) / known.sum(dim=0)
