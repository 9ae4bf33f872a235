"""The command that runs an experiment, and the flow that it shares with comparisons and the demonstration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.report import print_report
from fusionkit.cli.terminal.costs import print_cost, print_dry_run
from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OutOption,
    OverridesArgument,
    ProcessesOption,
    make_shipped_argument,
    open_console,
    print_json,
    print_paragraph,
    print_table,
)

if TYPE_CHECKING:
    from fusionkit.experiments import Study
    from fusionkit.report.pages.experiment import Report
    from fusionkit.report.text.tables import TableText
    from fusionkit.storage.records.results import Results

RUNS_FAILED = 1


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(experiment)


def experiment(
    file: Annotated[str, make_shipped_argument("FILE", "An experiment's path, or the name of a shipped one.")],
    out: OutOption,
    *,
    overrides: OverridesArgument = None,
    processes: ProcessesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the cost; train nothing.")] = False,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train variants over folds and seeds, and compare them.

    What it will cost is printed first, from timed steps. Started again it goes on where it was stopped: finished runs
    are kept.
    """
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.experiments import open_experiment

    with say_when_stopped():
        study = open_experiment(find_recipe(file), out, tuple(overrides or ()))
        done = perform(study, processes, as_json, dry_run=dry_run)
    if done is not None:
        print_results(study, *done, as_json)


def perform(
    study: Study, processes: int | None, as_json: bool, *, dry_run: bool = False
) -> tuple[Results, Report] | None:
    """Says what an experiment or a comparison will cost, runs it and writes its report.

    Args:
        study: What was opened.
        processes: Runs at a time.
        as_json: Print JSON alone.
        dry_run: Stop after the cost.

    Returns:
        The results and the files of the report; None after the cost alone.
    """
    from fusionkit.report.pages.experiment import write_report
    from fusionkit.storage.locks import refuse_if_taken

    if dry_run:
        print_dry_run(study, processes, as_json)
        return None
    refuse_if_taken(study.out)
    for done in study.prepare(processes=processes, progress=not as_json):
        if not as_json and done.kept < len(done.records):
            print_paragraph(f"{len(done.records)} clips are prepared; {done.report} lists every departure\n")
    if not as_json:
        print_cost(study.cost(processes=processes))
    results = study.run(processes=processes, progress=not as_json)
    return results, write_report(study.out)


def print_results(study: Study, results: Results, written: Report, as_json: bool) -> None:
    """Prints the tables of an experiment's targets; ends with a status of its own where runs failed."""
    from fusionkit.report.text.tables import table_text
    from fusionkit.storage.experiment_folder import ExperimentFolder

    out, targets = study.out, study.experiment.targets
    found = [each for each in ExperimentFolder.open_targets(out) if each.results.target in targets]
    if as_json:
        each_target = {each.results.target: each.results.plain() for each in found}
        print_json(results.plain() if len(found) == 1 else each_target)
    else:
        texts = [table_text(each.results) for each in found]
        shared = [caption for caption in texts[0].captions if all(caption in text.captions for text in texts)]
        for each, text in zip(found, texts, strict=True):
            name = f".{each.part}" if each.part else ""
            last = each is found[-1]
            _print_table(text, [caption for caption in text.captions if caption not in shared or last])
            open_console().print(f"\nTable: {out / f'table{name}.md'}", soft_wrap=True)
            open_console().print(f"Everything as data: {out / f'results{name}.json'}\n", soft_wrap=True)
        print_report(written)
    exit_if_runs_failed(results)


def _print_table(text: TableText, captions: Sequence[str]) -> None:
    """Prints the table of a target, and what a reader must know of it."""
    if text.folds:
        print_table(text.title, text.header, [text.folds, text.summary], right=range(1, len(text.header)))
    else:
        print_paragraph(text.title)
    typer.echo()
    for caption in captions:
        print_paragraph(caption)


def exit_if_runs_failed(results: Results) -> None:
    """Ends with a status of its own where runs failed."""
    if results.failures:
        typer.echo(f"fusionkit: {len(results.failures)} runs failed; start it again to repeat them", err=True)
        raise typer.Exit(RUNS_FAILED)
