"""Runs an exported network with NumPy and onnxruntime alone; this file stands beside the graph that it runs.

Use:
    model = Model("folder")
    model.predict({"motion": motion, "sound": sound})  # arrays (length, *shape); leave out what a sample lacks
    python fusionkit_runtime.py FOLDER motion=motion.npy sound=sound.wav
"""

from __future__ import annotations

import json
import math
import sys
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sample = Mapping[str, Any]

_FORMAT = 2


class InputError(ValueError):
    """A sample does not fit the network, or a folder holds none."""


class Model:
    """An exported network.

    Args:
        folder: The folder of the export.
        quantized: Take the weights of 8 bits.
        threads: Threads of one computation; 0 for one per core.
    """

    def __init__(self, folder: str | Path, *, quantized: bool = False, threads: int = 0) -> None:
        import onnxruntime

        self.folder = Path(folder)
        self.about = _read_description(self.folder)
        file = self.about["quantized" if quantized else "graph"]
        if file is None:
            raise InputError(f"{folder}: holds no quantized graph; export it with --quantize int8")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.folder / file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InputError(f"{self.folder / file}: onnxruntime cannot read it ({error})") from error

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.about["modalities"])

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets."""
        return tuple(self.about["targets"])

    def predict(self, samples: Sample | Sequence[Sample], *, branches: bool = False, batch_size: int = 8) -> Any:
        """Answers to a sample with a dict, or to several with a list of dicts.

        A dict holds by target the prediction, and the probabilities of classes or labels; and who was present.

        Args:
            samples: By modality an array ``(length, *shape)``; one that is left out, None or empty is missing. A vector
                of columns of a table is a list of their numbers in order, or a mapping of names; None or NaN is empty.
            branches: Answer by every trained branch as well.
            batch_size: Samples of a batch; the answers do not depend on it, but for rounding.

        Raises:
            InputError: A modality is unknown, an array has another shape or dtype, or numbers that are not finite, or a
                sample has no modality, or is so far from those of the training that the answer is not finite.
        """
        if isinstance(samples, Mapping):
            return self.predict([samples], branches=branches)[0]
        answers: list[dict[str, Any]] = []
        for start in range(0, len(samples), batch_size):
            answers += self._answer(samples[start : start + batch_size], start, branches)
        return answers

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Runs the graph on padded arrays, as `pad` makes them: distributions and then predictions of all outputs."""
        outputs: list[Array] = self._session.run(None, dict(arrays))
        return outputs

    def pad(self, samples: Sequence[Sample], *, first: int = 0) -> dict[str, Array]:
        """Pads samples to what the graph is given; `first` is the number of the first one, for messages."""
        padded: dict[str, Array] = {}
        read = [self._read(sample, number) for number, sample in enumerate(samples, start=first)]
        for name, modality in self.about["modalities"].items():
            given = [sample[name] for sample in read]
            values, lengths = pad_samples(given, modality["shape"], modality["dtype"])
            padded[modality["input"]], padded[modality["length_input"]] = values, lengths
        return padded

    def _read(self, sample: Sample, number: int) -> dict[str, Array | None]:
        """Reads the elements of every modality of a sample; None of one that is missing."""
        for name in sample:
            if name not in self.about["modalities"]:
                raise InputError(f"sample {number}: unknown modality {name!r}; known: {', '.join(self.modalities)}")
        read: dict[str, Array | None] = {}
        for name, of in self.about["modalities"].items():
            stated, place = self.about["inputs"]["modalities"][name], f"sample {number}: {name}"
            value = sample.get(name)
            if stated.get("of_numbers") and value is not None:
                value = _arrange_vector(value, stated, place)
            read[name] = _as_elements(value, tuple(of["shape"]), np.dtype(of["dtype"]), place)
        if not any(elements is not None and elements.size for elements in read.values()):
            raise InputError(f"sample {number}: has no modality; give at least one of {', '.join(self.modalities)}")
        return read

    def _answer(self, samples: Sequence[Sample], first: int, branches: bool) -> list[dict[str, Any]]:
        padded = self.pad(samples, first=first)
        outputs = self.run(padded)
        half, described = len(outputs) // 2, self.about["outputs"]
        answers: list[dict[str, Any]] = []
        for row in range(len(samples)):
            lengths = {name: padded[of["length_input"]][row] for name, of in self.about["modalities"].items()}
            main: dict[str, Any] = {}
            others: dict[str, Any] = {}
            for place, output in enumerate(described):
                said = self._describe(output["target"], outputs[place][row], outputs[half + place][row])
                branch = output["branch"]
                of = main if branch == self.about["main"] else others.setdefault(branch, {})
                if said is None and of is main and lengths.get(branch, 1):
                    problem = f"{branch} answers {output['target']} by numbers that are not finite"
                    raise InputError(
                        f"sample {first + row}: {problem}; its elements are far from those of the training"
                    )
                of[output["target"]] = said
            answer = {"targets": main, "present": [name for name, length in lengths.items() if length]}
            answers.append({**answer, "branches": others} if branches else answer)
        return answers

    def _describe(self, target: str, distribution: Array, prediction: Array) -> dict[str, Any] | None:
        """Returns a prediction in words, with its probabilities; None of a branch that says nothing finite of it."""
        if not np.isfinite(distribution).all():
            return None
        kind, classes = self.about["targets"][target]["kind"], self.about["targets"][target]["classes"]
        if kind == "numbers":
            numbers = np.atleast_1d(prediction).tolist()
            return {"prediction": numbers[0] if np.ndim(prediction) == 0 else numbers}
        probabilities = dict(zip(classes, distribution.tolist(), strict=True))
        if kind == "classes":
            return {"prediction": classes[int(prediction)], "probabilities": probabilities}
        labels = [name for name, on in zip(classes, prediction.tolist(), strict=True) if on]
        return {"prediction": labels, "probabilities": probabilities}


