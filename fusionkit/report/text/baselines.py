"""What every network is held against: the constant answer, and ensembles of networks that were trained alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusionkit.evaluation.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG
from fusionkit.report.text.wording import (
    amount,
    by_how_much,
    comparison_of,
    list_names,
    measure_words,
    noise_words_of,
    sign_of,
)
from fusionkit.storage.measures import read_measure
from fusionkit.storage.results import Results

WAYS = {ENSEMBLE: "by averaging their answers", ENSEMBLE_LOG: "by averaging the logarithms"}
"""By branch, how an ensemble is made."""


def against_constant(results: Results) -> list[str]:
    """Says which networks are not better than the constant answer by more than noise; nothing where all are."""
    judged = {
        column["name"]: over
        for column in results["columns"]
        if (over := results["summary"][column["name"]].get("over_constant"))
    }
    weak = [name for name, over in judged.items() if not over["surely"]]
    if not weak:
        return []
    best = max(weak, key=lambda name: sign_of(results) * results["summary"][name]["mean"])
    reached = amount(results["summary"][best]["mean"], results)
    constant = amount(judged[best]["constant"], results)
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
    means = {
        column["name"]: results["summary"][column["name"]]["mean"]
        for column in results["columns"]
        if column["branch"] in WAYS
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    return max(known, key=lambda name: sign_of(results) * known[name], default=None)


def against_ensembles(results: Results, best: str) -> list[str]:
    """Says what the ensembles reach, and how the best fused network stands against the better one of them."""
    name = best_ensemble(results)
    if name is None:
        return []
    comparison, sign = comparison_of(results, best, name)
    if comparison is None:
        return []
    reached = {
        column["branch"]: amount(mean, results)
        for column in results["columns"]
        if column["branch"] in WAYS and (mean := results["summary"][column["name"]]["mean"]) is not None
    }
    ways = [f"{value} {WAYS[branch]}" for branch, value in reached.items()]
    gain = sign * sign_of(results) * comparison["difference"]["mean"]
    against = f"Against {name}, the better of the two, {best}" if len(reached) > 1 else best
    said = f"The networks trained alone, put together, reach {' and '.join(ways)}."
    return [f"{said} {against} is {by_how_much(gain, results)}{noise_words_of(comparison)}."]


def targets_no_better_than_constant(card: Mapping[str, Any]) -> list[str]:
    """Returns the targets of a card whose network is not better than the constant answer by more than noise.

    The network stands for the run: its fused branch, else the first one. It is better by more than noise where its
    interval lies on the better side of what the constant answer reaches.
    """
    found = []
    for target, of in card["targets"].items():
        branch, score = next(iter(of["branches"].values())), of["score"]
        constant = of["branches"].get(CONSTANT, {}).get("metrics", {}).get(score, {}).get("value")
        figure = branch["metrics"].get(score)
        if constant is None or not figure or figure["value"] is None:
            continue
        metric = read_measure(of, score)
        worse_end = figure["low" if metric.higher_is_better else "high"]
        reached = figure["value"] if worse_end is None else worse_end
        if metric.sign * (reached - constant) <= 0:
            found.append(target)
    return found
