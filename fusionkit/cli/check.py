"""The command check: shapes, parameters, memory and speed of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OverridesArgument,
    make_shipped_argument,
    print_json,
    print_paragraph,
    print_table,
)
from fusionkit.errors import DataError, FusionKitError, Problem, RecipeError, TrainingError
from fusionkit.report.text.units import in_bytes, in_rate, in_seconds, in_thousands

if TYPE_CHECKING:
    import torch

    from fusionkit.config.schema import Recipe
    from fusionkit.data.loading.lengths import MeasuredLength
    from fusionkit.data.sources import Datasets
    from fusionkit.interfaces import Dataset
    from fusionkit.models.build import FusionModel
    from fusionkit.models.cost import ModelCost, Part
    from fusionkit.training.profiling.speed import RecipeSpeed, StageSpeed


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(say_when_stopped(goes_on=False)(check))


def check(
    recipe: Annotated[str, make_shipped_argument("RECIPE", "A recipe's path, or the name of a shipped one.")],
    *,
    overrides: OverridesArgument = None,
    length: Annotated[
        list[str] | None,
        typer.Option("--length", metavar="MODALITY=N", help="Elements of a sample, instead of measured ones."),
    ] = None,
    device: DeviceOption = None,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Leave out the speed, which takes seconds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe; print shapes, parameters, FLOPs, memory and speed.

    No data are needed where the recipe states every shape of an element and every target's classes; lengths of samples
    are assumed then. Where it does not, its data must be such as a training could divide, and the lengths are measured
    on some of the training samples. Files of pretrained weights need not be there yet.
    """
    from fusionkit.config.initial_weights import drop_weights, list_weight_files
    from fusionkit.config.model_completion import is_complete
    from fusionkit.config.recipe import load_recipe
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.data.assembly import assemble
    from fusionkit.data.loading.lengths import measure_lengths
    from fusionkit.data.sources import Datasets
    from fusionkit.models.build import build
    from fusionkit.models.cost import measure
    from fusionkit.models.encoders.weights import explain_origin
    from fusionkit.storage.environment import choose_device

    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides or ())
    lengths = dict(_length(text) for text in length or ())
    chosen = choose_device(device)
    dataset, notes = None, tuple[str, ...]()
    measured: Mapping[str, MeasuredLength] = {}
    if not is_complete(loaded.model):
        datasets = Datasets()
        dataset = _dataset_for_shapes(loaded, datasets)
        assembly = assemble(loaded, datasets)  # refuses what a training of it would refuse
        notes, measured = assembly.notes, measure_lengths(assembly.samples(assembly.train_ids, training=True))
    medians = {name: of.median for name, of in measured.items()} | lengths
    longest = {name: of.longest for name, of in measured.items()} | lengths
    absent = [path for path in list_weight_files(loaded) if not path.exists()]
    loaded = drop_weights(loaded, absent)
    cost = measure(loaded, build(loaded, dataset), medians, longest if measured else None)
    speed = None if no_timing else _speed_of(loaded, build(loaded, dataset), cost, chosen)
    notes += tuple(
        f"{path} does not exist yet: checked with fresh weights, which cost the same; a training needs it; "
        f"{explain_origin(path)}"
        for path in dict.fromkeys(absent)
    )
    if as_json:
        found = {name: asdict(of) for name, of in measured.items()}
        record = {"recipe": str(path), **_cost_record(cost), "lengths": found}
        print_json({**record, "speed": _speed_record(speed), "notes": list(notes)})
        return
    _print_cost(recipe, cost, {name: of for name, of in measured.items() if name not in lengths}, lengths)
    for note in notes:
        print_paragraph(f"\nCareful: {note}")
    if isinstance(speed, str):
        print_paragraph(f"\nThe speed was not timed: {speed}")
    elif speed is not None:
        _print_speed(speed)
        if loaded.train.compile:
            print_paragraph("\nThe recipe compiles its encoders (train.compile), which takes too long here: not in it.")


def _speed_of(recipe: Recipe, model: FusionModel, cost: ModelCost, device: torch.device) -> RecipeSpeed | str:
    """Estimates how fast the recipe is, or says why that cannot be told here: a recipe may be for another machine."""
    from fusionkit.training.profiling.speed import estimate_speed
    from fusionkit.training.trainer import make_fabric

    lengths = {name: of.length for name, of in cost.modalities.items()}
    try:
        make_fabric(recipe, device.type, device.index)
    except RecipeError as error:
        return str(error)
    try:
        return estimate_speed(recipe, model, lengths, device)
    except TrainingError as error:
        return str(error)


