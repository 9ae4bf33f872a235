"""The command that evaluates a run, and how a card is printed."""

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
    from fusionkit.storage.records.card import Card
    from fusionkit.storage.records.document import Figure


EXAMPLES = write_examples(
    "evaluate runs/first",
    "evaluate runs/first --data labelled.csv --group person",
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(say_when_stopped(goes_on=False)(evaluate))


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="With --data, the card; metrics.TABLE.json if not.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="TABLE", help="A new labelled table, in place of the test part.")
    ] = None,
    group: TableGroupOption = None,
    root: TableRootOption = None,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a finished run, and write its metrics.json; or measure it on new data."""
    from fusionkit import evaluation
    from fusionkit.config.trust import allow
    from fusionkit.errors import FusionKitError
    from fusionkit.storage.files import folder_name
    from fusionkit.storage.records.document import save_document
    from fusionkit.storage.run_folder import RunFolder

    allow(*(plugins or ()))
    folder = RunFolder.open(run)
    if data is None:
        if given := [name for name, of in (("--group", group), ("--root", root), ("--out", out)) if of is not None]:
            raise FusionKitError(f"{', '.join(given)}: only with --data")
        print_card(evaluation.evaluate(folder), folder.card_file, as_json)
        return
    card, _ = evaluation.evaluate_on(folder, data, group=group, root=root)
    file = folder.path / f"metrics.{folder_name(data.stem)}.json" if out is None else out
    save_document(file, card)
    print_card(card, file, as_json)


def print_card(card: Card, file: Path, as_json: bool) -> None:
    """Prints the figures of a run, one table per target, with what they may be called."""
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
        part = f"on {protocol.fold}" if protocol.new_data else f"fold {protocol.fold}"
        print_table(f"Target {target}, {part}", headings, [rows], right=range(1, len(headings)))
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
    """Says what the intervals of a card are worth."""
    from fusionkit.evaluation.bootstrap import FEW_GROUPS
    from fusionkit.report.text.significance import TOO_FEW

    if groups < 2:
        return f"There are no intervals: the test part has one group, {TOO_FEW} what is noise."
    if groups < FEW_GROUPS:
        return (
            f"In brackets: 95 % intervals by bootstrap over {groups} groups, coarse and too narrow: {TOO_FEW} what is "
            "noise. One without width is left out."
        )
    return "In brackets: 95 % intervals by bootstrap."


def _figure(figure: Figure | None, with_interval: bool) -> str:
    from fusionkit.report.text.significance import has_interval

    if figure is None or figure.value is None:
        return "-"
    if not with_interval or not has_interval(figure):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
