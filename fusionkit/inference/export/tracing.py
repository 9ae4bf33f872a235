"""From a trained network to a graph that torch has traced, with the sizes of batches and sequences left open."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from fusionkit.errors import ExportError, FusionKitError
from fusionkit.inference.export.forms import Engine
from fusionkit.inference.export.graph import NetworkGraph
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.inference.export.trials import draw_elements
from fusionkit.nn.jagged import Jagged

_BATCH, _SHORTEST, _LONGEST, _ENCODED = 3, 8, 2**22, 3
"""Samples of the batch that is traced, bounds of its lengths, and elements that encoders must leave of it."""


def trace_network(network: TrainedNetwork, engine: Engine) -> ExportedProgram:
    """Traces a frozen network.

    Args:
        network: The network, as `TrainedNetwork.freeze` gives it.
        engine: What is to run the graph.

    Raises:
        ExportError: A component has no form, or torch cannot trace it.
    """
    arrays = list[Tensor]()
    for name in network.model.modalities:
        time, shape = _choose_length(network, name), network.modalities[name].shape
        arrays.append(draw_elements(network, name, _BATCH * time).reshape(_BATCH, time, *shape))
        arrays.append(torch.tensor([time, 0, time // 2]))
    return trace(NetworkGraph(network, engine), arrays)


def trace(graph: nn.Module, arrays: Sequence[Tensor]) -> ExportedProgram:
    """Traces a module of padded elements and lengths in turn; batch and times stay open.

    Args:
        graph: The module, which takes all of them as arguments.
        arrays: An example, no axis of which has length 1 that may have another.

    Raises:
        ExportError: Torch cannot trace it.
    """
    batch = Dim("batch")
    shapes = [{0: batch} if place % 2 else {0: batch, 1: Dim(f"time_{place // 2}")} for place in range(len(arrays))]
    with torch.no_grad(), refuse_what_fails("traced"), without_fast_paths():
        return export(graph.eval(), tuple(arrays), dynamic_shapes=(tuple(shapes),))


def name_arrays(network: TrainedNetwork) -> list[str]:
    """Names the inputs of a graph, in order."""
    return [f"{name}{suffix}" for name in network.model.modalities for suffix in ("", "_length")]


@contextmanager
def refuse_what_fails(done: str) -> Iterator[None]:
    """Makes whatever torch raises of a network an error of ours: how it fails is not documented.

    Raises:
        ExportError: Something was raised.
    """
    try:
        yield
    except (FusionKitError, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines[:3])}"
        remedy = "a component of your own may need a form (docs/how_to/export.md), and `x.shape[0]` for `len(x)`"
        raise ExportError(f"the network cannot be {done} ({reason}); {remedy}") from error


@contextmanager
def without_fast_paths() -> Iterator[None]:
    """Lets attention be traced as plain operators; fused ones have no counterpart in a graph."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters warn of what they do inside
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _choose_length(network: TrainedNetwork, name: str) -> int:
    """Chooses a length of which the encoders leave some elements: an axis of length 1 would be taken for a constant."""
    branch, generator = network.model.branch(name), torch.Generator()
    length = _SHORTEST
    while length < _LONGEST:
        values = draw_elements(network, name, length)
        for transform in network.transforms.get(name, ()):
            values = transform(values, generator, training=False)
        with torch.no_grad():
            if branch.encode(Jagged.from_sizes(values, [len(values)])).total >= _ENCODED:
                return length
        length *= 2
    raise ExportError(f"{name}: its encoders leave fewer than {_ENCODED} elements of {length:,}, so no graph is traced")
