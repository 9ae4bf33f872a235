"""Gradient blending: weights of branches from how they overfit and how they generalise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Balancer, Step

Pair = tuple[float, float]


class BranchLosses(BaseModel):
    """The losses of a branch that was trained by itself, at two checkpoints, the earlier one first."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    training: Pair = Field(description="Loss on the training samples at the two checkpoints.")
    validation: Pair = Field(description="Loss on the validation samples at the two checkpoints.")


@BALANCERS.register("g_blend")
class GBlend(Balancer):
    r"""The branches' losses, weighted by their ratio of generalisation to overfitting.

    .. math::
        L = \sum_b w_b L_b, \qquad w_b = \frac{1}{Z} \frac{\Delta G_b}{\Delta O_b^2}, \qquad \sum_b w_b = 1

    .. math::
        \Delta G_b = L^V_b(N) - L^V_b(N + n), \qquad
        \Delta O_b = \bigl(L^V_b - L^T_b\bigr)(N + n) - \bigl(L^V_b - L^T_b\bigr)(N)

    b are the branches, fused and uni-modal; T and V the losses on training and validation samples of the branch
    trained by itself, at two checkpoints N and N + n. A branch whose validation loss falls (:math:`\Delta G > 0`)
    without its gap to the training loss widening learns what holds elsewhere, and weighs more; one that only fits the
    training samples weighs less. Choose it where one branch overfits long before the others are done. A branch whose
    validation loss rose has weight 0. It acts in training only and costs no further backward pass, but a training of
    each branch beforehand, from whose logs the losses are read.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        losses: By branch (every modality and ``fused``) its `training` and `validation` loss at the two checkpoints;
            the sum over targets where there are several.
        weights: By branch the weight itself, at least 0, where it is known already; used as it is given.

    Raises:
        RecipeError: Neither or both of the options are given, a branch is missing or unknown, no branch generalises, or
            a branch overfits by nothing at all.

    Source:
        Wang, Tran and Feiszli 2020, https://doi.org/10.1109/CVPR42600.2020.01271 (arXiv:1905.12681), proposition 1 and
        the offline algorithm; the ratio OGR of section 3. What differs: a negative :math:`\Delta G` counts as 0 (the
        paper assumes that the validation loss falls); several targets share the weight of their branch. Their online
        variant, which estimates anew every few epochs, is `g_blend_online`.

    Example:
        >>> import torch
        >>> losses = {"training": (1.0, 0.5), "validation": (1.2, 0.9)}
        >>> overfits = {"training": (1.0, 0.1), "validation": (1.2, 1.1)}
        >>> balancer = BALANCERS.build("g_blend", ("audio",), ("mood",), losses={"fused": losses, "audio": overfits})
        >>> {branch: round(weight, 4) for branch, weight in balancer.weights.items()}
        {'fused': 0.9796, 'audio': 0.0204}
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        losses: Annotated[dict[str, BranchLosses] | None, ANY_ORDER] = None,
        weights: Annotated[dict[str, Annotated[float, Field(ge=0)]] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        if (losses is None) == (weights is None):
            raise RecipeError("g_blend: give either `losses` at two checkpoints of each branch or the `weights`")
        option = "weights" if losses is None else "losses"
        branches = ("fused", *modalities)
        given = weights if weights is not None else losses or {}
        problems = [
            Problem(f"{option}.{n}", "no branch", suggest_names(n, branches)) for n in given if n not in branches
        ]
        problems += [Problem(f"{option}.{n}", "missing", "state every branch") for n in branches if n not in given]
        if problems:
            raise RecipeError(problems, source="g_blend")
        self.weights = dict(weights) if weights is not None else _estimate(losses or {})

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Multiplies every term by the weight of its branch."""
        return {name: self.weights[name.partition("/")[0]] * term for name, term in terms.items()}


def _estimate(losses: Mapping[str, BranchLosses]) -> dict[str, float]:
    ratios, problems = {}, []
    for branch, of in losses.items():
        generalisation = of.validation[0] - of.validation[1]
        overfitting = (of.validation[1] - of.training[1]) - (of.validation[0] - of.training[0])
        if overfitting == 0:
            message = "the gap between validation and training did not change, so the ratio is not defined"
            problems.append(Problem(f"losses.{branch}", message, "take checkpoints that lie further apart"))
            continue
        ratios[branch] = max(0.0, generalisation) / overfitting**2
    if not problems and not any(ratios.values()):
        message = "no branch's validation loss fell between the checkpoints"
        problems.append(Problem("losses", message, "take earlier checkpoints"))
    if problems:
        raise RecipeError(problems, source="g_blend")
    total = sum(ratios.values())
    return {branch: ratio / total for branch, ratio in ratios.items()}
