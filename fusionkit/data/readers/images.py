"""Image files to pixels, upright, with sizes checked before anything is decoded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fusionkit.data.readers.files import name_errors
from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Formats that are opened, whatever a file's name says; for some others Pillow would start other programs."""

_ORIENTATION = 0x0112

_UPRIGHT: Mapping[Any, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
"""By EXIF's number of an orientation, what turns the stored pixels upright; 1 says that they are."""


def read_image(path: Path) -> Pixels:
    """Reads an image: ``(height, width)`` where it is grey, else ``(height, width, 3)`` in red, green and blue.

    Raises:
        DataError: It is no image, damaged, not of 8 bits, or has more pixels than the limit.
    """
    with path.open("rb") as file, open_image(file, str(path)) as image:
        if image.mode.startswith(("I", "F")):
            remedy = "save it with 8 bits, or as npy"
            raise DataError([Problem(str(path), f"is an image of mode {image.mode}, not of 8 bits", remedy)])
        return decode_upright(image)


@contextmanager
def open_image(file: BinaryIO, place: str) -> Iterator[Any]:
    """Opens an image as Pillow's ``Image``; only its header is read.

    Args:
        file: Its bytes.
        place: The file, for messages.

    Raises:
        DataError: It is no image, is found to be damaged as long as it is open, or has more pixels than the limit.
    """
    with name_errors(place, "cannot be read as an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of metadata that no pixel depends on
        with _open(_BoundedFile(file)) as image:
            check_size("pixels", image.width * image.height, place)
            yield image


def decode_upright(image: Any) -> Pixels:
    """Decodes an open image and turns it as its EXIF orientation says, as every viewer does.

    Pixels that are stated not to be square are taken as they are stored; viewers do so too.
    """
    image.load()  # a png may state its orientation behind its pixels, and Pillow turns a tiff by itself
    plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
    stored = np.array(plain)
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION))
    return stored if turn is None else np.ascontiguousarray(turn(stored))


class _BoundedFile:
    """A file that is asked for no more bytes than are left.

    Python sets memory aside for all that it is asked to read, and Pillow asks for as much as a header states.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _open(file: Any) -> Any:
    """Opens the image in the first format that its first bytes fit.

    ``Image.open`` would do the same, but hold the size against a limit of its own, one for the whole process.
    """
    from PIL import Image

    Image.init()
    begin = file.read(16)
    file.seek(0)
    for name in _FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(begin) is True:
            return factory(file, "")
    raise ValueError(f"it is none of {', '.join(_FORMATS)}")
