"""The pictures of a network at work are made by their script, and are small enough for a README."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from served_networks import draw_film_network

from fusionkit.errors import RunError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))  # scripts of the documentation import each other
MOST_BYTES = 250_000


def test_the_pictures_of_readme_are_there_and_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("page.png", "timeline.png"):
        assert f"docs/pictures/{name}" in readme
        assert (ROOT / "docs" / "pictures" / name).stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_the_script_draws_answers_over_time_and_shoots_the_page_without_sound(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium is installed")
    import screenshots

    settings = dataclasses.replace(screenshots.SETTINGS, seconds=1.0)
    recording = screenshots.record_film(tmp_path, ("happy", "angry"), settings)
    predictor = draw_film_network("dlib_hog", every=5)

    drawn = screenshots.draw_answers(predictor, recording.film, tmp_path / "timeline.png")
    shot = screenshots.shoot_page(predictor, recording, tmp_path / "page.png", seen=5, hidden=3)

    spans = predictor.timeline(recording.film).spans
    assert spans["audio"][-1][1] < spans["video"][-1][1] - 0.5
    assert recording.film.with_suffix(".vtt").read_text(encoding="utf-8").startswith("WEBVTT")
    for path in (drawn, shot):
        with Image.open(path) as picture:
            assert min(picture.size) > 400


def test_a_folder_without_films_is_told(tmp_path: Path) -> None:
    import screenshots

    with pytest.raises(RunError, match="holds no films; run `make demo"):
        screenshots.train_network(tmp_path, tmp_path / "run")
