"""Scores of a diagnosis in words: differences with their units and intervals, ensembles, and the constant answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusionkit.evaluation.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG
from fusionkit.interfaces import Metric
from fusionkit.report.text.noise import Figure, has_interval
from fusionkit.report.text.tables import format_value
from fusionkit.storage.measures import read_measure

Diagnosis = Mapping[str, Any]

HOW = {ENSEMBLE: "average", ENSEMBLE_LOG: "average of the logarithms"}
"""By ensemble, how single modalities are put together."""


def score_of(of: Mapping[str, Any]) -> Metric:
    """Returns the metric by which a target is judged."""
    return read_measure(of, of["score"])


def points(value: float | None, score: Metric, *, signed: bool = False) -> str:
    """A difference of a score with its unit.

    Example:
        >>> from fusionkit.report.text.tables import SHARE
        >>> points(0.0412, SHARE), points(-0.25, Metric("mae", higher_is_better=False), signed=True)
        ('4.1 points', '-0.25 mae')
    """
    return f"{format_value(value, score, signed=signed)} {'points' if score.share else score.name}"


def with_interval(figure: Figure, score: Metric, diagnosis: Diagnosis, *, signed: bool = False) -> str:
    """A difference with its interval: over folds as half its width, over the groups of one test part as its limits."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None or not has_interval(figure):
        return points(value, score, signed=signed)
    if "each" in diagnosis:
        half = format_value((high - low) / 2, score)
        return f"{format_value(value, score, signed=signed)} ± {half} {points(0.0, score).partition(' ')[2]}"
    limits = " to ".join(format_value(limit, score, signed=True) for limit in (low, high))
    return f"{points(value, score, signed=signed)} (95 % interval {limits})"


def better_ensemble(of: Mapping[str, Any]) -> str | None:
    """The ensemble over which fusing gains least; None where there is none."""
    gains = {name: over["value"] for name in HOW if (over := of["fusing"].get(f"over_{name}"))}
    known = {name: value for name, value in gains.items() if value is not None}
    return min(known, key=lambda name: known[name], default=None)


def against_constant(diagnosis: Diagnosis, of: Mapping[str, Any]) -> list[str]:
    """Says so where the network is not better than the constant answer by more than noise."""
    constant = of.get(CONSTANT) or {"over": None}  # an earlier version has none
    over = constant["over"]
    if over is None or over["value"] is None or (over["value"] > 0 and (not has_interval(over) or over["low"] > 0)):
        return []
    score = score_of(of)
    reached = format_value(constant["score"]["value"], score) + (" %" if score.share else "")
    difference = with_interval(over, score, diagnosis, signed=True)
    return [
        f"The network is not better than a constant answer by more than noise: the best one of the training part "
        f"reaches {reached}, a gain of {difference}."
    ]
