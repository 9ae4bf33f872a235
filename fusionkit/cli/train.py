"""Commands that train and evaluate: train, evaluate, experiment, verify."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.costs import get_films_ready, print_cost, print_dry_run
from fusionkit.cli.output import (
    DeviceOption,
    JsonOption,
    OverridesArgument,
    TrustOption,
    console,
    print_json,
    print_paragraph,
    print_table,
    shipped_argument,
    speaks,
)
from fusionkit.cli.profile import make_profile
from fusionkit.cli.report import print_report
from fusionkit.errors import shortened

if TYPE_CHECKING:
    from fusionkit.report.text.tables import TableText
    from fusionkit.storage.card import Card
    from fusionkit.storage.documents import Figure
    from fusionkit.storage.results import Results

DOES_NOT_HOLD = RUNS_FAILED = 1
MOST_BROKEN = 30
"""So many statements that do not hold are printed: a screenful."""

OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder that receives the results.")]
ProcessesOption = Annotated[
    int | None, typer.Option("--processes", min=1, help="Processes at the same time; one per core when left out.")
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    stoppable = told_when_stopped(goes_on=False)
    for command in (train, stoppable(evaluate), experiment, stoppable(verify)):
        app.command()(command)


def train(
    recipe: Annotated[str, shipped_argument("RECIPE", "A recipe's path, or the name of a shipped one.")],
    out: OutOption,
    *,
    overrides: OverridesArgument = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Watch some steps, and say where their time goes; trains the same.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="The checkpoint of the run to go on from, instead of the last."),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe, or resume it, and evaluate it.

    The folder holds the run afterwards: weights, log, metrics.json and all that it takes to make it again.
    """
    from fusionkit import evaluation, training
    from fusionkit.config.library import find_recipe
    from fusionkit.data.sources import datasets_shared
    from fusionkit.nn.distributed import part_from_others
    from fusionkit.report.figures.curves import draw_learning_curves
    from fusionkit.report.figures.style import save_figure
    from fusionkit.storage.run_folder import RunFolder

    path, changes = find_recipe(recipe), tuple(overrides or ())
    watching = make_profile(RunFolder(out), as_json) if profile else None
    with told_when_stopped(), datasets_shared():
        run = training.train(path, out, changes, resume=resume or True, progress=not as_json, profile=watching)
        if not part_from_others():
            return
        if watching is not None and not watching.stages and not as_json:
            print_paragraph("There was nothing to profile: no step of this run is left.\n")
        card = evaluation.evaluate(run)
    save_figure(draw_learning_curves(run.read_log()), run.curves_file)
    _print_card(card, run.card_file, as_json)
    if not as_json:
        console().print(f"Learning curves: {run.curves_file}", soft_wrap=True)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a finished run, and write its metrics.json."""
    from fusionkit import evaluation
    from fusionkit.config.trust import allow
    from fusionkit.storage.run_folder import RunFolder

    allow(*(plugins or ()))
    folder = RunFolder.open(run)
    _print_card(evaluation.evaluate(folder), folder.card_file, as_json)


def experiment(
    file: Annotated[str, shipped_argument("FILE", "An experiment's path, or the name of a shipped one.")],
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
    from fusionkit.config.library import find_recipe

    perform_experiment(find_recipe(file), out, processes, tuple(overrides or ()), as_json, dry_run=dry_run)


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
        rows = [[shortened(str(cell), 200) for cell in (each.what, each.stated, each.found)] for each in broken]
        print_table("Statements that do not hold", ["what", "stated", "found"], [rows[:MOST_BROKEN]], whole=(0,))
        if len(rows) > MOST_BROKEN:
            typer.echo(f"and {len(rows) - MOST_BROKEN} more; --json lists all of them")
        count = f"{len(rows)} of {len(verification.findings)}"
        typer.echo(f"{verification.card}: {count} statements do not hold")
    if not verification.holds:
        raise typer.Exit(DOES_NOT_HOLD)


@contextmanager
def told_when_stopped(*, goes_on: bool = True) -> Iterator[None]:
    """Within it Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 end in a sentence that says what goes on.

    Every process that was started within it ends, too.
    """
    from fusionkit.execution.workers import STOPPING

    listens = threading.current_thread() is threading.main_thread()  # signals reach no other
    signals = [each for each in STOPPING if each != signal.SIGINT] if listens else []
    previous = {each: signal.signal(each, _leave) for each in signals}
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if speaks():
            typer.echo(f"fusionkit: stopped{'; the same command goes on where it was' if goes_on else ''}", err=True)
        raise
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def perform_experiment(
    path: Path,
    out: Path,
    processes: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    *,
    dry_run: bool = False,
) -> None:
    """Says what an experiment will cost, runs it, and reports.

    Args:
        path: The experiment file.
        out: The folder of the runs.
        processes: Runs at a time.
        overrides: ``key.path=value``.
        as_json: Print the results as JSON, and nothing else.
        dry_run: Stop after the cost.
    """
    from fusionkit.data.sources import datasets_shared
    from fusionkit.experiments import estimate_experiment, load_experiment, run_experiment
    from fusionkit.experiments.experiment import check_beginnings
    from fusionkit.report.pages.experiment import write_report
    from fusionkit.report.text.tables import table_text
    from fusionkit.storage.experiment_folder import ExperimentFolder
    from fusionkit.storage.files import refuse_if_taken

    with told_when_stopped(), datasets_shared():
        experiment = load_experiment(path, overrides)
        check_beginnings(experiment, out, pretraining=not dry_run)
        if dry_run:
            cost = estimate_experiment(path, out, processes=processes, overrides=overrides)
            print_dry_run(experiment, cost, processes, as_json)
            return
        refuse_if_taken(out)
        get_films_ready(experiment.recipes.values(), processes, as_json)
        if not as_json:
            print_cost(estimate_experiment(path, out, processes=processes, overrides=overrides))
        results = run_experiment(path, out, processes=processes, progress=not as_json, overrides=overrides)
        written = write_report(out)
    found = [each for each in ExperimentFolder.open_targets(out) if each.results.target in experiment.targets]
    if as_json:
        each_target = {each.results.target: each.results.plain() for each in found}
        print_json(results.plain() if len(found) == 1 else each_target)
    else:
        texts = [table_text(each.results) for each in found]
        shared = [caption for caption in texts[0].captions if all(caption in text.captions for text in texts)]
        for each, text in zip(found, texts, strict=True):
            name = f".{each.part}" if each.part else ""
            last = each is found[-1]
            _print_results(text, [caption for caption in text.captions if caption not in shared or last])
            console().print(f"\nTable: {out / f'table{name}.md'}", soft_wrap=True)
            console().print(f"Everything as data: {out / f'results{name}.json'}\n", soft_wrap=True)
        print_report(written)
    exit_if_runs_failed(results)


def _print_results(text: TableText, captions: Sequence[str]) -> None:
    """The table of a target, and what a reader must know of it."""
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


def _print_card(card: Card, file: Path, as_json: bool) -> None:
    """The figures of a run, one table per target, with what they may be called."""
    from fusionkit.config.initial_weights import describe_starts
    from fusionkit.report.text.baselines import targets_no_better_than_constant

    if as_json:
        print_json(card.plain())
        return
    protocol = card.protocol
    for target, of in card.targets.items():
        names = list(dict.fromkeys(name for branch in of.branches.values() for name in branch.metrics))
        rows = [
            [
                branch,
                str(figures.samples),
                *(_figure(figures.metrics.get(name), name == of.score) for name in names),
            ]
            for branch, figures in of.branches.items()
        ]
        headings = ["branch", "samples", *(name.replace("_", " ") for name in names)]
        print_table(f"Target {target}, fold {protocol.fold}", headings, [rows], right=range(1, len(headings)))
        typer.echo()
    branches = {name: figures for of in card.targets.values() for name, figures in of.branches.items()}
    jointly = [name for name, figures in branches.items() if figures.trained == "jointly"]
    if jointly:
        print_paragraph(
            f"Trained together with the fused branch: {', '.join(jointly)}. Whether fusing helps, an experiment says, "
            "which trains each modality alone as well."
        )
    for target in targets_no_better_than_constant(card):
        print_paragraph(
            f"Target {target}: the network is not better than the constant answer of the training part by more than "
            "noise. It has learnt nothing that shows on these samples."
        )
    print_paragraph(
        f"Protocol: {protocol.label}; epoch: {card.selection.label}; seed {card.seed}. "
        f"{_of_intervals(card.intervals.units)}"
    )
    if starts := describe_starts(card.starts):
        print_paragraph(f"Encoders start: {starts}.")
    for note in card.notes:
        print_paragraph(f"Careful: {note}")
    typer.echo(f"Everything as data: {file}")


def _of_intervals(groups: int) -> str:
    """What the intervals of a card are worth."""
    from fusionkit.evaluation.bootstrap import FEW_GROUPS
    from fusionkit.report.text.noise import TOO_FEW

    if groups < 2:
        return f"There are no intervals: the test part has one group, {TOO_FEW} what is noise."
    if groups < FEW_GROUPS:
        return (
            f"In brackets: 95 % intervals by bootstrap over {groups} groups, coarse and too narrow: {TOO_FEW} what is "
            "noise. One without width is left out."
        )
    return "In brackets: 95 % intervals by bootstrap."


def _figure(figure: Figure | None, with_interval: bool) -> str:
    from fusionkit.report.text.noise import has_interval

    if figure is None or figure.value is None:
        return "-"
    if not with_interval or not has_interval(figure):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
