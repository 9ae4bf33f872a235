"""N0 beside the nearest equivalent of public packages, in one process: time and memory of a step."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from peak import peak_bytes
from peer_networks import BY_HAND, CLASSES, PEERS, Peer, importable, install
from records import Measurement, Number, Target
from rounds import compare
from torch import Tensor, nn

from fusionkit.config.components.registry import OPTIMIZERS
from fusionkit.interfaces import OptimizerRecipe
from rows.registry import NotMeasuredError, Place, row

BATCHES = (32, 512)
STEPS = 20
"""Steps of one side in a round."""


@row("peers", "a step of N0 / of the nearest equivalent of public packages: time, and the most memory at once")
def peer_steps(place: Place) -> Sequence[Measurement]:
    """Measures both in this process, with the same inputs, widths, batch and optimizer."""
    lines: list[Measurement] = []
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            try:
                with importable(peer, install(peer, Path(folder))):
                    lines += [line for batch in BATCHES for line in against(peer, batch, place)]
            except (subprocess.CalledProcessError, ImportError) as error:
                refused.append(f"{peer.package} {peer.version}: {error}")
    if not lines:
        raise NotMeasuredError("; ".join(refused))
    lines += [line for batch in BATCHES for line in against(BY_HAND, batch, place, target=None)]
    return [line.model_copy(update={"more": {**line.more, "not_measured": refused}}) for line in lines]


FASTER = Target(figure="median", sign="<", limit=1.0)


def against(peer: Peer, batch: int, place: Place, target: Target | None = FASTER) -> list[Measurement]:
    """Measures time and memory of both sides at one batch size."""
    generator = torch.Generator().manual_seed(0)
    inputs = {name: values.to(place.device) for name, values in peer.inputs(batch, generator).items()}
    wanted = (torch.arange(batch) % CLASSES).to(place.device)
    own = peer.build_ours().to(place.device).train()
    their, predict = peer.make()
    their.to(place.device).train()
    optimizers = [make_optimizer(network) for network in (own, their)]

    def ours(_: int = 0) -> None:
        (loss,) = own.losses(own(inputs), {"label": wanted}).values()
        learn(optimizers[0], loss)

    def theirs(_: int = 0) -> None:
        learn(optimizers[1], nn.functional.cross_entropy(predict(inputs), wanted))

    measured = compare(
        lambda _: [ours() for _ in range(STEPS)],
        lambda _: [theirs() for _ in range(STEPS)],
        place.device,
        rounds=place.rounds,
    )
    for optimizer in optimizers:
        optimizer.zero_grad()  # what a step frees of the one before it would be taken off its own
    memory = peak_bytes(ours, place.device), peak_bytes(theirs, place.device)
    what = f"{peer.package} {peer.version}, {peer.name}, batches of {batch}"
    more = {
        "parameters": {"ours": count_parameters(own), "theirs": count_parameters(their)},
        "steps_of_a_round": STEPS,
        "differs": list(peer.differs),
    }
    return [
        Measurement(what=what, measured=measured, target=target, more=more),
        Measurement(
            what=f"{what}: memory",
            measured=Number(value=memory[0] / memory[1]),
            target=target and target.model_copy(update={"figure": "value"}),
            more={**more, "bytes": {"ours": memory[0], "theirs": memory[1]}},
        ),
    ]


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """Makes the same optimizer for both."""
    recipe: OptimizerRecipe = OPTIMIZERS.build("adamw")
    return recipe.make(list(network.parameters()))


def learn(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Computes gradients and updates."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def count_parameters(network: nn.Module) -> int:
    """Counts the numbers that it learns."""
    return sum(parameter.numel() for parameter in network.parameters())
