"""The cosine between the gradients of uni-modal and fused losses over a training, as in Fig. 5 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionkit.errors import RunError
from fusionkit.report.figures.style import FAINT, INK, canvas, fit_labels, style_of
from fusionkit.storage.records.diagnosis import Gradients

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_cosines(gradients: Mapping[str, Gradients] | None) -> Figure:
    """Draws a line per modality: the mean cosine of every twentieth of the training; below zero the losses conflict.

    Args:
        gradients: By modality, as a diagnosis holds them.

    Raises:
        RunError: None were recorded.
    """
    if not gradients:
        raise RunError("no gradients were recorded; train with train.gradient_cosines=10")
    figure, (axes,) = canvas(7.0, 3.2)
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for position, (name, label) in enumerate(zip(gradients, fit_labels(list(gradients)), strict=True)):
        colour, marker = style_of(position)
        bins = {100 * float(place): of for place, of in gradients[name].bins.items()}
        means = {place: of.value for place, of in bins.items() if of.value is not None}
        axes.plot(list(means), list(means.values()), color=colour, marker=marker, markersize=4, label=label)
        limits = {place: of.limits for place, of in bins.items() if of.limits is not None}
        if limits:
            low, high = zip(*limits.values(), strict=True)
            axes.fill_between(list(limits), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlim(0, 100)
    axes.set_ylim(-1, 1)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_xlabel("share of the training, %", fontsize=9)
    axes.set_ylabel("cosine of gradients", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return figure
