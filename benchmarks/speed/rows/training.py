"""The loop of `train` beside a bare one: what a step costs that is not the network's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from materials import film_recipe, render_films, sensor_recipe
from records import Interval, Measurement, Ratio, Target
from rounds import interval, summarise_rounds
from torch.optim.optimizer import register_optimizer_step_post_hook

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.sources import Datasets
from fusionkit.interfaces import Batch
from fusionkit.models.build import FusionModel, build
from fusionkit.nn.timer import read_clock
from fusionkit.training import train
from rows.registry import Place, row

EPOCHS = 3
"""Epochs of a round, of which the first warms up: samples are read and workers start."""


@contextmanager
def note_steps(device: torch.device) -> Iterator[list[float]]:
    """Notes by the clock when each optimizer step within it was done, whoever made it."""
    moments: list[float] = []

    def note(*_: object) -> None:
        moments.append(read_clock(device))

    hook = register_optimizer_step_post_hook(note)
    try:
        yield moments
    finally:
        hook.remove()


def seconds_of_a_step(moments: Sequence[float], steps: int) -> float:
    """Returns the mean seconds from a step of an epoch to the next, without the first epoch and the way to another."""
    epochs = [moments[start : start + steps] for start in range(steps, len(moments), steps)]
    return sum(epoch[-1] - epoch[0] for epoch in epochs) / sum(len(epoch) - 1 for epoch in epochs)


def learn_bare(assembly: Assembly, model: FusionModel, device: torch.device) -> None:
    """Trains with nothing but batches, loss terms, gradients and updates."""
    recipe = assembly.recipe.train
    feed = assembly.feed(assembly.train_ids, training=True)
    model.to(device).train()
    optimizer = build_component(recipe.optimizer).make(list(model.parameters()))
    for epoch in range(recipe.epochs):
        for batch in feed.read_epoch(epoch):
            step(model, optimizer, batch.to(device, non_blocking=True))


def step(model: FusionModel, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Does the least that a step must do."""
    optimizer.zero_grad()
    terms = model.losses(model(batch.inputs), batch.targets)
    torch.stack(tuple(terms.values())).sum().backward()
    optimizer.step()


@dataclass(frozen=True)
class Sides:
    """Both ways to train a recipe.

    Args:
        recipe: The recipe.
        device: Where.
        datasets: What both read.
    """

    recipe: Recipe
    device: torch.device
    datasets: Datasets = field(default_factory=Datasets)

    def ours(self) -> float:
        """Times a step in `train`."""
        with tempfile.TemporaryDirectory() as folder, note_steps(self.device) as moments:
            train(self.recipe, Path(folder) / "run", accelerator=self.device.type, datasets=self.datasets)
        return seconds_of_a_step(moments, self.steps())

    def theirs(self) -> float:
        """Times a step in the bare loop."""
        assembly = assemble(self.recipe, self.datasets)
        torch.manual_seed(self.recipe.train.seed)
        model = build(assembly.recipe, assembly.dataset).channels_last()  # as `train` lays it out
        with note_steps(self.device) as moments:
            learn_bare(assembly, model, self.device)
        return seconds_of_a_step(moments, self.steps())

    def steps(self) -> int:
        """Counts the steps of an epoch."""
        assembly = assemble(self.recipe, self.datasets)
        return assembly.feed(assembly.train_ids, training=True).count(0)


def compare_in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Ratio:
    """Returns the ratio of two things that time themselves: A B A, A B A, ... ; the first round does not count."""
    return summarise_rounds([(ours(), theirs(), ours()) for _ in range(rounds + 1)][1:])


@row("R_loop", "a step in `train` / the same step in a bare loop")
def loop_time(place: Place) -> Sequence[Measurement]:
    """Measures what the loop adds to a step, as a ratio and in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_films(folder)
        settings = (f"train.epochs={EPOCHS}", "train.clip_norm=null")  # the default, and the bare loop does not clip
        recipes = {
            "small audio-video networks (quickstart/films)": film_recipe(folder, "data.batch_size=4", *settings),
            "tiny networks of two sensors (sensors/basic_motions)": sensor_recipe(*settings),
        }
        return [line for what, recipe in recipes.items() for line in compare_sides(what, recipe, place)]


def compare_sides(what: str, recipe: Recipe, place: Place) -> list[Measurement]:
    """Returns both measurements of a recipe."""
    sides = Sides(recipe, place.device)
    ratio = compare_in_turn(sides.ours, sides.theirs, place.rounds)
    added = [1000 * ((first + second) / 2 - other) for first, other, second in ratio.rounds]
    sizes = {"batch_size": recipe.data.batch_size, "steps_of_an_epoch": sides.steps(), "epochs": recipe.train.epochs}
    return [
        Measurement(what=what, measured=ratio, target=Target(figure="median", sign="<=", limit=1.03), more=sizes),
        Measurement(
            what=f"{what}, added to a step",
            measured=Interval(**interval(added)),
            unit="ms",
            target=Target(figure="median", sign="<=", limit=0.3),
            more=sizes,
        ),
    ]
