"""The tables of the literature's methods: compared on every set, diagnosed, and beside implementations of others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.evaluation.ranking import rank
from fusionkit.report.figures.comparison import draw_comparison
from fusionkit.report.figures.style import save_figure
from fusionkit.report.text.comparison import HEADER, conditions, cost_rows, last_line, ranking_rows
from fusionkit.report.text.tables import NOTHING, SHARE, format_value, markdown_heading, markdown_line, p_in_words
from fusionkit.storage.records import results as documents

Results = Mapping[str, Any]

BARS = ("bar", "bar_longer")
"""The comparisons of few methods in more folds, which stand by themselves."""


def literature_results(folder: Path) -> dict[str, Results]:
    """By set, the comparisons that were measured."""
    files = sorted(folder.glob("literature_*.json"))
    names = [file.stem.removeprefix("literature_") for file in files]
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in zip(names, files, strict=True)}


def record_of(results: Results) -> documents.Results:
    """Reads what ``benchmarks/literature/measure.py`` keeps of a comparison's results; runs are not in it."""
    unkept = {"format": 1, "recipes": {}, "rows": [], "notes": [], "confusion": {"classes": None, "matrices": {}}}
    empty = {"against": {}, "inferior": None, "compared_folds": None}
    summary = {name: {**empty, **column} for name, column in results["summary"].items()}
    return documents.Results.model_validate({**unkept, **results, "summary": summary})


def comparison_lines(results: Results, name: str, generated: Path) -> list[str]:
    """Shows a comparison's ranking and costs, with its figure."""
    record = record_of(results)
    save_figure(draw_comparison(record), generated / f"{name}.png")
    costs = {row[0]: row[1:] for row in cost_rows(record)}
    header = (*HEADER, "parameters", "memory", "an epoch", "a run")
    lines = [*(f"{sentence}\n" for sentence in conditions(record)), *markdown_heading(header)]
    lines += [markdown_line((*row, *costs.get(row[0], (NOTHING,) * 4))) for row in ranking_rows(record)]
    if best := results.get("best"):
        told = ", ".join(f"{what} {format_value(value, SHARE)}" for what, value in best.items())
        lines += [f"\nThe best that can be reached, in per cent: {told}."]
    return [*lines, f"\n{last_line(record)}\n", f"![Differences and ranks](../results/generated/{name}.png)\n"]


