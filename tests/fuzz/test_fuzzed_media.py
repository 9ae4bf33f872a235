"""Any file of media is read or refused with its name, whatever became of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import soundfile
from damage import damaged
from PIL import Image
from trials import Trials
from written_films import B_FRAMES, made, steps, tone, write_film
from written_sounds import CODECS, encode, sine

from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import decode_audio
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip

IMAGES = (".png", ".jpg", ".bmp", ".webp", ".tif")
SOUNDS = (".wav", ".flac", ".aiff")
COMPRESSED = (".m4a", ".mp3", ".ogg", ".mka")
FILMS = (".mp4", ".mkv", ".avi", ".mov", ".mpg", ".webm")
ARRAYS = (".npy", ".safetensors")


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a header may state and a case has the time for."""
    for kind, limit in (("PIXELS", 10**6), ("SAMPLES", 10**7), ("FRAMES", 10**4), ("BYTES", 10**8)):
        monkeypatch.setenv(f"FUSIONKIT_MAX_{kind}", str(limit))


def image(file: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, exif=exif)


def sound(file: Path) -> None:
    soundfile.write(file, np.stack([sine(0.1, rate=8000)] * 2, axis=1), 8000)


def compressed(file: Path) -> None:
    encode(file, sine(0.3)[None])


def film(file: Path) -> None:
    codec = {".webm": "libvpx", ".mpg": "mpeg1video", ".avi": "mpeg4"}.get(file.suffix, "libx264")
    encoder = B_FRAMES if codec == "libx264" else {}
    of_sound = {".webm": "libopus", ".mpg": "mp2"}.get(file.suffix, "aac")
    write_film(file, steps(8), wave=tone(0.3), codec=codec, sound_codec=of_sound, encoder=encoder, rate=25)


def array(file: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    np.save(file, values) if file.suffix == ".npy" else safetensors.numpy.save_file({"values": values}, file)


def read(file: Path) -> None:
    """What a manifest does with a file."""
    options = ReadOptions(sample_rate=None)
    described, values = describe_media(file, options), read_media(file, options)
    assert tuple(values.shape) == (described.length, *described.shape)


def read_sound(file: Path) -> None:
    """What a manifest and what a preparation does with a sound."""
    assert decode_audio(file, rate=16000).wave.ndim == 1
    read(file)


def read_film(file: Path) -> None:
    """What a preparation does with a film."""
    with Film(file) as opened:
        assert opened.stated_seconds >= 0
    outcome = made(Clip(file), file.parent)
    if outcome.status != "prepared":
        raise DataError(f"{file}: {outcome.reason}")


@pytest.mark.parametrize(
    ("suffix", "write", "reader", "count"),
    [
        *[(suffix, image, read, 80) for suffix in IMAGES],
        *[(suffix, sound, read_sound, 40) for suffix in SOUNDS],
        *[(suffix, compressed, read_sound, 50) for suffix in COMPRESSED],
        *[(suffix, film, read_film, 60) for suffix in FILMS],
        *[(suffix, array, read, 100) for suffix in ARRAYS],
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_media_are_read_or_refused_with_their_name(
    trials: Trials,
    tmp_path: Path,
    *,
    suffix: str,
    write: Callable[[Path], None],
    reader: Callable[[Path], None],
    count: int,
) -> None:
    file = tmp_path / f"whole{suffix}"
    write(file)
    reader(file)
    whole, file = file.read_bytes(), tmp_path / f"damaged{suffix}"
    for chance in trials.cases(count):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(lambda: reader(file), names=file)
    assert trials.refused


def test_every_codec_of_the_other_tests_is_among_these() -> None:
    assert {*COMPRESSED, *FILMS, *SOUNDS} >= {*CODECS} - {".aac", ".opus"}
