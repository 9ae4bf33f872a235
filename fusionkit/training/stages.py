"""The balancer of a training, and its stages."""

from __future__ import annotations

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Balancer, Stage, Strategy
from fusionkit.models.build import FusionModel


def make_balancer(recipe: Recipe, model: FusionModel) -> Balancer:
    """Makes the balancer of a recipe, wired with the network that it balances.

    Raises:
        RecipeError: It does not fit the network.
    """
    wired: list[object] = [model.modalities, model.targets]
    if BALANCERS.get(recipe.train.balancer.type).cls.reads_widths:
        wired.append({name: model.branch(name).out_features for name in model.modalities})
    balancer: Balancer = build_component(recipe.train.balancer, *wired)
    return balancer


def list_stages(recipe: Recipe, balancer: Balancer) -> tuple[Stage, ...]:
    """Lists the stages of a training: the balancer's teachers, then those of the strategy.

    Raises:
        RecipeError: The strategy or the teachers need uni-modal heads that the model has not, or the balancer needs
            held-out samples and the recipe holds none out.
    """
    model = recipe.model
    if balancer.teachers and not model.unimodal_heads:
        raise RecipeError(
            f"the balancer {recipe.train.balancer.type!r} wants uni-modal teachers; set model.unimodal_heads: true"
        )
    if balancer.held_out and recipe.train.select != "inner":
        raise RecipeError(
            f"train.select: {recipe.train.select!r} holds no samples out, which the balancer "
            f"{recipe.train.balancer.type!r} compares with those it trains on; set train.select: inner"
        )
    strategy: Strategy = build_component(recipe.train.strategy, tuple(model.modalities), model.unimodal_heads)
    teachers = [Stage(f"teacher_{name}", (name,), (name,), becomes_teacher=True) for name in balancer.teachers]
    return (*teachers, *strategy.stages())
