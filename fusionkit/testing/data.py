"""Contract tests of transforms, face detectors, datasets and folds."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fusionkit.config.components.registry import DATASETS, DETECTORS, FOLDS, TRANSFORMS
from fusionkit.interfaces import Box, Dataset, DeviceTransform, FaceDetector, Folds, Row, Transform
from fusionkit.interfaces.written_numbers import class_names
from fusionkit.testing.promises import SEED, build, draw_normal, find_component, promise


def check_transform(
    cls: type[Transform],
    in_shape: tuple[int, ...] = (8,),
    options: Mapping[str, Any] | None = None,
    *,
    rate: float | None = 10.0,
    length: int = 30,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Checks every promise of a transform.

    It is registered and described; keeps the shape and dtype of elements and leaves at least one; does not write into
    its input; draws only from the generator it is given, so that one seed gives one result; and in evaluation draws
    nothing. A `DeviceTransform` is drawn and applied in halves: it draws a row of parameters per element, keeps the
    number of elements, and gives each sample in a packed batch what it gives the sample alone.

    Args:
        cls: The transform's class.
        in_shape: Shape of an element.
        options: Options as a recipe would set them.
        rate: Elements per second.
        length: Elements of the example.
        dtype: Of the example's numbers: normally distributed where it is of floating point, else bytes.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(TRANSFORMS, cls, sourced=False)
    name = component.name
    transform: Transform = build(component, in_shape, rate, options=options)
    for size in (length, 1):
        for training in (True, False):
            values = _elements(size, in_shape, dtype)
            before = values.clone()
            first = transform(values, _seeded(), training=training)
            torch.manual_seed(SEED + 1)
            again = copy.deepcopy(transform)(values, _seeded(), training=training)
            promise(torch.equal(values, before), f"{name}: it does not write into its input")
            promise(len(first) >= 1, f"{name}: it leaves at least one element of {size}")
            promise(tuple(first.shape[1:]) == in_shape, f"{name}: elements keep their shape {in_shape}")
            promise(first.dtype == values.dtype, f"{name}: elements keep their dtype")
            promise(torch.equal(first, again), f"{name}: one seed gives one result: all chance is the generator's")
    generator = _seeded()
    transform(_elements(length, in_shape, dtype), generator, training=False)
    promise(torch.equal(generator.get_state(), _seeded().get_state()), f"{name}: in evaluation it draws nothing")
    if isinstance(transform, DeviceTransform):
        _check_halves(name, transform, _elements(length, in_shape, dtype))


def _check_halves(name: str, transform: DeviceTransform, values: Tensor) -> None:
    """Draws and arithmetic of a `DeviceTransform`, for a batch of two samples and for each of them alone."""
    samples = [values, values[: max(1, len(values) // 2)]]
    drawn = [transform.draw(len(sample), _seeded(place)) for place, sample in enumerate(samples)]
    for place, (sample, parameters) in enumerate(zip(samples, drawn, strict=True)):
        promise(parameters.ndim == 2, f"{name}: draw gives (length, parameters), not {tuple(parameters.shape)}")
        promise(len(parameters) == len(sample), f"{name}: draw gives a row of parameters per element")
        promise(parameters.device.type == "cpu", f"{name}: it draws on the CPU")
        again = transform.draw(len(sample), _seeded(place))
        promise(torch.equal(parameters, again), f"{name}: one seed draws the same parameters")
        both = transform(sample, _seeded(place), training=True)
        promise(torch.equal(both, transform.apply(sample, parameters)), f"{name}: a call is draw and apply")
    packed, parameters = torch.cat(samples), torch.cat(drawn)
    kept, kept_parameters = packed.clone(), parameters.clone()
    together = transform.apply(packed, parameters)
    promise(torch.equal(packed, kept), f"{name}: apply does not write into its input")
    promise(torch.equal(parameters, kept_parameters), f"{name}: apply does not write into the parameters")
    promise(together.shape == packed.shape, f"{name}: apply keeps the number of elements")
    alone = torch.cat([transform.apply(*sample) for sample in zip(samples, drawn, strict=True)])
    promise(torch.equal(together, alone), f"{name}: a sample in a batch is given what it is given alone")
    nothing = transform.apply(packed[:0], parameters[:0])
    promise(nothing.shape == packed[:0].shape, f"{name}: a batch without elements is no error")


def check_detector(
    cls: type[FaceDetector],
    options: Mapping[str, Any] | None = None,
    *,
    sizes: Sequence[tuple[int, int]] = ((97, 130), (64, 64), (31, 17), (1, 1)),
) -> None:
    """Checks every promise of a face detector.

    It is registered and described; returns boxes with an area and finite numbers for images of any size, also for
    grey ones and such that are a view of other memory; does not write into the image; finds the same again, also
    after a copy to another process; and, where it says that it does not look, does not.

    Args:
        cls: The detector's class.
        options: Options as a recipe would set them.
        sizes: Height and width of the images.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(DETECTORS, cls, sourced=False)
    name = component.name
    detector: FaceDetector = build(component, options=options)
    for height, width in sizes:
        noise = _elements(height, (width, 3), torch.uint8)
        grey = noise[..., :1].expand(-1, -1, 3)  # a view: its three channels are one
        for image in (noise, grey):
            before = image.clone()
            found = tuple(detector.detect(image))
            for box in found:
                _check_box(name, box)
            promise(torch.equal(image, before), f"{name}: it does not write into the image")
            promise(found == tuple(detector.detect(before)), f"{name}: one image has the same faces, also as a view")
            copied = pickle.loads(pickle.dumps(detector))
            promise(found == tuple(copied.detect(image)), f"{name}: a copy in another process finds the same")
        if not detector.looks:
            alike = tuple(detector.detect(noise)) == tuple(detector.detect(255 - noise))
            promise(alike, f"{name}: a detector that does not look finds the same in every image of a size")


