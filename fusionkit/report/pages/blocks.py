"""A report before it is HTML or Markdown: sections of paragraphs, tables, figures and text to be copied."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.errors import RunError
from fusionkit.report.figures.style import DPI, save_figure
from fusionkit.report.text.tables import markdown_heading, markdown_line, markdown_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Paragraph:
    """Words."""

    text: str
    kind: str = "paragraph"


@dataclass(frozen=True)
class Points:
    """Sentences below each other."""

    sentences: tuple[str, ...]
    kind: str = "points"


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column names the row, the others hold numbers unless they are `words`."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[str] = frozenset()
    words: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure that was drawn.

    Args:
        file: Its PNG file.
        alt: What it shows, for who cannot see it.
        caption: What a reader must know.
        width: Width in the pixels of a page.
        data: The file's bytes in base64.
    """

    file: Path
    alt: str
    caption: str
    width: int
    data: str
    kind: str = "picture"


@dataclass(frozen=True)
class Missing:
    """A figure that could not be drawn, and why."""

    what: str
    why: str
    kind: str = "missing"


@dataclass(frozen=True)
class Code:
    """Text to be copied."""

    text: str
    kind: str = "code"


Block = Paragraph | Points | Table | Picture | Missing | Code


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        title: Its heading.
        blocks: What stands in it.
        folded: Parts that a reader opens, by heading.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: Mapping[str, tuple[Block, ...]]

    @property
    def anchor(self) -> str:
        """The name of the section in links within the page."""
        return "-".join("".join(each if each.isalnum() else " " for each in self.title.lower()).split())


def section(title: str, *blocks: Block, folded: Mapping[str, Sequence[Block]] | None = None) -> Section:
    """Makes a section of these blocks."""
    return Section(title, blocks, {name: tuple(of) for name, of in (folded or {}).items()})


def picture(file: Path, draw: Callable[[], Figure], *, what: str, alt: str, caption: str) -> Picture | Missing:
    """Draws a figure into a file; where that is impossible, a sentence says why."""
    try:
        figure = draw()
    except RunError as error:
        return Missing(what, str(error))
    save_figure(figure, file)
    content = file.read_bytes()
    pixels = int.from_bytes(content[16:20], "big")  # the width in a PNG file's first chunk
    return Picture(file, alt, caption, round(pixels * 96 / DPI), base64.b64encode(content).decode())


def as_markdown(title: str, sections: Sequence[Section], folder: Path) -> str:
    """Returns the report as Markdown; figures are named relative to the folder that it will stand in."""
    lines = [f"# {markdown_text(title)}", ""]
    for each in sections:
        lines += [f"## {markdown_text(each.title)}", ""]
        lines += [line for block in each.blocks for line in _lines(block, folder)]
        for name, blocks in each.folded.items():
            lines += [f"### {markdown_text(name)}", ""]
            lines += [line for block in blocks for line in _lines(block, folder)]
    return "\n".join(lines).rstrip() + "\n"


def _lines(block: Block, folder: Path) -> list[str]:
    match block:
        case Paragraph(text):
            return [markdown_text(text), ""]
        case Points(sentences):
            return [*(f"- {markdown_text(sentence)}" for sentence in sentences), ""]
        case Table(header, rows):
            return [*markdown_heading(header), *map(markdown_line, rows), ""]
        case Picture(file, alt, caption):
            alt = markdown_text(alt).replace("[", "(").replace("]", ")")
            return [f"![{alt}]({file.relative_to(folder).as_posix()})", "", markdown_text(caption), ""]
        case Missing(what, why):
            return [f"*{markdown_text(missing_sentence(what, why))}*", ""]
        case Code(text):
            return ["```", *text.replace("```", "` ` `").splitlines(), "```", ""]


def missing_sentence(what: str, why: str) -> str:
    """Says what stands in the place of a figure."""
    return f"{what}: not drawn, because {why}."
