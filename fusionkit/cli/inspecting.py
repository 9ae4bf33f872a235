"""Commands that look: check, list, show, recipes, schema."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionkit.cli.output import (
    DeviceOption,
    JsonOption,
    OverridesArgument,
    plain,
    print_json,
    print_paragraph,
    print_table,
)
from fusionkit.errors import DataError, FusionKitError, Problem, RecipeError, TrainingError
from fusionkit.report.units import in_bytes, in_rate, in_seconds, in_thousands

if TYPE_CHECKING:
    import torch

    from fusionkit.component_pages import ComponentPage, Option
    from fusionkit.inspection import ModelCost, Part
    from fusionkit.interfaces import Dataset
    from fusionkit.model import FusionModel
    from fusionkit.spec import Recipe
    from fusionkit.training.speed import RecipeSpeed

LONGEST_DEFAULT = 60

PluginOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="A module of your own components; may be repeated."),
]

recipes_app = typer.Typer(help="Recipes that come with the library.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (check, list_components, show, schema):
        app.command(name="list" if command is list_components else None)(command)
    app.add_typer(recipes_app, name="recipes")


def check(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's path, or the name of a shipped one.")],
    *,
    overrides: OverridesArgument = None,
    length: Annotated[
        list[str] | None,
        typer.Option("--length", metavar="MODALITY=N", help="Elements of a sample; assumed where it is not given."),
    ] = None,
    device: DeviceOption = None,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Leave out the speed, which takes seconds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe; print shapes, parameters, FLOPs, memory and speed.

    No data are needed where the recipe states every shape of an element and every target's classes.
    """
    from fusionkit.environment import choose_device
    from fusionkit.inspection import measure
    from fusionkit.model import build, is_complete
    from fusionkit.recipe import load_recipe
    from fusionkit.shipped import find_recipe

    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides or ())
    lengths = dict(_length(text) for text in length or ())
    chosen = choose_device(device)
    dataset = None if is_complete(loaded.model) else _dataset_for_shapes(loaded)
    cost = measure(loaded, build(loaded, dataset), lengths)
    speed = None if no_timing else _speed_of(loaded, build(loaded, dataset), cost, chosen)
    if as_json:
        print_json({"recipe": str(path), **_cost_record(cost), "speed": _speed_record(speed)})
        return
    _print_cost(recipe, cost)
    if isinstance(speed, str):
        print_paragraph(f"\nThe speed was not timed: {speed}")
    elif speed is not None:
        _print_speed(speed)


def _speed_of(recipe: Recipe, model: FusionModel, cost: ModelCost, device: torch.device) -> RecipeSpeed | str:
    """How fast the recipe is, or why that cannot be told here: a recipe may be for another machine."""
    from fusionkit.training.speed import estimate_speed
    from fusionkit.training.start import make_fabric

    lengths = {name: of.length for name, of in cost.modalities.items()}
    try:
        make_fabric(recipe, device.type, device.index)
    except RecipeError as error:
        return str(error)
    try:
        return estimate_speed(recipe, model, lengths, device)
    except TrainingError as error:
        return str(error)


def _import(plugins: list[str] | None) -> None:
    """Imports the user's own modules, so that their components are known."""
    from fusionkit.registry import import_plugins

    problems = import_plugins(plugins or [])
    if problems:
        raise RecipeError(problems)


