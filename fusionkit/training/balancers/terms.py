"""Loss terms by the branch and the target that their names state."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusionkit.errors import TrainingError
from fusionkit.interfaces import Step


def sum_branches(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums each branch's terms over targets: ``"fused"`` and the modalities.

    Example:
        >>> import torch
        >>> terms = {"fused/age": torch.tensor(1.0), "fused/mood": torch.tensor(2.0), "audio/age": torch.tensor(4.0)}
        >>> {branch: value.item() for branch, value in sum_branches(terms).items()}
        {'fused': 3.0, 'audio': 4.0}
    """
    sums: dict[str, Tensor] = {}
    for name, term in terms.items():
        branch = name.partition("/")[0]
        sums[branch] = sums[branch] + term if branch in sums else term
    return sums


def sum_fused_and_unimodal(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums the fused terms under ``"fused"`` and all others under ``"unimodal"``, where there are any.

    Example:
        >>> import torch
        >>> terms = {"fused/mood": torch.tensor(1.0), "audio/mood": torch.tensor(2.0), "face/mood": torch.tensor(4.0)}
        >>> {name: value.item() for name, value in sum_fused_and_unimodal(terms).items()}
        {'fused': 1.0, 'unimodal': 6.0}
    """
    sums = sum_branches(terms)
    own = [term for branch, term in sums.items() if branch != "fused"]
    total = {"fused": sums["fused"]} if "fused" in sums else {}
    return {**total, "unimodal": sum(own[1:], own[0])} if own else total


def split_terms(terms: Mapping[str, Tensor], unimodal_weight: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the fused terms, and all others times a weight; of a weight of 0 there are no others.

    Example:
        >>> import torch
        >>> split_terms({"fused/mood": torch.tensor(1.0), "audio/mood": torch.tensor(2.0)}, 0.5)
        ({'fused/mood': tensor(1.)}, {'audio/mood': tensor(1.)})
    """
    fused = {name: term for name, term in terms.items() if name.startswith("fused/")}
    others = {name: unimodal_weight * term for name, term in terms.items() if name not in fused and unimodal_weight}
    return fused, others


def find_classes(step: Step, reason: str) -> dict[str, Tensor]:
    """Returns the encoded targets of a step that are classes.

    Args:
        step: The step.
        reason: The balancer, and why it needs classes, for the message.

    Raises:
        TrainingError: None of the targets is.
    """
    classes = {name: wanted for name, wanted in step.targets.items() if not wanted.is_floating_point()}
    if not classes:
        raise TrainingError(f"{reason}, and no target of this model has any")
    return classes
