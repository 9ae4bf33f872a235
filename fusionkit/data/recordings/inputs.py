"""The description of a network's inputs, for use where the dataset of its training is not."""

from __future__ import annotations

from collections.abc import Iterable

from fusionkit.interfaces import Dataset, ModalityColumns
from fusionkit.storage.records.inputs import InputModality, Inputs


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
            columns=list(held.columns),
            of_numbers=held.of_numbers,
            whole=held.whole,
            fill=None if held.fill is None else list(held.fill),
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