def list_components(
    kind: Annotated[str | None, typer.Argument(help="Such as encoder or fusion; all kinds when left out.")] = None,
    plugins: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the components that a recipe may name."""
    _import(plugins)
    from fusionkit.component_pages import registry_kind
    from fusionkit.registry import REGISTRIES

    kinds = [registry_kind(kind)] if kind else list(REGISTRIES)
    found = {name: {component.name: component.summary for component in REGISTRIES[name]} for name in kinds}
    if as_json:
        print_json(found)
        return
    groups = [
        [
            (name if position == 0 else "", component, _reflowed(summary))
            for position, (component, summary) in enumerate(components.items())
        ]
        for name, components in found.items()
    ]
    print_table("", ["kind", "name", "what it is"], groups)


def show(
    kind: Annotated[str, typer.Argument(help="Such as encoder or fusion.")],
    name: Annotated[str, typer.Argument(help="The component's name in recipes.")],
    plugins: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a component's formula, options and source."""
    _import(plugins)
    from fusionkit.component_pages import component_page

    page = component_page(kind, name)
    if as_json:
        print_json(page)
    else:
        _print_page(page)


def schema(
    experiment: Annotated[bool, typer.Option("--experiment", help="That of experiments instead of recipes.")] = False,
    comparison: Annotated[bool, typer.Option("--comparison", help="That of comparisons instead of recipes.")] = False,
    plugins: PluginOption = None,
) -> None:
    """Print the JSON Schema of recipes, for editors.

    With it an editor completes the names of components and their options.
    """
    if experiment and comparison:
        raise RecipeError([Problem("schema", "--experiment and --comparison are two schemas", "ask for one of them")])
    _import(plugins)
    print_json(_comparison_schema() if comparison else _experiment_schema() if experiment else _recipe_schema())


@recipes_app.command("list")
def list_recipes(as_json: JsonOption = False) -> None:
    """List the recipes, experiments and comparisons that come with the library."""
    from fusionkit.shipped import shipped_recipes, summary_of

    found = {name: summary_of(path) for name, path in shipped_recipes().items()}
    if as_json:
        print_json(found)
    else:
        print_table("", ["name", "what it is"], [list(found.items())], whole=(0,))


@recipes_app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="A recipe such as quickstart/recipe, or a folder such as quickstart.")],
    to: Annotated[Path, typer.Option("--to", help="The folder that receives the copies.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Copy shipped recipes, to change them.

    The schemas that their first lines name for editors are written beside them.
    """
    from fusionkit.shipped import COMPARISON_SCHEMA, EXPERIMENT_SCHEMA, RECIPE_SCHEMA, copy_recipes

    copies = copy_recipes(name, to)
    schemas = {
        to / RECIPE_SCHEMA: _recipe_schema,
        to / EXPERIMENT_SCHEMA: _experiment_schema,
        to / COMPARISON_SCHEMA: _comparison_schema,
    }
    for path, make in schemas.items():
        path.write_text(json.dumps(make(), indent=2) + "\n", encoding="utf-8")
    written = [str(path) for path in (*copies, *schemas)]
    if as_json:
        print_json(written)
    else:
        typer.echo("\n".join(written))


def _recipe_schema() -> dict[str, Any]:
    from fusionkit.recipe import json_schema

    return json_schema()


def _experiment_schema() -> dict[str, Any]:
    from fusionkit.experiments import ExperimentSpec

    return {**ExperimentSpec.model_json_schema(by_alias=True), "title": "fusionkit experiment"}


def _comparison_schema() -> dict[str, Any]:
    from fusionkit.experiments.comparison import ComparisonSpec

    return {**ComparisonSpec.model_json_schema(by_alias=True), "title": "fusionkit comparison"}


def _length(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise RecipeError([Problem(f"--length {text!r}", "is not modality=n", "for example --length audio=48000")])
    return name, int(number)


def _dataset_for_shapes(recipe: Recipe) -> Dataset:
    """The dataset, where the recipe leaves out a shape or classes that it has to say."""
    from fusionkit.opening import open_dataset

    try:
        dataset = open_dataset(recipe.data)
    except FusionKitError as error:
        absent = [f"model.modalities.{name}.shape" for name, of in recipe.model.modalities.items() if of.shape is None]
        absent += [
            f"model.targets.{name}.{key}"
            for name, of in recipe.model.targets.items()
            for key in ("classes", "labels")
            if of.options.get(key) == []
        ]
        message = f"does not state {', '.join(absent)}, and its dataset, which would, cannot be opened"
        wrong = error.problems if isinstance(error, DataError | RecipeError) else [Problem("", str(error))]
        stated = Problem("the recipe", message, "mend what follows, or state these keys to check it without data")
        raise RecipeError([stated, *wrong]) from error
    return dataset


def _cost_record(cost: ModelCost) -> Mapping[str, object]:
    record: dict[str, object] = plain(cost)
    record["memory"] = {**plain(cost.memory), "total": cost.memory.total}
    return record


def _speed_record(speed: RecipeSpeed | str | None) -> Mapping[str, object] | None:
    if speed is None:
        return None
    if isinstance(speed, str):
        return {"not_timed": speed}
    stages = [{**plain(stage), "clips_per_second": stage.clips_per_second} for stage in speed.stages]
    return {**plain(speed), "stages": stages}


def _print_cost(name: str, cost: ModelCost) -> None:
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
    print_paragraph(f"Memory in training {in_bytes(memory.total)} for a batch of {cost.batch_size}: {shares}")
    lengths = ", ".join(f"{modality} {of.length:,}" for modality, of in cost.modalities.items())
    print_paragraph(
        f"\nFor a sample of the assumed lengths in elements: {lengths} (others: --length MODALITY=N). Counted are the "
        "FLOPs of matrix products, convolutions, attention and recurrent layers in a forward pass, a multiply-add as "
        "two; element-wise operations and Fourier transforms are not. Memory is for 32-bit numbers and leaves out "
        "the data, temporary results and PyTorch itself."
    )


def _print_speed(speed: RecipeSpeed) -> None:
    measured = any(stage.peak_memory is not None for stage in speed.stages)
    rows = [
        (
            stage.name,
            in_seconds(stage.step_seconds),
            in_rate(stage.clips_per_second),
            str(stage.timed_samples),
            *([in_bytes(stage.peak_memory or 0)] if measured else []),
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
        + "Reading and transforming data is not in it, nor is what happens between epochs"
        + (", where this balancer walks over the data as well" if speed.reviews else "")
        + ": `fusionkit train --profile` shows where the time goes."
    )


def _part_rows(group: str, parts: Sequence[Part]) -> list[tuple[str, ...]]:
    return [(group if position == 0 else "", *_part_row(part)) for position, part in enumerate(parts)]


def _part_row(part: Part) -> tuple[str, str, str, str]:
    gives = _shape(part.shape) if part.length is None else f"{part.length:,} x {_shape(part.shape)}"
    return part.name, gives, f"{part.parameters:,}", in_thousands(part.flops)


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _print_page(page: ComponentPage) -> None:
    print_paragraph(f"{page.kind} {page.name}: {_reflowed(page.summary)}")
    if page.formula:
        typer.echo(f"\nFormula\n{_indented(page.formula)}")
    if page.text:
        print_paragraph(f"\n{_reflowed(page.text)}")
    if page.options:
        rows = [_option_row(option) for option in page.options]
        print_table("\nOptions", ["option", "takes", "default", "meaning"], [rows], whole=(0,))
    else:
        typer.echo("\nIt has no options.")
    if page.source:
        print_paragraph(f"\nSource: {_reflowed(page.source)}")
    if page.example:
        typer.echo(f"\nExample\n{_indented(page.example)}")


def _option_row(option: Option) -> tuple[str, str, str, str]:
    takes = f"{option.type}, {option.bounds}" if option.bounds else option.type
    default = option.default if len(option.default) <= LONGEST_DEFAULT else "(long, see --json)"
    return option.name, takes, default, _reflowed(option.description)


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")


def _reflowed(text: str) -> str:
    """A docstring's words: paragraphs without line breaks (lists keep theirs) and without markup."""
    words = re.sub(r":math:`([^`]*)`|``([^`]*)``|`([^`]*)`", lambda found: next(filter(None, found.groups())), text)
    return re.sub(r"(?<!\n)\n[ ]*(?![-\n])", " ", words)
