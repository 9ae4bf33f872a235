"""Confusion matrices, averaged over folds and seeds, as the paper's Figs. 10 and 11."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.inference.branches import ENSEMBLES
from fusionkit.report.figures.style import INK, WIDEST, canvas, fit_labels
from fusionkit.storage.records.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERS, MOST_NAMES = 16, 40
"""With more classes cells hold no numbers, and axes no names."""


def draw_confusions(results: Results, variants: Sequence[str] | None = None) -> Figure:
    """Draws confusion matrices side by side, summed over folds and seeds; cells are per cent of a true class.

    Args:
        results: An experiment's results.
        variants: Which; the first fused column, the last one and the ensemble when left out.

    Raises:
        RunError: A variant has no confusion matrix.
    """
    matrices = results.confusion.matrices
    chosen = list(variants) if variants is not None else find_telling_columns(results)
    unknown = [name for name in chosen if name not in matrices]
    if unknown or not chosen:
        named = repr(unknown[0]) if unknown else "any variant"
        raise RunError(f"no confusion matrix of {named}; there are: {', '.join(matrices) or 'none'}")
    classes = results.confusion.names
    side = _side(len(classes))
    labels = fit_labels(classes, 18) if len(classes) <= MOST_NAMES else None
    margin = 0.085 * max(map(len, labels)) if labels else 0.3
    per_row = max(1, min(len(chosen), int((WIDEST - margin) // side)))
    rows = -(-len(chosen) // per_row)
    figure, panels = canvas(
        side * per_row + margin + 0.6, rows * (side + 0.35) + margin + 0.5, panels=len(chosen), columns=per_row
    )
    titles = fit_labels(chosen, 30)
    for position, axes in enumerate(panels):
        _draw_matrix(axes, np.asarray(matrices[chosen[position]], dtype=float))
        lowest = position + per_row >= len(chosen)
        _label(axes, len(classes), labels, rows=position % per_row == 0, columns=lowest)
        axes.set_title(titles[position], fontsize=10)
    figure.supylabel("true", fontsize=9)
    figure.supxlabel("predicted; cells are % of the true class, over all folds and seeds", fontsize=9)
    return figure


def most_confused(results: Results, variant: str, count: int = 5) -> list[tuple[str, str, int, float]]:
    """Returns the most frequent confusions of a variant: true, predicted, how often, share of the true class."""
    matrix = np.asarray(results.confusion.matrices[variant], dtype=np.int64)
    classes = results.confusion.names
    totals = matrix.sum(axis=1)
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(place, matrix.shape) for place in order]
    return [
        (classes[true], classes[said], int(wrong[true, said]), float(wrong[true, said] / totals[true]))
        for true, said in pairs
        if wrong[true, said] > 0
    ]


def _side(classes: int) -> float:
    """Returns the side of a matrix in inches."""
    if classes > MOST_NAMES:
        return 4.6
    return max(2.6, (0.37 if classes <= MOST_NUMBERS else 0.15) * classes)


def _draw_matrix(axes: Axes, matrix: NDArray[np.float64]) -> None:
    rows = matrix.sum(axis=1, keepdims=True)
    share = 100 * np.divide(matrix, rows, out=np.zeros_like(matrix), where=rows > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(share) > MOST_NUMBERS:
        return
    for true, predicted in np.ndindex(share.shape):
        value = share[true, predicted]
        if value >= 0.5:
            ink = "white" if value > 55 else INK
            axes.text(predicted, true, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)


def _label(axes: Axes, classes: int, labels: Sequence[str] | None, *, rows: bool, columns: bool) -> None:
    """Names of classes, where a panel has no neighbour that shows them; numbers of classes where they are too many."""
    if labels is None:
        ticks = list(range(0, classes, max(1, classes // 5)))
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks] if columns else [""] * len(ticks), fontsize=8)
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks] if rows else [""] * len(ticks), fontsize=8)
        return
    places, nothing = range(classes), [""] * classes
    shown = list(labels) if columns else nothing
    size = 8 if classes <= MOST_NUMBERS else 7
    axes.set_xticks(places, shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(places, list(labels) if rows else nothing, fontsize=size)


def find_telling_columns(results: Results) -> list[str]:
    """Returns the first fused column, the last one, and the ensemble: a reader compares these first."""
    drawn = [column for column in results.columns if column.name in results.confusion.matrices]
    fused = [column.name for column in drawn if column.branch == "fused"]
    ensemble = [column.name for column in drawn if column.branch in ENSEMBLES]
    chosen = [*fused[:1], *fused[-1:], *ensemble[:1]] or [column.name for column in drawn[:3]]
    return list(dict.fromkeys(chosen))
