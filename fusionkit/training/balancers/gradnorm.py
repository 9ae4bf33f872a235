"""Weights of loss terms that make all of them train at similar rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Plan, Step
from fusionkit.nn.distributed import sum_over_processes, world_size
from fusionkit.training.balancers.separate_gradients import find_blocks, flatten

FLOOR = 0.01


@BALANCERS.register("gradnorm")
class GradNorm(Balancer):
    r"""Loss terms whose weights are learned so that their gradients on what they share are balanced.

    .. math::
        L = \sum_k w_k L_k, \qquad G_k = \lVert \nabla_W w_k L_k \rVert, \qquad
        r_k = \frac{L_k / L_k(0)}{\frac{1}{K} \sum_j L_j / L_j(0)}

    .. math::
        w_k \leftarrow w_k - \eta \frac{\partial}{\partial w_k} \frac{1}{\bar G} \sum_j
        \bigl\lvert G_j - \bar G \, r_j^\alpha \bigr\rvert, \qquad \sum_k w_k = K

    k are the K loss terms, W the parameters that a term shares with others, :math:`\bar G` the mean of the norms,
    taken for a constant in the derivative together with :math:`r_j^\alpha`. A term that has fallen less than the
    others since the first step (:math:`r_k > 1`) may have a larger gradient, by :math:`\alpha`; a term whose gradient
    is larger than it may be loses weight. Choose it where targets or branches train at different speeds. It acts in
    training only and costs a backward pass per loss term instead of one.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        alpha: How much slow terms are favoured, at least 0; 0 asks for equal norms.
        lr: Step :math:`\eta` of the weights, positive.

    Source:
        Chen et al. 2018, arXiv:1711.02257, eqs. (1), (2) and algorithm 1; alpha as for NYUv2 there; whether lr is
        the authors' could not be checked against the print. What differs: the paper takes the norms on the last shared
        layer of one trunk; branches have no common trunk, so W is what a term shares with any other: all encoders for
        a fused term, the modality's own for a uni-modal one. The derivative is divided by :math:`\bar G`, so that
        :math:`\eta` has no unit and neither the scale of the losses nor mixed precision nor accumulation matters; the
        weights follow plain gradient descent and stop at 0.01, so that no term is lost. :math:`L_k(0)` is the loss of
        the first batch that has the term; a term that a batch lacks keeps its weight.

    Example:
        >>> balancer = GradNorm(("audio",), ("mood",), alpha=0.0, lr=0.1)
        >>> balancer.balance({"fused/mood": (torch.tensor(3.0), torch.tensor(1.0)),
        ...                   "audio/mood": (torch.tensor(1.0), torch.tensor(1.0))})
        >>> balancer.weights
        tensor([0.8947, 1.1053])
    """

    weights: Tensor
    first: Tensor

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        alpha: Annotated[float, Field(ge=0)] = 1.5,
        lr: Annotated[float, Field(gt=0)] = 0.025,
    ) -> None:
        super().__init__()
        self.alpha, self.lr = alpha, lr
        self.terms = [f"{branch}/{target}" for branch in ("fused", *modalities) for target in targets]
        self.register_buffer("weights", torch.ones(len(self.terms)))
        self.register_buffer("first", torch.zeros(len(self.terms)))
        self._losses: dict[str, Tensor] = {}

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Multiplies every term by its weight of now."""
        self._losses = {name: term.detach() for name, term in terms.items()}
        return {name: self.weights[self.terms.index(name)].clone() * term for name, term in terms.items()}

    def plan(self, step: Step) -> Plan:
        """Asks for one gradient per loss term."""
        return Plan(separate_gradients=True)

    def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
        """Sums the gradients, and learns the weights of the next step from their norms."""
        # Norms are those of shared parameters alone: only there do terms compete.
        shared = {term: list[Tensor]() for term in gradients}
        for terms, places in find_blocks(gradients).items():
            for term in terms if len(terms) > 1 else ():
                shared[term].append(flatten(gradients, term, places))
        losses = self._losses
        norms = {term: torch.cat(parts).norm() if parts else losses[term] * 0 for term, parts in shared.items()}
        self.balance({term: (norm, losses[term]) for term, norm in norms.items()})
        return super().combine(gradients, step)

    @torch.no_grad()
    def balance(self, measured: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Learns the weights from the loss of every term and the norm of its weighted gradient, zero without any."""
        if len(measured) < 2:
            return
        places = [self.terms.index(term) for term in measured]
        norm, loss = (torch.stack(column).to(self.weights.dtype) for column in zip(*measured.values(), strict=True))
        norm, loss = (sum_over_processes(row) / world_size() for row in (norm, loss))
        first, weight = self.first[places], self.weights[places]
        # A term's first loss is that of the first batch with a sample of it.
        first = torch.where(first == 0, loss, first)
        self.first[places] = first
        # A term without samples or shared parameters keeps its weight; the others keep the sum of theirs.
        counts = (loss > 0) & (norm > 0) & (weight > 0)
        rate = torch.where(counts, loss / first, 0.0)
        rate = rate / (rate.sum() / counts.sum()).clamp(min=torch.finfo(rate.dtype).tiny)
        mean = (torch.where(counts, norm, 0.0).sum() / counts.sum()).clamp(min=torch.finfo(norm.dtype).tiny)
        slope = (norm - mean * rate**self.alpha).sign() * norm / (weight * mean)
        moved = torch.where(counts, (weight - self.lr * slope).clamp(min=FLOOR), weight)
        scale = torch.where(counts, weight, 0.0).sum() / torch.where(counts, moved, 0.0).sum()
        self.weights[places] = torch.where(counts, moved * scale, weight)
