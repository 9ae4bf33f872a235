"""The command that looks into finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    TrustOption,
    open_console,
    print_json,
    print_paragraph,
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(say_when_stopped(goes_on=False)(diagnose))


def diagnose(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Finished runs, or a folder of them such as runs/VARIANT."),
    ],
    alone: Annotated[
        list[Path] | None,
        typer.Option(
            "--alone", metavar="RUN", help="Runs of networks trained alone, such as late fusion's; may be repeated."
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where the page goes; the run, or the one folder, if not."),
    ] = None,
    device: DeviceOption = None,
    plugins: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what each modality of a finished run is worth, and what training together did to it.

    Nothing is trained but linear heads. Several runs must be of one variant, over folds and seeds.
    """
    from fusionkit.config.trust import allow
    from fusionkit.data.sources import Datasets
    from fusionkit.errors import RunError
    from fusionkit.evaluation.diagnosis import check_recipes, find_runs, merge, open_separate
    from fusionkit.evaluation.diagnosis import diagnose as diagnose_run
    from fusionkit.evaluation.diagnosis.folds import write_merged
    from fusionkit.report.pages.diagnosis import write_diagnosis
    from fusionkit.report.text.diagnosis import diagnosis_words
    from fusionkit.storage.records.diagnosis import Diagnosis
    from fusionkit.storage.records.document import refuse_newer, save_document
    from fusionkit.storage.run_folder import RunFolder

    allow(*(plugins or ()))
    found = find_runs(runs)
    folder = out or (runs[0] if len(runs) == 1 else None)
    if folder is None:
        raise RunError(f"{len(found)} runs: say with --out FOLDER where the page of all of them goes")
    check_recipes({str(run.path): run.recipe.plain() for run in found})
    for each in {*(run.path for run in found), folder}:
        refuse_newer(Diagnosis, RunFolder(each).diagnosis_file)
    datasets = Datasets()
    separate = [open_separate(run, datasets) for run in find_runs(alone or ())]
    diagnoses = []
    for run in found:
        diagnoses.append(diagnose_run(run, separate, device=device, datasets=datasets))
        save_document(run.diagnosis_file, diagnoses[-1])
    merged = merge(diagnoses)
    if folder != found[0].path or len(found) > 1:
        write_merged(folder, merged)
    written = write_diagnosis(merged, folder)
    if as_json:
        print_json(merged.plain())
        return
    for sentence in diagnosis_words(merged):
        print_paragraph(f"- {sentence}")
    for note in merged.notes:
        print_paragraph(f"Note: {note}")
    open_console().print(f"Open this page: {written.html}", soft_wrap=True)
