"""Published numbers beside ours: per fold, in the mean, and where the publications contradict each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fusionkit.config.initial_weights import describe_starts, find_starts
from fusionkit.inference.branches import CONSTANT, ENSEMBLES, FUSED
from fusionkit.interfaces import Metric
from fusionkit.report.text.published import Published, short_source
from fusionkit.report.text.tables import format_value
from fusionkit.storage.records.results import ResultColumn, Results

FUSING = (FUSED, *ENSEMBLES, CONSTANT)
NOT_MEASURED = "not measured"
ROUNDING = 0.00051
"""Shares that differ by less agree: publications round to a tenth of a per cent, or cut it off."""


@dataclass(frozen=True)
class PlainTable:
    """A table of text: a heading per column, rows below, the first column naming the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def fold_table(results: Results, paper: Published) -> PlainTable | None:
    """Tabulates ours and the paper's beside each other, fold by fold; None where the paper states no folds.

    A star marks a fold where a single modality is better, in ours and in the paper's own numbers.
    """
    names = [column.name for column in results.columns if column.name in paper.folds]
    if not names:
        return None
    better = better_singles_of_paper(results, paper)
    header = ["", *(f"{name}, {whose}" for name in names for whose in ("ours", "paper"))]
    rows = []
    for fold in _all_folds(results, paper):
        cells = [fold]
        for name in names:
            own = results.summary[name]
            star = "*" if fold in (own.inferior or ()) else ""
            value = own.by_fold.get(fold)
            cells.append(
                NOT_MEASURED if value is None else format_value(value, results.main_metric) + star,
            )
            theirs = format_value(paper.folds[name].get(fold), results.main_metric)
            cells.append(theirs + ("*" if fold in better.get(name, {}) else ""))
        rows.append(tuple(cells))
    return PlainTable(tuple(header), tuple(rows))


def mean_table(results: Results, paper: Published) -> PlainTable:
    """Tabulates our mean, every published one, and both over the folds that both have, variant by variant."""
    metric = results.main_metric
    sources = (paper.source, *(source for source, _ in paper.also))
    header = ["", "ours, all our folds", *map(short_source, sources)]
    with_folds = any(paper.folds.values())
    header += ["folds of both", "ours there", "paper there", "difference"] if with_folds else ["difference"]
    rows = []
    for name in (column.name for column in results.columns if column.name in paper.variants):
        own = results.summary[name]
        cells = [name, NOT_MEASURED if own.mean is None else format_value(own.mean, metric)]
        cells += [format_value(paper.means.get(name), metric)]
        cells += [format_value(values.get(name), metric) for _, values in paper.also]
        if with_folds:
            theirs = paper.folds.get(name, {})
            shared = [fold for fold in own.by_fold if fold in theirs]
            ours_there = fmean(own.by_fold[fold] for fold in shared) if shared else None
            theirs_there = fmean(theirs[fold] for fold in shared) if shared else None
            cells += [f"{len(shared)} of {len(theirs)}" if theirs else "-"]
            cells += [format_value(ours_there, metric), format_value(theirs_there, metric)]
            cells += [_difference(ours_there, theirs_there, metric)]
        else:
            cells += [_difference(own.mean, paper.means.get(name), metric)]
        rows.append(tuple(cells))
    return PlainTable(tuple(header), tuple(rows))


def better_singles_of_paper(results: Results, paper: Published) -> dict[str, dict[str, tuple[str, float, float]]]:
    """Finds by fused variant and fold the uni-modal variant that beats it in the paper, and both numbers."""
    better = results.main_metric.sign
    found: dict[str, dict[str, tuple[str, float, float]]] = {}
    for column in results.columns:
        if column.branch not in FUSING or column.name not in paper.folds:
            continue
        for fold, value in paper.folds[column.name].items():
            rivals = {
                name: paper.folds[name][fold]
                for name in _uni_modal(results.columns, column)
                if fold in paper.folds.get(name, {})
            }
            best = max(rivals, key=lambda name: better * rivals[name], default=None)
            if best is not None and better * (rivals[best] - value) > 1e-9:
                found.setdefault(column.name, {})[fold] = (best, rivals[best], value)
    return found


