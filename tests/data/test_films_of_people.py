"""Films of real people from a table to crops: every film whole, every face found, every crop steady."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fusionkit.config.components.registry import DATASETS, DETECTORS
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films import Preparation, PreparedDataset, prepare

FRAMES, FRAME_RATE, SIZE = 75, 25.0, 112


@pytest.fixture(scope="module")
def prepared(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Preparation, PreparedDataset]:
    """The talking faces of GRID, listed in a table and prepared as they are by default."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install fusionkit-multimodal[faces]")
    films = sorted((real_data / "grid").glob("*.mpg"))
    if not films:
        pytest.skip(f"{real_data} holds no grid/*.mpg")
    folder = tmp_path_factory.mktemp("grid")
    table = folder / "films.csv"
    table.write_text("name,film\n" + "".join(f"{film.stem},{film}\n" for film in films))
    dataset = DATASETS.build("manifest", path=str(table), film="film", id="name")
    spec = PrepareSpec(cache=str(folder / "cache"), frame_rate=FRAME_RATE)
    done = prepare(dataset, spec, kind="manifest", processes=1)
    clips = PreparedDataset(dataset, spec, kind="manifest")
    if sheet := os.environ.get("FUSIONKIT_CONTACT_SHEET"):
        write_sheet(clips, Path(sheet))
    return done, clips


def write_sheet(clips: PreparedDataset, path: Path) -> None:
    """Six crops of every film, a row each, for eyes to judge."""
    from PIL import Image

    rows = [torch.cat(list(clips.load(index)["video"][::14]), dim=2) for index in range(len(clips.rows))]
    Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).contiguous().numpy()).save(path)


@pytest.mark.data
@pytest.mark.slow
def test_every_film_has_all_its_frames_its_sound_and_a_face_throughout(
    prepared: tuple[Preparation, PreparedDataset],
) -> None:
    done, clips = prepared
    assert len(done.records) == len(clips.rows) == 6
    for record in done.records.values():
        assert record.status == "prepared", record
        assert record.lengths["video"] == FRAMES, record.id
        assert record.lengths["audio"] == pytest.approx(FRAMES / FRAME_RATE * 16000, abs=1600), record.id
        assert not [departure for departure in record.departures if departure.kind == "faces"], record


@pytest.mark.data
@pytest.mark.slow
def test_crops_of_real_faces_hold_the_whole_face_in_their_middle(prepared: tuple[Preparation, PreparedDataset]) -> None:
    _, clips = prepared
    detector = DETECTORS.build("dlib_hog", upsample=1)
    for index, row in enumerate(clips.rows):
        video = clips.load(index)["video"]
        assert video.shape == (FRAMES, 3, SIZE, SIZE)
        for crop in video[::37]:
            (face,) = detector.detect(crop.permute(1, 2, 0).contiguous())
            assert abs((face.left + face.right) / 2 - SIZE / 2) < SIZE / 10, row.id
            assert abs((face.top + face.bottom) / 2 - SIZE / 2) < SIZE / 10, row.id
            assert min(face.left, face.top, SIZE - face.right, SIZE - face.bottom) > 0, row.id
            assert 0.55 < (face.right - face.left) / SIZE < 0.9, row.id  # 1 / (1 + 2 margins) is 0.71


@pytest.mark.data
@pytest.mark.slow
def test_crops_of_real_faces_are_steady(prepared: tuple[Preparation, PreparedDataset]) -> None:
    _, clips = prepared
    for index, row in enumerate(clips.rows):
        video = clips.load(index)["video"].float()
        change = (video[1:] - video[:-1]).abs().mean(dim=(1, 2, 3))
        by_two_pixels = (video - video.roll(2, dims=3))[..., 2:].abs().mean()
        assert float(change.max()) < float(by_two_pixels), row.id
