"""The answer in plain words: does fusing help, by how much, and what of it is larger than noise."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from fusionkit.inference.branches import CONSTANT
from fusionkit.report.text.baselines import against_constant, against_ensembles
from fusionkit.report.text.tables import NONE_FINISHED
from fusionkit.report.text.wording import (
    amount,
    best_column,
    describe_gain,
    interval_words,
    is_sure,
    is_surely_better,
    list_names,
    measure_words,
    sign_of,
)
from fusionkit.storage.records.comparison import Comparison
from fusionkit.storage.records.results import Results

NOISE = (
    "Larger than noise means p < 0.05 in the paired t-test over folds that allows for training parts that overlap "
    "(Nadeau and Bengio), {counted}."
)
EACH = "each test for itself"
COUNTS = dict(enumerate(("three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 3))
CORRECTED = (
    "corrected for the number of tests (Holm): of fused networks with one modality alone, of columns with the first, "
    "and elsewhere of all pairs of columns"
)


def verdict(results: Results) -> tuple[str, ...]:
    """Answers sentence by sentence; every one follows from the numbers."""
    if not results.rows:
        failed = len(results.failures)
        return (f"No answer. {NONE_FINISHED}{f': {failed} failed' if failed else ''}.",)
    comparison = results.comparison
    if comparison is not None:
        results = _with_corrected_tests(results, comparison)
    best, modalities = _best_fused(results), results.modalities
    if len(modalities) == 1:
        sentences = [" ".join((say_nothing_to_fuse(modalities[0]), *_reached(results)))]
    else:
        sentences = [_headline(results)]
        if best is not None:
            sentences += against_ensembles(results, best)
    sentences = [*against_constant(results), *sentences, *_against_first(results)]
    if len(modalities) > 1:
        sentences += _better_singles(results)
    sentences += _cautions(results)
    if best is not None and len(results.folds) > 1:
        sentences.append(NOISE.format(counted=EACH if comparison is None else CORRECTED))
    return tuple(sentences)


def _with_corrected_tests(results: Results, comparison: Comparison) -> Results:
    """Returns the results of a comparison, every p that decides being that of its family corrected by Holm."""
    families = (*comparison.pairs, *comparison.against_first)  # of a pair in both, the latter
    holm = {(pair.column, pair.other): pair.holm_p for pair in families}
    summary = {}
    for name, column in results.summary.items():
        against = {
            other: found and found.model_copy(update={"corrected_t_p": holm.get((name, other))})
            for other, found in column.against.items()
        }
        over = column.over_alone
        if comparison.over_alone is None:
            over = None  # an earlier version did not correct it
        elif over is not None:
            over = over.model_copy(update={"corrected_t_p": comparison.over_alone.get(name)})
        summary[name] = column.model_copy(update={"against": against, "over_alone": over})
    return results.model_copy(update={"summary": summary})


def say_nothing_to_fuse(modality: str) -> str:
    """Says instead of whether fusing helps that there is one modality."""
    return f"There is one modality, {modality}, so there is nothing to fuse."


def _reached(results: Results) -> list[str]:
    """Says what the best column reaches."""
    networks = [column.name for column in results.columns if column.branch != CONSTANT]
    best, known = best_column(networks, results), results.means.keys() & set(networks)
    if best is None:
        return ["No fold of any variant has a value."]
    which = f"Of {len(known)} columns the best, {best}," if len(known) > 1 else f"The only column, {best},"
    return [f"{which} reaches {amount(results.means[best], results)} {measure_words(results)}."]


def _headline(results: Results) -> str:
    judged = {name: over for name in _fused(results) if (over := results.summary[name].over_alone)}
    best = _best_fused(results)
    if best is None or best not in judged:
        if not any(column.by_fold for column in results.summary.values()):
            return "No answer: no fold of any variant has a value."
        if best is not None and _lacks_networks_alone(results, best):
            return "No answer: an earlier version wrote these results; the command of the experiment writes them anew."
        return "No answer: no fused network could be compared with networks that were trained on one modality alone."
    over, better = judged[best], sign_of(results)
    gain = better * over.difference.mean
    mean = results.means[best]
    same = abs(over.alone + over.difference.mean - mean) < 1e-9
    where = "" if same else " on the samples that have it"
    rival = f"the best network of one modality alone, {over.modality} ({amount(over.alone, results)}){where}"
    which = best if len(judged) == 1 else f"{best}, the best of {len(judged)} fused networks,"
    numbers = (
        f"{which} reaches {amount(mean, results)} {measure_words(results)}, {describe_gain(gain, results)} than {rival}"
    )
    if over.folds < 2:
        return f"Whether fusing helps is unclear, for one fold cannot tell a gain from noise. On it {numbers}."
    if over.difference.low is None:
        numbers += f"; the difference is the same in all {over.folds} folds, which does not tell how far it spreads"
    else:
        interval = interval_words(over.difference, results)
        numbers += f"; 95 % interval of the gain {interval}, over {over.folds} folds"
    gained = [name for name in judged if is_surely_better(judged[name], better)]
    lost = [name for name in judged if is_surely_better(judged[name], -better)]
    return f"{_answer(len(judged), gained, lost)}: {numbers}. {_how_many(judged, gained, lost)}"


def _lacks_networks_alone(results: Results, column: str) -> bool:
    """Says whether an earlier version left out the comparison with networks alone, or did not correct its p."""
    uncorrected = results.comparison is not None and results.comparison.over_alone is None
    return uncorrected or "over_alone" not in results.summary[column].model_fields_set


def _answer(fused: int, gained: Sequence[str], lost: Sequence[str]) -> str:
    if len(gained) == fused:
        return "Fusing helps"
    if gained:
        return "Fusing helps in some forms, not in all"
    if len(lost) == fused:
        return "Fusing does not help, it harms"
    if lost:
        return "Fusing does not help"
    return "Whether fusing helps is unclear"


def _how_many(judged: Collection[str], gained: Sequence[str], lost: Sequence[str]) -> str:
    unclear = [name for name in judged if name not in gained and name not in lost]
    if len(judged) == 1:
        return "That is larger than noise." if not unclear else "That is within noise."
    single = "the best single modality"
    parts = []
    for names, said in (
        (gained, "better than {} by more than noise"),
        (lost, "worse than {} by more than noise"),
        (unclear, "within noise of {}"),
    ):
        if len(names) == len(judged):
            every = "Both" if len(names) == 2 else f"All {COUNTS.get(len(names), len(names))}"
            return f"{every} fused networks are {said.format(single)}."
        if names:
            parts.append(f"{list_names(names)} {'is' if len(names) == 1 else 'are'} {said.format(single)}")
            single = "it"
    return f"{'; '.join(parts)}."


def _against_first(results: Results) -> list[str]:
    """Says which columns differ from the first one by more than noise."""
    first = results.columns[0].name
    others = [name for name in _fused(results) if name != first]
    found = {name: results.summary[name].against.get(first) for name in others}
    compared = {name: comparison for name, comparison in found.items() if comparison and comparison.folds > 1}
    if not compared:
        return []
    sure = [name for name, comparison in compared.items() if is_sure(comparison)]
    untested = [name for name in compared if compared[name].difference.low is None]
    unsure = [name for name in compared if name not in (*sure, *untested)]

    def told(names: Sequence[str]) -> str:
        better = sign_of(results)
        return list_names(
            [f"{name} ({describe_gain(better * compared[name].difference.mean, results)})" for name in names]
        )

    parts = [f"larger than noise for {told(sure)}"] if sure else []
    parts += [f"within noise for {told(unsure)}"] if unsure else []
    parts += [f"the same in every fold, which no test can hold against noise, for {told(untested)}"] if untested else []
    return [f"Against {first}, the first column, the difference is {'; '.join(parts)}."]


def _better_singles(results: Results) -> list[str]:
    """Says in which folds a network of one modality beats a fused one."""
    judged = {
        name: results.summary[name]
        for name in _fused(results)
        if results.summary[name].inferior is not None and results.summary[name].compared_folds
    }
    if not judged:
        return []
    if not any(column.inferior for column in judged.values()):
        return ["In no fold is a single modality better than a trained fused network."]
    clear = [name for name, column in judged.items() if not column.inferior]
    parts = []
    for name, column in judged.items():
        if column.inferior:
            cases = [f"{fold}: {modality}" for fold, modality in column.inferior.items()]
            parts.append(f"{name} in {len(cases)} of {column.compared_folds} folds ({list_names(cases, '; ')})")
    if clear:
        parts.append(f"{list_names(clear)} in none")
    return [f"A single modality is better than {', than '.join(parts)}."]


def _cautions(results: Results) -> list[str]:
    cautions = []
    for group in re.findall(r"([^,;]+)-dependent", results.protocol.label):
        groups = "people" if group.strip() == "speaker" else f"{group.strip()}s"
        cautions.append(
            f"Careful: the protocol is {group.strip()}-dependent, the same {groups} are trained on and tested on, "
            f"which raises every number; do not compare it with results on unseen {groups}."
        )
    if "reported" in results.selection:
        cautions.append(f"Careful: the epoch was selected on what is reported ({results.selection}).")
    if results.failures:
        runs = "1 run" if len(results.failures) == 1 else f"{len(results.failures)} runs"
        cautions.append(f"Careful: {runs} failed; their folds do not count for the variants that they belong to.")
    return cautions


def _fused(results: Results) -> list[str]:
    return [column.name for column in results.columns if column.branch == "fused"]


def _best_fused(results: Results) -> str | None:
    return best_column(_fused(results), results)
