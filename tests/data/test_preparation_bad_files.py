"""Films and sounds that are not plain: what becomes of each, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from written_films import Films, cut_short, flat, greys, made, spec_for, steps, tone, write_film, write_sound

from fusionkit.data.films import prepare
from fusionkit.data.films.clips import Outcome
from fusionkit.interfaces import Clip

NOISE = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(20)]
LENIENT = {"damaged": "missing", "incomplete": "keep"}


def said(outcome: Outcome) -> str:
    return " | ".join(f"{departure.kind}: {departure.text}" for departure in outcome.departures)


def shorten(path: Path) -> Clip:
    write_film(path, NOISE, wave=tone(2), movflags="faststart")
    return Clip(cut_short(path))


def shortened_mpeg(path: Path) -> Clip:
    write_film(path.with_suffix(".mpg"), NOISE, codec="mpeg1video", rate=25)
    return Clip(cut_short(path.with_suffix(".mpg")))


def without_end(path: Path) -> Clip:
    write_film(path, NOISE)  # the index of its frames is its last part
    return Clip(cut_short(path))


def empty(path: Path) -> Clip:
    path.write_bytes(b"")
    return Clip(path)


def text(path: Path) -> Clip:
    path.write_text("This is no film.\n" * 40)
    return Clip(path)


def list_of_films(path: Path) -> Clip:
    write_film(path.with_name("good.mp4"), steps(), wave=tone(1.2))
    path.write_text("ffconcat version 1.0\nfile good.mp4\n")
    return Clip(path)


def absent(path: Path) -> Clip:
    return Clip(path)


def varying(path: Path) -> Clip:
    return Clip(write_film(path, steps(6), pts=[0, 1, 2, 3, 6, 12], time_base=Fraction(1, 10), wave=tone(1.3)))


def mute(path: Path) -> Clip:
    return Clip(write_film(path, flat((90, 90, 90))))


def one_frame(path: Path) -> Clip:
    return Clip(write_film(path, flat((90, 90, 90), 1), wave=tone(1.5)))


def sound_alone_as_film(path: Path) -> Clip:
    return Clip(write_film(path, wave=tone(1.5)))


def unknown_codec(path: Path) -> Clip:
    write_film(path, NOISE[:4])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return Clip(path)


def sound_before_picture(path: Path) -> Clip:
    stamps = range(30, 42)
    return Clip(write_film(path.with_suffix(".mkv"), steps(), pts=stamps, time_base=Fraction(1, 10), wave=tone(1.5)))


def sound_of(wave: np.ndarray, subtype: str = "PCM_16") -> Callable[[Path], Clip]:
    return lambda path: Clip(None, write_sound(path.with_suffix(".wav"), wave, subtype=subtype))


def sound_that_states(size: int) -> Callable[[Path], Clip]:
    def make(path: Path) -> Clip:
        sound = write_sound(path.with_suffix(".wav"), tone(1.5))
        sound.write_bytes(sound.read_bytes()[:40] + size.to_bytes(4, "little") + sound.read_bytes()[44:])
        return Clip(None, sound)

    return make


def with_nan(wave: np.ndarray) -> np.ndarray:
    wave[7] = np.nan
    return wave


CASES: dict[str, tuple[Callable[[Path], Clip], dict[str, str], str, str, str]] = {
    # what it is: how it is made, policies, status, modalities that remain, words
    "shorter than its header": (shorten, LENIENT, "prepared", "audio video", "of 20 frames that its header promises"),
    "shorter, dropped": (shorten, {}, "dropped", "", "of 20 frames that its header promises"),
    "shorter, missing": (shorten, {"incomplete": "missing"}, "dropped", "", "of 20 frames that its header promises"),
    "shorter, failed": (shorten, {"incomplete": "fail"}, "failed", "", "of 20 frames that its header promises"),
    "half an mpeg": (shortened_mpeg, LENIENT, "prepared", "video", "damaged"),
    "half an mpeg, dropped": (shortened_mpeg, {}, "dropped", "", "damaged"),
    "without its index": (without_end, {}, "dropped", "", "cannot be read as a film or sound"),
    "zero bytes": (empty, {}, "dropped", "", "cannot be read as a film or sound"),
    "zero bytes, missing": (empty, LENIENT, "dropped", "", "nothing is left of it"),
    "zero bytes, failed": (empty, {"damaged": "fail"}, "failed", "", "cannot be read as a film or sound"),
    "text": (text, {}, "dropped", "", "cannot be read as a film or sound"),
    "a list of films": (list_of_films, {}, "dropped", "", "a list of other files"),
    "not there": (absent, {}, "dropped", "", "is not there"),
    "varying rate": (varying, {}, "prepared", "audio video", "100 to 600 ms apart"),
    "no sound": (mute, {}, "prepared", "video", "has no sound: the audio is left out"),
    "no sound, dropped": (mute, {"no_sound": "drop"}, "dropped", "", "has no sound"),
    "no sound, failed": (mute, {"no_sound": "fail"}, "failed", "", "has no sound"),
    "no film": (sound_of(tone(1.5)), {}, "prepared", "audio", ""),
    "one frame": (one_frame, {}, "prepared", "audio video", "is one frame"),
    "no picture": (sound_alone_as_film, {}, "dropped", "", "holds no picture"),
    "no picture, missing": (
        sound_alone_as_film,
        LENIENT,
        "prepared",
        "audio",
        "picture: the video is left out",
    ),
    "no decoder": (unknown_codec, {}, "dropped", "", "no decoder"),
    "sound ends before the picture": (sound_before_picture, {}, "prepared", "video", "ends before its picture begins"),
    "short sound": (sound_of(tone(0.5)), {}, "prepared", "audio", "lasts 0.50 s"),
    "empty sound": (sound_of(tone(0)), {}, "dropped", "", "is empty"),
    "sound of a stopped recorder": (sound_that_states(0), {}, "prepared", "audio", "states a length of 0, but 48,000"),
    "sound from a pipe": (sound_that_states(0x7FFFF000), {}, "prepared", "audio", "does not state its length"),
    "sound with more behind it": (sound_that_states(40000), {}, "prepared", "audio", "goes on for 8,000 bytes"),
    "silence": (sound_of(0 * tone(1.5)), {}, "prepared", "audio", "is silence: kept as it is"),
    "silence, missing": (sound_of(0 * tone(1.5)), {"silent": "missing"}, "dropped", "", "is silence"),
    "silence, dropped": (sound_of(0 * tone(1.5)), {"silent": "drop"}, "dropped", "", "is silence"),
    "silence, failed": (sound_of(0 * tone(1.5)), {"silent": "fail"}, "failed", "", "is silence"),
    "NaN": (sound_of(with_nan(tone(1.5)), "FLOAT"), {}, "dropped", "", "1 of 24000 numbers are NaN or infinite"),
    "NaN, failed": (sound_of(with_nan(tone(1.5)), "FLOAT"), {"damaged": "fail"}, "failed", "", "numbers are NaN"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_becomes_what_the_policies_say_in_words(case: str, tmp_path: Path) -> None:
    make, policies, status, modalities, words = CASES[case]

    outcome = made(make(tmp_path / "a.mp4"), tmp_path, **policies)

    assert (outcome.status, " ".join(sorted(outcome.tensors))) == (status, modalities), said(outcome)
    assert words in f"{outcome.reason} | {said(outcome)}"
    assert bool(outcome.reason) == (status != "prepared")
    assert str(tmp_path) not in f"{outcome.reason} | {said(outcome)}"


def test_what_is_left_of_half_a_film_is_what_it_showed(tmp_path: Path) -> None:
    images = [np.where(noise > 127, 40 + 8 * i, 30 + 8 * i).astype(np.uint8) for i, noise in enumerate(NOISE)]
    film = write_film(tmp_path / "a.mp4", images, movflags="faststart")
    whole = greys(made(Clip(film), tmp_path, **LENIENT).tensors["video"])

    left = greys(made(Clip(cut_short(film)), tmp_path, **LENIENT).tensors["video"])

    assert 4 <= len(left) < 18
    assert np.abs(left[:-1] - whole[: len(left) - 1]).max() < 1


def test_the_sound_that_is_not_finite_leaves_the_film(tmp_path: Path) -> None:
    film, wave = write_film(tmp_path / "a.mp4", flat((9, 9, 9))), with_nan(tone(1.2))
    sound = write_sound(tmp_path / "a.wav", wave, subtype="FLOAT")

    outcome = made(Clip(film, sound), tmp_path, damaged="missing")

    assert list(outcome.tensors) == ["video"]
    assert "numbers are NaN or infinite: the audio is left out" in said(outcome)


def test_a_damaged_film_leaves_the_sound_that_is_a_file_of_its_own(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(1.2))
    for clip in (empty(tmp_path / "a.mp4"), shorten(tmp_path / "b.mp4")):
        outcome = made(Clip(clip.film, sound), tmp_path, damaged="missing", incomplete="missing")

        assert list(outcome.tensors) == ["audio"]
        assert ": the video is left out" in said(outcome)


def test_sound_may_be_a_film_of_its_own(tmp_path: Path) -> None:
    outcome = made(Clip(None, write_film(tmp_path / "a.mp4", steps(), wave=tone(1.2))), tmp_path)

    assert list(outcome.tensors) == ["audio"]
    assert abs(len(outcome.tensors["audio"]) - 1.2 * 16000) < 2100  # the codec's last block is full


def test_time_stamps_of_sound_that_lie_hours_off_are_not_believed(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(), wave=tone(1.2), sound_late=40_000)

    outcome = made(Clip(film), tmp_path)

    assert len(outcome.tensors["audio"]) < 2 * 16000
    assert "40000" in said(outcome) or "39999" in said(outcome)
    assert "not believed" in said(outcome)


def test_no_bad_file_keeps_the_others_from_being_prepared(tmp_path: Path) -> None:
    clips = {"good": Clip(write_film(tmp_path / "good.mp4", steps(), wave=tone(1.2)))}
    for name, (make, policies, *_) in CASES.items():
        if not policies:
            (tmp_path / name.replace(" ", "_")).mkdir()
            clips[name] = make(tmp_path / name.replace(" ", "_") / "a.mp4")
    clips["also good"] = clips["good"]

    done = prepare(Films(clips), spec_for(tmp_path / "cache"), kind="films", processes=1)

    assert {name: record.status for name, record in done.records.items()} == {
        "good": "prepared",
        **{name: status for name, (_, policies, status, *_) in CASES.items() if not policies},
        "also good": "prepared",
    }
    assert not done.failed
    report = done.report.read_text()
    assert all(f"`{name}`" in report for name, record in done.records.items() if record.departures)
    assert "`good`" not in report
