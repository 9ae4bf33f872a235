"""The folder of an export: it appears in one piece, after its files have been proven, or not at all."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from fusionkit.errors import ExportError
from fusionkit.inference.answers import describe_head
from fusionkit.inference.export import fusionkit_runtime
from fusionkit.inference.export.forms import Engine
from fusionkit.inference.export.onnx_file import OnnxSession, write_onnx
from fusionkit.inference.export.packages import require_onnx
from fusionkit.inference.export.proof import numpy_name, prove
from fusionkit.inference.export.quantization import quantize
from fusionkit.inference.export.torch_file import compile_program, has_compiler, make_runner, write_program
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.storage.files import write_file
from fusionkit.storage.new_folder import appear_at_the_end
from fusionkit.storage.records.document import save_document
from fusionkit.storage.records.export import (
    MODEL_FILE,
    ExportCard,
    ExportedModality,
    ExportedModel,
    ExportedOutput,
    ExportedTarget,
    Proof,
    Quantization,
)
from fusionkit.version import __version__

GRAPH, QUANTIZED, PROGRAM, MACHINE_CODE = "model.onnx", "model.int8.onnx", "model.pt2", "model.aoti.pt2"
CARD_FILE, RUNTIME_FILE = "card.json", "fusionkit_runtime.py"


def export_onnx(network: TrainedNetwork, out: Path, *, quantized: Literal["int8"] | None = None) -> ExportCard:
    """Exports a network to a folder that runs without torch and without fusionkit.

    The graph is run on samples of every subset of modalities, and compared with the network, before the folder appears.

    Args:
        network: The network.
        out: The folder, which must not exist or be empty.
        quantized: Write a graph with weights of 8 bits beside it, and measure what they cost.

    Returns:
        The card.

    Raises:
        ExportError: A package is missing, a component has no form, or the graph does not answer as the network does.
        RunError: The folder holds something, or a file cannot be written.
    """
    require_onnx()
    frozen = network.freeze()
    with appear_at_the_end(out) as folder:
        write_onnx(frozen, folder / GRAPH)
        session = OnnxSession(folder / GRAPH)
        proofs, quantization = [prove(frozen, session, file=GRAPH, runs_on=session.program)], None
        if quantized:
            quantization = quantize(frozen, folder / GRAPH, folder / QUANTIZED)
            rough = OnnxSession(folder / QUANTIZED)
            proofs.append(prove(frozen, rough, file=QUANTIZED, runs_on=rough.program, limit=None))
        source = Path(fusionkit_runtime.__file__).read_bytes()
        write_file(folder / RUNTIME_FILE, source)
        save_document(folder / MODEL_FILE, _describe(frozen, "onnx", folder))
        return _write_card(folder, frozen, proofs, quantization=quantization)


def export_torch(network: TrainedNetwork, out: Path, *, compiled: bool | None = None) -> ExportCard:
    """Exports a network to a folder with a program of `torch.export`, and machine code where there is a compiler.

    Args:
        network: The network.
        out: The folder, which must not exist or be empty.
        compiled: Make machine code by AOTInductor; if left out, where this machine has a compiler that can, and else
            the card says why there is none.

    Returns:
        The card.

    Raises:
        ExportError: A component has no form, the program does not answer as the network does, or it cannot be compiled.
        RunError: The folder holds something, or a file cannot be written.
    """
    frozen, notes = network.freeze(), list[str]()
    with appear_at_the_end(out) as folder:
        program = write_program(frozen, folder / PROGRAM)
        runner, runs_on = make_runner(frozen, program.module()), f"torch {torch.__version__}"
        proofs = [prove(frozen, runner, file=PROGRAM, runs_on=runs_on)]
        if compiled or (compiled is None and has_compiler()):
            try:
                loaded = make_runner(frozen, compile_program(program, folder / MACHINE_CODE))
                proofs.append(prove(frozen, loaded, file=MACHINE_CODE, runs_on=f"AOTInductor of {runs_on}"))
            except ExportError as error:  # of an optimizer that cannot do it, or does it wrongly: the program stands
                if compiled:
                    raise
                (folder / MACHINE_CODE).unlink(missing_ok=True)
                notes.append(f"There is no machine code: {error}.")
        elif compiled is None:
            notes.append("This machine has no compiler of C++, so there is no machine code.")
        save_document(folder / MODEL_FILE, _describe(frozen, "torch", folder))
        return _write_card(folder, frozen, proofs, notes=notes)


def _describe(network: TrainedNetwork, engine: Engine, folder: Path) -> ExportedModel:
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (GRAPH, QUANTIZED, PROGRAM, MACHINE_CODE)
        if (folder / name).exists()
    }
    modalities = {
        name: ExportedModality(
            shape=list(network.modalities[name].shape),
            rate=network.modalities[name].rate,
            dtype=numpy_name(network.dtype(name)),
            input=name,
            length_input=f"{name}_length",
            transforms=list(network.transform_specs.get(name, ())),
        )
        for name in network.model.modalities
    }
    targets = {
        name: ExportedTarget(kind=of.kind, classes=list(of.classes), numbers=of.numbers)
        for name, of in ((name, describe_head(network.model.head(name))) for name in network.model.targets)
    }
    outputs = [
        ExportedOutput(
            branch=branch,
            target=target,
            distribution=f"{branch}/{target}",
            prediction=f"{branch}/{target}/prediction",
        )
        for branch, target in network.outputs
    ]
    return ExportedModel(
        format=ExportedModel.formats[-1],
        fusionkit=__version__,
        engine=engine,
        graph=GRAPH if engine == "onnx" else PROGRAM,
        quantized=QUANTIZED if QUANTIZED in files else None,
        compiled=MACHINE_CODE if MACHINE_CODE in files else None,
        sha256=files,
        networks=len(network.models),
        fusion=network.fusion or type(network.model.fusion).__name__,
        main=network.branches[0],
        modalities=modalities,
        targets=targets,
        outputs=outputs,
        inputs=network.describe_inputs(),
        preparation=None if network.preparation is None else dict(network.preparation),
        about=dict(network.about),
    )


def _write_card(
    folder: Path,
    network: TrainedNetwork,
    proofs: list[Proof],
    *,
    quantization: Quantization | None = None,
    notes: list[str] | None = None,
) -> ExportCard:
    versions = {"fusionkit": __version__, "torch": torch.__version__}
    card = ExportCard(
        format=ExportCard.formats[-1],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions,
        weights_sha256=list(network.weights_sha256),
        proofs=proofs,
        quantization=quantization,
        notes=notes or [],
    )
    save_document(folder / CARD_FILE, card)
    return card
