"""The rivals of every network: the constant answer, and ensembles of networks that were trained alone."""

from __future__ import annotations

from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG
from fusionkit.report.text.wording import (
    amount,
    best_column,
    comparison_of,
    describe_gain,
    list_names,
    measure_words,
    noise_words_of,
    sign_of,
)
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.results import Results

WAYS = {ENSEMBLE: "by averaging their answers", ENSEMBLE_LOG: "by averaging the logarithms"}
"""By branch, how an ensemble is made."""


def against_constant(results: Results) -> list[str]:
    """Says which networks are not better than the constant answer by more than noise; nothing where all are."""
    judged = {column.name: over for column in results.columns if (over := results.summary[column.name].over_constant)}
    weak = [name for name, over in judged.items() if not over.surely]
    best = best_column(weak, results)
    if best is None:
        return []
    reached = amount(results.means[best], results)
    constant = amount(judged[best].constant, results)
    answer = f"the constant answer of the training part reaches {constant}"
    if len(weak) == len(judged):
        who = f"{best} is not" if len(judged) == 1 else "No network is"
    else:
        who = f"{list_names(weak)} {'is' if len(weak) == 1 else 'are'} not"
    whose = "it reaches" if len(weak) == 1 else f"the best of them, {best}, reaches"
    return [
        f"{who} better than a constant answer by more than noise: {whose} {reached} {measure_words(results)}, "
        f"and {answer}."
    ]


def best_ensemble(results: Results) -> str | None:
    """Returns the column of the ensemble with the best mean, averaged or by logarithms; None where there is none."""
    return best_column((column.name for column in results.columns if column.branch in WAYS), results)


def against_ensembles(results: Results, best: str) -> list[str]:
    """Says what the ensembles reach, and how the best fused network stands against the better one of them."""
    name = best_ensemble(results)
    if name is None:
        return []
    comparison, sign = comparison_of(results, best, name)
    if comparison is None:
        return []
    reached = {
        column.branch: amount(results.means[column.name], results)
        for column in results.columns
        if column.branch in WAYS and column.name in results.means
    }
    ways = [f"{value} {WAYS[branch]}" for branch, value in reached.items()]
    gain = sign * sign_of(results) * comparison.difference.mean
    against = f"Against {name}, the better of the two, {best}" if len(reached) > 1 else best
    said = f"The networks trained alone, put together, reach {' and '.join(ways)}."
    return [f"{said} {against} is {describe_gain(gain, results)}{noise_words_of(comparison)}."]


def targets_no_better_than_constant(card: Card) -> list[str]:
    """Returns the targets of a card whose network is not better than the constant answer by more than noise.

    The network stands for the run: its fused branch, else the first one. It is better by more than noise where its
    interval lies on the better side of what the constant answer reaches.
    """
    found = []
    for target, of in card.targets.items():
        metric, branches = of.main_metric, (next(iter(of.branches.values())), of.branches.get(CONSTANT))
        network, constant = (None if branch is None else branch.metrics.get(of.score) for branch in branches)
        if network is None or network.value is None or constant is None or constant.value is None:
            continue
        worse_end = network.low if metric.higher_is_better else network.high
        reached = network.value if worse_end is None else worse_end
        if metric.sign * (reached - constant.value) <= 0:
            found.append(target)
    return found
