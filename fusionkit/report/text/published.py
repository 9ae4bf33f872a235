"""Published numbers, as an experiment's results carry them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from fusionkit.storage.records.results import StatedExperiment


@dataclass(frozen=True)
class Published:
    """Published numbers in the unit of the metric.

    Args:
        source: Where the main ones stand.
        means: By variant, as published; the mean of `folds` where none is.
        folds: By variant and fold.
        also: Further sources with their means.
        remarks: What a reader must know.
        stated: Which `means` are stated by the source, rather than the mean of its folds.
    """

    source: str
    means: Mapping[str, float]
    folds: Mapping[str, Mapping[str, float]]
    also: tuple[tuple[str, Mapping[str, float]], ...]
    remarks: tuple[str, ...]
    stated: frozenset[str]

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that some source has a number of."""
        every = [*self.means, *self.folds, *(name for _, values in self.also for name in values)]
        return tuple(dict.fromkeys(every))


def read_published(experiment: StatedExperiment) -> Published | None:
    """Returns the numbers that the experiment file states; None where it states none.

    Example:
        >>> paper = {"source": "Table 2", "unit": "percent", "folds": {"N2": {"A1,2": 90.0, "A3,4": 92.0}}}
        >>> read_published(StatedExperiment(variants={}, paper=paper)).means
        {'N2': 0.91}
    """
    paper = experiment.paper
    if not paper:
        return None
    share = 100 if paper.unit == "percent" else 1
    folds = {
        name: {fold: value / share for fold, value in by_fold.items()} for name, by_fold in (paper.folds or {}).items()
    }
    stated = {name: value / share for name, value in (paper.values or {}).items()}
    return Published(
        source=paper.source,
        means={name: fmean(by_fold.values()) for name, by_fold in folds.items() if by_fold} | stated,
        folds=folds,
        also=tuple(
            (source.source, {name: value / share for name, value in source.values.items()})
            for source in paper.also or ()
        ),
        remarks=tuple(paper.remarks or ()),
        stated=frozenset(stated),
    )


def short_source(source: str) -> str:
    """Shortens a source to a heading: without its address, and without what stands behind a semicolon.

    Example:
        >>> short_source("Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, Table 2; epoch not stated")
        'Chang and Skarbek 2021, Table 2'
    """
    return re.sub(r"[,(]?\s*https?://[^\s,;)]+\)?", "", source).split(";")[0].strip(" ,") or source
