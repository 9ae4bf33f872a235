"""Answers over time as records: an answer per instant, and what a figure or an overlay shows beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from fusionkit.errors import FusionKitError
from fusionkit.inference.answers import Answer, make_csv_line
from fusionkit.storage.files import write_file

Span = tuple[float, float]


@dataclass(frozen=True)
class Instant:
    """The answer at an instant.

    Args:
        time: Seconds from the beginning of the recording; the answer is of the seconds before.
        answer: The answer, with its failure where the window holds nothing that can be used.
    """

    time: float
    answer: Answer

    def row(self) -> dict[str, Any]:
        """Returns it as one flat row, see `Answer.row`; ``time`` stands before its columns."""
        return {"time": self.time, **self.answer.row()}

    def plain(self) -> dict[str, Any]:
        """Returns it as plain data, as lines of JSON hold it."""
        return {"time": self.time, **self.answer.plain()}


@dataclass(frozen=True)
class Faces:
    """The face of a recording: some crops, and its place in every frame.

    Args:
        crops: Crops at even times, ``(some, channels, size, size)`` uint8; all of a long film would fill the memory.
        times: The seconds of each.
        rate: Frames per second.
        boxes: Left, top, right and bottom in the film by frame, ``(frames, 4)``; None where faces were not looked for.
    """

    crops: Tensor
    times: tuple[float, ...]
    rate: float
    boxes: Tensor | None = None

    def find_box(self, seconds: float) -> list[float] | None:
        """Finds the box at a time; None where faces were not looked for, and behind the end of the film."""
        if self.boxes is None or round(seconds * self.rate) > len(self.boxes):
            return None
        box: list[float] = self.boxes[min(len(self.boxes) - 1, round(seconds * self.rate))].tolist()
        return box


@dataclass(frozen=True)
class Timeline(Sequence[Instant]):
    """Answers to one recording over time, in order.

    Args:
        id: The recording's name.
        instants: The answers.
        columns: Columns of the table, see `Answer.row`; ``time`` stands before them.
        every: Seconds from one to the next; the last comes at the end of the recording.
        window: Seconds that each answer is of.
        duration: Seconds of the recording.
        spans: By modality, when it was present, in seconds.
        targets: The targets, and of each its classes; empty for numbers.
        notes: What a user should know of the recording.
        film: Its film; None where there is none.
        faces: The faces of its film; None where there are none.
    """

    id: str
    instants: tuple[Instant, ...]
    columns: tuple[str, ...]
    every: float
    window: float
    duration: float
    spans: Mapping[str, tuple[Span, ...]]
    targets: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    film: Path | None = None
    faces: Faces | None = field(default=None, repr=False)

    @overload
    def __getitem__(self, index: int) -> Instant: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Instant, ...]: ...
    def __getitem__(self, index: int | slice) -> Instant | tuple[Instant, ...]:
        """Returns one instant, or several."""
        return self.instants[index]

    def __len__(self) -> int:
        return len(self.instants)

    def __iter__(self) -> Iterator[Instant]:
        return iter(self.instants)

    def rows(self) -> list[dict[str, Any]]:
        """Returns all rows with all columns; None where a row has no value."""
        return [
            {column: row.get(column) for column in ("time", *self.columns)}
            for row in (instant.row() for instant in self.instants)
        ]

    def plain(self) -> list[dict[str, Any]]:
        """Returns it as plain data, an instant each."""
        return [instant.plain() for instant in self.instants]

    def to_pandas(self) -> Any:
        """Returns a pandas table.

        Raises:
            FusionKitError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise FusionKitError("to_pandas needs the package pandas; install it with `pip install pandas`") from None
        return pandas.DataFrame(self.rows(), columns=["time", *self.columns])

    def to_csv(self, path: str | Path) -> None:
        """Writes a table.

        Raises:
            RunError: It cannot be written.
        """
        lines = [make_csv_line(["time", *self.columns]), *(make_csv_line(list(row.values())) for row in self.rows())]
        write_file(Path(path), "".join(lines).encode())

    def to_vtt(self, path: str | Path) -> None:
        """Writes subtitles, see `make_subtitles`.

        Raises:
            RunError: It cannot be written.
        """
        from fusionkit.inference.timeline.subtitles import make_subtitles

        write_file(Path(path), make_subtitles(self).encode())
