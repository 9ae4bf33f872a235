"""Files to sequences of elements: sound, arrays and images, by the ending of their name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fusionkit.data.readers.arrays import ARRAY_SUFFIXES, read_array, read_shape
from fusionkit.data.readers.files import refuse_no_file
from fusionkit.data.readers.images import IMAGE_SUFFIXES, read_image
from fusionkit.data.readers.sound.audio import AUDIO_SUFFIXES, FILM_SUFFIXES, read_audio, read_header
from fusionkit.errors import DataError, Problem
from fusionkit.nn.tensor_checks import check_finite

SOUND_SUFFIXES = AUDIO_SUFFIXES | FILM_SUFFIXES
"""Endings of files whose sound is read: sounds and films."""

SUFFIXES = SOUND_SUFFIXES | IMAGE_SUFFIXES | ARRAY_SUFFIXES

Layout = Literal["auto", "sequence", "static"]


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading the files of one modality.

    Args:
        sample_rate: Samples per second that sound is resampled to; None keeps each file's own.
        rate: Elements per second of arrays; None where they are no samples of time.
        layout: What an array is: ``sequence`` (its first axis counts elements), ``static`` (one element), or ``auto``
            (one-dimensional arrays are static, all others sequences).
        tensor: Which tensor of a safetensors file; None where it holds only one.
        element: The shape of an element where it is known: an array of this shape is one, any other a sequence,
            whatever `layout` says.
    """

    sample_rate: int | None = None
    rate: float | None = None
    layout: Layout = "auto"
    tensor: str | None = None
    element: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MediaInfo:
    """The content of a file.

    Args:
        shape: The shape of an element.
        rate: Elements per second; None where they are no samples of time.
        length: The number of elements; 0 where the file is whole and holds none.
        note: What its header says wrongly, and what is made of it; empty where nothing is.
    """

    shape: tuple[int, ...]
    rate: float | None
    length: int
    note: str = ""


def describe_media(path: Path, options: ReadOptions) -> MediaInfo:
    """Describes what `read_media` will return; of sound and arrays only the header is read.

    Raises:
        DataError: The file is missing, damaged or of no known kind.
    """
    suffix = _check_suffix(path)
    if suffix in SOUND_SUFFIXES:
        header = read_header(path)
        rate = float(options.sample_rate or header.rate)
        return MediaInfo((), rate, header.count_samples(options.sample_rate), header.note)
    if suffix in IMAGE_SUFFIXES:
        return MediaInfo(tuple(_read_planes(path).shape[1:]), None, 1)
    shape = read_shape(path, options.tensor)
    static = _is_static(shape, options)
    return MediaInfo(shape, None, 1) if static else MediaInfo(shape[1:], options.rate, shape[0])


def read_media(path: Path, options: ReadOptions) -> Tensor:
    """Reads a file as ``(length, *element)``: float32, or where an array holds whole numbers, these.

    Sound (wav, flac, mp3, ..., and that of films) is one wave of scalar elements, the mean of its channels. An image
    (png, jpg, ...) is one element ``(channels, height, width)`` in 0..1, upright, grey as one channel and all else as
    red, green and blue. An array (npy, safetensors) is one element or a sequence, by its layout; its bytes stay
    uint8, other whole numbers and true and false become int64.

    Raises:
        DataError: The file is missing, damaged, of no known kind, or holds numbers that are not finite.
    """
    suffix = _check_suffix(path)
    if suffix in SOUND_SUFFIXES:
        values = read_audio(path, rate=options.sample_rate)
    elif suffix in IMAGE_SUFFIXES:
        values = _read_planes(path)
    else:
        array = read_array(path, options.tensor)
        values = array[None] if _is_static(tuple(array.shape), options) else array
    check_finite(values, str(path))
    return values


def _check_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise DataError([Problem(str(path), f"cannot read files that end in {suffix!r}", f"known: {known}")])
    refuse_no_file(path)
    return suffix


def _is_static(shape: tuple[int, ...], options: ReadOptions) -> bool:
    if not shape or options.element is not None:
        return shape in ((), options.element)
    return options.layout == "static" or (options.layout == "auto" and len(shape) == 1)


def _read_planes(path: Path) -> Tensor:
    planes = torch.from_numpy(read_image(path)).to(torch.float32) / 255
    return planes[None, None] if planes.ndim == 2 else planes.permute(2, 0, 1)[None].contiguous()
