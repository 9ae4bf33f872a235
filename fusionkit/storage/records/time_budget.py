"""The epochs that a comparison's budget of time came to, ``budget.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from fusionkit.storage.files import read_json
from fusionkit.storage.records.document import Document, advise, parse_document


class TimeBudget(Document):
    """The minutes of every run, and by variant the epochs that fit into them."""

    title: ClassVar[str] = "a budget of time"
    remedy: ClassVar[str] = "remove it, or choose another folder"

    minutes: Annotated[float, Field(gt=0)]
    epochs: dict[str, Annotated[int, Field(gt=0)]]


def load_time_budget(file: Path) -> TimeBudget:
    """Reads a budget of time; a file of an earlier version, which states no format, is of format 1.

    Raises:
        RunError: It cannot be read, is of another format, or damaged; then every wrong key is told.
    """
    with advise(TimeBudget.remedy):
        value = {"format": 1, **read_json(file)}
    return parse_document(TimeBudget, value, str(file))
