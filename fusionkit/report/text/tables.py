"""An experiment's results as a table: folds below each other and variants beside each other, as the paper's Tables 1-3.

A star marks a fold where a single modality is better: a uni-modal network, trained by itself, beats the fused one on
the same samples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fusionkit.inference.branches import CONSTANT, ENSEMBLE_LOG
from fusionkit.interfaces import Metric, share
from fusionkit.report.text.published import read_published
from fusionkit.storage.records.results import Results, Summary

NOTHING = "-"
NONE_FINISHED = "No run has finished"

SHARE = share("share")
"""Format of a share that is not a metric itself."""


@dataclass(frozen=True)
class TableText:
    """A table as text.

    Args:
        title: What is compared.
        header: Names of the columns, the first one empty.
        folds: A row per fold.
        summary: Rows below them: mean, interval, difference, tests, folds where a single modality is better.
        captions: What a reader must know, sentence by sentence.
    """

    title: str
    header: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]
    summary: tuple[tuple[str, ...], ...]
    captions: tuple[str, ...]


def table_text(results: Results) -> TableText:
    """Makes the table of an experiment's results; without rows where no run has finished."""
    names = [column.name for column in results.columns]
    of = results.summary
    unit = ", %" if results.main_metric.share else ""
    folds = tuple((fold.name, *(_fold_cell(results, of[name], fold.name) for name in names)) for fold in results.folds)
    title = f"{results.metric} of {results.target}{unit}"
    if not results.rows:
        return TableText(title, ("", *names), (), (), (f"{NONE_FINISHED}.", *_notes_and_failures(results)))
    return TableText(
        title=title,
        header=("", *names),
        folds=folds,
        summary=tuple((label, *cells) for label, cells in _summary(results, [of[name] for name in names])),
        captions=tuple(_captions(results)),
    )


def markdown(results: Results) -> str:
    """Writes the table as Markdown, with its captions."""
    text = table_text(results)
    lines = [f"**{text.title}**", "", *(markdown_heading(text.header) if text.folds else ())]
    lines += [markdown_line(row) for row in text.folds]
    lines += [markdown_line([f"**{row[0]}**", *row[1:]]) for row in text.summary]
    lines += [""] if text.folds else []
    return "\n".join([*lines, *(f"- {caption}" for caption in text.captions)]) + "\n"


def format_value(value: float | None, metric: Metric, *, signed: bool = False) -> str:
    """Writes a value of a metric: shares in per cent with one decimal, others with three significant digits, zeros too.

    Example:
        >>> mae = Metric("mae", higher_is_better=False)
        >>> format_value(0.9147, SHARE), format_value(-0.02, SHARE, signed=True), format_value(1.23456, mae)
        ('91.5', '-2.0', '1.23')
        >>> format_value(2.0, mae), format_value(250.0, mae), format_value(12345.0, mae)
        ('2.00', '250', '1.23e+04')
        >>> format_value(-1e-9, SHARE)
        '0.0'
    """
    if value is None:
        return NOTHING
    sign = "+z" if signed else "z"  # z: what rounds to zero has no minus
    return f"{100 * value:{sign}.1f}" if metric.share else f"{value:{sign}#.3g}".removesuffix(".")


