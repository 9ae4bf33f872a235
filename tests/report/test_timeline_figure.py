"""The figure of a timeline: curves with gaps, bands of who was present, faces at their times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusionkit.errors import RunError
from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.timeline.records import Faces, Instant, Timeline
from fusionkit.report.figures.timeline import draw_timeline, save_timeline

CLASSES = ("calm", "happy")


def answer(share: float) -> Answer:
    said = {"calm": share, "happy": 1 - share}
    return Answer("film", {"mood": TargetAnswer(max(said, key=said.__getitem__), said), "age": TargetAnswer(30.0)})


def make_timeline(failing: tuple[int, ...] = (), faces: Faces | None = None) -> Timeline:
    answers = [Answer("film", failure="nothing") if place in failing else answer(place / 10) for place in range(10)]
    instants = tuple(Instant(0.5 * (place + 1), each) for place, each in enumerate(answers))
    spans = {"video": ((0.0, 2.0), (3.0, 5.0)), "audio": ((0.0, 5.0),)}
    return Timeline("film", instants, (), 0.5, 3.0, 5.0, spans, {"mood": CLASSES, "age": ()}, faces=faces)


def test_a_figure_shows_every_class_number_and_modality() -> None:
    times = tuple(5 * (place + 0.5) / 14 for place in range(14))
    faces = Faces(torch.randint(0, 256, (14, 1, 8, 8), dtype=torch.uint8), times, 10.0)

    strip, mood, age, presence = draw_timeline(make_timeline(faces=faces)).axes

    assert [line.get_label() for line in mood.lines] == list(CLASSES)
    assert mood.lines[0].get_ydata().tolist() == pytest.approx([place / 10 for place in range(10)])
    assert age.lines[0].get_ydata().tolist() == [30.0] * 10
    assert [text.get_text() for text in presence.get_yticklabels()] == ["video", "audio"]
    assert [len(bars.get_paths()) for bars in presence.collections] == [2, 1]
    assert len(strip.artists) == 14
    assert all(axes.get_xlim() == (0, 5) for axes in (strip, mood, age, presence))


def test_what_was_not_answered_is_a_gap_in_the_curve() -> None:
    mood = draw_timeline(make_timeline(failing=(3, 4))).axes[0]

    drawn = mood.lines[0].get_ydata()
    assert len(drawn) == 9  # eight answers, and the break between them
    assert sum(value != value for value in drawn) == 1  # noqa: PLR0124 - NaN is no number's equal


def test_faces_stand_at_their_times_and_are_not_repeated_where_the_sound_goes_on() -> None:
    faces = Faces(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), (0.25, 0.75, 1.25), 10.0)  # of five seconds

    drawn = draw_timeline(make_timeline(faces=faces)).axes[0].artists

    assert [face.xy for face in drawn] == [(0.25, 0.5), (0.75, 0.5), (1.25, 0.5)]


def test_a_figure_is_written_as_its_ending_says(tmp_path: Path) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        assert save_timeline(make_timeline(), tmp_path / f"said{suffix}").read_bytes().startswith(begin)
    with pytest.raises(RunError, match=r"said.jpg: a figure ends in .png, .svg, .pdf"):
        save_timeline(make_timeline(), tmp_path / "said.jpg")
    with pytest.raises(RunError, match=r"film: no instant has an answer \(nothing\)"):
        draw_timeline(make_timeline(failing=tuple(range(10))))
