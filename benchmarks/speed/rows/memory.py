"""The most memory that a training step takes, beside its encoders alone, and that predictions of long clips take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import torch
from networks import FULL, WIDTH, Size, bare_encoders, clips, mrpn, targets, usual_lengths
from peak import peak_bytes, sum_bytes
from records import Measurement, Number, Target
from torch import Tensor, nn

from fusionkit.models.aggregators.final_state import PIECE
from fusionkit.nn.jagged import Jagged
from rows.encoders import encoders_alone, loss_of
from rows.registry import Place, row

LONG = replace(FULL, video=(64, 64), audio=(64, 64))
"""The lengths of whole clips, so that activations outweigh weights as they do in training at full size."""

FEW = 2
"""Clips of the first step, which makes what the optimizer keeps."""


@row("M_peak", "peak memory: a training step of N2 / of its bare encoders; a prediction of a clip four times as long")
def peak_memory(place: Place) -> Sequence[Measurement]:
    """Measures the most that a step takes, and how what a prediction takes grows with its clip."""
    size, film = (FULL, FULL) if place.large else (LONG, replace(LONG, video=(32, 32)))
    frames, chunk = (27_000, 512) if place.large else (2 * PIECE, 32)  # four times 27,000 frames are an hour
    return [step_memory_at(size, place), prediction_memory_at(film, place, frames, chunk)]


def prediction_memory_at(size: Size, place: Place, frames: int, chunk: int) -> Measurement:
    """Measures the most that a prediction takes beyond weights, film and features of frames, by its length."""
    model = mrpn(size, chunk=chunk).to(place.device).eval()
    film = torch.randn(chunk, 1, *size.video, generator=torch.Generator().manual_seed(0)).to(place.device)
    found = {}
    for length in (frames, 2 * frames, 4 * frames):
        repeated = film.repeat(-(-length // chunk), 1, 1, 1)[:length]
        clip = {"video": Jagged.from_sizes(repeated, [length])}
        features = length * WIDTH * film.element_size()
        with torch.inference_mode():
            found[length] = peak_bytes(lambda clip=clip: model(clip), place.device) - features
    return Measurement(
        what=f"a film of {4 * frames} frames of {' x '.join(map(str, size.video))} / of {frames}, {chunk} at once",
        measured=Number(value=found[4 * frames] / found[frames]),
        target=Target(figure="value", sign="<=", limit=1.05),
        more={"bytes beyond weights, film and features, by frames": {str(key): of for key, of in found.items()}},
    )


def step_memory_at(size: Size, place: Place) -> Measurement:
    """Measures the most that a step takes, weights, gradients, AdamW's state and inputs included."""
    (batch,), wanted = clips(size, place.device, sets=1, frames=usual_lengths(size)), targets(size, place.device)
    first = {name: of[:FEW] for name, of in batch.items()}
    few = {name: of[:FEW] for name, of in wanted.items()}
    inputs = sum_bytes(of.values for of in batch.values())
    found = {}
    for name, make, loss in (
        ("network", lambda: mrpn(size), loss_of),
        ("encoders", bare_encoders, lambda model, given, _: encoders_alone(model, given)),
    ):
        module = make().to(place.device).train()
        found[name] = inputs + step_bytes(module, loss, [(first, few), (batch, wanted)], place.device)
        del module
    return Measurement(
        what=size.describe(),
        measured=Number(value=found["network"] / found["encoders"]),
        target=Target(figure="value", sign="<=", limit=1.05),
        more={"bytes": found, "bytes of the inputs": inputs},
    )


def step_bytes(
    module: nn.Module,
    loss: Callable[[nn.Module, dict[str, Jagged], dict[str, Tensor]], Tensor],
    batches: Sequence[tuple[dict[str, Jagged], dict[str, Tensor]]],
    device: torch.device,
) -> int:
    """Sums the bytes of a module in the last of some steps: what it and its optimizer hold, and what the step adds."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def step(batch: dict[str, Jagged], wanted: dict[str, Tensor]) -> None:
        loss(module, batch, wanted).backward()
        optimizer.step()

    for batch in batches[:-1]:
        step(*batch)
        optimizer.zero_grad()
    state = (value for of in optimizer.state.values() for value in of.values() if isinstance(value, Tensor))
    held = sum_bytes(chain(module.state_dict().values(), state))
    return held + peak_bytes(lambda: step(*batches[-1]), device)
