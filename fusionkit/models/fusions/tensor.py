"""Tensor fusion: the outer product of all modalities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged


@FUSIONS.register("tensor")
class TensorFusion(Fusion):
    r"""The outer product of all modalities: every product of features, one of each modality or none of it.

    .. math::
        \mathrm{fused} = \mathrm{vec}\left( [\hat f_1; 1] \otimes \dots \otimes [\hat f_M; 1] \right)

    :math:`\hat f_m` is the normalised feature of modality m, or its projection to `features` numbers; the appended 1
    keeps the features themselves and the products of fewer modalities. Choose it where what one modality means depends
    on another, for few and narrow modalities: the width is :math:`\prod_m (d_m + 1)`, and what reads it grows alike.
    An absent modality enters with the model's learned placeholder. It costs as many multiply-adds as its width, times
    1 to 2.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Project every modality to this width first; None leaves them as they are.
        limit: The width from which on it refuses to be built.

    Raises:
        RecipeError: The product is wider than `limit`.

    Source:
        Zadeh et al. 2017, https://doi.org/10.18653/v1/D17-1115, section 4.2. The projection, which stands for the
        authors' narrow sub-networks, and absent modalities are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> TensorFusion({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 12])
    """

    def __init__(
        self,
        in_features: Mapping[str, int],
        *,
        features: Annotated[int, Field(gt=0)] | None = None,
        limit: Annotated[int, Field(gt=0)] = 16_384,
    ) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        widths = [features or width for width in in_features.values()]
        self.out_features = math.prod(width + 1 for width in widths)
        if self.out_features > limit:
            product = " x ".join(f"{width + 1}" for width in widths)
            narrow = int(limit ** (1 / len(widths)) + 1e-9) - 1
            remedy = f"features: {narrow}, or low_rank, which never forms it" if narrow > 0 else "take low_rank"
            message = f"the outer product has {product} = {self.out_features:,} numbers a sample, above {limit:,}"
            raise RecipeError([Problem("limit", message, remedy)], source="tensor")
        self.projections = nn.ModuleList(
            nn.Identity() if features is None else nn.Linear(width, features) for width in in_features.values()
        )

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Multiplies out."""
        first = features[self.modalities[0]]
        one = first.new_ones(first.shape[0], 1)
        product = one
        for modality, project in zip(self.modalities, self.projections, strict=True):
            factor = torch.cat([project(features[modality]), one], dim=1)
            outer = rearrange(product, "batch left -> batch left 1") * rearrange(factor, "batch right -> batch 1 right")
            product = rearrange(outer, "batch left right -> batch (left right)")
        return product
