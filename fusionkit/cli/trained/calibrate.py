"""The command that calibrates a run: probabilities, and sets and intervals that hold the truth as often as said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    TrustOption,
    print_json,
    print_paragraph,
    print_table,
    write_examples,
)
from fusionkit.cli.trained.choice import TableGroupOption, TableRootOption

if TYPE_CHECKING:
    from fusionkit.storage.records.calibration import Calibration
    from fusionkit.storage.run_folder import RunFolder


EXAMPLES = write_examples(
    "calibrate runs/first",
    "calibrate runs/first --level 0.95 --no-novelty",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(say_when_stopped(goes_on=False)(calibrate))


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    *,
    level: Annotated[
        float,
        typer.Option(
            "--level", metavar="SHARE", help="How often sets and intervals shall hold the truth, between 0 and 1."
        ),
    ] = 0.9,
    novelty: Annotated[
        bool, typer.Option("--novelty/--no-novelty", help="Learn what samples of the training are like, too.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="TABLE", help="A labelled table to learn it on, in place of groups that were set aside."
        ),
    ] = None,
    group: TableGroupOption = None,
    root: TableRootOption = None,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calibrate a run: probabilities, and sets that hold the truth as often as said.

    It is learned on the groups that train.select=inner set aside, or on those of a new table, and measured on the test
    part. What is learned goes to calibration.json in the folder, and a figure of it to calibration.png; `fusionkit
    predict` uses it on request.
    """
    from fusionkit.config.trust import allow
    from fusionkit.errors import FusionKitError
    from fusionkit.evaluation.calibration import calibrate as calibrate_run
    from fusionkit.storage.calibration_file import locate_calibration
    from fusionkit.storage.run_folder import RunFolder

    allow(*(plugins or ()))
    if data is None and (given := [name for name, of in (("--group", group), ("--root", root)) if of is not None]):
        raise FusionKitError(f"{', '.join(given)}: only with --data")
    folder = RunFolder.open(run)
    calibration = calibrate_run(folder, level, table=data, group=group, root=root, novelty=novelty)
    figure = _draw(folder, calibration)
    if as_json:
        print_json(calibration.plain())
        return
    _print_calibration(calibration)
    if figure is not None:
        typer.echo(f"What was said beside what came true: {figure}")
    typer.echo(f"Everything as data: {locate_calibration(folder)}")


def _draw(folder: RunFolder, calibration: Calibration) -> Path | None:
    """Draws the figure into the folder; where nothing was measured there is none, nor that of one before."""
    from fusionkit.report.figures.reliability import draw_reliability
    from fusionkit.report.figures.style import save_figure
    from fusionkit.storage.calibration_file import locate_figure
    from fusionkit.storage.files import guard_write, put_in_place

    file = locate_figure(folder)
    if not calibration.curves:
        file.unlink(missing_ok=True)
        return None
    drawn = draw_reliability(calibration.curves)

    def write(path: Path) -> None:
        save_figure(drawn, path)

    guard_write(file, lambda: put_in_place(file, write))
    return file


def _print_calibration(calibration: Calibration) -> None:
    from fusionkit.report.text.calibration import headings_of, rows_of, sentences

    for target, of in calibration.branches[calibration.main].items():
        rows = rows_of(calibration, target)
        if rows:
            headings = headings_of(of.kind)
            what = "intervals" if of.kind == "numbers" else "sets"
            title = f"Target {target}, {calibration.main}: {what} of level {calibration.level:g} on the test part"
            print_table(title, headings, [rows], right=range(1, len(headings)))
            typer.echo()
    for sentence in sentences(calibration):
        print_paragraph(sentence)
