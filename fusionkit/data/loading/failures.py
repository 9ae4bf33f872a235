"""Errors of one sample: whatever goes wrong while it is loaded is told with its name, its file and what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from fusionkit.errors import DataError, ElementError, FusionKitError, Problem
from fusionkit.interfaces import Batch, Dataset
from fusionkit.nn.memory import SMALLER_BATCHES, explain_full_memory, is_full, make_sized_batch_error

_MOST_NAMED = 5


@dataclass(frozen=True)
class Failure:
    """A worker's message in place of a batch that could not be loaded.

    Args:
        error: The error that the process which waits for the batch is to raise.
    """

    error: FusionKitError


def find_place(dataset: Dataset, index: int) -> str:
    """Names a sample by where it is stated and by its id.

    Example:
        >>> from types import SimpleNamespace
        >>> find_place(SimpleNamespace(rows=[SimpleNamespace(id="clip_7", place="films.csv, row 8")]), 0)
        'films.csv, row 8 (sample clip_7)'
    """
    row = dataset.rows[index]
    if not row.place:
        return f"sample {row.id}"
    # A number such as 8 may be that of the row.
    is_named = not row.id.isdecimal() and _stands_in(row.id, row.place)
    return row.place if is_named else f"{row.place} (sample {row.id})"


@contextmanager
def name_sample(dataset: Dataset, index: int, what: str) -> Iterator[None]:
    """Turns whatever goes wrong within it into a `DataError` that names the sample.

    A dataset or a transform may be the user's own and read files with any library, so all of `Exception` is caught.
    Errors of ours that say where they are pass.

    Args:
        dataset: The dataset.
        index: The sample's position.
        what: What is done with the sample.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, FusionKitError) and _says_where(error, dataset, index):
            raise
        raise DataError([_make_problem(error, find_place(dataset, index), what)]) from error


def measure_length(dataset: Dataset, index: int, modality: str) -> int:
    """Counts the elements that a modality of a sample has.

    Raises:
        DataError: They cannot be counted; the sample is named.
    """
    with name_sample(dataset, index, "length"):
        return dataset.length(index, modality)


def name_batch(where: str, batch: Batch, device: object, remedy: str = SMALLER_BATCHES) -> AbstractContextManager[None]:
    """Tells memory that runs out within it, and elements that an encoder cannot take, with the samples.

    Args:
        where: What is done with the batch.
        batch: The batch.
        device: Where it is done.
        remedy: What would be right.
    """
    return name_batches(lambda: where, (batch,), device, remedy)


@contextmanager
def name_batches(where: Callable[[], str], batches: Sequence[Batch], device: object, remedy: str) -> Iterator[None]:
    """Tells the same of several batches; where memory runs out, of the one with the most elements."""

    def describe() -> FusionKitError:
        batch = max(batches, key=lambda each: sum(value.total for value in each.inputs.values()))
        sizes = {name: value.sizes for name, value in batch.inputs.items()}
        return make_sized_batch_error(where(), batch.sample_ids, sizes, device, remedy)

    try:
        with explain_full_memory(describe):
            yield
    except ElementError as error:
        holders = [name for batch in batches for name in _find_holders(batch, error.modality, error.value)]
        if not holders:
            raise
        raise DataError([Problem(f"{where()}: {_list_samples(holders)}", str(error))]) from error.__cause__


def _find_holders(batch: Batch, modality: str, value: int) -> list[str]:
    """Finds the samples of a batch that hold a number in an element."""
    elements = batch.inputs[modality].unbind() if modality in batch.inputs else ()
    return [name for name, own in zip(batch.sample_ids, elements, strict=False) if bool((own == value).any())]


def _list_samples(names: Sequence[str]) -> str:
    first = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"sample{'s' if len(names) > 1 else ''} {first}{more}"


def _says_where(error: FusionKitError, dataset: Dataset, index: int) -> bool:
    """Tells whether a problem of it has a place, or its text names the row's; an id may stand in it by chance."""
    place = dataset.rows[index].place
    has_place = any(problem.place for problem in getattr(error, "problems", ()))
    return has_place or (bool(place) and _stands_in(place, str(error)))


def _stands_in(words: str, text: str) -> bool:
    """Finds words in a text as whole ones, neither ``row 8`` in ``row 81`` nor ``lip`` in ``clip_lip_7``."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _make_problem(error: Exception, place: str, what: str) -> Problem:
    if is_full(error):
        remedy = "take a shorter piece of it, or fewer data.workers: each holds samples of its own"
        return Problem(place, f"{what} takes more memory than there is", remedy)
    if isinstance(error, FusionKitError):
        return Problem(place, str(error))
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    remedy = "mend the file or the code that reads it, or leave the sample out"
    return Problem(place, f"{what} raised {said}{_find_origin(error)}", remedy)


def _find_origin(error: Exception) -> str:
    """Finds the line that raised it: the innermost of those in no installed package, so the user's own."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
