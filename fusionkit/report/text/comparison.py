"""A comparison under equal conditions in words: what was equal, ranks and costs, and what is larger than noise."""

from __future__ import annotations

from collections.abc import Sequence

from fusionkit.evaluation.ranking import LEVEL
from fusionkit.inference.branches import CONSTANT
from fusionkit.report.text.tables import NOTHING, format_p, format_value
from fusionkit.report.text.units import in_bytes, in_thousands, in_time
from fusionkit.storage.records.comparison import Comparison, Pair
from fusionkit.storage.records.results import Results

HEADER = ("", "mean", "difference", "from", "to", "p", "p Holm", "rank")
COST_HEADER = ("", "parameters", "memory", "an epoch", "a run")


def require_comparison(results: Results) -> Comparison:
    """Returns what makes these results those of a comparison.

    Raises:
        ValueError: They are of an experiment.
    """
    if results.comparison is None:
        raise ValueError("results of an experiment, where those of a comparison are expected")
    return results.comparison


def is_sure(pair: Pair) -> bool:
    """Says whether two columns differ by more than noise, the number of pairs allowed for."""
    return pair.holm_p is not None and pair.holm_p < LEVEL


def conditions(results: Results) -> tuple[str, ...]:
    """Says what was equal for all variants, in a sentence or two."""
    comparison = require_comparison(results)
    budget = comparison.budget
    if budget.minutes is None:
        said = f"Every run had {budget.epochs} epochs, a training of several stages as many in each of them."
    else:
        epochs = ", ".join(f"{name} {count}" for name, count in comparison.epochs.items())
        said = f"Every run had {in_time(budget.minutes / 60)} by timed steps, in epochs of every stage: {epochs}."
    tuning = comparison.tuning
    if tuning is None:
        return (said, "Nothing was tuned: every variant is as its recipe stands.")
    searched = ", ".join([*tuning.search, *(f"{key} ({name})" for name, of in tuning.also.items() for key in of)])
    return (
        said,
        f"In every fold every variant had {tuning.trials} trials inside the training part ({searched}); the first "
        "is the recipe as it stands, the others a seeded random search. The test part chose nothing.",
        *_tuned_for_another(results),
    )


def _tuned_for_another(results: Results) -> list[str]:
    """Columns that read a branch of runs whose settings were chosen by another branch."""
    judged = {choice.variant: choice.branch for choice in require_comparison(results).choices}
    return [
        f"{each.name} reads the {each.branch} branch of {each.runs}, whose settings the "
        f"{judged[each.runs]} branch chose: it was not tuned for itself."
        for each in results.columns
        if each.branch != CONSTANT and judged.get(each.runs, each.branch) != each.branch
    ]


def ranking_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    """Tabulates the columns, best first: mean, and the difference from the first column with interval and tests."""
    metric, ranks = results.main_metric, require_comparison(results).ranks.mean
    against = {pair.column: pair for pair in require_comparison(results).against_first}
    rows = []
    for name in in_order(results):
        pair = against.get(name)
        told = (None, None, None) if pair is None else (pair.difference, pair.low, pair.high)
        figures = (format_value(each, metric, signed=True) for each in told)
        tests = map(format_p, (None, None) if pair is None else (pair.p, pair.holm_p))
        mean = format_value(results.means[name], metric)
        rows.append((name, mean, *figures, *tests, f"{ranks[name]:.1f}" if name in ranks else NOTHING))
    return tuple(rows)


def cost_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    """Tabulates the columns, best first: what the variant behind each costs."""
    costs, runs = require_comparison(results).cost, {each.name: each.runs for each in results.columns}
    rows = []
    for name in in_order(results):
        cost = costs.get(runs[name])
        if cost is not None:
            times = (in_time(cost.epoch_seconds / 3600), in_time(cost.run_seconds / 3600))
            rows.append((name, in_thousands(cost.parameters), in_bytes(cost.memory), *times))
    return tuple(rows)


def in_order(results: Results) -> list[str]:
    """Returns the columns that have a mean, best first."""
    sign = -results.main_metric.sign
    return sorted(results.means, key=lambda name: sign * results.means[name])


def last_line(results: Results) -> str:
    """Says which differences are larger than noise, once all that were looked at are allowed for."""
    comparison, first = require_comparison(results), results.columns[0].name
    pairs = comparison.against_first
    if len(results.columns) == 1:
        return f"{first} is the only column, so nothing is compared."
    if not pairs:
        return f"No other column has a fold in common with {first}, so nothing can be said."
    if len(results.folds) == 1:
        return "One fold cannot tell a difference from noise."
    tested = [pair for pair in pairs if pair.p is not None]
    untold = ", ".join(pair.column for pair in pairs if pair.p is None)
    cannot = f"Whether noise explains the difference of {untold} cannot be told: it has no spread over folds."
    if not tested:
        return cannot
    return " ".join(
        (
            _against_first(results, tested, first),
            *((cannot,) if untold else ()),
            *((_between_all(comparison),) if comparison.pairs_compared > 1 else ()),
        )
    )


def _against_first(results: Results, tested: Sequence[Pair], first: str) -> str:
    sure = [pair for pair in tested if is_sure(pair)]
    tests = f"{len(tested)} comparisons" if len(tested) > 1 else "the one comparison"
    if not sure:
        return f"No difference from {first} is larger than noise, {tests} with it allowed for."
    told = ", ".join(f"{pair.column} ({_way(pair.difference, results)})" for pair in sure)
    rest = len(tested) - len(sure)
    others = f"; the {'other is' if rest == 1 else f'{rest} others are'} within it" if rest else ""
    return f"Larger than noise against {first}, {tests} allowed for: {told}{others}."


def _way(difference: float, results: Results) -> str:
    """Writes a difference, and where less is better whether it is for the better."""
    text = format_value(difference, results.main_metric, signed=True)
    if results.higher_is_better:
        return text
    return f"{text}, {'better' if difference < 0 else 'worse'}"


def _between_all(comparison: Comparison) -> str:
    between = sum(is_sure(pair) for pair in comparison.pairs)
    verb = "differs" if between == 1 else "differ" if between else "is shown to differ"
    return f"Of all {comparison.pairs_compared} pairs of columns {between or 'none'} {verb} by more than noise."


def heading(results: Results) -> str:
    """Says what the figures of the ranking are: metric, unit, which way is better, and what differences are from."""
    unit = ", %" if results.main_metric.share else ""
    better = "higher" if results.higher_is_better else "lower"
    first = results.columns[0].name
    return f"{results.metric} of {results.target}{unit}; {better} is better, differences are from {first}"
