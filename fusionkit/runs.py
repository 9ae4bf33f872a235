"""The run folder, and the only module that knows the names of its files. No pickle is ever written or read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from fusionkit.documents import read_document
from fusionkit.environment import describe_environment
from fusionkit.errors import PluginError, RunError
from fusionkit.recipe import load_recipe
from fusionkit.spec import Recipe
from fusionkit.strict_yaml import write_yaml
from fusionkit.trust import is_noted, note_run
from fusionkit.whole_files import (
    TensorFile,
    as_json,
    content_hash,
    finite,
    guarded,
    read_json,
    read_tensors,
    sync,
    write_file,
    write_tensors,
)

_LOGGER = logging.getLogger("fusionkit")


class RunFolder:
    """What one training leaves behind: recipe, environment, weights, checkpoint, log, metrics and predictions.

    Make one with `create` or `open`. Every file but the log is replaced in one piece or not at all.

    Args:
        path: The folder.
        plugins: Modules that the user's own recipe lists, so that the run may import them, whoever trained it.
    """

    def __init__(self, path: str | os.PathLike[str], *, plugins: Collection[str] = ()) -> None:
        self.path = Path(path)
        self._plugins = plugins

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], recipe: Recipe, *, data: str | None = None, device: str = "cpu"
    ) -> Self:
        """A new run, or the one that is there already if it is of the same recipe and data.

        Args:
            path: The folder.
            recipe: The recipe, written out with every default.
            data: A hash of the samples that it trains on and reports; None where that is not known.
            device: What the environment says of the device.

        Raises:
            RunError: The folder holds a run of another recipe or of other data, or something else than a run, or cannot
                be written.
        """
        run = cls(path, plugins=recipe.plugins)
        plain = recipe.plain()
        if run.begun:
            if different := run.differences_from(plain):
                raise RunError(
                    f"{run.path}: a run of another recipe; different: {'; '.join(different)}; take a new folder"
                )
            if run.is_of_other_data(data):
                changed = "samples, targets or prepared clips are others than when it began"
                raise RunError(f"{run.path}: a run of other data, {changed}; take a new folder, or remove this one")
            return run
        if run.path.exists() and (not run.path.is_dir() or not all(map(_is_of_a_begun_run, run.path.iterdir()))):
            raise RunError(f"{run.path}: exists and is no run (it holds no recipe.yaml); take a new or empty folder")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{run.path}: cannot be made ({error.strerror})") from error
        write_file(run.path / "environment.json", as_json({**describe_environment(device), "data": data}))
        write_file(run._recipe_file, write_yaml(plain).encode())  # last: it is what makes the folder a run
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, plugins: Collection[str] = ()) -> Self:
        """A run that is there.

        Args:
            path: The folder.
            plugins: Modules that the user's own recipe lists.

        Raises:
            RunError: There is none.
        """
        run = cls(path, plugins=plugins)
        if not run.begun:
            raise RunError(f"{run.path}: is no run (it holds no recipe.yaml); a run is what `fusionkit train` leaves")
        return run

    @property
    def recipe(self) -> Recipe:
        """The complete recipe.

        Raises:
            RecipeError: It cannot be read.
            PluginError: It lists plugins, and somebody else may have trained the run.
        """
        own = is_noted(self.path, self._recipe_file)
        return load_recipe(self._recipe_file, plugins=None if own else self._plugins)

    def differences_from(self, plain: Mapping[str, Any]) -> list[str]:
        """The keys in which its recipe differs from a complete one, with both values; none where it is the same."""
        try:
            return _differing_keys(self.recipe.plain(), plain)
        except PluginError as error:
            return [str(problem) for problem in error.problems]

    def note_as_own(self) -> None:
        """Notes that this user trained it, so that its plugins are imported later; of a run without any, does nothing.

        Where the list cannot be written, a line of the log of the program says so: the training goes on.
        """
        if not self._plugins:
            return
        try:
            note_run(self.path, self._recipe_file)
        except OSError as error:
            named = " ".join(f"--plugin {module}" for module in self._plugins)
            _LOGGER.warning(
                "fusionkit: %s cannot be noted as your own run (%s); later commands on it need %s",
                self.path,
                error,
                named,
            )

    @property
    def written_recipe(self) -> dict[str, Any]:
        """The recipe as it stands in the folder: complete by the version that wrote it, without later options."""
        written: dict[str, Any] = read_document(self._recipe_file)[0].value
        return written

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, commit, device, platform and command of the training."""
        return read_json(self.path / "environment.json")

    def is_of_other_data(self, data: str | None) -> bool:
        """Whether it began with data of another hash than this one; what is not known differs from nothing."""
        own = self.environment.get("data")
        return own is not None and data is not None and own != data

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def begun(self) -> bool:
        """Whether the folder is a run."""
        return self._recipe_file.is_file()

    @property
    def finished(self) -> bool:
        """Whether the training came to its end: its weights are there."""
        return self._weights_file.is_file()

    def save_weights(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the final weights; the run is finished then, and its checkpoint is removed.

        Raises:
            RunError: They cannot be written.
        """
        write_tensors(self._weights_file, state, metadata)
        self.discard_checkpoint()

    def load_weights(self) -> TensorFile:
        """The final weights and what was said of them.

        Raises:
            RunError: The training has not finished, or the file is damaged.
        """
        if not self.finished:
            raise RunError(f"{self.path}: has no weights, its training has not finished; train it again to resume it")
        return read_tensors(self._weights_file)

    def sha256_of_weights(self) -> str:
        """The hash of the final weights, checked.

        Raises:
            RunError: The training has not finished, or the file is damaged.
        """
        return content_hash(*self.load_weights())

    def encoder_file(self, modality: str) -> Path:
        """Where the trained encoder of a modality stands, if the recipe exports it."""
        return self.path / f"encoder_{modality}.safetensors"

    def save_encoder(self, modality: str, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the trained encoder of a modality, from which other networks may start.

        Raises:
            RunError: It cannot be written.
        """
        write_tensors(self.encoder_file(modality), state, metadata)

    def save_checkpoint(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the state to resume from, after making sure that the log up to here is on the disk.

        Raises:
            RunError: It cannot be written; the previous checkpoint is intact.
        """
        if self._log_file.is_file():
            guarded(self._log_file, lambda: sync(self._log_file))
        write_tensors(self._checkpoint_file, state, metadata)

    def load_checkpoint(self) -> TensorFile | None:
        """The state to resume from; None where there is none yet.

        Raises:
            RunError: The file is damaged.
        """
        return read_tensors(self._checkpoint_file) if self._checkpoint_file.is_file() else None

    def discard_checkpoint(self) -> None:
        """Forgets what there is to resume from; the training then starts anew."""
        self._checkpoint_file.unlink(missing_ok=True)

    def append_log(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds lines to the log.

        Raises:
            RunError: They cannot be written.
        """
        lines = "".join(json.dumps(finite(record), separators=(",", ":")) + "\n" for record in records)

        def append() -> None:
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write(lines)

        guarded(self._log_file, append)

    def truncate_log(self, records: int) -> None:
        """Keeps the first records of the log, and drops what a stopped run wrote after its checkpoint.

        Raises:
            RunError: The log holds fewer records than the checkpoint counted.
        """
        lines = self._log_file.read_bytes().splitlines(keepends=True) if self._log_file.is_file() else []
        if len(lines) < records:
            raise RunError(f"{self._log_file}: holds {len(lines)} records, the checkpoint counts {records}")
        if len(lines) > records:
            write_file(self._log_file, b"".join(lines[:records]))

    def read_log(self) -> list[dict[str, Any]]:
        """The records of the log."""
        lines = self._log_file.read_text(encoding="utf-8").splitlines() if self._log_file.is_file() else []
        return [json.loads(line) for line in lines]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the figures of the run; a number that is not finite is written as null.

        Raises:
            RunError: They cannot be written.
        """
        write_file(self.metrics_file, as_json(metrics))

    def read_metrics(self) -> dict[str, Any]:
        """The figures of the run.

        Raises:
            RunError: It has not been evaluated.
        """
        return read_json(self.metrics_file)

    def write_predictions(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes what the network said of the reported samples.

        Raises:
            RunError: It cannot be written.
        """
        write_tensors(self._predictions_file, tensors, metadata)

    def read_predictions(self) -> TensorFile:
        """What the network said of the reported samples.

        Raises:
            RunError: The run has not been evaluated, or the file is damaged.
        """
        return read_tensors(self._predictions_file)

    def write_diagnosis(self, diagnosis: Mapping[str, Any]) -> None:
        """Writes what a diagnosis found; a number that is not finite is written as null.

        Raises:
            RunError: It cannot be written.
        """
        write_file(self.diagnosis_file, as_json(diagnosis))

    @property
    def diagnosis_file(self) -> Path:
        """Where the diagnosis of the run stands."""
        return self.path / "diagnosis.json"

    def write_profile(self, summary: Mapping[str, Any], trace: Mapping[str, Any]) -> None:
        """Writes where the time of watched steps went, and a trace of some in Chrome's format.

        Raises:
            RunError: They cannot be written.
        """
        guarded(self.profile_file, lambda: self.profile_file.parent.mkdir(exist_ok=True))
        write_file(self.trace_file, json.dumps(trace, separators=(",", ":")).encode())
        write_file(self.profile_file, as_json(summary))

    @property
    def profile_file(self) -> Path:
        """Where it stands what the time of watched steps went into."""
        return self.path / "profile" / "summary.json"

    @property
    def trace_file(self) -> Path:
        """Where the trace of watched steps stands, for Perfetto or chrome://tracing."""
        return self.path / "profile" / "trace.json"

    @property
    def curves_file(self) -> Path:
        """Where the figure of the learning curves stands."""
        return self.path / "learning_curves.png"

    @property
    def stress_file(self) -> Path:
        """Where the figures under corruptions stand."""
        return self.path / "stress.json"

    @property
    def metrics_file(self) -> Path:
        """Where the figures of the run stand."""
        return self.path / "metrics.json"

    @property
    def _recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def _weights_file(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def _checkpoint_file(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def _log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def _predictions_file(self) -> Path:
        return self.path / "predictions.safetensors"


def _is_of_a_begun_run(path: Path) -> bool:
    """Whether a file is what `RunFolder.create` leaves when it is killed before the folder is a run."""
    return path.name in ("environment.json", ".environment.json.partial", ".recipe.yaml.partial")


def _differing_keys(there: Any, given: Any, place: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(given, dict):
        keys = [*there, *(key for key in given if key not in there)]
        return [
            text
            for key in keys
            for text in _differing_keys(there.get(key), given.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if there == given else [f"{place} ({json.dumps(there)} there, {json.dumps(given)} given)"]
