"""The command that holds the figures of a card against the stored weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import DeviceOption, JsonOption, TrustOption, print_json, print_table
from fusionkit.errors import shorten

DOES_NOT_HOLD = 1
MOST_BROKEN = 30
"""So many statements that do not hold are printed: a screenful."""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(say_when_stopped(goes_on=False)(verify))


def verify(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A metrics.json, or the run folder that holds it.")],
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether the figures of a card hold.

    The stored weights are evaluated again; the status is 1 where a figure does not hold.
    """
    from fusionkit import evaluation
    from fusionkit.config.trust import allow

    allow(*(plugins or ()))
    verification = evaluation.verify(card)
    if as_json:
        print_json(verification.plain())
    elif verification.holds:
        typer.echo(f"{verification.card}: all {len(verification.findings)} statements hold")
    else:
        broken = verification.broken
        rows = [[shorten(str(cell), 200) for cell in (each.what, each.stated, each.found)] for each in broken]
        print_table("Statements that do not hold", ["what", "stated", "found"], [rows[:MOST_BROKEN]], whole=(0,))
        if len(rows) > MOST_BROKEN:
            typer.echo(f"and {len(rows) - MOST_BROKEN} more; --json lists all of them")
        count = f"{len(rows)} of {len(verification.findings)}"
        typer.echo(f"{verification.card}: {count} statements do not hold")
    if not verification.holds:
        raise typer.Exit(DOES_NOT_HOLD)
