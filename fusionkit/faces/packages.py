"""The packages that detectors need and an ordinary installation does not have."""

from __future__ import annotations

from importlib.util import find_spec

from fusionkit.errors import Problem, RecipeError


def require_dlib(detector: str) -> None:
    """Refuses a detector that needs dlib where dlib is not installed.

    Raises:
        RecipeError: It is not installed; the message says how it is.
    """
    if find_spec("dlib") is None:
        remedy = "pip install fusionkit-multimodal[faces], or set the detector to center for films cropped already"
        raise RecipeError([Problem("data.prepare.face.detector", f"{detector} needs dlib, which is missing", remedy)])
