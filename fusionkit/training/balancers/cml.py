"""Calibrating multimodal learning: confidence that does not rise when a modality is taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Step
from fusionkit.nn.distributed import mean_over_union
from fusionkit.training.balancers.terms import find_classes, split_terms


@BALANCERS.register("cml")
class CML(Balancer):
    r"""A penalty on a fused answer that grows surer with a modality less.

    .. math::
        L = \frac{1}{n} \sum_i \Bigl(\frac{1}{p_i} \sum_{k=0}^{p_i - 1} \ell_i(S_k)
        + \lambda \sum_{k=1}^{p_i - 1} \max\bigl(0, \mathrm{Conf}_i(S_k) - \mathrm{Conf}_i(S_{k-1})\bigr)\Bigr),
        \qquad \mathrm{Conf}_i(S) = \max_c p(c \mid x_i^S)

    :math:`S_0` are the :math:`p_i` modalities that sample i has, and each further :math:`S_k` has one less, drawn anew
    for every sample and step; :math:`\ell_i(S)` is the fused loss where only S is present and p the fused head's
    distribution. A network that listens to one modality is as sure, or surer, without the others; here it must draw
    its sureness from all of them, and it learns to answer with some of them. Choose it where the confidence matters,
    or where a modality will be missing or spoilt in use. It needs a target with classes: for numbers, which have no
    confidence, the first sum is all. It acts in training only and costs M - 1 further passes of the fusion and the
    fused heads, for M modalities, and none of the encoders.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        weight: :math:`\lambda`, at least 0.
        unimodal_weight: Weight of the uni-modal losses beside it; 0 in the paper, where there are no uni-modal heads.

    Raises:
        TrainingError: No target has classes.

    Source:
        Ma et al. 2023 (ICML), arXiv:2306.01265, the regularisation of the section on calibrating multimodal learning
        (equation numbers not checked). The chain of subsets, one order per sample, and the mean of the losses along it
        are the authors' program's. It ranks right answers, and of wrong ones lowers only the smaller set's confidence;
        the paper's equation, which stands above, ranks all. It sums over a batch of 200, with :math:`\lambda` = 0.1 in
        its example, where the mean stands here: that would be 20. The default is ours. What differs: absent modalities
        and numbers; a modality is taken away by the model's learned placeholder, theirs by imputed values.

    Example:
        >>> balancer = CML(("audio", "video"), ("mood",))
        >>> [subset.tolist() for subset in balancer.draw_chain(torch.tensor([[True, True], [False, True]]),
        ...                                               torch.tensor([[0.2, 0.7], [0.9, 0.1]]))]
        [[[False, True], [False, False]]]
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        weight: Annotated[float, Field(ge=0)] = 1.0,
        unimodal_weight: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.weight, self.unimodal_weight = weight, unimodal_weight

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Averages the fused terms along the chain, and adds a term ``confidence/<target>`` for each with classes."""
        fused, weighted = split_terms(terms, self.unimodal_weight)
        if not fused:
            return terms
        if len(self.modalities) < 2:
            return {**fused, **weighted}
        output = step.output
        assert output is not None
        ranked = find_classes(step, "cml: confidence belongs to classes")
        present = torch.stack([output.present[name] for name in self.modalities], dim=1)
        subsets = self.draw_chain(present, torch.rand(present.shape, device=present.device))
        scores = [output.fused, *(self._fuse_without(step, subset) for subset in subsets)]
        counts = [torch.ones_like(present[:, 0]), *(subset.any(dim=1) for subset in subsets)]
        for name in fused:
            target = name.partition("/")[2]
            along = [of[target] for of in scores]
            losses = torch.stack([step.loss_of(name, one) for one in along])
            here = torch.stack(counts)
            # A sample without the target is NaN all along the chain, so it is left out at the end.
            known = ~losses[0].isnan()
            means = torch.where(here, losses, 0.0).sum(dim=0) / here.sum(dim=0)
            weighted[name] = mean_over_union(means[known])
            if target in ranked:
                sure = torch.stack([step.distribution_of(name, one).amax(dim=1) for one in along])
                rises = torch.where(here[1:], (sure[1:] - sure[:-1]).relu(), 0.0).sum(dim=0)
                weighted[f"confidence/{target}"] = self.weight * mean_over_union(rises[known])
        return weighted

    def draw_chain(self, present: Tensor, draws: Tensor) -> list[Tensor]:
        """Draws the smaller subsets, as presence ``(batch, modalities)``: what is present and drew least goes first.

        A sample that has no more to lose has none, and does not count there.
        """
        places = draws.masked_fill(~present, -1.0).argsort(dim=1).argsort(dim=1)  # what is absent stands first
        gone = (~present).sum(dim=1, keepdim=True)
        return [present & (places >= gone + lost) for lost in range(1, present.shape[1])]

    def _fuse_without(self, step: Step, subset: Tensor) -> Mapping[str, Tensor]:
        assert step.output is not None
        return step.fuse(step.output.features, dict(zip(self.modalities, subset.unbind(dim=1), strict=True)))
