"""Programs of `torch.export`, and machine code that AOTInductor makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from fusionkit.inference.export.tracing import name_arrays, refuse_what_fails, trace_network, without_fast_paths
from fusionkit.inference.export.trained import TrainedNetwork

Array = NDArray[np.generic]


def write_program(network: TrainedNetwork, file: Path) -> ExportedProgram:
    """Writes a frozen network as a program of `torch.export`, and returns what is read from the file again.

    Raises:
        ExportError: A component has no form, or torch cannot trace it.
    """
    program = trace_network(network, "torch")
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # lines of source, with the folders of this machine
    with refuse_what_fails("written as a program of torch.export"), without_fast_paths():
        torch.export.save(program, file)
        return torch.export.load(file)


def has_compiler() -> bool:
    """Says whether this machine has a compiler of C++, which AOTInductor needs."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def compile_program(program: ExportedProgram, file: Path) -> Callable[..., Any]:
    """Compiles a program to machine code for this machine's processor, and returns what is loaded from the file.

    Raises:
        ExportError: AOTInductor cannot compile it.
    """
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    with refuse_what_fails("compiled by AOTInductor"), without_fast_paths():
        aoti_compile_and_package(program, package_path=str(file))
        return aoti_load_package(str(file))


def make_runner(network: TrainedNetwork, program: Callable[..., Any]) -> Callable[[Mapping[str, Array]], list[Array]]:
    """Makes of a program what runs on padded arrays by name."""
    names = name_arrays(network)

    def run(arrays: Mapping[str, Array]) -> list[Array]:
        with torch.no_grad(), refuse_what_fails("run"):
            outputs = program(*(torch.from_numpy(arrays[name]) for name in names))
        return [output.numpy() for output in outputs]

    return run
