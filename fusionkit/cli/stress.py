"""The command that corrupts: a run or an experiment to what is left of its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.report import print_report
from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    TrustOption,
    open_console,
    print_json,
    print_paragraph,
    print_table,
)
from fusionkit.errors import Problem, RecipeError

if TYPE_CHECKING:
    from fusionkit.interfaces import Metric
    from fusionkit.storage.records.stress import Stress, StressCurve

MOST_LEVELS = 7
"""So many columns of levels fit into 80 columns of text."""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(say_when_stopped(goes_on=False)(stress))


def stress(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A finished run, or what `fusionkit experiment` or `compare` wrote."),
    ],
    *,
    modality: Annotated[
        list[str] | None, typer.Option("--modality", metavar="NAME", help="Corrupt this one; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="WHAT", help="One of missing, noise, shift, swap; may be repeated."),
    ] = None,
    missing: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Samples that lack it, in per cent: 20,40,60,80,100.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Noise in standard deviations of the modality: 0.25,0.5,1,2.")
    ] = None,
    shift: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Seconds that it comes late, below 0 early: 0.1,0.2,0.5,1,2.")
    ] = None,
    shift_percent: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="The same without a rate, in per cent of length: 5,10,25,50.")
    ] = None,
    swap: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Samples that have another's, in per cent: 20,40,60,80,100.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the page goes; beside the results if not.")
    ] = None,
    plugins: TrustOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is left as a modality is missing, noisy, late or swapped.

    Nothing is trained: the weights are evaluated on their test part, one modality corrupted at a time. Level 0 is the
    figure as it stands. What is found goes to stress.json in the folder, with a page and figures.
    """
    from fusionkit.config.trust import allow
    from fusionkit.evaluation.robustness import CORRUPTIONS, OPTIONS, Levels
    from fusionkit.evaluation.robustness import stress as stress_folder
    from fusionkit.report.pages.stress import write_stress_page

    texts = {"missing": missing, "noise": noise, "shift": shift, "shift_share": shift_percent, "swap": swap}
    asked = {
        name: _levels(OPTIONS[name], text, per_cent=name not in ("noise", "shift"))
        for name, text in texts.items()
        if text is not None
    }
    allow(*(plugins or ()))
    document = stress_folder(
        run,
        Levels(**asked),
        modalities=modality or (),
        corruptions=only or CORRUPTIONS,
        asked=tuple(asked),
        seed=seed,
        progress=not as_json,
    )
    written = write_stress_page(document, run if out is None else out)
    if as_json:
        print_json(document.plain())
        return
    _print_document(document)
    open_console().print(f"Everything as data: {run / 'stress.json'}", soft_wrap=True)
    print_report(written)


def _levels(option: str, text: str, *, per_cent: bool) -> tuple[float, ...]:
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        wanted = f"numbers with commas between them, such as {option} {'20,50,100' if per_cent else '0.5,1'}"
        raise RecipeError([Problem(f"{option} {text!r}", "are no levels", wanted)]) from None
    return tuple(number / 100 if per_cent else number for number in numbers)


def _print_document(document: Stress) -> None:
    """Prints what is left in plain words, and a table per corruption and target."""
    from fusionkit.report.text.stress import HEADINGS, corruptions_of, curves_of, evidence, measure_in_words, sentences

    for sentence in sentences(document):
        print_paragraph(sentence)
    print_paragraph(evidence(document))
    for target, of in document.targets.items():
        print_paragraph(
            f"\nIn the tables: {measure_in_words(document, target)}. The first column is without corruption."
        )
        for corruption in corruptions_of(document):
            for modality, curves in curves_of(document, corruption, target).items():
                typer.echo()
                _print_curves(f"{HEADINGS[corruption]}: {modality}", curves, of.main_metric)
    typer.echo()
    for note in document.notes:
        print_paragraph(note)


def _print_curves(title: str, curves: Sequence[StressCurve], metric: Metric) -> None:
    from fusionkit.report.text.stress import level_text, levels_of, rows_of

    levels = levels_of(curves)
    if len(levels) > MOST_LEVELS:  # evenly spaced ones; the page has all
        levels = [levels[round(place * (len(levels) - 1) / (MOST_LEVELS - 1))] for place in range(MOST_LEVELS)]
    rows = rows_of(curves, metric, levels)
    if rows:
        headings = ["", *(level_text(level, curves[0].unit) for level in levels)]
        print_table(title, headings, [rows], right=range(1, len(headings)))
