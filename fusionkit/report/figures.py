"""Figures of an experiment's results, in colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.report.tables import SHARES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73")
"""The three of Okabe and Ito's palette that are dark enough on white."""

KINDS = ("fused", "uni-modal", "ensemble")  # in the order of the colours
KIND_OF = {"fused": "fused", "ensemble": "ensemble"}

INK, FAINT = "#1A1A1A", "#D9D9D9"
DPI = 150

Results = Mapping[str, Any]


def draw_figures(results: Results, folder: str | Path) -> tuple[Path, ...]:
    """Draws the figures that the results allow, as PNG files: ``folds.png`` and, with classes, ``confusion.png``.

    Args:
        results: What `run_experiment` returned, or a ``results.json`` holds.
        folder: Where the files go; it is made if need be.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if any(column["by_fold"] for column in results["summary"].values()):
        files.append(save_figure(draw_folds(results), folder / "folds.png"))
    if results["confusion"]["matrices"]:
        files.append(save_figure(draw_confusions(results), folder / "confusion.png"))
    return tuple(files)


def draw_folds(results: Results) -> Figure:
    """A row per variant: a dot per fold, and below them the mean with its 95 % interval over folds.

    An open dot is an inferior case: there some separately trained uni-modal network beats the fused one.
    """
    names = [column["name"] for column in results["columns"]]
    figure, (axes,) = _canvas(7.2, 1.5 + 0.48 * len(names))
    scale = 100 if results["metric"] in SHARES else 1
    kinds = [KIND_OF.get(column["branch"], "uni-modal") for column in results["columns"]]
    for row, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        _draw_row(axes, row, results["summary"][name], scale, COLOURS[KINDS.index(kind)])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    better = "higher" if results["higher_is_better"] else "lower"
    unit = " (%)" if scale == 100 else ""
    axes.set_xlabel(f"{results['metric']} of {results['target']}{unit}, {better} is better")
    some_inferior = any(column["inferior"] for column in results["summary"].values())
    _add_legend(figure, [kind for kind in KINDS if kind in kinds], some_inferior)
    return figure


def draw_confusions(results: Results, variants: Sequence[str] | None = None) -> Figure:
    """Confusion matrices side by side, summed over folds and seeds; cells are per cent of a true class.

    Args:
        results: An experiment's results.
        variants: Which; the first fused column, the last one and the ensemble when left out.

    Raises:
        RunError: A variant has no confusion matrix.
    """
    matrices = results["confusion"]["matrices"]
    chosen = list(variants) if variants is not None else _telling(results)
    unknown = [name for name in chosen if name not in matrices]
    if unknown:
        raise RunError(f"no confusion matrix of {unknown[0]!r}; there are: {', '.join(matrices)}")
    classes = results["confusion"]["classes"]
    side = max(2.6, 0.42 * len(classes))
    longest = 0.085 * max(map(len, classes))
    figure, panels = _canvas(side * len(chosen) + longest + 0.6, side + longest + 0.8, panels=len(chosen))
    for position, name in enumerate(chosen):
        _draw_matrix(panels[position], np.asarray(matrices[name], dtype=float), classes, label_rows=position == 0)
        panels[position].set_title(name, fontsize=10)
    panels[0].set_ylabel("true")
    figure.supxlabel("predicted; cells are % of the true class, over all folds and seeds", fontsize=9)
    return figure


def draw_learning_curves(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation losses over epochs, a panel per stage of a training.

    Args:
        log: The records of a run's log.

    Raises:
        RunError: No epoch has ended yet.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [record for record in log if "training" in record]
    if not epochs:
        raise RunError("the log holds no epoch that has ended")
    stages = list(dict.fromkeys(record["stage"] for record in epochs))
    figure, panels = _canvas(3.2 * len(stages) + 0.4, 2.8, panels=len(stages))
    for axes, stage in zip(panels, stages, strict=True):
        for name, colour in zip(("training", "validation"), COLOURS, strict=False):
            points = [
                (record["epoch"] + 1, record[name])
                for record in epochs
                if record["stage"] == stage and record[name] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, color=colour, marker=".", markersize=4)
        axes.set_title(stage, fontsize=10)
        axes.set_xlabel("epoch")
        axes.margins(y=0.15)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("loss")
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as a PNG file and returns its path."""
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08)  # long class names leave blank margins
    return Path(path)


def _draw_row(axes: Axes, row: int, column: Mapping[str, Any], scale: int, colour: str) -> None:
    values = [scale * value for value in column["by_fold"].values()]
    inferior = [fold in (column["inferior"] or ()) for fold in column["by_fold"]]
    # Dots of equal folds would hide each other on one line: they take turns on three.
    heights = [row - 0.14 + 0.12 * ((position % 3) - 1) for position in range(len(values))]
    faces = ["white" if bad else colour for bad in inferior]
    axes.scatter(values, heights, s=24, facecolors=faces, edgecolors=colour, linewidths=1.3, zorder=2)
    if column["mean"] is None:
        return
    height = row + 0.24
    if column["low"] is not None:
        axes.hlines(height, scale * column["low"], scale * column["high"], color=INK, linewidth=1.4, zorder=3)
    axes.scatter([scale * column["mean"]], [height], marker="D", s=26, color=INK, zorder=4)


def _add_legend(figure: Figure, kinds: Sequence[str], some_inferior: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, face: str, marker: str = "o", width: float = 0.0) -> Line2D:
        return Line2D([], [], color=colour, mfc=face, marker=marker, linewidth=width, label=label, ms=5)

    colours = [COLOURS[KINDS.index(kind)] for kind in kinds]
    marks = [mark(kind, colour, colour) for kind, colour in zip(kinds, colours, strict=True)]
    marks += [mark("worse than a uni-modal network", COLOURS[0], "white")] if some_inferior else []
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


def _draw_matrix(axes: Axes, matrix: NDArray[np.float64], classes: Sequence[str], *, label_rows: bool) -> None:
    rows = matrix.sum(axis=1, keepdims=True)
    share = 100 * np.divide(matrix, rows, out=np.zeros_like(matrix), where=rows > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for true, predicted in np.ndindex(share.shape):
        value = share[true, predicted]
        if value >= 0.5:
            ink = "white" if value > 55 else INK
            axes.text(predicted, true, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(classes)), classes if label_rows else [""] * len(classes), fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _telling(results: Results) -> list[str]:
    """The first fused column, the last one, and the ensemble: what a reader compares first."""
    drawn = [column for column in results["columns"] if column["name"] in results["confusion"]["matrices"]]
    fused = [column["name"] for column in drawn if column["branch"] == "fused"]
    ensemble = [column["name"] for column in drawn if column["branch"] == "ensemble"]
    chosen = [*fused[:1], *fused[-1:], *ensemble[:1]] or [column["name"] for column in drawn[:3]]
    return list(dict.fromkeys(chosen))


def _canvas(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure that no window shows, and its panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=INK, labelsize=9)
    return figure, axes
