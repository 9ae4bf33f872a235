"""A recipe met with its data: dataset, fold, training, validation and test samples, and the batches of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fusionkit.config.documents import read_document
from fusionkit.config.model_completion import complete_model
from fusionkit.config.recipe import build_component, build_head, check_document
from fusionkit.config.schema import PrepareSpec, Recipe
from fusionkit.data.duplicates import Copies, describe_copies, find_copies
from fusionkit.data.loading.batching import EpochBatches
from fusionkit.data.loading.feed import Feed
from fusionkit.data.loading.samples import Samples, TargetEncoder, check_targets, encode_targets
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import SplitLabel, check_split, hash_data, split_inner
from fusionkit.data.transforms.chain import build_transforms, find_whole_numbers
from fusionkit.errors import DataError, Problem, RecipeError
from fusionkit.interfaces import Batch, Dataset, Folds, LossHead, Split, Transform
from fusionkit.interfaces.written_numbers import find_class

SELECTION_LABELS: Mapping[str, str] = {
    "last": "last epoch",
    "best": "selected on the reported data",
    "inner": "selected on inner groups of the training part",
}
"""By ``train.select``, what every result says of how its epoch was chosen."""


@dataclass(frozen=True)
class Assembly:
    """A recipe and the samples that it trains, validates and reports.

    Args:
        recipe: The recipe, with the shapes and classes that its dataset states.
        dataset: The dataset.
        split: The fold; the trainer sees its test part only where the recipe selects ``best``.
        overlap_label: Whether groups stand on both sides of the split, as every result must say.
        train_ids: Samples to train on.
        validation_ids: Samples to select the epoch on; none for ``select: last``.
        test_ids: Samples to report.
        encoders: How the targets become tensors.
        copies: Files of test samples that training samples have as well.
    """

    recipe: Recipe
    dataset: Dataset
    split: Split
    overlap_label: SplitLabel
    train_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    encoders: Mapping[str, TargetEncoder]
    copies: Copies = ()

    @property
    def data_hash(self) -> str:
        """The sha256 of the samples, what they state and, where it is known, what they hold."""
        return hash_data(self.split, self.dataset.rows, self.dataset.contents)

    @cached_property
    def training_targets(self) -> Mapping[str, Tensor]:
        """The encoded targets of the training part of the fold, those of samples that select the epoch included."""
        training = set(self.split.train)
        return encode_targets([row for row in self.dataset.rows if row.id in training], self.encoders)

    @property
    def notes(self) -> tuple[str, ...]:
        """The facts of the samples that a reader of the results must know.

        What the dataset says of them, files on both sides of the split, and modalities and classes that no training
        sample has.
        """
        training = set(self.train_ids)
        rows = [row for row in self.dataset.rows if row.id in training]
        found = [*self.dataset.cautions, *([f"{describe_copies(self.copies)}."] if self.copies else [])]
        found += self._absent_modalities()
        for name, target in self.recipe.model.targets.items():
            classes = target.options.get("classes") or ()
            stated = {find_class(value, tuple(classes)) for row in rows if (value := row.targets.get(name)) is not None}
            lacking = [each for each in classes if each not in stated]
            if lacking:
                found.append(
                    f"The training part of {self.split.name} has no sample of {len(lacking)} of the {len(classes)} "
                    f"classes of {name}: {', '.join(lacking)}. The network cannot learn what it never sees."
                )
        return tuple(found)

    def _absent_modalities(self) -> list[str]:
        """Finds the modalities of the network that no training sample has, and how many test samples have them."""
        place_of = {row.id: place for place, row in enumerate(self.dataset.rows)}
        train, test = ([place_of[name] for name in side] for side in (self.train_ids, self.test_ids))
        found = []
        for name in self.recipe.model.modalities:
            if not any(self.dataset.has(place, name) for place in train):
                having = sum(self.dataset.has(place, name) for place in test)
                found.append(
                    f"None of the {len(train)} training samples of {self.split.name} has {name}, which {having} of its "
                    f"{len(test)} test samples have. The network cannot learn what it never sees."
                )
        return found

    @property
    def selection_label(self) -> str:
        """The rule that chose the epoch, as every result must say."""
        return SELECTION_LABELS[self.recipe.train.select]

    def loader(
        self,
        ids: Sequence[str],
        *,
        training: bool,
        epoch: int = 0,
        start: int = 0,
        modalities: Sequence[str] | None = None,
    ) -> Iterator[Batch]:
        """Yields the batches of one epoch; in evaluation in the order of `ids`, every sample once."""
        return self.feed(ids, training=training, modalities=modalities).read_epoch(epoch, start)

    def samples(self, ids: Sequence[str], *, training: bool, modalities: Sequence[str] | None = None) -> Samples:
        """Samples as the network is given them: transformed, and with targets encoded.

        Args:
            ids: The samples.
            training: Let the transforms draw.
            modalities: Load these only; all of the model's when left out.
        """
        names = tuple(self.recipe.model.modalities if modalities is None else modalities)
        return Samples(
            self.dataset,
            ids,
            modalities=names,
            transforms={name: self._transforms(name) for name in names},
            encoders=self.encoders,
            training=training,
            seed=self.recipe.train.seed,
            cache=self.recipe.data.cache,
            whole_numbers={name: find_whole_numbers(self.recipe.model.modalities[name]) for name in names},
        )

    def feed(
        self,
        ids: Sequence[str],
        *,
        training: bool,
        modalities: Sequence[str] | None = None,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
    ) -> Feed:
        """Makes the batches of all epochs.

        Args:
            ids: The samples.
            training: Shuffle, and let the transforms draw.
            modalities: Load these only; all of the model's when left out.
            rank: Which process this is.
            world_size: How many processes share the samples.
            device: Where the batches are wanted, if they are to be moved ahead of their steps.
        """
        data = self.recipe.data
        samples = self.samples(ids, training=training, modalities=modalities)
        batches = EpochBatches(
            samples.indices,
            seed=self.recipe.train.seed,
            batch_size=None if data.budget else data.batch_size,
            budget=data.budget,
            lengths=samples.count_elements() if data.budget else None,
            shuffle=training,
            rank=rank,
            world_size=world_size,
        )
        return Feed(samples, batches, workers=data.workers, timeout_seconds=data.timeout_seconds, device=device)

    def rate(self, modality: str) -> float | None:
        """Elements per second that the network is given, behind the transforms; None where they are no time."""
        rate = self.dataset.modalities[modality].rate
        for transform in self._transforms(modality):
            rate = None if rate is None else rate / transform.keeps_every
        return rate

    def _transforms(self, modality: str) -> list[Transform]:
        return build_transforms(self.recipe.model.modalities[modality], self.dataset.modalities[modality])


def assemble(recipe: Recipe, datasets: Datasets | None = None) -> Assembly:
    """Opens the dataset of a recipe, picks its fold and divides it.

    Args:
        recipe: The recipe.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RecipeError: The fold is unknown, or the dataset lacks a modality or a target of the recipe.
        DataError: The dataset is wrong, a group or a file of two groups stands on both sides, targets of any sample of
            the fold are no targets of their heads or cannot be learned, or no training sample states a target; every
            problem is listed.
    """
    dataset = (datasets or Datasets()).open(recipe.data)
    complete = complete_recipe(recipe, dataset)
    split = pick_fold(recipe, dataset)
    label = check_split(split, dataset.rows, recipe.data.allow_group_overlap, dataset.group_name)
    copies = find_copies(split, dataset.sources)
    if copies and label.endswith("-independent"):
        label = _label_copies(split, copies, recipe.data.allow_group_overlap, dataset.group_name)
    heads = build_heads(complete)
    encoders = {name: head.encode for name, head in heads.items()}
    chosen = {*split.train, *split.test}
    rows = [row for row in dataset.rows if row.id in chosen]
    encode_targets(rows, encoders)
    _check_targets_are_known(complete, dataset, split)
    check_targets(rows, heads, dataset.origins)
    train: tuple[str, ...] = split.train
    validation: tuple[str, ...] = ()
    if recipe.train.select == "inner":
        train, validation = split_inner(split, dataset.rows, recipe.train.inner_fraction, recipe.train.seed)
    elif recipe.train.select == "best":
        validation = split.test
    return Assembly(complete, dataset, split, label, train, validation, split.test, encoders, copies)


def _label_copies(split: Split, copies: Copies, allowed: bool, group_name: str) -> SplitLabel:
    """Returns what results may be called where groups of both sides have files in common.

    Raises:
        DataError: That is not allowed.
    """
    if not allowed:
        remedy = (
            "give samples of one recording one group, leave the copies out, or set allow_group_overlap: true, which "
            f"labels every result {group_name}-dependent"
        )
        raise DataError([Problem(f"fold {split.name}", describe_copies(copies), remedy)])
    return f"{group_name}-dependent"


def complete_recipe(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Completes a recipe with the shapes, classes and preparation that its dataset goes by, as run folders hold it.

    Raises:
        RecipeError: The dataset lacks a modality or a target of the recipe, or contradicts its shapes.
    """
    data = recipe.data
    if dataset.clips and data.prepare is None:
        data = data.model_copy(update={"prepare": check_document(PrepareSpec, read_document({})[0])})
    return recipe.model_copy(update={"model": complete_model(recipe.model, dataset), "data": data})


