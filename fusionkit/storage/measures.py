"""Metrics as documents carry them, and what those of earlier versions were, which do not say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from fusionkit.interfaces import LOSS, Metric, share
from fusionkit.storage.documents import Part

_EARLIER = {
    each.name: each
    for each in (
        *(share("accuracy", of_samples=True), share("uar"), share("f1"), share("exact", of_samples=True)),
        share("ece", higher_is_better=False),
        Metric("mae", higher_is_better=False, has_unit=True, low=0.0),
        Metric("rmse", higher_is_better=False, has_unit=True, low=0.0),
    )
}
"""The metrics of fusionkit's own loss heads before documents described them."""


class Measure(Part):
    """A metric without its name, as `Metric` describes it."""

    higher_is_better: bool
    share: bool = False
    of_samples: bool = False
    has_unit: bool = False
    low: float | None = None
    high: float | None = None


class Measured(Part):
    """A document, or a part of one, that says by which metrics it judges."""

    higher_is_better: bool
    measures: dict[str, Measure] | None = None

    def metric_named(self, name: str) -> Metric:
        """Returns a metric; one that nobody described is better where the main one is."""
        if name == LOSS.name:
            return LOSS
        if self.measures is None:
            return _EARLIER.get(name, Metric(name, self.higher_is_better))
        return Metric(name, **dict(self.measures[name]))

    def require_measure(self, name: str) -> None:
        """Refuses a document that describes its metrics, but not this one.

        Raises:
            ValueError: It does.
        """
        if self.measures is not None and name not in (*self.measures, LOSS.name):
            raise ValueError(f"the measures describe no {name!r}")


def describe_measures(metrics: Iterable[Metric]) -> dict[str, Measure]:
    """Returns metrics by name as documents carry them."""
    return {each.name: Measure(**{key: of for key, of in asdict(each).items() if key != "name"}) for each in metrics}
