"""Opening the dataset that a recipe names: with its films as they were prepared, shared by runs, kept in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import DataSpec, PrepareSpec
from fusionkit.data.films import Forecast, PreparedDataset
from fusionkit.interfaces import Dataset

_shared: ContextVar[dict[tuple[str, str, bool], Dataset] | None] = ContextVar("_shared", default=None)


@contextmanager
def datasets_shared() -> Iterator[None]:
    """Within it a dataset is opened once for the same options, so that the runs of an experiment share it.

    Outside, every training opens its dataset anew: in a notebook the files may have changed since the last one.
    Within another one, the datasets of that are shared.
    """
    token = _shared.set({} if (shared := _shared.get()) is None else shared)
    try:
        yield
    finally:
        _shared.reset(token)


_listed: ContextVar[bool] = ContextVar("_listed", default=False)
_foreseen: ContextVar[bool] = ContextVar("_foreseen", default=False)


@contextmanager
def datasets_listed() -> Iterator[None]:
    """Within it films need not be prepared: rows and shapes are those that datasets list, and nothing is shared."""
    token = _listed.set(True)
    try:
        yield
    finally:
        _listed.reset(token)


@contextmanager
def datasets_foreseen() -> Iterator[None]:
    """Within it films that are not prepared are noise as long as their headers state: for a look at the cost."""
    token = _foreseen.set(True)
    try:
        yield
    finally:
        _foreseen.reset(token)


def open_dataset(data: DataSpec) -> Dataset:
    """The dataset of a recipe, with its films as they were prepared, and kept in memory where the recipe says so."""
    if _listed.get():
        return _opened(data)
    shared = _shared.get()
    plain = data.model_dump(mode="json", include={"dataset", "prepare"})
    # The folder is part of the key because relative paths among the options mean something else elsewhere.
    # Nothing is sorted in it: some datasets draw in the order of their modalities.
    key = (f"{json.dumps(plain)} {_foreseen.get()}", os.getcwd(), data.cache)
    if shared is not None and key in shared:
        return shared[key]
    dataset = InMemory(open_dataset(data.model_copy(update={"cache": False}))) if data.cache else _opened(data)
    if shared is not None:
        shared[key] = dataset
    return dataset


def _opened(data: DataSpec) -> Dataset:
    dataset: Dataset = build_component(data.dataset)
    if not dataset.clips:
        return dataset
    prepared = PreparedDataset(dataset, data.prepare or PrepareSpec(), kind=data.dataset.type)
    if _listed.get():
        return prepared
    if _foreseen.get() and any(name not in prepared.records for name in prepared.clips):
        return Forecast(prepared, data.prepare or PrepareSpec())
    prepared.require_prepared()
    return prepared


class InMemory(Dataset):
    """A dataset that keeps every sample it has loaded.

    Args:
        dataset: The dataset that loads them.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.modalities, self.rows, self.classes = dataset.modalities, dataset.rows, dataset.classes
        self.clips, self.notes, self.contents = dataset.clips, dataset.notes, dataset.contents
        self.origins, self.cautions, self.sources = dataset.origins, dataset.cautions, dataset.sources
        self.group_name = dataset.group_name
        self._dataset = dataset
        self._loaded: dict[int, Mapping[str, Tensor]] = {}

    def load(self, index: int) -> Mapping[str, Tensor]:
        """The sample, from memory where it has been loaded before."""
        if index not in self._loaded:
            self._loaded[index] = self._dataset.load(index)
        return self._loaded[index]

    def has(self, index: int, modality: str) -> bool:
        """Whether a sample has a modality, as the dataset says."""
        return self._dataset.has(index, modality)

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality, as the dataset counts them."""
        return self._dataset.length(index, modality)
