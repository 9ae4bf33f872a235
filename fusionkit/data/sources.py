"""Datasets that recipes name, each opened once: with their films as they were prepared, kept in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import DataSpec, PrepareSpec
from fusionkit.data.films import Forecast, PreparedDataset
from fusionkit.interfaces import Dataset

Films = Literal["prepared", "listed", "foreseen"]


class Datasets:
    """The datasets of a process: whoever is given it opens each once for the same options, and shares it.

    A command makes one and hands it on. What a notebook does without one opens its dataset anew, for the files may have
    changed since. Sent to another process it arrives empty: that one opens its own.

    Args:
        films: ``prepared`` gives films as `fusionkit prepare` left them; ``listed`` gives rows and shapes as datasets
            list them, before films are prepared; ``foreseen`` gives noise, as long as their headers state, for films
            that are not prepared yet.
    """

    def __init__(self, films: Films = "prepared") -> None:
        self._films = films
        self._sources: dict[tuple[str, str], Dataset] = {}
        self._opened: dict[tuple[str, str, bool], Dataset] = {}

    def __reduce__(self) -> tuple[type[Datasets], tuple[Films]]:
        return Datasets, (self._films,)

    def with_films(self, films: Films) -> Datasets:
        """Returns datasets of the same sources whose films are taken otherwise, as they are from now on."""
        other = Datasets(films)
        other._sources = self._sources
        return other

    def source(self, data: DataSpec) -> Dataset:
        """Returns the dataset of a recipe as it lists itself; its films cannot be loaded."""
        key = _key(data, {"dataset"})
        if key not in self._sources:
            self._sources[key] = build_component(data.dataset)
        return self._sources[key]

    def open(self, data: DataSpec) -> Dataset:
        """Returns the dataset of a recipe, with its films, and kept in memory where the recipe says so."""
        key = (*_key(data, {"dataset", "prepare"}), data.cache)
        if key not in self._opened:
            without = self.open(data.model_copy(update={"cache": False})) if data.cache else self._with_films(data)
            self._opened[key] = InMemory(without) if data.cache else without
        return self._opened[key]

    def _with_films(self, data: DataSpec) -> Dataset:
        dataset = self.source(data)
        if not dataset.clips:
            return dataset
        prepared = PreparedDataset(dataset, data.prepare or PrepareSpec(), kind=data.dataset.type)
        if self._films == "foreseen" and any(name not in prepared.records for name in prepared.clips):
            return Forecast(prepared, data.prepare or PrepareSpec())
        if self._films == "prepared":
            prepared.require_prepared()
        return prepared


def _key(data: DataSpec, keys: set[str]) -> tuple[str, str]:
    # The folder is part of the key because relative paths among the options mean something else elsewhere.
    # Nothing is sorted in it: some datasets draw in the order of their modalities.
    return json.dumps(data.model_dump(mode="json", include=keys)), os.getcwd()


class InMemory(Dataset):
    """A dataset that keeps every sample it has loaded.

    Args:
        dataset: The dataset that loads them.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.modalities, self.rows, self.classes = dataset.modalities, dataset.rows, dataset.classes
        self.clips, self.notes, self.contents = dataset.clips, dataset.notes, dataset.contents
        self.origins, self.cautions, self.sources = dataset.origins, dataset.cautions, dataset.sources
        self.group_name, self.columns = dataset.group_name, dataset.columns
        self._dataset = dataset
        self._loaded: dict[int, Mapping[str, Tensor]] = {}

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Returns the sample, from memory where it has been loaded before."""
        if index not in self._loaded:
            self._loaded[index] = self._dataset.load(index)
        return self._loaded[index]

    def has(self, index: int, modality: str) -> bool:
        """Tells whether a sample has a modality, as the dataset says."""
        return self._dataset.has(index, modality)

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality, as the dataset counts them."""
        return self._dataset.length(index, modality)
