"""Calibration: whether a network that says 80 % is right in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import RunError
from fusionkit.evaluation.calibration.reliability import BINS, Reliability
from fusionkit.report.figures.folds import KINDS, kind_of
from fusionkit.report.figures.style import COLOURS, FAINT, INK, WIDEST, canvas, fit_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 12


def draw_calibration(found: Mapping[str, Reliability], branches: Mapping[str, str]) -> Figure:
    """Draws reliability diagrams: a panel per variant; on the diagonal a network is as often right as it says.

    A larger dot is a bin of more samples, whose share is drawn below in grey.

    Args:
        found: By variant.
        branches: By variant, the branch that it reads.

    Raises:
        RunError: There is no variant.
    """
    if not found:
        raise RunError("no variant has predictions that could be read")
    names = list(found)[:MOST_PANELS]
    side_by_side = min(4, len(names))
    rows = -(-len(names) // side_by_side)
    width = min(WIDEST, 0.6 + 2.35 * side_by_side)
    figure, panels = canvas(max(3.4, width), 2.45 * rows + 0.35, len(names), side_by_side)
    titles = fit_labels(names, 26)
    for position, (axes, name) in enumerate(zip(panels, names, strict=True)):
        colour = COLOURS[KINDS.index(kind_of(branches[name]))]
        _draw_panel(axes, found[name], colour, labelled=position % side_by_side == 0)
        axes.set_title(f"{titles[position]}\nECE {100 * found[name].ece:.1f} %", fontsize=9.5)
        axes.tick_params(labelbottom=position + side_by_side >= len(names))
    figure.supxlabel("confidence: probability of the predicted class (%)", fontsize=9)
    figure.supylabel("right (%)", fontsize=9)
    return figure


def _draw_panel(axes: Axes, found: Reliability, colour: str, *, labelled: bool) -> None:
    filled = found.counts > 0
    share = found.counts / found.counts.sum()
    edges = 100 * np.arange(BINS) / BINS
    axes.bar(edges, 30 * share / share.max(), width=100 / BINS, align="edge", color=FAINT, zorder=0)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    x, y = 100 * found.confidence[filled], 100 * found.accuracy[filled]
    axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=colour, linewidth=1.2, alpha=0.6, zorder=2)
    axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.6, zorder=3)
    axes.scatter(x, y, s=6 + 60 * np.sqrt(share[filled]), color=colour, linewidths=0, zorder=4)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([0, 50, 100], ["0", "50", "100"] if labelled else ["", "", ""])
    axes.set_aspect("equal")
