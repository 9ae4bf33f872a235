"""Sensor series of the UEA and UCR archives, their channels split into modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.data.readers.ts import TsCase, TsFile, read_ts
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row

Channel = Annotated[int, Field(ge=0)]


@DATASETS.register("ts")
class Ts(Dataset):
    """Time series in the text format ``.ts`` of the UEA archive; the target is called ``label``.

    Series may differ in length from case to case; the channels of one modality must agree in each. Where a case has no
    value of a modality at all, the modality is missing. Series with time stamps are not read.

    Args:
        train: The file of training cases; they are in part ``train`` where there is a `test` file too.
        test: The file of test cases.
        modalities: Channels of each modality, counted from 0; without it all channels are one modality ``series``.
        rate: Values per second, which the format does not state.
        missing: What happens to single missing values (``?``): ``error``, or ``interpolate``, a straight line between
            the neighbours in time (the nearest value at an end).

    Source:
        Bagnall et al. 2018, The UEA multivariate time series classification archive, https://arxiv.org/abs/1811.00075.
    """

    def __init__(
        self,
        *,
        train: str,
        test: str | None = None,
        modalities: Annotated[dict[str, list[Channel]] | None, ANY_ORDER] = None,
        rate: Annotated[float, Field(gt=0)] | None = None,
        missing: Literal["error", "interpolate"] = "error",
    ) -> None:
        files = {"train": read_ts(train)} | ({} if test is None else {"test": read_ts(test)})
        first = files["train"]
        _check_files_agree(first, files.get("test"))
        self._channels = modalities or {"series": list(range(first.channels))}
        _check_channels(self._channels, first.channels)
        self.modalities = {name: ModalityInfo((len(chosen),), rate) for name, chosen in self._channels.items()}
        self.classes = {"label": first.classes} if first.classes else {}
        self.rows: list[Row] = []
        self._series: list[dict[str, Tensor]] = []
        problems: list[Problem] = []
        for part, file in files.items():
            for position, case in enumerate(file.cases, start=1):
                targets = {} if case.label is None else {"label": case.label}
                own = part if test is not None else None
                self.rows.append(Row(f"{part}-{position}", None, own, targets, case.place))
                self._series.append(self._split(case, missing, problems))
        if problems:
            raise DataError(problems)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads every modality of a case, ``(length, channels)``."""
        return self._series[index]

    def length(self, index: int, modality: str) -> int:
        """Values in time of one modality of a case."""
        series = self._series[index].get(modality)
        return 0 if series is None else len(series)

    def _split(self, case: TsCase, missing: str, problems: list[Problem]) -> dict[str, Tensor]:
        series = {}
        for name, chosen in self._channels.items():
            channels = [case.channels[channel] for channel in chosen]
            if all(channel.isnan().all() for channel in channels):
                continue
            place = f"{case.place}: {name}"
            lengths = [len(channel) for channel in channels]
            if len(set(lengths)) > 1:
                problems.append(Problem(place, f"its channels have {lengths} values", "one length within a modality"))
                continue
            if any(channel.isnan().any() for channel in channels):
                if missing == "error":
                    problems.append(Problem(place, "single values are missing (?)", "set missing: interpolate"))
                    continue
                lost = [channel for channel, values in zip(chosen, channels, strict=True) if values.isnan().all()]
                if lost:
                    problems.append(Problem(place, f"channels {lost} have no value to interpolate from"))
                    continue
            series[name] = torch.stack([_interpolate(channel) for channel in channels], dim=1).to(torch.float32)
        return series


def _interpolate(channel: Tensor) -> Tensor:
    known = (~channel.isnan()).numpy()
    positions = np.arange(len(channel))
    return torch.from_numpy(np.interp(positions, positions[known], channel.numpy()[known]))


def _check_files_agree(first: TsFile, second: TsFile | None) -> None:
    if second is None:
        return
    problems = []
    for what, given, right in (
        ("channels", second.channels, first.channels),
        ("classes", second.classes, first.classes),
    ):
        if given != right:
            problems.append(Problem(str(second.path), f"{what} {given}, but {first.path.name} has {right}"))
    if problems:
        raise DataError(problems)


def _check_channels(modalities: Mapping[str, Sequence[int]], count: int) -> None:
    problems = []
    for name, chosen in modalities.items():
        place = f"modalities.{name}"
        if not chosen:
            problems.append(Problem(place, "names no channel"))
        if len(set(chosen)) != len(chosen):
            problems.append(Problem(place, f"names a channel twice: {list(chosen)}"))
        problems += [
            Problem(place, f"there is no channel {channel}", f"0..{count - 1}")
            for channel in chosen
            if channel >= count
        ]
    if problems:
        raise DataError(problems)
