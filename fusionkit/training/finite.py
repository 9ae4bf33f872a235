"""Steps whose numbers are not finite: refused before they spoil the weights, with what is wrong in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from torch import distributed as dist
from torch import nn

from fusionkit.errors import TrainingError
from fusionkit.nn.distributed import world_size

TOTAL = "total"
"""The name of the sum of all weighted terms among the terms of a step."""


def refuse_flaws(
    where: str,
    terms: Mapping[str, float],
    parameters: Iterable[tuple[str, nn.Parameter]],
    samples: Sequence[str],
    *,
    flawed: bool,
) -> None:
    """Refuses a step of which a number is not finite; of several processes all do, since all see the same numbers.

    Args:
        where: Stage, epoch and step.
        terms: Its loss terms and their total.
        parameters: By name, those that learn.
        samples: The samples of this process.
        flawed: Whether some number of the gradients is not finite.

    Raises:
        TrainingError: A loss term, their total or a gradient is not finite.
    """
    wrong = [f"the loss term {name}" for name, value in terms.items() if name != TOTAL and not math.isfinite(value)]
    if not wrong and not math.isfinite(terms[TOTAL]):
        wrong = ["the total of the weighted loss terms"]
    if not wrong and flawed:
        wrong = [
            f"the gradient of {name}"
            for name, parameter in parameters
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ] or ["the norm of the gradient"]
    if not wrong:
        return
    ids = list(samples)
    if world_size() > 1:
        gathered: list[list[str]] = [[] for _ in range(world_size())]
        dist.all_gather_object(gathered, ids)
        ids = [name for part in gathered for name in part]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    verb = "is" if len(wrong) == 1 else "are"
    raise TrainingError(
        f"{where}: {', '.join(wrong[:3])}{more} {verb} not finite; samples of this step: {', '.join(ids)}; look at "
        "these samples, lower train.optimizer.lr or set train.clip_norm; the last checkpoint is from before this step"
    )
