"""Sounds that change on the way, and those that were joined of several: every part is heard as it was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from written_films import made, write_film
from written_sounds import RATE, encode, join, level_at, sine

from fusionkit.data.readers.sound import tracks as sound_tracks
from fusionkit.data.readers.sound.audio import decode_audio, read_audio, read_header
from fusionkit.data.readers.sound.tracks import Sound, resample
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip

LOW, HIGH = 440.0, 880.0


def ogg(file: Path, channels: np.ndarray, rate: int = RATE) -> Path:
    """Vorbis, whose samples have the rate of the file; opus has one rate for all."""
    soundfile.write(file, channels.T, rate, format="OGG", subtype="VORBIS")
    return file


def two(folder: Path, suffix: str, channels: int, rate: int, **options: str) -> Path:
    """A second of a low tone and a second of a high one, which are joined."""
    write = ogg if suffix == ".ogg" else encode
    first = write(folder / f"first{suffix}", sine(1.0, LOW)[None], **options)
    second = write(folder / f"second{suffix}", np.stack([sine(1.0, HIGH, rate)] * channels), rate, **options)
    return join(folder / f"both{suffix}", first, second)


def heard(sound: Sound, start: float, hertz: float, rate: int = RATE) -> float:
    """How loud a tone is for half a second."""
    return level_at(sound.wave[int(start * rate) : int((start + 0.5) * rate)].double(), hertz, rate)


FORMATS = [(1, RATE, ""), (2, RATE, "from 1 to 2 channels"), (1, 32_000, f"from {RATE} to 32000 samples/s")]


@pytest.mark.parametrize(("channels", "rate", "told"), FORMATS)
@pytest.mark.parametrize(
    "kind",
    [".mp3", ".mp3 without a mark where the second begins", ".aac", ".ogg"],
)
def test_joined_sounds_are_heard_one_after_the_other_each_at_its_own_speed(
    kind: str, channels: int, rate: int, told: str, tmp_path: Path
) -> None:
    suffix, _, bare = kind.partition(" ")
    file = two(tmp_path, suffix, channels, rate, **({"write_xing": "0", "id3v2_version": "0"} if bare else {}))

    sound = decode_audio(file)

    assert (sound.rate, sound.channels, sound.losses) == (RATE, 1, ())
    assert abs(len(sound.wave) / RATE - 2) < 0.13  # what encoders add before and after
    assert [heard(sound, 0.2, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0.48, 0], abs=0.03)
    assert [heard(sound, 1.3, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0, 0.48], abs=0.03)
    changes = [text for kind, text in sound.departures if kind == "sound changes"]
    assert changes == ([f"its sound changes {told} after {changes[0][-6:]}"] if told else [])


def test_a_sound_of_several_rates_has_the_length_that_its_header_is_said_to_have(tmp_path: Path) -> None:
    file = two(tmp_path, ".mp3", 1, 32_000)

    assert [len(read_audio(file, rate=rate)) for rate in (None, 16_000)] == [2 * RATE, 32_000]
    assert [read_header(file).count_samples(rate) for rate in (None, 16_000)] == [2 * RATE, 32_000]
    assert heard(decode_audio(file, rate=16_000), 1.3, HIGH, 16_000) == pytest.approx(0.48, abs=0.03)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg"])
def test_each_of_joined_sounds_is_held_against_its_own_promise(suffix: str, tmp_path: Path) -> None:
    file = two(tmp_path, suffix, 1, RATE)
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("first", "second"))
    file.write_bytes(first + second[: len(second) * 3 // 4])
    with pytest.raises(DataError, match="in part 2 of 2 "):
        read_audio(file)
    file.write_bytes(first[: len(first) // 2] + second)
    with pytest.raises(DataError, match=r"in part 1 of 2 |cannot be read as a film or sound"):
        read_audio(file)


def test_a_tag_with_a_picture_between_joined_sounds_is_no_damage(tmp_path: Path) -> None:
    two(tmp_path, ".mp3", 1, RATE)
    picture = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8).tobytes() + b"\xff\xfb\x90\x64" * 20
    size = len(picture)
    tag = b"ID3\x03\x00\x00" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + picture
    second = (tmp_path / "second.mp3").read_bytes()
    own_tag = 10 + int.from_bytes(second[8:10], "big") if second[:3] == b"ID3" else 0
    file = tmp_path / "both.mp3"
    file.write_bytes((tmp_path / "first.mp3").read_bytes() + tag + second[own_tag:])

    sound = decode_audio(file)

    assert (len(sound.wave), sound.losses, sound.departures) == (2 * RATE, (), ())


@pytest.mark.parametrize("rate", [RATE, 32_000])
@pytest.mark.parametrize("seconds", [1, 40])
def test_joined_flacs_are_read_whole_though_each_states_its_own_length(seconds: int, rate: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    waves = [sine(float(seconds), LOW), sine(float(seconds), HIGH, rate)]
    for name, wave, own in zip(("first", "second"), waves, (RATE, rate), strict=True):
        soundfile.write(tmp_path / f"{name}.flac", wave + random.uniform(-0.01, 0.01, len(wave)), own)
    file = join(tmp_path / "both.flac", tmp_path / "first.flac", tmp_path / "second.flac")

    sound = decode_audio(file)

    assert (len(sound.wave), sound.losses) == (2 * seconds * RATE, ())
    assert [heard(sound, 0.2, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0.5, 0], abs=0.03)
    assert [heard(sound, seconds + 0.3, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0, 0.5], abs=0.03)
    assert read_header(file).frames == len(sound.wave)
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(DataError, match=r"in part 2 of 2 "):
        read_audio(file)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_joined_m4a_are_read_one_after_the_other(options: dict[str, str], tmp_path: Path) -> None:
    sound = decode_audio(two(tmp_path, ".m4a", 1, RATE, **options))

    assert (abs(len(sound.wave) / RATE - 2) < 0.13, sound.losses) == (True, ())
    assert [heard(sound, 0.2, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0.5, 0], abs=0.03)
    assert [heard(sound, 1.3, hertz) for hertz in (LOW, HIGH)] == pytest.approx([0, 0.5], abs=0.03)


def test_a_film_that_was_joined_of_two_mp4_is_incomplete(tmp_path: Path) -> None:
    parts = [write_film(tmp_path / f"{i}.mp4", wave=sine(1.0, LOW, 16_000)) for i in (1, 2)]

    outcome = made(Clip(join(tmp_path / "film.mp4", *parts)), tmp_path)

    assert outcome.status == "dropped"
    assert "film film.mp4 goes on with another film or sound, which is not read" in outcome.reason


def test_the_sound_of_a_film_and_a_sound_of_its_own_follow_one_rule(tmp_path: Path) -> None:
    joined = two(tmp_path, ".aac", 2, 32_000)
    streamed = join(  # a transport stream may be joined like a sound
        tmp_path / "film.ts",
        *(write_film(tmp_path / f"{i}.ts", wave=sine(1.0, hertz, 16_000)) for i, hertz in ((1, LOW), (2, HIGH))),
    )
    for clip in (Clip(None, joined), Clip(None, streamed), Clip(streamed)):
        outcome = made(clip, tmp_path, damaged="missing")

        wave = outcome.tensors["audio"].double() / 32768
        assert abs(len(wave) / 16_000 - 2) < 0.2
        assert level_at(wave[4800:12_800], LOW, 16_000) == pytest.approx(0.48, abs=0.03)
        assert level_at(wave[20_800:28_800], HIGH, 16_000) == pytest.approx(0.48, abs=0.03)


def test_rates_without_a_common_divisor_follow_the_same_formula_as_those_with_one() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal(3000).astype(np.float32))
    for own, rate in ((44_100, 16_000), (16_000, 44_100), (3, 2)):
        by_table = resample(wave, own, rate)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sound_tracks, "_LARGEST_TABLE", 0)
            by_filter = resample(wave, own, rate)
        torch.testing.assert_close(by_filter, by_table, rtol=0, atol=1e-4)


def test_a_rate_of_billions_takes_no_more_memory_than_its_samples() -> None:
    assert resample(torch.ones(1_000_000), 4_000_000_007, 16_000).shape == (4,)
