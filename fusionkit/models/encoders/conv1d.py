"""Strided convolution over time, for multi-channel streams of sensors."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import Problem, RecipeError, ShapeError
from fusionkit.interfaces import Encoder
from fusionkit.models.encoders.activations import ActivationName, NormName, make_activation, make_norm
from fusionkit.models.encoders.gaps import lay_out
from fusionkit.nn.jagged import Jagged


@ENCODERS.register("conv1d")
class Conv1d(Encoder):
    r"""A stack of strided convolutions over time, which shortens the sequence.

    .. math::
        y_t = \mathrm{Dropout}(\phi(\mathrm{Norm}(b + \sum_{j=0}^{k-1} W_j\, x_{s t + j - \lfloor (k-1)/2 \rfloor}))),
        \qquad t = 0 \dots \lceil n / s \rceil - 1

    k is the kernel, s the stride, :math:`\phi` the activation, n the sample's length; x is zero outside the sample.
    Choose it for streams of sensors or of spectral columns, where neighbours in time belong together. The result of
    a sample is what running it alone with zeros at its borders gives: the batch is one long sequence with gaps, so no
    sample sees another and short samples cost no padding. Dropout and the batch's statistics act in training only.

    Args:
        in_shape: ``(channels,)``, or ``()`` for a single channel.
        channels: Output channels of each convolution, each positive; one convolution per number.
        kernel: Elements that a convolution sees, positive; odd ones are centred.
        stride: Elements from one output to the next, positive, at most the kernel; every convolution divides the
            length by it, rounding up.
        norm: Normalisation after each convolution: ``batch`` over the packed elements of the batch, ``layer`` over
            each vector of channels, or ``none``.
        activation: What follows the normalisation.
        dropout: Probability of dropping a value after each activation, 0 to below 1.

    Raises:
        ShapeError: `in_shape` is neither ``(channels,)`` nor ``()``.
        RecipeError: `channels` is empty, or the stride exceeds the kernel and would skip elements.

    Source:
        Wang, Yan and Oates 2017, https://doi.org/10.1109/IJCNN.2017.7966039, section II-B (convolution, batch norm,
        ReLU over time series). Strides and dropout are ours.

    Example:
        >>> import torch
        >>> stream = Jagged(torch.zeros(9, 3), torch.tensor([7, 2]))
        >>> Conv1d((3,), channels=(8, 16), stride=2)(stream).sizes
        (2, 1)
    """

    whole_numbers = ()

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        channels: tuple[Annotated[int, Field(gt=0)], ...] = (64, 64),
        kernel: Annotated[int, Field(gt=0)] = 5,
        stride: Annotated[int, Field(gt=0)] = 2,
        norm: NormName = "batch",
        activation: ActivationName = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        _check(in_shape, channels, kernel, stride)
        self.kernel, self.stride = kernel, stride
        self.out_shape = (channels[-1],)
        widths = (in_shape[0] if in_shape else 1, *channels)
        pairs = list(pairwise(widths))
        # A bias before a batch norm is cancelled by it.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(narrow, wide, kernel, stride, bias=norm != "batch") for narrow, wide in pairs
        )
        self.followers = nn.ModuleList(
            nn.Sequential(make_norm(norm, wide), make_activation(activation), nn.Dropout(dropout)) for _, wide in pairs
        )

    def forward(self, elements: Jagged) -> Jagged:
        """Convolves every sample, ``ceil(n / stride)`` elements from n at each convolution."""
        stream = elements.with_values(elements.values.reshape(elements.total, -1))
        for convolution, follower in zip(self.convolutions, self.followers, strict=True):
            layout = lay_out(stream.sizes, self.kernel, (self.kernel - 1) // 2, self.stride)
            long: Tensor = convolution(rearrange(layout.spread(stream), "time channels -> 1 channels time"))
            stream = layout.gather(rearrange(long, "1 channels time -> time channels"))
            stream = stream.with_values(follower(stream.values))
        return stream


def _check(in_shape: tuple[int, ...], channels: tuple[int, ...], kernel: int, stride: int) -> None:
    if len(in_shape) > 1:
        raise ShapeError(
            f"conv1d: an element of shape {tuple(in_shape)} is not a vector of channels; put an encoder that makes "
            "vectors, such as mlp or timm, before it"
        )
    problems = []
    if not channels:
        problems.append(Problem("channels", "no convolution", "list the output channels of at least one, such as [64]"))
    if stride > kernel:
        problems.append(
            Problem("stride", f"{stride} exceeds the kernel {kernel}, so elements are skipped", "at most the kernel")
        )
    if problems:
        raise RecipeError(problems, source="conv1d")
