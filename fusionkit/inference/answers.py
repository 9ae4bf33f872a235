"""Answers of a trained network: records for programs, rows for tables and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch

from fusionkit.errors import FusionKitError
from fusionkit.interfaces import LossHead, TargetKind
from fusionkit.storage.files import write_file

_OWN_COLUMNS = ("id", "time", "present", "notes", "failure")

Value = str | float | tuple[str, ...] | tuple[float, ...]
"""A prediction: a class, a number in the unit of the training, several labels, or several numbers."""


@dataclass(frozen=True)
class AnsweredTarget:
    """A target, as its answers are worded.

    Args:
        kind: One class of several, any number of labels, or numbers.
        classes: Its classes or labels, in the order of probabilities; empty for numbers.
        numbers: How many numbers a prediction holds; 0 of classes and labels.
    """

    kind: TargetKind
    classes: tuple[str, ...]
    numbers: int


@dataclass(frozen=True)
class TargetAnswer:
    """An answer to one target.

    Args:
        prediction: The class, the labels, the number or the numbers.
        probabilities: By class or label; empty for numbers.
        set: Where a level was asked for: the classes of which one is true, or the labels among which all true ones are.
        interval: Where a level was asked for: of each number its lower and upper limit.
    """

    prediction: Value
    probabilities: Mapping[str, float] = field(default_factory=dict)
    set: tuple[str, ...] | None = None
    interval: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Answer:
    """The answer to one sample.

    Args:
        id: The sample's name.
        targets: By target; empty where the sample could not be used.
        present: The modalities that it has.
        branches: By branch beside the one that answers, and target, where they were asked for.
        notes: What a user should know of it, such as faces that were not found.
        failure: Why it could not be used; empty where it could.
    """

    id: str
    targets: Mapping[str, TargetAnswer] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    branches: Mapping[str, Mapping[str, TargetAnswer]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: str = ""

    def row(self) -> dict[str, Any]:
        """Returns it as one flat row.

        ``id``; per target ``<target>`` and its probabilities ``<target>.<class>``, or of several numbers
        ``<target>.<position>``; where a level was asked for ``<target>.set``, or ``<target>.low`` and ``<target>.high``
        (of several numbers ``<target>.<position>.low``); the same behind ``<branch>/``; ``present``, ``notes`` and
        ``failure``. A target that is named as one of these is ``<target> (target)``.
        """
        row: dict[str, Any] = {"id": self.id}
        for target, answer in self.targets.items():
            row |= _flatten(name_column(target), answer)
        for branch, of in self.branches.items():
            for target, answer in of.items():
                row |= _flatten(f"{branch}/{target}", answer)
        return {**row, "present": "+".join(self.present), "notes": "; ".join(self.notes), "failure": self.failure}

    def plain(self) -> dict[str, Any]:
        """Returns it as plain data, as lines of JSON hold it."""
        return {
            "id": self.id,
            "targets": {name: _plain(answer) for name, answer in self.targets.items()},
            **({"branches": _plain_branches(self.branches)} if self.branches else {}),
            "present": list(self.present),
            "notes": list(self.notes),
            "failure": self.failure,
        }


class Answers(Sequence[Answer]):
    """Answers in the order of the samples.

    Args:
        answers: The answers.
        columns: Columns of the table, see `Answer.row`.
    """

    def __init__(self, answers: Sequence[Answer], columns: Sequence[str]) -> None:
        self._answers, self.columns = tuple(answers), tuple(columns)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> Answers: ...
    def __getitem__(self, index: int | slice) -> Answer | Answers:
        """Returns one answer, or several."""
        if isinstance(index, slice):
            return Answers(self._answers[index], self.columns)
        return self._answers[index]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers)

    def __repr__(self) -> str:
        failed = sum(bool(answer.failure) for answer in self)
        return f"Answers({len(self)} samples{f', {failed} could not be used' if failed else ''})"

    def rows(self) -> list[dict[str, Any]]:
        """Returns all rows with all columns; None where a row has no value."""
        return [{column: row.get(column) for column in self.columns} for row in (answer.row() for answer in self)]

    def to_pandas(self) -> Any:
        """Returns a pandas table.

        Raises:
            FusionKitError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise FusionKitError("to_pandas needs the package pandas; install it with `pip install pandas`") from None
        return pandas.DataFrame(self.rows(), columns=list(self.columns))

    def to_csv(self, path: str | Path) -> None:
        """Writes a table.

        Raises:
            RunError: It cannot be written.
        """
        write_file(Path(path), (make_csv_line(self.columns) + "".join(map(self.make_csv_row, self))).encode())

    def make_csv_row(self, answer: Answer) -> str:
        """Makes the line of a table."""
        row = answer.row()
        return make_csv_line([row.get(column) for column in self.columns])


