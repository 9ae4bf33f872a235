"""A run is gone on with by its own recipe alone: another network or other labels are refused with what differs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_runs import recipe

from fusionkit.training import train
from fusionkit.training.loop import _Fit

Refused = Callable[..., str]


class Stopped(BaseException):
    """Stands for a process that is gone."""


def begin(options: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Trains until the second checkpoint is written; gives the files of the run."""
    save, saves = _Fit._save, itertools.count(1)

    def stop(fit: _Fit) -> None:
        save(fit)
        if next(saves) == 2:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(_Fit, "_save", stop)
        with pytest.raises(Stopped):
            train(options, out, accelerator="cpu")
    return files_of(out)


def files_of(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.iterdir() if file.is_file() and file.name != ".lock"}


CLASSES = ["class_0", "class_1", "class_2", "class_3"]
WITH_CLASSES = recipe(
    data={"dataset": {**recipe()["data"]["dataset"], "classes": CLASSES}},
    model={"targets": {"label": {"type": "classification", "classes": CLASSES}}},
    checkpoint_seconds=0.0,
)

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "a modality less": ({"modalities": {"motion": {"encoder": "mlp"}}}, "model.modalities.posture"),
    "a modality more": (
        {"modalities": {**WITH_CLASSES["model"]["modalities"], "gaze": {"shape": [2]}}},
        "model.modalities.gaze",
    ),
    "classes in another order": (
        {"targets": {"label": {"type": "classification", "classes": CLASSES[::-1]}}},
        "model.targets.label.classes",
    ),
    "a class less": (
        {"targets": {"label": {"type": "classification", "classes": CLASSES[:3]}}},
        "label: 'class_3' is none of the 3 classes",
    ),
    "another kind of target": ({"targets": {"label": "ordinal"}}, "model.targets.label.type"),
    "another encoder": (
        {"modalities": {**WITH_CLASSES["model"]["modalities"], "motion": {"encoder": "conv1d"}}},
        "model.modalities.motion.encoder",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_checkpoint_of_another_recipe_is_refused_with_the_keys_that_differ(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    run, file = tmp_path / "run", tmp_path / "recipe.json"
    before = begin(WITH_CLASSES, run, monkeypatch)
    model, key = CHANGES[change]
    file.write_text(json.dumps({**WITH_CLASSES, "model": {**WITH_CLASSES["model"], **model}}))

    said = refused("train", file, "--out", run)

    assert key in said
    assert files_of(run) == before


def table(file: Path, label: Callable[[int], str]) -> Mapping[str, Any]:
    """A recipe of a table of eight rows with such labels."""
    rows = [f"{index},g{index % 4},{index / 8},{label(index)}" for index in range(8)]
    file.write_text("\n".join(["id,group,left,label", *rows]))
    dataset = {"type": "manifest", "path": str(file), "group": "group", "id": "id", "targets": ["label"]}
    dataset["modalities"] = {"motion": ["left"]}
    model = {"modalities": {"motion": {"encoder": "mlp"}}}
    made: Mapping[str, Any] = recipe(data={"dataset": dataset, "batch_size": 2}, model=model, checkpoint_seconds=0.0)
    return made


@pytest.mark.parametrize("labels", ["abc", "xy", "ba"], ids=["a class more", "other names", "exchanged"])
def test_labels_of_a_table_that_changed_while_a_training_was_stopped_are_refused(
    labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    run, file = tmp_path / "run", tmp_path / "recipe.json"
    file.write_text(json.dumps(table(tmp_path / "rows.csv", lambda index: "ab"[index % 2])))
    before = begin(json.loads(file.read_text()), run, monkeypatch)
    table(tmp_path / "rows.csv", lambda index: labels[index % len(labels)])

    said = refused("train", file, "--out", run)

    assert str(run) in said
    assert files_of(run) == before
