"""The command that compares under equal conditions."""

from __future__ import annotations

from typing import Annotated

import typer

from fusionkit.cli.costs import get_films_ready, print_cost, print_dry_run
from fusionkit.cli.output import (
    DeviceOption,
    JsonOption,
    OverridesArgument,
    print_json,
    print_paragraph,
    print_table,
    shipped_argument,
)
from fusionkit.cli.report import print_report
from fusionkit.cli.train import (
    OutOption,
    ProcessesOption,
    exit_if_runs_failed,
    told_when_stopped,
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)


def compare(
    file: Annotated[str, shipped_argument("FILE", "A comparison's path, or the name of a shipped one.")],
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
    from fusionkit.config.library import find_recipe
    from fusionkit.data.sources import datasets_shared
    from fusionkit.experiments.comparison import estimate_comparison, run_comparison
    from fusionkit.experiments.comparison_spec import load_comparison
    from fusionkit.experiments.experiment import check_beginnings
    from fusionkit.report.pages.experiment import write_report
    from fusionkit.report.text.comparison import HEADER, conditions, heading, last_line, ranking_rows
    from fusionkit.report.text.tables import NONE_FINISHED
    from fusionkit.storage.files import refuse_if_taken

    path, changes = find_recipe(file), tuple(overrides or ())
    with told_when_stopped(), datasets_shared():
        experiment, _ = load_comparison(path, changes)
        check_beginnings(experiment, out, tuned=None, pretraining=not dry_run)
        if dry_run:
            cost = estimate_comparison(path, out, processes=processes, overrides=changes)
            print_dry_run(experiment, cost, processes, as_json)
            return
        refuse_if_taken(out)
        get_films_ready(experiment.recipes.values(), processes, as_json)
        if not as_json:
            print_cost(estimate_comparison(path, out, processes=processes, overrides=changes))
        results = run_comparison(path, out, processes=processes, progress=not as_json, overrides=changes)
        written = write_report(out)
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
