"""Words that every sentence about an experiment shares: amounts, differences, and what is larger than noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusionkit.evaluation.ranking import LEVEL
from fusionkit.report.text.tables import format_value
from fusionkit.storage.records.results import Difference, Gain, Results

MOST_LISTED = 6


def comparison_of(results: Results, name: str, other: str) -> tuple[Difference | None, int]:
    """Returns the comparison of two columns, and the sign that makes it `name` minus `other`."""
    forward = results.summary[name].against.get(other)
    if forward:
        return forward, 1
    return results.summary[other].against.get(name), -1


def best_column(names: Iterable[str], results: Results) -> str | None:
    """Returns the column with the best mean; None where none of these has one."""
    means = results.means
    return max(filter(means.__contains__, names), key=lambda name: sign_of(results) * means[name], default=None)


def sign_of(results: Results) -> int:
    """Returns 1 where more is better, else -1."""
    return results.main_metric.sign


def is_sure(comparison: Difference) -> bool:
    """Says whether a difference is larger than noise."""
    p = comparison.corrected_t_p
    return p is not None and p < LEVEL


def is_surely_better(comparison: Difference, better: int) -> bool:
    """Says whether a difference is larger than noise, and to this side."""
    return is_sure(comparison) and better * comparison.difference.mean > 0


def noise_words_of(comparison: Difference) -> str:
    """Says whether a difference is larger than noise; nothing of a single fold."""
    if comparison.folds < 2:
        return ""
    if comparison.difference.low is None:
        return f", the same in all {comparison.folds} folds, which no test can hold against noise"
    return ", which is larger than noise" if is_sure(comparison) else ", which is within noise"


def amount(value: float, results: Results) -> str:
    """Writes a value with its unit."""
    metric = results.main_metric
    return format_value(value, metric) + (" %" if metric.share else "")


def measure_words(results: Results) -> str:
    """Says what a value is of."""
    return f"({results.metric} of {results.target})"


def describe_gain(gain: float, results: Results) -> str:
    """Says how much better or worse; numbers without a share are named better and worse, whichever way they count."""
    metric = results.main_metric
    size = format_value(abs(gain), metric)
    if float(size) == 0:
        return "no better"
    points = " points" if metric.share else ""
    return f"{size}{points} {'better' if gain > 0 else 'worse'}"


def interval_words(difference: Gain, results: Results) -> str:
    """Returns the limits of a gain: a difference where higher is better, its negative where lower is better."""
    metric, better = results.main_metric, sign_of(results)
    limits = sorted(better * limit for limit in (difference.low, difference.high) if limit is not None)
    low, high = (format_value(limit, metric, signed=True) for limit in limits)
    return f"{low} to {high}" + (" points" if metric.share else "")


def list_names(names: Sequence[str], between: str = ", ", most: int = MOST_LISTED) -> str:
    """Joins names; of many it shows the first, and counts the others.

    Example:
        >>> list_names(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")
