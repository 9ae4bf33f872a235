"""Modalities that are dropped at random, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Balancer, Step
from fusionkit.training.balancers.presence import drop_modalities

Rate = Annotated[float, Field(ge=0, lt=1)]


@BALANCERS.register("modality_dropout")
class ModalityDropout(Balancer):
    r"""Samples without some of their modalities in the fusion, by chance.

    .. math::
        \delta_{m,i} \sim \mathrm{Bernoulli}(1 - p_m), \qquad
        s_i = \mathrm{Fusion}(\{\hat f_{m,i} : \delta_{m,i} = 1\})

    A modality m of sample i that is dropped is absent to the fusion, exactly as if the data lacked it; the uni-modal
    branches see every sample as it is. A fusion that must often do without its favourite learns to read the others,
    and works when a modality is missing in use. A sample that would lose all it has keeps all. It acts in training
    only and costs no further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        rate: Probability p that a modality of a sample is dropped, 0 to below 1.
        rates: By modality, another probability.

    Raises:
        RecipeError: `rates` names no modality; every such name is listed.

    Source:
        Neverova et al. 2016, https://doi.org/10.1109/TPAMI.2015.2461544 (arXiv:1501.00102), section on ModDrop, which
        multiplies the input of a modality by a Bernoulli variable. What differs: a dropped modality becomes the
        model's learned placeholder, not zero; nothing stays without any modality; the uni-modal losses are not
        dropped; we know no rate that the authors give for all data, so the default is ours.

    Example:
        >>> balancer = ModalityDropout(("audio", "video"), ("emotion",), rate=0.5)
        >>> present = {"audio": torch.ones(1000, dtype=torch.bool), "video": torch.ones(1000, dtype=torch.bool)}
        >>> _, kept = balancer.replace_features({}, present, Step(0, 0, 1, None, {}, ()))
        >>> bool((kept["audio"] | kept["video"]).all()), bool((kept["audio"] & kept["video"]).all())
        (True, False)
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        rate: Rate = 0.2,
        rates: Annotated[dict[str, Rate] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        given = rates or {}
        unknown = [name for name in given if name not in modalities]
        if unknown:
            problems = [Problem(f"rates.{name}", "no modality", suggest_names(name, modalities)) for name in unknown]
            raise RecipeError(problems, source="modality_dropout")
        self.rates = {name: given.get(name, rate) for name in modalities}

    def replace_features(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Returns the same features, fewer of them present."""
        return features, drop_modalities(present, self.rates)