def diagnosis_lines(results: Results, name: str, generated: Path) -> list[str]:
    """Whether gradients conflict, and what is left in the encoders, variant by variant."""
    folds = ", ".join(fold["name"] for fold in results["folds"])
    lines = [f"Folds {folds}; seeds {', '.join(map(str, results['seeds']))}; intervals: {results['intervals']}.\n"]
    lines += ["The cosine between the gradients of each encoder's own and of the fused loss, over the training:\n"]
    lines += ["| | encoder | first third | middle | last | mean | negative, % of steps | norm own / fused |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for variant, of in results["variants"].items():
        for modality, found in (of["gradients"] or {}).items():
            thirds = [f"{each['value']:+.2f}" for each in found["thirds"].values()]
            mean, negative = f"{found['cosine']['value']:+.2f}", f"{100 * found['negative']['value']:.0f}"
            cells = [variant, modality, *thirds, mean, negative, f"{found['norm_ratio']['value']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["\nA linear head on each frozen encoder, and what it keeps of a linear head on the one trained alone:\n"]
    lines += [
        "| | encoder | linear head, % | trained alone, % | kept, points | 95 % interval | Shapley share, points |"
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | --- | ---: |"]
    for variant, of in results["variants"].items():
        (target,) = of["targets"].values()
        for modality, found in target["probe"].items():
            cells = [variant, modality, *(_of_figure(found[key]) for key in ("score", "alone_probe"))]
            cells += [_of_figure(found["kept"], signed=True), _limits(found["kept"])]
            cells += [_of_figure(target["shapley"]["shares"][modality], signed=True)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["\nThe fused accuracy where only these modalities are present, and the gain over the best single one:\n"]
    (first,) = next(iter(results["variants"].values()))["targets"].values()
    subsets = list(first["subsets"])
    lines += [f"| | {' | '.join(subsets)} | gain over the best single | 95 % interval | samples rescued | hurt |"]
    lines += [f"| --- |{' ---: |' * (len(subsets) + 1)} --- | ---: | ---: |"]
    for variant, of in results["variants"].items():
        (target,) = of["targets"].values()
        gain, rival = target["fusing"]["over_best_single"], target["rivals"]["best_single"]
        cells = [variant, *(_of_figure(each) for each in target["subsets"].values())]
        cells += [_of_figure(gain, signed=True), _limits(gain), str(rival["rescued"]), str(rival["hurt"])]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def peers_lines(results: Results, name: str, generated: Path) -> list[str]:
    """How far methods and public implementations of them are apart, what differs, and where there is none."""
    lines = [
        "The same weights and inputs, in double precision; the peers are installed from PyPI.\n",
        "| method | peer | class | largest difference | agrees |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for peer in results["peers"]:
        peer_class, agrees = peer["class"].rpartition(".")[2], "yes" if peer["agrees"] else "no"
        figures = f"{peer['max_abs_difference']:.1e} of {peer['largest']:.3g}"
        lines.append(f"| {peer['method']} | {peer['peer']} {peer['version']} | {peer_class} | {figures} | {agrees} |")
    looked = ", ".join(results["looked_into"])
    lines += [f"| {method} | none on PyPI | | | {why} |" for method, why in results["absent"].items()]
    lines += [f"\nLooked into: {looked}. What differs and how it was compared:\n"]
    lines += [f"- {peer['method']}, {peer['peer']}: {' '.join(peer['differs'])}" for peer in results["peers"]]
    return [*lines, ""]


def overview(sets: Mapping[str, Results]) -> str:
    """Lists every method on every set: points beyond the ensemble or, on synthetic views, to the optimum."""
    real = [name for name, results in sets.items() if "best" not in results]
    made = [name for name, results in sets.items() if "best" in results]
    ranks = mean_ranks(sets)
    header = ("", "mean rank", *(f"{_title(name)}: beyond the ensemble" for name in real), *map(_title, made))
    lines = markdown_heading(header)
    for method in sorted(ranks, key=lambda each: ranks[each]):
        beyond = [_beyond(sets[name], method) for name in real]
        gaps = [_gap(sets[name], method) for name in made]
        lines.append(markdown_line((method, f"{ranks[method]:.1f}", *beyond, *gaps)))
    return "\n".join(lines) + "\n"


def mean_ranks(sets: Mapping[str, Results]) -> Mapping[str, float]:
    """The mean rank over sets of the methods that all of them have; 1 is best."""
    means = {name: _means(of) for name, of in sets.items()}
    shared = [method for method in next(iter(means.values()), {}) if all(method in of for of in means.values())]
    values = {method: {name: means[name][method] for name in sets} for method in shared}
    return rank(values, higher_is_better=True).mean if values else {}


def noise_line(sets: Mapping[str, Results]) -> str:
    """By how much mean ranks over the sets must differ to mean anything."""
    means = {name: _means(of) for name, of in sets.items()}
    shared = mean_ranks(sets)
    ranks = rank({method: {name: means[name][method] for name in sets} for method in shared}, higher_is_better=True)
    if ranks.critical_difference is None:
        return ""
    return (
        f"Over {ranks.folds} sets and {len(shared)} methods, mean ranks must be {ranks.critical_difference:.1f} apart "
        f"to differ by more than noise (Nemenyi, 5 %); whether the methods differ at all: "
        f"{p_in_words(ranks.friedman_p)} (Friedman, ranks permuted within sets).\n"
    )


def write_literature(folder: Path, generated: Path) -> None:
    """Writes ``literature.md``, what the page on which fusion to use includes."""
    sets = literature_results(folder)
    for bar in BARS:
        sets.pop(bar, None)
    text = "\n".join([overview(sets), noise_line(sets)]) if sets else "Not measured yet.\n"
    target = generated / "literature.md"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def _means(results: Results) -> dict[str, float]:
    """Returns the mean of every method, the best first."""
    means = {method: column["mean"] for method, column in results["summary"].items() if column["mean"] is not None}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _title(name: str) -> str:
    return name.replace("_", " ")


def _beyond(results: Results, method: str) -> str:
    """Points beyond the ensemble; in bold where that is larger than noise."""
    pairs: Sequence[Mapping[str, Any]] = results["comparison"]["against_first"]
    pair = next((each for each in pairs if each["column"] == method), None)
    if pair is None:
        return f"{format_value(results['summary'][method]['mean'], SHARE)} %"
    text = format_value(pair["difference"], SHARE, signed=True)
    return f"**{text}**" if pair["holm_p"] is not None and pair["holm_p"] < 0.05 else text


def _gap(results: Results, method: str) -> str:
    return format_value(results["summary"][method]["mean"] - results["best"]["fused"], SHARE, signed=True)


def _of_figure(figure: dict[str, Any] | None, *, signed: bool = False) -> str:
    return "-" if figure is None else format_value(figure["value"], SHARE, signed=signed)


def _limits(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["low"] is None:
        return "-"
    return " to ".join(format_value(figure[end], SHARE, signed=True) for end in ("low", "high"))
