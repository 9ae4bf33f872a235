"""An exported graph at work for a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.errors import ExportError, ShapeError
from fusionkit.inference.answers import AnsweredTarget
from fusionkit.inference.backend import Backend, Said
from fusionkit.inference.branches import ENSEMBLE, ENSEMBLES, FUSED, TrainedBranches
from fusionkit.inference.element_checks import pack_alone
from fusionkit.inference.export.fusionkit_runtime import pad_samples
from fusionkit.inference.export.onnx_file import Array, OnnxSession
from fusionkit.inference.scoring import ByBranch
from fusionkit.inference.timeline.encoded import WindowEncoder
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.records.export import MODEL_FILE, ExportedModality, ExportedModel, ExportedTarget

_TYPES = {
    "float32": ("tensor(float)", torch.float32),
    "uint8": ("tensor(uint8)", torch.uint8),
    "int8": ("tensor(int8)", torch.int8),
    "int16": ("tensor(int16)", torch.int16),
    "int32": ("tensor(int32)", torch.int32),
    "int64": ("tensor(int64)", torch.int64),
    "bool": ("tensor(bool)", torch.bool),
}
"""By NumPy's name of a dtype, the names that ONNX and torch have for it."""


class ExportedBackend(Backend):
    """A graph of ONNX, run by onnxruntime on the CPU.

    Args:
        session: The graph.
        model: What is stated of it.

    Raises:
        ExportError: The graph has other inputs or outputs than those that are stated.
    """

    def __init__(self, session: OnnxSession, model: ExportedModel) -> None:
        _compare(session, model)
        self._session, self._model = session, model
        self.device, self.modalities = torch.device("cpu"), tuple(model.modalities)
        self.targets = {
            name: AnsweredTarget(of.kind, tuple(of.classes), of.numbers) for name, of in model.targets.items()
        }
        self.branches, self.main = _describe_branches(model), model.main
        self.fusion, self.count = model.fusion, model.networks

    @property
    def identity(self) -> object:
        """The hash of the graph."""
        return self._model.sha256[self._model.graph]

    def say(self, inputs: Mapping[str, Jagged]) -> Said:
        """Answers to a batch.

        Raises:
            ShapeError: The graph does not take its elements, or fails with them.
        """
        arrays: dict[str, Array] = {}
        for name, of in self._model.modalities.items():
            packed, dtype = inputs[name], _TYPES[of.dtype][1]
            parts = [fit_dtype(name, part, dtype).numpy() for part in packed.unbind()]
            arrays[of.input], arrays[of.length_input] = pad_samples(parts, of.shape, of.dtype)
        names = [each.distribution for each in self._model.outputs]
        try:
            outputs = self._session(arrays, [*names, *(each.prediction for each in self._model.outputs)])
        except ExportError as error:
            raise ShapeError(str(error)) from error
        said, predicted = (self._sort(of) for of in (outputs[: len(names)], outputs[len(names) :]))
        present = {name: inputs[name].present for name in self.modalities}
        self._check(said, predicted, len(present[self.modalities[0]]))
        return Said(said, predicted, present, {})

    def make_encoders(self) -> Mapping[str, Sequence[WindowEncoder]]:
        """Makes what keeps the elements of windows, which the graph is given as they are."""
        return {name: [RawElements(name, of)] for name, of in self._model.modalities.items()}

    def say_encoded(self, sequences: Sequence[Mapping[str, Jagged]]) -> Said:
        """Answers to elements of windows, anew each time."""
        return self.say(sequences[0])

    def _check(self, said: ByBranch, predicted: ByBranch, samples: int) -> None:
        """Compares what a graph answers with the targets, for it may be a stranger's.

        Raises:
            ShapeError: It answers to another number of samples, or predicts what is no class or number of a target.
        """
        for branch, of in predicted.items():
            for name, values in of.items():
                if reason := _find_misfit(self.targets[name], said[branch][name], values, samples):
                    file = self._session.file.name
                    remedy = "export the run again, or ask its author"
                    raise ShapeError(f"{file}: {branch}/{name}: {reason}; {remedy}")

    def _sort(self, outputs: Sequence[Array]) -> dict[str, dict[str, Tensor]]:
        """Sorts outputs by branch and target."""
        found: dict[str, dict[str, Tensor]] = {}
        for each, values in zip(self._model.outputs, outputs, strict=True):
            found.setdefault(each.branch, {})[each.target] = torch.from_numpy(values)
        return found


