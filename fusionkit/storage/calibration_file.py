"""The calibration in a run folder, which is of the weights beside it or refused."""

from __future__ import annotations

import os
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.storage.records.calibration import Calibration
from fusionkit.storage.records.document import load_document, save_document
from fusionkit.storage.run_folder import RunFolder


def locate_calibration(run: RunFolder) -> Path:
    """Returns the file of a run's calibration."""
    return run.path / "calibration.json"


def locate_figure(run: RunFolder) -> Path:
    """Returns the file of the figure of a run's calibration."""
    return run.path / "calibration.png"


def locate_novelty(run: RunFolder) -> Path:
    """Returns the file of what a run is familiar with."""
    return run.path / "novelty.safetensors"


def write_calibration(run: RunFolder, calibration: Calibration) -> None:
    """Writes what was calibrated into the folder of a run.

    Raises:
        RunError: It cannot be written.
    """
    save_document(locate_calibration(run), calibration)


def read_calibration(run: RunFolder) -> Calibration | None:
    """Reads the calibration of a run; None where it was not calibrated.

    Raises:
        RunError: The file is damaged, or of other weights than the run has.
    """
    file = locate_calibration(run)
    if not os.path.exists(file):
        return None
    calibration = load_document(Calibration, file)
    if calibration.weights_sha256 != run.sha256_of_weights():
        remedy = "remove it, or calibrate the run again with `fusionkit calibrate`"
        raise RunError(f"{file}: is of other weights than those beside it; {remedy}")
    return calibration
