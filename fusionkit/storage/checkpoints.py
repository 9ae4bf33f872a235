"""The checkpoints of a run: the last state to resume from, and the one before it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fusionkit.errors import FusionKitWarning, RunError
from fusionkit.storage.run_log import RunLog
from fusionkit.storage.tensor_files import TensorFile, read_tensors, write_tensors


class Checkpoints:
    """The states that a training may be resumed from.

    Args:
        folder: The run folder.
        log: Its log, which must be on the disk up to a checkpoint before that is.
    """

    def __init__(self, folder: Path, log: RunLog) -> None:
        self._folder, self._log = folder, log
        self._file, self._earlier_file = folder / "checkpoint.safetensors", folder / "checkpoint.earlier.safetensors"
        self._is_torn = False  # whether the last checkpoint was found to be damaged

    def save(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the state to resume from, after making sure that the log up to here is on the disk.

        The one before is kept beside it, unless it was found to be damaged.

        Raises:
            RunError: It cannot be written; the previous checkpoint is intact.
        """
        self._log.sync()
        before = None if self._is_torn else self._earlier_file
        write_tensors(self._file, state, metadata, before=before)
        self._is_torn = False

    def load(self, file: str | os.PathLike[str] | None = None) -> TensorFile | None:
        """Reads the state to resume from; None where there is none yet.

        Where the last checkpoint is damaged, it is the one before, with a `FusionKitWarning`.

        Args:
            file: A checkpoint of this run that must be taken; the last that is whole when left out.

        Raises:
            RunError: The file is damaged or none of this run, or all that there are are damaged.
        """
        if file is not None:
            if Path(file).resolve().parent != self._folder.resolve():
                raise RunError(f"{file}: is no checkpoint of {self._folder}; name one that lies in that folder")
            return read_tensors(file)
        damaged: list[RunError] = []
        for path in filter(Path.is_file, (self._file, self._earlier_file)):
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

    def discard(self) -> None:
        """Forgets what there is to resume from; the training then starts anew."""
        for path in (self._file, self._earlier_file):
            path.unlink(missing_ok=True)
