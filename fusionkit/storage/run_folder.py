"""The run folder, and the only module that knows the names of its files. No pickle is ever written or read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from fusionkit.config.differences import find_differences
from fusionkit.config.documents import check_shape, read_document
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.config.yaml import write_yaml
from fusionkit.errors import FusionKitWarning, PluginError, RunError
from fusionkit.storage.card import Card
from fusionkit.storage.diagnosis import Diagnosis
from fusionkit.storage.documents import load_document, save_document
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, guard_write, parse_json, read_json, read_within, sync, write_file
from fusionkit.storage.locks import LOCK, sole_worker
from fusionkit.storage.own_runs import is_noted, note_run
from fusionkit.storage.tensor_files import TensorFile, content_hash, read_tensors, write_tensors

MAX_LOG_BYTES = 2**31
"""More than a log of ten million steps."""


class _Gradient(BaseModel):
    cosine: float | None
    own_norm: float | None
    fused_norm: float | None


class _Record(BaseModel):
    """A line of the log, of a step or of an epoch, as far as it is read."""

    step: int
    stage: str | None = None
    epoch: int | None = Field(None, ge=0, le=10_000_000)
    terms: dict[str, float | None] | None = None
    gradients: dict[str, _Gradient] | None = None
    training: float | None = None
    validation: float | None = None
    validation_terms: dict[str, float | None] | None = None

    @model_validator(mode="after")
    def _says_where_it_belongs(self) -> Self:
        told = self.model_fields_set & {"stage", "epoch", "terms", "training", "validation", "validation_terms"}
        if told and None in (self.stage, self.epoch):
            raise ValueError(f"it tells of {', '.join(sorted(told))}, and not of which stage and epoch")
        return self


class RunFolder:
    """The folder that a training leaves: recipe, environment, weights, checkpoint, log, card and predictions.

    Make one with `create` or `open`. Every file but the log is replaced in one piece or not at all.

    Args:
        path: The folder.
        plugins: Modules that the user's own recipe lists, so that the run may import them, whoever trained it.
    """

    def __init__(self, path: str | os.PathLike[str], *, plugins: Collection[str] = ()) -> None:
        self.path = Path(path)
        self._plugins = plugins
        self._recipe: Recipe | None = None  # once it was read or written
        self._is_torn = False  # whether the last checkpoint was found to be damaged

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], recipe: Recipe, *, data: str | None = None, device: str = "cpu"
    ) -> Self:
        """Makes a new run, or opens the one that is there already if it is of the same recipe and data.

        Recipes are the same where `find_differences` finds nothing.

        Args:
            path: The folder.
            recipe: The recipe, written out with every default.
            data: A hash of the samples that it trains on and reports; None where that is not known.
            device: What the environment says of the device.

        Raises:
            RunError: The folder holds a run of another recipe or of other data, or something else than a run, another
                process is working in it, or it cannot be written.
        """
        run = cls(path, plugins=recipe.plugins)
        if run.begun:
            run._refuse_another(recipe, data)
            return run
        if os.path.exists(run.path) and not _may_become_a_run(run.path):
            raise RunError(f"{run.path}: exists and is no run (it holds no recipe.yaml); take a new or empty folder")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{run.path}: cannot be made ({error.strerror})") from error
        with sole_worker(run.path):
            if run.begun:  # by another process, in this very moment
                run._refuse_another(recipe, data)
                return run
            write_file(run.path / "environment.json", as_json({**describe_environment(device), "data": data}))
            run.rewrite_recipe(recipe)  # last: it is what makes the folder a run
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, plugins: Collection[str] = ()) -> Self:
        """Opens a run that is there.

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
        """The complete recipe, read once.

        Raises:
            RecipeError: It cannot be read.
            PluginError: It lists plugins, and somebody else may have trained the run.
        """
        if self._recipe is None:
            own = is_noted(self.path, self._recipe_file)
            self._recipe = load_recipe(self._recipe_file, plugins=None if own else self._plugins)
        return self._recipe

    def differences_from(self, recipe: Recipe) -> list[str]:
        """Finds the keys in which its recipe differs from a complete one; none where its training may go on with it."""
        try:
            return find_differences(self.recipe, recipe)
        except PluginError as error:
            return [str(problem) for problem in error.problems]

    def note_as_own(self) -> None:
        """Notes that this user trained it, so that its plugins are imported later; of a run without any, does nothing.

        Where the list cannot be written, a warning says so, and the training goes on.
        """
        if not self._plugins:
            return
        try:
            note_run(self.path, self._recipe_file)
        except OSError as error:
            named = " ".join(f"--plugin {module}" for module in self._plugins)
            message = f"{self.path}: cannot be noted as your own run ({error}); later commands on it need {named}"
            warnings.warn(message, FusionKitWarning, stacklevel=3)

    def rewrite_recipe(self, recipe: Recipe) -> None:
        """Writes down the recipe by which the training goes on: what results do not depend on may have changed.

        Raises:
            RunError: It cannot be written.
        """
        write_file(self._recipe_file, write_yaml(recipe.plain()).encode())
        self._recipe = recipe

    @property
    def written_recipe(self) -> dict[str, Any]:
        """The recipe as it stands in the folder: complete by the version that wrote it, without later options."""
        written: dict[str, Any] = read_document(self._recipe_file)[0].value
        return written

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, commit, device, platform and command of the training."""
        return read_json(self.path / "environment.json")

    def _refuse_another(self, recipe: Recipe, data: str | None) -> None:
        if different := self.differences_from(recipe):
            raise RunError(
                f"{self.path}: a run of another recipe; different: {'; '.join(different)}; take a new folder"
            )
        if self.is_of_other_data(data):
            changed = "samples, targets or prepared clips are others than when it began"
            raise RunError(f"{self.path}: a run of other data, {changed}; take a new folder, or remove this one")

    def is_of_other_data(self, data: str | None) -> bool:
        """Says whether it began with data of another hash than this one; what is not known differs from nothing."""
        own = self.environment.get("data")
        return own is not None and data is not None and own != data

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def begun(self) -> bool:
        """True where the folder is a run."""
        return os.path.isfile(self._recipe_file)  # False too where a name is too long or may not be looked up

    @property
    def finished(self) -> bool:
        """True where the training came to its end: its weights are there."""
        return os.path.isfile(self._weights_file)

    def save_weights(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the final weights; the run is finished then, and its checkpoint is removed.

        Raises:
            RunError: They cannot be written.
        """
        write_tensors(self._weights_file, state, metadata)
        self.discard_checkpoint()

    def load_weights(self) -> TensorFile:
        """Reads the final weights and the text beside them.

        Raises:
            RunError: The training has not finished, or the file is damaged.
        """
        if not self.finished:
            raise RunError(f"{self.path}: has no weights, its training has not finished; train it again to resume it")
        return read_tensors(self._weights_file)

    def sha256_of_weights(self) -> str:
        """Returns the hash of the final weights, checked.

        Raises:
            RunError: The training has not finished, or the file is damaged.
        """
        return content_hash(*self.load_weights())

    def encoder_file(self, modality: str) -> Path:
        """Returns the file of a modality's trained encoder, which is there if the recipe exports it."""
        return self.path / f"encoder_{modality}.safetensors"

    def save_encoder(self, modality: str, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the trained encoder of a modality, from which other networks may start.

        Raises:
            RunError: It cannot be written.
        """
        write_tensors(self.encoder_file(modality), state, metadata)

    def save_checkpoint(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the state to resume from, after making sure that the log up to here is on the disk.

        The one before is kept beside it, unless it was found to be damaged.

        Raises:
            RunError: It cannot be written; the previous checkpoint is intact.
        """
        if self._log_file.is_file():
            guard_write(self._log_file, lambda: sync(self._log_file))
        before = None if self._is_torn else self._earlier_checkpoint_file
        write_tensors(self._checkpoint_file, state, metadata, before=before)
        self._is_torn = False

    def load_checkpoint(self, file: str | os.PathLike[str] | None = None) -> TensorFile | None:
        """Reads the state to resume from; None where there is none yet.

        Where the last checkpoint is damaged, it is the one before, with a `FusionKitWarning`.

        Args:
            file: A checkpoint of this run that must be taken; the last that is whole when left out.

        Raises:
            RunError: The file is damaged or none of this run, or all that there are are damaged.
        """
        if file is not None:
            if Path(file).resolve().parent != self.path.resolve():
                raise RunError(f"{file}: is no checkpoint of {self.path}; name one that lies in that folder")
            return read_tensors(file)
        damaged: list[RunError] = []
        for path in filter(Path.is_file, (self._checkpoint_file, self._earlier_checkpoint_file)):
            try:
                state = read_tensors(path)
            except RunError as error:
                damaged.append(error)
                continue
            if damaged:
                self._is_torn = True
                message = f"{damaged[0]}; the training goes on from the checkpoint before, {path.name}"
                warnings.warn(message, FusionKitWarning, stacklevel=2)
            return state
        if damaged:
            raise RunError("; ".join(map(str, damaged)))
        return None

    def discard_checkpoint(self) -> None:
        """Forgets what there is to resume from; the training then starts anew."""
        for path in (self._checkpoint_file, self._earlier_checkpoint_file):
            path.unlink(missing_ok=True)

    def append_log(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds lines to the log.

        Raises:
            RunError: They cannot be written.
        """
        lines = b"".join(as_json(record, indent=None) for record in records)

        def append() -> None:
            with self._log_file.open("ab") as file:
                file.write(lines)

        guard_write(self._log_file, append)

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
        """Reads the records of the log.

        Raises:
            RunError: It cannot be read, or a line of it is damaged.
        """
        lines = read_within(self._log_file, MAX_LOG_BYTES).splitlines() if os.path.exists(self._log_file) else []
        records = []
        for number, line in enumerate(lines, start=1):
            place = f"{self._log_file}: line {number}"
            records.append(parse_json(line, place))
            check_shape(_Record, records[-1], place)
        return records

    def write_card(self, card: Card) -> None:
        """Writes the figures of the run.

        Raises:
            RunError: They cannot be written.
        """
        save_document(self.card_file, card)

    def read_card(self) -> Card:
        """Reads the figures of the run.

        Raises:
            RunError: It has not been evaluated, or the file is damaged.
        """
        return load_document(Card, self.card_file)

    def write_predictions(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes what the network said of the reported samples.

        Raises:
            RunError: It cannot be written.
        """
        write_tensors(self._predictions_file, tensors, metadata)

    def read_predictions(self) -> TensorFile:
        """Reads the network's answers to the reported samples.

        Raises:
            RunError: The run has not been evaluated, or the file is damaged.
        """
        return read_tensors(self._predictions_file)

    def write_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Writes what a diagnosis found.

        Raises:
            RunError: It cannot be written.
        """
        save_document(self.diagnosis_file, diagnosis)

    @property
    def diagnosis_file(self) -> Path:
        """The file of the diagnosis."""
        return self.path / "diagnosis.json"

    def write_profile(self, summary: Mapping[str, Any], trace: Mapping[str, Any]) -> None:
        """Writes where the time of watched steps went, and a trace of some in Chrome's format.

        Raises:
            RunError: They cannot be written.
        """
        guard_write(self.profile_file, lambda: self.profile_file.parent.mkdir(exist_ok=True))
        write_file(self.trace_file, as_json(trace, indent=None))
        write_file(self.profile_file, as_json(summary))

    @property
    def profile_file(self) -> Path:
        """The file that says where the time of watched steps went."""
        return self.path / "profile" / "summary.json"

    @property
    def trace_file(self) -> Path:
        """The file of the trace of watched steps, for Perfetto or chrome://tracing."""
        return self.path / "profile" / "trace.json"

    @property
    def curves_file(self) -> Path:
        """The file of the learning curves."""
        return self.path / "learning_curves.png"

    @property
    def stress_file(self) -> Path:
        """The file of the figures under corruptions."""
        return self.path / "stress.json"

    @property
    def card_file(self) -> Path:
        """The file of the card."""
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
    def _earlier_checkpoint_file(self) -> Path:
        return self.path / "checkpoint.earlier.safetensors"

    @property
    def _log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def _predictions_file(self) -> Path:
        return self.path / "predictions.safetensors"


def _may_become_a_run(folder: Path) -> bool:
    """Says whether a folder is empty or holds what a killed beginning left.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return folder.is_dir() and all(map(_is_of_a_begun_run, folder.iterdir()))
    except OSError as error:
        raise RunError(f"{folder}: cannot be read ({error.strerror})") from None


def _is_of_a_begun_run(path: Path) -> bool:
    """Says whether a file is what `RunFolder.create` leaves when it is killed before the folder is a run."""
    return path.name in (LOCK, "environment.json", ".environment.json.partial", ".recipe.yaml.partial")
