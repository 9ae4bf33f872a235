"""Metrics as cards and results carry them: written by one function, read by one, those of earlier versions too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from fusionkit.errors import RunError
from fusionkit.interfaces import LOSS, Metric, TargetKind, share

_EARLIER = {
    each.name: each
    for each in (
        *(share("accuracy", of_samples=True), share("uar"), share("f1"), share("exact", of_samples=True)),
        share("ece", higher_is_better=False),
        Metric("mae", higher_is_better=False, has_unit=True, low=0.0),
        Metric("rmse", higher_is_better=False, has_unit=True, low=0.0),
        LOSS,
    )
}
"""What the metrics of earlier versions were, whose documents do not say it."""


def plain_measures(measures: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    """Metrics by name, as plain data."""
    return {each.name: {key: value for key, value in asdict(each).items() if key != "name"} for each in measures}


def kind_of_target(target: Mapping[str, Any]) -> TargetKind:
    """Returns what a card's target is; a card of an earlier version says so by the branches' confusion matrices."""
    if "kind" in target:
        kind: TargetKind = target["kind"]
        return kind
    if not target["classes"]:
        return "numbers"
    return "classes" if any("confusion" in of for of in target["branches"].values()) else "labels"


def read_measure(document: Mapping[str, Any], name: str) -> Metric:
    """Returns a metric of a card's target, of results, or of another document that holds ``measures``.

    A document of an earlier version holds none; its metrics were those of fusionkit's own loss heads, and of another
    one it says at most whether more is better.

    Args:
        document: What may hold ``measures``, and ``higher_is_better`` for the metric that it is about.
        name: The name of the metric.

    Raises:
        RunError: The document describes its metrics, and not this one, or in a way that is none.
    """
    if name == LOSS.name:
        return LOSS
    measures = document.get("measures")
    if measures is None:
        return _EARLIER.get(name, Metric(name, bool(document.get("higher_is_better", True))))
    try:
        return Metric(name, **measures[name])
    except (KeyError, TypeError):
        raise RunError(f"the document describes its metrics, and not {name!r} as one; make it anew") from None


def measure_of(results: Mapping[str, Any]) -> Metric:
    """Returns the metric that an experiment compares."""
    return read_measure(results, results["metric"])
