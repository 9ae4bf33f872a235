"""Modalities that are taken away from the fusion at random."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def drop_modalities(present: Mapping[str, Tensor], rates: Mapping[str, float | Tensor]) -> dict[str, Tensor]:
    """Draws anew which samples have each modality; a sample that would lose all of them keeps all.

    Args:
        present: By modality, the mask of samples that have it.
        rates: By modality, the probability that a sample loses it.

    Example:
        >>> here = {"audio": torch.tensor([True, False]), "video": torch.tensor([True, True])}
        >>> {name: mask.tolist() for name, mask in drop_modalities(here, {"audio": 1.0, "video": 0.0}).items()}
        {'audio': [False, False], 'video': [True, True]}
    """
    kept = {name: here & (torch.rand(here.shape, device=here.device) >= rates[name]) for name, here in present.items()}
    something = torch.stack(tuple(kept.values())).any(dim=0)
    return {name: torch.where(something, kept[name], here) for name, here in present.items()}
