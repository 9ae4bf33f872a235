"""Contract tests of transforms, datasets and folds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from fusionkit.interfaces import Dataset, Folds, Row, Transform
from fusionkit.registry import DATASETS, FOLDS, TRANSFORMS
from fusionkit.testing.promises import SEED, build, normal, promise, registered


def check_transform(
    cls: type[Transform],
    in_shape: tuple[int, ...] = (8,),
    options: Mapping[str, Any] | None = None,
    *,
    rate: float | None = 10.0,
    length: int = 30,
) -> None:
    """Checks every promise of a transform.

    It is registered and described; keeps the shape and dtype of elements and leaves at least one; does not write into
    its input; draws only from the generator it is given, so that one seed gives one result; and in evaluation draws
    nothing.

    Args:
        cls: The transform's class.
        in_shape: Shape of an element.
        options: Options as a recipe would set them.
        rate: Elements per second.
        length: Elements of the example.

    Raises:
        ContractError: A promise is broken.
    """
    component = registered(TRANSFORMS, cls, sourced=False)
    name = component.name
    transform: Transform = build(component, in_shape, rate, options=options)
    for size in (length, 1):
        for training in (True, False):
            values = normal(size, *in_shape)
            before = values.clone()
            first = transform(values, torch.Generator().manual_seed(SEED), training=training)
            torch.manual_seed(SEED + 1)
            again = copy.deepcopy(transform)(values, torch.Generator().manual_seed(SEED), training=training)
            promise(torch.equal(values, before), f"{name}: it does not write into its input")
            promise(len(first) >= 1, f"{name}: it leaves at least one element of {size}")
            promise(tuple(first.shape[1:]) == in_shape, f"{name}: elements keep their shape {in_shape}")
            promise(first.dtype == values.dtype, f"{name}: elements keep their dtype")
            promise(torch.equal(first, again), f"{name}: one seed gives one result: all chance is the generator's")
    generator = torch.Generator().manual_seed(SEED)
    state = generator.get_state()
    transform(normal(length, *in_shape), generator, training=False)
    promise(torch.equal(generator.get_state(), state), f"{name}: in evaluation it draws nothing")


def check_dataset(cls: type[Dataset], options: Mapping[str, Any] | None = None, *, samples: int = 5) -> None:
    """Checks every promise of a dataset.

    It is registered and described; has rows with unique ids; states classes that its rows' targets belong to; loads
    modalities it has announced, in their shapes, the same at every call and after a copy to a worker; and knows the
    lengths without contradiction.

    Args:
        cls: The dataset's class.
        options: Options as a recipe would set them.
        samples: How many samples are loaded.

    Raises:
        ContractError: A promise is broken.
    """
    component = registered(DATASETS, cls, sourced=False)
    name = component.name
    dataset: Dataset = build(component, options=options)
    ids = [row.id for row in dataset.rows]
    promise(bool(ids), f"{name}: it has samples")
    promise(len(set(ids)) == len(ids), f"{name}: the ids of its samples are unique")
    for target, classes in dataset.classes.items():
        stated = {row.targets.get(target) for row in dataset.rows} - {None}
        strange = sorted(str(value) for value in stated if str(value) not in classes)
        promise(not strange, f"{name}: the classes of {target} hold every target of its rows, also {strange}")
    worker = copy.deepcopy(dataset)
    for index in range(min(samples, len(ids))):
        loaded, again = dataset.load(index), worker.load(index)
        strange = sorted(set(loaded) - set(dataset.modalities))
        promise(not strange, f"{name}: it loads modalities that it has announced, not {strange}")
        for modality, values in loaded.items():
            shape, wanted = tuple(values.shape[1:]), tuple(dataset.modalities[modality].shape)
            promise(shape == wanted, f"{name}: an element of {modality} is {wanted}, sample {ids[index]} has {shape}")
            promise(torch.equal(values, again[modality]), f"{name}: a sample is the same at every load")
        for modality in dataset.modalities:
            known = len(loaded[modality]) if modality in loaded else 0
            promise(dataset.length(index, modality) == known, f"{name}: length agrees with what load returns")


def check_folds(cls: type[Folds], rows: Sequence[Row], options: Mapping[str, Any] | None = None) -> None:
    """Checks every promise of a protocol.

    It is registered and described; makes at least one fold, each of another name; trains and tests on samples that
    exist, each at most once, in the dataset's order, on both sides at least one and none on both; and divides the
    same rows the same way at every call.

    Args:
        cls: The protocol's class.
        rows: Rows that it can divide.
        options: Options as a recipe would set them.

    Raises:
        ContractError: A promise is broken.
    """
    component = registered(FOLDS, cls, sourced=False)
    name = component.name
    splits = build(component, options=options).split(rows)
    promise(bool(splits), f"{name}: there is at least one fold")
    promise(len({split.name for split in splits}) == len(splits), f"{name}: every fold has its own name")
    place = {row.id: position for position, row in enumerate(rows)}
    for split in splits:
        for part in (split.train, split.test):
            promise(bool(part), f"{name}: both sides of {split.name} hold samples")
            promise(set(part) <= set(place), f"{name}: the samples of {split.name} exist")
            positions = [place[sample] for sample in part]
            ordered = all(a < b for a, b in pairwise(positions))
            promise(ordered, f"{name}: the samples of {split.name} are in the dataset's order, each once")
        promise(not set(split.train) & set(split.test), f"{name}: no sample is on both sides of {split.name}")
    torch.manual_seed(SEED + 1)
    promise(build(component, options=options).split(rows) == splits, f"{name}: the same rows are divided the same way")
