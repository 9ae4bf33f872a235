"""How results are printed: tables for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from fusionkit.environment import use_device

    context.with_resource(use_device(name))


DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", callback=_use_device, help="Where to compute, such as cpu; a GPU where there is one if not."
    ),
]
"""What a command takes that computes; it takes effect where it is read, so the command does nothing with it."""

PluginOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="A module of your own components; may be repeated."),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="Import it if the run lists it, whoever trained it; repeatable."),
]


def shipped_argument(metavar: str, said: str) -> Any:
    """An argument that may be the name of a shipped recipe, which the shell completes."""

    def complete(typed: str) -> list[str]:
        from fusionkit.shipped import shipped_recipes

        return [name for name in shipped_recipes() if name.startswith(typed)]

    return typer.Argument(metavar=metavar, help=said, autocompletion=complete)


def console() -> Console:
    """The terminal; 80 columns where the output is no terminal and COLUMNS does not say otherwise."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    return Console(width=width, highlight=False)


def processes() -> int:
    """How many processes ``torchrun`` or ``fabric run`` started to train together."""
    launched = {"TORCHELASTIC_RUN_ID", "LT_CLI_USED"} & os.environ.keys()
    return int(os.environ.get("WORLD_SIZE", "1")) if launched else 1


def speaks() -> bool:
    """Whether this process says what all say: of those that train together, the first of each machine."""
    return processes() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def print_paragraph(text: str) -> None:
    """Prints words, broken between them."""
    console().print(text, markup=False)


def print_json(value: Any) -> None:
    """Prints a record or plain data as strict JSON, a number that is not finite as null."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Records and mappings as plain data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def print_table(
    title: str,
    columns: Sequence[str],
    groups: Iterable[Iterable[Sequence[str]]],
    right: Iterable[int] = (),
    whole: Iterable[int] = (),
) -> None:
    """Prints a table.

    Args:
        title: What stands above it; nothing when empty.
        columns: Headings.
        groups: Groups of rows of cells, with a line between one group and the next.
        right: Positions of the columns that hold numbers.
        whole: Positions of the columns that are never broken; those of numbers never are.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    numbers, unbroken = set(right), {*right, *whole}
    table = Table(title=escape(title) or None, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.title_justify, table.title_style = "left", "bold"
    for position, name in enumerate(columns):
        number = position in numbers
        table.add_column(
            escape(name), justify="right" if number else "left", no_wrap=position in unbroken, overflow="fold"
        )
    for rows in groups:
        table.add_section()
        for row in rows:
            table.add_row(*map(escape, row))
    console().print(table)