class RawElements(WindowEncoder):
    """Elements of a window as a graph is given them.

    Args:
        name: The modality.
        stated: What the graph states of it.
    """

    def __init__(self, name: str, stated: ExportedModality) -> None:
        self._name, self._shape, self._dtype = name, tuple(stated.shape), _TYPES[stated.dtype][1]

    def check(self, elements: Tensor, *, transformed: bool, pushed: bool) -> None:
        """Refuses elements of another shape, and numbers that the graph does not take."""
        if elements.ndim != len(self._shape) + 1 or tuple(elements.shape[1:]) != self._shape:
            expected = f"({', '.join(map(str, ('new', *self._shape)))})"
            raise ShapeError(f"{self._name}: elements of shape {tuple(elements.shape)} are not {expected}")
        fit_dtype(self._name, elements[:0], self._dtype)

    def encode(self, first: int, window: Tensor, chosen: Tensor) -> Jagged:
        """Packs the elements of a window."""
        return pack_alone(fit_dtype(self._name, chosen, self._dtype))

    def make_empty(self) -> Jagged:
        """Makes the sequence of a window without elements."""
        return Jagged.from_sizes(torch.empty(0, *self._shape, dtype=self._dtype), (0,))

    def forget(self) -> None:
        """Forgets nothing, since nothing is kept."""


def find_dtypes(model: ExportedModel) -> dict[str, torch.dtype]:
    """Finds the dtype of each modality's elements."""
    return {name: _TYPES[of.dtype][1] for name, of in model.modalities.items()}


def fit_dtype(name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Fits elements to the dtype of a graph.

    Raises:
        ShapeError: The graph takes whole numbers, and these are others.
    """
    if len(values) and not dtype.is_floating_point and values.dtype != dtype:
        message = f"numbers are {values.dtype}; the exported graph takes {dtype}"
        raise ShapeError(f"{name}: {message}; give them as for the training")
    return values.to(dtype)


def _find_misfit(target: AnsweredTarget, said: Tensor, predicted: Tensor, samples: int) -> str:
    """Says why values are no answers to a target; nothing where they are."""
    if len(said) != samples or predicted.ndim == 0 or len(predicted) != samples:
        return f"answers of shape {tuple(said.shape)} and {tuple(predicted.shape)} are not to {samples} samples"
    if target.kind == "classes":
        wrong = predicted.is_floating_point() or predicted.ndim > 1
        if wrong or ((predicted < 0) | (predicted >= len(target.classes))).any():
            return f"predicts what is none of the {len(target.classes)} classes"
        return ""
    wide = len(target.classes) if target.kind == "labels" else target.numbers
    if predicted.numel() != samples * wide:
        return f"predictions of shape {tuple(predicted.shape)} are not {wide} each of {samples} samples"
    return ""


def _describe_branches(model: ExportedModel) -> TrainedBranches:
    names = dict.fromkeys(each.branch for each in model.outputs)
    ensemble = ENSEMBLE in names
    unimodal = [name for name in model.modalities if name in names and name not in (FUSED, *ENSEMBLES)]
    return TrainedBranches(FUSED in names, dict.fromkeys(unimodal, "alone" if ensemble else "jointly"), ensemble)


def _compare(session: OnnxSession, model: ExportedModel) -> None:
    """Compares a graph with what is stated of it.

    Raises:
        ExportError: It has other inputs or outputs, or such of other shapes.
    """
    wanted, open_axes = dict[str, tuple[str, list[int]]](), dict[str, int]()
    for name, of in model.modalities.items():
        if of.dtype not in _TYPES:
            raise ExportError(f"{session.file}: {name} is of dtype {of.dtype!r}; known: {', '.join(_TYPES)}")
        wanted |= {of.input: (_TYPES[of.dtype][0], of.shape), of.length_input: (_TYPES["int64"][0], [])}
        open_axes |= {of.input: 2, of.length_input: 1}
    given = {name: (kind, shape[open_axes.get(name, 0) :]) for name, (kind, shape) in session.inputs.items()}
    fits = all(
        each.prediction in session.outputs
        and _has_columns(session.outputs.get(each.distribution, []), model.targets[each.target])
        for each in model.outputs
    )
    if given != wanted or not fits:
        raise ExportError(f"{session.file}: is another graph than {MODEL_FILE} describes; export the run again")


def _has_columns(shape: list[int | str | None], target: ExportedTarget) -> bool:
    """Says whether an output has a column for each class, or for each number; numbers may have others behind them."""
    columns = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
    return columns == len(target.classes) if target.classes else columns >= target.numbers