def make_csv_line(cells: Sequence[object]) -> str:
    r"""Makes a line of a table; lists of labels are joined by semicolons.

    Example:
        >>> make_csv_line(["a", 0.5, None])
        'a,0.5,\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if cell is None else _write(cell) for cell in cells])
    return text.getvalue()


def make_json_line(plain: Mapping[str, Any]) -> str:
    """Makes a line of JSON of the plain data of an answer."""
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def _write(cell: object) -> object:
    return ";".join(map(str, cell)) if isinstance(cell, tuple) else cell


def _flatten(name: str, answer: TargetAnswer) -> dict[str, Any]:
    said, several = answer.prediction, isinstance(answer.prediction, tuple) and not answer.probabilities
    row: dict[str, Any] = {}
    if isinstance(said, tuple) and several:
        row |= {f"{name}.{position}": value for position, value in enumerate(said)}
    else:
        row |= {name: said, **{f"{name}.{label}": of for label, of in answer.probabilities.items()}}
    if answer.set is not None:
        row[f"{name}.set"] = answer.set
    for position, (low, high) in enumerate(answer.interval or ()):
        number = f"{name}.{position}" if several else name
        row |= {f"{number}.low": low, f"{number}.high": high}
    return row


def _plain(answer: TargetAnswer) -> dict[str, Any]:
    said = list(answer.prediction) if isinstance(answer.prediction, tuple) else answer.prediction
    more: dict[str, Any] = {"probabilities": dict(answer.probabilities)} if answer.probabilities else {}
    if answer.set is not None:
        more["set"] = list(answer.set)
    if answer.interval is not None:
        more["interval"] = [list(limits) for limits in answer.interval]
    return {"prediction": said, **more}


def describe_head(head: LossHead) -> AnsweredTarget:
    """Describes the target of a loss head."""
    predicted = head.predict(head.distribution(torch.zeros(1, head.out_features)))
    return AnsweredTarget(head.kind, tuple(head.classes), predicted.numel() if head.kind == "numbers" else 0)


def describe_value(target: AnsweredTarget, value: Any) -> Value:
    """Describes a prediction in the words of the target."""
    if target.kind == "classes":
        return target.classes[int(value)]
    values = value if isinstance(value, list) else [value]
    if target.kind == "labels":
        return tuple(label for label, on in zip(target.classes, values, strict=True) if on)
    return float(values[0]) if len(values) == 1 else tuple(map(float, values))


def name_column(target: str) -> str:
    """Names the column of a target in a table, beside those of the sample itself.

    Example:
        >>> name_column("mood"), name_column("present")
        ('mood', 'present (target)')
    """
    return f"{target} (target)" if target in _OWN_COLUMNS else target


def name_columns(name: str, target: AnsweredTarget, *, level: bool) -> list[str]:
    """Names the columns of a target in a table, see `Answer.row`.

    Args:
        name: The target, behind its branch.
        target: What it is.
        level: Whether a level is asked for.
    """
    if target.kind != "numbers":
        return [name, *(f"{name}.{label}" for label in target.classes), *([f"{name}.set"] if level else [])]
    each = [name] if target.numbers == 1 else [f"{name}.{position}" for position in range(target.numbers)]
    return [*each, *(f"{number}.{side}" for number in each for side in ("low", "high") if level)]


def _plain_branches(branches: Mapping[str, Mapping[str, TargetAnswer]]) -> dict[str, Any]:
    return {branch: {name: _plain(answer) for name, answer in of.items()} for branch, of in branches.items()}
