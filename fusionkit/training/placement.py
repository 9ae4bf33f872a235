"""Device, precision and processes of a training: how a network and its batches get there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric

from fusionkit.config.schema import TrainSpec
from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.feed import Feed
from fusionkit.data.seeds import derive_seed
from fusionkit.interfaces import Balancer, Batch, Stage
from fusionkit.models.build import FusionModel
from fusionkit.nn.memory import explain_full_memory, make_network_error


def place_network(fabric: Fabric, spec: TrainSpec, model: FusionModel, balancer: Balancer) -> None:
    """Brings network and balancer to the device, with the precision and the layout that they train in.

    Raises:
        TrainingError: The device has not enough memory for them.
    """
    with explain_full_memory(lambda: make_network_error(fabric.device)):
        for module in (model, balancer):
            fabric.to_device(module)
            if spec.precision == "64-true":
                module.double()
    model.channels_last()


def move_batch(fabric: Fabric, spec: TrainSpec, batch: Batch) -> Batch:
    """Brings a batch to the device, in double precision where the network is."""
    moved = batch.to(fabric.device, non_blocking=True)
    if spec.precision != "64-true":
        return moved
    inputs = {n: v.to(torch.float64) if v.dtype.is_floating_point else v for n, v in moved.inputs.items()}
    targets = {n: v.double() if v.is_floating_point() else v for n, v in moved.targets.items()}
    return Batch(inputs, targets, moved.sample_ids)


def list_modalities(stage: Stage, model: FusionModel) -> list[str] | None:
    """Lists the modalities that a stage reads; None stands for all of them."""
    return None if "fused" in stage.branches else [name for name in model.modalities if name in stage.branches]


def make_feed(
    fabric: Fabric, assembly: Assembly, stage: Stage, model: FusionModel, ids: Sequence[str], *, training: bool
) -> Feed:
    """Makes the batches of a stage: to learn from, shared by all processes; else all of them for each."""
    rank, world = (fabric.global_rank, fabric.world_size) if training else (0, 1)
    return assembly.feed(
        ids,
        training=training,
        modalities=list_modalities(stage, model),
        rank=rank,
        world_size=world,
        device=fabric.device,
    )


def seed_draws(fabric: Fabric, seed: int, stage: Stage, step: int) -> None:
    """Seeds what a step may draw (dropout, noise), so that it depends on nothing that was drawn before."""
    number = derive_seed(seed, stage.name, step, fabric.global_rank)
    torch.default_generator.manual_seed(number)  # torch.manual_seed looks for every kind of device: 0.7 ms a step
    if fabric.device.type != "cpu":
        torch.get_device_module(fabric.device).manual_seed(number)
