"""The log of a run: a line of JSON for every step and epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusionkit.config.documents import check_shape
from fusionkit.config.schema import MOST_EPOCHS
from fusionkit.errors import RunError
from fusionkit.storage.files import as_json, guard_write, parse_json, read_within, sync, write_file

MAX_LOG_BYTES = 2**31
"""More than a log of ten million steps."""


class _Numbers(BaseModel):
    """A part of a line. Trainings write null for what is not finite, so NaN in it is damage."""

    model_config = ConfigDict(allow_inf_nan=False)


class _Gradient(_Numbers):
    cosine: float | None
    own_norm: float | None
    fused_norm: float | None


class _Record(_Numbers):
    """A line of the log, of a step or of an epoch, as far as it is read."""

    step: int
    stage: str | None = None
    epoch: int | None = Field(None, ge=0, le=MOST_EPOCHS)
    terms: dict[str, float | None] | None = None
    gradients: dict[str, _Gradient] | None = None
    training: float | None = None
    validation: float | None = None
    validation_terms: dict[str, float | None] | None = None

    @model_validator(mode="after")
    def _says_where_it_belongs(self) -> Self:
        told = self.model_fields_set & {"stage", "epoch", "terms", "training", "validation", "validation_terms"}
        if told and None in (self.stage, self.epoch):
            raise ValueError(f"it gives {', '.join(sorted(told))} without stage and epoch")
        return self


class RunLog:
    """Lines that a training adds to and never changes, but for what a stopped one wrote after its checkpoint.

    Args:
        file: The file, which need not be there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def sync(self) -> None:
        """Brings it to the disk.

        Raises:
            RunError: It cannot be written.
        """
        if self._file.is_file():
            guard_write(self._file, lambda: sync(self._file))

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds lines.

        Raises:
            RunError: They cannot be written.
        """
        lines = b"".join(as_json(record, indent=None) for record in records)

        def append() -> None:
            with self._file.open("ab") as file:
                file.write(lines)

        guard_write(self._file, append)

    def truncate(self, records: int) -> None:
        """Keeps the first records, and drops what a stopped run wrote after its checkpoint.

        Raises:
            RunError: The log holds fewer records than the checkpoint counted.
        """
        lines = self._file.read_bytes().splitlines(keepends=True) if self._file.is_file() else []
        if len(lines) < records:
            raise RunError(f"{self._file}: holds {len(lines)} records, the checkpoint counts {records}")
        if len(lines) > records:
            write_file(self._file, b"".join(lines[:records]))

    def read(self) -> list[dict[str, Any]]:
        """Reads the records.

        Raises:
            RunError: It cannot be read, or a line of it is damaged.
        """
        lines = read_within(self._file, MAX_LOG_BYTES).splitlines() if os.path.exists(self._file) else []
        records = []
        for number, line in enumerate(lines, start=1):
            place = f"{self._file}: line {number}"
            records.append(parse_json(line, place))
            check_shape(_Record, records[-1], place)
        return records
