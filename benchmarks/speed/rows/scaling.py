"""The growth of a step's time with modalities, with the length of sequences and with the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from networks import CLASSES, RESNET, SETS, branch, network, noise
from records import Interval, Measurement, Target
from rounds import compare, interval, time_works
from torch import Tensor

from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged
from rows.encoders import learn, loss_of
from rows.registry import Place, row

MODALITIES = 8
LENGTHS = (8, 16, 32, 64)
BATCHES = (2, 4, 8, 16)


def build_alike(place: Place, count: int) -> FusionModel:
    """Builds N2 with so many branches of one kind."""
    one = branch([1, *frame_at(place)], RESNET, 256)
    return network({f"film_{index}": one for index in range(count)}).to(place.device).train()


def frame_at(place: Place) -> tuple[int, int]:
    """Returns height and width of a frame."""
    return (112, 112) if place.large else (32, 32)


def step(model: FusionModel, place: Place, sizes: Sequence[int]) -> Callable[[int], object]:
    """Returns forward and backward pass over sequences of these lengths, the same in every modality."""
    generator = torch.Generator().manual_seed(0)
    batches: list[dict[str, Jagged]] = [
        {name: noise(sizes, (1, *frame_at(place)), generator).to(place.device) for name in model.modalities}
        for _ in range(SETS)
    ]
    wanted: dict[str, Tensor] = {"emotion": (torch.arange(len(sizes)) % CLASSES).to(place.device)}
    return lambda turn: learn(model, lambda: loss_of(model, batches[turn % SETS], wanted))


def describe(place: Place) -> str:
    """Describes the network in words."""
    return f"N2 with a ResNet-18 on frames of {' x '.join(map(str, frame_at(place)))} in each branch"


@row("S_N", "time of a step with 8 modalities / 8 times that with one")
def modalities(place: Place) -> Sequence[Measurement]:
    """Times a step of the network of eight branches beside eight steps of that of one."""
    sizes = (30, 50, 70, 90, 110, 150) if place.large else (2, 4, 6, 8)
    several = step(build_alike(place, MODALITIES), place, sizes)
    single = step(build_alike(place, 1), place, sizes)
    measured = compare(
        several,
        lambda turn: [single(turn + again) for again in range(MODALITIES)],
        place.device,
        rounds=place.rounds,
    )
    what = f"{describe(place)}, {len(sizes)} clips of {sizes[0]} to {sizes[-1]} frames in each modality"
    return [Measurement(what=what, measured=measured, target=Target(figure="median", sign="<=", limit=1.05))]


@row("S_T", "log-log slope of the time of a step in the length of the sequences")
def length(place: Place) -> Sequence[Measurement]:
    """Measures how time grows with length, everything else being equal: 1 is in proportion."""
    clips = 8
    model = build_alike(place, 1)
    works = [step(model, place, (frames,) * clips) for frames in LENGTHS]
    seconds = time_works(works, place.device, rounds=place.rounds)
    measured = Interval(**interval(seconds, lambda rounds: slope(LENGTHS, rounds)))
    what = f"{describe(place)}, {clips} clips of {', '.join(map(str, LENGTHS))} frames"
    more = {"lengths": LENGTHS, "seconds by round": seconds}
    return [Measurement(what=what, measured=measured, target=Target(figure="median", sign="<=", limit=1.05), more=more)]


def slope(sizes: Sequence[int], rounds: np.ndarray) -> float:
    """Returns the median over rounds of the slope of log time over log size, by least squares."""
    slopes = np.polyfit(np.log(sizes), np.log(rounds).T, 1)[0]
    return float(np.median(slopes))


@row("S_B", "clips per second of a batch / of one of half as many clips, the smallest of such ratios")
def batch_size(place: Place) -> Sequence[Measurement]:
    """Measures whether throughput falls anywhere as batches grow; a twentieth is left to noise."""
    frames = 32 if place.large else 16
    model = build_alike(place, 1)
    works = [step(model, place, (frames,) * clips) for clips in BATCHES]
    seconds = time_works(works, place.device, rounds=place.rounds)
    measured = Interval(**interval(seconds, lambda rounds: least_gain(BATCHES, rounds)))
    rates = np.asarray(BATCHES) / np.median(seconds, axis=0)
    what = f"{describe(place)}, {', '.join(map(str, BATCHES))} clips of {frames} frames"
    more = {"clips": BATCHES, "clips per second": rates.tolist(), "seconds by round": seconds}
    return [Measurement(what=what, measured=measured, target=Target(figure="median", sign=">=", limit=0.95), more=more)]


def least_gain(sizes: Sequence[int], rounds: np.ndarray) -> float:
    """Returns the smallest over neighbouring sizes of the median over rounds of the ratio of their throughputs."""
    rates = np.asarray(sizes) / rounds
    return float(np.median(rates[:, 1:] / rates[:, :-1], axis=0).min())
