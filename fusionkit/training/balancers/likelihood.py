"""The likelihood of the targets under each modality alone, on one scale for classes and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusionkit.errors import TrainingError
from fusionkit.interfaces import Step
from fusionkit.nn.distributed import sum_over_processes


def average_known(values: Tensor) -> Tensor:
    """Averages the values that are no NaN, over all processes; NaN where there is none.

    Example:
        >>> average_known(torch.tensor([1.0, float("nan"), 2.0])), average_known(torch.tensor([float("nan")]))
        (tensor(1.5000), tensor(nan))
    """
    counted = values[~values.isnan()]
    both = torch.stack([counted.sum(), counted.new_tensor(float(len(counted)))])
    total, count = sum_over_processes(both.detach()).unbind()
    return total / count


def estimate_likelihoods(step: Step, modalities: Sequence[str], source: str) -> dict[str, Tensor]:
    r"""Averages the likelihood of the truth under each modality's own scores, over its samples and the targets.

    .. math::
        s_m = \frac{1}{|T|} \sum_t \frac{1}{n_{m,t}} \sum_i e^{-\ell_{m,t,i}}

    For cross-entropy :math:`e^{-\ell}` is the probability of the true class; for a squared error it is the Gaussian
    likelihood up to a constant. A modality that no sample of the batch has is left out. With several
    processes the batch is the union of theirs, so that what a balancer remembers is the same in all.

    Args:
        step: The step, after the forward pass.
        modalities: The modalities to compare.
        source: The balancer, for messages.

    Raises:
        TrainingError: The encoders of several modalities learn, but the model has no uni-modal heads.
    """
    output = step.output
    assert output is not None
    # One encoder that learns, or none, has nothing to be compared with: a stage may train a modality alone.
    learning = [name for name in modalities if name in output.features and output.features[name].requires_grad]
    if not output.unimodal and len(learning) > 1:
        raise TrainingError(f"{source}: it compares uni-modal scores; set model.unimodal_heads: true")
    found: dict[str, Tensor] = {}
    for name in modalities:
        means = []
        for target, scores in output.unimodal.get(name, {}).items():
            losses = step.loss_of(f"{name}/{target}", scores.detach())
            mean = average_known((-losses).exp())
            if not mean.isnan():
                means.append(mean)
        if means:
            found[name] = torch.stack(means).mean()
    return found
