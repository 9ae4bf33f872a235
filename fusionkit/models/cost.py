"""The cost of a network before it is trained: shapes from input to fusion, parameters, FLOPs and memory.

Everything is measured by running the network on noise, so a user's own components are counted like ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from fusionkit.config.components.specs import ComponentSpec
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.build import FusionModel
from fusionkit.models.random_inputs import WAVE_LENGTH, assume_lengths, count_samples, draw_noise
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.memory import explain_full_memory

_BATCH = 2  # the fewest samples that have a batch statistic


@dataclass(frozen=True)
class Part:
    """One component of a network at work on one sample.

    Args:
        name: Its name in the recipe.
        length: Elements that it gives; None where it gives one vector.
        shape: Shape of each.
        parameters: Numbers that it learns.
        flops: Floating-point operations of one forward pass, a multiply-add counted as two.
    """

    name: str
    length: int | None
    shape: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class ModalityCost:
    """A modality from its elements to its feature vector.

    Args:
        length: Elements of a sample.
        in_shape: Shape of an element.
        parts: Encoders, aggregator, and the uni-modal heads where there are any.
    """

    length: int
    in_shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds at once, without the framework, the data and temporary results.

    Args:
        weights: Parameters and buffers.
        gradients: One number per parameter.
        optimizer: What the optimizer keeps between steps.
        activations: What a batch keeps for its backward pass; not what is there for a while as they are computed again.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class ModelCost:
    """A whole network.

    Args:
        modalities: By modality.
        fused: The fusion, then the fused head of every target.
        parameters: Numbers that the network learns.
        flops: Of one forward pass over one sample, uni-modal heads included.
        batch_size: Samples that `memory` is about.
        memory: In training, with the recipe's optimizer and 32-bit numbers.
        longest_memory: The same for a batch of the longest samples; None where their lengths are not known.
        recomputed: Modalities whose activations are computed again in the backward pass.
    """

    modalities: Mapping[str, ModalityCost]
    fused: tuple[Part, ...]
    parameters: int
    flops: int
    batch_size: int
    memory: Memory
    longest_memory: Memory | None
    recomputed: tuple[str, ...]


def measure(
    recipe: Recipe,
    model: FusionModel,
    lengths: Mapping[str, int] | None = None,
    longest: Mapping[str, int] | None = None,
) -> ModelCost:
    """Measures the cost of a recipe's network.

    Args:
        recipe: The recipe.
        model: Its network; the measurement takes a step with it, so build it anew for anything else.
        lengths: Elements of a sample by modality; those left out are assumed, see `assume_length`.
        longest: Elements of the longest sample by modality, for `ModelCost.longest_memory`; those left out are as
            `lengths` says. Samples that do not fit into this machine's memory are not measured.

    Raises:
        RecipeError: `lengths` names no modality, or no positive number, or samples of them do not fit into the memory.
    """
    assumed = assume_lengths(model, lengths)
    with explain_full_memory(lambda: _explain_length(assumed)):
        parts, flops = _run(recipe, model.eval(), assumed)
        memory = _measure_memory(recipe, model.train(), assumed)
    return ModelCost(
        {name: ModalityCost(assumed[name], model.branch(name).in_shape, parts[name]) for name in model.modalities},
        parts["fused"],
        sum(parameter.numel() for parameter in model.parameters()),
        flops,
        count_samples(recipe, model, assumed),
        memory,
        _measure_longest(recipe, model, {**assumed, **longest}) if longest else None,
        tuple(name for name, spec in recipe.model.modalities.items() if spec.recompute and _recomputes(model, name)),
    )


def _measure_longest(recipe: Recipe, model: FusionModel, lengths: Mapping[str, int]) -> Memory | None:
    full = _explain_length(lengths)
    try:
        with explain_full_memory(lambda: full):
            return _measure_memory(recipe, model, lengths)
    except RecipeError as error:
        if error is full:
            return None
        raise


def _explain_length(lengths: Mapping[str, int]) -> RecipeError:
    stated = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
    message = f"{_BATCH} samples of so many elements do not fit into this machine's memory: {stated}"
    name = max(lengths, key=lambda each: lengths[each])
    return RecipeError([Problem("length", message, f"give fewer, such as --length {name}={WAVE_LENGTH}")])


def _recomputes(model: FusionModel, modality: str) -> bool:
    return any(isinstance(encoder, ElementEncoder) for encoder in model.branch(modality).encoders)


def _run(recipe: Recipe, model: FusionModel, lengths: Mapping[str, int]) -> tuple[dict[str, tuple[Part, ...]], int]:
    """Returns the parts by modality and under ``fused``, each with its own FLOPs, and all FLOPs."""
    counter = FlopCounterMode(display=False, custom_mapping=FLOPS_OF_LSTM)
    found: dict[nn.Module, tuple[object, int]] = {}
    named = _name_parts(recipe, model)
    modules = [module for group in named.values() for _, module in group]
    with _record(modules, counter.get_total_flops, found), counter:
        model(draw_noise(model, lengths, 1), unimodal=True)
    parts = {
        group: tuple(_describe_part(name, module, *found[module]) for name, module in of) for group, of in named.items()
    }
    return parts, counter.get_total_flops()


def _name_parts(recipe: Recipe, model: FusionModel) -> dict[str, list[tuple[str, nn.Module]]]:
    named: dict[str, list[tuple[str, nn.Module]]] = {}
    for name, spec in recipe.model.modalities.items():
        branch = model.branch(name)
        kinds: list[ComponentSpec] = [*spec.encoder, spec.aggregator]
        modules = [*branch.encoders, branch.aggregator]
        named[name] = [(kind.type, module) for kind, module in zip(kinds, modules, strict=True)]
        named[name] += [(f"head {target}", branch.heads[target]) for target in branch.heads]
    heads: list[tuple[str, nn.Module]] = [(f"head {target}", model.head(target)) for target in model.targets]
    named["fused"] = [(recipe.model.fusion.type, model.fusion), *heads]
    return named


@contextmanager
def _record(
    modules: list[nn.Module], flops: Callable[[], int], found: dict[nn.Module, tuple[object, int]]
) -> Iterator[None]:
    """Notes the output of each module and the FLOPs that it took."""
    started: dict[nn.Module, int] = {}

    def start(module: nn.Module, _: object) -> None:
        started[module] = flops()

    def end(module: nn.Module, _: object, output: object) -> None:
        found[module] = (output, flops() - started[module])

    handles = [hook for module in modules for hook in _hook(module, start, end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(module: nn.Module, start: Callable[..., None], end: Callable[..., None]) -> tuple[RemovableHandle, ...]:
    return module.register_forward_pre_hook(start), module.register_forward_hook(end)


def _describe_part(name: str, module: nn.Module, output: object, flops: int) -> Part:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(output, Jagged):
        return Part(name, output.sizes[0], output.element_shape, parameters, flops)
    shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return Part(name, None, shape, parameters, flops)


def _count_lstm(inputs: torch.Size, weight_ih: torch.Size, weight_hh: torch.Size, *_: object, **__: object) -> int:
    """Counts the products of one LSTM layer and direction, which torch's counter does not know on a CPU."""
    steps = inputs[0] * inputs[1]
    return 2 * steps * (weight_ih.numel() + weight_hh.numel())


