"""Answers that cannot be given or are rounded, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_predictors import make_predictor
from torch import Tensor

from fusionkit import FusionKitError, Predictor
from fusionkit.inference import answer_file
from fusionkit.inference.answer_file import AnswerFile
from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.backend import TrainedBackend

MODALITIES: dict[str, Any] = {
    "motion": {"shape": [3], "encoder": "mlp", "aggregator": "mean"},
    "sound": {"shape": [2], "encoder": "mlp", "aggregator": "mean"},
}
RATES = {"motion": 10.0, "sound": 10.0}
FAR = 3e38
"""A number that overflows in the first sum of a network."""


def rows(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("target", ["classification", "regression"])
def test_a_sample_whose_answer_is_not_finite_says_so_and_the_others_are_answered(target: str, tmp_path: Path) -> None:
    targets = {"mood": {"type": target, **({"classes": ["calm", "sad"]} if target == "classification" else {})}}
    predictor = make_predictor(MODALITIES, RATES, targets=targets)
    samples = [{"motion": torch.full((4, 3), FAR), "sound": rows(4, 2)}, {"motion": rows(4, 3), "sound": rows(4, 2)}]

    far, near = predictor.predict(samples, branches=True)

    assert far.failure == "is answered by numbers that are not finite; its elements are far from those of the training"
    assert not far.targets
    assert not near.failure
    file = AnswerFile(tmp_path / "answers.csv", predictor.list_columns(branches=True), {})
    file.begin(0)
    file.append([far, near])
    assert file.finish() == 1


def test_a_branch_whose_answer_is_not_finite_is_left_out_with_a_note() -> None:
    predictor = make_predictor(MODALITIES, RATES)
    own = Predictor(predictor.backend, predictor.steps, main="sound")

    answer = own.predict({"motion": torch.full((4, 3), FAR), "sound": rows(4, 2)}, branches=True)[0]

    assert set(answer.targets) == {"mood"}
    assert not answer.branches
    assert [note.split(":")[0] for note in answer.notes] == ["fused", "motion"]


def test_probabilities_of_half_precision_add_up_to_one() -> None:
    predictor = make_predictor(MODALITIES, RATES, networks=2)
    assert predictor.recipe is not None
    backend = TrainedBackend(predictor.networks, predictor.branches, predictor.recipe, device="cpu", precision="bf16")
    rough = Predictor(backend, predictor.steps)
    sample = {"motion": rows(9, 3), "sound": rows(9, 2)}

    said = rough.predict(sample)[0].targets["mood"].probabilities

    assert sum(said.values()) == pytest.approx(1.0, abs=1e-6)
    assert said == pytest.approx(dict(predictor.predict(sample)[0].targets["mood"].probabilities), abs=0.05)
    last = rough.timeline(sample, every=0.9, window=0.9)[-1].answer.targets["mood"].probabilities
    assert sum(last.values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["id", "present", "notes", "failure", "time"])
def test_a_target_named_as_a_column_of_the_sample_loses_nothing(name: str, tmp_path: Path) -> None:
    predictor = make_predictor(MODALITIES, RATES, targets={name: {"type": "regression"}})
    sample = {"motion": rows(9, 3)}

    answers = predictor.predict(sample)

    said = answers[0].targets[name].prediction
    assert answers.rows()[0] == {"id": "0", f"{name} (target)": said, "present": "motion", "notes": "", "failure": ""}
    timeline = predictor.timeline(sample, every=0.9)
    assert timeline.rows()[-1]["time"] == 0.9
    assert timeline.rows()[-1][f"{name} (target)"] == timeline[-1].answer.targets[name].prediction
    file = AnswerFile(tmp_path / "answers.csv", answers.columns, {})
    file.begin(0)
    file.append(list(answers))
    assert file.finish() == 0


def test_a_precision_that_is_none_is_refused() -> None:
    given = make_predictor(MODALITIES, RATES)
    assert given.recipe is not None
    odd: Any = "bf61"
    with pytest.raises(FusionKitError, match="precision 'bf61': did you mean 'bf16'"):
        TrainedBackend(given.networks, given.branches, given.recipe, precision=odd)


def test_numbers_that_come_late_in_a_column_are_numbers_in_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(answer_file, "_ROWS_AT_ONCE", 2)
    file = AnswerFile(tmp_path / "answers.parquet", ["id", "age", "mood", "failure"], {})
    file.begin(0)
    file.append([Answer("a", failure="torn"), Answer("b", failure="torn")])
    file.append(
        [Answer("c", {"age": TargetAnswer(31.5), "mood": TargetAnswer(("calm", "sad"), {"calm": 0.9, "sad": 0.8})})]
    )

    assert file.finish() == 2

    assert [path.name for path in tmp_path.iterdir()] == ["answers.parquet"]
    table = parquet.read_table(tmp_path / "answers.parquet").to_pydict()
    assert table == {
        "id": ["a", "b", "c"],
        "age": [None, None, 31.5],
        "mood": [None, None, "calm;sad"],
        "failure": ["torn", "torn", ""],
    }


def test_answers_that_stand_unfinished_are_kept_line_by_line(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "answers.jsonl", ["id", "failure"], {"networks": "n"})
    file.begin(0)
    file.append([Answer("a"), Answer("b")])
    with (tmp_path / ".answers.jsonl.unfinished").open("ab") as unfinished:
        unfinished.write(b'{"id": "c", "fai')  # the process was killed here

    again = AnswerFile(tmp_path / "answers.jsonl", ["id", "failure"], {"networks": "n"})
    assert again.count_kept() == 2
    again.begin(1)
    again.append([Answer("b"), Answer("c")])
    again.finish()

    assert [json.loads(line)["id"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == ["a", "b", "c"]
