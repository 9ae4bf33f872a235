"""No detection: the middle of the image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusionkit.config.components.registry import DETECTORS
from fusionkit.interfaces import Box, FaceDetector


@DETECTORS.register("center")
class Center(FaceDetector):
    """The largest square in the middle of the image, for films that are cropped already.

    Example:
        >>> import torch
        >>> Center().detect(torch.zeros(40, 60, 3, dtype=torch.uint8))
        (Box(left=10.0, top=0.0, right=50.0, bottom=40.0, score=0.0),)
    """

    looks = False

    def detect(self, image: Tensor) -> Sequence[Box]:
        """Returns the one square."""
        height, width = image.shape[:2]
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        return (Box(left, top, left + side, top + side),)
