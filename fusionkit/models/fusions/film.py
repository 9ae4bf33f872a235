"""Feature-wise linear modulation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged


@FUSIONS.register("film")
class Film(Fusion):
    r"""Feature-wise linear modulation: the other modalities scale and shift each feature of one.

    .. math::
        \mathrm{fused}_m = (1 + \Delta\gamma_m) \odot \hat f_m + \beta_m, \qquad
        [\Delta\gamma_m; \beta_m] = V_m [\hat f_n : n \ne m] + c_m

    :math:`\hat f_m` is the normalised feature of modality m. With `modulated` one modality leads and the others
    condition it, which fits a strong one beside context (a question about an image, the room about a voice); otherwise
    each is modulated by all others, and the results stand side by side. Absent modalities are the model's learned
    placeholders, as condition and as what is modulated. With all modulated it costs
    :math:`2 \sum_m d_m (D - d_m)` multiply-adds a sample, D the sum of all widths.

    Args:
        in_features: Width of each modality, in the recipe's order.
        modulated: The one modality that is modulated; None for each.

    Raises:
        RecipeError: `modulated` is no modality, or there is no other to condition it.

    Source:
        Perez et al. 2018, arXiv:1709.07871, eqs. (1), (2), with their :math:`\gamma = 1 + \Delta\gamma`. Modulating
        every modality, and absent ones, are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Film({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 5])
    """

    def __init__(self, in_features: Mapping[str, int], *, modulated: str | None = None) -> None:
        super().__init__()
        if modulated is not None and modulated not in in_features:
            problem = Problem("modulated", f"no modality {modulated!r}", suggest_names(modulated, in_features))
            raise RecipeError([problem], source="film")
        if len(in_features) < 2:
            raise RecipeError("film: there is no second modality to condition the first; use concat")
        self.modalities = tuple(in_features)
        self.modulated = self.modalities if modulated is None else (modulated,)
        total = sum(in_features.values())
        self.conditions = nn.ModuleList(
            nn.Linear(total - in_features[name], 2 * in_features[name]) for name in self.modulated
        )
        self.out_features = sum(in_features[name] for name in self.modulated)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Scales and shifts."""
        blocks = []
        for name, condition in zip(self.modulated, self.conditions, strict=True):
            others = torch.cat([features[other] for other in self.modalities if other != name], dim=1)
            change, shift = condition(others).chunk(2, dim=1)
            blocks.append((1 + change) * features[name] + shift)
        return torch.cat(blocks, dim=1)
