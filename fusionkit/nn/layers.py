"""Blocks that are named after the paper's formulas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.errors import ShapeError
from fusionkit.nn.distributed import sum_over_processes, world_size


class FeatureNorm(nn.Module):
    r"""Batch normalisation of feature vectors that copes with absent rows, small batches and several processes.

    .. math::
        \mathrm{FeatureNorm}(x) = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training, :math:`\mu` and :math:`\sigma^2` (population variance) are those of the rows that are present, over
    all processes; with fewer than two such rows the running statistics are used instead and stay as they are. In
    evaluation the running statistics are used, so no row depends on another.

    Args:
        features: Width of the vectors.
        momentum: Weight of the newest batch in the running statistics.
        eps: Added to the variance.

    Raises:
        ShapeError: The input is not ``(rows, features)``.

    Source:
        Ioffe and Szegedy 2015, arXiv:1502.03167; "FeatureNorm" in Chang and Skarbek 2021,
        https://doi.org/10.3390/s21165452, eqs. (2), (4), (6). Masks and the rule for small batches are ours.

    Example:
        >>> FeatureNorm(3)(torch.zeros(1, 3)).shape
        torch.Size([1, 3])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.features, self.momentum, self.eps = features, momentum, eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(
        self, x: Float[Tensor, "rows features"], present: Bool[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows features"]:
        """Normalises every row; only rows that are `present` (None: all) enter the statistics."""
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ShapeError(f"FeatureNorm: input {tuple(x.shape)} is not (rows, {self.features})")
        if self.training and (present is not None or world_size() > 1):
            return self._normalise_present(x, present)
        use_batch = self.training and len(x) >= 2
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, self.momentum, self.eps
        )

    def _normalise_present(self, x: Tensor, present: Tensor | None) -> Tensor:
        if world_size() > 1 and torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()  # the sums of the backward pass need every process, one without rows too
        wide = x.to(torch.promote_types(x.dtype, self.running_mean.dtype))  # sums of half precision lose their counts
        rows = wide if present is None else torch.where(present[:, None], wide, 0.0)
        ones = wide.new_ones(len(x)) if present is None else present.to(wide.dtype)
        count = sum_over_processes(ones.sum())
        divisor = count.clamp(min=1.0)
        mean = sum_over_processes(rows.sum(dim=0)) / divisor
        variance = sum_over_processes((ones[:, None] * (rows - mean).square()).sum(dim=0)) / divisor
        # Chosen by tensors: to ask whether there are enough rows would wait for a GPU at every call.
        enough = count >= 2
        with torch.no_grad():
            step = enough.to(self.running_mean.dtype) * self.momentum
            unbiased = variance * divisor / (divisor - 1).clamp(min=1.0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), step)
        mean = torch.where(enough, mean, self.running_mean)
        variance = torch.where(enough, variance, self.running_var)
        return ((wide - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(x.dtype)


class Scoring(nn.Sequential):
    r"""Two dense units with a rectifier and a normalisation between them.

    .. math::
        \mathrm{Scoring}(x) = W_2\, \mathrm{FeatureNorm}(\mathrm{ReLU}(W_1 x + b_1)) + b_2

    Args:
        in_features: Width of the input.
        hidden: Width between the dense units.
        out_features: Number of scores.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eq. (2).

    Example:
        >>> Scoring(8, 16, 3)(torch.zeros(4, 8)).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__(
            nn.Linear(in_features, hidden), nn.ReLU(), FeatureNorm(hidden), nn.Linear(hidden, out_features)
        )


def make_scoring(in_features: int, hidden: int | None, out_features: int) -> nn.Module:
    """Makes one dense unit where `hidden` is None (the paper's eqs. 8, 9), its `Scoring` (eq. 2) otherwise."""
    return nn.Linear(in_features, out_features) if hidden is None else Scoring(in_features, hidden, out_features)


class ResidualPerceptron(nn.Module):
    r"""A normalised feature vector plus a learned correction of it.

    .. math::
        f' = \hat f + \mathrm{FeatureNorm}(\sigma(W \hat f + b))

    The fused task may bend the features by the correction while the uni-modal branch keeps reading
    :math:`\hat f` itself, which is how one modality is kept from spoiling another.

    Args:
        features: Width of the vector.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eq. (6).

    Example:
        >>> ResidualPerceptron(8)(torch.zeros(4, 8)).shape
        torch.Size([4, 8])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(features, features)
        self.norm = FeatureNorm(features)

    def forward(
        self, f: Float[Tensor, "rows features"], present: Bool[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows features"]:
        """Corrects every row; only rows that are `present` (None: all) enter the batch statistics."""
        corrected: Tensor = self.norm(self.dense(f).sigmoid(), present)
        return f + corrected


def masked_softmax(
    logits: Float[Tensor, "batch options"], present: Sequence[Bool[Tensor, " batch"] | None]
) -> Float[Tensor, "batch options"]:
    r"""Computes weights that sum to one over the options that a sample has.

    .. math::
        \alpha_i = \frac{p_i e^{a_i}}{\sum_j p_j e^{a_j}}

    Args:
        logits: a, any finite numbers.
        present: By option, which samples have it; None where all do. A sample that has none weighs all alike.

    Example:
        >>> masked_softmax(torch.zeros(2, 2), [None, torch.tensor([True, False])])
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000]])
    """
    if all(mask is None for mask in present):
        return logits.softmax(dim=1)
    everyone = logits.new_ones(logits.shape[0], dtype=torch.bool)
    here = torch.stack([everyone if mask is None else mask for mask in present], dim=1)
    nothing = ~here.any(dim=1, keepdim=True)
    return torch.where(nothing, 0.0, logits).masked_fill(~(here | nothing), float("-inf")).softmax(dim=1)
