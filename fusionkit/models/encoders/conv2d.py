"""A small plain convolutional network for images, where a ResNet is too slow or has too little to learn from."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import Problem, RecipeError, ShapeError
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.encoders.batch_statistics import use_running_statistics
from fusionkit.models.encoders.pixels import Pixels
from fusionkit.models.encoders.weights import load_weights

Positive = Annotated[int, Field(gt=0)]
PoolingName = Literal["max", "mean", "stride"]
NormName = Literal["batch", "group", "none"]


@ENCODERS.register("conv2d")
class Conv2d(ElementEncoder):
    r"""Blocks of convolution, normalisation, ReLU and pooling, then the mean over the image: one image to one vector.

    .. math::
        y_0 = x, \qquad y_i = \mathrm{Pool}(\mathrm{ReLU}(\mathrm{Norm}(W_i * y_{i-1}))), \qquad
        F(x) = \mathrm{Dropout}(\mathrm{mean}_{h,w}\; y_n)

    Choose it for faces and spectrograms on a CPU, and for little data. With a kernel k and an image of
    :math:`h \times w` block i takes :math:`h_i w_i k^2 c_{i-1} c_i` multiply-adds, where each block halves
    :math:`h_i` and :math:`w_i` of the next: four blocks of 16, 32, 64 and 128 channels on a 48 x 48 grey image take
    8.3 million, a hundredth of a ResNet-18's at the same size. Bytes are scaled to 0..1, floats taken as they are.
    In training, batch norms see the batch's elements; a batch of a single element uses their running statistics.

    Args:
        in_shape: ``(channels, height, width)``.
        channels: Output channels of each block, each positive; one block per number.
        kernel: Height and width that a convolution sees, odd, so that it is centred.
        pooling: How a block halves height and width, rounding down: ``max`` or ``mean`` of 2 x 2, or a ``stride`` of
            the convolution (rounding up), which costs a quarter and sees less.
        norm: Normalisation after each convolution: ``batch``, over the images of the batch, ``group``, over eight
            groups of channels of each image alone, or ``none``.
        dropout: Probability of dropping a value of the vector, 0 to below 1.
        mean: Subtracted from every channel after scaling: one number, or one per channel.
        std: Divides every channel after that, positive.
        weights: A local safetensors file of this network's tensors, such as ``encoder_face.safetensors`` of a run with
            ``train.export``; null starts at random.
        adapt_channels: Lets `weights` of one input channel serve several, and those of several serve one (see
            `load_weights`).

    Raises:
        ShapeError: `in_shape` is no image, or too small for so many blocks.
        RecipeError: `channels` is empty, the kernel is even, or `mean` or `std` do not fit the channels.
        RunError: `weights` is missing, damaged, or of another network.

    Source:
        The plain stack of 3 x 3 convolutions of Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556, with
        batch norm (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167) and one convolution per block, and the
        global mean of Lin et al. 2014, https://arxiv.org/abs/1312.4400.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> faces = Jagged(torch.zeros(3, 1, 48, 48, dtype=torch.uint8), torch.tensor([2, 1]))
        >>> Conv2d((1, 48, 48))(faces).values.shape
        torch.Size([3, 128])
    """

    whole_numbers = (torch.uint8,)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        channels: tuple[Positive, ...] = (16, 32, 64, 128),
        kernel: Positive = 3,
        pooling: PoolingName = "max",
        norm: NormName = "batch",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        weights: str | None = None,
        adapt_channels: bool = False,
    ) -> None:
        super().__init__()
        _check(in_shape, channels, kernel, pooling)
        self.pixels = Pixels(in_shape[0], mean, std, source="conv2d")
        self.network = nn.Sequential(
            *(_make_block(narrow, wide, kernel, pooling, norm) for narrow, wide in pairwise((in_shape[0], *channels)))
        )
        self.dropout = nn.Dropout(dropout)
        self.out_shape = (channels[-1],)
        if weights is not None:
            load_weights(self.network, weights, source="conv2d", adapt_channels=adapt_channels)

    def encode(self, values: Tensor) -> Tensor:
        """Encodes every image."""
        images = self.pixels(values)
        with use_running_statistics(self.network, where=self.training and len(values) == 1):
            maps = self.network(images)
        vectors: Tensor = self.dropout(maps.mean(dim=(-2, -1)))
        return vectors


class _Convolution(nn.Conv2d):
    """A convolution whose channels lie innermost while it computes, which is faster on CPUs, for small networks too."""

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(images, weight, self.bias, self.stride, self.padding)


def _make_block(narrow: int, wide: int, kernel: int, pooling: PoolingName, norm: NormName) -> nn.Sequential:
    stride = 2 if pooling == "stride" else 1
    # A bias before a batch norm is cancelled by it.
    convolution = _Convolution(narrow, wide, kernel, stride, kernel // 2, bias=norm != "batch")
    # The maximum and a ReLU may change places: after the pooling it has a quarter of the work.
    after = {
        "max": (nn.MaxPool2d(2), nn.ReLU()),
        "mean": (nn.ReLU(), nn.AvgPool2d(2)),
        "stride": (nn.ReLU(),),
    }
    return nn.Sequential(convolution, _make_norm(norm, wide), *after[pooling])


def _make_norm(norm: NormName, channels: int) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if channels % groups == 0), channels)


def _check(in_shape: tuple[int, ...], channels: tuple[int, ...], kernel: int, pooling: PoolingName) -> None:
    if len(in_shape) != 3:
        raise ShapeError(
            f"conv2d: an element of shape {tuple(in_shape)} is not an image (channels, height, width); "
            "a wave becomes images by spectrogram or log_mel with segment_seconds"
        )
    problems = []
    if not channels:
        problems.append(Problem("channels", "no block", "list the output channels of at least one, such as [16, 32]"))
    if kernel % 2 == 0:
        problems.append(Problem("kernel", f"{kernel} is even, so it has no centre", f"{kernel + 1}, for example"))
    if problems:
        raise RecipeError(problems, source="conv2d")
    least = min(in_shape[1:])
    if pooling != "stride" and least < 2 ** len(channels):
        raise ShapeError(
            f"conv2d: {len(channels)} blocks halve {in_shape[1]} x {in_shape[2]} to nothing; "
            f"{least.bit_length() - 1} blocks, or pooling: stride"
        )