def _check_targets_are_known(recipe: Recipe, dataset: Dataset, split: Split) -> None:
    """Refuses a target that no training sample states: a network would be trained for it on nothing."""
    training = set(split.train)
    stated = [row.targets for row in dataset.rows if row.id in training]
    problems = [
        Problem(f"target {name}", f"none of the {len(stated)} training samples states it", "leave the target out")
        for name in recipe.model.targets
        if all(targets.get(name) is None for targets in stated)
    ]
    if problems:
        raise DataError(problems, source=f"fold {split.name}")


def pick_fold(recipe: Recipe, dataset: Dataset) -> Split:
    """Picks the fold that a recipe names, or whose position it gives.

    Raises:
        RecipeError: There is no such fold.
    """
    folds: Folds = build_component(recipe.data.folds)
    splits = folds.split(dataset.rows)
    wanted = recipe.data.fold
    if isinstance(wanted, int) and 0 <= wanted < len(splits):
        return splits[wanted]
    for split in splits:
        if split.name == wanted:
            return split
    names = ", ".join(split.name for split in splits)
    message = f"no fold {wanted!r}"
    raise RecipeError([Problem("data.fold", message, f"a position from 0 to {len(splits) - 1}, or one of: {names}")])


def build_heads(recipe: Recipe) -> dict[str, LossHead]:
    """Builds the loss heads, for what they say of targets; it depends on their options alone, so any width serves."""
    with torch.random.fork_rng(devices=[]):  # the weights of these heads are drawn in vain
        return {name: build_head(target) for name, target in recipe.model.targets.items()}
