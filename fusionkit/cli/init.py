"""The command that drafts a recipe and an experiment from a table or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    JsonOption,
    OverwriteOption,
    open_console,
    print_json,
    print_paragraph,
    write_examples,
)

EXAMPLES = write_examples(
    "init samples.csv",
    "init samples.csv --target wear --group machine --out drafts",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(say_when_stopped(goes_on=False)(init))


def init(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A table (csv, tsv, jsonl, parquet), or a folder of files.")
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The folder that receives the recipe and the experiment.")
    ] = Path(),
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="COLUMN", help="A column to predict; may be repeated. By its name if not."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="COLUMN", help="The person or machine of a row; by name or values if not."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="A column to leave out; may be repeated.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="FOLDER", help="Where paths in the table start; looked for if not.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draft a recipe and an experiment from a table or a folder of your own.

    What was seen in it and what was assumed is printed, and stands in the recipe, to be changed where it is wrong.
    """
    from fusionkit.experiments.drafts.draft import make_draft
    from fusionkit.experiments.drafts.plan import Wishes

    draft = make_draft(table, out, Wishes(tuple(targets or ()), group, tuple(ignore or ()), root))
    written = draft.write(overwrite=overwrite)
    remarks = list(draft.plan.remarks)
    experiment = draft.experiment_file
    if as_json:
        files = {"recipe": str(draft.recipe_file), "experiment": None if experiment is None else str(experiment)}
        print_json({**files, "written": list(map(str, written)), "remarks": remarks})
        return
    for remark in remarks:
        print_paragraph(f"- {remark}")
    console, stem = open_console(), draft.recipe_file.stem
    console.print("\nWritten: " + ", ".join(map(str, written)), soft_wrap=True, markup=False)
    console.print("Change there what is wrong. Then:\n", markup=False)
    if draft.plan.prepare is not None:
        console.print(f"  fusionkit prepare {draft.recipe_file}", soft_wrap=True, markup=False)
    console.print(f"  fusionkit check {draft.recipe_file}", soft_wrap=True, markup=False)
    console.print(f"  fusionkit train {draft.recipe_file} --out runs/{stem}", soft_wrap=True, markup=False)
    if experiment is not None:
        console.print(f"  fusionkit experiment {experiment} --out runs/{stem}_experiment", soft_wrap=True, markup=False)