def _count_lstm_backward(*shapes: torch.Size, **options: object) -> int:
    """Counts those of the backward pass: as many again for the gradients of inputs and of weights."""
    return 2 * _count_lstm(*shapes)


FLOPS_OF_LSTM: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _count_lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _count_lstm_backward,
}
"""For torch's counter of FLOPs, the LSTM of CPUs, which it does not know."""


def _measure_memory(recipe: Recipe, model: FusionModel, lengths: Mapping[str, int]) -> Memory:
    parameters = list(model.parameters())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(draw_noise(model, lengths, _BATCH))
        scores = [*output.fused.values(), *(s for of in output.unimodal.values() for s in of.values())]
        total = torch.stack([score.sum() for score in scores]).sum()
    for tensor in model.state_dict().values():
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    total.backward()  # type: ignore[no-untyped-call]
    optimizer: torch.optim.Optimizer = build_component(recipe.train.optimizer).make(parameters)
    optimizer.step()
    state = [value for of in optimizer.state.values() for value in of.values() if isinstance(value, Tensor)]
    return Memory(
        weights=_count_bytes(list(model.state_dict().values())),
        gradients=_count_bytes(parameters),
        optimizer=_count_bytes(state),
        activations=sum(kept.values()) * count_samples(recipe, model, lengths) // _BATCH,
    )


def _count_bytes(tensors: list[Tensor] | list[nn.Parameter]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
