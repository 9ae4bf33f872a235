"""The gain of no padding: time beside the plain padded network, and the count of what is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from networks import FULL, Size, clips, mrpn, targets, usual_lengths
from plain import PlainNetwork, pad
from records import Measurement, Number, Target
from rounds import compare
from torch import nn

from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged
from rows.encoders import loss_of
from rows.registry import Place, row

TINY = replace(FULL, video=(32, 32), audio=(32, 32))
"""The lengths of whole clips, in frames so small that two cores take a step in some seconds."""


@row("R_pad", "a training step of N2 / of the same network written plainly with padded batches")
def padded_time(place: Place) -> Sequence[Measurement]:
    """Times a step with and without padding, both with AdamW, after a check that both networks say the same."""
    return [padded_time_at(FULL if place.large else TINY, place)]


def padded_time_at(size: Size, place: Place) -> Measurement:
    """Times the same at given sizes."""
    model, plain = mrpn(size).to(place.device), PlainNetwork(size.hidden).to(place.device)
    plain.take_weights(model)
    batches, wanted = clips(size, place.device, frames=usual_lengths(size)), targets(size, place.device)
    inputs = [pad(batch) for batch in batches]
    refuse_difference(model, plain, batches[0])
    plain = plain.to(memory_format=torch.channels_last)  # as ours is: the faster way for both
    optimizers = {module: torch.optim.AdamW(module.parameters(), lr=1e-4) for module in (model, plain)}

    def ours(turn: int) -> None:
        optimizers[model].zero_grad()
        loss_of(model, batches[turn % len(batches)], wanted).backward()
        optimizers[model].step()

    def theirs(turn: int) -> None:
        optimizers[plain].zero_grad()
        plain.loss(inputs[turn % len(inputs)], wanted["emotion"]).backward()
        optimizers[plain].step()

    model.train()
    plain.train()
    measured = compare(ours, theirs, place.device, rounds=place.rounds)
    sizes = {name: list(of.sizes) for name, of in batches[0].items()}
    more = {"lengths": sizes, "elements / padded elements: the limit": measure_share(batches[0])}
    target = Target(figure="median", sign="<=", limit=0.70)
    return Measurement(what=size.describe(), measured=measured, target=target, more=more)


def refuse_difference(model: FusionModel, plain: PlainNetwork, batch: Mapping[str, Jagged]) -> None:
    """Refuses two networks that do not say the same in evaluation.

    Raises:
        AssertionError: They differ by more than rounding.
    """
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        ours, theirs = model.eval()(batch, unimodal=True), plain.eval()(pad(batch))
    found = {"fused": ours.fused["emotion"], **{name: of["emotion"] for name, of in ours.unimodal.items()}}
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)


def measure_share(batch: Mapping[str, Jagged]) -> float:
    """Returns elements of a batch / elements once it is padded, weighted by the numbers in each."""
    whole = {name: of.values[0].numel() for name, of in batch.items()}
    there = sum(whole[name] * of.total for name, of in batch.items())
    return there / sum(whole[name] * len(of) * max(of.sizes) for name, of in batch.items())


@row("F_pad", "elements that enter the encoders / elements in the batch", devices=("cpu",))
def entering(place: Place) -> Sequence[Measurement]:
    """Counts what is computed, with every modality and with some missing."""
    return [
        entering_at(TINY, place, lacking=lacking, what=what)
        for lacking, what in ((False, "every modality is there"), (True, "half of the clips lack a modality"))
    ]


def entering_at(size: Size, place: Place, *, lacking: bool, what: str) -> Measurement:
    """Counts at given sizes."""
    (batch,) = clips(size, place.device, sets=1, lacking=lacking)
    counted = elements_entering(mrpn(size).to(place.device).train(), batch)
    there = {name: of.total for name, of in batch.items()}
    more = {"entering": counted, "in the batch": there, "of the padded batch": measure_share(batch)}
    return Measurement(
        what=f"{size.describe()}; {what}",
        measured=Number(value=sum(counted.values()) / sum(there.values())),
        target=Target(figure="value", sign="<=", limit=1.0),
        more=more,
    )


def elements_entering(model: FusionModel, batch: Mapping[str, Jagged]) -> dict[str, int]:
    """Counts elements that the innermost network of every branch is given in one forward pass."""
    counted = dict.fromkeys(model.modalities, 0)

    def count(name: str) -> object:
        def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            counted[name] += len(given[0])

        return model.branch(name).encoders[0].network.register_forward_pre_hook(hook)

    handles = [count(name) for name in model.modalities]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return counted
