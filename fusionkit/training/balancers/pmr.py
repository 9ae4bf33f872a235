"""Prototypical modal rebalance: encoders that lag are drawn to the prototypes of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Step
from fusionkit.nn.distributed import mean_over_union, sum_over_processes
from fusionkit.training.balancers.likelihood import average_known
from fusionkit.training.balancers.terms import find_classes, split_terms


@BALANCERS.register("pmr")
class PMR(Balancer):
    r"""Class prototypes that draw the features of lagging modalities, and hold the leading one back at first.

    .. math::
        L = L_{\mathrm{fused}} + \sum_m \bigl(\alpha \beta_m L^{\mathrm{PCE}}_m - \mu \gamma_m H_m\bigr), \qquad
        p_m(c \mid i) = \frac{e^{-\lVert f_{m,i} - P_{m,c} \rVert}}{\sum_{c'} e^{-\lVert f_{m,i} - P_{m,c'} \rVert}}

    .. math::
        \beta_m = \min\bigl(1, \tfrac{\max_{m'} s_{m'}}{s_m} - 1\bigr), \qquad
        \gamma_m = \begin{cases} \max_{m'} \beta_{m'} & \beta_m = 0 \\ 0 & \text{otherwise} \end{cases}

    :math:`P_{m,c}` is the prototype of class c, the mean of modality m's features over its samples;
    :math:`L^{\mathrm{PCE}}_m` is the mean of :math:`-\ln p_m(y)` and :math:`s_m` that of :math:`p_m(y)` in the batch;
    :math:`H_m` is the mean entropy of :math:`p_m`. The prototype loss needs no fused loss to pass through the fusion,
    so a modality that the fusion neglects still learns; in the first `entropy_epochs` the leading modality is kept from
    being sure. Choose it where one modality dominates and the targets are classes: targets that are numbers have no
    prototypes and are left alone. It acts in training only and costs no further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        alpha: Weight of the prototype losses, at least 0.
        mu: Weight of the entropy, at least 0.
        momentum: Share of a prototype that is kept from epoch to epoch, 0 to below 1.
        entropy_epochs: Epochs at the start in which the leading modality's entropy is raised.
        unimodal_weight: Weight of the uni-modal losses beside it; 0 in the paper, where there are no uni-modal heads.

    Raises:
        TrainingError: No target has classes.

    Source:
        Fan et al. 2023, https://doi.org/10.1109/CVPR52729.2023.01918 (arXiv:2211.07089), section on prototypical modal
        rebalance (restated from the authors' program and a public one; equation numbers not checked: the program has
        :math:`\beta = 1` for the slower of two, the public one the clipped lead that stands above). alpha and
        momentum are the program's; of mu and `entropy_epochs` we are not sure. What differs: prototypes are the
        means over the features that the last epoch's training saw, theirs need a pass over a tenth of the samples; so
        the first epoch has none and is plain training; the ratio is to the best modality, the same for two; entropies
        are means over samples, so that mu does not depend on the batch; features are normalised.

    Example:
        >>> balancer = PMR(("audio", "video"), ("mood",))
        >>> [round(b.item(), 4) for b in balancer.lags(torch.tensor([0.6, 0.4]))]
        [0.0, 0.5]
    """

    epoch: Tensor

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        mu: Annotated[float, Field(ge=0)] = 0.01,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        entropy_epochs: Annotated[int, Field(ge=0)] = 10,
        unimodal_weight: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        self.modalities, self.targets = modalities, targets
        self.alpha, self.mu, self.momentum = alpha, mu, momentum
        self.entropy_epochs, self.unimodal_weight = entropy_epochs, unimodal_weight
        self.register_buffer("epoch", torch.tensor(0))

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Adds a term ``prototype/<modality>`` for each modality that has prototypes."""
        fused, own = split_terms(terms, self.unimodal_weight)
        if not fused:
            return terms
        weighted = {**fused, **own}
        guesses = self._guess_modalities(step)
        if len(guesses) < 2:
            return weighted
        lags = self.lags(torch.stack([likely for likely, _, _ in guesses.values()]))
        for lag, (name, (_, loss, entropy)) in zip(lags, guesses.items(), strict=True):
            held = torch.where(lag == 0, lags.max(), 0.0) if step.epoch < self.entropy_epochs else 0.0
            weighted[f"prototype/{name}"] = self.alpha * lag * loss - self.mu * held * entropy
        return weighted

    def lags(self, likely: Tensor) -> Tensor:
        r"""Computes the coefficients :math:`\beta` from the mean probabilities of the truth."""
        return (likely.max() / likely.clamp(min=torch.finfo(likely.dtype).tiny) - 1).clamp(0, 1)

    def _guess_modalities(self, step: Step) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Returns by modality the mean probability of the truth, its mean cross-entropy and the mean entropy."""
        output = step.output
        assert output is not None
        known = find_classes(step, "pmr: prototypes belong to classes")
        classes = [target for target in output.fused if target in known]
        # The first batch of an epoch ends the one before: prototypes are those of finished epochs.
        if step.epoch != self.epoch:
            self._end_epoch()
            self.epoch.fill_(step.epoch)
        found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for place, name in enumerate(self.modalities):
            for target in classes:
                counts = output.present[name] & (step.targets[target] >= 0)
                features, wanted = output.features[name][counts], step.targets[target][counts]
                features = features.to(torch.promote_types(features.dtype, torch.float32))  # sums of half precision
                key = f"{place}_{self.targets.index(target)}"
                self._remember(key, features.detach(), wanted, output.fused[target].shape[1] + 1)
                guess = self._guess(key, features, wanted)
                if guess is not None:
                    found.setdefault(name, []).append(guess)
        return {
            name: (
                torch.stack([one[0] for one in of]).mean(),
                torch.stack([one[1] for one in of]).sum(),
                torch.stack([one[2] for one in of]).sum(),
            )
            for name, of in found.items()
        }

    def _guess(self, key: str, features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        prototypes, seen = self.get_buffer(f"prototypes_{key}"), self.get_buffer(f"seen_{key}")
        known = (seen > 0).nonzero().flatten()
        if not len(known):
            return None
        features, wanted = features[seen[wanted] > 0], wanted[seen[wanted] > 0]
        # By differences: products of matrices, the faster way, lose the digits of small distances.
        distances = torch.cdist(
            features, prototypes[known].to(features.dtype), compute_mode="donot_use_mm_for_euclid_dist"
        )
        logarithms = (-distances).log_softmax(dim=1)
        truth = logarithms.gather(1, torch.searchsorted(known, wanted)[:, None]).flatten()
        entropy = -(logarithms.exp() * logarithms).sum(dim=1)
        likely = average_known(truth.exp())
        means = mean_over_union(-truth), mean_over_union(entropy)  # always: other processes wait for this one
        return None if likely.isnan() else (likely, *means)

    @torch.no_grad()
    def _remember(self, key: str, features: Tensor, wanted: Tensor, classes: int) -> None:
        if f"sums_{key}" not in self._buffers:
            for name in ("prototypes", "sums"):
                self.register_buffer(f"{name}_{key}", features.new_zeros(classes, features.shape[1]))
            for name in ("seen", "counts"):
                self.register_buffer(f"{name}_{key}", features.new_zeros(classes))
        for name, rows in (("sums", features), ("counts", torch.ones_like(features[:, 0]))):
            kept = self.get_buffer(f"{name}_{key}")
            kept += sum_over_processes(torch.zeros_like(kept).index_add_(0, wanted, rows))

    @torch.no_grad()
    def _end_epoch(self) -> None:
        """Makes prototypes of what the epoch saw."""
        for key in [name.removeprefix("sums_") for name in self._buffers if name.startswith("sums_")]:
            sums, counts = self.get_buffer(f"sums_{key}"), self.get_buffer(f"counts_{key}")
            prototypes, seen = self.get_buffer(f"prototypes_{key}"), self.get_buffer(f"seen_{key}")
            means = sums / counts.clamp(min=1)[:, None]
            kept = torch.where(seen > 0, self.momentum, 0.0)[:, None]
            prototypes.copy_(torch.where(counts[:, None] > 0, (1 - kept) * means + kept * prototypes, prototypes))
            seen.copy_(torch.maximum(seen, (counts > 0).to(seen.dtype)))
            sums.zero_()
            counts.zero_()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Makes room for prototypes, whose shapes are known only once a batch was seen."""
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and "." not in name and name not in self._buffers:
                self.register_buffer(name, torch.zeros_like(value))
        super()._load_from_state_dict(state_dict, prefix, *rest)
