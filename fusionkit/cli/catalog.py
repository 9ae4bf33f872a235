"""Commands that look: list, show, recipes, schema."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionkit.cli.terminal.output import (
    JsonOption,
    PluginOption,
    make_shipped_argument,
    print_json,
    print_paragraph,
    print_table,
)
from fusionkit.errors import Problem, RecipeError

if TYPE_CHECKING:
    from fusionkit.config.components.reference import ComponentPage, Option

LONGEST_DEFAULT = 60

recipes_app = typer.Typer(help="Recipes that come with the library.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (list_components, show, schema):
        app.command(name="list" if command is list_components else None)(command)
    app.add_typer(recipes_app, name="recipes")


def _import(plugins: list[str] | None) -> None:
    """Imports the user's own modules, so that their components are known."""
    from fusionkit.config.plugins import import_plugins

    problems = import_plugins(plugins or [])
    if problems:
        raise RecipeError(problems)


def list_components(
    kind: Annotated[str | None, typer.Argument(help="Such as encoder or fusion; all kinds when left out.")] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Pretrained networks that encoders take, from a table: no network.")
    ] = False,
    plugins: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the components that a recipe may name."""
    _import(plugins)
    if checkpoints:
        _list_checkpoints(kind, as_json)
        return
    from fusionkit.config.components.reference import find_kind
    from fusionkit.config.components.registry import REGISTRIES

    kinds = [find_kind(kind)] if kind else list(REGISTRIES)
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


def _list_checkpoints(kind: str | None, as_json: bool) -> None:
    from fusionkit.models.encoders.pretrained.checkpoints import CHECKPOINTS

    if kind not in (None, "encoder"):
        raise RecipeError(
            [Problem("--checkpoints", f"{kind} has none", "write `fusionkit list encoder --checkpoints`")]
        )
    if as_json:
        print_json([asdict(each) for each in CHECKPOINTS])
        return
    columns = ["model", "encoder", "family", "parameters", "vector", "licence", "is given", "for"]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for each in CHECKPOINTS:
        size, width = f"{each.millions:g} M", str(each.features)
        row = (each.model, each.encoder, each.family, size, width, each.licence, each.given, each.purpose)
        groups.setdefault(each.encoder, []).append(row)
    print_table("", columns, groups.values(), right=(3, 4), whole=(0,))


def show(
    kind: Annotated[str, typer.Argument(help="Such as encoder or fusion.")],
    name: Annotated[str, typer.Argument(help="The component's name in recipes.")],
    plugins: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a component's formula, options and source."""
    _import(plugins)
    from fusionkit.config.components.reference import read_component

    page = read_component(kind, name)
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
    from fusionkit.config.shipped_recipes import list_shipped_recipes, read_summary

    found = {name: read_summary(path) for name, path in list_shipped_recipes().items()}
    if as_json:
        print_json(found)
    else:
        print_table("", ["name", "what it is"], [list(found.items())], whole=(0,))


@recipes_app.command("copy")
def copy(
    name: Annotated[
        str, make_shipped_argument("NAME", "A recipe, such as quickstart/recipe, or a folder, quickstart.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder that receives the copies.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Copy shipped recipes, to change them.

    An experiment brings the recipes that it names. The schemas that their first lines name for editors are written
    beside them where they are not there yet.
    """
    from fusionkit.config.shipped_recipes import COMPARISON_SCHEMA, EXPERIMENT_SCHEMA, RECIPE_SCHEMA, copy_recipes
    from fusionkit.storage.files import write_file

    copies = copy_recipes(name, to)
    schemas = {
        home / schema: make
        for home in dict.fromkeys(copy.parent for copy in copies)
        for schema, make in (
            (RECIPE_SCHEMA, _recipe_schema),
            (EXPERIMENT_SCHEMA, _experiment_schema),
            (COMPARISON_SCHEMA, _comparison_schema),
        )
        if not (home / schema).is_file()  # one that is there may know the user's own components
    }
    for path, make in schemas.items():
        write_file(path, (json.dumps(make(), indent=2) + "\n").encode())
    written = [str(path) for path in (*copies, *schemas)]
    if as_json:
        print_json(written)
    else:
        typer.echo("\n".join(written))


def _recipe_schema() -> dict[str, Any]:
    from fusionkit.config.json_schema import make_json_schema

    return make_json_schema()


def _experiment_schema() -> dict[str, Any]:
    from fusionkit.experiments import ExperimentSpec

    return {**ExperimentSpec.model_json_schema(by_alias=True), "title": "fusionkit experiment"}


def _comparison_schema() -> dict[str, Any]:
    from fusionkit.experiments.specs.comparison import ComparisonSpec

    return {**ComparisonSpec.model_json_schema(by_alias=True), "title": "fusionkit comparison"}


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
    """Reflows a docstring's words: paragraphs without line breaks (lists keep theirs) and without markup."""
    words = re.sub(r":math:`([^`]*)`|``([^`]*)``|`([^`]*)`", lambda found: next(filter(None, found.groups())), text)
    return re.sub(r"(?<!\n)\n[ ]*(?![-\n])", " ", words)
