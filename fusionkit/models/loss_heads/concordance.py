"""Numbers that should agree with the target in mean, spread and order."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.models.loss_heads.number_head import NumberHead
from fusionkit.models.loss_heads.target_scale import mean
from fusionkit.nn.distributed import sum_over_processes


@LOSS_HEADS.register("concordance")
class Concordance(NumberHead):
    r"""One or several numbers, trained for Lin's concordance with the target.

    .. math::
        \ell_i = \frac{(x_i - y_i)^2}{\sigma_x^2 + \sigma_y^2 + (\mu_x - \mu_y)^2}, \qquad
        \frac{1}{n} \sum_i \ell_i = 1 - \mathrm{CCC}(x, y)
        = 1 - \frac{2 \sigma_{xy}}{\sigma_x^2 + \sigma_y^2 + (\mu_x - \mu_y)^2}

    x are scores, y scaled targets, means and **population** variances (Lin's definition; torchmetrics divides by n - 1)
    are those of the batch's known samples, over all processes. The usual loss for valence and arousal. The identity
    is exact, so the mean of the losses per sample is the loss of the batch; with several outputs it is the mean over
    outputs. It needs batches of some size: a single sample has loss one and teaches nothing. In evaluation nothing
    depends on the batch but the loss itself.

    Targets are scaled by mean and standard deviation of each output over the training part of the fold: concordance is
    the same in any unit, but a network would have to grow to the target's first. Predictions, metrics and reports are
    in the target's own unit.

    Metrics as in `regression`: ``ccc``, ``mae``, ``rmse``, ``r2``.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        outputs: How many numbers, positive.
        scale_targets: Learn each output in units of its spread over the training part; false for its own unit.

    Source:
        Lin 1989, https://doi.org/10.2307/2532051, eq. (2.2) and section 2; as a loss in Trigeorgis et al. 2016,
        https://doi.org/10.1109/ICASSP.2016.7472669, eq. (2). The sum over samples is ours.

    Example:
        >>> head = Concordance(8, None)
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> head.loss(x, torch.tensor([1.0, 2.0, 3.0])).mean()
        tensor(0.)
    """

    score = "ccc"

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        *,
        outputs: Annotated[int, Field(gt=0)] = 1,
        scale_targets: bool = True,
    ) -> None:
        super().__init__(in_features, hidden, outputs, scale_targets=scale_targets)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns each sample's share of 1 - CCC, such that their mean is it."""
        wanted = self.scaling.scale(targets).to(scores.dtype)
        stated = ~wanted.isnan()
        weight = stated.to(scores.dtype)
        counts = sum_over_processes(weight.sum(dim=0)).clamp(min=1.0)
        samples = sum_over_processes(scores.new_tensor(float(len(scores))))
        filled = torch.where(stated, wanted, 0.0)
        mean_x = sum_over_processes((weight * scores).sum(dim=0)) / counts
        mean_y = sum_over_processes(filled.sum(dim=0)) / counts
        spread = weight * ((scores - mean_x).square() + (filled - mean_y).square())
        denominator = sum_over_processes(spread.sum(dim=0)) / counts + (mean_x - mean_y).square()
        # Constant predictions of a constant target are right and have no spread: nothing over nothing is no loss.
        shares = weight * (scores - filled).square() / denominator.clamp(min=torch.finfo(scores.dtype).tiny)
        return (shares * samples / counts).mean(dim=1)

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the scores of the mean: every constant has the loss 1, and this one errs least."""
        return self.scaling.constant(targets, mean)
