"""Answers over time, beside the faces that they are of and what was present."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import RunError
from fusionkit.inference.timeline.records import Faces, Timeline
from fusionkit.report.figures.style import COLOURS, DPI, FAINT, INK, WIDEST, fit_labels, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CURVES = 16

SUFFIXES = (".png", ".svg", ".pdf")


def draw_timeline(timeline: Timeline) -> Figure:
    """Draws the probabilities of each target over time, a band per modality when it was present, and the faces.

    Numbers are drawn as they are. Of many classes those are drawn that are most probable at some time.

    Args:
        timeline: The answers.

    Raises:
        RunError: No instant has an answer.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if all(instant.answer.failure for instant in timeline):
        reason = timeline[0].answer.failure if len(timeline) else "it is empty"
        raise RunError(f"{timeline.id}: no instant has an answer ({reason})")
    heights = [
        *([0.75] if timeline.faces is not None else []),
        *(2.4 for _ in timeline.targets),
        0.22 * len(timeline.spans) + 0.15,
    ]
    layout = ConstrainedLayoutEngine(h_pad=0.04, hspace=0.02)
    figure = Figure(figsize=(WIDEST, sum(heights) + 0.8), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    panels = list(rows.flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
        axes.set_axisbelow(True)
    if timeline.faces is not None:
        _draw_faces(panels[0], timeline.faces)
    for axes, target in zip(panels[-1 - len(timeline.targets) : -1], timeline.targets, strict=True):
        _draw_target(axes, timeline, target)
    _draw_presence(panels[-1], timeline)
    panels[-1].set_xlabel(f"seconds; each answer is of the {timeline.window:g} s before", fontsize=9)
    panels[-1].set_xlim(0, timeline.duration)
    return figure


def save_timeline(timeline: Timeline, path: str | Path) -> Path:
    """Draws a timeline into a file and returns its path.

    Args:
        timeline: The answers.
        path: The file; its ending is ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        RunError: It has another ending, or no instant has an answer.
    """
    check_figure_path(path)
    figure = draw_timeline(timeline)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.08)
    return Path(path)


def check_figure_path(path: str | Path) -> None:
    """Refuses a figure of an ending that cannot be drawn.

    Raises:
        RunError: It cannot.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise RunError(f"{path}: a figure ends in {', '.join(SUFFIXES)}")


def _draw_target(axes: Axes, timeline: Timeline, target: str) -> None:
    answered = [each for each in timeline if target in each.answer.targets]
    times = [each.time for each in answered]
    classes = timeline.targets[target]
    curves: dict[str, list[float]] = {}
    if classes:
        probabilities = {
            name: [each.answer.targets[target].probabilities[name] for each in answered] for name in classes
        }
        highest = sorted(probabilities, key=lambda name: max(probabilities[name]), reverse=True)[:MOST_CURVES]
        curves = {name: probabilities[name] for name in classes if name in highest}
        axes.set_ylim(-0.02, 1.02)
    else:
        said = [each.answer.targets[target].prediction for each in answered]
        numbers = [value if isinstance(value, tuple) else (value,) for value in said]
        for place in range(len(numbers[0])):
            name = target if len(numbers[0]) == 1 else f"{target}.{place}"
            curves[name] = [float(values[place]) for values in numbers]
    few = len(times) <= 60
    for place, (label, values) in enumerate(zip(fit_labels(list(curves)), curves.values(), strict=True)):
        colour, marker = style_of(place)
        # Gaps in what was answered are gaps in the line.
        xs, ys = _break_at_gaps(times, values, timeline.every)
        axes.plot(
            xs,
            ys,
            color=colour,
            marker=marker if few else "",
            markersize=3.5,
            linewidth=1.5,
            label=label,
            clip_on=False,
        )
    axes.set_ylabel(fit_labels([f"probability of {target}" if classes else target], 40)[0], fontsize=9)
    axes.grid(color=FAINT, linewidth=0.8)
    if len(curves) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5, frameon=False)


def _break_at_gaps(times: Sequence[float], values: Sequence[float], every: float) -> tuple[list[float], list[float]]:
    xs, ys = list[float](), list[float]()
    for time, value in zip(times, values, strict=True):
        if xs and time - xs[-1] > 1.5 * every:
            xs.append(time)
            ys.append(float("nan"))
        xs.append(time)
        ys.append(value)
    return xs, ys


def _draw_presence(axes: Axes, timeline: Timeline) -> None:
    names = list(timeline.spans)
    for place, name in enumerate(names):
        pieces = [(start, stop - start) for start, stop in timeline.spans[name]]
        axes.broken_barh(pieces, (place - 0.35, 0.7), facecolors=COLOURS[3])  # no colour of a class
    axes.set_yticks(range(len(names)), fit_labels(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_faces(axes: Axes, faces: Faces) -> None:
    """Draws each face around its time."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    axes.axis("off")
    axes.set_ylim(0, 1)
    for crop, at in zip(faces.crops, faces.times, strict=True):
        image = np.moveaxis(crop.numpy(), 0, -1)
        image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        picture = OffsetImage(image, zoom=0.55 * 72 / image.shape[0], interpolation="bilinear")
        axes.add_artist(AnnotationBbox(picture, (at, 0.5), frameon=False, pad=0))