def _check_box(name: str, box: Box) -> None:
    promise(isinstance(box, Box), f"{name}: it returns boxes, not {type(box).__name__}")
    numbers = (box.left, box.top, box.right, box.bottom, box.score)
    promise(all(math.isfinite(number) for number in numbers), f"{name}: the numbers of a box are finite: {box}")
    promise(box.left < box.right and box.top < box.bottom, f"{name}: a box has an area: {box}")


def _elements(size: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Draws example elements: normally distributed, or bytes."""
    if dtype.is_floating_point:
        return draw_normal(size, *shape, dtype=dtype)
    return torch.randint(256, (size, *shape), generator=_seeded(), dtype=dtype)


def _seeded(more: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(SEED + more)


def check_dataset(cls: type[Dataset], options: Mapping[str, Any] | None = None, *, samples: int = 5) -> None:
    """Checks every promise of a dataset.

    It is registered and described; has rows with unique ids; states classes that its rows' targets belong to; loads
    modalities it has announced, in their shapes and of one dtype each, the same at every call and after a copy to a
    worker; and knows lengths and presence without contradiction, where a modality that is left out and one of length 0
    are both missing. A dataset of films announces no modalities; each of its rows has a film or a sound.

    Args:
        cls: The dataset's class.
        options: Options as a recipe would set them.
        samples: How many samples are loaded.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(DATASETS, cls, sourced=False)
    name = component.name
    dataset: Dataset = build(component, options=options)
    ids = [row.id for row in dataset.rows]
    promise(bool(ids), f"{name}: it has samples")
    promise(len(set(ids)) == len(ids), f"{name}: the ids of its samples are unique")
    for target, classes in dataset.classes.items():
        stated = {value for row in dataset.rows if isinstance(value := row.targets.get(target), str | int | float)}
        strange = sorted(str(value) for value in stated if not {*class_names(value)} & {*classes})
        promise(not strange, f"{name}: the classes of {target} hold every target of its rows, also {strange}")
    if dataset.clips:
        promise(list(dataset.clips) == ids, f"{name}: every sample has its clip, in the order of the rows")
        empty = [key for key, clip in dataset.clips.items() if clip.film is None and clip.sound is None]
        promise(not empty, f"{name}: every clip has a film or a sound, also {empty[:3]}")
        promise(not dataset.modalities, f"{name}: what is prepared announces the modalities, not the films")
        return
    worker = copy.deepcopy(dataset)
    kinds: dict[str, torch.dtype] = {}
    for index in range(min(samples, len(ids))):
        loaded, again = dataset.load(index), worker.load(index)
        strange = sorted(set(loaded) - set(dataset.modalities))
        promise(not strange, f"{name}: it loads modalities that it has announced, not {strange}")
        for modality, values in loaded.items():
            shape, wanted = tuple(values.shape[1:]), tuple(dataset.modalities[modality].shape)
            promise(shape == wanted, f"{name}: an element of {modality} is {wanted}, sample {ids[index]} has {shape}")
            promise(torch.equal(values, again[modality]), f"{name}: a sample is the same at every load")
            kind = kinds.setdefault(modality, values.dtype) if len(values) else kinds.get(modality, values.dtype)
            kept = not len(values) or values.dtype == kind
            promise(kept, f"{name}: numbers of {modality} are of one dtype in all samples: {kind}, {values.dtype}")
        for modality in dataset.modalities:
            known = len(loaded[modality]) if modality in loaded else 0
            promise(dataset.length(index, modality) == known, f"{name}: length agrees with what load returns")
            promise(
                dataset.has(index, modality) == (known > 0),
                f"{name}: has agrees with what load returns: left out and length 0 both mean missing, {modality}",
            )


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
    component = find_component(FOLDS, cls, sourced=False)
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
