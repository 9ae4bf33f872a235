"""Windows and answers of a predictor: its networks, rates and transforms over the last seconds of signals."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fusionkit.data.recordings.search import describe_problems
from fusionkit.data.transforms.chain import build_transforms
from fusionkit.errors import DataError, Problem, ShapeError
from fusionkit.inference.answers import Answer
from fusionkit.inference.timeline.windows import Windows
from fusionkit.interfaces import Batch, ModalityInfo, Transform

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor


def make_windows(predictor: Predictor, seconds: float | None) -> Windows:
    """Makes the windows of a predictor's modalities, transformed as in evaluation."""
    stated = predictor.inputs.modalities
    transforms = {
        name: partial(_transform, build_transforms(spec, ModalityInfo(tuple(stated[name].shape), stated[name].rate)))
        for name, spec in predictor.recipe.model.modalities.items()
    }
    return Windows(predictor.networks, {name: stated[name].rate for name in predictor.modalities}, seconds, transforms)


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
    unimodal = bool(predictor.branches.unimodal)
    try:
        with torch.inference_mode(), predictor.autocast():
            outputs = [
                network.score_sequences(sequences, unimodal=unimodal)
                for network, sequences in zip(predictor.networks, windows.encode(at, without), strict=True)
            ]
        said = predictor.distribute(outputs)
    except (DataError, ShapeError) as error:
        problems = getattr(error, "problems", ()) or [Problem("", str(error))]
        return Answer(name, failure=describe_problems(problems))
    return predictor.describe(Batch({}, {}, (name,)), said, branches=branches)[0]


def _transform(transforms: list[Transform], elements: Tensor) -> Tensor:
    for transform in transforms:
        elements = transform(elements, torch.Generator(), training=False)
    return elements
