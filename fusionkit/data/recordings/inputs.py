"""The description of a network's inputs, for use where the dataset of its training is not."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from fusionkit.interfaces import Dataset, ModalityColumns
from fusionkit.storage.records.inputs import InputModality, Inputs

_AXES_OF_IMAGES = 3
"""Channels, height and width."""


def describe_inputs(dataset: Dataset, modalities: Iterable[str]) -> Inputs:
    """Describes the inputs of a network that is trained on some modalities of a dataset.

    Args:
        dataset: The dataset.
        modalities: The network's modalities, in order.
    """
    columns, described = dataset.columns, {}
    for name in modalities:
        info, held = dataset.modalities[name], columns.modalities.get(name, ModalityColumns((name,)))
        described[name] = InputModality(
            shape=list(info.shape),
            rate=info.rate,
            pixels=_holds_pixels(dataset, name),
            columns=list(held.columns),
            of_numbers=held.of_numbers,
            whole=held.whole,
            fill=None if held.fill is None else list(held.fill),
            marked=list(held.marked),
            tensor=held.tensor,
        )
    return Inputs(
        format=Inputs.formats[-1],
        modalities=described,
        films=bool(dataset.clips),
        film=columns.film or "film",
        sound=columns.sound or "sound",
        id=columns.id,
        group=columns.group,
        targets={name: list(of) for name, of in columns.targets.items()},
        missing=None if columns.missing is None else list(columns.missing),
    )


def _holds_pixels(dataset: Dataset, modality: str) -> bool:
    """Tells whether a modality is of images, by its first sample; whole numbers beyond a byte are something else."""
    if len(dataset.modalities[modality].shape) != _AXES_OF_IMAGES:
        return False
    if dataset.clips:
        return True
    for index in range(len(dataset.rows)):
        if dataset.has(index, modality):
            values = dataset.load(index)[modality]
            in_light = values.is_floating_point() and bool(values.min() >= 0) and bool(values.max() <= 1)
            return in_light or values.dtype == torch.uint8
    return False
