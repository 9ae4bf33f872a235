"""Answers on a terminal: a table, and below it what is to be known of single samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fusionkit.cli.terminal.output import print_paragraph, print_table

if TYPE_CHECKING:
    from fusionkit.inference.answers import Answer
    from fusionkit.inference.predictor import Predictor


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


def print_origin(predictor: Predictor, level: float | None) -> None:
    """Prints which samples sets and intervals were learned on, where a level is asked for."""
    if level is not None:
        print_paragraph(f"Sets and intervals of level {level:g} are calibrated on {predictor.calibrator.origin}.")
