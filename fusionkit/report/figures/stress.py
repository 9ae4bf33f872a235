"""Curves under a corruption, a panel per modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionkit.errors import RunError
from fusionkit.report.figures.style import FAINT, WIDEST, canvas, fit_labels, style_of
from fusionkit.report.text.stress import PER_CENT, curves_of, measure_in_words, reads_it
from fusionkit.storage.records.stress import Stress, StressCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS, MOST_CURVES = 12, 16
AXES = {
    "share": "samples, %",
    "standard deviations": "noise, standard deviations",
    "seconds": "late by, s",
    "share of the length": "late by, % of the length",
}


def draw_stress(document: Stress, corruption: str, target: str) -> Figure:
    """Draws a panel per modality: a line per curve, in a band of its 95 % interval over folds.

    Networks that do not read the modality are dashed: what they reach, whatever befalls it.

    Args:
        document: What ``stress.json`` holds.
        corruption: The corruption.
        target: The target.

    Raises:
        RunError: No curve of them has a value.
    """
    found = dict(list(curves_of(document, corruption, target).items())[:MOST_PANELS])
    if not found:
        raise RunError("no curve has a value")
    drawn = {curve.column for curves in found.values() for curve in curves}
    columns = dict.fromkeys(curve.column for curve in document.curves)
    names = [name for name in columns if name in drawn][:MOST_CURVES]
    side_by_side = min(3, len(found))
    rows = -(-len(found) // side_by_side)
    width = max(4.8, min(WIDEST, 0.6 + 3.2 * side_by_side))
    figure, panels = canvas(width, 2.9 * rows + 0.3 + 0.2 * -(-len(names) // 4), len(found), side_by_side)
    scale = 100 if document.targets[target].main_metric.share else 1
    for position, (axes, modality) in enumerate(zip(panels, found, strict=True)):
        if position:
            axes.sharey(panels[0])
        for curve in found[modality]:
            if curve.column in names:
                _draw_curve(axes, curve, names.index(curve.column), scale)
        axes.set_title(fit_labels([modality], 30)[0], fontsize=10)
        axes.set_xlabel(AXES[found[modality][0].unit], fontsize=9)
        axes.grid(color=FAINT, linewidth=0.8)
    figure.supylabel(fit_labels([measure_in_words(document, target)], 60)[0], fontsize=9)
    _add_legend(figure, names)
    return figure


def _draw_curve(axes: Axes, curve: StressCurve, place: int, scale: int) -> None:
    colour, marker = style_of(place)
    wide = 100 if curve.unit in PER_CENT else 1
    known = {wide * point.level: scale * point.mean for point in curve.points if point.mean is not None}
    if not reads_it(curve):
        axes.plot(list(known), list(known.values()), color=colour, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        return
    axes.plot(list(known), list(known.values()), color=colour, marker=marker, markersize=4.5, linewidth=1.5, zorder=2)
    bands = {wide * point.level: point.limits for point in curve.points if point.limits is not None}
    if len(bands) > 1:
        low, high = zip(*([scale * limit for limit in limits] for limits in bands.values()), strict=True)
        axes.fill_between(list(bands), low, high, color=colour, alpha=0.08, linewidth=0)


def _add_legend(figure: Figure, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    marks = []
    for place, label in enumerate(fit_labels(names, 24)):
        colour, marker = style_of(place)
        marks.append(Line2D([], [], color=colour, marker=marker, markersize=5, label=label))
    figure.legend(handles=marks, loc="outside upper center", ncols=min(4, len(marks)), fontsize=8.5, frameon=False)
