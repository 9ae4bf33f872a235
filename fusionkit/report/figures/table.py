"""The table as a figure, for slides and for readers without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionkit.report.figures.style import FAINT, INK, canvas, fit_labels
from fusionkit.report.text.tables import table_text
from fusionkit.storage.records.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 0.235  # inches
LETTER = 0.083


def draw_table(results: Results) -> Figure:
    """Draws the table of folds and variants with mean, interval, tests and folds where a single modality is better."""
    text = table_text(results)
    header = [_broken(name) for name in fit_labels(text.header[1:], 30)]
    first = [*fit_labels([row[0] for row in text.folds], 24), *(row[0] for row in text.summary)]
    rows = [row[1:] for row in (*text.folds, *text.summary)]
    widths = [0.25 + LETTER * max(map(len, first))]
    for place, name in enumerate(header):
        cells = [row[place] for row in rows]
        widths.append(0.22 + LETTER * max(map(len, [*name.split("\n"), *cells])))
    lines = max(name.count("\n") for name in header) + 1
    top = 0.42 + ROW * lines
    height = top + ROW * len(rows) + 0.22
    figure, (axes,) = canvas(sum(widths) + 0.1, height)
    axes.set_axis_off()
    axes.set_xlim(0, sum(widths) + 0.1)
    axes.set_ylim(height, 0)
    ends = [sum(widths[: place + 1]) for place in range(len(widths))]
    axes.text(0.08, 0.2, text.title, fontsize=10, fontweight="bold", color=INK, va="center", parse_math=False)
    for end, name in zip(ends[1:], header, strict=True):
        axes.text(end, top - 0.09, name, fontsize=9, color=INK, ha="right", va="baseline", linespacing=1.15)
    axes.hlines(top, 0, ends[-1] + 0.05, color=INK, linewidth=0.9)
    for position, (name, row) in enumerate(zip(first, rows, strict=True)):
        y = top + ROW * (position + 0.5) + (0.1 if position >= len(text.folds) else 0.0)
        strong = "bold" if name == "mean" else "normal"
        axes.text(0.08, y, name, fontsize=9, color=INK, va="center", fontweight=strong)
        for end, cell in zip(ends[1:], row, strict=True):
            axes.text(end, y, cell, fontsize=9, color=INK, ha="right", va="center", fontweight=strong)
    y = top + ROW * len(text.folds) + 0.05
    axes.hlines(y, 0, ends[-1] + 0.05, color=FAINT, linewidth=0.9)
    return figure


def _broken(name: str) -> str:
    """Breaks a long heading into two lines."""
    if len(name) <= 11 or " " not in name:
        return name
    middle = min((place for place, letter in enumerate(name) if letter == " "), key=lambda at: abs(at - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"
