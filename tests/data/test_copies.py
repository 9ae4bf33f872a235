"""What samples lack, and what both sides of a split share, is told by name and count, or refused."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fusionkit.cli import main
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.duplicates import find_copies
from fusionkit.errors import DataError
from fusionkit.evaluation import evaluate
from fusionkit.experiments import open_experiment
from fusionkit.interfaces import Split
from fusionkit.report.pages.experiment import write_report
from fusionkit.training import train

GIVEN = {"sound": "sound", "motion": {"column": "motion", "rate": 50.0}, "x": ["x"]}
ENCODERS = {
    "sound": {"encoder": {"type": "conv1d", "channels": [2]}},
    "motion": {"encoder": "mlp"},
    "x": {"encoder": "mlp"},
}


def recipe(folder: Path, lines: list[str], *, modalities: str = "sound motion x", **data: Any) -> dict[str, Any]:
    """A recipe of a table with the columns sound, motion, x, label, who and part."""
    (folder / "t.csv").write_text("\n".join(["sound,motion,x,label,who,part", *lines]) + "\n")
    names = modalities.split()
    dataset = {
        "type": "manifest",
        "path": str(folder / "t.csv"),
        "modalities": {name: GIVEN[name] for name in names},
        "targets": ["label"],
        "group": "who",
        "part": "part",
    }
    return {
        "schema": 1,
        "data": {"dataset": dataset, "folds": "given", "batch_size": 4, **data},
        "model": {
            "modalities": {name: ENCODERS[name] for name in names},
            "targets": {"label": {"type": "classification", "classes": ["a", "b"]}},
        },
        "train": {"epochs": 1},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for index in range(8):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * draw.standard_normal(40), 8000)
        np.save(tmp_path / f"{index}.npy", draw.standard_normal((3, 2)))
    whole = (tmp_path / "0.wav").read_bytes()
    (tmp_path / "header.wav").write_bytes(whole[:40] + struct.pack("<I", 0))
    np.save(tmp_path / "none.npy", np.empty((0, 2)))
    return tmp_path


def rows(*cells: str) -> list[str]:
    """Rows of four groups; the last is the test part: sound, motion and x of each as given."""
    return [
        f"{cell},{'ab'[index % 2]},g{index // 2},{'test' if index > 5 else 'train'}" for index, cell in enumerate(cells)
    ]


EMPTY = [
    "0.wav,0.npy,",
    "header.wav,1.npy,",
    "header.wav,none.npy,",
    "3.wav,3.npy,",
    "4.wav,4.npy,",
    "5.wav,5.npy,",
    "6.wav,6.npy,",
    "header.wav,7.npy,",
]


def test_empty_files_and_columns_are_told_in_check_card_and_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recipe(folder, rows(*EMPTY))
    told = [
        "Every sample lacks x: column 'x' is empty in all 8 rows of t.csv.",
        f"3 of 8 files of sound hold a header and no element: t.csv, line 3: {folder}/header.wav; "
        f"t.csv, line 4: {folder}/header.wav; t.csv, line 9: {folder}/header.wav. "
        "Their samples count as without sound.",
        f"1 of 8 files of motion hold a header and no element: t.csv, line 4: {folder}/none.npy. "
        "Their samples count as without motion.",
        "None of the 6 training samples of given has x, which 0 of its 2 test samples have. "
        "The network cannot learn what it never sees.",
    ]
    (folder / "recipe.yaml").write_text(json.dumps(given))
    with pytest.raises(SystemExit) as ended:
        main(["check", str(folder / "recipe.yaml"), "--no-timing", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["notes"] == told
    assert evaluate(train(given, folder / "run", accelerator="cpu")).plain()["notes"] == told
    experiment = {"schema": 1, "recipe": "recipe.yaml", "variants": {"joint": {}}, "seeds": [0]}
    (folder / "experiment.yaml").write_text(json.dumps(experiment))
    open_experiment(folder / "experiment.yaml", folder / "results").run()
    page = write_report(folder / "results").html.read_text()
    assert all(sentence.split(":")[0].replace("'", "&#39;") in page for sentence in told)


def assembled(folder: Path, *cells: str, **options: Any) -> Assembly:
    return assemble(load_recipe(recipe(folder, rows(*cells), **options)))


def test_a_modality_that_only_the_test_part_has_is_told_with_counts(folder: Path) -> None:
    cells = [f",{index}.npy,{index}" for index in range(6)]
    assembly = assembled(folder, *cells, "6.wav,6.npy,1", ",7.npy,2")
    assert assembly.notes == (
        "None of the 6 training samples of given has sound, which 1 of its 2 test samples have. "
        "The network cannot learn what it never sees.",
    )
    whole = [f"{index}.wav,{index}.npy,{index}" for index in range(8)]
    assert assembled(folder, *whole).notes == ()


def test_an_empty_file_is_a_missing_modality_to_the_network(folder: Path) -> None:
    assembly = assembled(folder, *EMPTY)
    batches = list(assembly.loader(assembly.train_ids, training=False))
    sizes = {name: [size for batch in batches for size in batch.inputs[name].sizes] for name in ("sound", "motion")}
    assert sizes == {"sound": [40, 0, 0, 40, 40, 40], "motion": [3, 3, 0, 3, 3, 3]}


def copied(folder: Path, how: str) -> str:
    """The name of a file that holds what 0.wav holds."""
    if how == "same":
        return "0.wav"
    name = folder / "other.wav"
    if how == "link":
        name.symlink_to(folder / "0.wav")
    elif how == "hard link":
        name.hardlink_to(folder / "0.wav")
    else:
        shutil.copy(folder / "0.wav", name)
    return "other.wav"


@pytest.mark.parametrize("how", ["same", "link", "hard link", "copy"])
def test_one_recording_in_two_groups_on_both_sides_is_refused_like_any_overlap(folder: Path, how: str) -> None:
    name = copied(folder, how)
    cells = [f"{index}.wav,{index}.npy,{index}" for index in range(7)] + [f"{name},7.npy,7"]
    other = "that" if how == "same" else f"{folder}/0.wav"
    with pytest.raises(DataError) as caught:
        assembled(folder, *cells)
    assert str(caught.value) == (
        f"fold given: 1 file of the test part is in the training part too: {folder}/{name} of 8 is {other} of 1; "
        "give samples of one recording one group, leave the copies out, or set allow_group_overlap: true, which labels "
        "every result who-dependent"
    )
    assembly = assembled(folder, *cells, allow_group_overlap=True)
    assert assembly.overlap_label == "who-dependent"
    assert assembly.notes[0].startswith("1 file of the test part is in the training part too")


@pytest.mark.parametrize("how", ["same", "copy"])
@pytest.mark.parametrize("suffix", ["wav", "npy"])
def test_a_recording_that_ends_in_silence_is_found_on_both_sides(folder: Path, how: str, suffix: str) -> None:
    spoken = np.concatenate([np.random.default_rng(0).normal(0, 0.1, (4000, 2)), np.zeros((4000, 2))])
    if suffix == "wav":
        soundfile.write(folder / "0.wav", spoken[:, 0], 8000)
    else:
        np.save(folder / "0.npy", spoken)
    other = f"0.{suffix}" if how == "same" else f"other.{suffix}"
    if how == "copy":
        shutil.copy(folder / f"0.{suffix}", folder / other)
    cells = [f"{index}.wav,{index}.npy,{index}" for index in range(7)]
    cells.append(f"{other},7.npy,7" if suffix == "wav" else f"7.wav,{other},7")
    with pytest.raises(DataError, match="1 file of the test part is in the training part too"):
        assembled(folder, *cells)


def test_a_long_file_of_one_value_tells_nothing_unless_one_number_within_differs(tmp_path: Path) -> None:
    split = Split("f", ("a",), ("b",))
    for where, copies in ((None, 0), (400_000, 1), (150_001, 1)):
        values = np.full(600_000, 0.25)
        if where is not None:
            values[where] = 0.5
        for name in "ab":
            np.save(tmp_path / f"{name}.npy", values)
        found = find_copies(split, {name: [tmp_path / f"{name}.npy"] for name in "ab"})
        assert len(found) == copies, where


def test_files_that_are_shared_on_one_side_silent_or_empty_are_no_overlap(folder: Path) -> None:
    for name in ("still.wav", "quiet.wav"):
        soundfile.write(folder / name, np.zeros(4000), 8000)
    for name in ("ones.npy", "same.npy"):
        np.save(folder / name, np.ones((90, 2)))
    cells = ["0.wav,0.npy,1", "0.wav,0.npy,1", "still.wav,ones.npy,1", "header.wav,none.npy,1", "4.wav,4.npy,1"]
    cells += ["5.wav,5.npy,1", "quiet.wav,same.npy,1", "header.wav,none.npy,1"]
    assert assembled(folder, *cells).overlap_label == "who-independent"


def test_without_groups_a_shared_file_is_told_and_not_refused(folder: Path) -> None:
    given = recipe(folder, rows(*[f"{index % 7}.wav,{index}.npy,1" for index in range(8)]))
    del given["data"]["dataset"]["group"]
    assembly = assemble(load_recipe(given))
    assert assembly.overlap_label == "no groups"
    assert assembly.notes == (
        f"1 file of the test part is in the training part too: {folder}/0.wav of 8 is that of 1.",
    )


def test_files_of_one_size_that_differ_in_one_byte_anywhere_are_no_copies(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8)
    (tmp_path / "a").write_bytes(content.tobytes())
    split = Split("f", ("a",), ("b",))
    for place in (0, 30_001, 50_000, 99_999):
        changed = content.copy()
        changed[place] ^= 1
        (tmp_path / f"b{place}").write_bytes(changed.tobytes())
        assert find_copies(split, {"a": [tmp_path / "a"], "b": [tmp_path / f"b{place}"]}) == ()
    (tmp_path / "c").write_bytes(content.tobytes())
    found = find_copies(split, {"a": [tmp_path / "a"], "b": [tmp_path / "c", tmp_path / "gone"]})
    assert found == (("a", tmp_path / "a", "b", tmp_path / "c"),)


def test_members_of_archives_with_the_same_bytes_are_copies(tmp_path: Path) -> None:
    import zipfile

    content = np.random.default_rng(0).bytes(1000)
    for name in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("film.mp4", content)
    files = {name: [tmp_path / f"{name}.zip" / "film.mp4"] for name in ("one", "two")}
    assert len(find_copies(Split("f", ("one",), ("two",)), files)) == 1
