"""Calibration: whether a network that says 80 % is right in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.report.figures.folds import KINDS, kind_of
from fusionkit.report.figures.style import COLOURS, FAINT, INK, WIDEST, canvas, fit_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 15
MOST_PANELS = 12


@dataclass(frozen=True)
class Calibration:
    r"""Confidence and accuracy over 15 equal bins of confidence.

    .. math::
        \mathrm{ECE} = \sum_b \frac{|B_b|}{n} |\mathrm{acc}(B_b) - \mathrm{conf}(B_b)|, \qquad
        B_b = \{i : \tfrac{b-1}{15} < p_i \le \tfrac{b}{15}\}

    Args:
        counts: Samples per bin.
        confidence: Mean probability of the predicted class per bin; NaN where it is empty.
        accuracy: Share of right predictions per bin; NaN where it is empty.

    Source:
        Guo et al. 2017, arXiv:1706.04599, eqs. (2), (3).
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The expected calibration error, between 0 and 1."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())

    @property
    def surplus(self) -> float:
        """Mean confidence minus accuracy: above zero it is too sure of itself, below too little."""
        filled = self.counts > 0
        gaps = self.confidence[filled] - self.accuracy[filled]
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())


def calibrate(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Calibration:
    """Bins the predictions of samples whose class is known and that the branch answers.

    Args:
        probabilities: ``(samples, classes)``; NaN where the branch says nothing.
        targets: The classes; negative where one is not known.

    Raises:
        RunError: No sample is left.

    Example:
        >>> calibrate(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])).ece
        0.4
    """
    spoken = (targets >= 0) & ~np.isnan(probabilities).any(axis=1)
    if not spoken.any():
        raise RunError("no sample has both a prediction and a known class")
    said, wanted = probabilities[spoken], targets[spoken]
    confidence, right = said.max(axis=1), said.argmax(axis=1) == wanted
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    place = np.searchsorted(edges, confidence, side="left")
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Calibration(
            counts,
            np.bincount(place, confidence, minlength=BINS) / counts,
            np.bincount(place, right.astype(np.float64), minlength=BINS) / counts,
        )


def draw_calibration(found: Mapping[str, Calibration], branches: Mapping[str, str]) -> Figure:
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


def _draw_panel(axes: Axes, found: Calibration, colour: str, *, labelled: bool) -> None:
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


def pool_calibration(parts: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> Calibration:
    """Computes the calibration of several runs' predictions together.

    Raises:
        RunError: No sample is left.
    """
    if not parts:
        raise RunError("no run's predictions could be read")
    return calibrate(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
