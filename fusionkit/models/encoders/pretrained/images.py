"""Images as pretrained networks were given them: resized, cropped and standardised, on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.errors import Problem, RecipeError, ShapeError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

_FILTERS: Mapping[int, Literal["bilinear", "bicubic"]] = {1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters; Lanczos's is taken for bicubic, as transformers does on a device."""

Range = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation by channel."""


class Images(nn.Module):
    r"""Images as a network takes them: resized with antialiasing, cropped at the centre, standardised.

    .. math::
        y_c = \bigl(\mathrm{clip}(R \, \mathrm{clip}(x_c \, C^\top)) - \mu_c\bigr) / \sigma_c

    R and C are the matrices of the resampling of rows and columns, which is linear: those of torch, applied to ones.
    What a cubic filter makes of edges is clipped to 0..1 after either, as it is in images of bytes.
    Bytes are scaled to 0..1 first. One channel is repeated where the network wants three.

    Args:
        in_shape: ``(channels, height, width)`` of an image.
        preparation: What the network's processor says.
        size: The network's own size of images, where the processor says none.
        normal: Mean and deviation, where the processor says none.
        channels: Channels that the network takes.
        source: The encoder, for error messages.

    Raises:
        ShapeError: `in_shape` is no image, or has channels that the network does not take.
        RecipeError: The processor asks for a filter or a size that is not known.
    """

    rows: Tensor
    columns: Tensor
    mean: Tensor
    deviation: Tensor
    white: Tensor

    def __init__(
        self,
        in_shape: tuple[int, ...],
        preparation: Mapping[str, Any],
        *,
        size: int,
        normal: Range,
        channels: int,
        source: str,
    ) -> None:
        super().__init__()
        if len(in_shape) != 3 or in_shape[0] not in (1, channels):
            message = f"{source}: an element of shape {tuple(in_shape)} is not an image (channels, height, width)"
            raise ShapeError(f"{message} of 1 or {channels} channels")
        self.channels = channels
        resample = preparation.get("resample", 3 if normal == CLIP else 2)
        if resample not in _FILTERS:
            message, remedy = f"the processor resamples by Pillow's filter {resample!r}", "1, 2 and 3 are known"
            raise RecipeError([Problem("model", message, remedy)], source=source)
        height, width = in_shape[1:]
        resized = (height, width)
        if preparation.get("do_resize", True):
            resized = _choose_size(preparation.get("size", size), height, width, source)
        shown = resized
        if preparation.get("do_center_crop", "crop_size" in preparation):
            shown = _read_crop(preparation.get("crop_size", size), source)
        self.out_size = shown
        for name, given, wanted, kept in (
            ("rows", height, resized[0], shown[0]),
            ("columns", width, resized[1], shown[1]),
        ):
            matrix = _crop(_make_resampling(given, wanted, _FILTERS[resample]), kept)
            self.register_buffer(name, matrix.float(), persistent=False)
        standard = preparation.get("do_normalize", True)
        mean, deviation = preparation.get("image_mean", normal[0]), preparation.get("image_std", normal[1])
        for name, numbers, neutral in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
            plain = [float(each) for each in numbers] if standard else [neutral]
            if len(plain) not in (1, channels) or (name == "deviation" and min(plain) <= 0):
                message = f"the processor states {name}s {numbers!r} for {channels} channels"
                raise RecipeError([Problem("model", message)], source=source)
            values = torch.tensor(plain).reshape(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("white", torch.tensor(255.0), persistent=False)  # has the precision of the network

    def forward(self, images: Tensor) -> Tensor:
        """Prepares ``(total, channels, height, width)``."""
        if not images.is_floating_point():
            images = images.to(self.white.dtype) / self.white
        with torch.autocast(images.device.type, enabled=False):
            narrowed = (images @ self.columns.T).clamp(0.0, 1.0)
            resized = (self.rows @ narrowed).clamp(0.0, 1.0)
            standard: Tensor = (resized - self.mean) / self.deviation
        return standard.expand(-1, self.channels, -1, -1)


def _make_resampling(given: int, wanted: int, by: Literal["bilinear", "bicubic"]) -> Tensor:
    """Makes the matrix that resamples a line of pixels."""
    ones = torch.eye(given, dtype=torch.float64)
    if given == wanted:
        return ones
    image = functional.interpolate(ones[None, None], size=(wanted, given), mode=by, antialias=True)
    return image[0, 0]


def _crop(matrix: Tensor, kept: int) -> Tensor:
    """Keeps the middle of a resampled line, with zeros on either side where it is too short."""
    lacking = kept - len(matrix)
    if lacking > 0:
        before = lacking // 2
        return functional.pad(matrix, (0, 0, before, lacking - before))
    start = -lacking // 2
    return matrix[start : start + kept]


def _choose_size(size: Any, height: int, width: int, source: str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and isinstance(short := size.get("shortest_edge"), int):
        small, large = min(height, width), max(height, width)
        long = int(short * large / small)
        return (short, long) if height <= width else (long, short)
    return _read_crop(size, source)


def _read_crop(size: Any, source: str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and isinstance(size.get("height"), int) and isinstance(size.get("width"), int):
        return size["height"], size["width"]
    message, remedy = f"the processor states the size {size!r}", "height and width, or shortest_edge, are known"
    raise RecipeError([Problem("model", message, remedy)], source=source)