def pad_samples(samples: Sequence[Array | None], shape: Sequence[int], dtype: str) -> tuple[Array, Array]:
    """Pads arrays of one modality to the longest: elements ``(batch, time, *shape)`` and lengths ``(batch,)``.

    Args:
        samples: Arrays ``(length, *shape)``; None where the modality is missing.
        shape: The shape of an element.
        dtype: The dtype of an element.
    """
    lengths = np.array([0 if values is None else len(values) for values in samples], dtype=np.int64)
    padded: Array = np.zeros((len(samples), max(1, int(lengths.max())), *shape), dtype=dtype)
    for row, values in enumerate(samples):
        if values is not None:
            padded[row, : len(values)] = values
    return padded, lengths


def _arrange_vector(value: Any, stated: Mapping[str, Any], place: str) -> Any:
    """Arranges the numbers of a table's columns as one element; empty ones, None or NaN, are filled and marked."""
    columns, fill = stated["columns"], stated.get("fill")
    wanted = f"{len(columns)} numbers, {', '.join(columns)}"
    if isinstance(value, Mapping):
        wrong = [repr(name) for name in (*value, *columns) if (name in value) != (name in columns)]
        if wrong:
            raise InputError(f"{place}: unknown or missing: {', '.join(wrong)}; expected are {wanted}")
        value = [value[name] for name in columns]
    try:  # None is NaN in numbers with a point
        array: Array = np.asarray(value, np.float64 if fill and isinstance(value, (list, tuple)) else None)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: no array of numbers ({error}); expected are {wanted}") from None
    rows = array.reshape(1, -1) if array.ndim < 2 and array.size else array
    if rows.shape == (1, len(columns)) and fill and rows.dtype.kind in "iufb":
        empty = np.isnan(rows)
        marks = empty & np.isin(columns, stated.get("marked", []))
        return np.concatenate([np.where(empty, fill, rows), marks], axis=1)[: int(not empty.all())]
    if rows.size and rows.shape not in ((1, len(columns)), (1, *stated["shape"])):
        raise InputError(f"{place}: an array of shape {array.shape}; expected is one vector of {wanted}")
    return rows


