"""Windows and answers of a predictor: its networks, rates and transforms over the last seconds of signals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fusionkit.data.recordings.search import describe_error
from fusionkit.errors import DataError, Problem, ShapeError, suggest_names
from fusionkit.inference.answers import Answer
from fusionkit.inference.timeline.windows import Windows
from fusionkit.interfaces import Batch, Transform

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor


def make_windows(predictor: Predictor, seconds: float | None) -> Windows:
    """Makes the windows of a predictor's modalities, transformed as in evaluation."""
    rates = {name: predictor.inputs.modalities[name].rate for name in predictor.modalities}
    transforms = {name: partial(_transform, of) for name, of in predictor.steps.transforms.items()}
    return Windows(predictor.backend.make_encoders(), rates, seconds, transforms)


def answer_window(
    predictor: Predictor,
    windows: Windows,
    name: str,
    at: float | None = None,
    *,
    branches: bool = False,
    without: Collection[str] = (),
) -> Answer:
    """Answers to what is in the windows, or says why they cannot be used.

    Args:
        predictor: What answers.
        windows: The windows.
        name: What the answer is called.
        at: The end of the windows in seconds; the end of the newest element when left out.
        branches: Answer by every trained branch as well.
        without: Modalities that are hidden from the network.
    """
    backend = predictor.backend
    try:
        with torch.inference_mode(), backend.autocast():
            sequences = windows.encode(at, without)
        said = backend.say_encoded(sequences)
    except (DataError, ShapeError) as error:
        return Answer(name, failure=describe_error(error))
    return predictor.describe(Batch({}, {}, (name,)), said, branches=branches)[0]


def check_hidden(predictor: Predictor, without: Collection[str]) -> None:
    """Refuses modalities to hide that the network does not have.

    Raises:
        DataError: They are one text instead of a list, or a name is unknown.
    """
    if isinstance(without, str):
        raise DataError([Problem("without", f"{without!r} is no list of modalities", f"give [{without!r}]")])
    known = predictor.modalities
    problems = [
        Problem("without", f"no modality {name!r}", suggest_names(str(name), known))
        for name in without
        if name not in known
    ]
    if problems:
        raise DataError(problems)


def _transform(transforms: Sequence[Transform], elements: Tensor) -> Tensor:
    for transform in transforms:
        elements = transform(elements, torch.Generator(), training=False)
    return elements
