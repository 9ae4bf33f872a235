"""Files of faces as FER2013 has them, of numbers that are drawn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fusionkit.data.datasets.fer2013_files import EMOTIONS

USAGES = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (48, 48), dtype=np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def write_faces(root: Path, per_class: int = 2) -> Path:
    """Every usage and class has as many faces, each of another number."""
    number = 0
    for usage, part in USAGES.items():
        for emotion in EMOTIONS:
            for _ in range(per_class):
                number += 1
                file = root / part / emotion / f"{usage}_{number}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(jpeg(picture(number)))
    return root
