"""Tensors that no network can be given: of another kind than dense numbers, or with numbers that are not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fusionkit.errors import DataError, Problem, ShapeError


def describe_odd_kind(values: Tensor) -> str:
    """Says what is odd about a tensor and what would be right; nothing of a dense one of real or whole numbers or bool.

    Example:
        >>> describe_odd_kind(torch.ones(2)), describe_odd_kind(torch.ones(2, dtype=torch.complex64))
        ('', 'complex numbers; give real and imaginary part side by side, as torch.view_as_real(values) does')
    """
    if values.is_nested:
        return "a nested tensor; give a tensor (length, *element) for each sample"
    if values.layout != torch.strided:
        return "a sparse tensor; give a dense one, values.to_dense()"
    if values.is_complex() and values.numel():  # nothing has no imaginary part
        return "complex numbers; give real and imaginary part side by side, as torch.view_as_real(values) does"
    if values.is_quantized:
        return "a quantized tensor; give its numbers, values.dequantize()"
    return ""


def refuse_odd_kind(place: str, values: Tensor) -> None:
    """Refuses a tensor of an odd kind.

    Raises:
        ShapeError: It is one; the place stands before what is odd.
    """
    if odd := describe_odd_kind(values):
        raise ShapeError(f"{place}: {odd}")


def check_finite(values: Tensor, place: str) -> None:
    """Refuses NaN and infinite numbers, which would silently end in a NaN loss.

    Raises:
        DataError: Some of the values are not finite; the message says how many.
    """
    if math.isfinite(values.sum().item()):  # one number that is not finite leaves no finite sum
        return
    finite = values.isfinite()
    if not finite.all():
        bad, total = int((~finite).sum()), values.numel()
        count = f"all {total}" if bad == total else f"{bad} of {total}"
        raise DataError(
            [Problem(place, f"{count} numbers are NaN or infinite", "mend the data, or leave the modality out here")]
        )
