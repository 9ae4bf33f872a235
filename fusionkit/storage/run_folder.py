"""The run folder: what a training leaves, and where each of its files stands. No pickle is ever written or read."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from fusionkit.config.differences import find_differences
from fusionkit.config.documents import read_document
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.config.yaml import write_yaml
from fusionkit.errors import PluginError, RunError
from fusionkit.storage.checkpoints import Checkpoints
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, guard_write, write_file
from fusionkit.storage.locks import LOCK, lock_folder
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.document import load_document, save_document
from fusionkit.storage.records.environment import Environment, load_environment
from fusionkit.storage.records.export import NO_RUN, is_export
from fusionkit.storage.run_log import RunLog
from fusionkit.storage.tensor_files import TensorFile, content_hash, read_tensors, write_tensors
from fusionkit.storage.trusted_runs import is_noted, note_own_run


class RunFolder:
    """The folder that a training leaves: recipe, environment, weights, checkpoint, log, card and predictions.

    Make one with `create` or `open`. Every file but the log is replaced in one piece or not at all.

    Args:
        path: The folder.
        plugins: Modules that the user's own recipe lists, so that the run may import them, whoever trained it.

    Attributes:
        log: Its log.
        checkpoints: The states that its training may be resumed from.
        tensorboard: The folder of TensorBoard's event files.
        diagnosis_file: The file of the diagnosis.
        profile_file: The file of the times of watched steps.
        trace_file: The file of their trace, for Perfetto or chrome://tracing.
        curves_file: The file of the learning curves.
        stress_file: The file of the figures under corruptions.
        card_file: The file of the card.
        inputs_file: The file that says what the network is given.
    """

    def __init__(self, path: str | os.PathLike[str], *, plugins: Collection[str] = ()) -> None:
        self.path = Path(path)
        self._plugins = plugins
        self._recipe: Recipe | None = None  # once it was read or written
        self.log = RunLog(self.path / "log.jsonl")
        self.checkpoints = Checkpoints(self.path, self.log)
        self.tensorboard = self.path / "tensorboard"
        self.diagnosis_file = self.path / "diagnosis.json"
        self.profile_file = self.path / "profile" / "summary.json"
        self.trace_file = self.path / "profile" / "trace.json"
        self.curves_file = self.path / "learning_curves.png"
        self.stress_file = self.path / "stress.json"
        self.card_file = self.path / "metrics.json"
        self.inputs_file = self.path / "inputs.json"
        self._recipe_file = self.path / "recipe.yaml"
        self._needed = (self.path / "environment.json", self._recipe_file)
        self._weights_file = self.path / "weights.safetensors"
        self._predictions_file = self.path / "predictions.safetensors"

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
            raise RunError(f"{run.path}: exists and is no run; take a new or empty folder")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{run.path}: cannot be made ({error.strerror})") from error
        with lock_folder(run.path):
            if run.begun:  # by another process, in this very moment
                run._refuse_another(recipe, data)
                return run
            environment = Environment(**describe_environment(device), data=data)
            write_file(run.path / "environment.json", as_json(environment.plain()))
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
        lost = [file for file in run._needed if not os.path.isfile(file)]
        if lost and run.finished:
            raise RunError(f"{lost[0]}: is not there, and without it the folder is no run; restore it from a copy")
        if lost:
            found = "is no run; a run holds recipe.yaml and environment.json (`fusionkit train`)"
            raise RunError(f"{run.path}: {NO_RUN if is_export(run.path) else found}")
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
        """Notes that this user trained it, so that its plugins are imported later; without any, does nothing."""
        if self._plugins:
            note_own_run(self.path, self._recipe_file, self._plugins)

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
        return dict(read_document(self._recipe_file)[0].value)

    @property
    def environment(self) -> Environment:
        """Versions, commit, device, platform and command of the training."""
        return load_environment(self.path / "environment.json")

    def _refuse_another(self, recipe: Recipe, data: str | None) -> None:
        if different := self.differences_from(recipe):
            told = "; ".join(different)
            raise RunError(f"{self.path}: a run of another recipe; different: {told}; take a new folder")
        if self.is_of_other_data(data):
            changed = "samples, targets or prepared clips are others than when it began"
            raise RunError(f"{self.path}: a run of other data, {changed}; take a new folder, or remove this one")

    def is_of_other_data(self, data: str | None) -> bool:
        """Says whether it began with data of another hash than this one; what is not known differs from nothing."""
        return self.environment.data not in (None, data) and data is not None

    @property
    def begun(self) -> bool:
        """True where the folder is a run. A recipe alone may be a user's own copy; the environment is written first."""
        return all(map(os.path.isfile, self._needed))  # False too where a name is too long or may not be looked up

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
        self.checkpoints.discard()

    def require_finished(self) -> None:
        """Refuses a run without its final weights.

        Raises:
            RunError: Its training has not come to its end, or the weights were removed since.
        """
        if self.finished:
            return
        if os.path.exists(self.card_file):  # which finished runs have only
            remedy = "restore it from a copy, or train the run again"
            raise RunError(f"{self._weights_file}: is not there, though the run was evaluated; {remedy}")
        remedy = "`fusionkit train` with the same --out goes on; or restore weights.safetensors if it is lost"
        raise RunError(f"{self.path}: its training has not finished; {remedy}")

    def load_weights(self) -> TensorFile:
        """Reads the final weights and the text beside them.

        Raises:
            RunError: The training has not finished, or the file is missing or damaged.
        """
        self.require_finished()
        return read_tensors(self._weights_file, "restore it from a copy, or delete it and train the run again")

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

    def write_profile(self, summary: Mapping[str, Any], trace: Mapping[str, Any]) -> None:
        """Writes where the time of watched steps went, and a trace of some in Chrome's format.

        Raises:
            RunError: They cannot be written.
        """
        guard_write(self.profile_file, lambda: self.profile_file.parent.mkdir(exist_ok=True))
        write_file(self.trace_file, as_json(trace, indent=None))
        write_file(self.profile_file, as_json(summary))


def _may_become_a_run(folder: Path) -> bool:
    """Says whether a folder is empty or holds what a killed beginning left.

    Raises:
        RunError: It cannot be read.
    """
    left = {LOCK, "environment.json", ".environment.json.partial", ".recipe.yaml.partial"}  # before it is a run
    try:
        return folder.is_dir() and all(path.name in left for path in folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder}: cannot be read ({error.strerror})") from None
