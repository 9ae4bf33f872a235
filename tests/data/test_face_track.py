"""From faces in some frames to a steady crop in every frame."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.schema import FaceSpec
from fusionkit.data.films.face_track import Track, follow_face
from fusionkit.errors import DataError
from fusionkit.interfaces import Box

PLAIN = {"smoothing": 0.0, "margin": 0.0}


def box(x: float, y: float = 100.0, side: float = 40.0) -> Box:
    """A square face around a centre."""
    return Box(*map(float, (x - side / 2, y - side / 2, x + side / 2, y + side / 2)))


def follow(detections, *, frames: int = 60, rate: float = 30.0, **spec) -> Track:
    """The track in an image of 300 by 200."""
    options = {"frames": frames, "height": 200, "width": 300, "frame_rate": rate}
    return follow_face(detections, **options, spec=FaceSpec(**spec))


def centres(track: Track) -> np.ndarray:
    """Centre and side of every frame."""
    left, top, right, bottom = track.boxes.numpy().T
    assert np.allclose(right - left, bottom - top, atol=1e-9)
    return np.stack([(left + right) / 2, (top + bottom) / 2, right - left], axis=1)


def restated(detections, frames: int, deviation: float, margin: float) -> np.ndarray:
    """Interpolation, smoothing and margin by their formulas, one frame at a time."""
    known = sorted(detections)
    values = []
    for frame in known:
        (face,) = detections[frame]
        side = max(face.right - face.left, face.bottom - face.top)
        values.append([(face.left + face.right) / 2, (face.top + face.bottom) / 2, side])
    between = np.stack([np.interp(np.arange(frames), known, column) for column in np.array(values).T], axis=1)
    smooth = np.empty_like(between)
    for t in range(frames):
        near = [u for u in range(frames) if abs(t - u) <= np.ceil(4 * deviation)]
        weights = np.array([np.exp(-((t - u) ** 2) / (2 * deviation**2)) if deviation else float(t == u) for u in near])
        smooth[t] = weights @ between[near] / weights.sum()
    x, y, side = smooth.T
    half = side / 2 + margin * side
    return np.stack([x - half, y - half, x + half, y + half], axis=1)


@pytest.mark.parametrize("every", [1, 4, 25])
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.2, 3.0])
def test_boxes_are_interpolated_smoothed_and_widened_as_the_formula_says(every: int, smoothing: float) -> None:
    random = np.random.default_rng(every)
    detections = {}
    for frame in range(3, 57, every):
        left, top = 90 + frame / 2 + random.normal(0, 3), 50 + random.normal(0, 3)
        width, height = random.uniform(50, 60, 2)
        detections[frame] = (Box(left, top, left + width, top + height),)
    track = follow(detections, smoothing=smoothing, margin=0.3)
    assert track.departures == ()
    assert not track.drop
    assert track.boxes.dtype == torch.float64
    expected = restated(detections, 60, smoothing * 30, 0.3)
    assert np.allclose(track.boxes.numpy(), expected, rtol=1e-12, atol=1e-9)


def test_one_looked_at_frame_gives_the_same_crop_in_every_frame() -> None:
    track = follow({7: (Box(10.0, 20.0, 50.0, 40.0),)}, frames=30, margin=0.5)
    assert np.allclose(track.boxes.numpy(), np.tile([-10.0, -10.0, 70.0, 70.0], (30, 1)), atol=1e-9)


def test_smoothing_takes_the_jitter_out_of_a_face_at_rest() -> None:
    random = np.random.default_rng(0)
    shaky = {frame: (box(*random.normal((150, 100), 2), side=random.normal(40, 2)),) for frame in range(0, 60, 2)}
    rough, steady = (centres(follow(shaky, smoothing=seconds, margin=0.0)) for seconds in (0.0, 0.2))
    assert np.abs(np.diff(steady, axis=0)).max() < 0.2 * np.abs(np.diff(rough, axis=0)).max()
    assert np.abs(steady - (150, 100, 40)).max() < 2


@given(st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 40))
def test_a_crop_never_leaves_the_range_of_what_was_found(seed: int, smoothing: float, frames: int) -> None:
    random = np.random.default_rng(seed)
    looked = sorted(set(random.integers(0, frames, 5).tolist()))
    found = {frame: (box(*random.uniform(95, 105, 2), side=random.uniform(35, 45)),) for frame in looked}
    result = centres(follow(found, frames=frames, smoothing=smoothing, margin=0.0))
    given_ = np.array([[(b.left + b.right) / 2, (b.top + b.bottom) / 2, b.right - b.left] for (b,) in found.values()])
    assert (result >= given_.min(axis=0) - 1e-9).all()
    assert (result <= given_.max(axis=0) + 1e-9).all()


def test_of_two_people_the_larger_is_followed_also_where_it_was_missed() -> None:
    found = {frame: [box(80, side=60), box(220, side=30)] for frame in range(0, 60, 5)}
    for frame in (10, 15, 40, 55):
        found[frame] = [box(220, side=30)]
    track = follow(found, **PLAIN)
    assert np.allclose(centres(track), (80, 100, 60))
    assert track.departures == (
        "several faces in 8 of 12 looked-at frames, the largest was followed",
        "the followed face is missing in 4 of 12 looked-at frames, interpolated",
    )


def test_the_larger_is_followed_though_another_is_larger_for_a_moment() -> None:
    found = {frame: [box(80, side=60), box(220, side=30)] for frame in range(0, 60, 5)}
    found[20] = [box(80, side=50), box(220, side=55)]
    found[0] = [box(80, side=50), box(220, side=52)]
    assert np.allclose(centres(follow(found, **PLAIN))[:, 0], 80)


def test_people_who_pass_each_other_are_not_exchanged() -> None:
    found = {t: [box(80 + 2 * t, 90, side=60), box(220 - 2 * t, 110, side=50)] for t in range(60)}
    result = centres(follow(found, **PLAIN))
    assert np.allclose(result[:, 0], 80 + 2 * np.arange(60))
    assert np.allclose(result[:, 2], 60)


def test_the_most_central_of_two_is_followed_where_the_recipe_says_so() -> None:
    found = {frame: [box(40, side=80), box(160, side=30)] for frame in range(0, 60, 5)}
    track = follow(found, several="central", **PLAIN)
    assert np.allclose(centres(track), (160, 100, 30))
    assert track.departures == ("several faces in 12 of 12 looked-at frames, the most central was followed",)


def test_a_face_in_the_background_that_is_seen_alone_for_a_moment_does_not_take_the_crop() -> None:
    found = {frame: [box(80)] for frame in range(0, 60, 5)}
    found[30] = [box(250, side=90)]
    found[55] = [box(250, side=30)]
    track = follow(found, **PLAIN)
    assert np.allclose(centres(track), (80, 100, 40))
    assert track.departures == ("the followed face is missing in 2 of 12 looked-at frames, interpolated",)


def test_after_a_cut_the_face_is_followed_where_it_is() -> None:
    found = {frame: [box(60 if frame < 30 else 240)] for frame in range(0, 60, 5)}
    track = follow(found, **PLAIN)
    assert np.allclose(centres(track)[:26, 0], 60)
    assert np.allclose(centres(track)[30:, 0], 240)
    assert track.departures == ("the face is lost at frame 25 and taken up elsewhere at frame 30",)


def test_the_order_of_the_detector_and_of_the_frames_does_not_matter() -> None:
    random = np.random.default_rng(1)
    found = {t: [box(*random.uniform(20, 180, 2), side=random.uniform(20, 60)) for _ in range(4)] for t in range(30)}
    turned = {t: list(reversed(found[t])) for t in reversed(found)}
    first, second = follow(found, least_seen=0.01), follow(turned, least_seen=0.01)
    assert torch.equal(first.boxes, second.boxes)
    assert first.departures == second.departures


SOME = {frame: [box(80)] if frame < 45 else [] for frame in range(0, 60, 5)}
TWO = {frame: [box(80), box(220)] for frame in range(0, 60, 5)}
FEW = {frame: [box(80)] if frame == 20 else [] for frame in range(0, 60, 5)}
NONE: dict[int, list[Box]] = {frame: [] for frame in range(0, 60, 5)}
SENTENCES = {
    "gaps": (SOME, "no face in 3 of 12 looked-at frames"),
    "several": (TWO, "several faces in 12 of 12 looked-at frames"),
    "no_face": (NONE, "no face in any of 12 looked-at frames"),
}


@pytest.mark.parametrize("key", SENTENCES)
def test_a_policy_drops_the_clip_or_its_video_and_says_why(key: str) -> None:
    found, sentence = SENTENCES[key]
    dropped = follow(found, **{key: "drop"})
    assert (dropped.boxes, dropped.drop, dropped.departures) == (None, True, (f"{sentence}, the clip is dropped",))
    missing = follow(found, **{key: "missing"})
    assert (missing.boxes, missing.drop, missing.departures) == (None, False, (f"{sentence}, the video is missing",))


@pytest.mark.parametrize("key", SENTENCES)
def test_a_policy_of_fail_says_what_it_met_and_which_key_decides(key: str) -> None:
    found, sentence = SENTENCES[key]
    with pytest.raises(DataError, match=f"{sentence}; leave the film out, or set data.prepare.face.{key}"):
        follow(found, **{key: "fail"})


def test_a_face_in_some_frames_is_interpolated_and_reported_by_default() -> None:
    track = follow(SOME, **PLAIN)
    assert np.allclose(centres(track), (80, 100, 40))
    assert track.departures == ("no face in 3 of 12 looked-at frames, interpolated",)


def test_a_face_in_too_few_frames_is_none() -> None:
    track = follow(FEW)
    sentence = "a face in 1 of 12 looked-at frames only, least_seen is 0.5, the video is missing"
    assert (track.boxes, track.departures) == (None, (sentence,))
    assert follow(FEW, least_seen=1 / 12).boxes is not None


def test_without_a_face_the_middle_of_the_image_is_taken_where_the_recipe_says_so() -> None:
    track = follow(NONE, no_face="center", margin=0.4)
    assert np.allclose(track.boxes.numpy(), np.tile([50.0, 0.0, 250.0, 200.0], (60, 1)))
    assert track.departures == ("no face in any of 12 looked-at frames, the middle of the image was taken",)


@pytest.mark.parametrize("broken", [Box(5.0, 0.0, 5.0, 9.0), Box(float("nan"), 0.0, 5.0, 9.0), Box(0.0, 9.0, 5.0, 3.0)])
def test_a_box_without_an_area_is_refused_with_its_frame(broken: Box) -> None:
    with pytest.raises(DataError, match="frame 5: the detector returned Box"):
        follow({0: [box(80)], 5: [broken]})
