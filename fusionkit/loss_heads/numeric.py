"""Targets that are numbers: their encoding and their figures of merit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import Metric, RawTarget
from fusionkit.written_numbers import WrittenNumber

NUMBER_METRICS = (
    Metric("mae", higher_is_better=False, has_unit=True, low=0.0),
    Metric("rmse", higher_is_better=False, has_unit=True, low=0.0),
    Metric("r2", higher_is_better=True, high=1.0),
    Metric("ccc", higher_is_better=True, low=-1.0, high=1.0),
)
"""What `number_metrics` gives."""


def encode_numbers(value: RawTarget | None, outputs: int) -> Tensor:
    """A number as a scalar, several as a vector; NaN for missing ones.

    Raises:
        ValueError: The value is not that many numbers, or one of them is infinite in single precision.
    """
    if value is None:
        return torch.full(() if outputs == 1 else (outputs,), math.nan)
    given = value if isinstance(value, tuple) else (value,)
    try:
        numbers = [float(WrittenNumber(item.strip()) if isinstance(item, str) else item) for item in given]
    except ValueError as error:
        wanted = "a number is" if outputs == 1 else f"{outputs} numbers are"
        raise ValueError(f"{error}; {wanted} wanted") from None
    encoded = torch.tensor(numbers[0] if outputs == 1 else numbers)
    if len(numbers) != outputs or encoded.isinf().any():
        raise ValueError(f"{value!r} is not {outputs} finite number{'s' if outputs > 1 else ''} of single precision")
    return encoded


def as_columns(targets: Tensor) -> Float[Tensor, "samples outputs"]:
    """Targets of one output as a column, so that one and several outputs are one case."""
    return targets[:, None] if targets.ndim == 1 else targets


def number_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float]:
    """``mae``, ``rmse``, ``r2`` and ``ccc``: the mean over outputs of each, NaN where one is not defined."""
    figures: Mapping[str, Callable[[Tensor, Tensor], float]] = {"mae": _mae, "rmse": _rmse, "r2": _r2, "ccc": _ccc}
    results = dict.fromkeys(figures, 0.0)
    columns = as_columns(targets).double().unbind(dim=1)
    for given, wanted in zip(as_columns(predicted.detach()).double().unbind(dim=1), columns, strict=True):
        stated = ~wanted.isnan()
        for name, figure in figures.items():
            defined = figure(given[stated], wanted[stated]) if stated.any() else math.nan
            results[name] += defined / len(columns)
    return results


def _mae(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().mean())


def _rmse(x: Tensor, y: Tensor) -> float:
    return math.sqrt(float((x - y).square().mean()))


def _r2(x: Tensor, y: Tensor) -> float:
    spread = float((y - y.mean()).square().sum())
    return 1 - float((x - y).square().sum()) / spread if spread > 0 else math.nan


def _ccc(x: Tensor, y: Tensor) -> float:
    denominator = float(x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()).square())
    return 1 - float((x - y).square().mean()) / denominator if denominator > 0 else math.nan
