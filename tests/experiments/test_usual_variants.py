"""Experiments that list no variants take the usual ones, of the recipe's own modalities and fusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import recipe

from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError
from fusionkit.experiments import load_comparison, load_experiment
from fusionkit.experiments.specs.usual_variants import make_usual_variants

USUAL = ["ensemble", "motion", "posture", "late fusion", "N0", "N1", "N2"]


def experiment(folder: Path, *overrides: str, text: str = "", **model: Any) -> Any:
    (folder / "recipe.yaml").write_text(json.dumps(recipe(model=model)))
    file = folder / "experiment.yaml"
    file.write_text("schema: 1\nrecipe: recipe.yaml\n" + text)
    return load_experiment(file, overrides)


def test_an_experiment_without_variants_takes_the_usual_ones_and_judges_by_the_ensemble(tmp_path: Path) -> None:
    loaded = experiment(tmp_path)

    assert [column.name for column in loaded.columns] == [*USUAL, "ensemble (log)", "constant"]
    assert list(loaded.recipes) == ["late fusion", "N0", "N1", "N2"]
    assert list(loaded.spec.variants) == USUAL  # results say what was compared
    ways = {name: (of.model.fusion.type, of.model.unimodal_heads) for name, of in loaded.recipes.items()}
    assert ways == {
        "late fusion": ("concat", True),
        "N0": ("concat", False),
        "N1": ("concat", True),
        "N2": ("mrpn", True),
    }
    assert loaded.recipes["late fusion"].train.strategy.type == "late_fusion"


def test_modalities_whose_folders_would_be_one_have_a_column_each() -> None:
    given = {"A": {}, "a": {}, "a_alone": {}, "N1": {}}
    data = {"dataset": {"type": "synthetic"}}
    made = load_recipe({"schema": 1, "data": data, "model": {"modalities": given, "targets": {"y": "regression"}}})
    variants = make_usual_variants(made)

    alone = {name: of.branch for name, of in variants.items() if of.branch in given}
    assert alone == {"A": "A", "a alone": "a", "a_alone alone": "a_alone", "N1 alone": "N1"}


@pytest.mark.parametrize(
    "fusion", ["gated", {"type": "mrpn", "of": "gated"}, {"type": "mrpn", "of": {"type": "gated"}}]
)
def test_the_usual_variants_are_of_the_recipes_own_fusion(fusion: Any, tmp_path: Path) -> None:
    recipes = experiment(tmp_path, fusion=fusion).recipes

    plain = load_recipe(recipe(model={"fusion": "gated"})).model.fusion
    residual = load_recipe(recipe(model={"fusion": {"type": "mrpn", "of": "gated"}})).model.fusion
    assert [recipes[name].model.fusion for name in ("late fusion", "N0", "N1")] == [plain] * 3
    assert recipes["N2"].model.fusion.type == residual.type == "mrpn"


def test_a_recipe_without_uni_modal_heads_or_with_a_balancer_of_them_has_all_variants_too(tmp_path: Path) -> None:
    without = experiment(tmp_path, unimodal_heads=False).recipes
    heads = [without[name].model.unimodal_heads for name in ("late fusion", "N0", "N1", "N2")]
    assert heads == [True, False, True, True]

    balanced = experiment(tmp_path, "seeds=[1]", text="overrides: [train.balancer=ogm_ge]\n").recipes
    assert [of.train.balancer.type for of in balanced.values()] == ["ogm_ge", "multi_term", "ogm_ge", "ogm_ge"]


def test_late_fusion_in_the_recipe_leaves_the_joint_variants_joint(tmp_path: Path) -> None:
    recipes = experiment(tmp_path, text="overrides: [train.strategy=late_fusion]\n").recipes

    assert [of.train.strategy.type for of in recipes.values()] == ["late_fusion", *["end_to_end"] * 3]


def test_of_one_modality_there_is_that_one_alone(tmp_path: Path) -> None:
    loaded = experiment(tmp_path, modalities={"motion": {"encoder": "mlp"}})

    assert [column.name for column in loaded.columns] == ["motion", "constant"]


def test_a_modality_that_is_called_as_a_column_is_has_one_of_its_own(tmp_path: Path) -> None:
    loaded = experiment(tmp_path, modalities={"n2": {"shape": [2]}, "motion": {}})

    assert [column.name for column in loaded.columns][:3] == ["ensemble", "n2 alone", "motion"]


def test_a_comparison_takes_them_too_and_documents_of_another_kind_are_named(tmp_path: Path) -> None:
    experiment(tmp_path)
    file = tmp_path / "experiment.yaml"

    with pytest.raises(RecipeError, match="is an experiment, not a comparison; run it with `fusionkit experiment`"):
        load_comparison(file)
    with pytest.raises(RecipeError, match="is an experiment, not a recipe; run it with `fusionkit experiment`"):
        load_recipe(file)
    loaded, _ = load_comparison(file, ["budget={epochs: 1}"])
    assert list(loaded.spec.variants) == USUAL


def test_a_mistake_of_the_recipe_is_told_once_beside_those_of_the_experiment(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        experiment(tmp_path, "seds=[1]", text="sead: 1\n", modalities={"motion": {"encoder": "mlpp"}})

    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'experiment.yaml'}: 3 problems")
    assert "sead: unknown key" in said
    assert said.count("unknown encoder 'mlpp'; did you mean 'mlp'?") == 1
    assert "recipe.yaml: line" in said