def _length(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise RecipeError([Problem(f"--length {text!r}", "is not MODALITY=N", "for example --length audio=48000")])
    return name, int(number)


def _dataset_for_shapes(recipe: Recipe, datasets: Datasets) -> Dataset:
    """Opens the dataset, where the recipe leaves out a shape or classes that it has to say."""
    try:
        return datasets.open(recipe.data)
    except FusionKitError as error:
        absent = [f"model.modalities.{name}.shape" for name, of in recipe.model.modalities.items() if of.shape is None]
        absent += [
            f"model.targets.{name}.{key}"
            for name, of in recipe.model.targets.items()
            for key in ("classes", "labels")
            if of.options.get(key) == []
        ]
        message = f"leaves {', '.join(absent)} to the dataset, which cannot be opened"
        wrong = error.problems if isinstance(error, DataError | RecipeError) else [Problem("", str(error))]
        stated = Problem("the recipe", message, "state these keys to check it without data")
        raise RecipeError([*wrong, stated]) from error  # the fault first, then how to do without


def _cost_record(cost: ModelCost) -> Mapping[str, object]:
    record: dict[str, object] = asdict(cost)
    for key, memory in (("memory", cost.memory), ("longest_memory", cost.longest_memory)):
        record[key] = None if memory is None else {**asdict(memory), "total": memory.total}
    return record


def _speed_record(speed: RecipeSpeed | str | None) -> Mapping[str, object] | None:
    if speed is None:
        return None
    if isinstance(speed, str):
        return {"not_timed": speed}
    stages = [{**asdict(stage), "clips_per_second": stage.clips_per_second} for stage in speed.stages]
    return {**asdict(speed), "stages": stages}


def _print_cost(name: str, cost: ModelCost, measured: Mapping[str, MeasuredLength], given: Mapping[str, int]) -> None:
    groups = [
        [(modality, "input", f"{of.length:,} x {_shape(of.in_shape)}", "", ""), *_part_rows("", of.parts)]
        for modality, of in cost.modalities.items()
    ]
    groups.append(_part_rows("fused", cost.fused))
    print_table(f"{name} is valid", ["", "part", "gives", "parameters", "FLOPs"], groups, right=(3, 4))
    memory = cost.memory
    typer.echo(f"\nParameters {cost.parameters:,}, FLOPs per sample {in_thousands(cost.flops)}")
    kinds = ("weights", "gradients", "optimizer", "activations")
    shares = ", ".join(f"{kind} {in_bytes(getattr(memory, kind))}" for kind in kinds)
    more = ""
    if cost.longest_memory is not None and cost.longest_memory.total > memory.total:
        more = f"; a batch of the longest samples takes {in_bytes(cost.longest_memory.total)}"
    print_paragraph(f"Memory in training {in_bytes(memory.total)} for a batch of {cost.batch_size}: {shares}{more}")
    lengths = ", ".join(
        f"{modality} {of.length:,} ({_origin(measured.get(modality), modality in given)})"
        for modality, of in cost.modalities.items()
    )
    print_paragraph(
        f"\nFor a sample of these lengths in elements: {lengths}; others: --length MODALITY=N. Counted are the "
        "FLOPs of matrix products, convolutions, attention and recurrent layers in a forward pass, a multiply-add as "
        "two; element-wise operations and Fourier transforms are not. Memory is for 32-bit numbers and leaves out "
        "the data, temporary results and PyTorch itself."
        + (
            f" Of {', '.join(cost.recomputed)} (recompute: true) it counts the activations that are kept; those that "
            "the backward pass computes again take memory for a while, and that is not in it."
            if cost.recomputed
            else ""
        )
    )


def _origin(measured: MeasuredLength | None, given: bool) -> str:
    """Says where a length comes from."""
    if given:
        return "as given"
    if measured is None:
        return "assumed"
    return f"the median of {measured.present} training samples, the longest has {measured.longest:,}"


def _print_speed(speed: RecipeSpeed) -> None:
    measured = any(stage.peak_memory is not None for stage in speed.stages)
    rows = [
        (
            stage.name,
            in_seconds(stage.step_seconds),
            in_rate(stage.clips_per_second),
            str(stage.timed_samples),
            *([_peak(stage, speed.batch)] if measured else []),
        )
        for stage in speed.stages
    ]
    predicted = (
        "(prediction)",
        in_seconds(speed.batch / speed.predicted_per_second),
        in_rate(speed.predicted_per_second),
        str(speed.predicted_samples),
        *([""] if measured else []),
    )
    samples = speed.stages[0].step_samples
    step = f"a step of {samples}" if samples == speed.batch else f"a step of {samples} in batches of {speed.batch}"
    columns = ["stage", step, "clips/s", "timed clips", *(["peak memory"] if measured else [])]
    typer.echo()
    print_table(f"Speed on {speed.device}", columns, [rows, [predicted]], right=range(1, len(columns)))
    scaled = any(stage.timed_samples < speed.batch for stage in speed.stages) or speed.predicted_samples < speed.batch
    print_paragraph(
        "\nFrom timed steps on noise of these lengths, with the recipe's optimizer, precision and balancer. "
        + ("Where fewer clips than a batch were timed, the time is scaled up to it. " if scaled else "")
        + ("The peak memory of fewer is not: a batch takes more. " if measured and scaled else "")
        + "Reading and transforming data is not in it, nor is what happens between epochs"
        + (", where this balancer walks over the data as well" if speed.reviews else "")
        + ": `fusionkit train --profile` shows where the time goes."
    )


def _peak(stage: StageSpeed, batch: int) -> str:
    """Writes the most memory at once, and of how many clips where these were fewer than a batch."""
    few = f" of {stage.timed_samples} clips" if stage.timed_samples < batch else ""
    return f"{in_bytes(stage.peak_memory or 0)}{few}"


def _part_rows(group: str, parts: Sequence[Part]) -> list[tuple[str, ...]]:
    return [(group if position == 0 else "", *_part_row(part)) for position, part in enumerate(parts)]


def _part_row(part: Part) -> tuple[str, str, str, str]:
    gives = _shape(part.shape) if part.length is None else f"{part.length:,} x {_shape(part.shape)}"
    return part.name, gives, f"{part.parameters:,}", in_thousands(part.flops)


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
