"""The corruptions of a modality, as pure functions: the same seed gives the same, however batches are cut."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def draw_hit(names: Sequence[str], able: Tensor, share: float, seed: int, purpose: str) -> Tensor:
    r"""Tells which samples are hit at a level: nested, so that whoever is hit at 20 % is hit at 40 % too.

    .. math::
        \mathrm{hit}_i \iff \mathrm{rank}_i < \lfloor p\,n + 1/2 \rfloor

    Samples are ranked by a hash of seed, purpose and name, so a mask depends neither on their order nor on batches.

    Args:
        names: The samples, each name once.
        able: Which of them have the modality, ``(samples,)`` bool; n counts them.
        share: The share p, from 0 to 1.
        seed: The seed.
        purpose: What it is for: other purposes hit other samples.

    Example:
        >>> half = draw_hit(["a", "b", "c", "d"], torch.tensor([True, True, True, True]), 0.5, 0, "missing/audio")
        >>> half.sum()
        tensor(2)
    """
    candidates = [position for position in range(len(names)) if able[position]]
    candidates.sort(key=lambda position: _drawn(names[position], seed, purpose))
    mask = torch.zeros(len(names), dtype=torch.bool)
    mask[candidates[: math.floor(share * len(candidates) + 0.5)]] = True
    return mask


def partners(names: Sequence[str], groups: Sequence[str], able: Tensor, seed: int, purpose: str) -> list[int]:
    """Draws from whom each sample's modality is taken when it is swapped: one to one, and never from itself.

    Samples that have the modality are put in a drawn order in which groups stand together, and each takes it from
    the one that stands as many places further as the largest group has samples. So it comes from another group
    wherever no group has more than half of them. Targets are not looked at: the other's class may be the same.

    Args:
        names: The samples, each name once.
        groups: The group of each, such as its actor.
        able: Which of them have the modality, ``(samples,)`` bool.
        seed: The seed.
        purpose: What it is for.

    Returns:
        By position the position of the other; its own for a sample without the modality, or where there is no other.

    Example:
        >>> partners(["a1", "a2", "b1", "b2"], ["a", "a", "b", "b"], torch.ones(4, dtype=torch.bool), 0, "swap") in (
        ...     [2, 3, 0, 1], [2, 3, 1, 0], [3, 2, 0, 1], [3, 2, 1, 0]
        ... )
        True
    """
    order = [position for position in range(len(names)) if able[position]]
    order.sort(key=lambda place: (_drawn(groups[place], seed, f"{purpose}/group"), _drawn(names[place], seed, purpose)))
    taken = list(range(len(names)))
    if len(order) < 2:
        return taken
    largest = max(Counter(groups[place] for place in order).values())
    step = min(largest, len(order) // 2)
    for rank, place in enumerate(order):
        taken[place] = order[(rank + step) % len(order)]
    return taken


def add_noise(values: Tensor, spread: Tensor, level: float, drawn: Tensor) -> Tensor:
    r"""Adds white noise to a sample's modality, in units of the modality's own spread.

    .. math::
        x' = x + s\,\sigma_c\,z, \qquad z \sim N(0, 1)

    Whole numbers are rounded. Bytes, such as those of frames, end where their type ends; others, such as ids, at the
    least and largest of the sample, so that they stay what the network knows.

    Args:
        values: Elements, ``(length, *element)``.
        spread: The standard deviation sigma of every channel, as `Spread` measures it.
        level: The level s.
        drawn: The draws z, of the shape of the values; the same for every level.

    Example:
        >>> frames = torch.tensor([[250], [3]], dtype=torch.uint8)
        >>> add_noise(frames, torch.tensor([20.0]), 1.0, torch.tensor([[1.0], [0.2]]))
        tensor([[255],
                [  7]], dtype=torch.uint8)
    """
    if level == 0 or not len(values):
        return values
    sigma = spread.reshape(-1, *[1] * (values.ndim - 2)) if values.ndim > 1 else spread
    changed = values.to(torch.float64) + level * sigma * drawn
    if not values.is_floating_point():
        ends = torch.iinfo(values.dtype)
        least, most = (ends.min, ends.max) if values.dtype == torch.uint8 else (int(values.min()), int(values.max()))
        changed = changed.round().clamp(least, most)
    return changed.to(values.dtype)


def shift_elements(values: Tensor, elements: int) -> Tensor:
    r"""Delays a sample's modality, or advances it where `elements` is negative; its length stays.

    .. math::
        x'_t = x_{\min(\max(t - d, 0), n - 1)}

    What comes late begins with its first element held, as a player holds a picture, and loses its last d elements;
    what comes early loses its first ones and ends with its last one held. The other modalities stay where they are.

    Args:
        values: Elements, ``(length, *element)``.
        elements: The lag d.

    Example:
        >>> shift_elements(torch.arange(4), 1), shift_elements(torch.arange(4), -2)
        (tensor([0, 0, 1, 2]), tensor([2, 3, 3, 3]))
    """
    if elements == 0 or not len(values):
        return values
    return values[(torch.arange(len(values)) - elements).clamp(0, len(values) - 1)]


def lag(level: float, length: int, rate: float | None) -> int:
    """Returns the lag in whole elements of a level in seconds or, without a rate, in shares of the sample's length.

    Example:
        >>> lag(0.5, 100, 30.0), lag(0.1, 100, None)
        (15, 10)
    """
    return math.floor(abs(level) * (length if rate is None else rate) + 0.5) * (1 if level > 0 else -1)


def _drawn(name: str, seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
