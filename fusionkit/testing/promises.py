"""Promises of several kinds: a component is registered and described, and it is a sound module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.config.components.registry import Component, Registry

SEED = 20210816


class ContractError(AssertionError):
    """A broken promise of a component's kind; the message says which."""


def promise(holds: bool | Tensor, sentence: str) -> None:
    """Raises a `ContractError` with the sentence where it does not hold."""
    if not bool(holds):
        raise ContractError(sentence)


def is_close(a: Tensor, b: Tensor, *, tolerance: float = 1e-8) -> bool:
    """Tells whether two tensors agree in shape and, but for rounding, in values."""
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)


def find_component(registry: Registry[Any], cls: type, *, sourced: bool = True) -> Component[Any]:
    """Returns the component of a class, which must be registered, have a summary and describe every option.

    Args:
        registry: The registry of the kind.
        cls: The class.
        sourced: Whether fusionkit's own components of this kind name the publication that they come from.
    """
    found = [component for component in registry if component.cls is cls]
    promise(
        bool(found),
        f"{cls.__qualname__} is registered: put @{registry.kind.upper().removesuffix('S')}S.register(name) above it",
    )
    component = found[0]
    promise(bool(component.summary), f"{component.name}: the class has a docstring whose first line says what it does")
    undescribed = [option for option in component.options.model_fields if option not in component.descriptions]
    promise(not undescribed, f"{component.name}: 'Args:' of the docstring describes every option, also {undescribed}")
    if sourced and cls.__module__.startswith("fusionkit."):
        text = inspect.getdoc(cls) or ""
        for part in ("Source:", "Example:", ".. math::"):
            promise(part in text, f"{component.name}: the docstring of a built-in component has {part!r}")
    return component


def build(component: Component[Any], *wired: Any, options: Mapping[str, Any] | None) -> Any:
    """Builds a component from what the model would wire and a recipe would set, the same at every call."""
    torch.manual_seed(SEED)
    return component.build(*wired, **(options or {}))


def draw_normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = SEED) -> Tensor:
    """Draws example numbers: the same at every call, and the same in every dtype but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def check_module(name: str, make: Callable[[], nn.Module], run: Callable[[nn.Module, torch.dtype], Tensor]) -> None:
    """Checks gradients, determinism, copies, saved states and double precision of a module.

    Args:
        name: The component's name, for messages.
        make: Builds it, the same at every call.
        run: Runs it on an example in a dtype; the output.
    """
    module = make().train()
    output = run(module, torch.float32)
    promise(output.isfinite().all(), f"{name}: the output in training is finite")
    _check_gradients(name, module, output)
    module.eval()
    with torch.no_grad():
        first = run(module, torch.float32)
        promise(first.isfinite().all(), f"{name}: the output in evaluation is finite")
        promise(torch.equal(first, run(module, torch.float32)), f"{name}: evaluation is deterministic")
        promise(is_close(run(copy.deepcopy(module), torch.float32), first), f"{name}: a deep copy computes the same")
        torch.manual_seed(SEED + 1)
        fresh = make()
        fresh.load_state_dict(module.state_dict())
        promise(
            is_close(run(fresh.eval(), torch.float32), first),
            f"{name}: the state dict holds all that evaluation needs: a fresh component with it computes the same",
        )
        double = run(module.double(), torch.float64)
        promise(double.dtype == torch.float64, f"{name}: float64 in, float64 out")
        promise(is_close(double, first, tolerance=1e-3), f"{name}: float64 gives what float32 gives")


def _check_gradients(name: str, module: nn.Module, output: Tensor) -> None:
    learned = {key: parameter for key, parameter in module.named_parameters() if parameter.requires_grad}
    if not learned:
        return
    total = (output * draw_normal(*output.shape, dtype=output.dtype, seed=SEED + 2)).sum()
    promise(total.requires_grad, f"{name}: the output depends on the parameters")
    gradients = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
    for key, gradient in zip(learned, gradients, strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        promise(reached, f"{name}: a finite gradient reaches the parameter {key}")
