"""Learning curves: of one run, and per loss term of every variant over its runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.report.figures.style import COLOURS, FAINT, INK, SERIES, WIDEST, canvas, fit_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS, MOST_TERMS = 18, 8
DASHED = (0, (4, 2))

Log = Sequence[Mapping[str, Any]]
Curves = Mapping[str, NDArray[np.float64]]
"""By name, ``(runs, epochs)``; NaN behind the last epoch of a run."""


def draw_learning_curves(log: Log) -> Figure:
    """Draws training and validation losses over epochs, a panel per stage of a training.

    Args:
        log: The records of a run's log.

    Raises:
        RunError: No epoch has ended yet.
    """
    epochs = [record for record in log if "training" in record]
    if not epochs:
        raise RunError("the log holds no epoch that has ended")
    stages = list(dict.fromkeys(record["stage"] for record in epochs))
    figure, panels = canvas(3.2 * len(stages) + 0.4, 2.8, panels=len(stages))
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
        _finish(axes)
    panels[0].set_ylabel("loss")
    return figure


def term_curves(logs: Sequence[Log], stage: str) -> dict[str, NDArray[np.float64]]:
    """Returns the losses of a stage by epoch, over the runs of a variant.

    Args:
        logs: The log of every run.
        stage: The stage.

    Returns:
        By name of a curve: a loss term of training (the mean over the epoch's steps), ``validation`` (the loss that
        selects epochs), or a term of validation as ``validation <term>``, ``(runs, epochs)``.
    """
    curves: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for run, log in enumerate(logs):
        of_steps: dict[tuple[str, int], list[float]] = {}
        for record in log:
            if record.get("stage") != stage:
                continue
            epoch = int(record["epoch"])
            for name, value in (record.get("terms") or {}).items():
                of_steps.setdefault((name, epoch), []).append(float("nan") if value is None else value)
            told = {"validation": record.get("validation")}
            told |= {f"validation {name}": value for name, value in (record.get("validation_terms") or {}).items()}
            for name, value in told.items():
                if value is not None:
                    curves.setdefault(name, {}).setdefault(run, []).append((epoch, value))
        for (name, epoch), values in of_steps.items():
            curves.setdefault(name, {}).setdefault(run, []).append((epoch, float(np.mean(values))))
    return {name: _table(of, len(logs)) for name, of in curves.items()}


def draw_term_curves(logs: Mapping[str, Sequence[Log]]) -> Figure:
    """Draws a panel per variant and stage: a line per loss term, the mean over folds and seeds, in a band of all runs.

    Solid lines are training losses, dashed ones validation losses.

    Args:
        logs: By variant, the log of every run of it.

    Raises:
        RunError: No epoch has ended yet.
    """
    wanted = []
    for variant, of in logs.items():
        stages = dict.fromkeys(record["stage"] for log in of for record in log if "stage" in record)
        wanted += [(variant, stage, curves) for stage in stages if (curves := term_curves(of, stage))]
    if not wanted:
        raise RunError("no log holds an epoch that has ended")
    wanted = wanted[:MOST_PANELS]
    side_by_side = min(3, len(wanted))
    rows = -(-len(wanted) // side_by_side)
    width = min(WIDEST, 0.5 + 3.2 * side_by_side)
    figure, panels = canvas(max(4.2, width), 2.55 * rows + 0.5, len(wanted), side_by_side)
    branches = _branches(wanted)
    _add_legend(figure, branches, any(name.startswith("validation") for *_, curves in wanted for name in curves))
    for position, (axes, (variant, stage, curves)) in enumerate(zip(panels, wanted, strict=True)):
        _draw_terms(axes, curves, branches)
        title = variant if stage == "joint" else f"{variant}: {stage}"
        axes.set_title(fit_labels([title], 34)[0], fontsize=10)
        if position % side_by_side == 0:
            axes.set_ylabel("loss")
        _finish(axes, epochs=position + side_by_side >= len(wanted), legend=False)
    return figure


def _add_legend(figure: Figure, colours: Mapping[str, str], validated: bool) -> None:
    """Adds one legend for all panels: a colour per term, a line per kind of samples."""
    from matplotlib.lines import Line2D

    names = fit_labels([_shown(name, colours) for name in colours], 24)
    marks = [
        Line2D([], [], color=colour, linewidth=3, label=name)
        for name, colour in zip(names, colours.values(), strict=True)
    ]
    if validated:
        marks += [Line2D([], [], color=INK, linewidth=1.5, label="training")]
        marks += [Line2D([], [], color=INK, linewidth=1.5, linestyle=DASHED, label="validation")]
    longest = 0.6 + 0.075 * max(len(str(mark.get_label())) for mark in marks)
    figure.legend(
        handles=marks,
        loc="outside upper center",
        ncols=max(1, min(len(marks), int(figure.get_figwidth() / longest))),
        fontsize=8.5,
        frameon=False,
    )


def _shown(name: str, every: Collection[str]) -> str:
    """Returns a term without its target, where there is one target only."""
    targets = {each.partition("/")[2] for each in every}
    return name if len(targets) > 1 else name.partition("/")[0]


def _branches(wanted: Sequence[tuple[str, str, Curves]]) -> dict[str, str]:
    """Returns a colour per loss term, the same in every panel; the fused ones first."""
    names = {_term(name) for _, _, curves in wanted for name in curves} - {""}
    ordered = sorted(names, key=lambda name: (not name.startswith("fused/"), name))
    return {name: SERIES[position % len(SERIES)] for position, name in enumerate(ordered)}


def _term(name: str) -> str:
    """Returns the loss term of a curve; empty for the validation loss as a whole."""
    return name.removeprefix("validation").strip()


def _draw_terms(axes: Axes, curves: Curves, colours: Mapping[str, str]) -> None:
    # Training first, and no validation in total where it is told by term.
    by_term = any(name.startswith("validation ") for name in curves)
    names = sorted(name for name in curves if not (by_term and name == "validation"))
    names.sort(key=lambda name: (name.startswith("validation"), list(colours).index(_term(name)) if _term(name) else 0))
    for name in names[: 2 * MOST_TERMS]:
        values = curves[name]
        known = ~np.isnan(values).all(axis=0)
        epochs = np.flatnonzero(known)
        mean = np.nanmean(values[:, known], axis=0)
        low, high = np.nanmin(values[:, known], axis=0), np.nanmax(values[:, known], axis=0)
        dashed = name.startswith("validation")
        colour = colours.get(_term(name), INK)
        axes.plot(
            epochs + 1,
            mean,
            color=colour,
            linestyle=DASHED if dashed else "-",
            linewidth=1.5,
            marker="." if len(epochs) == 1 else None,
            label=name,
        )
        if len(values) > 1:
            axes.fill_between(epochs + 1, low, high, color=colour, alpha=0.13, linewidth=0)


def _finish(axes: Axes, *, epochs: bool = True, legend: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator

    if epochs:
        axes.set_xlabel("epoch")
    axes.margins(y=0.15)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if legend:
        axes.legend(fontsize=8, frameon=False)


def _table(of: Mapping[int, Sequence[tuple[int, float]]], runs: int) -> NDArray[np.float64]:
    epochs = 1 + max(epoch for points in of.values() for epoch, _ in points)
    table = np.full((runs, epochs), np.nan)
    for run, points in of.items():
        for epoch, value in points:
            table[run, epoch] = value
    return table
