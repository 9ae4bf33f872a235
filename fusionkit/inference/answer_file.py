"""A file of answers that is written batch by batch, goes on where it was stopped, and appears when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from fusionkit.errors import RunError
from fusionkit.inference.answers import make_csv_line, make_json_line
from fusionkit.storage.files import guard_write, put_in_place, sync

SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Endings of files of answers."""

_ROWS_AT_ONCE = 10_000


class Writable(Protocol):
    """An answer, or one with its time, as a row and as plain data."""

    def row(self) -> dict[str, Any]:
        """Returns it as one flat row."""

    def plain(self) -> dict[str, Any]:
        """Returns it as plain data."""


class AnswerFile:
    """Answers on their way to a file.

    Until all are there they stand beside it, in a file whose name ends in ``.unfinished``: a first line that says what
    they answer, and a line for each. A process that is killed loses what it had not written; the same command goes on.

    Args:
        path: The file, of one of `SUFFIXES`.
        columns: Columns of a table.
        identity: What the answers depend on; those of another identity are not gone on with.

    Raises:
        RunError: The ending is another, the folder is not there, or the file cannot be read.
    """

    def __init__(self, path: Path, columns: Sequence[str], identity: Mapping[str, Any]) -> None:
        check_answer_path(path)
        self.path, self._columns = path, list(columns)
        self._unfinished = path.with_name(f".{path.name}.unfinished")
        self._first = json.dumps({"answers_to": identity}, sort_keys=True) + "\n"
        self._as_lines = path.suffix.lower() == ".jsonl"

    def count_kept(self) -> int:
        """Counts the whole answers of a command that was stopped; none where it answered to something else."""
        try:
            with self._unfinished.open("rb") as file:
                if file.readline() != self._first.encode():
                    return 0
                return sum(line.endswith(b"\n") for line in file)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise RunError(f"{self._unfinished}: cannot be read ({error.strerror}); remove it") from error

    def begin(self, keep: int) -> None:
        """Keeps the first so many answers, and forgets those behind them.

        Raises:
            RunError: It cannot be written.
        """
        guard_write(self._unfinished, partial(self._cut, keep))

    def append(self, answers: Sequence[Writable]) -> None:
        """Appends answers.

        Raises:
            RunError: It cannot be written; those before are kept.
        """
        text = "".join(map(self._make_line, answers)).encode()

        def write() -> None:
            with self._unfinished.open("ab") as file:
                file.write(text)

        guard_write(self._unfinished, write)

    def finish(self) -> int:
        """Writes the file in one piece, and returns how many samples could not be used.

        Raises:
            RunError: It cannot be written; the answers are kept.
        """
        sync(self._unfinished)
        makers: dict[str, Callable[[Path], None]] = {".csv": self._write_csv, ".parquet": self._write_parquet}
        make = makers.get(self.path.suffix.lower(), self._write_lines)
        guard_write(self.path, lambda: put_in_place(self.path, make))
        failed = sum(map(self._is_failure, self._read_lines()))
        self._unfinished.unlink()
        return failed

    def _cut(self, keep: int) -> None:
        if not keep:
            self._unfinished.write_text(self._first, encoding="utf-8")
            return
        with self._unfinished.open("r+b") as file:
            for _ in range(keep + 1):
                file.readline()
            file.truncate(file.tell())

    def _make_line(self, answer: Writable) -> str:
        if self._as_lines:
            return make_json_line(answer.plain())
        row = answer.row()
        cells = [row.get(column) for column in self._columns]
        return json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n"

    def _is_failure(self, line: str) -> bool:
        answer = json.loads(line)
        return bool(answer["failure"] if self._as_lines else answer[self._columns.index("failure")])

    def _read_lines(self) -> Iterator[str]:
        with self._unfinished.open(encoding="utf-8") as file:
            yield from islice(file, 1, None)

    def _write_lines(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(self._read_lines())

    def _write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(make_csv_line(self._columns))
            file.writelines(make_csv_line([_join(cell) for cell in json.loads(line)]) for line in self._read_lines())

    def _write_parquet(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        kinds = self._find_kinds()
        schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in kinds.items()])
        lines = self._read_lines()
        with parquet.ParquetWriter(path, schema) as writer:
            while rows := [json.loads(line) for line in islice(lines, _ROWS_AT_ONCE)]:
                columns = {name: [_join(row[place]) for row in rows] for place, name in enumerate(self._columns)}
                writer.write_table(pyarrow.table(columns, schema=schema))

    def _find_kinds(self) -> dict[str, str]:
        """Finds the kind of every column by all of its cells: those of the first thousands of rows may be empty."""
        numbers, texts = set[int](), set[int]()
        for line in self._read_lines():
            for place, cell in enumerate(json.loads(line)):
                if cell is not None:
                    (numbers if isinstance(cell, (int, float)) else texts).add(place)
        return {name: "float64" if place in numbers - texts else "string" for place, name in enumerate(self._columns)}


def write_answers(path: Path, columns: Sequence[str], answers: Sequence[Writable]) -> None:
    """Writes answers that are all there into a file of one of `SUFFIXES`.

    Raises:
        RunError: It cannot be written.
    """
    file = AnswerFile(path, columns, {})
    file.begin(0)
    file.append(answers)
    file.finish()


def check_answer_path(path: Path) -> None:
    """Refuses a file of answers that could not be written when all is done.

    Raises:
        RunError: Its ending is none of `SUFFIXES`, it is a folder, its folder is not there, or Parquet needs a package.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RunError(f"{path}: cannot write files that end in {path.suffix!r}; known: {', '.join(SUFFIXES)}")
    if os.path.isdir(path):
        raise RunError(f"{path}: is a folder; name a file in it")
    if not os.path.isdir(path.parent):
        raise RunError(f"{path}: its folder is not there; make {path.parent} first")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            remedy = "install it with `pip install 'fusionkit-multimodal[parquet]'`, or write .csv"
            raise RunError(f"{path}: writing Parquet needs the package pyarrow; {remedy}") from None


def _join(cell: object) -> object:
    return ";".join(map(str, cell)) if isinstance(cell, list) else cell
