"""The house as it is: rooms and floors, read from the code and from the contract in pyproject.toml, and their picture.

`make pictures` writes docs/pictures/house.svg and the table of rooms in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fusionkit"

BEGINS, ENDS = "<!-- rooms: written by `make pictures` -->", "<!-- end of rooms -->"

FLOOR, ROOM, GAP, WIDTH = 1.0, 0.78, 0.12, 10.0
INK, FAINT, LINES, PAPER = "#1A1A1A", "#6B6B6B", "#0072B2", "#EAF1F6"


def floors() -> list[list[str]]:
    """Returns the rooms floor by floor, from the top, as the contract of import-linter has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (house,) = [each for each in contracts if each["type"] == "layers"]
    return [[room.strip().removeprefix("fusionkit.") for room in line.split("|")] for line in house["layers"]]


def job_of(room: str) -> str:
    """Returns the first line of a room's docstring: what it is there for."""
    path = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0]


def rooms_within(room: str) -> list[str]:
    """Returns the packages directly below a room."""
    return sorted(file.parent.name for file in (PACKAGE / room).glob("*/__init__.py"))


def imports() -> Iterator[tuple[str, str]]:
    """Yields every import of one room by another, those within functions and those for types included."""
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in {"__init__", "__main__"}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "fusionkit":
                yield from ((room, alias.name) for alias in node.names if alias.name != room)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fusionkit."):
                target = str(node.module).split(".")[1]
                if target != room:
                    yield room, target


def imports_between_floors() -> Counter[tuple[int, int]]:
    """Returns how many imports lead from one floor to another, counted from the top."""
    floor_of = {room: floor for floor, line in enumerate(floors()) for room in line}
    return Counter((floor_of[importing], floor_of[imported]) for importing, imported in imports())


def draw_house() -> Figure:
    """Draws the floors, in every room its job and the rooms within, and beside them the imports from floor to floor.

    The lines at the left start at the floor that imports and end in a dot at the floor that is imported; the more
    imports there are, the wider they are.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.patches import Arc, FancyBboxPatch

    storeys = floors()
    figure = Figure(figsize=(9.2, 0.66 * len(storeys) + 0.3), facecolor="white")
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    heights = [-FLOOR * floor for floor in range(len(storeys))]
    for (upper, lower), count in sorted(imports_between_floors().items()):
        top, bottom = heights[upper], heights[lower]
        arc = Arc((-0.25, (top + bottom) / 2), 0.34 * (top - bottom), top - bottom, theta1=90, theta2=270)
        arc.set(color=LINES, linewidth=0.3 + 0.22 * count**0.5, alpha=0.45, gid=f"imports {upper} {lower}")
        axes.add_patch(arc)
        axes.plot([-0.25], [bottom], marker="o", markersize=2.5, color=LINES)
    for middle, line in zip(heights, storeys, strict=True):
        width = (WIDTH - GAP * (len(line) - 1)) / len(line)
        for place, room in enumerate(line):
            left = place * (width + GAP)
            box = FancyBboxPatch((left, middle - ROOM / 2), width, ROOM, boxstyle="round,pad=0,rounding_size=0.06")
            box.set(facecolor=PAPER, edgecolor=FAINT, linewidth=0.8)
            axes.add_patch(box)
            axes.text(left + 0.12, middle + 0.17, room, fontsize=10.5, fontweight="bold", color=INK, va="center")
            within = " · ".join(rooms_within(room))
            if within:
                axes.text(left + width - 0.12, middle + 0.17, within, fontsize=7, color=FAINT, ha="right", va="center")
            axes.text(left + 0.12, middle - 0.17, job_of(room).rstrip("."), fontsize=7.5, color=INK, va="center")
    axes.set_xlim(-2.6, WIDTH + 0.1)
    axes.set_ylim(-FLOOR * (len(storeys) - 1) - 0.6, 0.6)
    return figure


def save_house(path: Path) -> Path:
    """Writes the picture as SVG whose text is text: the same code gives the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "fusionkit", "svg.fonttype": "none", "font.family": "sans-serif"}):
        draw_house().savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return path


def table_of_rooms() -> str:
    """Returns the rooms as a Markdown table, a row per floor, from the top to the ground."""
    lines = ["| Room | Job | Rooms within |", "| --- | --- | --- |"]
    for line in floors():
        cells = [
            (f"`{room}`", job_of(room), ", ".join(f"`{each}`" for each in rooms_within(room)) or "-") for room in line
        ]
        lines.append("| " + " | ".join("<br>".join(column) for column in zip(*cells, strict=True)) + " |")
    return "\n".join(lines) + "\n"


def write_table(path: Path) -> Path:
    """Puts the table of rooms between its two marks in a page."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGINS, 1)
    after = rest.split(ENDS, 1)[1]
    path.write_text(f"{before}{BEGINS}\n{table_of_rooms()}{ENDS}{after}", encoding="utf-8")
    return path
