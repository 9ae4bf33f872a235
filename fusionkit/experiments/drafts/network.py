"""The parts of a network that suit what a modality holds: encoders by kind and length, an aggregator, sizes, epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusionkit.experiments.drafts.contents import Contents
from fusionkit.experiments.drafts.dataset import Films
from fusionkit.experiments.drafts.inputs import FileInput, Input

_STEPS = 600
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 60
_LARGE = 2000
"""Samples from which on networks are twice as wide."""


@dataclass(frozen=True)
class Branch:
    """One modality of a recipe.

    Args:
        name: Its name.
        keys: What the recipe says of it.
        comment: Why, and what turning the knobs does.
    """

    name: str
    keys: Mapping[str, Any]
    comment: str


@dataclass(frozen=True)
class Schedule:
    """The length of a training, and the size of its batches."""

    batch_size: int
    epochs: int
    steps: int


def choose_branch(given: Input, samples: int, sample_rate: int | None) -> Branch:
    """Chooses the encoder and the aggregator of a modality.

    Args:
        given: The modality.
        samples: How many samples there are: many allow a wider network.
        sample_rate: Samples per second that all sound is resampled to; None keeps its own.
    """
    width = 64 if samples >= _LARGE else 32
    if not isinstance(given, FileInput):
        comment = (
            "One vector per sample; feature_norm brings its numbers to one scale. Wider units learn more, and overfit."
        )
        return Branch(given.name, _read_vector(width), comment)
    contents = given.contents
    if contents.kind in ("sound", "film"):
        return _read_sound(given.name, contents, width, sample_rate)
    if contents.kind == "image" or _is_pictures(contents.shape):
        return _read_pictures(given.name, contents)
    if contents.length == contents.longest == 1:
        comment = "One array per sample, flattened to a vector; feature_norm brings its numbers to one scale."
        flat = _read_vector(width) if len(contents.shape) == 1 else {"encoder": _mlp(width)}
        return Branch(given.name, flat, comment)
    if len(contents.shape) > 1:
        comment = "Every element is flattened to a vector by itself, and the vectors are read in their order."
        return Branch(given.name, {"encoder": _mlp(width), "aggregator": _read_order(width)}, comment)
    # A convolution of stride 2 halves the length; some thirty elements are left for the aggregator.
    layers = max(1, min(4, round(math.log2(max(contents.length, 2) / 32))))
    encoder = {"type": "conv1d", "channels": [width] * layers, "kernel": 5, "stride": 2}
    chain = ["feature_norm", encoder] if contents.shape else [encoder]
    comment = (
        f"A stream of {contents.length} elements (median). Each convolution halves the length; a wider kernel sees "
        "more. attention pools over time, gru reads the order."
    )
    aggregator: Any = "attention" if contents.length > 60 else _read_order(width)
    return Branch(given.name, {"encoder": chain, "aggregator": aggregator}, comment)


def choose_film_branches(films: Films) -> list[Branch]:
    """Chooses the encoders of prepared films: of the face crops, and of the sound where there is one."""
    size = films.prepare["face"]["size"]
    video = {
        "shape": [1, size, size],
        "transforms": {"type": "subsample", "every": 5},
        "encoder": {"type": "conv2d", "channels": [8, 16, 32]},
        "aggregator": _read_order(32),
    }
    comment = (
        "Five frames a second of small grey faces. With many films `every: 1` and time_slice see more, and take longer."
    )
    branches = [Branch("video", video, comment)]
    if films.has_sound:
        sound = _read_sound("audio", Contents("sound", (), {}, 0, 0), 32, films.prepare["sample_rate"])
        branches.append(Branch("audio", {"shape": [], **sound.keys}, sound.comment))
    return branches


def choose_schedule(samples: int) -> Schedule:
    """Chooses batches and epochs for a number of training samples: some hundred steps, and at least a few epochs.

    Example:
        >>> choose_schedule(40), choose_schedule(100_000).epochs
        (Schedule(batch_size=8, epochs=60, steps=300), 5)
    """
    batch = 8 if samples < 64 else 16 if samples < 500 else 32 if samples < 20_000 else 64
    per_epoch = max(1, math.ceil(samples / batch))
    epochs = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, math.ceil(_STEPS / per_epoch)))
    return Schedule(batch, epochs, epochs * per_epoch)


def count_numbers(given: Input) -> int:
    """Counts the numbers of a sample's modality: what it takes in memory, in units of four bytes."""
    if not isinstance(given, FileInput):
        return len(given.columns) * 2
    return max(1, given.contents.length) * max(1, math.prod(given.contents.shape))


def _read_vector(width: int) -> dict[str, Any]:
    return {"encoder": ["feature_norm", _mlp(width)], "aggregator": "mean"}


def _mlp(width: int) -> dict[str, Any]:
    return {"type": "mlp", "hidden": [width], "out": width}


def _read_order(width: int) -> dict[str, Any]:
    return {"type": "gru", "hidden": width}


def _read_sound(name: str, contents: Contents, width: int, sample_rate: int | None) -> Branch:
    rate = sample_rate or int(next(iter(contents.rates), 16_000))
    # The Fourier transform is fastest for powers of two; its window is the one nearest to 32 ms.
    window = 2 ** max(1, round(math.log2(0.032 * rate)))
    mel = {"type": "log_mel", "bands": 40, "sample_rate": rate, "window": window, "hop": max(1, window // 2)}
    encoder = [mel, {"type": "conv1d", "channels": [width, width], "kernel": 5, "stride": 2}]
    comment = "Sound becomes a column of 40 mel bands every 16 ms; two convolutions over time, then their order."
    return Branch(name, {"encoder": encoder, "aggregator": _read_order(width)}, comment)


def _is_pictures(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 8


def _read_pictures(name: str, contents: Contents) -> Branch:
    blocks = max(1, min(4, int(math.log2(min(contents.shape[1:]))) - 1))
    encoder = {"type": "conv2d", "channels": [16, 32, 64, 128][:blocks]}
    comment = (
        "A small network for pictures. `{type: timm, model: resnet18, pretrained: true}` costs more and knows more."
    )
    aggregator: Any = "mean" if contents.longest == 1 else _read_order(32)
    return Branch(name, {"encoder": encoder, "aggregator": aggregator}, comment)
