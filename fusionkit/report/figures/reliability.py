"""The reliability of a calibrated run: what was said beside what came true, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import RunError
from fusionkit.report.figures.style import COLOURS, FAINT, INK, WIDEST, canvas, fit_labels
from fusionkit.storage.records.calibration import Bins, Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TARGETS = 4
"""Targets that are drawn, the first ones."""

_STYLES = (("as trained", COLOURS[1], "s", "--"), ("calibrated", COLOURS[0], "o", "-"))
"""Colour, marker and line tell both apart, each by itself."""


def draw_reliability(found: Mapping[str, Curves]) -> Figure:
    """Draws a column per target: what was said against what came true, and below how many answers each bin has.

    On the dashed diagonal an answer comes true as often as it says. Of numbers, the share that intervals hold against
    their level; they have no bins.

    Args:
        found: By target.

    Raises:
        RunError: No target has test samples.
    """
    names = list(found)[:MOST_TARGETS]
    if not names:
        raise RunError("no test sample states a target, so there is no reliability to be drawn")
    binned = any(found[name].before is not None for name in names)
    width, rows = max(3.6, min(WIDEST, 0.7 + 2.9 * len(names))), 2 if binned else 1
    heights = (3, 1)[:rows]
    figure, panels = canvas(width, 4.3 if binned else 3.3, rows * len(names), len(names), heights)
    for place, (name, title) in enumerate(zip(names, fit_labels(names, 30), strict=True)):
        axes, below = panels[place], panels[len(names) + place] if binned else None
        axes.set_title(title, fontsize=10)
        _draw_diagonal(axes)
        of = found[name]
        if of.before is None or of.after is None:
            _draw_levels(axes, of)
            if below is not None:
                below.remove()
            continue
        for bins, (label, colour, marker, line) in zip((of.before, of.after), _STYLES, strict=True):
            x, y = _list_points(bins)
            axes.plot(x, y, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.4, label=label)
        axes.legend(loc="upper left", fontsize=8, frameon=False)
        axes.set_ylabel("came true (%)", fontsize=9)
        if below is not None:
            _draw_counts(below, of.before, of.after)
    return figure


def _draw_diagonal(axes: Axes) -> None:
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([0, 50, 100])
    axes.grid(color=FAINT, linewidth=0.8)


def _draw_levels(axes: Axes, of: Curves) -> None:
    _, colour, marker, line = _STYLES[1]
    x, y = 100 * np.array(of.levels), 100 * np.array(of.covered)
    axes.plot(x, y, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.4)
    axes.set_xlabel("level of the interval (%)", fontsize=9)
    axes.set_ylabel("held the number (%)", fontsize=9)


def _draw_counts(axes: Axes, before: Bins, after: Bins) -> None:
    """Draws how many answers each bin has, side by side."""
    bins = len(before.counts)
    wide = 100 / bins
    for place, (of, (_, colour, _, line)) in enumerate(zip((before, after), _STYLES, strict=True)):
        at = wide * (np.arange(bins) + 0.08 + 0.42 * place)
        filled = line == "-"
        axes.bar(
            at,
            of.counts,
            width=0.42 * wide,
            align="edge",
            facecolor=colour if filled else "white",
            edgecolor=colour,
            linewidth=0.9,
        )
    axes.set_xlim(0, 102)
    axes.set_xticks([0, 50, 100])
    axes.set_xlabel("probability that was given (%)", fontsize=9)
    axes.set_ylabel("answers", fontsize=9)


def _list_points(bins: Bins) -> tuple[list[float], list[float]]:
    pairs = [
        (100 * said, 100 * observed)
        for said, observed in zip(bins.said, bins.observed, strict=True)
        if said is not None and observed is not None
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]
