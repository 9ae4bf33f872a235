"""The variants of an experiment that lists none: each modality alone, both ways of fusing them, N0, N1 and N2."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fusionkit.config.schema import Recipe
from fusionkit.experiments.specs.experiment import VariantSpec
from fusionkit.storage.files import folder_name

_LATE, _ENSEMBLE = "late fusion", "ensemble"


def make_usual_variants(recipe: Recipe) -> dict[str, VariantSpec]:
    """Makes the columns that every question about fusing needs, of a recipe's own modalities and fusion.

    The fusion is the recipe's; of residual perceptrons it is the one behind them, and N2 puts them in front of it. The
    first column, which the others are compared with, is the ensemble of networks that were trained alone. Of one
    modality there is that one alone.

    Args:
        recipe: The recipe, with the changes that all variants share.

    Example:
        >>> from fusionkit import load_recipe
        >>> model = {"modalities": {"a": {}, "b": {}}, "targets": {"y": "regression"}}
        >>> recipe = load_recipe({"schema": 1, "data": {"dataset": {"type": "synthetic"}}, "model": model})
        >>> list(make_usual_variants(recipe))
        ['ensemble', 'a', 'b', 'late fusion', 'N0', 'N1', 'N2']
    """
    modalities = list(recipe.model.modalities)
    if len(modalities) == 1:
        return {modalities[0]: VariantSpec(overrides=("train.strategy=unimodal",))}
    plain, residual = _write_fusions(recipe)
    jointly = ["train.strategy=end_to_end"] if recipe.train.strategy.type != "end_to_end" else []
    heads = [] if recipe.model.unimodal_heads else ["model.unimodal_heads=true"]
    # A balancer of uni-modal losses has nothing to balance where there are none.
    bare = ["train.balancer=multi_term"] if recipe.train.balancer.type != "multi_term" else []
    names = _name_apart(modalities, (_ENSEMBLE, _LATE, "N0", "N1", "N2"))
    read = {names[each]: VariantSpec(of=_LATE, branch=each) for each in modalities}
    return {
        _ENSEMBLE: VariantSpec(of=_LATE, branch=_ENSEMBLE),
        **read,
        _LATE: VariantSpec(overrides=("train.strategy=late_fusion", plain, *heads)),
        "N0": VariantSpec(overrides=(plain, "model.unimodal_heads=false", *jointly, *bare)),
        "N1": VariantSpec(overrides=(plain, *heads, *jointly)),
        "N2": VariantSpec(overrides=(residual, *heads, *jointly)),
    }


def _write_fusions(recipe: Recipe) -> tuple[str, str]:
    """Writes the overrides of the recipe's fusion without residual perceptrons, and with them."""
    given = recipe.model.fusion.model_dump(mode="json")
    behind = given.get("of", "concat") if given["type"] == "mrpn" else given
    name = behind if isinstance(behind, str) else behind["type"]
    if name == "concat":
        return "model.fusion=concat", "model.fusion=mrpn"
    return f"model.fusion={json.dumps(behind)}", f"model.fusion={json.dumps({'type': 'mrpn', 'of': behind})}"


def _name_apart(modalities: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Names the columns of modalities; one whose folder would be that of another column says more."""
    names, folders = dict[str, str](), {folder_name(other).lower() for other in others}
    for modality in modalities:
        name, number = modality, 1
        while folder_name(name).lower() in folders:
            name, number = f"{modality} alone" + (f" {number}" if number > 1 else ""), number + 1
        names[modality] = name
        folders.add(folder_name(name).lower())
    return names
