"""Films whose streams are others, or stand in another order, than picture and sound: nothing of them is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from torch import Tensor
from written_films import B_FRAMES, RATE, greys, spec_for, steps, tone, write_film

from fusionkit.config.recipe import build_component
from fusionkit.data.films.clips import prepare_clip
from fusionkit.data.readers.decoder import Film
from fusionkit.interfaces import Box, Clip, FaceDetector

COUNT = 12
SOUND = tone(COUNT / RATE)


class WholeImage(FaceDetector):
    """Finds a face in the middle of every image, so that a film is decoded twice."""

    def detect(self, image: Tensor) -> tuple[Box, ...]:
        return (Box(8.0, 0.0, 56.0, 48.0),)


def with_timecode(folder: Path, **options: Any) -> Path:
    film = write_film(folder / "a.mov", steps(COUNT), wave=SOUND, timecode="01:00:00:00", **options)
    with av.open(str(film)) as container:
        assert "data" in [stream.type for stream in container.streams]
    return film


def sound_first(folder: Path, suffix: str = ".mp4") -> Path:
    film = write_film(folder / f"a{suffix}", steps(COUNT), wave=SOUND, sound_first=True, encoder=B_FRAMES)
    with av.open(str(film)) as container:
        assert container.streams[0].type == "audio"
    return film


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("make", [with_timecode, sound_first])
def test_every_frame_and_sample_is_prepared_whatever_other_streams_a_film_has(
    make: Any, looks: bool, tmp_path: Path
) -> None:
    spec = spec_for(tmp_path, detector="center")
    detector = WholeImage() if looks else build_component(spec.face.detector)

    outcome = prepare_clip(Clip(make(tmp_path)), spec, detector)

    assert (outcome.status, outcome.departures) == ("prepared", ()), outcome.reason
    expected = np.array([40 + 12 * (i % 16) for i in range(COUNT)])
    assert np.abs(greys(outcome.tensors["video"]) - expected).max() < 4
    assert abs(len(outcome.tensors["audio"]) - len(SOUND)) <= 2048  # the codec's first and last block


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("wanted", [(True, False), (True, True), (False, True)])
def test_the_last_frames_come_whichever_streams_are_asked_for(
    wanted: tuple[bool, bool], suffix: str, tmp_path: Path
) -> None:
    picture, sound = wanted
    with Film(sound_first(tmp_path, suffix)) as film:
        frames = list(film.decode(picture=picture, sound=sound))
        losses = film.list_losses()

    images = [frame for frame in frames if not hasattr(frame, "sample_rate")]
    assert (len(images), losses) == (COUNT if picture else 0, [])
    assert any(hasattr(frame, "sample_rate") for frame in frames) == sound


def test_a_film_that_changes_while_it_is_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "a.mp4", steps(COUNT))
    looked = iter([COUNT, COUNT - 3])
    frames = Film.decode

    def fewer(self: Film, **wanted: bool) -> Any:
        return [frame for _, frame in zip(range(next(looked)), frames(self, **wanted), strict=False)]

    monkeypatch.setattr(Film, "decode", fewer)

    outcome = prepare_clip(Clip(film), spec_for(tmp_path), WholeImage())

    assert outcome.status == "dropped"
    assert "decoded to 12 frames when its face was looked for, and to 9 afterwards" in outcome.reason
