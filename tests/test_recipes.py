"""The shipped recipes: all are found, valid, and can be checked without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusionkit.experiments import load_experiment
from fusionkit.inspection import measure
from fusionkit.model import build, is_complete
from fusionkit.recipe import load_recipe
from fusionkit.shipped import EXPERIMENT_SCHEMA, RECIPE_SCHEMA, find_recipe, recipes_folder, shipped_recipes, summary_of
from fusionkit.strict_yaml import read_yaml

FILES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))
EXPERIMENTS = [path for path in FILES if "variants:" in path.read_text()]
RECIPES = [path for path in FILES if path not in EXPERIMENTS]


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSIONKIT_DATA", raising=False)


def test_recipes_and_experiments_are_found_by_name() -> None:
    assert {path.parent.name for path in RECIPES} == {"aver", "quickstart", "sensors"}
    assert len(EXPERIMENTS) >= 3
    assert [path.resolve() for path in shipped_recipes().values()] == [path.resolve() for path in FILES]
    assert find_recipe("quickstart/recipe") == recipes_folder() / "quickstart" / "recipe.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_states_its_shapes_and_classes_so_that_it_is_checked_without_data(path: Path) -> None:
    recipe = load_recipe(path)

    assert is_complete(recipe.model)
    cost = measure(
        recipe, build(recipe), {name: 4000 if not of.shape else 8 for name, of in recipe.model.modalities.items()}
    )
    assert set(cost.modalities) == set(recipe.model.modalities)
    assert all(part.shape for of in cost.modalities.values() for part in of.parts)
    assert cost.parameters > 0
    assert cost.flops > 0


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_compares_the_networks_of_the_paper(path: Path) -> None:
    experiment = load_experiment(path)

    names = {column.name for column in experiment.columns}
    assert names >= {"late fusion", "ensemble", "N0", "N1", "N2"}
    read = {column.branch for column in experiment.columns if column.runs == "late fusion"}
    assert read >= set(experiment.first_recipe.model.modalities)
    heads = {name: recipe.model.unimodal_heads for name, recipe in experiment.recipes.items()}
    fusions = {name: recipe.model.fusion.type for name, recipe in experiment.recipes.items()}
    assert heads.items() >= {"late fusion": True, "N0": False, "N1": True, "N2": True}.items()
    assert fusions.items() >= {"late fusion": "concat", "N0": "concat", "N1": "concat", "N2": "mrpn"}.items()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_opens_with_the_schema_for_editors_and_says_what_it_is(path: Path) -> None:
    schema = EXPERIMENT_SCHEMA if path in EXPERIMENTS else RECIPE_SCHEMA

    assert path.read_text().startswith(f"# yaml-language-server: $schema={schema}\n")
    assert summary_of(path).endswith(".")


@pytest.mark.parametrize("other", ["five_folds", "three_targets"])
def test_ravdess_recipes_differ_only_in_what_their_name_says(other: str) -> None:
    def plain(name: str) -> Any:
        value: Any = read_yaml(find_recipe(f"aver/{name}").read_text(), name).value
        return value

    first, second = plain("ravdess_action_units"), plain(f"ravdess_action_units_{other}")
    if other == "five_folds":
        folds = second["data"].pop("folds")["groups"]
        assert sorted(actor for fold in folds for actor in fold) == list(range(1, 25))
        del first["data"]["folds"]
    else:
        assert set(second["model"].pop("targets")) == {"emotion", "intensity", "sex"}
        del first["model"]["targets"]
        second["train"].pop("balancer", None)

    assert first == second


def test_no_modality_of_the_quickstart_can_tell_all_classes_apart_and_all_together_can() -> None:
    dataset = load_recipe(find_recipe("quickstart/recipe")).data.dataset.options
    confused = [{frozenset(pair) for pair in of["confuses"]} for of in dataset["modalities"].values()]

    assert len(confused) == 3
    assert all(confused)
    assert not frozenset.intersection(*map(frozenset, confused))
