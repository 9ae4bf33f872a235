"""The page of what is left under corruptions: one HTML file, the same as Markdown, and its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.report.figures.stress import draw_stress
from fusionkit.report.pages.blocks import Block, Missing, Paragraph, Picture, Points, Section, Table, picture, section
from fusionkit.report.pages.experiment import Report, write_pages
from fusionkit.report.text.stress import (
    HEADINGS,
    MEANINGS,
    corruptions_of,
    curves_of,
    evidence,
    level_text,
    levels_of,
    measure_in_words,
    rows_of,
    sentences,
)
from fusionkit.report.text.tables import NOTHING
from fusionkit.storage.records.stress import Stress


def write_stress_page(document: Stress, out: str | Path) -> Report:
    """Writes ``stress.html``, ``stress.md`` and ``figures/stress_*.png``.

    Args:
        document: What ``stress.json`` holds.
        out: The folder that they go to.

    Raises:
        RunError: They cannot be written.
    """
    out = Path(out)
    figures = out / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
        sections = make_sections(document, figures)
        blocks = [block for each in sections for block in each.blocks]
        drawn = tuple(block.file for block in blocks if isinstance(block, Picture))
        for stale in set(figures.glob("stress_*.png")) - set(drawn):
            stale.unlink()
        title, subtitle = title_of(document)
        html, markdown = write_pages(
            out, "stress", sections, title=title, subtitle=subtitle, made_from=f"stress.json of {document.time}"
        )
    except OSError as error:
        raise RunError(f"{out}: the page cannot be written ({error.strerror or error})") from error
    missing = tuple(block.why for block in blocks if isinstance(block, Missing))
    return Report(html, markdown, drawn, missing)


def title_of(document: Stress) -> tuple[str, str]:
    """Returns the title of the page and the line below it."""
    modalities = dict.fromkeys(curve.modality for curve in document.curves)
    folds, seeds = len(document.folds), len(document.seeds)
    counted = f"{folds} {'fold' if folds == 1 else 'folds'}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    targets = ", ".join(f"{of.metric} of {name}" for name, of in document.targets.items())
    return (
        f"What is left when a modality fails? {', '.join(modalities)}",
        f"{targets}, {counted}, {document.protocol}, {document.selection}; {document.time[:10]}",
    )


def make_sections(document: Stress, figures: Path) -> tuple[Section, ...]:
    """Makes the sections of the page; their figures go to a folder."""
    first, *others = sentences(document) or ("No network reads a modality that was corrupted.",)
    return (
        section("In short", Paragraph(first), Points(tuple(others)), Paragraph(evidence(document))),
        *(_corruption_section(document, corruption, figures) for corruption in corruptions_of(document)),
        *((section("Notes", Points(tuple(document.notes))),) if document.notes else ()),
        _facts_section(document),
    )


def _corruption_section(document: Stress, corruption: str, figures: Path) -> Section:
    blocks: list[Block] = [Paragraph(MEANINGS[corruption])]
    folded: dict[str, tuple[Block, ...]] = {}
    for target in document.targets:
        blocks.append(_picture(document, corruption, target, figures))
        blocks += _tables(document, corruption, target)
        if len(document.folds) > 1:
            folded[f"Intervals of {target}"] = tuple(_tables(document, corruption, target, limits=True))
    return section(HEADINGS[corruption], *blocks, folded=folded)


def _picture(document: Stress, corruption: str, target: str, figures: Path) -> Picture | Missing:
    several = len(document.targets) > 1
    name = f"stress_{corruption}" + (f"_{re.sub(r'[^A-Za-z0-9_-]', '_', target)}" if several else "")
    band = " in its 95 % interval over folds (Student's t, seeds averaged first)" if len(document.folds) > 1 else ""
    return picture(
        figures / f"{name}.png",
        lambda: draw_stress(document, corruption, target),
        what=f"Curves of {target}, {HEADINGS[corruption].lower()}",
        alt=f"A panel per modality with a line per variant: {measure_in_words(document, target)} over the level.",
        caption=f"{measure_in_words(document, target)}. A line per variant{band}. Dashed: networks that do not read "
        "the modality.",
    )


def _tables(document: Stress, corruption: str, target: str, *, limits: bool = False) -> Iterator[Block]:
    metric = document.targets[target].main_metric
    for modality, curves in curves_of(document, corruption, target).items():
        levels = levels_of(curves)
        rows = rows_of(curves, metric, levels, limits)
        if rows:
            yield Table((modality, *(level_text(level, curves[0].unit) for level in levels)), tuple(rows))


def _facts_section(document: Stress) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in document.versions.items())
    facts = {
        "command": document.command,
        "protocol": document.protocol,
        "epoch": document.selection,
        "folds": ", ".join(document.folds),
        "seeds of the trainings": ", ".join(map(str, document.seeds)),
        "seed of the corruptions": str(document.seed),
        "runs": str(len(document.runs)),
        "device": document.device,
        "platform": document.platform,
        "versions": versions,
        "commit": document.commit or NOTHING,
        "time": document.time,
    }
    return section("How it was made", Table(("", "of every point"), tuple(facts.items()), words=True))
