"""The features of the reported samples, small enough to be kept with every run, for figures of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fusionkit.interfaces import Fusion

MOST_SAMPLES = 5000
"""Of more samples than these, so many are kept, evenly spaced: figures of features show no more."""

FUSED_FEATURE = "feature/fused"
FEATURE_ROWS = "feature_rows"


@contextmanager
def record_fusion(fusion: Fusion) -> Iterator[Mapping[str, list[Tensor]]]:
    """Keeps, while it lasts, what a fusion gives, batch by batch on the CPU.

    Yields:
        ``feature/fused``, the fused vector; of a fusion that adapts features for another one, such as `mrpn`, also
        ``adapted/<modality>``, the adapted features.
    """
    heard: dict[str, list[Tensor]] = {}

    def keep(name: str, values: Tensor) -> None:
        heard.setdefault(name, []).append(values.detach().half().cpu())

    def keep_fused(_: nn.Module, __: object, fused: Tensor) -> None:
        keep(FUSED_FEATURE, fused)

    def keep_adapted(_: nn.Module, given: tuple[Mapping[str, Tensor], object]) -> None:
        for modality, values in given[0].items():
            keep(f"adapted/{modality}", values)

    handles = [fusion.register_forward_hook(keep_fused)]
    if (behind := fusion.adapts_for) is not None:
        handles.append(behind.register_forward_pre_hook(keep_adapted))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def select_stored_features(
    features: Mapping[str, Tensor], heard: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Selects the features that a run folder keeps, in half precision.

    Args:
        features: Normalised features f^_m by modality, ``(samples, features)``.
        heard: What `record_fusion` kept, all batches together.
        present: By modality, which samples have it.

    Returns:
        ``feature/<modality>`` and what was heard, NaN where a sample lacks the modality; modalities that no sample
        has are left out. ``feature_rows`` are the positions of their rows among the samples: all, or `MOST_SAMPLES`
        evenly spaced ones.

    Example:
        >>> features, mask = {"a": torch.tensor([[1.0], [0.0]])}, {"a": torch.tensor([True, False])}
        >>> select_stored_features(features, {}, mask)["feature/a"].flatten()
        tensor([1., nan], dtype=torch.float16)
    """
    samples = len(next(iter(present.values())))
    rows = torch.arange(samples)
    if samples > MOST_SAMPLES:
        rows = torch.linspace(0, samples - 1, MOST_SAMPLES, dtype=torch.float64).round().long()
    named = {f"feature/{name}": values for name, values in features.items()} | dict(heard)
    kept = {FEATURE_ROWS: rows}
    for name, values in named.items():
        mask = present.get(name.partition("/")[2])
        if mask is None:
            kept[name] = values[rows].half()
        elif bool(mask.any()):
            kept[name] = values.half().masked_fill(~mask[:, None], torch.nan)[rows]
    return kept
