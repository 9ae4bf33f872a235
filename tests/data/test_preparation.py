"""What preparation makes of a plain film: the right place of every image, at the right instant, with its sound."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from written_films import HEIGHT, SIZE, SOUND_RATE, WIDTH, flat, greys, spec_for, steps, tone, write_film, write_sound

from fusionkit.config.recipe import build_component
from fusionkit.data.films.clips import Outcome, prepare_clip
from fusionkit.data.films.frames import Reader
from fusionkit.data.films.pace import Pace
from fusionkit.data.films.sounds import align, convert_to_float, convert_to_int16
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.sound.tracks import SoundTrack
from fusionkit.errors import DataError
from fusionkit.interfaces import Box, Clip, FaceDetector

CODEC = 4.0
"""Grey levels by which a codec and the conversion of colours may miss."""


class Bright(FaceDetector):
    """Finds the one bright square in an image."""

    def detect(self, image: Tensor) -> tuple[Box, ...]:
        rows, columns = (image.float().mean(dim=2) > 128).nonzero(as_tuple=True)
        if not len(rows):
            return ()
        ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return (Box(*(float(end) for end in ends)),)


class Everywhere(FaceDetector):
    """Finds a face that reaches over the left and upper edge."""

    def detect(self, image: Tensor) -> tuple[Box, ...]:
        return (Box(-16.0, -16.0, 16.0, 16.0),)


def made(clip: Clip, folder: Path, detector: FaceDetector | None = None, **keys: object) -> Outcome:
    spec = spec_for(folder, **keys)
    outcome = prepare_clip(clip, spec, detector or build_component(spec.face.detector))
    assert outcome.status == "prepared", outcome.reason
    return outcome


@pytest.mark.parametrize("colour", [(200, 40, 90), (16, 220, 30), (0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mpg"])
def test_a_film_of_one_colour_gives_crops_of_it(colour: tuple[int, ...], name: str, tmp_path: Path) -> None:
    codec, rate = ("libx264", 10) if name == "a.mp4" else ("mpeg1video", 25)
    film = write_film(tmp_path / name, flat(colour), codec=codec, rate=rate)

    crops = made(Clip(film), tmp_path, frame_rate=rate).tensors["video"]

    assert (crops.dtype, crops.shape) == (torch.uint8, (12, 3, SIZE, SIZE))
    missed = crops.double().mean(dim=(0, 2, 3)) - torch.tensor(colour)
    assert missed.abs().max() < CODEC


def test_crops_of_the_middle_are_the_middle_scaled_to_size(tmp_path: Path) -> None:
    image = np.stack(np.broadcast_arrays(np.arange(WIDTH) * 3 + 30, 5 * np.arange(HEIGHT)[:, None], 90), axis=2).astype(
        np.uint8
    )
    film = write_film(tmp_path / "a.mp4", [image] * 3)

    crop = made(Clip(film), tmp_path).tensors["video"][1].double().numpy()

    middle = image[:, 8:56].astype(float).reshape(SIZE, 3, SIZE, 3, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(crop - middle).max() < 2 * CODEC
    grey = made(Clip(film), tmp_path, face={"grey": True}).tensors["video"][1, 0].double().numpy()
    assert np.abs(grey - np.tensordot([0.299, 0.587, 0.114], middle, 1)).max() < 2 * CODEC


def test_crops_follow_a_face_that_moves(tmp_path: Path) -> None:
    images = []
    for i in range(20):
        image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
        image[14:30, 4 + 2 * i : 20 + 2 * i] = 220
        images.append(image)
    film = write_film(tmp_path / "a.mp4", images)

    face = {"every": 4, "margin": 0.5, "smoothing": 0.0}
    crops = made(Clip(film), tmp_path, Bright(), face=face).tensors["video"].double()

    assert len(crops) == 20
    inner, outer = crops[:17, :, 5:11, 5:11], crops[:17, :, [0, -1]]  # after frame 16 the last box stays where it is
    assert inner.min() > 200
    assert outer.max() < 40


def test_a_crop_over_the_edge_continues_the_border(tmp_path: Path) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[:16, :16] = 180
    film = write_film(tmp_path / "a.mp4", [image] * 4)

    crop = made(Clip(film), tmp_path, Everywhere(), face={"margin": 0.0}).tensors["video"][0].double()

    assert (crop[:, :15, :15] - 180).abs().max() < 2 * CODEC


def test_a_film_without_a_face_keeps_its_sound_alone(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", flat((20, 20, 20)), wave=tone(1.2))

    outcome = made(Clip(film), tmp_path, Bright())

    assert list(outcome.tensors) == ["audio"]
    assert "no face" in outcome.departures[0].text


def frames_at(stamps: list[int], duration: int) -> Iterator[SimpleNamespace]:
    for pts in stamps:
        yield SimpleNamespace(pts=pts, dts=None, duration=duration, time_base=Fraction(1, 100))


@given(
    gaps=st.lists(st.integers(1, 60), max_size=30),
    duration=st.integers(1, 60),
    rate=st.integers(1, 120),
    start=st.integers(-50, 500),
)
def test_every_instant_takes_the_frame_whose_time_stamp_is_nearest(
    gaps: list[int], duration: int, rate: int, start: int
) -> None:
    stamps = [start + int(at) for at in np.cumsum([0, *gaps])]

    paced = Pace(rate, None)(frames_at(stamps, duration), lambda frame: frame.pts)
    taken = [stamp for stamp, copies in paced for _ in range(copies)]

    times = np.array(stamps) - start
    total = Fraction(int(times[-1]) + duration, 100) * rate
    count = max(1, int(total + Fraction(1, 2)))
    # Whole numbers, so that ties are ties: |t_i / 100 - n / r| in units of 1 / (100 r); argmin takes the earlier.
    distances = np.abs(times[None] * rate - 100 * np.arange(count)[:, None])
    assert taken == [stamps[i] for i in distances.argmin(axis=1)]


@pytest.mark.parametrize(("own", "wanted", "count"), [(10, 10, 12), (10, 25, 30), (25, 10, 5), (30, 12, 5)])
def test_a_film_lasts_as_long_at_another_rate(own: int, wanted: int, count: int, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(12), rate=own)

    crops = made(Clip(film), tmp_path, frame_rate=wanted).tensors["video"]

    assert len(crops) == count
    nearest = [min(range(12), key=lambda i: (abs(i * wanted - n * own), i)) for n in range(count)]
    assert np.abs(greys(crops) - [40 + 12 * i for i in nearest]).max() < CODEC


def test_a_film_of_varying_rate_shows_the_nearest_frames(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(5), pts=[0, 1, 2, 6, 11], time_base=Fraction(1, 10))

    brightness = greys(made(Clip(film), tmp_path).tensors["video"])

    assert np.round((brightness[:11] - 40) / 12).tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"use_editlist": "0"}),
        ("a.mp4", "libx264", {"movflags": "negative_cts_offsets"}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mov", "libx264", {}),
        ("a.mp4", "libx265", {}),
        ("a.mp4", "mpeg4", {}),
        ("a.mkv", "libx264", {}),
    ],
)
def test_the_frames_of_a_film_are_those_that_libav_gives_of_it(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    import av

    path = write_film(tmp_path / name, steps(40), codec=codec, wave=tone(4.0), **options)

    with Film(path) as film:
        found = [(f.pts, f.duration, f.to_ndarray()) for f in film.decode(picture=True, sound=False)]
        rate, losses, lacks_duration = film.picture.average_rate, film.list_losses(), film.lacks_duration

    with av.open(str(path)) as container:  # which decodes the first frames to learn of the rest
        expected = [(f.pts, f.duration, f.to_ndarray()) for f in container.decode(video=0)]
        assert rate == container.streams.video[0].average_rate
    assert (losses, lacks_duration, len(found)) == ([], False, 40)
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    assert all(np.array_equal(mine[2], theirs[2]) for mine, theirs in zip(found, expected, strict=True))


def test_no_frame_of_a_whole_mp4_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    with Film(write_film(tmp_path / "a.mp4", steps())) as film:
        assert film.picture.codec_context.pix_fmt is None  # its first frame tells it
    with Film(write_film(tmp_path / "a.mkv", steps())) as film:
        assert film.picture.codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1"])
@pytest.mark.parametrize("form", ["u8", "s16", "s32", "flt", "dbl"])
@pytest.mark.parametrize("planar", [False, True])
def test_a_sound_of_any_kind_is_the_mean_of_its_channels(form: str, planar: bool, layout: str) -> None:
    import av

    dtype = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}[form]
    channels, generator, track = {"mono": 1, "stereo": 2, "2.1": 3}[layout], np.random.default_rng(0), SoundTrack()
    expected = []
    for index in range(2):
        values = generator.uniform(-1, 1, (channels, 50))
        whole = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
        if dtype[0] != "f":
            values = (values * whole + (whole if dtype == "u1" else 0)).astype(dtype)
            expected.append((values.astype("f8") - (whole if dtype == "u1" else 0)).mean(axis=0) / whole)
        else:
            values = values.astype(dtype)
            expected.append(values.astype("f8").mean(axis=0))
        given = values if planar else values.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(given), form + "p" * planar, layout)
        frame.sample_rate, frame.time_base, frame.pts = SOUND_RATE, Fraction(1, SOUND_RATE), 50 * index + 8000 * index
        track.add(frame)

    wave = track.finish(SOUND_RATE).numpy()

    assert track.patched == 0.5
    assert np.abs(wave - np.concatenate([expected[0], np.zeros(8000), expected[1]])).max() < 2.0**-24


@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=50))
def test_sound_is_rounded_to_the_nearest_of_sixteen_bits(values: list[float]) -> None:
    samples, beyond = convert_to_int16(torch.tensor(values))

    scaled = np.round(np.array(values) * 32768)
    assert samples.tolist() == np.clip(scaled, -32768, 32767).astype(int).tolist()
    assert beyond == int((np.abs(scaled) > 32768).sum())
    assert torch.equal(convert_to_int16(convert_to_float(samples))[0], samples)


def test_a_wav_is_stored_sample_by_sample(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).integers(-32768, 32768, 20000).astype(np.int16)

    stored = made(Clip(None, write_sound(tmp_path / "a.wav", wave)), tmp_path).tensors["audio"]

    assert np.array_equal(stored.numpy(), wave)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_sound_of_another_rate_is_the_same_tone(rate: int, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(1.5, rate=rate), rate=rate)

    stored = convert_to_float(made(Clip(None, sound), tmp_path).tensors["audio"]).numpy()

    assert len(stored) == 24000
    assert np.abs(stored - tone(1.5))[200:-200].max() < 2e-3


def test_sound_that_begins_later_or_earlier_is_put_where_it_belongs() -> None:
    wave = torch.arange(1.0, 9.0)

    assert align(wave, 0.2, 10).tolist() == [0, 0, *range(1, 9)]
    assert align(wave, -0.3, 10).tolist() == [*range(4, 9)]
    assert align(wave, 0.0, 10).tolist() == wave.tolist()
    assert not len(align(wave, -3.0, 10))


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_sound_and_picture_of_a_film_stay_together(late: float, tmp_path: Path) -> None:
    wave = tone(1.5)
    wave[:8000] = 0  # the tone begins at half a second
    film = write_film(tmp_path / "a.mp4", steps(20), wave=wave, sound_late=late)

    stored = convert_to_float(made(Clip(film), tmp_path).tensors["audio"]).numpy()

    begins = int(np.flatnonzero(np.abs(stored) > 0.1)[0]) / 16000
    assert begins == pytest.approx(0.5 + late, abs=0.07)  # a block of the codec


def test_a_film_in_a_zip_file_is_prepared_like_any_other(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(), wave=tone(1.2))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.write(film, "Actor_01/a.mp4")

    plain = made(Clip(film), tmp_path)
    member = made(Clip(tmp_path / "x.zip" / "Actor_01" / "a.mp4"), tmp_path)

    assert {name: values.tolist() for name, values in member.tensors.items()} == {
        name: values.tolist() for name, values in plain.tensors.items()
    }
    assert member.departures == plain.departures


def test_a_film_that_turns_on_the_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "_build_graph", lambda self, frame: None)
    monkeypatch.setattr(Reader, "_convert", lambda self, frame: frame)
    monkeypatch.setattr(Reader, "_read_pixels", lambda self, frame: ())
    lying = {"DISPLAYMATRIX": struct.pack("=9i", 0, 1, 0, -1, 0, 0, 0, 0, 1)}
    upright = SimpleNamespace(width=8, height=6, format=SimpleNamespace(name="yuv420p"), side_data={})
    read = Reader("grey")
    read(upright)
    read(upright)
    with pytest.raises(DataError, match="its picture is turned or mirrored on the way"):
        read(SimpleNamespace(**{**vars(upright), "side_data": lying}))
