"""The command that uses a trained network on new samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OverwriteOption,
    TrustOption,
    print_json,
    print_paragraph,
    write_examples,
)
from fusionkit.cli.trained.answer_table import print_answers, print_origin
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption
from fusionkit.cli.trained.samples import collect_inputs
from fusionkit.cli.trained.timeline import timeline
from fusionkit.cli.trained.timeline_files import EVERY, WINDOW, FigureOption, OverlayOption, SubtitlesOption

if TYPE_CHECKING:
    from fusionkit.inference.answers import Answer
    from fusionkit.inference.predictor import Predictor
    from fusionkit.inference.requests import Requests

SOME_FAILED = 1
_MOST_SHOWN = 20
"""Answers that are printed where no file is named."""


EXAMPLES = write_examples(
    "predict runs/first new.csv --out answers.csv",
    "predict runs/first film.mp4",
    "predict runs/first motion=a.npy sound=a.wav",
    "predict runs/experiment new.csv --variant N1 --out answers.csv",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(predict)


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, an experiment or an export.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="A table, a folder, files, or one sample as MODALITY=FILE ..."),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Receives the answers: .csv, .jsonl or .parquet.")
    ] = None,
    variant: VariantOption = None,
    fold: FoldOption = None,
    seed: SeedOption = None,
    branch: BranchOption = None,
    branches: Annotated[bool, typer.Option("--branches", help="Answer by every trained branch as well.")] = False,
    level: Annotated[
        float | None,
        typer.Option(
            "--set", metavar="SHARE", help="Sets or intervals that hold the truth in this share, such as 0.9."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FOLDER", help="Where relative paths in a table start; its own folder if not."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples of a batch.")] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=0, help="Processes that read and prepare beside this one.")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", metavar="SECONDS", help="Answer over time instead, every so many seconds; see timeline."
        ),
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="SECONDS", help="Seconds that each of these answers is of.")
    ] = None,
    figure: FigureOption = None,
    vtt: SubtitlesOption = None,
    overlay: OverlayOption = None,
    overwrite: OverwriteOption = False,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict for new samples: a table, a folder of files, or single files.

    A sample that cannot be used is a row with the reason, and the status is 1 then. Started again with the same
    options it goes on where it was stopped. With --every, --window, --figure, --vtt or --overlay it answers over time,
    as `fusionkit timeline` does.
    """
    from fusionkit.errors import RunError
    from fusionkit.inference.answer_file import check_answer_path
    from fusionkit.inference.load import load

    if any(each is not None for each in (every, window, figure, vtt, overlay)):
        _refuse_beside_every({"--root": root, "--batch-size": batch_size, "--processes": processes}, level)
        timeline(
            run,
            inputs,
            every=EVERY if every is None else every,
            window=WINDOW if window is None else window,
            out=out,
            figure=figure,
            vtt=vtt,
            overlay=overlay,
            variant=variant,
            fold=fold,
            seed=seed,
            branch=branch,
            branches=branches,
            overwrite=overwrite,
            plugins=plugins,
            as_json=as_json,
        )
        return
    with say_when_stopped(goes_on=out is not None):
        if out is not None:
            check_answer_path(out)
            if out.exists() and not overwrite:
                raise RunError(f"{out}: exists; give --overwrite, or another file")
        predictor = load(run, variant=variant, fold=fold, seed=seed, branch=branch, plugins=tuple(plugins or ()))
        samples = collect_inputs(inputs, predictor.inputs)
        requests = predictor.request(samples, batch_size=batch_size, workers=processes, root=root)
        if out is None:
            failed = _show(predictor, requests, branches=branches, level=level, as_json=as_json)
        else:
            failed = _write(predictor, requests, out, branches=branches, level=level, quiet=as_json)
            summary: dict[str, Any] = {"answers": len(requests), "failed": failed, "file": str(out)}
            summary["renamed"] = requests.renamed
            if level is not None:
                summary["calibrated_on"] = predictor.calibrator.origin
            if as_json:
                print_json(summary)
            else:
                print_origin(predictor, level)
                typer.echo(f"{out}: {len(requests)} answers{f', {failed} without one' if failed else ''}")
        if requests.renamed and not as_json:
            print_paragraph(
                f"{requests.renamed} of {len(requests)} samples have the id of an earlier one: a number is behind it, "
                "and their notes say whose it is."
            )
    if failed:
        raise typer.Exit(SOME_FAILED)


def _refuse_beside_every(options: Mapping[str, object], level: float | None) -> None:
    """Refuses options that mean nothing of one recording over time."""
    from fusionkit.errors import FusionKitError

    if level is not None:
        raise FusionKitError("--set: was calibrated for whole samples, not for their windows; leave it out")
    if given := [name for name, value in options.items() if value is not None]:
        raise FusionKitError(f"{', '.join(given)}: means nothing for answers over time, which are of one sample")


def _write(
    predictor: Predictor, requests: Requests, out: Path, *, branches: bool, level: float | None, quiet: bool
) -> int:
    """Writes answers to a file, from where it was stopped; returns how many samples could not be used."""
    from fusionkit.execution.workers import show_progress
    from fusionkit.inference.answer_file import AnswerFile

    identity = {"networks": predictor.identity, "samples": requests.identity, "branches": branches, "level": level}
    file = AnswerFile(out, predictor.list_columns(branches=branches, level=level), identity)
    start = requests.count_batches(file.count_kept())
    kept = requests.count_samples(start)
    file.begin(kept)
    with show_progress("samples", len(requests) - kept, kept, shown=not quiet) as advance:
        for answers in predictor.answer(requests, branches=branches, start=start, level=level):
            file.append(answers)
            for answer in answers:
                advance(f"{answer.id}: {answer.failure}" if answer.failure else "")
    return file.finish()


def _show(predictor: Predictor, requests: Requests, *, branches: bool, level: float | None, as_json: bool) -> int:
    """Prints answers, as many as a person reads; returns how many samples could not be used."""
    from fusionkit.errors import FusionKitError
    from fusionkit.inference.answers import make_json_line

    if not as_json and len(requests) > _MOST_SHOWN:
        raise FusionKitError(f"{len(requests)} samples are too many to show; give --out FILE, or --json")
    failed, shown = 0, list["Answer"]()
    for answers in predictor.answer(requests, branches=branches, level=level):
        failed += sum(bool(answer.failure) for answer in answers)
        if as_json:
            typer.echo("".join(make_json_line(answer.plain()) for answer in answers), nl=False)
        else:
            shown += answers
    if as_json:
        return failed
    if failed and len(requests) == 1:  # a table of nothing would stand above the reason
        typer.echo(f"fusionkit: {requests.locate(shown[0].failure)}", err=True)
    else:
        print_answers(predictor, shown)
        print_origin(predictor, level)
    return failed
