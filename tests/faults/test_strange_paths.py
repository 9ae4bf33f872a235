"""Names of any letters lead nowhere but to their own file, and what leads elsewhere is read or refused as one said."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import recipe
from written_films import Films, spec_for, tone, write_sound

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.films import PreparedDataset, prepare
from fusionkit.data.readers.archives import open_member
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip

IDS = (
    *("../../out", "/etc/passwd", "a/b", "A", "a", "\u00e9\u4e2d\U0001f600", "line\nbreak", "n" * 3000, "con", ""),
    *("name.safetensors", "manifest.json", ".hidden", "..", "tab\there", "'; rm -rf /", "\x00", "$HOME", "~"),
)
"""Names of clips; some are the same where letters have no case, or name files of other kinds."""


def test_clips_of_any_names_are_prepared_into_the_cache_alone_and_apart(tmp_path: Path) -> None:
    clips = {
        name: Clip(None, write_sound(tmp_path / f"{number}.wav", tone(0.1 + number / 100)))
        for number, name in enumerate(IDS)
    }
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}

    done = prepare(Films(clips), spec_for(tmp_path / "cache"), kind="films", processes=1)

    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    files = list((tmp_path / "cache").rglob("*.safetensors"))
    assert len({path.name.lower() for path in files}) == len(IDS)
    assert all(path.resolve().is_relative_to(done.folder.resolve()) for path in files)
    prepared = PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films")
    lengths = [len(prepared.load(index)["audio"]) for index in range(len(IDS))]
    assert lengths == [round(16000 * (0.1 + number / 100)) for number in range(len(IDS))]


def manifest(folder: Path, *names: str) -> Path:
    """A table of arrays of such names, one a row."""
    file = folder / "table.jsonl"
    file.write_text("\n".join(json.dumps({"x": name, "label": "ab"[n % 2]}) for n, name in enumerate(names)))
    return file


@pytest.mark.parametrize("name", ["line\nbreak.npy", "\u00e9\u4e2d\U0001f600.npy", "$HOME.npy", "~.npy", "a b'\".npy"])
def test_a_file_of_a_table_may_have_any_name(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / name, np.ones((2, 3), np.float32))

    dataset = DATASETS.build("manifest", path=str(manifest(tmp_path, name)), modalities={"x": "x"}, targets=["label"])

    assert dataset.load(0)["x"].shape == (2, 3)


@pytest.mark.parametrize("name", ["n" * 300, "a/" * 3000, "gone.npy", "../gone.npy", "nul\x00.npy", "table.jsonl", "."])
def test_a_name_that_leads_to_no_array_is_refused_with_its_row(
    name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    dataset = {"type": "manifest", "path": str(manifest(tmp_path, name)), "modalities": {"x": "x"}}
    options = recipe(
        data={"dataset": {**dataset, "targets": ["label"]}, "cache": False},
        model={"modalities": {"x": {"encoder": "mlp"}}},
    )
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    said = refused("check", tmp_path / "recipe.json")

    assert "table.jsonl, line 1" in said
    assert len(said) < 5000


def test_a_link_is_read_as_what_it_leads_to_and_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "elsewhere" / "a.npy", np.ones((2, 3), np.float32))
    (tmp_path / "data" / "link.npy").symlink_to("../elsewhere/a.npy")
    (tmp_path / "data" / "circle.npy").symlink_to("circle.npy")

    table = manifest(tmp_path / "data", "link.npy")
    dataset = DATASETS.build("manifest", path=str(table), modalities={"x": "x"}, targets=["label"])
    assert dataset.load(0)["x"].shape == (2, 3)
    table = manifest(tmp_path / "data", "circle.npy")
    with pytest.raises(DataError, match=r"circle\.npy"):
        DATASETS.build("manifest", path=str(table), modalities={"x": "x"}, targets=["label"])


@pytest.mark.parametrize("name", ["n" * 300 + ".wav", "a/" * 3000 + "b.wav", "nul\x00.wav", "circle.wav"])
def test_a_sound_that_no_name_can_lead_to_is_dropped_by_name_and_the_others_are_prepared(
    name: str, tmp_path: Path
) -> None:
    write_sound(tmp_path / "good.wav", tone(1.2))
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    table = manifest(tmp_path, "good.wav", name)

    dataset = DATASETS.build("manifest", path=str(table), sound="x", targets=["label"])
    done = prepare(dataset, spec_for(tmp_path / "cache"), kind="manifest", processes=1)

    assert [record.status for record in done.records.values()] == ["prepared", "dropped"]
    assert "1 of 2" in "".join(dataset.notes)


def test_members_of_one_name_but_for_its_case_stay_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("clip.wav", b"small")
        archive.writestr("Clip.wav", b"large")
    found = {}
    for name in ("clip.wav", "Clip.wav"):
        with open_member(tmp_path / "a.zip" / name) as member:
            found[name] = member.read()

    assert found == {"clip.wav": b"small", "Clip.wav": b"large"}
