"""dlib's detector of frontal faces from histograms of oriented gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DETECTORS
from fusionkit.data.films.detectors.packages import require_dlib
from fusionkit.interfaces import Box, FaceDetector


@DETECTORS.register("dlib_hog")
class DlibHog(FaceDetector):
    """Frontal faces by histograms of oriented gradients: fast on a CPU, needs no file.

    It finds faces of about 80 pixels and more that look towards the camera; every `upsample` halves that size and
    takes four times as long. For faces from the side or in shadow `dlib_cnn` finds more.

    Args:
        upsample: How often the image is doubled before faces are looked for.
        min_score: The least score of a face; lower finds more faces, and more of what is none.

    Raises:
        RecipeError: dlib is not installed.

    Source:
        King 2009, Dlib-ml, https://jmlr.org/papers/v10/king09a.html; features of Felzenszwalb et al. 2010,
        https://doi.org/10.1109/TPAMI.2009.167, in a max-margin detector, https://arxiv.org/abs/1502.00046.

    Example:
        >>> import torch
        >>> DlibHog().detect(torch.zeros(120, 160, 3, dtype=torch.uint8))
        ()
    """

    def __init__(
        self,
        *,
        upsample: Annotated[int, Field(ge=0, le=2)] = 0,
        min_score: Annotated[float, Field(ge=-2.0, le=5.0)] = 0.0,
    ) -> None:
        require_dlib("dlib_hog")
        self.upsample, self.min_score = upsample, min_score

    def detect(self, image: Tensor) -> Sequence[Box]:
        """Finds the faces of an image, the surest first."""
        found, scores, _ = _load_detector().run(image.contiguous().numpy(), self.upsample, self.min_score)
        return tuple(
            Box(float(face.left()), float(face.top()), float(face.right() + 1), float(face.bottom() + 1), float(score))
            for face, score in zip(found, scores, strict=True)
        )


@cache
def _load_detector() -> Any:
    """Loads one per process, and none in the component, which so can be copied to another process."""
    import dlib

    return dlib.get_frontal_face_detector()
