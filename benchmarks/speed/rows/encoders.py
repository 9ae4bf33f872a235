"""The network beside its bare encoders: time, arithmetic, and what enters them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from networks import FULL, SMALL, Size, bare_encoders, clips, mrpn, targets
from records import Measurement, Number, Target
from rounds import compare
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.models.cost import FLOPS_OF_LSTM
from fusionkit.nn.jagged import Jagged
from rows.registry import Place, row


def size_at(place: Place) -> Size:
    """Returns the sizes that a device carries."""
    return FULL if place.large else SMALL


def learn(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Makes one forward and one backward pass."""
    model.zero_grad(set_to_none=True)
    loss().backward()


def loss_of(model: nn.Module, batch: dict[str, Jagged], wanted: dict[str, Tensor]) -> Tensor:
    """Returns the sum of all loss terms of the whole network."""
    return torch.stack(list(model.losses(model(batch), wanted).values())).sum()


def encoders_alone(encoders: nn.ModuleDict, batch: dict[str, Jagged]) -> Tensor:
    """Sums something of the output of every encoder, from which a backward pass can start."""
    return torch.stack([encoder(batch[name].values).mean() for name, encoder in encoders.items()]).sum()


@row("R_fuse", "forward and backward of N2 / of its two bare timm encoders on the same packed input")
def fused_time(place: Place) -> Sequence[Measurement]:
    """Times the whole network beside its encoders alone."""
    size = size_at(place)
    model, encoders = mrpn(size).to(place.device).train(), bare_encoders().to(place.device).train()
    batches, wanted = clips(size, place.device), targets(size, place.device)
    measured = compare(
        lambda turn: learn(model, lambda: loss_of(model, batches[turn % len(batches)], wanted)),
        lambda turn: learn(encoders, lambda: encoders_alone(encoders, batches[turn % len(batches)])),
        place.device,
        rounds=place.rounds,
    )
    target = (
        Target(figure="median", sign="<=", limit=1.02) if place.large else Target(figure="high", sign="<=", limit=1.05)
    )
    return [Measurement(what=size.describe(), measured=measured, target=target)]


@row("F_fuse", "floating-point operations of the same two", devices=("cpu",))
def fused_flops(place: Place) -> Sequence[Measurement]:
    """Counts the arithmetic of the whole network beside that of its encoders alone; it has no noise."""
    size = Size(FULL.video, FULL.audio, FULL.hidden, 4, 8, 2)
    model, encoders = mrpn(size).train(), bare_encoders().train()
    (batch,), wanted = clips(size, place.device, sets=1), targets(size, place.device)
    ours = flops(lambda: loss_of(model, batch, wanted).backward())
    theirs = flops(lambda: encoders_alone(encoders, batch).backward())
    target = Target(figure="value", sign="<=", limit=1.005)
    more = {"flops": ours, "flops_of_the_encoders": theirs}
    return [Measurement(what=size.describe(), measured=Number(value=ours / theirs), target=target, more=more)]


def flops(work: Callable[[], object]) -> int:
    """Counts floating-point operations of some work, those of LSTMs on a CPU included."""
    with FlopCounterMode(display=False, custom_mapping=FLOPS_OF_LSTM) as counter:
        work()
    return int(counter.get_total_flops())
