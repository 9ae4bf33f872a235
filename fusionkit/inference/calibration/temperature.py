"""Temperature: one number that makes probabilities as sure as they are right."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import TargetKind

LEAST_SAMPLES, LEAST_GROUPS = 50, 6
"""With fewer samples, or of fewer groups, a subset of modalities has no temperature of its own."""

_LARGEST = 100.0
"""The largest temperature that is looked for; its inverse is the least."""


def apply_temperature(
    kind: TargetKind, said: Float[Tensor, "samples columns"], temperature: Float[Tensor, " samples"] | float
) -> Float[Tensor, "samples columns"]:
    r"""Makes probabilities surer (below 1) or less sure (above 1), in double precision; numbers stay.

    .. math::
        p'_c = \frac{p_c^{1/T}}{\sum_{c'} p_{c'}^{1/T}}

    which divides the logits of a softmax by T. Of labels each is renormalised against its absence. The most probable
    class, and the side of one half on which a label is, stay.

    Args:
        kind: What the target is.
        said: Probabilities of classes or labels, or numbers.
        temperature: One for all samples, or one for each.

    Source:
        Guo et al. 2017, arXiv:1706.04599, eq. (9). Of ordinal heads and ensembles, which have no logits of classes,
        logarithms of probabilities take their place.

    Example:
        >>> apply_temperature("classes", torch.tensor([[0.9, 0.1]]), 2.0)
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    said = said.double()
    if kind == "numbers":
        return said
    divisor = torch.as_tensor(temperature, dtype=torch.float64).reshape(-1, 1)
    if kind == "classes":
        return (_log(said) / divisor).softmax(dim=1)
    return ((_log(said) - _log(1 - said)) / divisor).sigmoid()


def find_losses(kind: TargetKind, said: Tensor, targets: Tensor) -> Float[Tensor, " samples"]:
    """Returns the negative log-likelihood of each known target; of labels the mean over those that are stated."""
    said = said.double()
    if kind == "classes":
        return -_log(said.gather(1, targets.long()[:, None])[:, 0])
    stated = ~targets.isnan()
    each = -torch.where(targets == 1, _log(said), _log(1 - said))
    return torch.where(stated, each, 0.0).sum(dim=1) / stated.sum(dim=1).clamp(min=1)


def fit_temperature(kind: TargetKind, said: Tensor, targets: Tensor) -> float:
    r"""Finds the temperature of the least mean negative log-likelihood, which is convex in 1 / T.

    Args:
        kind: What the target is: classes or labels.
        said: Probabilities.
        targets: Known targets.

    Returns:
        The temperature, between 0.01 and 100; 1 where every sample is right. There the likelihood does not identify it:
        it rises the further probabilities go to 0 and 1, whatever the chance of an error is among other samples.
    """
    from scipy.optimize import minimize_scalar  # using a calibration does not need it

    def loss(log_temperature: float) -> float:
        return float(find_losses(kind, apply_temperature(kind, said, math.exp(log_temperature)), targets).mean())

    if _is_every_right(kind, said, targets):
        return 1.0
    edge = math.log(_LARGEST)
    found = minimize_scalar(loss, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def _is_every_right(kind: TargetKind, said: Tensor, targets: Tensor) -> bool:
    """Tells whether no probability of what is true is below that of what is not, so that sharpening never costs."""
    if kind == "classes":
        return bool((said.gather(1, targets.long()[:, None])[:, 0] >= said.max(dim=1).values).all())
    return bool((targets.isnan() | torch.where(targets == 1, said >= 0.5, said <= 0.5)).all())


def _log(probability: Tensor) -> Tensor:
    # Of single precision: its zeros are what is below its least number.
    return probability.clamp(min=torch.finfo(torch.float32).tiny).log()
