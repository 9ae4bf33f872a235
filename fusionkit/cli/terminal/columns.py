"""The widths of columns: as wide as their words at least, so that none is broken, and as their cells if that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

GAP = 2
"""Blanks between two columns."""


def split_columns(least: Sequence[int], room: int) -> Iterator[list[int]]:
    """Positions of the columns that stand beside each other; the first column stands in every part.

    Args:
        least: By column, the width that it needs.
        room: The width of the terminal.

    Example:
        >>> list(split_columns([4, 10, 10, 10], 30))
        [[0, 1, 2], [0, 3]]
    """
    part = [0] if least else []
    for place in range(1, len(least)):
        if len(part) > 1 and sum(least[each] + GAP for each in part) + least[place] > room:
            yield part
            part = [0]
        part.append(place)
    if part:
        yield part


def allot_widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Allots widths to columns that stand beside each other: what they need first, then what they would like.

    Where not even what they need is there, for a word is longer than a line, the widest give way.

    Example:
        >>> allot_widths([4, 8], [10, 60], 40), allot_widths([4, 90], [4, 90], 40)
        ([10, 28], [4, 34])
    """
    widths, left = list(least), room - GAP * (len(least) - 1) - sum(least)
    while left < 0 and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
        left += 1
    wishes = sorted((wish - width, place) for place, (width, wish) in enumerate(zip(widths, most, strict=True)))
    for rank, (wish, place) in enumerate(wishes):  # those that want little first, so that they get all of it
        given = max(0, min(wish, left // (len(wishes) - rank)))
        widths[place] += given
        left -= given
    return widths
