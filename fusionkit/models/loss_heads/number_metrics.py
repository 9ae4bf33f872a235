"""Targets that are numbers: their encoding and their figures of merit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import Metric, RawTarget
from fusionkit.interfaces.written_numbers import WrittenNumber

NUMBER_METRICS = (
    Metric("mae", higher_is_better=False, has_unit=True, low=0.0),
    Metric("rmse", higher_is_better=False, has_unit=True, low=0.0),
    Metric("r2", higher_is_better=True, high=1.0),
    Metric("ccc", higher_is_better=True, low=-1.0, high=1.0),
)
"""Metrics that `number_metrics` returns."""

_COARSE = 0.01
"""Standard deviations between two numbers of single precision from which on a target is too coarse to learn."""

_SAME = 1e-12
"""Relative differences below it are those of rounding in double precision."""


def encode_numbers(value: RawTarget | None, outputs: int) -> Tensor:
    """Returns a number as a scalar, several as a vector; NaN for missing ones.

    Raises:
        ValueError: The value is not that many numbers, or one of them is infinite in single precision.
    """
    if value is None:
        return torch.full(() if outputs == 1 else (outputs,), math.nan)
    numbers = _read_numbers(value, outputs)
    encoded = torch.tensor(numbers[0] if outputs == 1 else numbers)
    if len(numbers) != outputs or encoded.isinf().any():
        raise ValueError(f"{value!r} is not {outputs} finite number{'s' if outputs > 1 else ''} of single precision")
    return encoded


def check_precision(values: Sequence[RawTarget | None], outputs: int) -> None:
    """Refuses numbers that single precision does not tell apart: far from zero, and near each other.

    An output is refused where two neighbours of single precision are farther apart than a hundredth of its standard
    deviation. The lowest and the highest twentieth are left out, so that one sample with another offset hides nothing.

    Args:
        values: A target of all samples, as the data state it.
        outputs: Its numbers per sample.

    Raises:
        ValueError: The numbers of an output would be rounded to a few.
    """
    stated = [_read_numbers(value, outputs) for value in values if value is not None]
    for output, numbers in enumerate(np.array(stated, dtype=np.float64).reshape(-1, outputs).T):
        known = numbers[np.isfinite(numbers)]
        if len(known) < 3:  # no spread is left of two once the outer ones are left out
            continue
        low, center, high = np.quantile(known, (0.05, 0.5, 0.95))
        spread = float((known[(known >= low) & (known <= high)] - center).std())
        gap = float(np.spacing(np.float32(abs(center))))
        # What differs by the rounding of double precision alone is one number, computed in several ways.
        if spread > _SAME * abs(center) and abs(center) > spread and gap > _COARSE * spread:
            offset = round(float(center), -1 - math.floor(math.log10(spread)))
            which = f"number {output + 1} of {outputs}: " if outputs > 1 else ""
            raise ValueError(
                f"{which}values near {offset:.15g} with a standard deviation of {spread:.2g} cannot be learned, for "
                f"targets are kept in single precision, whose numbers are {gap:.3g} apart there; subtract an offset, "
                f"such as {offset:.15g}, from the column"
            )


def as_columns(targets: Tensor) -> Float[Tensor, "samples outputs"]:
    """Targets of one output as a column, so that one and several outputs are one case."""
    return targets[:, None] if targets.ndim == 1 else targets


def number_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float]:
    """Computes ``mae``, ``rmse``, ``r2`` and ``ccc``: the mean over outputs of each, NaN where one is not defined."""
    figures: Mapping[str, Callable[[Tensor, Tensor], float]] = {"mae": _mae, "rmse": _rmse, "r2": _r2, "ccc": _ccc}
    results = dict.fromkeys(figures, 0.0)
    columns = as_columns(targets).double().unbind(dim=1)
    for given, wanted in zip(as_columns(predicted.detach()).double().unbind(dim=1), columns, strict=True):
        stated = ~wanted.isnan()
        for name, figure in figures.items():
            defined = figure(given[stated], wanted[stated]) if stated.any() else math.nan
            results[name] += defined / len(columns)
    return results


def _read_numbers(value: RawTarget, outputs: int) -> list[float]:
    given = value if isinstance(value, tuple) else (value,)
    try:
        return [float(WrittenNumber(item.strip()) if isinstance(item, str) else item) for item in given]
    except ValueError as error:
        wanted = "a number is" if outputs == 1 else f"{outputs} numbers are"
        raise ValueError(f"{error}; {wanted} wanted") from None


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
