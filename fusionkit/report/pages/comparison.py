"""A comparison under equal conditions: which differences are larger than noise, ranks, and cost beside them."""

from __future__ import annotations

from pathlib import Path

from fusionkit.report.figures.comparison import draw_comparison, draw_cost
from fusionkit.report.pages.blocks import Paragraph as Words
from fusionkit.report.pages.blocks import Section, Table, picture, section
from fusionkit.report.text.comparison import (
    COST_HEADER,
    HEADER,
    conditions,
    cost_rows,
    heading,
    last_line,
    ranking_rows,
    require_comparison,
)
from fusionkit.report.text.tables import format_p, format_value, p_in_words
from fusionkit.storage.records.results import Results

FILES = ("comparison.png", "cost.png")
PAIRS_HEADER = ("", "against", "difference", "p", "p Holm")
CHOICES_HEADER = ("", "fold", "trial", "setting", "values of the trials")


def comparison_section(results: Results, figures: Path) -> Section | None:
    """Makes the section of a comparison: verdict, ranking and costs; None of an experiment that is none."""
    if results.comparison is None:
        return None
    folded = {"Every pair, corrected for their number": [Table(PAIRS_HEADER, _pair_rows(results))]}
    if results.comparison.choices:
        folded["What was tuned"] = [Table(CHOICES_HEADER, _choice_rows(results), words=True)]
    return section(
        "Comparison",
        *(Words(sentence) for sentence in conditions(results)),
        Words(f"{heading(results)}."),
        Table(HEADER, ranking_rows(results)),
        Words(last_line(results)),
        picture(
            figures / FILES[0],
            lambda: draw_comparison(results),
            what="Differences and ranks",
            alt="A row per column with its difference from the first column and its mean rank; the table has the "
            "numbers.",
            caption=_intervals_and_ranks(results),
        ),
        picture(
            figures / FILES[1],
            lambda: draw_cost(results),
            what="Cost",
            alt="The mean of every column over the time of a training epoch; the tables have the numbers.",
            caption="What a column reaches, and what an epoch of every stage, teachers' too, costs on one thread; of "
            "many columns those have names that none is both cheaper and better than.",
        ),
        Table(COST_HEADER, cost_rows(results)),
        folded=folded,
    )


def _intervals_and_ranks(results: Results) -> str:
    ranks = require_comparison(results).ranks
    said = (
        "Left: the difference from the first column, with intervals that hold with 95 % for all of them together and "
        "allow for training parts that overlap; a filled dot differs by more than noise (p by Holm below 0.05). Right: "
        "mean ranks"
    )
    if ranks.critical_difference is None:
        return f"{said}."
    return (
        f"{said}; within the grey band, {ranks.critical_difference:.1f} wide (Nemenyi), a rank does not differ from "
        f"the best by more than noise. Whether the columns differ at all: {p_in_words(ranks.friedman_p)} "
        f"(Friedman, ranks permuted within {ranks.folds} folds)."
    )


def _pair_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    pairs = sorted(require_comparison(results).pairs, key=lambda pair: (pair.p is None, pair.p))
    return tuple(
        (
            pair.column,
            pair.other,
            format_value(pair.difference, results.main_metric, signed=True),
            format_p(pair.p),
            format_p(pair.holm_p),
        )
        for pair in pairs
    )


def _choice_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            choice.variant,
            choice.fold,
            str(choice.trial),
            ", ".join(choice.overrides) or "the recipe as it stands",
            ", ".join(format_value(value, results.main_metric) for value in choice.values),
        )
        for choice in require_comparison(results).choices
    )