def _as_elements(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], place: str) -> Array | None:
    if value is None:
        return None
    array: Array = np.asarray(value)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        wanted = ", ".join(map(str, ("length", *shape)))
        raise InputError(f"{place}: an array of shape {array.shape}; expected is ({wanted})")
    if array.dtype == dtype:
        return _require_finite(array, array, place)
    if dtype.kind in "iu" and (array.dtype.kind not in "iu" or not np.can_cast(array.dtype, dtype)):
        in_range = array.dtype.kind in "iu" and array.size and np.iinfo(dtype).min <= array.min()
        if not (in_range and array.max() <= np.iinfo(dtype).max):
            raise InputError(f"{place}: numbers of {array.dtype}; the network takes {dtype}, as in its training")
    if array.dtype.kind not in "iufb":
        raise InputError(f"{place}: numbers of {array.dtype}; the network takes {dtype}")
    with np.errstate(over="ignore"):  # what overflows is refused
        return _require_finite(array.astype(dtype), array, place)


def _require_finite(elements: Array, given: Array, place: str) -> Array:
    """Refuses numbers that are NaN or infinite, or become so in the dtype of the network."""
    if elements.dtype.kind == "f" and not (finite := np.isfinite(elements)).all():
        bad, total = int((~finite).sum()), elements.size
        count = f"all {total}" if bad == total else f"{bad} of {total}"
        what = "NaN or infinite" if not np.isfinite(given).all() else f"too large for {elements.dtype}"
        raise InputError(f"{place}: {count} numbers are {what}")
    return elements


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about["format"] != _FORMAT or about["engine"] != "onnx":
            raise InputError(f"{folder}: an export of format {about['format']} for {about['engine']}; this reads onnx")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: is no exported network ({error})") from None
    return about


def read_file(path: str, rate: float | None) -> Array:
    """Reads a modality from a file of NumPy (.npy), or a mono sound of 16 bits (.wav) of the modality's rate.

    Raises:
        InputError: The file cannot be read, or has another rate.
    """
    try:
        if not path.endswith(".wav"):
            array: Array = np.load(path, allow_pickle=False)
            return array
        with wave.open(path) as sound:
            if sound.getnchannels() != 1 or sound.getsampwidth() != 2:
                raise InputError(f"{path}: {sound.getnchannels()} channels; expected is one of 16 bits")
            if rate is not None and not math.isclose(sound.getframerate(), rate):
                raise InputError(f"{path}: {sound.getframerate()} samples a second; resample it to {rate:g}")
            data = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
            return (data / 32768).astype(np.float32)
    except (OSError, ValueError, EOFError, wave.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error})") from None


def main(arguments: Sequence[str]) -> int:
    """Answers to one sample, whose modalities are files, and prints JSON; returns the status of the command."""
    words = [each for each in arguments if not each.startswith("--")]
    flags = set(arguments) - set(words)
    pairs = [word.partition("=") for word in words[1:]]
    if len(words) < 2 or flags - {"--branches", "--quantized"} or not all(sign for _, sign, _ in pairs):
        usage = "python fusionkit_runtime.py FOLDER MODALITY=FILE... [--branches] [--quantized]"
        print(f"usage: {usage}", file=sys.stderr)
        return 2
    try:
        model = Model(words[0], quantized="--quantized" in flags)
        known = model.about["modalities"]
        sample = {name: read_file(file, known.get(name, {}).get("rate")) for name, _, file in pairs}
        answer = model.predict(sample, branches="--branches" in flags)
    except InputError as error:
        print(f"fusionkit_runtime: {error}", file=sys.stderr)
        return 2
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
