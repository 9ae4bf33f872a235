"""The sections of a report that are words and tables."""

from __future__ import annotations

import math

from fusionkit.config.yaml import write_yaml
from fusionkit.interfaces import Metric
from fusionkit.report.pages.blocks import Block, Code, Paragraph, Points, Section, Table, section
from fusionkit.report.text.paper import contradictions, fold_table, mean_table, paper_sentences, starts_sentence
from fusionkit.report.text.published import read_published
from fusionkit.report.text.tables import NOTHING, format_p, format_value, table_text
from fusionkit.report.text.verdict import verdict
from fusionkit.storage.records.results import Difference, Results, Variant


def short_section(results: Results) -> Section:
    """Makes the section that answers in plain words."""
    first, *others = verdict(results)
    return section("In short", Paragraph(first), Points(tuple(others)))


def table_section(results: Results) -> Section:
    """Makes the section with the table of folds and variants, and every comparison."""
    text = table_text(results)
    notes = set(results.notes)
    captions = tuple(caption for caption in text.captions if caption not in notes and not caption.startswith("FAILED"))
    table = Table(text.header, (*text.folds, *text.summary), strong=frozenset({"mean"}))
    return section(
        "Table",
        Paragraph(f"{text.title}. {'Higher' if results.higher_is_better else 'Lower'} is better."),
        table,
        Points(captions),
        folded={"Every comparison of two variants": (comparison_table(results),)},
    )


def comparison_table(results: Results) -> Block:
    """Tabulates every pair of variants, and every fused one against the best network of one modality alone.

    Where that network is a column as well, the two are one pair and have one row.
    """
    metric, rows = results.main_metric, []
    best = _columns_of_the_best(results)
    for name, column in results.summary.items():
        if over := column.over_alone:
            rows.append((name, best.get(name, f"{over.modality} alone"), *_cells(over, metric)))
        for other, comparison in column.against.items():
            if comparison is not None and not any(
                _is_the_same(results.summary[fused].over_alone, comparison)
                for fused, single in ((name, other), (other, name))
                if best.get(fused) == single
            ):
                rows.append((name, other, *_cells(comparison, metric)))
    if not rows:
        return Paragraph("No two variants have a fold in common.")
    header = ("", "against", "folds", "difference", "95 % from", "to", "p Wilcoxon", "p t-test", "p corrected")
    return Table(header, tuple(rows))


def _columns_of_the_best(results: Results) -> dict[str, str]:
    """Returns by fused column the column of the best network of one modality, where that network is a column."""
    named = {(column.runs, column.branch): column.name for column in results.columns}
    found = {}
    for column in results.columns:
        over = results.summary[column.name].over_alone
        if over and column.alone is not None and (column.alone, over.modality) in named:
            found[column.name] = named[column.alone, over.modality]
    return found


def _is_the_same(over: Difference | None, comparison: Difference) -> bool:
    """Says whether two comparisons are one, in whichever direction; those over fewer folds or samples are not."""
    if over is None or over.folds != comparison.folds:
        return False
    first, second = over.difference.mean, comparison.difference.mean
    return first is not None and second is not None and math.isclose(abs(first), abs(second), abs_tol=1e-12)


def _cells(comparison: Difference, metric: Metric) -> tuple[str, ...]:
    difference = comparison.difference
    figures = (format_value(each, metric, signed=True) for each in (difference.mean, difference.low, difference.high))
    tests = map(format_p, (comparison.wilcoxon_p, comparison.t_p, comparison.corrected_t_p))
    return (str(comparison.folds), *figures, *tests)


def paper_section(results: Results) -> Section | None:
    """Sets published numbers beside ours; None where the experiment states none."""
    paper = read_published(results.experiment)
    if paper is None:
        return None
    means = mean_table(results, paper)
    blocks: list[Block] = [
        Paragraph("Published numbers beside ours. A star marks a fold where a single modality is better."),
        Points((f"{paper.source}.", *(f"{source}." for source, _ in paper.also))),
        Table(means.header, means.rows),
    ]
    by_fold = fold_table(results, paper)
    blocks += [Table(by_fold.header, by_fold.rows)] if by_fold else []
    blocks.append(Points(paper_sentences(results, paper)))
    disagreeing = contradictions(results, paper)
    if disagreeing:
        blocks.append(Paragraph("Published numbers contradict each other; none is to be quoted as if it were another:"))
        blocks.append(Points(disagreeing))
    return section("Beside the paper", *blocks)


def notes_section(results: Results) -> Section | None:
    """Says what was added, what the data lack, what should be known, and what failed; None where there is nothing."""
    blocks: list[Block] = [Points(tuple(results.notes))] if results.notes else []
    if data_notes := tuple(results.data_notes):
        blocks += [Paragraph("What the dataset says of its files:"), Points(data_notes)]
    failures = results.failures
    if failures:
        blocks.append(
            Paragraph(f"Runs that failed: {len(failures)}. The same command repeats them and keeps the rest.")
        )
        rows = tuple((each.variant, each.fold, str(each.seed), each.error) for each in failures)
        blocks.append(Table(("", "fold", "seed", "error"), rows, words=True))
    if not blocks:
        return None
    traces = {
        f"Where {each.variant}, {each.fold}, seed {each.seed} failed": (Code(each.traceback),)
        for each in failures
        if each.traceback
    }
    return section("Notes and failures", *blocks, folded=traces)


def recipe_section(results: Results) -> Section:
    """Says how the numbers came about: protocol, environment, variants and recipes."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    folds = results.protocol.folds or {}
    facts = {
        "command": results.command,
        "protocol": results.protocol.label or NOTHING,
        "folds": f"{len(results.folds)} of {folds.get('type', NOTHING)}",
        "seeds": ", ".join(map(str, results.seeds)),
        "epoch": results.selection or NOTHING,
        "encoders start": starts_sentence(results.recipes) or NOTHING,
        "device": results.device or NOTHING,
        "platform": results.platform,
        "versions": versions,
        "commit": results.commit or NOTHING,
        "time": results.time,
    }
    variants = tuple((name, _described(of)) for name, of in results.experiment.variants.items())
    splits = tuple(
        (
            fold.name,
            NOTHING if fold.train is None else str(fold.train),
            NOTHING if fold.test is None else str(fold.test),
            fold.split_hash or NOTHING,
        )
        for fold in results.folds
    )
    folded: dict[str, tuple[Block, ...]] = {
        "Folds and the hashes of their splits": (Table(("", "train", "test", "sha256"), splits, words=True),)
    }
    folded |= {f"Recipe of {name}": (Code(write_yaml(recipe)),) for name, recipe in results.recipes.items()}
    return section(
        "Recipe and environment",
        Table(("", "of every run"), tuple((key, str(value)) for key, value in facts.items()), words=True),
        Table(("variant", "what it is"), variants, words=True),
        folded=folded,
    )


def _described(variant: Variant) -> str:
    if variant.of:
        return f"branch {variant.branch} of the runs of {variant.of}"
    changes = ", ".join(variant.overrides or ()) or "the recipe as it stands"
    return f"{changes}; read is {variant.branch}" if variant.branch else changes
