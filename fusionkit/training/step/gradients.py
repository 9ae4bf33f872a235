"""Gradients: of one loss, scaled, merged over batches and processes, measured, clipped, and refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist

from fusionkit.errors import TrainingError
from fusionkit.interfaces import GradientScale
from fusionkit.nn.distributed import world_size
from fusionkit.training.step.outcome import TOTAL


def compute_gradients(
    loss: Tensor, parameters: Sequence[nn.Parameter], scaler: torch.amp.GradScaler | None, share: float
) -> list[Tensor | None]:
    """Returns the gradients of a share of a loss, None for parameters without a role in it; the graph is kept."""
    if not loss.requires_grad:
        return [None] * len(parameters)
    scaled = (loss if scaler is None else scaler.scale(loss)) * share
    if world_size() == 1:
        return list(torch.autograd.grad(scaled, list(parameters), retain_graph=True, allow_unused=True))
    # Sums over processes in the graph wait for every process, also for one that they lead to no parameter: so this is
    # the pass through the whole graph that an ordinary step makes.
    held = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    scaled.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in parameters]
    for parameter, gradient in zip(parameters, held, strict=True):
        parameter.grad = gradient
    return found


def compare_gradients(
    own: Tensor, fused: Tensor, shared: Mapping[str, Sequence[nn.Parameter]], scaler: torch.amp.GradScaler | None
) -> dict[str, dict[str, Tensor]]:
    r"""Compares the gradients of two losses, for every modality.

    .. math::
        \cos_m = \frac{u_m \cdot f_m}{\lVert u_m \rVert \lVert f_m \rVert}, \qquad
        u_m = \nabla_{\theta_m} L_{\mathrm{own}}, \quad f_m = \nabla_{\theta_m} L_{\mathrm{fused}}

    Nothing that a training depends on changes. Several processes measure each on its own batch.

    Args:
        own: The sum of all uni-modal loss terms: those of one modality alone reach its parameters.
        fused: The sum of the fused loss terms.
        shared: By modality, the parameters that both losses reach.
        scaler: Of losses in half precision, whose gradients would be too small; the norms are those without it.

    Returns:
        By modality ``cosine``, ``own_norm`` and ``fused_norm``; the cosine with a gradient of zero is NaN.
    """
    parameters = [parameter for of in shared.values() for parameter in of]
    columns = [compute_gradients(loss, parameters, scaler, 1.0) for loss in (own, fused)]
    flat = [
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, column, strict=True)]
        for column in columns
    ]
    found, start = {}, 0
    for modality, of in shared.items():
        u, f = (torch.cat(column[start : start + len(of)]) for column in flat)
        start += len(of)
        if scaler is not None:
            u, f = u / scaler.get_scale(), f / scaler.get_scale()
        own_norm, fused_norm = u.norm(), f.norm()
        found[modality] = {"cosine": (u @ f) / (own_norm * fused_norm), "own_norm": own_norm, "fused_norm": fused_norm}
    return found


def apply_scale(gradient: Tensor, scale: GradientScale) -> Tensor:
    r"""Scales a gradient and makes it noisy.

    .. math::
        g' = s g + n \, \mathrm{std}(g) \, z, \qquad z \sim N(0, 1)

    with the population deviation, which a single number has too.
    """
    scaled = gradient * scale.scale
    if isinstance(scale.noise, Tensor) or scale.noise:
        scaled = scaled + scale.noise * gradient.std(correction=0) * torch.randn_like(gradient)
    return scaled


def accumulate(
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor | None],
    scales: Sequence[GradientScale | None],
) -> None:
    """Adds gradients, scaled, to what the parameters hold already."""
    for parameter, gradient, scale in zip(parameters, gradients, scales, strict=True):
        if gradient is None:
            continue
        change = gradient if scale is None else apply_scale(gradient, scale)
        if parameter.grad is not None:
            parameter.grad = parameter.grad + change
        else:  # some are one number that stands for many, into which nothing can be written
            parameter.grad = change.clone() if 0 in change.stride() else change


def reduce_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Averages the gradients over all processes, in one transfer per dtype.

    This takes the place of a wrapper that overlaps transfers with the backward pass, because no such wrapper knows
    gradients per loss term, or parameters that learn in one step and are frozen in the next. A parameter without a
    gradient in one process counts as zero there; without one in any, it stays without.
    """
    if world_size() == 1:
        return
    held = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    dist.all_reduce(held)
    moving = [p for p, count in zip(parameters, held.tolist(), strict=True) if count]
    for dtype in sorted({p.dtype for p in moving}, key=str):
        group = [p for p in moving if p.dtype == dtype]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in group])
        dist.all_reduce(flat)
        flat /= world_size()
        for parameter, mean in zip(group, torch.split(flat, [p.numel() for p in group]), strict=True):
            parameter.grad = mean.view_as(parameter)


def measure_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Returns the norm of all gradients together; it is not finite as soon as one number of them is not."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients) if gradients else parameters[0].new_zeros(())


def find_flaw(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Returns zero where all numbers of all gradients are finite.

    What a scaler of losses asks before every update, in one call for all of them; their norm takes several times as
    long. Where there is no such call, for sparse and complex gradients and on other devices, it is the norm less
    itself.
    """
    device = parameters[0].device
    asked = device.type in ("cpu", "cuda")
    alike: dict[torch.dtype, list[Tensor]] = {}
    others: list[Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if asked and not gradient.is_sparse and gradient.is_floating_point():
            alike.setdefault(gradient.dtype, []).append(gradient)
        else:
            others.append(gradient)
    found, scale = torch.zeros((), device=device), torch.ones((), device=device)
    for gradients in alike.values():
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, scale)  # times one: they stay as they are
    if others:
        norm = nn.utils.get_total_norm(others)
        found = found + (norm - norm)
    return found


def rescale(parameters: Sequence[nn.Parameter], clip_norm: float, norm: Tensor) -> None:
    """Shortens the gradients to a norm, where theirs is larger."""
    nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)


def refuse_flaws(
    where: str,
    terms: Mapping[str, float],
    parameters: Iterable[tuple[str, nn.Parameter]],
    samples: Sequence[str],
    *,
    flawed: bool,
) -> None:
    """Refuses a step with a number that is not finite. All processes refuse it, since all see the same numbers.

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
