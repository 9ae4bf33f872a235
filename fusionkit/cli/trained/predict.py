"""The command that uses a trained network on new samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    TrustOption,
    print_json,
    print_paragraph,
    print_table,
)
from fusionkit.cli.trained.files import EVERY, WINDOW, FigureOption, OverlayOption, SubtitlesOption

if TYPE_CHECKING:
    from fusionkit.inference.answers import Answer
    from fusionkit.inference.predictor import Predictor
    from fusionkit.inference.requests import Requests

SOME_FAILED = 1
_MOST_SHOWN = 20
"""Answers that are printed where no file is named."""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(predict)


VariantOption = Annotated[str | None, typer.Option("--variant", help="Which variant of an experiment answers.")]
FoldOption = Annotated[
    str | None, typer.Option("--fold", help="Which fold of it; the networks of all folds answer together if not.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Which seed of it; those of all seeds if not.")]
BranchOption = Annotated[
    str | None, typer.Option("--branch", help="Which branch answers: fused, a modality, ensemble, 'ensemble (log)'.")
]


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of an experiment.")],
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
        Path | None, typer.Option("--root", help="Where relative paths in a table start; its own folder if not.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples of a batch.")] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=0, help="Processes that read and prepare; 0 for none beside.")
    ] = None,
    every: Annotated[
        float | None, typer.Option("--every", help="Answer over time instead, every so many seconds; see timeline.")
    ] = None,
    window: Annotated[float | None, typer.Option("--window", help="Seconds that each of these answers is of.")] = None,
    figure: FigureOption = None,
    vtt: SubtitlesOption = None,
    overlay: OverlayOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
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
        from fusionkit.cli.trained.timeline import timeline

        _refuse_beside_every({"--root": root, "--batch-size": batch_size, "--processes": processes})
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
        requests = predictor.request(
            collect_inputs(inputs), batch_size=batch_size, workers=_count_workers(predictor, processes), root=root
        )
        if out is None:
            failed = _show(predictor, requests, branches=branches, level=level, as_json=as_json)
        else:
            failed = _write(predictor, requests, out, branches=branches, level=level, quiet=as_json)
            summary: dict[str, Any] = {"answers": len(requests), "failed": failed, "file": str(out)}
            if as_json:
                print_json(summary)
            else:
                typer.echo(f"{out}: {len(requests)} answers{f', {failed} without one' if failed else ''}")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _refuse_beside_every(options: Mapping[str, object]) -> None:
    """Refuses options that mean nothing of one recording over time."""
    from fusionkit.errors import FusionKitError

    if given := [name for name, value in options.items() if value is not None]:
        raise FusionKitError(f"{', '.join(given)}: means nothing for answers over time, which are of one sample")


def collect_inputs(given: Sequence[str]) -> object:
    """Collects what a command line gives as samples: one path, one sample by modality, or several files.

    Raises:
        FusionKitError: Paths and MODALITY=FILE are mixed, a modality is given twice, or a table or folder is among
            several.
    """
    from fusionkit.data.recordings.table import TABLE_SUFFIXES
    from fusionkit.errors import FusionKitError

    named = [each.partition("=") for each in given if "=" in each and not Path(each).exists()]
    if named and len(named) < len(given):
        raise FusionKitError("INPUT: give either MODALITY=FILE of one sample, or paths, not both")
    if named:
        names = [name for name, _, _ in named]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise FusionKitError(f"INPUT: {', '.join(twice)} given twice; each modality of a sample has one file")
        return {name: file for name, _, file in named}
    if len(given) == 1:
        return given[0]
    several = [each for each in given if Path(each).is_dir() or Path(each).suffix.lower() in TABLE_SUFFIXES]
    if several:
        raise FusionKitError(f"INPUT: {several[0]} holds samples of its own; give one table or folder at a time")
    return list(given)


def _count_workers(predictor: Predictor, processes: int | None) -> int:
    """Counts the processes that read: films are prepared by all processors, all else by one beside the network."""
    from fusionkit.execution.workers import count_processors

    if processes is not None:
        return processes
    return count_processors() if predictor.inputs.films else 1


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
            typer.echo("".join(map(make_json_line, answers)), nl=False)
        else:
            shown += answers
    if not as_json:
        print_answers(predictor, shown)
    return failed


def print_answers(predictor: Predictor, answers: Sequence[Answer]) -> None:
    """Prints a table of answers, and below it what is to be known of single samples."""
    rows = []
    for answer in answers:
        said = [describe_prediction(answer, target) for target in predictor.targets]
        rows.append([answer.id, *said, ", ".join(answer.present)])
        for branch, of in answer.branches.items():
            told = [describe_prediction(answer, target, branch) for target in of]
            rows.append([f"  {branch}", *told, ""])
    print_table("", ["sample", *predictor.targets, "has"], [rows])
    for answer in answers:
        for note in answer.notes:
            print_paragraph(f"{answer.id}: {note}")
        if answer.failure:
            print_paragraph(f"{answer.id}: not answered: {answer.failure}")


def describe_prediction(answer: Answer, target: str, branch: str | None = None) -> str:
    """Describes an answer in a cell: the class with its probability, labels, or numbers; then its set or interval."""
    of = answer.targets if branch is None else answer.branches[branch]
    if target not in of:
        return "-"
    said = of[target]
    known = "" if said.set is None else f", or of {{{', '.join(said.set)}}}"
    if said.interval is not None:
        known = f", {'; '.join(f'{low:.4g} to {high:.4g}' for low, high in said.interval)}"
    if isinstance(said.prediction, tuple):
        words = (f"{one:.4g}" if isinstance(one, float) else one for one in said.prediction)
        return (", ".join(words) or "none") + known
    if isinstance(said.prediction, float):
        return f"{said.prediction:.4g}{known}"
    return f"{said.prediction} ({100 * said.probabilities[said.prediction]:.0f} %){known}"
