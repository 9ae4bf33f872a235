"""Films and sounds that were cut off, or are of an odd kind, are told by name or prepared as they are."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from written_films import WIDTH, Films, cut_short, made, spec_for, tone, write_film

from fusionkit import build
from fusionkit.data.films import PreparedDataset, prepare
from fusionkit.data.films.sounds import convert_to_float
from fusionkit.data.readers.media import ReadOptions, read_media
from fusionkit.data.readers.sound.tracks import SoundTrack
from fusionkit.errors import DataError
from fusionkit.interfaces import Box, Clip, FaceDetector

NOISE = [np.random.default_rng(i).integers(0, 255, (48, WIDTH, 3), dtype=np.uint8) for i in range(30)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    ("name", "codecs", "movflags"),
    [
        ("a.mkv", ("libx264", "aac"), ""),
        ("a.webm", ("libvpx", "libopus"), ""),
        ("a.mp4", ("libx264", "aac"), "faststart"),
        ("a.mp4", ("libx264", "aac"), ""),
        ("a.mov", ("libx264", "aac"), "faststart"),
    ],
)
def test_a_film_that_ends_too_early_is_told_by_name_wherever_it_ends(
    name: str, codecs: tuple[str, str], movflags: str, share: float, tmp_path: Path
) -> None:
    options = {"movflags": movflags} if movflags else {}
    film = write_film(tmp_path / name, NOISE, wave=tone(3), codec=codecs[0], sound_codec=codecs[1], **options)
    assert made(Clip(film), tmp_path).status == "prepared"

    outcome = made(Clip(cut_short(film, share)), tmp_path, incomplete="fail", damaged="fail")

    assert outcome.status == "failed"
    assert f"film {name} " in outcome.reason


@pytest.mark.parametrize("seed", range(5))
def test_a_film_of_400_flipped_bytes_is_prepared_or_told_by_name(seed: int, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", NOISE, wave=tone(3))
    damaged = bytearray(film.read_bytes())
    for place in np.random.default_rng(seed).choice(len(damaged), 400, replace=False):
        damaged[place] ^= 0xFF
    film.write_bytes(damaged)

    outcome = made(Clip(film), tmp_path)

    assert outcome.status == "prepared" or "film a.mp4 " in outcome.reason


def wav(wave: np.ndarray, rate: int = 16000) -> bytes:
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    data = (wave * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    riff, data_size = struct.pack("<I", 36 + len(data)), struct.pack("<I", len(data))
    return b"".join((b"RIFF", riff, b"WAVEfmt ", struct.pack("<I", 16), form, b"data", data_size, data))


def test_a_wav_that_ends_anywhere_in_its_header_or_its_sound_is_refused_by_name(tmp_path: Path) -> None:
    whole, file = wav(tone(0.01)), tmp_path / "a.wav"
    file.write_bytes(whole)
    assert len(read_media(file, ReadOptions())) == 160
    for length in (*range(1, 44), 45, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.wav: "):
            read_media(file, ReadOptions())


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_sound_of_any_rate_from_mono_to_5_1_is_the_tone_that_it_holds(
    rate: int, channels: int, tmp_path: Path
) -> None:
    wave = tone(2, rate=rate)
    soundfile.write(tmp_path / "a.wav", np.stack([wave] * channels, axis=1), rate)

    stored = convert_to_float(made(Clip(None, tmp_path / "a.wav"), tmp_path).tensors["audio"]).numpy()

    assert len(stored) == 32000
    assert np.abs(stored - tone(2))[200:-200].max() < 2e-3


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
def test_the_sound_of_a_film_is_the_mean_of_its_speakers(layout: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout=layout)
        channels = len(stream.codec_context.layout.channels)
        values = (np.outer(tone(1.5), np.arange(channels) + 1) / channels * 32767).astype("i2")
        frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    stored = convert_to_float(made(Clip(None, tmp_path / "a.mkv"), tmp_path).tensors["audio"]).numpy()

    assert np.abs(stored - values.mean(axis=1) / 32768).max() < 2e-4


@pytest.mark.parametrize("layout", ["5.1", "7.1", "hexadecagonal"])
def test_sound_whose_channels_are_stored_apart_is_their_mean_whatever_their_number(layout: str) -> None:
    """PyAV tells of one plane too many where there are eight, as in AAC of 7.1, and that one is no memory of ours."""
    count = av.AudioLayout(layout).nb_channels
    values = np.random.default_rng(0).uniform(-1, 1, (count, 1024)).astype(np.float32)
    frame, track = av.AudioFrame(format="fltp", layout=layout, samples=1024), SoundTrack()
    for plane, channel in zip(frame.planes[:count], values, strict=True):
        plane.update(channel)
    frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)

    track.add(frame)

    assert np.abs(track.finish().numpy() - values.mean(axis=0)).max() < 1e-6


def test_the_padding_of_a_codec_adds_no_sound_that_a_film_does_not_show(tmp_path: Path) -> None:
    """AAC decodes to whole blocks, with one of silence before them: 26,624 samples of 24,000."""
    film = write_film(tmp_path / "a.mp4", NOISE[:15], wave=tone(1.5))

    outcome = made(Clip(film), tmp_path)

    assert 24000 <= len(outcome.tensors["audio"]) < 24000 + 1024
    stored = convert_to_float(outcome.tensors["audio"]).numpy()[2000:22000]
    assert np.corrcoef(stored, tone(1.5)[2000:22000])[0, 1] > 0.99


@pytest.mark.parametrize(("width", "height"), [(63, 47), (16, 130), (2, 2), (130, 18)])
def test_a_film_of_odd_width_and_height_gives_square_crops_of_its_colour(
    width: int, height: int, tmp_path: Path
) -> None:
    images = [np.full((height, width, 3), 120, np.uint8)] * 4
    film = write_film(tmp_path / "a.avi", images, codec="mpeg4" if width > 2 else "rawvideo")

    crops = made(Clip(film), tmp_path).tensors["video"]

    assert crops.shape[0] == 4
    assert crops.shape[2] == crops.shape[3]
    assert (crops.float() - 120).abs().max() < 6


class Raises(FaceDetector):
    """Fails on the images of one brightness."""

    def detect(self, image: torch.Tensor) -> tuple[Box, ...]:
        if image.float().mean() > 200:
            raise RuntimeError("the network of the detector is broken")
        return (Box(0.0, 0.0, 16.0, 16.0),)


def test_a_detector_that_raises_fails_its_clip_alone_and_is_told_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusionkit.data.films.preparation._load_detector", lambda *_: Raises())
    clips = {
        name: Clip(write_film(tmp_path / f"{name}.mp4", [np.full((48, 64, 3), grey, np.uint8)] * 4))
        for name, grey in (("dark", 60), ("bright", 240), ("darker", 30))
    }

    done = prepare(Films(clips), spec_for(tmp_path / "cache"), kind="films", processes=1)

    assert {name: record.status for name, record in done.records.items()} == {
        "dark": "prepared",
        "bright": "failed",
        "darker": "prepared",
    }
    assert "the network of the detector is broken" in done.records["bright"].reason
    with pytest.raises(DataError, match=r"bright: .*the network of the detector is broken"):
        PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films").require_prepared()


def test_where_every_clip_was_dropped_nothing_is_trained_and_the_report_is_named(tmp_path: Path) -> None:
    clips = {name: Clip(tmp_path / f"{name}.mp4") for name in ("a", "b")}
    for clip in clips.values():
        assert clip.film is not None
        clip.film.write_bytes(np.random.default_rng(0).bytes(2000))

    done = prepare(Films(clips), spec_for(tmp_path / "cache"), kind="films", processes=1)

    assert [record.status for record in done.records.values()] == ["dropped", "dropped"]
    with pytest.raises(DataError, match="no clip is left: every one was dropped in preparation") as error:
        PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films").require_prepared()
    assert str(done.report) in str(error.value)
    assert "2" in done.report.read_text()


SHORT = {"silence": 0 * tone(0.1), "a constant": 0 * tone(0.1) + 0.5, "one sample": tone(0.1)[:1]}


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("encoder", ["spectrogram", "log_mel"])
def test_silence_and_sound_of_a_sample_have_finite_features(kind: str, encoder: str) -> None:
    if encoder == "log_mel":
        pytest.importorskip("torchaudio")
    columns = {"type": encoder, "segment_seconds": None} if encoder == "spectrogram" else encoder
    modalities = {"audio": {"shape": [], "encoder": columns, "aggregator": "mean"}}
    targets = {"age": {"type": "regression"}}
    network = build({"modalities": modalities, "targets": targets}).eval()

    output = network({"audio": torch.from_numpy(SHORT[kind])[None]})

    assert output.features["audio"].isfinite().all()
    assert output.fused["age"].isfinite().all()
