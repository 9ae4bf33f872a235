"""The parts that all figures share: colours that colour-blind readers tell apart, labels that fit, the surface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#5F5F5F")
"""The three of Okabe and Ito's palette that are dark enough on white, and a grey."""

SERIES = (*COLOURS[:3], "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7A5195")
"""Colours of many things, which a marker or a line style tells apart as well."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

INK, FAINT = "#1A1A1A", "#D9D9D9"
DPI = 150
WIDEST = 10.0  # inches: a page of 1000 pixels shows them nearly at their size


def style_of(position: int) -> tuple[str, str]:
    """Returns colour and marker of the n-th of many things; 64 pairs differ.

    Example:
        >>> style_of(0), style_of(8)
        (('#0072B2', 'o'), ('#0072B2', 's'))
    """
    turn = position // len(SERIES)
    return SERIES[position % len(SERIES)], MARKERS[(position + turn) % len(MARKERS)]


def fit_labels(names: Sequence[str], longest: int = 20) -> tuple[str, ...]:
    r"""Names as labels: long ones lose their middle, equal ones gain a number, and a dollar sign is a dollar sign.

    Example:
        >>> fit_labels(["calm", "a_name_of_thirty_characters_or_so"], 12)
        ('calm', 'a_nam…_or_so')
        >>> fit_labels(["price_in_$"])
        ('price_in_\\$',)
    """
    short: list[str] = []
    for name in names:
        text = " ".join("".join(each if each.isprintable() else " " for each in name).split()) or "?"
        if len(text) > longest:
            kept = longest - 1
            text = text[: kept // 2] + "…" + text[len(text) - kept + kept // 2 :]
        short.append(text)
    numbered = [
        text if short.count(text) == 1 else f"{text} {1 + short[:place].count(text)}"
        for place, text in enumerate(short)
    ]
    return tuple(text.replace("$", r"\$") for text in numbered)


def canvas(
    width: float,
    height: float,
    panels: int = 1,
    columns: int | None = None,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Makes a figure that no window shows, and its panels: side by side, or in rows of `columns`.

    Args:
        width: Inches.
        height: Inches.
        panels: How many there are.
        columns: Panels of a row; all when left out.
        heights: The rows' heights by each other; equal when left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = panels if columns is None else min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.08), facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)
    for unused in axes[panels:]:
        unused.remove()
    for each in axes[:panels]:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=INK, labelsize=9)
        each.set_axisbelow(True)
    return figure, axes[:panels]


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as a PNG file and returns its path."""
    with warnings.catch_warnings():
        # Names may be in a script that the font lacks: they show as boxes, and stand in the page's tables.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08)  # no blank margins
    return Path(path)
