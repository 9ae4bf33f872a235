"""The report of an experiment: one HTML page that needs nothing else, the same as Markdown, and its figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.report.figures.table import draw_table
from fusionkit.report.pages.blocks import Block, Missing, Picture, Section, as_markdown, missing_sentence, picture
from fusionkit.report.pages.comparison import FILES as COMPARISON_FILES
from fusionkit.report.pages.comparison import comparison_section
from fusionkit.report.pages.gallery import FILES, Gallery
from fusionkit.report.pages.sections import notes_section, paper_section, recipe_section, short_section, table_section
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.files import replace_file
from fusionkit.storage.records.results import Results
from fusionkit.version import __version__


@dataclass(frozen=True)
class Report:
    """The files that `write_report` wrote.

    Args:
        html: The page.
        markdown: The same as Markdown.
        figures: The figures, each a PNG file.
        missing: What could not be drawn, each with its reason.
    """

    html: Path
    markdown: Path
    figures: tuple[Path, ...]
    missing: tuple[str, ...]


def write_report(experiment: str | Path, out: str | Path | None = None) -> Report:
    """Writes ``report.html``, ``report.md`` and ``figures/`` of an experiment.

    What cannot be drawn, because runs were removed or the target has no classes, is replaced by a sentence.

    Args:
        experiment: The folder that `fusionkit experiment` left.
        out: Where the report goes; beside the results when left out.

    Raises:
        RunError: The folder holds no results, they are damaged, or the report cannot be written.
    """
    targets = ExperimentFolder.open_targets(experiment)
    source = targets[0]
    out = Path(out) if out is not None else source.path
    sections: list[Section] = []
    blocks: list[Block] = []
    missing: list[str] = []
    try:
        for each in targets:
            figures = out / "figures" / each.part
            figures.mkdir(parents=True, exist_ok=True)
            part, table = make_sections(each, figures)
            own = [*([table] if table else []), *(block for section in part for block in section.blocks)]
            blocks += own
            of = "" if len(targets) == 1 else f"{each.results.target}: "
            missing += [f"{of}{missing_sentence(lack.what, lack.why)}" for lack in own if isinstance(lack, Missing)]
            for stale in {figures / file for file in (*FILES, *COMPARISON_FILES)} - set(_files(blocks)):
                stale.unlink(missing_ok=True)  # of an earlier report, when there was more to draw
            sections += part if len(targets) == 1 else _named_after(each.results.target, part)
        title, subtitle = title_of(*(each.results for each in targets))
        made_from = f"results.json of {source.results.time} and the runs beside it"
        html, markdown = write_pages(out, "report", sections, title=title, subtitle=subtitle, made_from=made_from)
    except OSError as error:
        raise RunError(f"{out}: the report cannot be written ({error.strerror or error})") from error
    return Report(html, markdown, tuple(_files(blocks)), tuple(missing))


def _files(blocks: Sequence[Block]) -> list[Path]:
    return [block.file for block in blocks if isinstance(block, Picture)]


def _named_after(target: str, sections: Sequence[Section]) -> list[Section]:
    """Returns the part of a page that is of one of several targets."""
    return [replace(each, title=f"{target}: {each.title[:1].lower()}{each.title[1:]}") for each in sections]


def write_pages(
    out: Path, name: str, sections: Sequence[Section], *, title: str, subtitle: str, made_from: str
) -> tuple[Path, Path]:
    """Writes sections as an HTML page and as Markdown, and returns both files.

    Args:
        out: Where they go.
        name: What they are called, without an ending.
        sections: What they say.
        title: The title.
        subtitle: The line below it.
        made_from: What they were made from.

    Raises:
        OSError: They cannot be written.
    """
    html, markdown = out / f"{name}.html", out / f"{name}.md"
    replace_file(html, as_html(title, subtitle, sections, made_from).encode())
    replace_file(markdown, as_markdown(title, sections, out).encode())
    return html, markdown


def make_sections(source: ExperimentFolder, figures: Path) -> tuple[tuple[Section, ...], Picture | Missing | None]:
    """Makes the sections of a report, with the table as a figure, which stands beside the page.

    Where no run has finished there is no table: the sections say so, why, and show the recipes.

    Args:
        source: The experiment.
        figures: The folder that receives the figures.
    """
    results = source.results
    if not results.rows:
        told = (short_section(results), notes_section(results), recipe_section(results))
        return tuple(each for each in told if each is not None), None
    table = picture(figures / "table.png", lambda: draw_table(results), what="Table", alt="The table.", caption="")
    sections = (
        short_section(results),
        table_section(results),
        comparison_section(results, figures),
        paper_section(results),
        *Gallery(source, figures).sections(),
        notes_section(results),
        recipe_section(results),
    )
    return tuple(each for each in sections if each is not None), table


def title_of(results: Results, *others: Results) -> tuple[str, str]:
    """Returns the title of a report and the line below it; `others` are of other targets."""
    modalities = results.modalities
    folds, seeds = len(results.folds), len(results.seeds)
    counted = f"{folds} {'fold' if folds == 1 else 'folds'}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    runs = [said for said in (results.protocol.label, results.selection) if said]  # nothing of no run
    compared = " and ".join(f"{each.metric} of {each.target}" for each in (results, *others))
    said = ", ".join((compared, counted, *runs))
    question = "Does fusing help?" if len(modalities) > 1 else "One modality:"
    return f"{question} {' + '.join(modalities)}", f"{said}; {results.time[:10]}"


def as_html(title: str, subtitle: str, sections: Sequence[Section], made_from: str) -> str:
    """Returns a report as one HTML page that says what it was made from; names are shown and never run."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    template = resources.files("fusionkit.report.pages").joinpath("page.html.j2").read_text(encoding="utf-8")

    def with_links(text: str) -> Markup:
        """Escapes text in which the address of a publication can be followed."""
        return Markup(re.sub(r"(https://doi\.org/[\w./()-]*\w)", r'<a href="\1">\1</a>', str(escape(text))))

    # The template has no blocks of its own that would need a loader, and every value is escaped.
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(template)
    return page.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        made_from=made_from,
        version=__version__,
        sentence_of=missing_sentence,
        with_links=with_links,
    )
