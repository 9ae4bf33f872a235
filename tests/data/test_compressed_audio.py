"""Compressed sound, and VoxCeleb, which is distributed as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from written_sounds import RATE, encode, level_at, sine

from fusionkit.config.components.registry import DATASETS, FOLDS
from fusionkit.data.datasets.voxceleb import VoxCeleb
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import read_audio, read_header
from fusionkit.data.splits import check_split
from fusionkit.errors import DataError
from fusionkit.testing import check_dataset


@pytest.mark.parametrize("suffix", [".m4a", ".aac", ".mp3", ".ogg", ".opus"])
def test_compressed_sound_is_the_wave_that_was_encoded(tmp_path: Path, suffix: str) -> None:
    file = encode(tmp_path / f"tone{suffix}", sine(1.0)[None])
    wave = read_audio(file, rate=16_000)
    assert wave.ndim == 1
    assert abs(len(wave) - 16_000) < 0.1 * 16_000
    assert level_at(wave[2000:14_000].double(), 440.0, 16_000) == pytest.approx(0.5, rel=0.05)
    header = read_header(file)
    assert (header.rate, header.channels, header.count_samples(16_000)) == (RATE, 1, len(wave))


def test_the_channels_of_compressed_sound_are_averaged_not_mixed_louder(tmp_path: Path) -> None:
    file = encode(tmp_path / "stereo.m4a", np.stack([sine(1.0), 0 * sine(1.0)]))
    assert level_at(read_audio(file)[4800:43_200].double(), 440.0, RATE) == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".m4a", {"movflags": "faststart"}), (".mp3", {}), (".ogg", {}), (".opus", {})]
)
def test_compressed_sound_that_was_cut_short_is_refused(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 2 * RATE)).astype(np.float32)
    file = encode(tmp_path / f"noise{suffix}", noise, **options)
    read_audio(file)
    content = file.read_bytes()
    for share in (0.5, 0.9):
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=r"that its header promises|lacks its last page|cannot be"):
            read_audio(file)


def test_what_is_no_sound_is_refused_with_its_name(tmp_path: Path) -> None:
    for name, content in (("text.m4a", b"no sound at all"), ("empty.mp3", b""), ("text.opus", b"no sound")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: cannot be read as a film or sound"):
            read_audio(tmp_path / name)
    with pytest.raises(DataError, match=r"none.m4a: no such file"):
        read_audio(tmp_path / "none.m4a")


def test_a_list_of_other_files_is_no_sound(tmp_path: Path) -> None:
    encode(tmp_path / "tone.m4a", sine(1.0)[None])
    (tmp_path / "list.m4a").write_text("ffconcat version 1.0\nfile tone.m4a\n")
    with pytest.raises(DataError, match=r"list\.m4a: cannot be read as a film or sound"):
        read_audio(tmp_path / "list.m4a")


def test_a_manifest_may_name_compressed_sound(tmp_path: Path) -> None:
    file = encode(tmp_path / "tone.m4a", sine(0.5)[None])
    options = ReadOptions(sample_rate=8000)
    values = read_media(file, options)
    assert describe_media(file, options).length == len(values)


SPEAKERS = {"id10001": ("aVideo", "bVideo"), "id10002": ("cVideo", "dVideo", "eVideo"), "id10003": ("fVideo",)}


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    for speaker, videos in SPEAKERS.items():
        for video in videos:
            folder = tmp_path / "wav" / speaker / video
            folder.mkdir(parents=True)
            soundfile.write(folder / "00001.wav", sine(0.02)[::3], 16_000)
            encode(folder / "00002.m4a", sine(0.1)[None])
    return tmp_path


def test_voxceleb_tells_speakers_and_keeps_a_video_on_one_side(voices: Path) -> None:
    data = VoxCeleb(root=str(voices))
    assert data.classes == {"speaker": ("id10001", "id10002")}
    assert [(row.id, row.group, row.targets["speaker"]) for row in data.rows[:3]] == [
        ("id10001/aVideo/00001", "id10001/aVideo", "id10001"),
        ("id10001/aVideo/00002", "id10001/aVideo", "id10001"),
        ("id10001/bVideo/00001", "id10001/bVideo", "id10001"),
    ]
    for fold in FOLDS.build("holdout", test=0.4).split(data.rows):
        assert check_split(fold, data.rows) == "group-independent"
    check_dataset(DATASETS.get("voxceleb").cls, {"root": str(voices), "sample_rate": 8000}, samples=10)


def test_speakers_of_one_video_are_kept_where_asked_for(voices: Path) -> None:
    assert VoxCeleb(root=str(voices), least_videos=1).classes["speaker"] == ("id10001", "id10002", "id10003")
    with pytest.raises(DataError, match="1 of 3 speakers have 3 videos or more; two at least"):
        VoxCeleb(root=str(voices), least_videos=3)


def test_voxceleb_says_what_lies_elsewhere_stands_twice_or_is_missing(voices: Path, tmp_path: Path) -> None:
    (voices / "stray.wav").write_bytes(b"")
    soundfile.write(voices / "wav" / "id10001" / "aVideo" / "00001.flac", sine(0.01), 16_000)
    with pytest.raises(DataError) as caught:
        VoxCeleb(root=str(voices))
    assert "1 sound files are no id10001/VIDEO/00001.wav, such as stray.wav" in str(caught.value)
    assert "is the same utterance as wav/id10001/aVideo/00001.flac; remove one of them" in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        VoxCeleb(root=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sound files"):
        VoxCeleb(root=str(tmp_path / "empty"))


def test_a_damaged_utterance_is_told_with_its_place(voices: Path) -> None:
    file = voices / "wav" / "id10002" / "cVideo" / "00002.m4a"
    file.write_bytes(file.read_bytes()[:100])
    data = VoxCeleb(root=str(voices))
    index = [row.id for row in data.rows].index("id10002/cVideo/00002")
    with pytest.raises(DataError, match=r"wav/id10002/cVideo/00002.m4a: audio: .*cannot be read as a film or sound"):
        data.load(index)
