"""Disentangled gradients: the fused loss trains the fusion, the uni-modal losses train the encoders."""

from __future__ import annotations

from fusionkit.config.components.registry import BALANCERS
from fusionkit.training.balancers.separate_gradients import ChosenGradients


@BALANCERS.register("dgl")
class DGL(ChosenGradients):
    r"""Encoders without a gradient of the fused loss.

    .. math::
        g_{\theta_m} = \nabla_{\theta_m} L_m, \qquad g_{\mathrm{fusion}} = \nabla_{\mathrm{fusion}} L_{\mathrm{fused}}

    :math:`\theta_m` is the encoder of modality m, :math:`L_m` its own loss. The fused loss, through a fusion that
    listens to one modality, teaches the others little and disturbs what their own loss teaches; here every encoder
    learns as if it were alone, and the fusion learns to read encoders that change. Choose it where `late_fusion` does
    well, to have it in one stage. It needs uni-modal heads: an encoder that no uni-modal loss reaches keeps the fused
    loss's gradient, since it would learn nothing otherwise. It acts in training only and costs one further backward
    pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.

    Source:
        Wei et al. 2025, arXiv:2507.10213, section on disentangled gradient learning (from the abstract and method
        summary; equation numbers not checked). What differs: the fused gradient is left out where a uni-modal loss
        reaches a parameter too, rather than by detaching the features, so that fusions that read sequences are cut
        off as well; the paper's removal of the uni-modal loss's gradient from the fusion module needs nothing here,
        since uni-modal heads stand before the fusion.

    Example:
        >>> import torch
        >>> from fusionkit.interfaces import Step
        >>> gradients = {"fused": [torch.ones(1), torch.ones(1)], "unimodal": [torch.full((1,), 5.0), None]}
        >>> DGL(("audio",), ("mood",)).combine(gradients, Step(0, 0, 1, None, {}, ()))
        [tensor([5.]), tensor([1.])]
    """

    prefers = "unimodal"
