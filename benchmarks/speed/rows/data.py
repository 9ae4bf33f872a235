"""Steps that are fed by the loader beside steps on batches that lie in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from materials import film_recipe, render_films
from records import Measurement, Target

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import assemble
from fusionkit.interfaces import Batch
from fusionkit.models.build import build
from fusionkit.nn.timer import read_clock
from rows.registry import Place, row
from rows.training import compare_in_turn, step

BATCH = 4
SMALL = "small audio-video networks (quickstart/films)"
LARGE = "ResNet-18 in both branches"
RESNETS = (
    "model.modalities.video.encoder=[{type: timm, model: resnet18}]",
    "model.modalities.audio.encoder="
    "[{type: log_mel, bands: 40, window: 512, hop: 320, segment_seconds: 0.4, segment_hop_seconds: 0.2}, "
    "{type: timm, model: resnet18}]",
)
FEW = 6
"""Batches of a round where a step is long."""


@row("R_data", "a step fed by the loader from a prepared cache / the same step from batches in memory")
def data_time(place: Place) -> Sequence[Measurement]:
    """Measures what reading, transforming and packing films adds to a step, with no worker process and with one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_films(folder)
        lines = []
        for workers in (0, 1):
            settings = (f"data.batch_size={BATCH}", "data.cache=false", f"data.workers={workers}")
            lines.append(compare_feeding(SMALL, film_recipe(folder, *settings), place))
            lines.append(compare_feeding(LARGE, film_recipe(folder, *settings, *RESNETS), place, batches=FEW))
        return lines


def compare_feeding(what: str, recipe: Recipe, place: Place, batches: int | None = None) -> Measurement:
    """Times steps on an epoch that is loaded, beside steps on the very same batches kept in memory.

    Args:
        what: The networks in words.
        recipe: The recipe.
        place: Where to measure.
        batches: Batches of the epoch that are taken; all when left out.
    """
    assembly = assemble(recipe)
    torch.manual_seed(recipe.train.seed)
    model = build(assembly.recipe, assembly.dataset).channels_last().to(place.device).train()  # as `train` lays it out
    optimizer = build_component(recipe.train.optimizer).make(list(model.parameters()))
    feed = assembly.feed(assembly.train_ids, training=True)
    kept = [batch.to(place.device) for batch in feed.read_epoch(0)][:batches]

    def learn(batch: Batch) -> None:
        step(model, optimizer, batch.to(place.device, non_blocking=True))

    measured = compare_in_turn(
        lambda: seconds_of_a_step(feed.read_epoch(0), len(kept), learn, place.device),
        lambda: seconds_of_a_step(kept, len(kept), learn, place.device),
        place.rounds,
    )
    return Measurement(
        what=f"{what}, {recipe.data.workers} workers",
        measured=measured,
        target=Target(figure="median", sign="<=", limit=1.05),
        more={"batch_size": BATCH, "steps": len(kept) - 1, "workers": recipe.data.workers},
    )


def seconds_of_a_step(
    batches: Iterable[Batch], count: int, learn: Callable[[Batch], None], device: torch.device
) -> float:
    """Returns the mean seconds from the end of a step to that of the next, without the first, when loading begins."""
    start = end = 0.0
    for place, batch in enumerate(batches):
        if place == count:
            break
        learn(batch)
        end = read_clock(device)
        start = start or end
    return (end - start) / (count - 1)
