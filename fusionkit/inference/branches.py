"""The branches of a network that a strategy leaves trained, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.interfaces import Strategy

How = Literal["alone", "jointly"]

FUSED, ENSEMBLE, ENSEMBLE_LOG, CONSTANT = "fused", "ensemble", "ensemble (log)", "constant"
ENSEMBLES = (ENSEMBLE, ENSEMBLE_LOG)
"""Networks that were trained alone, their probabilities averaged, or the logarithms of these."""


@dataclass(frozen=True)
class TrainedBranches:
    """The branches of a finished training that may be evaluated.

    Args:
        fused: Whether the fused branch is trained.
        unimodal: By modality whose head is trained, whether in a stage of its own or jointly with others.
        ensemble: Whether every modality was trained alone, so that their distributions pooled are the ensembles that a
            fusion has to beat.
    """

    fused: bool
    unimodal: Mapping[str, How]
    ensemble: bool

    @property
    def alone(self) -> tuple[str, ...]:
        """The modalities that were trained alone."""
        return tuple(name for name, how in self.unimodal.items() if how == "alone")

    @property
    def names(self) -> tuple[str, ...]:
        """All branches: fused, modalities, ensembles, and the constant answer that none of them may fall behind."""
        return (*((FUSED,) if self.fused else ()), *self.unimodal, *(ENSEMBLES if self.ensemble else ()), CONSTANT)

    @property
    def main(self) -> str:
        """The branch that stands for the run: the fused one, else the ensemble of several, else the only modality."""
        if self.fused:
            return FUSED
        return ENSEMBLE if self.ensemble and len(self.unimodal) > 1 else next(iter(self.unimodal))


def trained_branches(recipe: Recipe) -> TrainedBranches:
    """Finds the branches that a recipe's strategy leaves trained.

    A modality counts as trained alone if the last stage that changed its branch trained nothing else and read no
    other loss; a branch that a later stage changed without its own loss is left out, for its head fits it no more.

    Raises:
        RecipeError: The strategy does not fit the model.

    Example:
        >>> from fusionkit import load_recipe
        >>> model = {"modalities": {"a": {}, "b": {}}, "targets": {"y": "regression"}}
        >>> data = {"dataset": {"type": "synthetic"}}
        >>> recipe = load_recipe({"schema": 1, "data": data, "model": model, "train": {"strategy": "late_fusion"}})
        >>> trained_branches(recipe).names
        ('fused', 'a', 'b', 'ensemble', 'ensemble (log)', 'constant')
    """
    modalities = tuple(recipe.model.modalities)
    strategy: Strategy = build_component(recipe.train.strategy, modalities, recipe.model.unimodal_heads)
    fused, unimodal = False, dict[str, How]()
    for stage in strategy.stages():
        if stage.becomes_teacher:
            continue  # its parts go back to their start
        fused = fused or "fused" in stage.branches
        for name in (part for part in stage.trains if part in modalities):
            unimodal.pop(name, None)
            if name in stage.branches:
                unimodal[name] = "alone" if stage.trains == stage.branches == (name,) else "jointly"
    unimodal = {name: unimodal[name] for name in modalities if name in unimodal}
    return TrainedBranches(fused, unimodal, all(unimodal.get(name) == "alone" for name in modalities))
