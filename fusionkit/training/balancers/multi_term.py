"""The paper's sum of loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Balancer, Step


@BALANCERS.register("multi_term")
class MultiTerm(Balancer):
    r"""The weighted sum of all loss terms.

    .. math::
        L = \sum_t w_t \left(w_{\mathrm{fused}} L_{\mathrm{fused}, t} + \sum_m w_m w_{m/t} L_{m, t}\right)

    m are the modalities, t the targets; every weight is one unless given. The paper's loss is the plain sum: every
    branch shapes its own encoder as much as the fused branch does. Lower a modality's weight where its branch
    overfits, a target's where its scale drowns the others. It acts in training only.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        weights: Weight of a modality, of a target (its fused term included) or of one term ``modality/target``, at
            least 0; those that apply to a term are multiplied.
        fused_weight: Weight of the fused terms, at least 0.

    Raises:
        RecipeError: A weight belongs to no modality, target or term; every such weight is listed.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eq. (8) and Fig. 7, where all weights are one.

    Example:
        >>> import torch
        >>> balancer = MultiTerm(("audio", "video"), ("emotion",), weights={"audio": 0.5})
        >>> terms = {"fused/emotion": torch.tensor(1.0), "audio/emotion": torch.tensor(4.0)}
        >>> step = Step(0, 0, 1, None, {}, ())
        >>> {term: value.item() for term, value in balancer.weigh(terms, step).items()}
        {'fused/emotion': 1.0, 'audio/emotion': 2.0}
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        weights: Annotated[dict[str, Annotated[float, Field(ge=0)]] | None, ANY_ORDER] = None,
        fused_weight: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__()
        given = weights or {}
        terms = [f"{modality}/{target}" for modality in modalities for target in targets]
        known = (*modalities, *targets, *terms)
        unknown = [key for key in given if key not in known]
        if unknown:
            what = "no modality, target or modality/target"
            problems = [Problem(f"weights.{key}", what, suggest_names(key, known)) for key in unknown]
            raise RecipeError(problems, source="multi_term")
        self.term_weights = {f"fused/{target}": fused_weight * given.get(target, 1.0) for target in targets}
        for term in terms:
            modality, _, target = term.partition("/")
            self.term_weights[term] = given.get(modality, 1.0) * given.get(target, 1.0) * given.get(term, 1.0)

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Multiplies every term by its weight."""
        weights = self.term_weights
        return {name: term if weights[name] == 1.0 else weights[name] * term for name, term in terms.items()}
