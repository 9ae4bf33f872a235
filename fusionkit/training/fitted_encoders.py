"""Encoders that learn from the training part before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lightning_fabric import Fabric

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.interfaces import Fitted
from fusionkit.models.branch import name_modality
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.training.placement import move_batch


def fit_encoders(fabric: Fabric, assembly: Assembly, model: FusionModel) -> None:
    """Fits the encoders of a network to the samples that the fold trains on, as they are transformed in evaluation.

    Samples that select the epoch are not read. Of several processes each reads all samples, and learns the same.
    """
    for name in model.modalities:
        branch = model.branch(name)
        if any(isinstance(encoder, Fitted) for encoder in branch.encoders):
            with name_modality(name):
                branch.fit_encoders(partial(_read, fabric, assembly, name))


def _read(fabric: Fabric, assembly: Assembly, modality: str) -> Iterator[Jagged]:
    """Yields the elements of every training sample, in the dataset's order."""
    feed = assembly.feed(assembly.train_ids, training=False, modalities=[modality], device=fabric.device)
    for batch in feed.read_epoch(0):
        with name_batch("fitting", batch, fabric.device):
            yield move_batch(fabric, assembly.recipe.train, batch).inputs[modality]
