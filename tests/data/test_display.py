"""Films that say how they are to be shown: turned, mirrored, with pixels that are not square."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from written_films import made, spec_for, write_film

from fusionkit.config.recipe import build_component
from fusionkit.data.films.clips import prepare_clip
from fusionkit.data.films.frames import Reader, find_upright_size, read_pixel_aspect
from fusionkit.data.readers.decoder import Film
from fusionkit.errors import DataError
from fusionkit.interfaces import Box, Clip, FaceDetector

BLOCKS = np.array([[20, 60, 100, 140], [180, 220, 40, 80], [120, 160, 200, 240]], np.uint8)  # 48 x 64 pixels
IMAGE = np.kron(BLOCKS, np.ones((16, 16), np.uint8))[..., None].repeat(3, axis=2)

# By the matrix (a, b, c, d): x' = a x + c y and y' = b x + d y, x to the right and y down.
MATRICES = [
    *[(a, 0, 0, d) for a in (1, -1) for d in (1, -1)],
    *[(0, b, c, 0) for b in (1, -1) for c in (1, -1)],
]


def shown(stored: np.ndarray, matrix: tuple[float, ...]) -> np.ndarray:
    """Every pixel of a picture at the place that the matrix sends it to."""
    a, b, c, d = map(round, matrix)
    y, x = np.indices(stored.shape)
    to_x, to_y = a * x + c * y, b * x + d * y
    picture = np.zeros((np.ptp(to_y) + 1, np.ptp(to_x) + 1), stored.dtype)
    picture[to_y - to_y.min(), to_x - to_x.min()] = stored
    return picture


def with_matrix(path: Path, whole: bytes, matrix: tuple[float, ...]) -> Path:
    """An mp4 whose header of the track states a matrix."""
    a, b, c, d = (round(value * 65536) for value in matrix)
    at = whole.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), whole.index(b"tkhd"))
    path.write_bytes(whole[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + whole[at + 36 :])
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_film(tmp_path_factory.mktemp("film") / "a.mp4", [IMAGE] * 2).read_bytes()


def first_picture(path: Path) -> np.ndarray:
    with Film(path) as film:
        frame: Any = next(film.decode(picture=True, sound=False))
        aspect = read_pixel_aspect(film.picture)
        (pixels,) = Reader("grey", aspect=aspect)(frame)
        assert find_upright_size(frame, aspect) == pixels.shape
        return pixels.copy()


def blocks(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The brightness in the middle of every block."""
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    parts = pixels.reshape(rows, height, columns, width)[:, height // 4 : -height // 4, :, width // 4 : -width // 4]
    return parts.mean(axis=(1, 3))


@pytest.mark.parametrize("matrix", [*MATRICES, (0.01, 1, -1, 0.01), (2, 0, 0, -2)])
def test_a_film_is_shown_as_its_display_matrix_says(tmp_path: Path, whole: bytes, matrix: tuple[float, ...]) -> None:
    expected = shown(BLOCKS, tuple(np.sign(value) * (abs(value) > 0.5) for value in matrix))

    pixels = first_picture(with_matrix(tmp_path / "a.mp4", whole, matrix))

    assert pixels.shape == (16 * expected.shape[0], 16 * expected.shape[1])
    assert np.abs(blocks(pixels, *expected.shape) - expected).max() < 6


def test_a_matrix_of_zeros_says_nothing(tmp_path: Path, whole: bytes) -> None:
    pixels = first_picture(with_matrix(tmp_path / "a.mp4", whole, (0, 0, 0, 0)))

    assert np.abs(blocks(pixels, 3, 4) - BLOCKS).max() < 6


def test_an_angle_that_is_no_quarter_turn_is_refused_with_the_angle(tmp_path: Path, whole: bytes) -> None:
    path = with_matrix(tmp_path / "a.mp4", whole, (0.8, 0.6, -0.6, 0.8))

    with pytest.raises(DataError, match="its picture is to be shown turned by 37 degrees, which is not done; turn"):
        first_picture(path)

    outcome = made(Clip(path), tmp_path)
    assert (outcome.status, "turned by 37 degrees" in outcome.reason) == ("dropped", True)


@pytest.mark.parametrize(
    ("name", "codec", "aspect", "width"),
    [
        ("a.mp4", "libx264", Fraction(64, 45), 91),
        ("a.mkv", "libx264", Fraction(16, 15), 68),
        ("a.mpg", "mpeg2video", Fraction(4, 3), 85),
        ("a.avi", "mpeg4", Fraction(1, 2), 32),
        ("a.mov", "libx264", Fraction(1), 64),
    ],
)
def test_pixels_that_are_not_square_are_shown_as_wide_as_players_show_them(
    tmp_path: Path, name: str, codec: str, aspect: Fraction, width: int
) -> None:
    path = write_film(tmp_path / name, [IMAGE] * 2, codec=codec, rate=25, aspect=aspect)

    pixels = first_picture(path)

    assert pixels.shape == (48, width)
    middles = ((np.arange(4) + 0.5) * width / 4).astype(int)
    assert np.abs(pixels[8::16, middles].astype(int) - BLOCKS).max() < 12


def test_pal_at_16_by_9_is_1024_pixels_wide(tmp_path: Path) -> None:
    scene = np.full((576, 720, 3), 90, np.uint8)
    path = write_film(tmp_path / "a.mpg", [scene], codec="mpeg2video", rate=25, aspect=Fraction(64, 45))

    assert first_picture(path).shape == (576, 1024)


class Bright(FaceDetector):
    """Finds the one bright rectangle in an image."""

    def detect(self, image: Tensor) -> tuple[Box, ...]:
        rows, columns = (image.float().mean(dim=2) > 128).nonzero(as_tuple=True)
        return (Box(*map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))),)


def test_faces_are_sought_and_cut_in_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    image = np.full((48, 64, 3), 30, np.uint8)
    image[12:36, 16:32] = 220
    wide = write_film(tmp_path / "wide.mp4", [image] * 2, aspect=Fraction(3, 2))
    path = with_matrix(tmp_path / "a.mp4", wide.read_bytes(), (0, 1, -1, 0))
    spec = spec_for(tmp_path, face={"margin": 0.0})

    # 64 x 48 is shown 96 x 48, then turned clockwise: the bright part is a square, 24 wide, from row 24, column 12.
    (middle,), (found,) = (
        prepare_clip(Clip(path), spec, detector).tensors["video"][:1].float().mean(dim=1).numpy()
        for detector in (build_component(spec.face.detector), Bright())
    )

    assert found[1:-1, 1:-1].min() > 190
    expected = np.full((16, 16), 30.0)  # rows 24 to 72 of 96, three to each of the crop
    expected[:8, 4:12] = 220
    near_an_edge = np.zeros((16, 16), bool)
    near_an_edge[[7, 8]] = near_an_edge[:, [3, 4, 11, 12]] = True
    assert np.abs(middle - expected)[~near_an_edge].max() < 12
