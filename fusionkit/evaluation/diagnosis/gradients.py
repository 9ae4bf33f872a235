"""The angle between the gradients of uni-modal and fused losses over a training, from its log."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fusionkit.storage.records.diagnosis import Gradients
from fusionkit.storage.records.document import Figure, figure

THIRDS = ("first", "middle", "last")
BINS = 20


def cosines_over_training(records: Sequence[Mapping[str, Any]]) -> dict[str, Gradients] | None:
    """Reads what ``train.gradient_cosines`` left in the log; None where it did not ask, or there was nothing to tell.

    Args:
        records: The lines of a log.

    Returns:
        By modality, how the two gradients lay to each other.

    Example:
        >>> def line(step, cosine):
        ...     return {"step": step, "gradients": {"a": {"cosine": cosine, "own_norm": 2.0, "fused_norm": 1.0}}}
        >>> found = cosines_over_training([line(1, -0.5), line(2, 0.0), line(3, 0.5)])["a"]
        >>> found.cosine.value, found.thirds["last"].value, round(found.negative.value, 2)
        (0.0, 0.5, 0.33)
    """
    measured = [record for record in records if record.get("gradients")]
    steps = [record["step"] for record in records if "terms" in record or "gradients" in record]
    if not measured:
        return None
    found: dict[str, Gradients] = {}
    for modality in dict.fromkeys(name for record in measured for name in record["gradients"]):
        told = [
            ((record["step"] - min(steps)) / (max(steps) - min(steps) + 1), record["gradients"][modality])
            for record in measured
            if record["gradients"].get(modality, {}).get("cosine") is not None
        ]
        if not told:
            continue
        cosines = [of["cosine"] for _, of in told]
        ratios = [of["own_norm"] / of["fused_norm"] for _, of in told if of["fused_norm"]]
        found[modality] = Gradients(
            steps=len(told),
            cosine=figure(statistics.fmean(cosines)),
            thirds=_means(told, 3, THIRDS),
            negative=figure(sum(cosine < 0 for cosine in cosines) / len(cosines)),
            norm_ratio=figure(statistics.median(ratios)),
            bins=_means(told, BINS, [f"{(place + 0.5) / BINS:.3f}" for place in range(BINS)]),
        )
    return found or None


def _means(told: Sequence[tuple[float, Mapping[str, float]]], parts: int, names: Sequence[str]) -> dict[str, Figure]:
    values: dict[str, list[float]] = {}
    for progress, of in told:
        values.setdefault(names[int(progress * parts)], []).append(of["cosine"])
    return {name: figure(statistics.fmean(values[name])) for name in names if name in values}
