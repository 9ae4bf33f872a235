"""An exported folder as a predictor: its graph answers, and what it states is data that are checked."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fusionkit.config.documents import read_document
from fusionkit.config.recipe import check_document
from fusionkit.config.schema import PrepareSpec
from fusionkit.errors import ExportError, FusionKitError, RecipeError, suggest_names
from fusionkit.inference.backend import Precision
from fusionkit.inference.calibration.calibrator import Calibrator
from fusionkit.inference.export.backend import ExportedBackend, find_dtypes
from fusionkit.inference.export.onnx_file import OnnxSession
from fusionkit.inference.export.packages import require_onnx
from fusionkit.inference.input_steps import InputSteps
from fusionkit.inference.predictor import Predictor
from fusionkit.storage.environment import DEVICE, choose_device
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.export import MODEL_FILE, ExportedModel

_NO_CALIBRATION = "an exported network holds no calibration; load the run for sets and intervals"


def open_export(
    folder: Path, *, branch: str | None = None, device: str | None = None, precision: Precision = "32"
) -> Predictor:
    """Opens an exported network, which may be a stranger's: nothing of the folder is imported or run as Python.

    Args:
        folder: The folder.
        branch: The branch that answers; the one that stands for the network when left out.
        device: Where to compute, which is the CPU.
        precision: The precision of the computation, which is that of the weights.

    Raises:
        RunError: ``model.json`` is damaged, or of another format.
        ExportError: The graph is missing, damaged or another than stated, it is a program of `torch.export`, or
            onnxruntime is not installed.
        FusionKitError: A device or a precision is asked for that the graph does not have, or a branch is unknown.
    """
    model = load_document(ExportedModel, folder / MODEL_FILE)
    if model.engine != "onnx":
        message = "is a program of torch.export, a file that can run anything as it is loaded"
        remedy = "export the run with --to onnx; or load a program of your own by torch.export.load"
        raise ExportError(f"{folder / model.graph}: {message}; {remedy}")
    asked = choose_device(device or os.environ.get(DEVICE) or "cpu")
    if asked.type != "cpu" or precision != "32":
        odd = f"device {asked}" if asked.type != "cpu" else f"precision {precision}"
        raise FusionKitError(f"{folder}: an exported network computes on the CPU in single precision; leave out {odd}")
    known = list(dict.fromkeys(each.branch for each in model.outputs))
    if branch is not None and branch not in known:
        raise FusionKitError(f"{folder}: has no branch {branch!r}; {suggest_names(branch, known)}")
    prepare = _read_preparation(model, folder)
    require_onnx(f"{folder}: an exported network", "onnxruntime")
    session = OnnxSession(folder / model.graph, threads=torch.get_num_threads(), sha256=model.sha256[model.graph])
    backend, dtypes = ExportedBackend(session, model), find_dtypes(model)
    whole = {name: () if dtype.is_floating_point else (dtype,) for name, dtype in dtypes.items()}
    steps = InputSteps(model.inputs, whole, prepare=prepare)
    return Predictor(backend, steps, main=branch, calibrator=Calibrator(None, str(folder), _NO_CALIBRATION))


def _read_preparation(model: ExportedModel, folder: Path) -> PrepareSpec | None:
    """Reads how films are prepared; None where there are none.

    Raises:
        ExportError: That is not said, or wrong.
    """
    if not model.inputs.films:
        return None
    place = f"{folder / MODEL_FILE}: preparation"
    if model.preparation is None:
        raise ExportError(f"{place}: is null, and the network is given films; export the run again")
    try:
        return check_document(PrepareSpec, read_document(model.preparation)[0])
    except RecipeError as error:
        problems = "; ".join(map(str, error.problems))
        raise ExportError(f"{place}: {problems}; export the run again, or install what has these components") from None
