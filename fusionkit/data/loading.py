"""Samples and loaders whose every random draw is a function of seed, epoch and sample.

A draw never depends on which process makes it, nor on what was drawn before, so the numbers are the same for any number
of workers and after a resume.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fusionkit.data.batching import Draw, EpochBatches
from fusionkit.data.collation import Sample, fit_numbers, make_batch
from fusionkit.data.media import check_finite
from fusionkit.data.sending import Parcel, prepare_worker
from fusionkit.data.splits import unknown_samples
from fusionkit.errors import DataError, Problem, RecipeError, did_you_mean
from fusionkit.interfaces import Batch, Dataset, DeviceTransform, RawTarget, Row, Transform
from fusionkit.processes import leave_signals_to_parent

TargetEncoder = Callable[[RawTarget | None], Tensor]
"""`LossHead.encode` of a target."""


class Samples(TorchDataset[Sample]):
    """Chosen samples of a dataset, with their transforms and encoded targets.

    Args:
        dataset: The dataset.
        ids: The samples to take, such as one side of a `Split`.
        modalities: The modalities to take, in this order; all of the dataset's when left out.
        transforms: Transforms by modality, applied in order.
        encoders: Encoders by target.
        training: Whether the transforms may draw.
        seed: The seed of what they draw.
        cache: Keep every loaded sample in memory (each worker process keeps its own).
        whole_numbers: By modality, the dtypes of whole numbers that the network's first encoder takes, None where it
            does not say; others are converted, see `fit_numbers`. What is left out is given as the dataset has it.

    Raises:
        DataError: An id or a modality is unknown, or targets cannot be encoded; every problem is listed.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        *,
        modalities: Sequence[str] | None = None,
        transforms: Mapping[str, Sequence[Transform]] | None = None,
        encoders: Mapping[str, TargetEncoder] | None = None,
        training: bool = False,
        seed: int = 0,
        cache: bool = False,
        whole_numbers: Mapping[str, tuple[torch.dtype, ...] | None] | None = None,
    ) -> None:
        self._whole_numbers = whole_numbers or {}
        self.dataset, self.training, self.seed = dataset, training, seed
        self.modalities = tuple(dataset.modalities if modalities is None else modalities)
        self.transforms = {name: tuple((transforms or {}).get(name, ())) for name in self.modalities}
        _check_order(self.transforms)
        self.indices = _positions(dataset, ids, self.modalities)
        encoded = encode_targets([dataset.rows[index] for index in self.indices], encoders or {})
        self._targets = {
            index: {name: values[position] for name, values in encoded.items()}
            for position, index in enumerate(self.indices)
        }
        self._cached: dict[int, Mapping[str, Tensor]] | None = {} if cache else None

    @property
    def element_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of an element of every modality; transforms keep it."""
        return {name: self.dataset.modalities[name].shape for name in self.modalities}

    def lengths(self) -> Mapping[str, tuple[int, ...]]:
        """Elements of every sample before transforms, by modality, in the order of `indices`."""
        return {name: tuple(self.dataset.length(index, name) for index in self.indices) for name in self.modalities}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: Draw) -> Sample:
        """The sample at a position of the dataset, as it is drawn in an epoch.

        Raises:
            DataError: A file is damaged, or holds numbers that are not finite, or elements of another shape.
        """
        raw = self._load(draw.index)
        inputs, drawn = {}, {}
        for name in self.modalities:
            if name in raw and (draw.only is None or name in draw.only):
                inputs[name], drawn[name] = self._transformed(raw[name], draw, name)
        return Sample(self.dataset.rows[draw.index].id, inputs, self._targets[draw.index], drawn)

    def _transformed(self, values: Tensor, draw: Draw, modality: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A modality after its transforms on the CPU, and what those on the device are to be given."""
        if not self.transforms[modality]:
            return values, ()
        again = f"/again{draw.copy}" if draw.copy else ""  # a sample that is drawn again is augmented anew
        own = generator_for(self.seed, draw.epoch, draw.index, modality + again)
        drawn = []
        for position, transform in enumerate(self.transforms[modality]):
            if isinstance(transform, DeviceTransform):
                drawn += [transform.draw(len(values), own)] if self.training else []
                continue
            generator = own
            if transform.together:
                purpose = f"together/{type(transform).__name__}{again}"
                generator = generator_for(self.seed, draw.epoch, draw.index, purpose)
            version = 0 if values.is_inference() else values._version  # what was loaded in inference mode counts none
            transformed = transform(values, generator, training=self.training)
            if not values.is_inference() and values._version != version:
                place = f"model.modalities.{modality}.transforms[{position}]"
                message = f"{type(transform).__name__} writes into what it is given, which would spoil the data"
                raise RecipeError([Problem(place, message, "return a new tensor: values + 1 instead of values += 1")])
            values = transformed
        return values, tuple(drawn)

    def _load(self, index: int) -> Mapping[str, Tensor]:
        if self._cached is not None and index in self._cached:
            return self._cached[index]
        loaded = self.dataset.load(index)
        raw = {
            name: fit_numbers(loaded[name], self._whole_numbers.get(name))
            for name in self.modalities
            if name in loaded and len(loaded[name])
        }
        for name, values in raw.items():
            place = f"{self.dataset.rows[index].place}: {name}"
            expected = self.dataset.modalities[name].shape
            if tuple(values.shape[1:]) != expected:
                message = f"elements of shape {tuple(values.shape[1:])}, the dataset states {expected}"
                raise DataError([Problem(place, message)])
            if values.is_floating_point():
                check_finite(values, place)
        if self._cached is not None:
            self._cached[index] = raw
        return raw


