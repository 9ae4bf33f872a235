"""Scores of a diagnosis in words: differences with their units and intervals, ensembles, and the constant answer."""

from __future__ import annotations

from fusionkit.inference.branches import ENSEMBLE, ENSEMBLE_LOG
from fusionkit.interfaces import Metric
from fusionkit.report.text.significance import has_interval
from fusionkit.report.text.tables import format_value
from fusionkit.storage.records.diagnosis import DiagnosedTarget, Diagnosis
from fusionkit.storage.records.document import Figure

HOW = {ENSEMBLE: "average", ENSEMBLE_LOG: "average of the logarithms"}
"""By ensemble, how single modalities are put together."""


def points(value: float | None, score: Metric, *, signed: bool = False) -> str:
    """Writes a difference of a score with its unit.

    Example:
        >>> from fusionkit.report.text.tables import SHARE
        >>> points(0.0412, SHARE), points(-0.25, Metric("mae", higher_is_better=False), signed=True)
        ('4.1 points', '-0.250 mae')
    """
    return f"{format_value(value, score, signed=signed)} {'points' if score.share else score.name}"


def with_interval(figure: Figure, score: Metric, diagnosis: Diagnosis, *, signed: bool = False) -> str:
    """Writes a difference with its interval: over folds as half its width, over groups as its limits."""
    value, low, high = figure.value, figure.low, figure.high
    if value is None or low is None or high is None or not has_interval(figure):
        return points(value, score, signed=signed)
    if diagnosis.each is not None:
        half = format_value((high - low) / 2, score)
        return f"{format_value(value, score, signed=signed)} ± {half} {points(0.0, score).partition(' ')[2]}"
    limits = " to ".join(format_value(limit, score, signed=True) for limit in (low, high))
    return f"{points(value, score, signed=signed)} (95 % interval {limits})"


def turn_sign(gain: Figure) -> Figure:
    """Returns a gain as a loss, whose limits change places."""
    value, high, low = (None if each is None else -each for each in (gain.value, gain.low, gain.high))
    return Figure(value=value, low=low, high=high)


def gain_words(gain: Figure, score: Metric, diagnosis: Diagnosis) -> str:
    """Says what is gained or lost, with its interval; a loss has no minus."""
    if gain.value is not None and gain.value < 0:
        return f"loses {with_interval(turn_sign(gain), score, diagnosis)}"
    return f"gains {with_interval(gain, score, diagnosis)}"


def better_ensemble(of: DiagnosedTarget) -> tuple[str, Figure] | None:
    """Returns the ensemble over which fusing gains least, and that gain; None where there is none."""
    gains = {name: over for name in HOW if (over := of.fusing.gains[name]) is not None}
    known = {name: over.value for name, over in gains.items() if over.value is not None}
    name = min(known, key=lambda name: known[name], default=None)
    return None if name is None else (name, gains[name])


def against_constant(diagnosis: Diagnosis, of: DiagnosedTarget) -> list[str]:
    """Says so where the network is not better than the constant answer by more than noise."""
    constant = of.constant
    if constant is None or (over := constant.over).value is None:
        return []
    if over.value > 0 and (not has_interval(over) or over.limits is None or over.limits[0] > 0):
        return []
    score = of.main_metric
    reached = format_value(constant.score.value, score) + (" %" if score.share else "")
    return [
        "The network is not better than a constant answer by more than noise: the best one of the training part "
        f"reaches {reached}, against which the network {gain_words(over, score, diagnosis)}."
    ]
