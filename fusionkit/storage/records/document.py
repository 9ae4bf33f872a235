"""Documents that pass between rooms as files: typed records, each read by one function and written by one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from fusionkit.config.documents import check_shape
from fusionkit.errors import RunError, shorten
from fusionkit.interfaces import LOSS, Metric, share
from fusionkit.storage.files import as_json, read_json, write_file

EARLIER = {
    each.name: each
    for each in (
        *(share("accuracy", of_samples=True), share("uar"), share("f1"), share("exact", of_samples=True)),
        share("ece", higher_is_better=False),
        Metric("mae", higher_is_better=False, has_unit=True, low=0.0),
        Metric("rmse", higher_is_better=False, has_unit=True, low=0.0),
    )
}
"""The metrics of fusionkit's own loss heads before documents described them."""


class Part(BaseModel):
    """A part of a document. Keys that it does not know are passed over, so that later versions may add some."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, populate_by_name=True)

    def plain(self) -> dict[str, Any]:
        """Returns plain data, with the keys that were given; what an earlier version did not say stays unsaid."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


class Document(Part):
    """A whole file, which says its format."""

    title: ClassVar[str]
    """Its name in messages, behind "a" or "an" where there may be several."""
    remedy: ClassVar[str] = "restore it from a copy"
    """The way out for a user whose file is damaged."""
    formats: ClassVar[tuple[int, ...]] = (1,)
    """The formats that are read; the last one is written."""

    format: int


D = TypeVar("D", bound=Document)

_LONGEST_LIST = 80
"""Characters of keys that are named as missing."""


class Interval(Part):
    """The limits of a 95 % interval, None where there are none."""

    low: float | None
    high: float | None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Both limits; None where there are none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class Figure(Interval):
    """A value with its interval."""

    value: float | None


def figure(value: float, limits: tuple[float, float] | None = None) -> Figure:
    """Makes a figure; a value that is not finite is None.

    Example:
        >>> figure(0.5).value, figure(float("nan")).value
        (0.5, None)
    """
    low, high = limits or (None, None)
    return Figure(value=value if math.isfinite(value) else None, low=low, high=high)


class Measure(Part):
    """A metric without its name, as `Metric` describes it."""

    higher_is_better: bool
    share: bool = False
    of_samples: bool = False
    has_unit: bool = False
    low: float | None = None
    high: float | None = None


class Measured(Part):
    """A document, or a part of one, that says by which metrics it judges."""

    higher_is_better: bool
    measures: dict[str, Measure] | None = None

    def metric_named(self, name: str) -> Metric:
        """Returns a metric; one that nobody described is better where the main one is."""
        if name == LOSS.name:
            return LOSS
        if self.measures is None:
            return EARLIER.get(name, Metric(name, self.higher_is_better))
        return Metric(name, **dict(self.measures[name]))

    def require_measure(self, name: str) -> None:
        """Refuses a document that describes its metrics, but not this one.

        Raises:
            ValueError: It does.
        """
        if self.measures is not None and name not in (*self.measures, LOSS.name):
            raise ValueError(f"the measures describe no {name!r}")


def describe_measures(metrics: Iterable[Metric]) -> dict[str, Measure]:
    """Returns metrics by name as documents carry them."""
    return {each.name: Measure(**{key: of for key, of in asdict(each).items() if key != "name"}) for each in metrics}


def check_format(kind: type[Document], value: dict[str, Any], place: str) -> None:
    """Refuses plain data of a format that is not read, and those of another document.

    Raises:
        RunError: They are of one.
    """
    found = value.get("format")
    if type(found) is int and found in kind.formats:  # true and 1.0 are no 1
        own = [name for name, field in kind.model_fields.items() if field.is_required() and name != "format"]
        if own and not value.keys() & set(own):
            lacking = shorten(", ".join(own), _LONGEST_LIST)
            raise RunError(f"{place}: is damaged; it is no {_drop_article(kind.title)} (no {lacking}); {kind.remedy}")
        return
    if "format" not in value:
        raise RunError(f"{place}: is damaged; it is no {_drop_article(kind.title)} (no format); {kind.remedy}")
    known = f"format{'s' if len(kind.formats) > 1 else ''} {' and '.join(map(str, kind.formats))}"
    remedy = f"update fusionkit if a later version wrote it, else {kind.remedy}"
    raise RunError(
        f"{place}: {kind.title} of format {shorten(repr(found), _LONGEST_LIST)}; this version reads {known}; {remedy}"
    )


def load_document(kind: type[D], file: Path) -> D:
    """Reads the document of a file.

    Raises:
        RunError: There is none, or it cannot be read, is of another format, or damaged; then every wrong key is told.
    """
    with advise(kind.remedy):
        value = read_json(file)
    return parse_document(kind, value, str(file))


def parse_document(kind: type[D], value: dict[str, Any], place: str) -> D:
    """Makes a document of plain data.

    Raises:
        RunError: They are of another format, or damaged; then every wrong key is told.
    """
    check_format(kind, value, place)
    with advise(kind.remedy):
        return check_shape(kind, value, place)


@contextmanager
def advise(remedy: str) -> Iterator[None]:
    """Says behind what is wrong with a file what would be right.

    Raises:
        RunError: That of a file that cannot be read or is damaged, with the remedy.
    """
    try:
        yield
    except RunError as error:
        raise RunError(f"{error}; {remedy}") from None


def refuse_newer(kind: type[Document], file: Path) -> None:
    """Refuses to overwrite a document that a later version wrote. One that is damaged may be overwritten.

    Raises:
        RunError: It is of a newer format than this version writes.
    """
    if not os.path.lexists(file):
        return
    try:
        found = read_json(file).get("format")
    except RunError:
        return
    if type(found) is int and found > kind.formats[-1]:
        remedy = "update fusionkit, or move the file away"
        raise RunError(f"{file}: {kind.title} of format {found}, which a later version wrote, is kept; {remedy}")


def save_document(file: Path, document: Document) -> None:
    """Writes a document in one piece.

    Raises:
        RunError: It cannot be written, or a later version wrote the one that is there; the previous file is intact.
    """
    refuse_newer(type(document), file)
    write_file(file, as_json(document.plain()))


def _drop_article(title: str) -> str:
    return title.removeprefix("a ").removeprefix("an ")
