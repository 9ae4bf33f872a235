"""The fused losses alone train the network; uni-modal heads watch what becomes of the encoders."""

from __future__ import annotations

from fusionkit.config.components.registry import BALANCERS
from fusionkit.training.balancers.separate_gradients import ChosenGradients


@BALANCERS.register("fused_only")
class FusedOnly(ChosenGradients):
    r"""The fused loss alone for encoders and fusion; each uni-modal head learns to read what it finds.

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
        >>> from fusionkit.interfaces import Step
        >>> gradients = {"fused": [torch.ones(1), None], "unimodal": [torch.full((1,), 5.0), torch.full((1,), 2.0)]}
        >>> FusedOnly(("audio",), ("mood",)).combine(gradients, Step(0, 0, 1, None, {}, ()))
        [tensor([1.]), tensor([2.])]
    """

    heads_watch = True
    prefers = "fused"