def encode_targets(rows: Sequence[Row], encoders: Mapping[str, TargetEncoder]) -> Mapping[str, Tensor]:
    """Encodes the targets of all rows, ``(rows, ...)`` by target.

    Raises:
        DataError: No row states a target, or values are no targets of their encoder; all of them are listed.
    """
    problems: list[Problem] = []
    encoded: dict[str, Tensor] = {}
    known = {name for row in rows for name in row.targets}
    for target, encode in encoders.items():
        if rows and target not in known:
            problems.append(Problem("targets", f"the dataset has no target {target!r}", did_you_mean(target, known)))
            continue
        values = []
        for row in rows:
            try:
                values.append(encode(row.targets.get(target)))
            except ValueError as error:
                problems.append(Problem(f"{row.place}: {target}", str(error)))
        if len(values) == len(rows) and values:
            encoded[target] = torch.stack(values)
    if problems:
        raise DataError(problems)
    return encoded


def _collate_with_pending(
    samples: Sequence[Sample],
    element_shapes: Mapping[str, tuple[int, ...]],
    transforms: Mapping[str, tuple[DeviceTransform, ...]],
    send: bool,
) -> Batch | Parcel:
    """A batch that carries the transforms which its device is to compute, to be sent to another process or not."""
    batch = make_batch(samples, element_shapes)
    pending = {}
    for name, steps in transforms.items():
        drawn = [sample.drawn[name] for sample in samples if sample.drawn.get(name)]
        if drawn:
            pending[name] = tuple(zip(steps, map(torch.cat, zip(*drawn, strict=True)), strict=True))
    batch = replace(batch, pending=pending)
    return Parcel(batch) if send else batch


def make_loader(
    samples: Samples, batches: EpochBatches, *, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Sample]:
    """A loader that yields a `Batch` for each entry of `batches`; call ``batches.set_epoch`` before each epoch.

    Transforms of kind `DeviceTransform` are computed by `Batch.to`, on the device that it is given.

    Args:
        samples: The samples.
        batches: Which samples form a batch, by position in the dataset.
        workers: Processes that load ahead; the numbers are the same for any of them, 0 included.
        pin_memory: Copy batches to page-locked memory, for transfers to a GPU.
    """
    return DataLoader(
        samples,
        batch_sampler=_Draws(batches),
        collate_fn=functools.partial(
            _collate_with_pending,
            element_shapes=samples.element_shapes,
            transforms={name: _on_device(chain) for name, chain in samples.transforms.items()},
            send=workers > 0,
        ),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_begin_worker,
        # The loader draws a seed for its workers: from here, so that the process's own generator stays untouched.
        generator=torch.Generator(),
    )


def generator_for(seed: int, epoch: int, index: int, purpose: str) -> torch.Generator:
    """A generator that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{index}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class _Draws(torch.utils.data.Sampler[list[Draw]]):
    """The batches with their epoch, which so reaches the workers."""

    def __init__(self, batches: EpochBatches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self._batches.draws(self._batches.epoch)[self._batches.start :])

    def __len__(self) -> int:
        return len(self._batches)


def _begin_worker(worker: int) -> None:
    leave_signals_to_parent()
    torch.set_num_threads(1)
    prepare_worker()


def _on_device(chain: Sequence[Transform]) -> tuple[DeviceTransform, ...]:
    return tuple(transform for transform in chain if isinstance(transform, DeviceTransform))


def _check_order(transforms: Mapping[str, Sequence[Transform]]) -> None:
    problems = []
    for name, chain in transforms.items():
        kinds = [isinstance(transform, DeviceTransform) for transform in chain]
        if kinds != sorted(kinds):
            late = next(type(chain[i]).__name__ for i in range(1, len(kinds)) if kinds[i - 1] and not kinds[i])
            remedy = "write those that are computed on the device, such as spatial, last"
            problems.append(Problem(f"model.modalities.{name}.transforms", f"{late} stands too late", remedy))
    if problems:
        raise RecipeError(problems)


def _positions(dataset: Dataset, ids: Sequence[str], modalities: Sequence[str]) -> tuple[int, ...]:
    position_of = {row.id: position for position, row in enumerate(dataset.rows)}
    problems = [
        Problem("modalities", f"the dataset has no modality {name!r}", did_you_mean(name, dataset.modalities))
        for name in modalities
        if name not in dataset.modalities
    ]
    problems += unknown_samples([name for name in ids if name not in position_of], position_of, "samples")
    if problems:
        raise DataError(problems)
    return tuple(position_of[name] for name in ids)
