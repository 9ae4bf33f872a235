"""Predicted against true numbers, where a target has no classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.report.figures.style import FAINT, INK, SERIES, WIDEST, canvas, fit_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS, MOST_POINTS, MOST_OUTPUTS = 12, 3000, 6

Pairs = tuple[NDArray[np.float64], NDArray[np.float64]]
"""True and predicted numbers, each ``(samples, outputs)``; NaN where one is not known."""


def draw_numbers(pairs: Mapping[str, Pairs], target: str) -> Figure:
    """Draws a panel per variant: every reported sample of all folds and seeds, predicted against true.

    On the dashed line a prediction is right. Several outputs have a colour each.

    Args:
        pairs: By variant.
        target: The target's name.

    Raises:
        RunError: No sample has both numbers.
    """
    chosen = {name: pair for name, pair in pairs.items() if np.isfinite(pair[0] + pair[1]).any()}
    if not chosen:
        raise RunError("no sample has both a predicted and a true number")
    names = list(chosen)[:MOST_PANELS]
    side_by_side = min(4, len(names))
    rows = -(-len(names) // side_by_side)
    width = max(3.6, min(WIDEST, 0.6 + 2.4 * side_by_side))
    figure, panels = canvas(width, 2.5 * rows + 0.4, len(names), side_by_side)
    everything = np.concatenate([np.concatenate([part.ravel() for part in chosen[name]]) for name in names])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    margin = 0.05 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    for axes, name, title in zip(panels, names, fit_labels(names, 26), strict=True):
        wanted, said = chosen[name]
        rows_drawn = _drawn(len(wanted))
        for output in range(min(wanted.shape[1], MOST_OUTPUTS)):
            axes.scatter(
                wanted[rows_drawn, output],
                said[rows_drawn, output],
                s=9,
                color=SERIES[output],
                alpha=0.5,
                linewidths=0,
                label=f"output {output + 1}",
            )
        axes.plot(limits, limits, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlim(limits)
        axes.set_ylim(limits)
        axes.set_aspect("equal")
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_title(title, fontsize=10)
    if next(iter(chosen.values()))[0].shape[1] > 1:
        panels[0].legend(fontsize=7.5, frameon=False)
    shown = fit_labels([target], 30)[0]
    figure.supxlabel(f"true {shown}", fontsize=9)
    figure.supylabel(f"predicted {shown}", fontsize=9)
    return figure


def _drawn(samples: int) -> NDArray[np.int64]:
    """Returns the places of all samples, or of evenly spaced ones of very many."""
    if samples <= MOST_POINTS:
        return np.arange(samples)
    return np.linspace(0, samples - 1, MOST_POINTS).round().astype(np.int64)
