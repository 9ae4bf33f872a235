"""The demonstration: one command from nothing to a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusionkit.cli import main
from fusionkit.rendering.layouts import RenderedFolder


def demonstrate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    return ended.value.code, *capsys.readouterr()


def test_a_wrong_change_to_the_recipe_is_refused_before_any_film_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = demonstrate(capsys, "--out", str(tmp_path / "demo"), "train.epoch=1")

    assert code == 2
    assert "train.epoch: unknown key; did you mean 'epochs'?" in said
    assert not (tmp_path / "demo").exists()


def test_a_sheet_that_cannot_be_written_ends_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films.png").mkdir()
    monkeypatch.setattr("fusionkit.rendering.render_ravdess", lambda root, **settings: RenderedFolder(root, (), 0))

    code, _, said = demonstrate(capsys, "--out", str(tmp_path))

    assert code == 2
    assert "films.png: cannot be written (Is a directory)" in said


@pytest.mark.slow
def test_the_demonstration_renders_prepares_learns_and_ends_with_the_page_to_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    code, said, _ = demonstrate(capsys, "--out", str(out), "--actors", "3", "train.epochs=1")

    assert code in (0, None)
    assert said.splitlines()[-1] == f"Open this page: {out / 'report.html'}"
    assert (out / "films.png").is_file()
    assert len(list((out / "films").rglob("*.mp4"))) == 90
    results = json.loads((out / "results.json").read_text())
    trained = ["AM", "VM", "late fusion", "N0", "N1", "N2"]
    assert list(results["summary"]) == ["ensemble", *trained, "ensemble (log)", "constant"]
    assert [fold["name"] for fold in results["folds"]] == ["A1,2", "A3"]

    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".mp4", ".safetensors")}
    code, said, _ = demonstrate(capsys, "--out", str(out), "--actors", "3", "train.epochs=1")
    assert code in (0, None)
    assert "Every run is finished" in said
    assert written == {path: path.stat().st_mtime_ns for path in written}
