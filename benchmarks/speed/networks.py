"""The networks and inputs that are timed: the paper's two ResNet-18 branches at the size that a device carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

import fusionkit
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged

CLASSES = 8
SETS = 3
"""Sets of inputs in rotation."""

FRAMES_PER_SEGMENT = 6  # of films of 30 frames a second, a segment every 0.2 s


@dataclass(frozen=True)
class Size:
    """Sizes of a batch of clips.

    Args:
        video: Height and width of a frame.
        audio: Height and width of a spectrogram segment.
        hidden: Width of the LSTMs.
        shortest: Frames of the shortest clip.
        longest: Frames of the longest clip.
        clips: Clips of a batch.
    """

    video: tuple[int, int]
    audio: tuple[int, int]
    hidden: int
    shortest: int
    longest: int
    clips: int

    def describe(self) -> str:
        """Returns the sizes in words."""
        frames = f"{self.shortest} to {self.longest}"
        video, audio = (" x ".join(map(str, size)) for size in (self.video, self.audio))
        return f"ResNet-18, {self.clips} clips of {frames} frames of {video} and segments of {audio}"


FULL = Size((112, 112), (256, 250), 256, 30, 150, 8)
"""As in aver/ravdess."""

SMALL = Size((64, 64), (64, 64), 256, 6, 30, 4)
"""A step of it takes two cores a second or two."""


RESNET = {"type": "timm", "model": "resnet18"}
WIDTH = 512
"""Of what a ResNet-18 says of an image."""


def mrpn(size: Size, *, fusion: str = "mrpn", unimodal_heads: bool = True, chunk: int | None = None) -> FusionModel:
    """Builds N2 of the paper (or N0, N1) with a ResNet-18 and an LSTM in each branch.

    Args:
        size: Sizes of frames and of the LSTM.
        fusion: The fusion.
        unimodal_heads: Whether branches have losses of their own.
        chunk: Elements that an encoder is given at once in evaluation; the default of recipes when left out.
    """
    branches = {
        "video": branch([1, *size.video], RESNET, size.hidden) | {"chunk": chunk},
        "audio": branch([1, *size.audio], RESNET, size.hidden) | {"chunk": chunk},
    }
    return network(branches, fusion=fusion, unimodal_heads=unimodal_heads)


def branch(shape: list[int], encoder: dict[str, Any] | str, hidden: int) -> dict[str, Any]:
    """Returns a modality of a spec, with an LSTM."""
    return {"shape": shape, "encoder": encoder, "aggregator": {"type": "lstm", "hidden": hidden}}


def network(
    branches: Mapping[str, dict[str, Any]], *, fusion: str = "mrpn", unimodal_heads: bool = True
) -> FusionModel:
    """Builds a network of these branches that tells the classes apart, laid out as a training lays it out."""
    model = fusionkit.build(
        {
            "modalities": dict(branches),
            "fusion": fusion,
            "unimodal_heads": unimodal_heads,
            "targets": {"emotion": {"type": "classification", "classes": [f"class {i}" for i in range(CLASSES)]}},
        }
    )
    return model.channels_last()


def bare_encoders() -> nn.ModuleDict:
    """Makes the same encoders as timm has them, with nothing around them, in the layout that is faster."""
    names = ("video", "audio")
    encoders = nn.ModuleDict({name: timm.create_model("resnet18", in_chans=1, num_classes=0) for name in names})
    return encoders.to(memory_format=torch.channels_last)


def lengths(size: Size, turn: int) -> list[int]:
    """Draws the frames of the clips of a batch, evenly from the shortest to the longest."""
    generator = torch.Generator().manual_seed(turn)
    return torch.randint(size.shortest, size.longest + 1, (size.clips,), generator=generator).tolist()


def segments(frames: Sequence[int]) -> list[int]:
    """Counts the segments of clips of so many frames."""
    return [max(1, count // FRAMES_PER_SEGMENT - 4) for count in frames]


def usual_lengths(size: Size) -> list[int]:
    """Returns the means of evenly drawn lengths in their order: the same for every set."""
    steps = size.clips + 1
    return [round(size.shortest + (size.longest - size.shortest) * i / steps) for i in range(1, steps)]


def noise(sizes: Sequence[int], shape: Sequence[int], generator: torch.Generator) -> Jagged:
    """Draws sequences of noise."""
    return Jagged.from_sizes(torch.randn(sum(sizes), *shape, generator=generator), sizes)


def clips(
    size: Size,
    device: torch.device,
    sets: int = SETS,
    *,
    frames: Sequence[int] | None = None,
    lacking: bool = False,
) -> list[dict[str, Jagged]]:
    """Draws batches of noise.

    Args:
        size: Sizes of a batch.
        device: Where they lie.
        sets: How many batches.
        frames: Frames of the clips of every batch; drawn for each batch when left out.
        lacking: Every second clip lacks a modality: the sound and the film in turn.
    """
    generator = torch.Generator().manual_seed(0)
    batches = []
    for turn in range(sets):
        video = list(frames or lengths(size, turn))
        audio = segments(video)
        if lacking:
            audio[1::4] = [0] * len(audio[1::4])
            video[3::4] = [0] * len(video[3::4])
        batches.append(
            {
                "video": noise(video, (1, *size.video), generator).to(device),
                "audio": noise(audio, (1, *size.audio), generator).to(device),
            }
        )
    return batches


def targets(size: Size, device: torch.device) -> dict[str, Tensor]:
    """Returns a class for every clip."""
    return {"emotion": (torch.arange(size.clips) % CLASSES).to(device)}
