"""The subsets of the modalities that a fused network is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Subset = tuple[str, ...]
"""Modalities, in the order of fusion."""

MOST_MODALITIES = 8
"""Of more modalities than these the subsets are too many: 256 of eight, 512 of nine."""


def subsets_of(modalities: Sequence[str]) -> tuple[Subset, ...]:
    """Returns all subsets, small ones first, the empty one among them.

    Of more than `MOST_MODALITIES` only the empty one, each modality alone, all but one, and all.

    Example:
        >>> subsets_of(["audio", "video"])
        ((), ('audio',), ('video',), ('audio', 'video'))
        >>> len(subsets_of("abcdefgh")), len(subsets_of("abcdefghi"))
        (256, 20)
    """
    count = len(modalities)
    sizes = range(count + 1) if count <= MOST_MODALITIES else (0, 1, count - 1, count)
    return tuple(subset for size in sizes for subset in combinations(modalities, size))


def without(modalities: Sequence[str], modality: str) -> Subset:
    """Returns all modalities but one."""
    return tuple(name for name in modalities if name != modality)


def name_of(subset: Subset) -> str:
    """Names a subset.

    Example:
        >>> name_of(("audio", "video")), name_of(())
        ('audio + video', 'none')
    """
    return " + ".join(subset) or "none"
