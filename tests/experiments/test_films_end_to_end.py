"""The recipes of RAVDESS and CREMA-D, from films of their layouts to results beside the paper's and a page."""

from __future__ import annotations

from pathlib import Path

from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.experiments import open_experiment
from fusionkit.rendering import FilmSettings, render_crema_d, render_ravdess
from fusionkit.report.pages.experiment import write_report

SETTINGS = FilmSettings(size=(64, 64), frame_rate=12, seconds=1.1, sound_rate=16000)
SMALL = (
    "data.prepare.frame_rate=12.0",
    "data.prepare.face.size=16",
    "data.prepare.face.detector=center",
    "data.workers=0",
    "model.modalities.video.shape=[1, 16, 16]",
    "model.modalities.video.encoder={type: conv2d, channels: [4]}",
    "model.modalities.video.aggregator={type: lstm, hidden: 4}",
    "model.modalities.audio.encoder.1={type: conv2d, channels: [4], pooling: stride}",
    "model.modalities.audio.aggregator={type: lstm, hidden: 4}",
    "train.epochs=1",
    "train.inner_fraction=0.4",
    "folds=[0]",
)
"""What makes the paper's recipes small; everything else of them stays as it is."""


def overrides(root: Path, cache: Path, *more: str) -> tuple[str, ...]:
    return (f"data.dataset.root={root}", f"data.prepare.cache={cache}", *SMALL, *more)


def test_the_ravdess_table_runs_from_films_to_a_page_and_again_without_doing_anything_twice(tmp_path: Path) -> None:
    films = tmp_path / "RAVDESS"
    render_ravdess(
        films, actors=range(1, 7), emotions=("happy", "sad"), intensities=(1,), repetitions=(1,), settings=SETTINGS
    )
    given = overrides(films, tmp_path / "cache")
    out = tmp_path / "out"

    results = open_experiment(find_recipe("aver/ravdess_table_2"), out, given).run(processes=1).plain()

    assert not results["failures"]
    assert [fold["name"] for fold in results["folds"]] == ["A1,2"]
    assert {row["variant"] for row in results["rows"]} >= {"AM", "VM", "late fusion", "N0", "N1", "N2", "ensemble"}
    assert all(row["samples"] == 8 for row in results["rows"])
    assert "inner groups" in results["selection"]
    page = write_report(out).html.read_text()
    assert "91.47" in page or "91.5" in page
    clips = sorted((tmp_path / "cache").rglob("*.safetensors"))
    made = {path: path.stat().st_mtime_ns for path in [*clips, *out.rglob("weights.safetensors")]}
    assert len(clips) == 24

    again = open_experiment(find_recipe("aver/ravdess_table_2"), out, given).run(processes=1).plain()

    assert again["rows"] == results["rows"]
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_the_crema_d_table_runs_on_films_of_its_layout(tmp_path: Path) -> None:
    films = tmp_path / "CREMA-D"
    render_crema_d(films, actors=range(1001, 1009), emotions=("HAP", "SAD"), sentences=("IEO",), settings=SETTINGS)

    given = overrides(films, tmp_path / "cache", "data.folds.folds=2")
    results = open_experiment(find_recipe("aver/crema_d_table_3"), tmp_path / "out", given).run(processes=1).plain()

    assert not results["failures"]
    assert [fold["name"] for fold in results["folds"]] == ["S1"]
    assert {row["variant"] for row in results["rows"]} >= {"late fusion", "N0", "N1", "N2", "ensemble"}
    assert (tmp_path / "out" / "results.json").is_file()
