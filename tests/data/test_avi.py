"""Films in AVI, which states no times and whose header libav rebuilds from what is left of a file."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from written_films import B_FRAMES, RATE, greys, made, steps, tone, write_film

from fusionkit.data.readers.decoder import Film
from fusionkit.interfaces import Clip

COUNT = 16
GREYS = np.array([40 + 12 * i for i in range(COUNT)])
CODECS = [("libx264", B_FRAMES), ("libx264", {"bf": "0"}), ("mpeg4", {"bf": "2"})]


def film_of(folder: Path, codec: str = "libx264", encoder: dict[str, str] = B_FRAMES) -> Path:
    wave = tone(COUNT / RATE)
    return write_film(folder / "a.avi", steps(COUNT), wave=wave, codec=codec, encoder=encoder, sound_codec="pcm_s16le")


@pytest.mark.parametrize(("codec", "encoder"), CODECS)
def test_every_frame_of_an_avi_is_shown_at_its_time_though_none_is_stated(
    codec: str, encoder: dict[str, str], tmp_path: Path
) -> None:
    with Film(film_of(tmp_path, codec, encoder)) as film:
        frames = list(film.decode(picture=True, sound=False))
        losses = film.list_losses()
    times = [float(frame.pts * frame.time_base) for frame in frames]
    shown = [frame.to_ndarray(format="gray").mean() for frame in frames]

    assert (len(frames), losses) == (COUNT, [])
    assert times == sorted(set(times))
    assert np.abs(np.array(shown) - GREYS).max() < 6


def test_frames_that_an_avi_leaves_out_are_no_loss_and_those_before_them_last_longer(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 6, 7, 8]
    film = write_film(tmp_path / "a.avi", steps(6), codec="mpeg4", pts=stamps, time_base=Fraction(1, RATE))

    outcome = made(Clip(film), tmp_path)

    assert {found.kind for found in outcome.departures} == {"varying rate", "no sound", "short"}
    expected = 40 + 12 * np.array([0, 1, 2, 2, 2, 3, 3, 4, 5])
    assert np.abs(greys(outcome.tensors["video"]) - expected).max() < 6


def test_an_avi_with_frames_that_are_decoded_before_they_are_shown_gives_as_many_crops_as_it_has_frames(
    tmp_path: Path,
) -> None:
    outcome = made(Clip(film_of(tmp_path)), tmp_path)

    assert outcome.departures == ()
    assert len(outcome.tensors["video"]) == COUNT
    assert np.abs(greys(outcome.tensors["video"]) - GREYS).max() < 4


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize(("codec", "encoder"), CODECS)
def test_a_truncated_avi_is_told_however_much_is_left(
    codec: str, encoder: dict[str, str], share: float, tmp_path: Path
) -> None:
    file = film_of(tmp_path, codec, encoder)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])

    kept, dropped = (made(Clip(file), tmp_path, incomplete=policy) for policy in ("keep", "drop"))

    assert (kept.status, dropped.status) == ("prepared", "dropped")
    assert "that its header promises" in dropped.reason
    assert abs(len(kept.tensors["video"]) - share * COUNT) < 5


def test_a_film_that_lost_its_sound_alone_is_told(tmp_path: Path) -> None:
    film = film_of(tmp_path)
    whole = film.read_bytes()
    parts = whole[: whole.rfind(b"idx1")].split(b"01wb")  # its chunks of sound, without the index of them
    half = len(parts) // 2
    film.write_bytes(b"01wb".join(parts[:half]) + b"JUNK" + b"JUNK".join(parts[half:]))

    outcome = made(Clip(film), tmp_path)

    assert outcome.status == "dropped"
    assert "its sound ends after" in outcome.reason


def test_an_avi_whose_recorder_was_killed_is_said_to_promise_nothing(tmp_path: Path) -> None:
    content = bytearray(film_of(tmp_path).read_bytes())
    content[4:8] = struct.pack("<I", 0)
    for at in _positions(content, b"strh"):  # how many frames and samples there are
        content[at + 8 + 32 : at + 8 + 36] = bytes(4)
    end = content.rfind(b"idx1")
    file = tmp_path / "a.avi"
    file.write_bytes(content[: int(0.8 * end)])

    outcome = made(Clip(file), tmp_path, incomplete="keep")

    assert outcome.status == "prepared"
    assert any("does not state its duration" in found.text for found in outcome.departures)


def test_a_sound_whose_bytes_are_stated_as_its_length_is_not_believed(tmp_path: Path) -> None:
    content = bytearray(film_of(tmp_path).read_bytes())
    at = _positions(content, b"strh")[1] + 8 + 32
    samples = struct.unpack("<I", content[at : at + 4])[0]
    content[at : at + 4] = struct.pack("<I", 2 * samples)
    file = tmp_path / "a.avi"
    file.write_bytes(content)

    assert made(Clip(file), tmp_path).status == "prepared"


def _positions(content: bytes | bytearray, name: bytes) -> list[int]:
    found, at = list[int](), content.find(name)
    while at >= 0:
        found.append(at)
        at = content.find(name, at + 1)
    return found
