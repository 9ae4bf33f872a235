"""Images: which way is up, and what is refused before it is decoded."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionkit.data.datasets.fer2013_files import decode_face
from fusionkit.data.readers.images import read_image
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.errors import DataError

UPRIGHT = np.random.default_rng(3).integers(0, 255, (32, 48), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:96, :160]

# By EXIF 2.32, table of the tag Orientation: the visual side that the stored row 0 is, and that the stored column 0 is.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera that is held otherwise stores of a scene, pixel by pixel."""
    height, width = upright.shape[:2]
    row_side, column_side = SIDES[orientation]
    lies = row_side in ("left", "right")
    rows, columns = (width, height) if lies else (height, width)
    stored = np.zeros((rows, columns, *upright.shape[2:]), np.uint8)
    last = {"bottom": height - 1, "right": width - 1}
    for row in range(rows):
        for column in range(columns):
            along = last[row_side] - row if row_side in last else row
            across = last[column_side] - column if column_side in last else column
            stored[row, column] = upright[across, along] if lies else upright[along, across]
    return stored


def written(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {".webp": {"lossless": True}, ".jpg": {"quality": 100}}.get(path.suffix, {})
    Image.fromarray(pixels).save(path, exif=exif, **lossless)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [*SIDES, 0, 9])
def test_an_image_is_shown_upright_whatever_its_exif_orientation(tmp_path: Path, ending: str, orientation: int) -> None:
    scene = UPRIGHT[:24:4, :40:4]
    stored = stored_as(scene, orientation) if orientation in SIDES else scene
    if ending == "webp":
        stored = np.stack([stored] * 3, axis=-1)
    path = written(tmp_path / f"a.{ending}", stored, orientation)

    pixels = read_image(path)

    assert pixels.shape[:2] == scene.shape
    found = pixels if pixels.ndim == 2 else pixels[..., 0]
    assert np.abs(found.astype(int) - scene).max() <= (12 if ending == "jpg" else 0)
    assert describe_media(path, ReadOptions()).shape[1:] == scene.shape
    assert tuple(read_media(path, ReadOptions()).shape[2:]) == scene.shape


def test_a_face_of_fer2013_is_turned_as_every_image(tmp_path: Path) -> None:
    scene = UPRIGHT[:48, :48]
    path = written(tmp_path / "a.png", stored_as(scene, 6), 6)

    assert np.array_equal(decode_face(path.read_bytes(), "a.png")[0].numpy(), scene)


def png(width: int, height: int, *, chunk: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    """A file whose header states a size, with pixels for one row of four."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(5))) + part(b"IEND", b"")


@pytest.mark.parametrize("read", [read_image, lambda path: decode_face(path.read_bytes(), str(path))])
def test_an_image_of_more_pixels_than_the_limit_is_refused_by_its_header(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000))

    with pytest.raises(DataError, match=r"bomb\.png: holds 400,000,000 pixels, more than the limit of 100,000,000"):
        read(path)


def test_the_limit_of_pixels_is_ours_alone_also_above_that_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")

    assert np.array_equal(read_image(tmp_path / "a.png"), UPRIGHT)
    assert Image.MAX_IMAGE_PIXELS == 4


DAMAGED = {
    "its header is cut": png(4, 1, chunk=lambda data: data[:5]),
    "its header is empty": png(4, 1, chunk=lambda data: b""),
    "it has no row": png(4, 0),
    "it is cut": png(4, 1)[:40],
    "text": b"This is no image.\n" * 20,
    "nothing": b"",
    "postscript, which Pillow would run": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "a jpeg of markers": b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\xff" * 60,
    "a tiff that points nowhere": b"II*\x00\xff\xff\xff\x7f" + bytes(40),
    "a bmp of noise": b"BM" + np.random.default_rng(0).bytes(200),
    "a webp of noise": b"RIFF\xff\x00\x00\x00WEBPVP8 " + np.random.default_rng(0).bytes(200),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_whatever_is_wrong_with_an_image_is_said_with_its_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(DAMAGED[what])

    with pytest.raises(DataError, match=r"^[^\n]*face\.png: cannot be read as an image \([^\n]+\); copy it again$"):
        read_image(path)


def test_a_png_that_states_gigabytes_of_pixels_is_refused_in_the_memory_of_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    whole = png(4, 4)
    place = whole.index(b"IDAT") - 4
    path.write_bytes(whole[:place] + (2**31 - 1).to_bytes(4, "big") + whole[place + 4 :])

    tracemalloc.start()
    try:
        with suppress(DataError):  # its pixels are there, so a later Pillow may as well show them
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
