"""The shipped recipes: all are found, valid, and can be checked without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusionkit.config.initial_weights import drop_weights
from fusionkit.config.model_completion import is_complete
from fusionkit.config.recipe import load_recipe
from fusionkit.config.shipped_recipes import (
    COMPARISON_SCHEMA,
    EXPERIMENT_SCHEMA,
    RECIPE_SCHEMA,
    copy_recipes,
    find_beside,
    find_recipe,
    find_recipes_folder,
    list_shipped_recipes,
    read_summary,
)
from fusionkit.config.yaml import read_yaml
from fusionkit.errors import RecipeError
from fusionkit.experiments import load_experiment
from fusionkit.models.build import build
from fusionkit.models.cost import measure

FILES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))
COMPARISONS = [path for path in FILES if "\nbudget:" in path.read_text()]
EXPERIMENTS = [path for path in FILES if "variants:" in path.read_text() and path not in COMPARISONS]
OTHERS = [path for path in EXPERIMENTS if path.stem.endswith(("table_1", "table_4", "ravdess_sound_experiment"))]
RECIPES = [path for path in FILES if path not in (*EXPERIMENTS, *COMPARISONS)]
ASK_DATA = {"pretrain_voxceleb"}  # its classes are the speakers that the data hold


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSIONKIT_DATA", raising=False)


def test_recipes_and_experiments_are_found_by_name() -> None:
    assert {path.parent.name for path in RECIPES} == {"aver", "comparison", "quickstart", "sensors"}
    assert len(EXPERIMENTS) >= 3
    assert len(COMPARISONS) >= 1
    assert [path.resolve() for path in list_shipped_recipes().values()] == [path.resolve() for path in FILES]
    assert find_recipe("quickstart/recipe") == find_recipes_folder() / "quickstart" / "recipe.yaml"


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem not in ASK_DATA], ids=lambda path: path.stem)
def test_recipe_states_its_shapes_and_classes_so_that_it_is_checked_without_data(path: Path) -> None:
    recipe = load_recipe(path)

    assert is_complete(recipe.model)
    model = build(drop_weights(recipe))
    cost = measure(recipe, model, {name: 16_000 if not of.shape else 8 for name, of in recipe.model.modalities.items()})
    assert set(cost.modalities) == set(recipe.model.modalities)
    assert all(part.shape for of in cost.modalities.values() for part in of.parts)
    assert cost.parameters > 0
    assert cost.flops > 0


@pytest.mark.parametrize("path", sorted(set(EXPERIMENTS) - set(OTHERS)), ids=lambda path: path.stem)
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


@pytest.mark.parametrize("table", ["ravdess_table_1", "ravdess_table_4", "crema_d_table_4"])
def test_every_row_of_a_table_of_the_paper_is_a_variant_with_the_published_number(table: str) -> None:
    experiment = load_experiment(find_recipe(f"aver/{table}"))
    rows = {
        "ravdess_table_1": {"AM NT", "AM T", "VM NT", "VM T", "JM NT", "JM T"},
        "ravdess_table_4": {"N0 IA+WO", "N0 VA+WO", "N0 VA+AO", "late fusion", "N1", "N2 LSTM", "N2 Transformer"},
    }
    wanted = rows.get(table, rows["ravdess_table_4"])

    paper = experiment.spec.paper
    assert paper is not None
    assert set(paper.values) | set(paper.folds) == wanted
    assert {column.name for column in experiment.columns} >= wanted
    steps = {
        name: recipe.model.modalities["audio"].encoder[0].options["segment_hop_seconds"]
        for name, recipe in experiment.recipes.items()
    }
    sliced = {
        name: any(each.type == "time_slice" for each in recipe.model.modalities["video"].transforms)
        for name, recipe in experiment.recipes.items()
    }
    assert {name: step for name, step in steps.items() if "WO" in name} == {name: 1.0 for name in steps if "WO" in name}
    assert all(step == 0.2 for name, step in steps.items() if "WO" not in name)
    assert all(sliced[name] != (name.endswith("NT") or "IA" in name) for name in sliced)


@pytest.mark.parametrize(
    ("table", "model", "mean"),
    [
        ("ravdess_table_2", "late fusion", 81.60),
        ("ravdess_table_2", "N0", 87.56),
        ("ravdess_table_2", "N1", 89.82),
        ("ravdess_table_2", "N2", 91.47),
        ("crema_d_table_3", "late fusion", 76.84),
        ("crema_d_table_3", "N0", 78.37),
        ("crema_d_table_3", "N1", 77.01),
        ("crema_d_table_3", "N2", 80.59),
    ],
)
def test_published_folds_have_the_means_that_are_known(table: str, model: str, mean: float) -> None:
    paper = load_experiment(find_recipe(f"aver/{table}")).spec.paper
    assert paper is not None
    values = paper.folds[model].values()
    assert sum(values) / len(values) == pytest.approx(mean, abs=0.006)


def test_the_recipes_of_films_differ_only_in_dataset_folds_and_classes() -> None:
    first, second = (read_yaml(find_recipe(f"aver/{name}").read_text(), name).value for name in ("ravdess", "crema_d"))
    for recipe in (first, second):
        del recipe["data"]["dataset"], recipe["data"]["folds"], recipe["model"]["targets"]["emotion"]["classes"]
    assert first == second


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_opens_with_the_schema_for_editors_and_says_what_it_is(path: Path) -> None:
    special = {**dict.fromkeys(EXPERIMENTS, EXPERIMENT_SCHEMA), **dict.fromkeys(COMPARISONS, COMPARISON_SCHEMA)}
    schema = special.get(path, RECIPE_SCHEMA)

    assert path.read_text().startswith(f"# yaml-language-server: $schema={schema}\n")
    assert read_summary(path).endswith(".")


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_copied_file_runs_with_copies_of_all_that_it_names(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text()
    named = {line.split(": ")[-1] for line in text.splitlines() if not line.startswith("#") and ".yaml" in line}

    copies = copy_recipes(path.relative_to(find_recipes_folder()).with_suffix("").as_posix(), Path("mine/own"))

    assert {copy.name for copy in copies} == {path.name, *named}
    assert all(copy.parent == Path("mine/own") and copy.read_bytes() for copy in copies)
    assert bool(named) == (path not in RECIPES)
    for name in named:
        assert find_beside(name, copies[0]).resolve() == tmp_path / "mine" / "own" / name


@pytest.fixture
def nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shipped files at several depths, with references upwards and downwards, and one that stands in a circle."""
    folder = tmp_path / "shipped"
    files = {
        "a/recipe": "model: {}",
        "a/b/recipe": "model: {}",
        "a/b/experiment": "recipe: ../recipe.yaml\npretraining: {runs/x: c/first.yaml, runs/y: quickstart/recipe}",
        "a/b/c/first": "model: {}",
        "a/b/c/again": "recipe: ../experiment.yaml",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    monkeypatch.setattr("fusionkit.config.shipped_recipes.find_recipes_folder", lambda: folder)
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("a", {"recipe", "b/recipe", "b/experiment", "b/c/first", "b/c/again"}),
        ("a/b/", {"recipe", "b/recipe", "b/experiment", "b/c/first", "b/c/again"}),
        ("a/b/c", {"recipe", "b/experiment", "b/c/first", "b/c/again"}),
        ("a/b/c/again", {"recipe", "b/experiment", "b/c/first", "b/c/again"}),
        ("a/b/experiment.yaml", {"recipe", "b/experiment", "b/c/first"}),
        ("a/b/recipe", {"recipe"}),
    ],
)
def test_copies_lie_to_each_other_as_the_shipped_files_do(nested: Path, name: str, copied: set[str]) -> None:
    copies = copy_recipes(name, nested)

    assert {copy.relative_to(nested).with_suffix("").as_posix() for copy in copies} == copied


def test_a_copy_overwrites_nothing_and_leaves_nothing_where_it_is_refused(nested: Path) -> None:
    copy_recipes("a/recipe", nested)
    assert len(copy_recipes("a/b/experiment", nested)) == 2  # its recipe was copied before and is the same
    for made in nested.rglob("*.yaml"):
        if made.name != "recipe.yaml":
            made.unlink()
    (nested / "recipe.yaml").write_text("model: {mine: 1}")

    with pytest.raises(RecipeError, match=r"mine/recipe.yaml: exists already and is not the shipped one"):
        copy_recipes("a/b/experiment", nested)

    assert [made.read_text() for made in nested.rglob("*.yaml")] == ["model: {mine: 1}"]
