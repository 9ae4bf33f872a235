"""A modality before its branch, as a recipe says it: the transforms in order, and the numbers that it takes."""

from __future__ import annotations

import torch

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import ModalitySpec
from fusionkit.interfaces import Encoder, ModalityInfo, Transform


def build_transforms(spec: ModalitySpec, info: ModalityInfo) -> list[Transform]:
    """Builds the transforms of a modality, each for the rate that those before it leave."""
    transforms, rate = list[Transform](), info.rate
    for each in spec.transforms:
        transforms.append(build_component(each, info.shape, rate))
        rate = None if rate is None else rate / transforms[-1].keeps_every
    return transforms


def find_whole_numbers(spec: ModalitySpec) -> tuple[torch.dtype, ...] | None:
    """Finds the dtypes of whole numbers that the first encoder of a modality takes; None where it does not say."""
    first: type[Encoder] = ENCODERS.get(spec.encoder[0].type).cls
    return first.whole_numbers
