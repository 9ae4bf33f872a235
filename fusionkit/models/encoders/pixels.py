"""Bytes of images to the numbers that a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusionkit.errors import Problem, RecipeError


class Pixels(nn.Module):
    r"""Images as a network takes them: bytes scaled to 0..1, then standardised by channel where asked for.

    .. math::
        y_c = (x_c / 255 - \mu_c) / \sigma_c \quad \text{for bytes}, \qquad y_c = (x_c - \mu_c) / \sigma_c
        \quad \text{for floats}

    Args:
        channels: Channels of the images.
        mean: The mean of every channel, one for all of them, or empty for 0.
        std: The standard deviation of every channel, positive, one for all of them, or empty for 1.
        source: The encoder, for error messages.

    Raises:
        RecipeError: There is a number for some channels only, or a deviation is not positive.

    Example:
        >>> Pixels(1, (0.5,), (0.5,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).flatten().tolist()
        [-1.0, 1.0]
    """

    white: Tensor
    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, channels: int, mean: Sequence[float] = (), std: Sequence[float] = (), *, source: str = "pixels"
    ) -> None:
        super().__init__()
        self.register_buffer("white", torch.tensor(255.0), persistent=False)  # has the precision of the network
        problems = []
        for name, given in (("mean", mean), ("std", std)):
            if len(given) not in (0, 1, channels):
                remedy = f"one for all channels, or one for each of the {channels}"
                problems.append(Problem(name, f"{len(given)} numbers for {channels} channels", remedy))
            values = torch.tensor([float(value) for value in given]).reshape(-1, 1, 1) if given else None
            self.register_buffer(name, values, persistent=False)
        if any(value <= 0 for value in std):
            problems.append(Problem("std", f"{min(std)} is not positive", "the standard deviation of a channel"))
        if problems:
            raise RecipeError(problems, source=source)

    def forward(self, images: Tensor) -> Tensor:
        """Scales ``(total, channels, height, width)``."""
        if not images.is_floating_point():
            images = images.to(self.white.dtype) / self.white
        if self.mean is not None:
            images = images - self.mean
        return images if self.std is None else images / self.std
