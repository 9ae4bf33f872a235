"""Sequences as the tokens that attention works on."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.errors import Problem, RecipeError
from fusionkit.nn.jagged import Jagged


class SequenceTokens(nn.Module):
    r"""A modality's sequence as tokens of one width, padded, with the codes of their positions.

    .. math::
        z_t = W x_t + b + p_t

    Args:
        in_features: Width of an element.
        width: Width of a token.
    """

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, width)

    def forward(
        self, sequence: Jagged, present: Bool[Tensor, " batch"] | None
    ) -> tuple[Float[Tensor, "batch time width"], Bool[Tensor, "batch time"]]:
        """Returns the tokens, at least one for every sample, and the mask of the elements of present samples.

        Args:
            sequence: The elements.
            present: Which samples count as present; None for those that have elements.
        """
        tokens = sequence.with_values(self.dense(sequence.values)).to_padded(max((1, *sequence.sizes)))
        valid = torch.arange(tokens.shape[1], device=tokens.device) < sequence.lengths[:, None]
        if present is not None:
            valid = valid & present[:, None]
        return tokens + sinusoidal_positions(tokens), valid


def sinusoidal_positions(padded: Float[Tensor, "batch time width"]) -> Float[Tensor, "time width"]:
    r"""Computes sinusoidal codes of positions: sines in even features, cosines in odd ones.

    .. math::
        p_{t, 2i} = \sin(t / 10000^{2i / w}), \qquad p_{t, 2i + 1} = \cos(t / 10000^{2i / w})

    Args:
        padded: What the codes are for.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    time, width = padded.shape[1:]
    # Angles need more digits than half precision has.
    precise = torch.promote_types(padded.dtype, torch.float32)
    feature = torch.arange(width, device=padded.device, dtype=precise)
    rate = torch.exp(-math.log(10_000.0) * 2 * (feature // 2) / width)
    angle = torch.arange(time, device=padded.device)[:, None] * rate
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos()).to(padded.dtype)


def attention_width(width: int | None, heads: int, widest: int, *, source: str) -> int:
    """Returns the width of tokens for a number of attention heads, which must divide it.

    Args:
        width: What the recipe asks for; None for the next width from `widest` on that fits.
        heads: Attention heads.
        widest: The width of the widest input.
        source: The component, for the message.

    Raises:
        RecipeError: The width is no multiple of the heads.

    Example:
        >>> attention_width(None, 4, 35, source="attention")
        36
    """
    if width is None:
        return -(-widest // heads) * heads
    if width % heads:
        right = f"a multiple of {heads}, such as {-(-width // heads) * heads}"
        raise RecipeError([Problem("width", f"{width} is not a multiple of heads {heads}", right)], source=source)
    return width
