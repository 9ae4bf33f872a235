"""The command that answers to a recording over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OverwriteOption,
    TrustOption,
    print_json,
    print_paragraph,
    print_table,
    write_examples,
)
from fusionkit.cli.trained.answer_table import describe_prediction
from fusionkit.cli.trained.choice import BranchOption, FoldOption, SeedOption, VariantOption
from fusionkit.cli.trained.samples import collect_inputs
from fusionkit.cli.trained.timeline_files import (
    EVERY,
    WINDOW,
    EveryOption,
    FigureOption,
    OverlayOption,
    SubtitlesOption,
    TimelineFiles,
    WindowOption,
)

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor
    from fusionkit.inference.timeline.records import Timeline

NO_ANSWER = 1


EXAMPLES = write_examples(
    "timeline runs/first film.mp4 --figure film.png --vtt film.vtt",
    "timeline runs/first motion=a.npy sound=a.wav --every 0.5",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(timeline)


def timeline(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, an experiment or an export.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="A film or another file, or one sample as MODALITY=FILE ...")
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
    every: EveryOption = EVERY,
    window: WindowOption = WINDOW,
    figure: FigureOption = None,
    vtt: SubtitlesOption = None,
    overlay: OverlayOption = None,
    overwrite: OverwriteOption = False,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict over time: every 0.2 seconds of a film or recording, of the 3 seconds before."""
    from fusionkit.inference.load import load

    files = TimelineFiles(out, figure, vtt, overlay, overwrite)
    with say_when_stopped(goes_on=False):
        files.check()
        predictor = load(run, variant=variant, fold=fold, seed=seed, branch=branch, plugins=tuple(plugins or ()))
        sample = collect_inputs(inputs, predictor.inputs)
        answer_over_time(predictor, sample, files, every=every, window=window, branches=branches, as_json=as_json)


def answer_over_time(
    predictor: Predictor,
    inputs: object,
    files: TimelineFiles,
    *,
    every: float = 0.2,
    window: float = 3.0,
    branches: bool = False,
    as_json: bool = False,
) -> None:
    """Answers to a recording over time, writes what is asked for, and prints a table where no file is named.

    Args:
        predictor: What answers.
        inputs: One sample.
        files: The files to write, checked before.
        every: Seconds from one answer to the next.
        window: Seconds that each answer is of.
        branches: Answer by every trained branch as well.
        as_json: Print JSON.

    Raises:
        DataError: The inputs are none or several samples, or cannot be used.
        RunError: A file cannot be written, or there is nothing to draw.
        typer.Exit: No instant has an answer; the status is 1.
    """
    made = predictor.timeline(inputs, every=every, window=window, branches=branches)
    answered = sum(not instant.answer.failure for instant in made)
    written = _write_table(made, files) + (_draw(made, files, quiet=as_json) if answered else [])
    if as_json:
        if files.out is None:
            print_json(made.plain())
        else:
            print_json({"answers": len(made), "failed": len(made) - answered, "files": list(map(str, written))})
    else:
        if files == TimelineFiles(overwrite=files.overwrite):
            print_timeline(made)
        for note in made.notes:
            print_paragraph(f"{made.id}: {note}")
        failed = f", {len(made) - answered} without one" if answered < len(made) else ""
        typer.echo(f"{made.id}: {len(made)} answers in {made.duration:.2f} s{failed}")
        for path in written:
            typer.echo(str(path))
    if not answered:
        typer.echo(f"fusionkit: {made.id}: no instant has an answer: {made[-1].answer.failure}", err=True)
        raise typer.Exit(NO_ANSWER)


def print_timeline(made: Timeline) -> None:
    """Prints a row per instant; of several with the same winner the first."""
    rows, before = [], None
    for instant in made:
        said = instant.answer
        winners = (*(of.prediction for of in said.targets.values()), *said.present, said.failure)
        if winners == before and not any(isinstance(of.prediction, float) for of in said.targets.values()):
            continue
        before = winners
        cells = [describe_prediction(said, target) for target in made.targets]
        rows.append([f"{instant.time:.2f}", *cells, ", ".join(said.present) or "nothing"])
    print_table(f"{made.id}, from when on", ["seconds", *made.targets, "has"], [rows], right=[0])


def _write_table(made: Timeline, files: TimelineFiles) -> list[Path]:
    from fusionkit.inference.answer_file import write_answers

    if files.out is None:
        return []
    write_answers(files.out, ["time", *made.columns], made.instants)
    return [files.out]


def _draw(made: Timeline, files: TimelineFiles, *, quiet: bool) -> list[Path]:
    from fusionkit.execution.workers import show_progress
    from fusionkit.inference.timeline.overlay import write_overlay
    from fusionkit.report.figures.timeline import save_timeline

    if files.figure is not None:
        save_timeline(made, files.figure)
    if files.vtt is not None:
        made.to_vtt(files.vtt)
    if files.overlay is not None:
        seconds = max(1, round(made.duration))
        with show_progress("seconds", seconds, 0, shown=not quiet) as advance:
            shown = 0

            def tell(reached: float) -> None:
                nonlocal shown
                for _ in range(shown, min(seconds, int(reached))):
                    advance("")
                    shown += 1

            write_overlay(made, files.overlay, tell)
            tell(seconds)
    return [path for path in (files.figure, files.vtt, files.overlay) if path is not None]
