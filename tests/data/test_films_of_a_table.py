"""A table of films: what it states, what it refuses, and that it is prepared and trained on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.components.specs import DetectorSpec
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import DataSpec, FaceSpec, PrepareSpec
from fusionkit.data.films import prepare
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip, Dataset
from fusionkit.testing import check_dataset

HEADER = "clip,picture,voice,mood,who\n"
OPTIONS = {"id": "clip", "targets": ["mood"], "group": "who"}


def table(folder: Path, body: str, **options: object) -> Dataset:
    (folder / "m.csv").write_text(HEADER + body)
    return DATASETS.build("manifest", path=str(folder / "m.csv"), **(OPTIONS | options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    for name in ("films/a.mp4", "films/b.mp4", "b.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write_film(path: Path, frames: int = 25) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for index in range(frames):
            pixels = np.full((32, 32, 3), 8 * index % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_a_row_with_a_film_becomes_a_clip_whose_paths_start_from_the_table(folder: Path) -> None:
    data = table(
        folder,
        "c1,films/a.mp4,,calm,1\nc2,films/b.mp4,b.wav,happy,2\nc3,,b.wav,calm,2\n",
        film="picture",
        sound="voice",
    )
    assert data.clips == {
        "c1": Clip(folder / "films/a.mp4", None),
        "c2": Clip(folder / "films/b.mp4", folder / "b.wav"),
        "c3": Clip(None, folder / "b.wav"),
    }
    assert [row.id for row in data.rows] == list(data.clips)
    assert data.modalities == {}
    assert data.classes == {"mood": ("calm", "happy")}
    assert data.notes == ()
    options = {"path": str(folder / "m.csv"), "film": "picture", "sound": "voice", **OPTIONS}
    check_dataset(DATASETS.get("manifest").cls, options)


def test_a_film_that_is_not_there_is_a_note_and_one_of_all_an_error(folder: Path) -> None:
    data = table(folder, "c1,films/a.mp4,,calm,1\nc2,films/gone.mp4,,calm,1\n", film="picture")
    assert data.notes == (f"1 of 2 films and sounds are not there: m.csv, line 3: {folder}/films/gone.mp4",)
    assert list(data.clips) == ["c1", "c2"]
    with pytest.raises(DataError, match=r"none of the 2 films and sounds is there, such as m.csv, line 2: .*/a.mp4; "):
        table(folder, "c1,a.mp4,,calm,1\nc2,b.mp4,,calm,1\n", film="picture")
    within = table(folder, "c1,a.mp4,,calm,1\n", film="picture", root=str(folder / "films"))
    assert within.clips["c1"].film == folder / "films" / "a.mp4"


def test_every_row_without_film_and_sound_is_reported(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(folder, "c1,,,calm,1\nc2,films/a.mp4,,calm,1\nc3,,,calm,1\n", film="picture", sound="voice")
    assert [problem.place for problem in caught.value.problems] == ["m.csv, line 2", "m.csv, line 4"]
    assert "states neither a film nor a sound; fill in 'picture' or 'voice', or leave the row out" in str(caught.value)


def test_other_modalities_cannot_be_mixed_with_films(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(folder, "c1,films/a.mp4,,calm,1\n", film="picture", modalities={"v": "voice"}, sample_rate=8000)
    said = str(caught.value)
    assert "modalities: cannot stand beside film; leave it out: clips have the modalities video and audio" in said
    assert "sample_rate: cannot stand beside film; leave it out: the sound of clips is resampled in prep" in said


def test_an_unknown_column_of_films_is_reported_with_the_closest_one(folder: Path) -> None:
    with pytest.raises(DataError, match=r"film: m.csv has no column 'pictures'; did you mean 'picture'"):
        table(folder, "c1,films/a.mp4,,calm,1\n", film="pictures")
    with pytest.raises(DataError, match=r"modalities: is empty; .* or the column of films: film: COLUMN"):
        table(folder, "c1,films/a.mp4,,calm,1\n")


def test_a_film_of_a_table_is_prepared_before_it_is_loaded(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4")
    data = table(tmp_path, "c1,a.mp4,,calm,1\nc2,gone.mp4,,calm,1\n", film="picture")
    with pytest.raises(DataError, match="is a film, which is not loaded as it is"):
        data.load(0)
    face = FaceSpec(detector=DetectorSpec(type="center"), size=16)
    spec = PrepareSpec(cache=str(tmp_path / "cache"), frame_rate=25.0, face=face)
    done = prepare(data, spec, kind="manifest", processes=1)
    assert {name: record.status for name, record in done.records.items()} == {"c1": "prepared", "c2": "dropped"}
    stated = {"type": "manifest", "path": str(tmp_path / "m.csv"), "film": "picture", **OPTIONS}
    opened = Datasets().open(DataSpec.model_validate({"dataset": stated, "prepare": spec}))
    assert [row.id for row in opened.rows] == ["c1"]
    assert opened.load(0)["video"].shape == (25, 3, 16, 16)


def test_the_recipes_of_the_page_on_films_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "films.md").read_text(encoding="utf-8")
    whole, slices = (block for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL))
    sliced = whole[: whole.index("model:")] + slices + "  targets: {mood: classification}\n"
    for recipe in (whole, sliced):
        (tmp_path / "films.yaml").write_text(recipe)
        assert list(load_recipe(tmp_path / "films.yaml").model.modalities) == ["video", "audio"]
    (listed,) = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a1.mp4").write_bytes(b"x")
    (tmp_path / "films.csv").write_text(listed)
    data = DATASETS.build("manifest", path=str(tmp_path / "films.csv"), film="film", sound="sound", id="clip")
    assert list(data.clips) == ["a1", "a2", "b1"]
