"""The command that compares under equal conditions."""

from __future__ import annotations

from typing import Annotated

import typer

from fusionkit.cli.experiment import exit_if_runs_failed, perform
from fusionkit.cli.report import print_report
from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OutOption,
    OverridesArgument,
    ProcessesOption,
    make_shipped_argument,
    print_json,
    print_paragraph,
    print_table,
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)


def compare(
    file: Annotated[str, make_shipped_argument("FILE", "A comparison's path, or the name of a shipped one.")],
    out: OutOption,
    *,
    overrides: OverridesArgument = None,
    processes: ProcessesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the cost; train nothing.")] = False,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare variants with equal budget and equal tuning, and say which differ by more than noise.

    In every fold each variant is tuned inside the training part. Started again it goes on where it was stopped; with
    variants added it runs those alone.
    """
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.experiments import open_comparison
    from fusionkit.report.text.comparison import HEADER, conditions, heading, last_line, ranking_rows
    from fusionkit.report.text.tables import NONE_FINISHED

    with say_when_stopped():
        study = open_comparison(find_recipe(file), out, tuple(overrides or ()))
        done = perform(study, processes, as_json, dry_run=dry_run)
    if done is None:
        return
    results, written = done
    if as_json:
        print_json(results.plain())
    else:
        if results.rows:
            print_table(heading(results), HEADER, [ranking_rows(results)], right=range(1, len(HEADER)))
            typer.echo()
            for sentence in conditions(results):
                print_paragraph(sentence)
        print_report(written)
        typer.echo()
        print_paragraph(last_line(results) if results.rows else f"{NONE_FINISHED}, so nothing is compared.")
    exit_if_runs_failed(results)
