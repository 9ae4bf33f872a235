"""The fused losses alone train the network; uni-modal heads watch what becomes of the encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fusionkit.config.registry import BALANCERS
from fusionkit.interfaces import Balancer, Plan, Step
from fusionkit.training.balancers.blocks import blocks_of, fused_and_unimodal


@BALANCERS.register("fused_only")
class FusedOnly(Balancer):
    r"""Only the fused loss trains encoders and fusion; each uni-modal head learns to read what it finds.

    .. math::
        g_{\theta_m} = \nabla_{\theta_m} L_{\mathrm{fused}}, \qquad
        g_{\mathrm{head}_m} = \nabla_{\mathrm{head}_m} L_m

    :math:`\theta_m` is the encoder of modality m, :math:`L_m` its own loss. It is the paper's N0, trained step by step
    as without heads, but with heads that say how well each encoder does by itself, and with a uni-modal loss whose
    gradient can be held against that of the fused one (``train.gradient_cosines``). Choose it to look at N0; to train
    it, ``model.unimodal_heads: false`` costs less. Where ``train.clip_norm`` is set, the heads' gradients are clipped
    by themselves, so that they do not shorten the others. A stage without a fused loss trains as ever. It acts in
    training only and costs one further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.

    Source:
        N0 of Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 3.3. The heads that watch are ours.
        What differs from N0: the same seed draws other initial weights, since the heads draw theirs too.

    Example:
        >>> import torch
        >>> gradients = {"fused": [torch.ones(1), None], "unimodal": [torch.full((1,), 5.0), torch.full((1,), 2.0)]}
        >>> FusedOnly(("audio",), ("mood",)).combine(gradients, Step(0, 0, 1, None, {}, ()))
        [tensor([1.]), tensor([2.])]
    """

    heads_watch = True

    def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
        super().__init__()

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """The fused terms' sum, and the sum of all others."""
        return fused_and_unimodal(terms)

    def plan(self, step: Step) -> Plan:
        """Asks for the gradients of the fused and of the uni-modal losses apart."""
        return Plan(separate_gradients=True)

    def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
        """The fused gradient where there is one, else the uni-modal one."""
        merged: list[Tensor | None] = [None] * len(next(iter(gradients.values())))
        for terms, places in blocks_of(gradients).items():
            for place in places if terms else ():
                merged[place] = gradients["fused" if "fused" in terms else terms[0]][place]
        return merged
