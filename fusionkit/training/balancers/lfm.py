"""Learning the modality gap: modalities are matched to each other first, and fitted to the labels then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.config.components.registry import BALANCERS
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import Balancer, Step
from fusionkit.nn.distributed import mean_over_union
from fusionkit.training.balancers.terms import split_terms

Positive = Annotated[int, Field(gt=0)]


@BALANCERS.register("lfm")
class LFM(Balancer):
    r"""A contrastive loss between modalities; epoch by epoch the losses of the targets replace it.

    .. math::
        L = (1 - \alpha_t) L_{\mathrm{fused}} + \alpha_t L_{\mathrm{match}}, \qquad \alpha_t = 1 - e^{-1 / t}

    .. math::
        L_{\mathrm{match}} = \frac{1}{|P|} \sum_{(m, m') \in P} \frac{1}{2 n} \sum_i \Bigl(
        -\ln \frac{e^{c_{ii} / \tau}}{\sum_j e^{c_{ij} / \tau}} -\ln \frac{e^{c_{ii} / \tau}}{\sum_j e^{c_{ji} / \tau}}
        \Bigr), \qquad c_{ij} = \cos(\hat f_{m,i}, \hat f_{m',j})

    t counts epochs from one, P are the pairs of modalities, i and j the n samples of the batch that have both. How hard
    labels are to fit differs between modalities, and so does how fast each learns; that a sample's modalities belong
    together is as hard for one as for the other, so encoders that have learned it start alike. The matching loss weighs
    0.63 in the first epoch and 0.1 in the tenth. Choose it where one modality learns fast, the others show the same
    event, and batches are large: with less than two samples there is nothing to tell apart. It acts in training only
    and costs no further pass; several processes match each within its own batch.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        in_features: Width of each modality's features.
        temperature: :math:`\tau`, positive.
        features: Width of a learned linear projection of each modality before the comparison; None for none, where
            all modalities have one width.
        unimodal_weight: Weight of the uni-modal losses beside the fused ones; 0 in the paper, where there are no
            uni-modal heads.

    Raises:
        RecipeError: The modalities have several widths and `features` is not set.

    Source:
        Yang et al. 2024 (NeurIPS), "Facilitating multimodal classification via dynamically learning modality gap", the
        heuristic strategy (:math:`\alpha_t` from a summary of the paper; which loss it weighs from two public programs,
        whose weights fall as well; equation numbers not checked). The temperature is a public program's; we do not know
        the authors'. What differs: the projection, pairs of more than two modalities, absent ones and numbers. The
        learned strategy, which finds :math:`\alpha` by descending the loss of held-out samples through a step of
        training, is not here; public programs match by the Jensen-Shannon divergence of softmaxed features, which tells
        no sample from another.

    Example:
        >>> balancer = LFM(("audio", "video"), ("mood",), {"audio": 8, "video": 8})
        >>> [round(balancer.share(epoch), 3) for epoch in (0, 1, 9)]
        [0.632, 0.393, 0.095]
    """

    reads_widths = True

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        in_features: Mapping[str, int],
        *,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        features: Positive | None = None,
        unimodal_weight: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        if features is None and len(set(in_features.values())) > 1:
            widths = ", ".join(f"{name} {width}" for name, width in in_features.items())
            remedy = f"set one width for all modalities, such as {min(in_features.values())}"
            raise RecipeError(
                [Problem("features", f"vectors of several widths ({widths}) cannot be compared", remedy)], source="lfm"
            )
        self.modalities, self.temperature, self.unimodal_weight = modalities, temperature, unimodal_weight
        widths_of = [] if features is None or len(modalities) < 2 else [in_features[name] for name in modalities]
        self.projections = nn.ModuleList(nn.Linear(width, features or width, bias=False) for width in widths_of)

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Multiplies the terms by their share, and adds a term ``match`` by its."""
        fused, own = split_terms(terms, self.unimodal_weight)
        if not fused:
            return terms
        assert step.output is not None
        learning = any(vectors.requires_grad for vectors in step.output.features.values())
        if len(self.modalities) < 2 or not learning:
            return {**fused, **own}
        share = self.share(step.epoch)
        weighted = {name: (1.0 - share) * term for name, term in {**fused, **own}.items()}
        return {**weighted, "match": share * self._match(step)}

    def share(self, epoch: int) -> float:
        r"""Returns the weight :math:`\alpha` of the matching loss after so many epochs."""
        return -math.expm1(-1.0 / (epoch + 1))

    def _match(self, step: Step) -> Tensor:
        assert step.output is not None
        directions = {}
        for place, name in enumerate(self.modalities):
            vectors = step.output.features[name]
            vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
            directions[name] = functional.normalize(self.projections[place](vectors) if self.projections else vectors)
        losses = []
        for first, second in combinations(self.modalities, 2):
            both = step.output.present[first] & step.output.present[second]
            likeness = directions[first][both] @ directions[second][both].T / self.temperature
            found = (likeness.log_softmax(dim=0) + likeness.log_softmax(dim=1)).diagonal()
            losses.append(mean_over_union(-found / 2))
        return torch.stack(losses).mean()
