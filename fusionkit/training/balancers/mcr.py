"""The multimodal competition regularizer: encoders play for their influence on the fused answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Step
from fusionkit.nn.distributed import mean_over_union
from fusionkit.training.balancers.terms import find_classes, split_terms


@BALANCERS.register("mcr")
class MCR(Balancer):
    r"""Encoders that raise their own influence on the fused answer, and may lower that of the others.

    .. math::
        L_m = -\frac{1}{n_m} \sum_i \mathrm{JSD}\bigl(p(y \mid f_i), p(y \mid f_i \text{ with } f_{m,\sigma(i)})\bigr),
        \qquad \nabla_{\theta_m} L = \nabla_{\theta_m} L_{\mathrm{fused}}
        + \lambda \Bigl(\nabla_{\theta_m} L_m + k \sum_{m' \ne m} \nabla_{\theta_m} L_{m'}\Bigr)

    :math:`\sigma` permutes modality m's features among the samples of the batch that have it: what changes in the
    answer, measured by the Jensen-Shannon divergence of the fused head's distributions p, is m's influence. k is the
    strategy: -1 greedy, where each encoder also lowers the others' influence, 0 independent, 1 collaborative. Choose it
    where one modality drowns another that has something of its own to say; uni-modal losses stand beside it. It needs a
    target with classes: numbers are left alone. It acts in training only, needs a fusion of vectors, and costs passes
    of the fusion and the fused heads for each of M modalities and each permutation: two if greedy, else one.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        weight: :math:`\lambda`, at least 0.
        strategy: How each encoder treats the influence of the others.
        permutations: Permutations per modality and step, whose divergences are averaged.
        unimodal_weight: Weight of the uni-modal losses, at least 0.

    Raises:
        TrainingError: No target has classes, or the fusion reads sequences, which cannot be permuted.

    Source:
        Kontras et al. 2025 (NeurIPS), arXiv:2411.07335, eqs. (8), (12), (13); weights as in the authors' configuration
        for CREMA-D, which takes 6 permutations. As in their program the answer that nothing was permuted in is held
        constant for the greedy strategy, and the fusion and heads get the gradient of the greedy strategy's two parts,
        which cancel; here it is constant for all strategies. What differs: the contrastive term and the conditional
        entropy bottleneck of eq. (5), which that configuration leaves out, are not here; several targets, absent
        modalities, and for more than two modalities the sum over the others (their appendix was not seen).

    Example:
        >>> even, sure = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])
        >>> round(MCR(("audio", "video"), ("mood",)).divergence(even, sure).item(), 4)
        0.2158
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        weight: Annotated[float, Field(ge=0)] = 0.1,
        strategy: Literal["greedy", "independent", "collaborative"] = "greedy",
        permutations: Annotated[int, Field(gt=0)] = 1,
        unimodal_weight: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.modalities, self.weight, self.strategy = modalities, weight, strategy
        self.permutations, self.unimodal_weight = permutations, unimodal_weight

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Adds a term ``influence/<modality>`` for each; a greedy one is a gradient only, of value zero."""
        fused, own = split_terms(terms, self.unimodal_weight)
        if not fused:
            return terms
        weighted = {**fused, **own}
        if len(self.modalities) < 2 or not self.weight:
            return weighted
        ranked = find_classes(step, "mcr: influence is on probabilities of classes")
        classes = [name for name in fused if name.partition("/")[2] in ranked]
        for name in self.modalities:
            drawn = [self._play(step, name, classes) for _ in range(self.permutations)]
            weighted[f"influence/{name}"] = self.weight * torch.stack(drawn).mean()
        return weighted

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes the Jensen-Shannon divergence of each row's distributions, ``(batch,)``."""
        middle = (first + second) / 2
        return (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2

    def _play(self, step: Step, name: str, terms: Sequence[str]) -> Tensor:
        """Returns minus the influence of a modality, as its own encoder sees it and as those of the others do."""
        assert step.output is not None
        others = [other for other in self.modalities if other != name]
        rows = step.output.present[name].nonzero().flatten()
        # Features change places among the samples that have the modality; the others keep their placeholder.
        order = torch.arange(len(step.output.present[name]), device=rows.device)
        order = order.index_copy(0, rows, rows[torch.randperm(len(rows), device=rows.device)])
        if self.strategy == "collaborative":
            return -self._measure_influence(step, name, order, terms, constant=())
        own = -self._measure_influence(step, name, order, terms, constant=others)
        if self.strategy == "independent":
            return own
        return own + self._measure_influence(step, name, order, terms, constant=[name])

    def _measure_influence(
        self, step: Step, name: str, order: Tensor, terms: Sequence[str], *, constant: Collection[str]
    ) -> Tensor:
        """Measures how far answers move if a modality's features stand in this order; no gradient into the constant."""
        assert step.output is not None
        features = {n: f.detach() if n in constant else f for n, f in step.output.features.items()}
        moved = step.fuse({**features, name: features[name][order]}, step.output.present)
        here, total = step.output.present[name], []
        for term in terms:
            target = term.partition("/")[2]
            usual = step.distribution_of(term, step.output.fused[target].detach())
            total.append(mean_over_union(self.divergence(usual, step.distribution_of(term, moved[target]))[here]))
        return torch.stack(total).sum()


def _relative_entropy(of: Tensor, against: Tensor) -> Tensor:
    tiny = torch.finfo(of.dtype).tiny
    return (of * (of.clamp(min=tiny).log() - against.clamp(min=tiny).log())).sum(dim=1)
