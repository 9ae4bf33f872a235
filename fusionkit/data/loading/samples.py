"""Samples and loaders whose every random draw is a function of seed, epoch and sample.

A draw never depends on which process makes it, nor on what was drawn before, so the numbers are the same for any number
of workers and after a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.collation import Sample, fit_numbers
from fusionkit.data.loading.failures import measure_length, name_sample
from fusionkit.data.seeds import make_generator
from fusionkit.data.splits import refuse_unknown_samples
from fusionkit.errors import DataError, Problem, RecipeError, suggest_names
from fusionkit.interfaces import Dataset, DeviceTransform, LossHead, RawTarget, Row, Transform
from fusionkit.interfaces.written_numbers import is_number
from fusionkit.nn.tensor_checks import check_finite, describe_odd_kind

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
        self.indices = _find_positions(dataset, ids, self.modalities)
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

    def count_elements(self) -> Mapping[str, tuple[int, ...]]:
        """Counts the elements of every sample before transforms, by modality, in the order of `indices`."""
        return {
            name: tuple(measure_length(self.dataset, index, name) for index in self.indices) for name in self.modalities
        }

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: Draw) -> Sample:
        """Returns the sample at a position of the dataset, as it is drawn in an epoch.

        Raises:
            DataError: A file is damaged, or holds numbers that are not finite, or elements of another shape.
        """
        raw = self._load(draw.index)
        inputs, drawn = {}, {}
        for name in self.modalities:
            if name in raw and (draw.only is None or name in draw.only):
                with name_sample(self.dataset, draw.index, f"a transform of {name}"):
                    inputs[name], drawn[name] = self._transform(raw[name], draw, name)
        return Sample(self.dataset.rows[draw.index].id, inputs, self._targets[draw.index], drawn)

    def _transform(self, values: Tensor, draw: Draw, modality: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Transforms a modality on the CPU, and returns what the transforms on the device are to be given."""
        if not self.transforms[modality]:
            return values, ()
        again = f"/again{draw.copy}" if draw.copy else ""  # a sample that is drawn again is augmented anew
        own = make_generator(self.seed, draw.epoch, draw.index, modality + again)
        drawn = []
        for position, transform in enumerate(self.transforms[modality]):
            if isinstance(transform, DeviceTransform):
                drawn += [transform.draw(len(values), own)] if self.training else []
                continue
            generator = own
            # Modalities that are cut together must draw the same numbers, whatever each of them drew before.
            if transform.together:
                purpose = f"together/{type(transform).__name__}{again}"
                generator = make_generator(self.seed, draw.epoch, draw.index, purpose)
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
        with name_sample(self.dataset, index, "load"):
            loaded = self.dataset.load(index)
            _check_tensors(loaded)
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


def _check_tensors(loaded: object) -> None:
    """Refuses what no dataset may return, in words for who wrote it."""
    if not isinstance(loaded, Mapping):
        raise DataError(f"load returned {type(loaded).__name__}; a mapping of modalities to tensors is expected")
    for name, values in loaded.items():
        if not isinstance(values, Tensor) or values.ndim == 0:
            what = "a number" if isinstance(values, Tensor) else type(values).__name__
            raise DataError(f"load returned {what} as {name!r}; a tensor (length, *shape) is expected")
        if odd := describe_odd_kind(values):
            raise DataError(f"load returned {name!r} as {odd}")


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
            problems.append(Problem("targets", f"the dataset has no target {target!r}", suggest_names(target, known)))
            continue
        values, wrong = [], []
        for row in rows:
            try:
                values.append(encode(row.targets.get(target)))
            except ValueError as error:
                wrong.append(Problem(f"{row.place}: {target}", str(error)))
        words = _find_words(target, [row.targets.get(target) for row in rows], encode) if len(wrong) > 1 else None
        problems += wrong if words is None else [words]
        if len(values) == len(rows) and values:
            encoded[target] = torch.stack(values)
    if problems:
        raise DataError(problems)
    return encoded


def _find_words(target: str, given: Sequence[RawTarget | None], encode: TargetEncoder) -> Problem | None:
    """Tells once that all of a target are words where numbers are wanted, instead of once for every row."""
    stated = [value for value in given if value is not None]
    if not all(isinstance(value, str) and not is_number(value) for value in stated):
        return None
    try:
        encode(0.5)
    except ValueError:  # classes or labels are wanted: their names may be misspelt, so each is told
        return None
    held = f"holds words, such as {stated[0]!r}, in {len(stated)} of {len(given)} rows, where numbers are wanted"
    return Problem(f"target {target}", held, f"make it a classification: model.targets.{target}=classification")


def check_targets(rows: Sequence[Row], heads: Mapping[str, LossHead], origins: Mapping[str, str]) -> None:
    """Asks every loss head whether the targets of all rows can be learned together.

    Raises:
        DataError: They cannot; every target is listed, with its column where `origins` names it.
    """
    problems = []
    for name, head in heads.items():
        try:
            head.check_targets([row.targets.get(name) for row in rows])
        except ValueError as error:
            place = f"target {name}" + (f" ({origins[name]})" if name in origins else "")
            problems.append(Problem(place, str(error)))
    if problems:
        raise DataError(problems)


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


def _find_positions(dataset: Dataset, ids: Sequence[str], modalities: Sequence[str]) -> tuple[int, ...]:
    position_of = {row.id: position for position, row in enumerate(dataset.rows)}
    problems = [
        Problem("modalities", f"the dataset has no modality {name!r}", suggest_names(name, dataset.modalities))
        for name in modalities
        if name not in dataset.modalities
    ]
    problems += refuse_unknown_samples([name for name in ids if name not in position_of], position_of, "samples")
    if problems:
        raise DataError(problems)
    return tuple(position_of[name] for name in ids)