def format_p(p: float | None) -> str:
    """Writes a p value with three decimals.

    Example:
        >>> format_p(0.0625), format_p(0.0001)
        ('0.062', '<0.001')
    """
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float | None) -> str:
    """Writes a p value in a sentence.

    Example:
        >>> p_in_words(0.0625), p_in_words(0.0001)
        ('p = 0.062', 'p < 0.001')
    """
    text = format_p(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _fold_cell(results: Results, column: Summary, fold: str) -> str:
    star = "*" if fold in (column.inferior or ()) else ""
    return format_value(column.by_fold.get(fold), results.main_metric) + star


def _summary(results: Results, columns: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    metric = results.main_metric
    first = results.columns[0].name
    compared = [column.against.get(first) for column in columns]
    rows = [
        ("mean", [format_value(column.mean, metric) for column in columns]),
        ("95 % from", [format_value(column.low, metric) for column in columns]),
        ("to", [format_value(column.high, metric) for column in columns]),
        (
            "difference",
            [format_value(None if each is None else each.difference.mean, metric, signed=True) for each in compared],
        ),
        ("p Wilcoxon", [format_p(None if each is None else each.wilcoxon_p) for each in compared]),
        ("p t-test", [format_p(None if each is None else each.t_p) for each in compared]),
        ("p corrected", [format_p(None if each is None else each.corrected_t_p) for each in compared]),
        ("single better", [_single_better(column) for column in columns]),
    ]
    paper = read_published(results.experiment)
    if paper:
        rows.append(("paper", [format_value(paper.means.get(column.name), metric) for column in results.columns]))
    return rows


def _single_better(column: Summary) -> str:
    return NOTHING if column.inferior is None else f"{len(column.inferior)}/{column.compared_folds}"


def _captions(results: Results) -> list[str]:
    seeds, first = results.seeds, results.columns[0].name
    of_seeds = f"the mean of {len(seeds)} seeds" if len(seeds) > 1 else "that of one seed"
    captions = [
        f"Protocol: {results.protocol.label}; epoch: {results.selection}. A fold's figure is {of_seeds}.",
        "The interval is Student's t over folds. Differences and tests are paired over folds, against "
        f"{first!r}; the corrected test (Nadeau and Bengio) allows for training parts that overlap.",
        "A star and the row 'single better' mark folds where the best separately trained uni-modal network beats the "
        "column on the same samples.",
    ]
    branches = {column.branch for column in results.columns}
    if ENSEMBLE_LOG in branches and results.target_kind == "numbers":
        captions.append("Both ensembles are the mean of the numbers of the networks trained alone.")
    elif ENSEMBLE_LOG in branches:
        captions.append(
            "'ensemble' averages the probabilities of the networks trained alone, 'ensemble (log)' their logarithms, "
            "which suits modalities that are nearly independent given the target."
        )
    if CONSTANT in branches:
        captions.append("'constant' is the best answer that looks at no sample, from the training part of each fold.")
    limits = [limit for of in results.summary.values() for limit in (of.low, of.high) if limit is not None]
    if results.main_metric.share and any(not 0 <= limit <= 1 for limit in limits):
        captions.append("An interval that reaches beyond 0 or 100 % says that there are too few folds to tell.")
    paper = read_published(results.experiment)
    captions += [f"Paper: {paper.source}."] if paper else []
    captions += _coverage(results)
    return captions + _notes_and_failures(results)


def _notes_and_failures(results: Results) -> list[str]:
    failed = [f"FAILED: {each.variant}, {each.fold}, seed {each.seed}: {each.error}" for each in results.failures]
    return [*results.notes, *failed]


def _coverage(results: Results) -> list[str]:
    """Says which columns are over fewer samples than others, since samples lack a modality."""
    samples: dict[str, int] = {}
    for row in results.rows:
        if row.variant is not None:
            samples[row.variant] = samples.get(row.variant, 0) + row.samples
    most = max(samples.values(), default=0)
    fewer = [f"{name} {100 * count / most:.0f} %" for name, count in samples.items() if count < most]
    if not fewer or results.failures:
        return []
    return [f"Columns over those samples only that have their modality: {', '.join(fewer)} of all."]


def markdown_line(cells: Sequence[str]) -> str:
    r"""Writes a row of a Markdown table, whatever its cells hold.

    Example:
        >>> markdown_line(["a|b", "<i>"])
        '| a\\|b | &lt;i> |'
    """
    return "| " + " | ".join(markdown_text(cell).replace("|", "\\|") for cell in cells) + " |"


def markdown_heading(header: Sequence[str]) -> list[str]:
    """Returns the first two lines of a Markdown table, whose columns but the first hold numbers."""
    return [markdown_line(header), markdown_line(["---", *["---:"] * (len(header) - 1)])]


def markdown_text(text: str) -> str:
    """Escapes text so that Markdown shows it as it is, on one line and without becoming HTML."""
    return " ".join(re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text.replace("&", "&amp;")).split())
