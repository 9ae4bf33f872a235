"""Spectrogram segments cut from one transform of a clip beside a transform of every segment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from records import Measurement, Number, Target
from rounds import compare
from torch import Tensor

from fusionkit.models.encoders import Spectrogram
from fusionkit.nn.jagged import Jagged
from rows.registry import Place, row

RATE = 16_000
SECONDS = 4
CLIPS = 4
SETS = 3
REPEATS = 10
"""Times that a side is computed in a round: once is over too soon to be timed."""


def waves(place: Place) -> list[Jagged]:
    """Draws sets of clips of noise."""
    generator = torch.Generator().manual_seed(0)
    sizes = [SECONDS * RATE] * CLIPS
    return [
        Jagged.from_sizes(torch.randn(sum(sizes), generator=generator), sizes).to(place.device) for _ in range(SETS)
    ]


@row("R_spec", "segment spectrograms as slices of one transform per clip / one transform per segment")
def spectrogram_time(place: Place) -> Sequence[Measurement]:
    """Times both, and says whether they agree where no segment's edge is in a column's window."""
    sliced, alone = (
        Spectrogram((), mode=mode, standardize=False).to(place.device) for mode in ("slice", "per_segment")
    )
    clips = waves(place)
    measured = compare(
        lambda turn: [sliced(clips[(turn + again) % SETS]) for again in range(REPEATS)],
        lambda turn: [alone(clips[(turn + again) % SETS]) for again in range(REPEATS)],
        place.device,
        rounds=place.rounds,
    )
    what = f"{CLIPS} clips of {SECONDS} s, window {sliced.window}, hop {sliced.hop}, 1 s every 0.2 s"
    same = equal_columns(sliced(clips[0]).values, alone(clips[0]).values, inner_columns(sliced))
    return [
        Measurement(what=what, measured=measured, target=Target(figure="median", sign="<=", limit=0.30)),
        Measurement(
            what="columns that touch no segment edge and are bit-identical, as a share",
            measured=Number(value=same.double().mean().item()),
            target=Target(figure="value", sign=">=", limit=1.0),
            more={"columns": same.numel()},
        ),
    ]


def inner_columns(encoder: Spectrogram) -> list[int]:
    """Lists the columns of a segment whose window lies wholly inside it."""
    columns, half, hop = encoder.columns, encoder.window // 2, encoder.hop
    assert columns is not None
    return [place for place in range(columns) if half <= place * hop <= columns * hop - half]


def equal_columns(sliced: Tensor, alone: Tensor, columns: list[int]) -> Tensor:
    """Says by segment and column whether all bins of two spectrograms ``(segments, 1, bins, columns)`` agree."""
    return (sliced == alone)[..., columns].all(dim=(1, 2))
