"""What comes from a camera and a microphone is prepared as a film of it would be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from written_films import steps, write_film

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import FaceSpec, PrepareSpec
from fusionkit.data.films.clips import prepare_clip
from fusionkit.data.films.detectors.center import Center
from fusionkit.data.live.faces import FaceFollower
from fusionkit.data.live.pictures import PictureStream
from fusionkit.data.live.sounds import Resampler, SoundStream
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.sound.tracks import resample
from fusionkit.errors import DataError
from fusionkit.interfaces import Box, Clip

RATES = [(48000, 16000), (44100, 16000), (8000, 16000), (22050, 16000), (16000, 16000), (44101, 16000), (96000, 16000)]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 3000), min_size=1, max_size=12))
def test_blocks_are_resampled_as_their_whole(rates: tuple[int, int], sizes: list[int]) -> None:
    whole = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    resampler, found, done = Resampler(*rates), [], 0
    for size in sizes:
        found.append(resampler.push(whole[done : done + size]))
        done += size
        late = done / rates[0] - sum(map(len, found)) / rates[1]
        assert late < 10 / min(rates)
    found.append(resampler.finish())

    expected = resample(whole, *rates)
    assert len(torch.cat(found)) == len(expected)
    assert torch.allclose(torch.cat(found), expected, rtol=0, atol=2e-6)


def test_a_resampler_keeps_little_and_clicks_nowhere() -> None:
    resampler = Resampler(48000, 16000)
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(48000) / 48000)
    found = torch.cat([resampler.push(block) for block in tone.split(480)])

    steps = (found[2:] - 2 * found[1:-1] + found[:-2]).abs()[200:]
    assert steps.max() < 1.05 * (2 * torch.pi * 440 / 16000) ** 2
    assert len(resampler._kept) < 100


def test_sound_is_the_mean_of_its_channels_and_has_its_time() -> None:
    stream = SoundStream(16000, whole=True)
    stereo = torch.tensor([[8192, 0], [-16384, 0]], dtype=torch.int16)

    assert [(at, wave.tolist()) for at, wave in stream.push(stereo, 2.0)] == [(2.0, [0.125, -0.25])]
    assert stream.push(torch.tensor([0.5]))[0][0] == pytest.approx(2.0 + 2 / 16000)


def test_short_silence_is_filled_a_long_one_is_a_gap_and_what_was_there_is_cut() -> None:
    stream = SoundStream(100)
    blocks = stream.push(torch.ones(10), 0.0)  # to 0.1
    blocks += stream.push(torch.ones(10), 0.12)  # a stamp that trembles
    blocks += stream.push(torch.ones(10), 0.4)  # 0.2 of silence
    blocks += stream.push(torch.ones(10), 3.0)
    blocks += stream.push(torch.ones(20), 3.0)

    assert [(round(at, 6), len(wave), int(wave.sum())) for at, wave in blocks] == [
        (0.0, 10, 10),
        (0.1, 10, 10),
        (0.2, 30, 10),
        (3.0, 10, 10),
        (3.1, 10, 10),
    ]
    assert stream.cut == 10
    with pytest.raises(DataError, match=r"audio: sound from 0.000 s on comes after that up to 3.200 s; push it in"):
        stream.push(torch.ones(5), 0.0)


def film_spec(detector: str = "center", **more: Any) -> PrepareSpec:
    face = {"size": 16, "grey": True, "detector": {"type": detector}, **more.pop("face", {})}
    return PrepareSpec.model_validate({"frame_rate": 10.0, "face": face, **more})


def read_frames(film: Path) -> list[Any]:
    with Film(film) as opened:
        return list(opened.decode(picture=True, sound=False))


@pytest.mark.parametrize("rate", [10.0, 25.0, 4.0])
@pytest.mark.parametrize("portion", [1, 4])
def test_frames_are_taken_and_cut_as_those_of_a_film(tmp_path: Path, rate: float, portion: int) -> None:
    film = write_film(tmp_path / "film.mp4", steps(23))
    spec = film_spec(frame_rate=rate)
    stream, frames = PictureStream(spec, Center(), 10.0), read_frames(film)

    blocks = [
        block
        for start in range(0, len(frames), portion)
        for block in stream.push(frames[start : start + portion], start / 10)
    ]

    expected = prepare_clip(Clip(film, None), spec, Center()).tensors["video"]
    found = torch.cat([crops for _, crops in blocks])
    times = [at + place / rate for at, crops in blocks for place in range(len(crops))]
    assert abs(len(found) - len(expected)) <= 1  # what the last frame is nearest to is known when a film has ended
    assert found[: len(expected)].equal(expected[: len(found)])
    assert np.allclose(times, np.arange(len(found)) / rate)


def test_red_green_and_blue_of_a_camera_are_what_a_film_shows(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", steps(6))
    spec = film_spec(face={"grey": False})
    images = [frame.to_ndarray(format="rgb24") for frame in read_frames(film)]

    found = torch.cat([crops for _, crops in PictureStream(spec, Center()).push(np.stack(images), 0.0)])

    expected = prepare_clip(Clip(film, None), spec, Center()).tensors["video"]
    assert found.shape == expected.shape == (6, 3, 16, 16)
    assert (found.int() - expected.int()).abs().max() <= 3


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (48, 64, 3))
    film = write_film(tmp_path / "film.mp4", [ramp] * 3, aspect=Fraction(3, 2))
    spec, frames = film_spec(), read_frames(film)

    stream = PictureStream(spec, Center(), 10.0, aspect=Fraction(3, 2))
    found = torch.cat([crops for _, crops in stream.push(frames, 0.0)])

    assert found.equal(prepare_clip(Clip(film, None), spec, Center()).tensors["video"])
    square = torch.cat([crops for _, crops in PictureStream(spec, Center(), 10.0).push(frames, 0.0)])
    assert not found.equal(square)


def test_late_frames_are_repeated_and_long_gaps_are_gaps() -> None:
    stream = PictureStream(film_spec(), Center())
    times, shown = [], []
    for place, at in enumerate((0.0, 0.1, 0.4, 2.0, 2.1)):
        image = np.full((20, 20, 3), 20 * place, np.uint8)
        for begin, crops in stream.push([image], at):
            times += [round(begin + frame / 10, 6) for frame in range(len(crops))]
            shown += [round(int(crop.max()) / 20) for crop in crops]

    assert shown == [0, 1, 1, 2, 2, 3, 4]  # at 0.2 the frame of 0.1 is nearest, at 0.3 that of 0.4
    assert times == [0.0, 0.1, 0.2, 0.3, 0.4, 2.0, 2.1]
    with pytest.raises(DataError, match=r"video: frames from 1.000 s on come after the one of 2.100 s; push them in"):
        stream.push([np.zeros((20, 20, 3), np.uint8)], 1.0)
    with pytest.raises(DataError, match=r"a frame of shape \(20, 20\) and uint8; give"):
        stream.push([np.zeros((20, 20), np.uint8)], 3.0)


def follow(looks: dict[int, list[Box]], frames: int, **face: Any) -> list[Box | None]:
    spec = FaceSpec.model_validate({"every": 5, "margin": 0.0, "smoothing": 0.0, **face})
    follower, found = FaceFollower(spec, 10.0), []
    for frame in range(frames):
        if follower.is_due:
            follower.look(looks.get(frame, []), 100, 200)
        found.append(follower.step())
    return found


def square(x: float, side: float = 20.0, y: float = 50.0) -> Box:
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def test_a_face_is_held_for_a_second_and_then_there_is_none() -> None:
    found = follow({0: [square(50)], 5: [square(55)]}, 30)

    assert found[:5] == [square(50)] * 5
    assert found[5:20] == [square(55)] * 15
    assert found[20:] == [None] * 10


def test_the_followed_face_is_kept_beside_a_larger_one_and_another_place_needs_two_looks() -> None:
    found = follow({0: [square(50)], 5: [square(150, 40), square(52)], 10: [square(150)], 15: [square(152)]}, 20)

    assert found[5:15] == [square(52)] * 10
    assert found[15:] == [square(152)] * 5


def test_policies_of_faces_hold_live() -> None:
    two = {0: [square(50), square(150, 40)]}

    assert follow(two, 1) == [square(150, 40)]
    assert follow(two, 1, several="central") == [square(50)] or follow(two, 1, several="central") == [square(150, 40)]
    assert follow(two, 1, several="missing") == [None]
    assert follow({}, 1, no_face="center") == [Box(50.0, 0.0, 150.0, 100.0)]
    assert follow({0: [square(50)]}, 6, gaps="missing")[5] is None


def test_smoothing_is_the_films_formula_cut_at_the_present() -> None:
    looks = {0: [square(50)], 5: [square(60)], 10: [square(60)]}
    found = follow(looks, 12, smoothing=0.3, margin=0.5)

    raw = np.array([50.0] * 5 + [60.0] * 7)
    for frame in (0, 4, 7, 11):
        weights = np.exp(-0.5 * ((frame - np.arange(frame + 1)) / 3) ** 2)
        x = (weights * raw[: frame + 1]).sum() / weights.sum()
        box = found[frame]
        assert box is not None
        assert (box.left + box.right) / 2 == pytest.approx(x)
        assert box.right - box.left == pytest.approx(40)


def boxes_of_stream(frames: list[Any], spec: PrepareSpec) -> Tensor:
    stream, found = PictureStream(spec, build_component(spec.face.detector)), []
    for place, frame in enumerate(frames):
        stream.push([frame], place / spec.frame_rate)
        assert stream.box is not None
        found.append([stream.box.left, stream.box.top, stream.box.right, stream.box.bottom])
    return torch.tensor(found, dtype=torch.float64)


def test_boxes_of_a_stream_stay_near_those_of_the_film(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    from fusionkit.rendering import render_ravdess

    render_ravdess(tmp_path, actors=[1], repetitions=(1,), processes=1, emotions=["happy"])
    film = sorted(tmp_path.rglob("01-*.mp4"))[0]
    spec = film_spec("dlib_hog", frame_rate=25.0, face={"every": 10})
    frames = read_frames(film)

    expected = prepare_clip(Clip(film, None), spec, build_component(spec.face.detector)).boxes
    assert expected is not None
    found = boxes_of_stream(frames, spec)

    side = (expected[:, 2] - expected[:, 0])[:, None]
    apart = ((found - expected).abs() / side).amax(dim=1)
    assert len(found) == len(expected)
    assert apart.mean() < 0.1
