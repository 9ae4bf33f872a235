"""The values of every fold and variant as figures, with their means and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from fusionkit.errors import RunError
from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLES, FUSED
from fusionkit.report.figures.confusion import draw_confusions
from fusionkit.report.figures.style import COLOURS, FAINT, INK, WIDEST, canvas, fit_labels, save_figure
from fusionkit.storage.records.results import ResultColumn, Results, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (FUSED, "uni-modal", ENSEMBLE, CONSTANT)  # in the order of the colours
MOST_FOLDS, MOST_PANELS = 48, 12


def draw_figures(results: Results, folder: str | Path) -> tuple[Path, ...]:
    """Draws the figures that the results allow, as PNG files: ``folds.png`` and, with classes, ``confusion.png``.

    Args:
        results: What a ``results.json`` holds.
        folder: Where the files go; it is made if need be.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if any(column.by_fold for column in results.summary.values()):
        files.append(save_figure(draw_folds(results), folder / "folds.png"))
    if results.confusion.matrices:
        files.append(save_figure(draw_confusions(results), folder / "confusion.png"))
    return tuple(files)


def kind_of(branch: str) -> str:
    """Says whether a branch is fused, uni-modal, an ensemble or the constant answer."""
    if branch in ENSEMBLES:
        return ENSEMBLE
    return branch if branch in KINDS else "uni-modal"


def draw_folds(results: Results) -> Figure:
    """Draws a row per variant: a dot per fold, and below them the mean with its 95 % interval over folds.

    An open dot marks a fold where a single modality, trained by itself, is better than the fused network.

    Raises:
        RunError: No variant has a value.
    """
    if not any(column.by_fold for column in results.summary.values()):
        raise RunError("no fold of any variant has a value")
    names = [column.name for column in results.columns]
    figure, (axes,) = canvas(7.2, 1.5 + 0.48 * len(names))
    kinds = [kind_of(column.branch) for column in results.columns]
    for row, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        _draw_row(axes, row, results.summary[name], _scale(results), COLOURS[KINDS.index(kind)])
    axes.set_yticks(range(len(names)), fit_labels(names, 26))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_xlabel(_axis(results))
    if results.main_metric.share:  # an interval of few folds may reach far beyond what a share can be
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -2.0), min(high, 102.0))
    some_open = any(column.inferior for column in results.summary.values())
    _add_legend(figure, [kind for kind in KINDS if kind in kinds], some_open)
    return figure


def draw_fold_intervals(results: Results) -> Figure:
    """Draws a panel per variant: the value of every fold with its 95 % bootstrap interval over groups of its samples.

    With several seeds value and limits are means over them. A line is the mean over folds.

    Raises:
        RunError: There is no interval, or there are more folds or variants than a figure can show.
    """
    columns = [column for column in results.columns if results.summary[column.name].by_fold]
    folds = [fold.name for fold in results.folds]
    if len(folds) > MOST_FOLDS:
        raise RunError(f"{len(folds)} folds are more than a figure shows legibly; the table lists them")
    limits = {column.name: _limits(results, column.name) for column in columns}
    if not any(limits.values()):
        raise RunError("no test part has two groups to resample, so no fold has an interval of its own")
    chosen = columns[:MOST_PANELS]
    side_by_side = min(4, len(chosen))
    rows = -(-len(chosen) // side_by_side)
    height = rows * (0.55 + 0.19 * max(3, len(folds))) + 0.5
    figure, panels = canvas(min(WIDEST, 1.2 + 2.2 * side_by_side), height, len(chosen), side_by_side)
    titles = fit_labels([column.name for column in chosen], 26)
    labels = fit_labels(folds, 16)
    for position, (axes, column) in enumerate(zip(panels, chosen, strict=True)):
        if position:
            axes.sharex(panels[0])
        _draw_fold_panel(axes, results, column, folds, limits[column.name])
        axes.set_yticks(range(len(folds)), labels if position % side_by_side == 0 else [""] * len(folds))
        axes.set_title(titles[position], fontsize=10)
    figure.supxlabel(_axis(results), fontsize=9)
    return figure


def _draw_fold_panel(
    axes: Axes,
    results: Results,
    column: ResultColumn,
    folds: Sequence[str],
    limits: Mapping[str, tuple[float, float]],
) -> None:
    scale, summary = _scale(results), results.summary[column.name]
    colour = COLOURS[KINDS.index(kind_of(column.branch))]
    if summary.mean is not None:
        axes.axvline(scale * summary.mean, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, fold in enumerate(folds):
        if fold in limits:
            low, high = limits[fold]
            axes.hlines(row, scale * low, scale * high, color=colour, linewidth=1.4, zorder=2)
        if fold in summary.by_fold:
            face = "white" if fold in (summary.inferior or ()) else colour
            value = scale * summary.by_fold[fold]
            axes.scatter([value], [row], s=26, facecolors=face, edgecolors=colour, linewidths=1.3, zorder=3)
    axes.set_ylim(len(folds) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)


def _limits(results: Results, name: str) -> dict[str, tuple[float, float]]:
    """Returns by fold the limits of a variant's runs, meant over seeds; of folds whose every run has them."""
    found = {}
    for fold in results.summary[name].by_fold:
        limits = [row.limits for row in results.rows if row.variant == name and row.fold == fold]
        known = [each for each in limits if each is not None]
        if known and len(known) == len(limits):
            found[fold] = (fmean(low for low, _ in known), fmean(high for _, high in known))
    return found


def _scale(results: Results) -> int:
    return 100 if results.main_metric.share else 1


def _axis(results: Results) -> str:
    better = "higher" if results.higher_is_better else "lower"
    unit = " (%)" if results.main_metric.share else ""
    return f"{results.metric} of {results.target}{unit}, {better} is better"


def _draw_row(axes: Axes, row: int, column: Summary, scale: int, colour: str) -> None:
    values = [scale * value for value in column.by_fold.values()]
    is_open = [fold in (column.inferior or ()) for fold in column.by_fold]
    # Dots of equal folds would hide each other on one line: they take turns on three.
    heights = [row - 0.14 + 0.12 * ((position % 3) - 1) for position in range(len(values))]
    faces = ["white" if each else colour for each in is_open]
    axes.scatter(values, heights, s=24, facecolors=faces, edgecolors=colour, linewidths=1.3, zorder=2)
    if column.mean is None:
        return
    height = row + 0.24
    if column.limits is not None:
        low, high = column.limits
        axes.hlines(height, scale * low, scale * high, color=INK, linewidth=1.4, zorder=3)
    axes.scatter([scale * column.mean], [height], marker="D", s=26, color=INK, zorder=4)


def _add_legend(figure: Figure, kinds: Sequence[str], some_open: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, face: str, marker: str = "o", width: float = 0.0) -> Line2D:
        return Line2D([], [], color=colour, mfc=face, marker=marker, linewidth=width, label=label, ms=5)

    colours = [COLOURS[KINDS.index(kind)] for kind in kinds]
    marks = [mark(kind, colour, colour) for kind, colour in zip(kinds, colours, strict=True)]
    marks += [mark("a single modality is better", COLOURS[0], "white")] if some_open else []
    marks += [mark("mean, 95 % interval", INK, INK, "D", 1.4)]
    figure.legend(
        handles=marks,
        loc="outside upper center",
        ncols=len(marks),
        fontsize=8,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.3,
    )
