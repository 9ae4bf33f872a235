"""Features of all modalities at one width."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Projections(nn.ModuleList):
    r"""A dense unit for each modality, all of them to one width.

    .. math::
        z_m = W_m \hat f_m + b_m

    Args:
        in_features: Width of each modality.
        width: Width of the projections; None for that of the widest modality.
        bias: Whether b is learned; it is 0 otherwise.

    Example:
        >>> import torch
        >>> projections = Projections({"audio": 2, "video": 3})
        >>> [each.shape for each in projections({"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)})]
        [torch.Size([4, 3]), torch.Size([4, 3])]
    """

    def __init__(self, in_features: Mapping[str, int], width: int | None = None, *, bias: bool = True) -> None:
        width = width or max(in_features.values())
        super().__init__(nn.Linear(narrow, width, bias) for narrow in in_features.values())
        self.modalities, self.width = tuple(in_features), width

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Projects every modality's ``(batch, in_features)``, in their order."""
        return [project(features[name]) for name, project in zip(self.modalities, self, strict=True)]
