"""Faces that are mirrored, turned, scaled, shifted, brightened: one draw for all frames of a clip."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import DeviceTransform

_CHUNK = 2**22
"""Numbers that are computed at once: memory stays bounded, however many frames a batch has."""


@TRANSFORMS.register("spatial")
class Spatial(DeviceTransform):
    r"""Random flip, rotation, scale, translation, brightness and contrast of images, alike in all frames of a clip.

    .. math::
        x'(p) = \kappa \left( x(q) - \tfrac12 \right) + \tfrac12 + \beta, \qquad
        p = t + s \, R(\theta) \, F \, q

    p and q are places relative to the middle of the image, in pixels: an image is mirrored (F) or not, turned
    counter-clockwise by :math:`\theta`, scaled by s and shifted by t; between pixels it is interpolated bilinearly, and
    beyond its border the nearest pixel stands. :math:`\kappa` is the contrast and :math:`\beta` the brightness; black
    is 0 and white is 1, and what leaves that range is clipped.

    Everything is drawn uniformly, once per clip, so that a face moves as it did: with a draw per frame (`per_frame`) it
    would tremble, which no face does. Each option has its own draw: setting one to 0 changes no other. Training only.

    Images are ``(channels, height, width)`` bytes, which stay bytes, or floating-point numbers between 0 and 1. It is
    computed on the device on the packed frames of all clips; in a chain it stands behind all transforms that are not.

    Args:
        flip: Probability of a mirror image.
        rotation: Largest angle to either side, in degrees.
        scale: Largest change of size: with 0.1 by a factor between 0.9 and 1.1.
        translation: Largest shift to either side, as a share of the image's side.
        brightness: Largest change to either side, as a share of the range from black to white.
        contrast: Largest change: with 0.2 by a factor between 0.8 and 1.2, around middle grey.
        per_frame: Draw for every frame by itself, to compare.

    Raises:
        DataError: The elements are no images, or are of integers other than bytes.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 4.4 and Fig. 8; which transformations, and
        how strong, is not given there.

    Example:
        >>> spatial = Spatial((3, 8, 8), 30.0, rotation=15.0)
        >>> frames = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
        >>> spatial(frames, torch.Generator().manual_seed(0), training=True).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        rate: float | None,
        *,
        flip: Annotated[float, Field(ge=0, le=1)] = 0.5,
        rotation: Annotated[float, Field(ge=0, le=180)] = 10.0,
        scale: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        translation: Annotated[float, Field(ge=0, le=1)] = 0.05,
        brightness: Annotated[float, Field(ge=0, le=1)] = 0.1,
        contrast: Annotated[float, Field(ge=0, le=1)] = 0.2,
        per_frame: bool = False,
    ) -> None:
        if len(in_shape) != 3:
            message = f"elements of shape {tuple(in_shape)} are no images"
            raise DataError([Problem("spatial", message, "it is for elements (channels, height, width)")])
        self.flip, self.per_frame = flip, per_frame
        self._reach = torch.tensor([rotation, scale, translation, translation, brightness, contrast])
        self._moves = max(flip, rotation, scale, translation) > 0
        self._shades = max(brightness, contrast) > 0

    def draw(self, length: int, generator: torch.Generator) -> Tensor:
        """Draws per frame: mirrored (1) or not, degrees, scale, shift to the right and down, brightness, contrast."""
        uniform = torch.rand(length if self.per_frame else 1, 7, generator=generator)
        mirrored = (uniform[:, :1] < self.flip).to(uniform.dtype)
        changes = (2 * uniform[:, 1:] - 1) * self._reach
        neutral = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
        return torch.cat([mirrored, changes + neutral], dim=1).expand(length, 7)

    def apply(self, values: Tensor, parameters: Tensor) -> Tensor:
        """Transforms packed images ``(total, channels, height, width)``, on the device where they are."""
        if values.dtype != torch.uint8 and not values.is_floating_point():
            message = f"images of {str(values.dtype).removeprefix('torch.')}"
            raise DataError([Problem("spatial", message, "they are of uint8, or of floating-point numbers in 0..1")])
        result = torch.empty_like(values)
        step = max(1, _CHUNK // max(1, values[:1].numel()))
        for start in range(0, len(values), step):
            chunk = slice(start, start + step)
            result[chunk] = self._transform(values[chunk], parameters[chunk])
        return result

    def _transform(self, images: Tensor, parameters: Tensor) -> Tensor:
        exact = torch.float64 if images.dtype == torch.float64 else torch.float32
        changed, parameters = images.to(exact), parameters.to(exact)
        if self._moves:
            changed = _move(changed, parameters)
        if self._shades:
            changed = _shade(changed, parameters, white=255.0 if images.dtype == torch.uint8 else 1.0)
        if images.dtype == torch.uint8:
            changed = changed.round_()
        return changed.to(images.dtype)


def _move(images: Tensor, parameters: Tensor) -> Tensor:
    """Moves images: what is at p comes from q, by the inverse map, in coordinates from -1 to 1 along each side."""
    mirrored, degrees, scale, right, down = parameters[:, :5].unbind(dim=1)
    height, width = images.shape[-2:]
    cosine, sine = torch.deg2rad(degrees).cos() / scale, torch.deg2rad(degrees).sin() / scale
    sign = 1 - 2 * mirrored
    # Rows count downwards, so a counter-clockwise turn has the signs of a clockwise one.
    across = torch.stack([sign * cosine, -sign * sine * (height / width)], dim=1)
    along = torch.stack([sine * (width / height), cosine], dim=1)
    grid = _make_grid(torch.stack([across, along], dim=1), torch.stack([2 * right, 2 * down], dim=1), height, width)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    still = (mirrored == 0) & (degrees == 0) & (scale == 1) & (right == 0) & (down == 0)
    return torch.where(still[:, None, None, None], images, moved)


def _make_grid(matrix: Tensor, shift: Tensor, height: int, width: int) -> Tensor:
    """Finds where every pixel comes from, ``(images, height, width, 2)``; faster than ``affine_grid`` on a CPU."""
    columns = _find_centres(width, matrix) - shift[:, :1]
    rows = _find_centres(height, matrix) - shift[:, 1:]
    grid = matrix.new_empty(len(matrix), height, width, 2)
    for axis in range(2):
        by_row, by_column = matrix[:, axis, 1:] * rows, matrix[:, axis, :1] * columns
        torch.add(by_row[:, :, None], by_column[:, None, :], out=grid[..., axis])
    return grid


def _find_centres(pixels: int, like: Tensor) -> Tensor:
    """Finds the middles of pixels along a side from -1 to 1."""
    return (2 * torch.arange(pixels, dtype=like.dtype, device=like.device) + 1) / pixels - 1


def _shade(images: Tensor, parameters: Tensor, *, white: float) -> Tensor:
    brightness, contrast = parameters[:, 5:, None, None, None].unbind(dim=1)
    return (images * contrast).add_((0.5 + brightness) * white - contrast * (white / 2)).clamp_(0, white)
