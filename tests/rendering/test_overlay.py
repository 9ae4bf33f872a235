"""Overlays: frames with their box, their bars, their sound and their times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fusionkit.errors import RunError
from fusionkit.rendering.overlay import Bar, OverlayWriter, Panel, Said

BARS = [Bar("calm", 0.2), Bar("happy", 0.8)]


def test_a_frame_is_kept_beside_what_is_said_of_it() -> None:
    panel = Panel(400, 300)
    frame = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)

    drawn = panel.draw(frame, None, [Said("mood", "happy 80 %", BARS)], "of video")

    assert drawn.shape == (*panel.size[::-1], 3)
    assert panel.size[0] % 2 == panel.size[1] % 2 == 0
    assert np.array_equal(drawn[:400, :300], frame)
    blue = (drawn[:, 300:] == (86, 180, 233)).all(axis=2).sum()
    grey = (drawn[:, 300:] == (110, 116, 126)).all(axis=2).sum()
    assert blue / grey == pytest.approx(4, rel=0.1)  # as the bars are to each other


def test_a_box_lies_where_the_face_is_and_not_on_the_panel() -> None:
    panel, frame = Panel(100, 120), np.zeros((100, 120, 3), np.uint8)  # enlarged four times

    drawn = panel.draw(frame, (10.0, 20.0, 500.0, 60.0), [], "nothing", "no face")

    yellow = np.argwhere((drawn == (255, 200, 60)).all(axis=2))
    assert yellow.min(axis=0).tolist() == [80, 40]
    assert yellow[:, 0].max() == 240
    assert yellow[:, 1].max() < 480


def test_long_names_many_classes_and_several_targets_stay_on_the_panel() -> None:
    panel, frame = Panel(360, 360), np.zeros((360, 360, 3), np.uint8)
    many = [Bar("a very long name of a class " * 3, place / 40) for place in range(40)]

    drawn = panel.draw(frame, None, [Said("a" * 200, "b" * 200, many), Said("age", "-12.3", ())], "of " + "c" * 90)

    assert drawn.shape == (360, panel.size[0], 3)
    assert (drawn[:, -4:] == (24, 26, 30)).all()


def test_frames_keep_their_times_and_sound_its_place(tmp_path: Path) -> None:
    path, times = tmp_path / "said.mp4", [0.0, 0.04, 0.2, 0.24, 0.24]
    with OverlayWriter(path, (64, 48), Fraction(25), 16000) as writer:
        for at in times:
            writer.add_frame(np.zeros((48, 64, 3), np.uint8), at)
        tone = np.sin(np.arange(1600) / 5).astype(np.float32)[None]
        block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        block.sample_rate = 16000
        writer.add_sound(block, 0.5)  # silence before it

    with av.open(str(path)) as film:
        assert [round(float(frame.pts * frame.time_base), 3) for frame in film.decode(video=0)] == times[:4]
    with av.open(str(path)) as film:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    assert abs(heard[:7000]).max() < 0.01
    assert abs(heard[8500:9500]).max() > 0.5


def test_an_overlay_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        OverlayWriter(tmp_path / "nowhere" / "said.mp4", (64, 48), Fraction(25), None)
    writer = OverlayWriter(tmp_path / "said.mp4", (64, 48), Fraction(25), None)
    writer.add_frame(np.zeros((48, 64, 3), np.uint8), 0.0)
    writer.__exit__(KeyError, KeyError(), None)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_cannot_begin_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(file: str, mode: str) -> None:
        Path(file).write_bytes(b"the beginning of a film")
        raise av.FFmpegError(1, "no room")

    monkeypatch.setattr(av, "open", write_some)
    with pytest.raises(RunError, match="cannot be written"):
        OverlayWriter(tmp_path / "said.mp4", (64, 48), Fraction(25), None)
    assert not list(tmp_path.iterdir())


def test_sound_that_begins_before_the_picture_is_cut_there(tmp_path: Path) -> None:
    path, rate = tmp_path / "said.mp4", 16000
    wave = np.zeros((1, rate), np.float32)
    wave[0, 8000:8400] = np.sin(np.arange(400) / 3)  # heard half a second after the sound begins
    with OverlayWriter(path, (64, 48), Fraction(25), rate) as writer:
        for begin in range(0, rate, 1000):
            block = av.AudioFrame.from_ndarray(wave[:, begin : begin + 1000].copy(), format="fltp", layout="mono")
            block.sample_rate = rate
            writer.add_sound(block, begin / rate - 0.09)
        writer.add_frame(np.zeros((48, 64, 3), np.uint8), 0.0)

    with av.open(str(path)) as film:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    middle = np.average(np.arange(len(heard)), weights=heard**2) / rate
    assert middle == pytest.approx(8200 / rate - 0.09, abs=0.005)


def test_the_panel_says_why_there_is_no_answer() -> None:
    panel, frame = Panel(360, 360), np.zeros((360, 360, 3), np.uint8)

    assert not np.array_equal(panel.draw(frame, None, [], "", "no face"), panel.draw(frame, None, [], "", "too dark"))
