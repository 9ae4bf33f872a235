"""Noise."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.interfaces import Transform


@TRANSFORMS.register("gaussian_noise")
class GaussianNoise(Transform):
    r"""White noise on every number, in training only.

    .. math::
        x' = x + \sigma z, \qquad z \sim N(0, 1)

    Whole numbers become floats, also in evaluation, where there is no noise.

    Args:
        sigma: The standard deviation of the noise, in the unit of the values; after `standardize` a share of the
            sample's own.

    Example:
        >>> GaussianNoise((2,), None, sigma=0.1)(torch.zeros(3, 2), torch.Generator(), training=True).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, in_shape: tuple[int, ...], rate: float | None, *, sigma: Annotated[float, Field(ge=0)] = 0.01
    ) -> None:
        self.sigma = sigma

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Adds noise to ``(length, *in_shape)``; whole numbers become floats, in evaluation as well."""
        values = values if values.is_floating_point() else values.float()
        if not training:
            return values
        return values + self.sigma * torch.randn(values.shape, generator=generator, dtype=values.dtype)