def contradictions(results: Results, paper: Published) -> tuple[str, ...]:
    """Says where the published numbers do not agree with each other, a sentence each."""
    sentences, main = [], short_source(paper.source)
    for name in paper.variants:
        by_fold = paper.folds.get(name)
        said = {}
        if name in paper.means:
            of_folds = bool(by_fold) and name not in paper.stated
            said[f"the mean of the folds of {main}" if of_folds else main] = paper.means[name]
        if by_fold and name in paper.stated:
            said[f"the mean of the folds of {main}"] = fmean(by_fold.values())
        said |= {short_source(source): values[name] for source, values in paper.also if name in values}
        if len(said) > 1 and max(said.values()) - min(said.values()) > _tolerance(results):
            listed = ", ".join(f"{value} ({source})" for source, value in _write_precisely(said, results).items())
            sentences.append(f"{name}: {listed}.")
    return tuple(sentences)


def starts_sentence(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """Says what the encoders of an experiment start from: of all variants alike, or of each."""
    by_start: dict[str, list[str]] = {}
    for variant, recipe in recipes.items():
        by_start.setdefault(describe_starts(find_starts(recipe)), []).append(variant)
    if len(by_start) == 1:
        return next(iter(by_start))
    return ". ".join(f"{', '.join(variants)}: {start or 'nothing'}" for start, variants in by_start.items())


def paper_sentences(results: Results, paper: Published) -> tuple[str, ...]:
    """Returns what stands under the tables: selection, folds of one side, better single modalities, remarks."""
    sentences = [
        f"Ours: {results.protocol.label}, epoch: {results.selection}, "
        f"{len(results.seeds)} {'seed' if len(results.seeds) == 1 else 'seeds'} a fold"
        f"{f', encoders start: {starts}' if (starts := starts_sentence(results.recipes)) else ''}. "
        "Numbers of a paper come from other weights, sizes and machines: they are set beside ours, not tested against."
    ]
    sentences += _fold_sentences(results, paper)
    sentences += _better_single_sentences(results, paper)
    return (*sentences, *paper.remarks)


def _better_single_sentences(results: Results, paper: Published) -> list[str]:
    metric, sentences = results.main_metric, []
    theirs = [
        f"{name} in {fold} ({rival} {format_value(better, metric)} against {format_value(value, metric)})"
        for name, cases in better_singles_of_paper(results, paper).items()
        for fold, (rival, better, value) in cases.items()
    ]
    if theirs:
        sentences.append(f"In the paper's own numbers a single modality is better: {'; '.join(theirs)}.")
    elif any(column.name in paper.folds for column in results.columns if column.branch not in FUSING):
        sentences.append("In the paper's own numbers no single modality is better than a fused network.")
    elif paper.folds:
        sentences.append(
            "The source states no uni-modal networks by fold, so nobody can tell whether a single modality is better."
        )
    ours = [
        f"{name} in {fold} ({modality})"
        for name in paper.variants
        if name in results.summary
        for fold, modality in (results.summary[name].inferior or {}).items()
    ]
    return [*sentences, f"In ours a single modality is better: {'; '.join(ours) or 'nowhere'}."]


def _fold_sentences(results: Results, paper: Published) -> list[str]:
    ours = {fold.name for fold in results.folds}
    theirs = list(dict.fromkeys(fold for by_fold in paper.folds.values() for fold in by_fold))
    if not theirs:
        return []
    absent = [fold for fold in theirs if fold not in ours]
    alone = [fold for fold in ours if fold not in theirs]
    sentences = []
    if absent:
        sentences.append(f"Folds of the paper that were not run here: {'; '.join(absent)}.")
    if alone:
        sentences.append(f"Folds that the paper does not have: {'; '.join(sorted(alone))}.")
    return sentences


def _all_folds(results: Results, paper: Published) -> list[str]:
    """Returns the paper's folds in its order, then those of ours that it does not have."""
    theirs = [fold for by_fold in paper.folds.values() for fold in by_fold]
    return list(dict.fromkeys([*theirs, *(fold.name for fold in results.folds)]))


def _uni_modal(columns: Sequence[ResultColumn], fused: ResultColumn) -> list[str]:
    """Returns the uni-modal columns that a fused one is judged against: those of its own networks alone, else all."""
    of_any = [column for column in columns if column.branch not in FUSING]
    own = [column for column in of_any if column.runs == fused.alone]
    return [column.name for column in own or of_any]


def _difference(ours: float | None, theirs: float | None, metric: Metric) -> str:
    return format_value(None if ours is None or theirs is None else ours - theirs, metric, signed=True)


def _tolerance(results: Results) -> float:
    return ROUNDING if results.main_metric.share else 1e-9


def _write_precisely(said: Mapping[str, float], results: Results) -> dict[str, str]:
    """Writes numbers with one more digit than tables show, since contradictions are small."""
    if results.main_metric.share:
        return {source: f"{100 * value:.2f}" for source, value in said.items()}
    return {source: f"{value:.4g}" for source, value in said.items()}
