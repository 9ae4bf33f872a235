"""Graphs of ONNX: written, run and quantized."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from fusionkit.errors import ExportError
from fusionkit.inference.export.tracing import name_arrays, refuse_what_fails, trace_network
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.storage.files import write_file
from fusionkit.storage.records.export import MODEL_FILE

OPSET = 20
"""The version of ONNX's operators."""

_EXACT = (".fourier", ".filters")
"""Weights of these names are no weights: powers of sound span more digits than 8 bits have."""

_SILENT = 4
"""The level of onnxruntime's own log at which nothing but its end is printed: what it raises says the same."""

Array = NDArray[np.generic]


def write_onnx(network: TrainedNetwork, file: Path) -> None:
    """Writes a frozen network as a graph of ONNX, weights included.

    Raises:
        ExportError: A component has no form, or the exporter fails.
    """
    names = [f"{branch}/{target}" for branch, target in network.outputs]
    outputs = [*names, *(f"{name}/prediction" for name in names)]
    write_graph(trace_network(network, "onnx"), file, name_arrays(network), outputs)


def write_graph(program: ExportedProgram, file: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Writes what was traced as a graph of ONNX, with these names of its inputs and outputs.

    Raises:
        ExportError: The exporter fails, or two names are the same.
    """
    names = [*inputs, *outputs]
    if len(set(names)) < len(names):
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise ExportError(
            f"inputs and outputs of the graph would have one name: {twice}; rename a modality or a target"
        )
    from torch.onnx import export  # which imports onnxscript

    with refuse_what_fails("written as ONNX"), _quiet():
        converted = export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
        )
        assert converted is not None
        model = converted.model_proto
        _name_axes(model, inputs)
        _forget_source(model)
        content = model.SerializeToString()  # fails above two gigabytes
    write_file(file, content)


def _name_axes(model: object, inputs: Sequence[str]) -> None:
    """Names the open axes of inputs and outputs, which torch numbers."""
    graph = model.graph  # type: ignore[attr-defined]
    names = dict[str, str]()
    for place, given in enumerate(graph.input[: len(inputs)]):
        for axis, size in enumerate(given.type.tensor_type.shape.dim):
            if size.dim_param:
                names.setdefault(size.dim_param, "batch" if axis == 0 else f"time of {inputs[place]}")
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]


def _forget_source(model: object) -> None:
    """Removes what torch notes of every node, such as lines of source: it is a quarter of a small graph."""
    graph = model.graph  # type: ignore[attr-defined]
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del graph.value_info[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what exporters say of their own work from the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class OnnxSession:
    """A graph in onnxruntime.

    Args:
        file: The graph.
        threads: Threads of one computation; 0 for one per core.
        sha256: The hash that the file must have; not checked where left out.

    Raises:
        ExportError: It cannot be read, has another hash, or onnxruntime cannot run it.
    """

    def __init__(self, file: Path, *, threads: int = 0, sha256: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, _SILENT
        self.file, self.program = file, f"onnxruntime {onnxruntime.__version__}"
        self._made_of = file, threads, sha256
        try:
            # Bytes, not a path: they are those of the hash, and a graph in bytes can name no other file to read.
            content = file.read_bytes()
        except OSError as error:
            raise ExportError(f"{file}: cannot be read ({error.strerror})") from None
        if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
            message = f"has the hash {found[:12]}..., and {MODEL_FILE} is of {sha256[:12]}..."
            raise ExportError(f"{file}: {message}; copy the folder again, or export the run again")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(f"{file}: onnxruntime cannot read it ({error})") from error

    def __reduce__(self) -> tuple[Callable[..., OnnxSession], tuple[Path, int, str | None]]:
        """Opens the file anew where it is unpickled or copied: what onnxruntime made of it cannot be sent."""
        return _open_session, self._made_of

    @property
    def inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """The inputs: by name their type, as ONNX calls it, and their shape, whose open axes are no numbers."""
        return {each.name: (each.type, list(each.shape)) for each in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, list[int | str | None]]:
        """The outputs: by name their shape, whose open axes are no numbers."""
        return {each.name: list(each.shape) for each in self._session.get_outputs()}

    def __call__(self, arrays: Mapping[str, Array], names: Sequence[str] | None = None) -> list[Array]:
        """Runs it on padded arrays by name, for all outputs in order or for those that are named.

        Raises:
            ExportError: onnxruntime fails.
        """
        try:
            outputs: list[Array] = self._session.run(names, dict(arrays))
        except Exception as error:
            sizes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
            raise ExportError(f"{self.file.name}: onnxruntime fails with {sizes} ({error})") from error
        return outputs


def _open_session(file: Path, threads: int, sha256: str | None) -> OnnxSession:
    return OnnxSession(file, threads=threads, sha256=sha256)


def quantize_onnx(file: Path, out: Path) -> None:
    """Writes a graph whose weights have 8 bits; Fourier transforms and filters of sound stay as they are.

    Raises:
        ExportError: onnxruntime cannot quantize it.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(file).graph
    exact = [node.name for node in graph.node if any(name.endswith(_EXACT) for name in node.input)]
    with refuse_what_fails("quantized"), _quiet():
        quantize_dynamic(file, out, weight_type=QuantType.QInt8, nodes_to_exclude=exact, per_channel=True)
