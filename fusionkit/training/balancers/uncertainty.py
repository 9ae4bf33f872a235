"""Weights of loss terms by learned uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Balancer, Step


@BALANCERS.register("uncertainty")
class Uncertainty(Balancer):
    r"""Every loss term divided by a variance that is learned with the network.

    .. math::
        L = \sum_k c_k e^{-s_k} L_k + \tfrac{1}{2} s_k, \qquad
        c_k = \tfrac{1}{2} \text{ for numbers}, \; 1 \text{ for classes}, \qquad s_k = \ln \sigma_k^2

    k are the loss terms, fused and uni-modal, of every target; :math:`\sigma_k` is the noise of its likelihood:
    Gaussian for numbers, a softmax with temperature :math:`\sigma_k^2` for classes. A term that stays large is taken
    for noisy and weighs less; :math:`\tfrac12 s_k` keeps the variance from growing without end. At its optimum the
    weight :math:`c_k e^{-s_k}` is :math:`1 / (2 L_k)`, so terms of any scale count alike. Choose it where targets of
    different scales are learned together. It starts from
    :math:`\sigma_k = 1`, for classes the plain sum. A term that no sample of a batch enters leaves its variance
    alone. It acts in training only and costs no further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        kinds: By target ``numbers`` or ``classes``; where left out, targets of whole numbers are classes and all
            others numbers. State ``classes`` for a multi-label target, whose loss is a cross-entropy too.

    Raises:
        RecipeError: `kinds` names no target; every such name is listed.

    Source:
        Kendall, Gal and Cipolla 2018, https://doi.org/10.1109/CVPR.2018.00781 (arXiv:1705.07115), eqs. (7), (10).
        There L is the squared error of a Gaussian and the cross-entropy; here any loss of numbers takes the Gaussian's
        place (the authors use an L1 loss with the same form). The tasks are branches times targets. The run's
        optimizer trains s, so its weight decay pulls the variances towards one.

    Example:
        >>> balancer = Uncertainty(("audio",), ("emotion",))
        >>> step = Step(0, 0, 1, None, {"emotion": torch.tensor([1])}, ())
        >>> {name: value.item() for name, value in balancer.weigh({"fused/emotion": torch.tensor(2.0)}, step).items()}
        {'fused/emotion': 2.0}
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        kinds: Annotated[dict[str, Literal["numbers", "classes"]] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        self.kinds = dict(kinds or {})
        unknown = [name for name in self.kinds if name not in targets]
        if unknown:
            problems = [Problem(f"kinds.{name}", "no target", suggest_names(name, targets)) for name in unknown]
            raise RecipeError(problems, source="uncertainty")
        self.terms = [f"{branch}/{target}" for branch in ("fused", *modalities) for target in targets]
        self.log_variances = nn.Parameter(torch.zeros(len(self.terms)))

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Divides every term by its variance and adds the price of the variance."""
        weighted = {}
        for name, term in terms.items():
            target = name.partition("/")[2]
            given = step.targets.get(target)
            numbers = given is not None and given.is_floating_point()
            kind = self.kinds.get(target, "numbers" if numbers else "classes")
            log_variance = self.log_variances[self.terms.index(name)]
            counts = (term.detach() != 0).to(term.dtype)  # a term without samples is zero and says nothing of its noise
            scale = (0.5 if kind == "numbers" else 1.0) * (-log_variance).exp()
            weighted[name] = scale * term + 0.5 * log_variance * counts
        return weighted
