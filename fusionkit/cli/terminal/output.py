"""Results as they are printed: tables for people, JSON for machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusionkit.cli.terminal.columns import GAP, allot_widths, split_columns

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Changes to the recipe, such as train.epochs=5."),
]


def _use_device(context: typer.Context, name: str | None) -> None:
    """Computes on the device until the command has ended; the processes that it starts do as well."""
    if name is None or context.resilient_parsing:
        return
    from fusionkit.storage.environment import use_device

    context.with_resource(use_device(name))


DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", callback=_use_device, help="Where to compute, such as cpu; a GPU where there is one if not."
    ),
]
"""Option of every command that computes; its callback sets the device, so the command itself ignores the value."""

OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder that receives the results.")]
ProcessesOption = Annotated[
    int | None, typer.Option("--processes", min=1, help="Processes at the same time; one per core when left out.")
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="A module of your own components; may be repeated."),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="MODULE", help="Import it if the run lists it, whoever trained it; may be repeated."
    ),
]


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


def write_examples(*lines: str) -> str:
    """Writes the examples below the help of a command, each on a line of its own."""
    return "\n".join(["\b", "Examples:", *(f"  fusionkit {line}" for line in lines)])


def make_shipped_argument(metavar: str, said: str) -> Any:
    """Makes an argument that may be the name of a shipped recipe, which the shell completes."""

    def complete(typed: str) -> list[str]:
        from fusionkit.config.shipped_recipes import list_shipped_recipes

        return [name for name in list_shipped_recipes() if name.startswith(typed)]

    return typer.Argument(metavar=metavar, help=said, autocompletion=complete)


def open_console() -> Console:
    """Opens the terminal; 80 columns where the output is no terminal and COLUMNS does not say otherwise."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    return Console(width=width, highlight=False)


def count_processes() -> int:
    """Counts the processes that ``torchrun`` or ``fabric run`` started to train together."""
    launched = {"TORCHELASTIC_RUN_ID", "LT_CLI_USED"} & os.environ.keys()
    return int(os.environ.get("WORLD_SIZE", "1")) if launched else 1


def speaks() -> bool:
    """Tells whether this process says what all say: of those that train together, the first of each machine."""
    return count_processes() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def print_paragraph(text: str) -> None:
    """Prints words, broken between them."""
    open_console().print(text, markup=False)


def print_json(value: Any) -> None:
    """Prints a record or plain data as strict JSON, a number that is not finite as null."""
    from pydantic_core import to_json  # not at the top: it would be a sixth of the time of --help

    typer.echo(to_json(value, indent=2, inf_nan_mode="null", fallback=str).decode())


def print_table(
    title: str,
    columns: Sequence[str],
    groups: Iterable[Iterable[Sequence[str]]],
    right: Iterable[int] = (),
    whole: Iterable[int] = (),
) -> None:
    """Prints a table whose words are never broken: where it is too wide, some columns first and the others below.

    Args:
        title: What stands above it; nothing when empty.
        columns: Headings. The first column names the rows and stands in every part.
        groups: Groups of rows of cells, with a line between one group and the next.
        right: Positions of the columns that hold numbers.
        whole: Positions of the columns whose cells are never broken into lines; those of numbers never are.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows, terminal, numbers = [list(group) for group in groups], open_console(), set(right)
    unbroken = {*numbers, *whole}
    least, most = [], []
    for place, heading in enumerate(columns):
        cells = [row[place] for group in rows for row in group]
        words = [word for cell in (heading, *(() if place in unbroken else cells)) for word in cell.split()]
        least.append(max(map(cell_len, [*words, *(cells if place in unbroken else ())]), default=0))
        most.append(max(map(cell_len, [heading, *cells])))
    for part, places in enumerate(split_columns(least, terminal.width)):
        table = Table(
            title=Text(title) if title and not part else None,
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, GAP - 1, 0, 0),
        )
        table.title_justify, table.title_style = "left", "bold"
        widths = allot_widths([least[place] for place in places], [most[place] for place in places], terminal.width)
        for place, width in zip(places, widths, strict=True):
            justify: Literal["left", "right"] = "right" if place in numbers else "left"
            table.add_column(Text(columns[place]), justify=justify, width=width, overflow="fold")
        for group in rows:
            table.add_section()
            for row in group:
                table.add_row(*(Text(row[place]) for place in places))
        if part:
            terminal.print()
        terminal.print(table)
