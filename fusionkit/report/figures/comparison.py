"""A comparison under equal conditions as figures: differences with ranks, and what columns reach over their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fusionkit.report.figures.folds import KINDS, kind_of
from fusionkit.report.figures.style import COLOURS, FAINT, INK, canvas, fit_labels
from fusionkit.report.text.comparison import in_order, is_sure, require_comparison
from fusionkit.storage.records.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 12


def draw_comparison(results: Results) -> Figure:
    """Differences from the first column with intervals that hold together, and mean ranks, best on top."""
    names = in_order(results)
    figure, (left, right) = canvas(9.4, 1.3 + 0.26 * len(names), 2)
    labels = fit_labels(names, 28)
    colour_of = {each.name: COLOURS[KINDS.index(kind_of(each.branch))] for each in results.columns}
    _draw_differences(left, results, names, colour_of)
    ranks = require_comparison(results).ranks
    for row, name in enumerate(names):
        if name in ranks.mean:
            right.scatter([ranks.mean[name]], [row], s=30, color=colour_of[name], zorder=3)
    if ranks.mean and ranks.critical_difference is not None:
        best = min(ranks.mean.values())
        right.axvspan(best, best + ranks.critical_difference, color=FAINT, alpha=0.6, zorder=1)
    right.set_xlabel("mean rank over folds, 1 is best", fontsize=9)
    for axes in (left, right):
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
    left.set_yticks(range(len(names)), labels)
    right.set_yticks(range(len(names)), [""] * len(names))
    return figure


def draw_cost(results: Results) -> Figure:
    """Draws the mean of every column over the seconds of an epoch."""
    costs, runs = require_comparison(results).cost, {each.name: each.runs for each in results.columns}
    names = [name for name in in_order(results) if runs[name] in costs]
    figure, (axes,) = canvas(9.4, 5.2)
    scale = 100 if results.main_metric.share else 1
    places = {name: (costs[runs[name]].epoch_seconds, scale * results.means[name]) for name in names}
    for each in results.columns:
        if each.name in places:
            colour = COLOURS[KINDS.index(kind_of(each.branch))]
            axes.scatter(*places[each.name], s=28, color=colour, zorder=3)
    shown = names
    if len(names) > MOST_LABELS:  # they would hide each other: those that nothing is both cheaper and better than
        shown = [name for name in names if not any(_beats(places[other], places[name], results) for other in names)]
    for name, label in zip(shown, fit_labels(shown, 28), strict=True):
        axes.annotate(label, places[name], xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_xlabel("seconds of an epoch", fontsize=9)
    axes.set_ylabel(f"{results.metric} of {results.target}" + (" (%)" if scale == 100 else ""), fontsize=9)
    return figure


def _beats(one: tuple[float, float], other: tuple[float, float], results: Results) -> bool:
    sign = results.main_metric.sign
    no_worse = one[0] <= other[0] and sign * one[1] >= sign * other[1]
    return no_worse and one != other


def _draw_differences(axes: Axes, results: Results, names: Sequence[str], colour_of: Mapping[str, str]) -> None:
    scale = 100 if results.main_metric.share else 1
    pairs = {pair.column: pair for pair in require_comparison(results).against_first}
    axes.axvline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, name in enumerate(names):
        pair = pairs.get(name)
        if pair is None:
            continue
        if pair.limits is not None:
            low, high = pair.limits
            axes.hlines(row, scale * low, scale * high, color=colour_of[name], linewidth=1.3, zorder=2)
        face = colour_of[name] if is_sure(pair) else "white"
        axes.scatter([scale * pair.difference], [row], s=30, facecolors=face, edgecolors=colour_of[name], zorder=3)
    first = results.columns[0].name
    better = "" if results.higher_is_better else ", lower is better"
    unit = " (points)" if scale == 100 else ""
    axes.set_xlabel(f"{results.metric} minus that of {fit_labels([first], 24)[0]}{unit}{better}", fontsize=9)
