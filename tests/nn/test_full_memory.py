"""Memory that runs out: which step, which batch, how much it held, what to do; status 2 and no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import recipe, run_of
from written_films import Films, spec_for

from fusionkit.cli import main
from fusionkit.data.films import preparation
from fusionkit.errors import RecipeError, TrainingError
from fusionkit.interfaces import Clip
from fusionkit.models.branch import Branch
from fusionkit.models.build import build
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.memory import explain_full_memory, is_full

FULL: dict[str, Any] = {
    "python": lambda: bytearray(10**17),
    "numpy": lambda: np.zeros(10**16),
    "torch, bytes": lambda: torch.zeros(10**17),
    "torch, overflow": lambda: torch.zeros(10**18),
    "torch, numbers": lambda: torch.zeros(10**10, 10**10),
    "torch, a number of 100 bits": lambda: torch.empty((3, 10**30)),
}
#: What PyTorch says of GPUs and libraries.
SAID = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    OSError(12, "Cannot allocate memory"),
)
OTHERS = (
    RuntimeError("mat1 and mat2 shapes"),
    ValueError("out of memory"),
    TypeError("empty(): argument 'size' must be tuple of ints"),
    OSError(28, "no space"),
)


@pytest.mark.parametrize("case", FULL)
def test_whoever_runs_out_of_memory_is_understood(case: str) -> None:
    with pytest.raises(TrainingError, match="too much"), explain_full_memory(lambda: TrainingError("too much")):
        FULL[case]()


def test_other_errors_are_not_taken_for_it() -> None:
    assert [is_full(error) for error in SAID] == [True] * len(SAID)
    assert [is_full(error) for error in OTHERS] == [False] * len(OTHERS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("runs") / "run", epochs=1).path


def status_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that fails by the user's fault says."""
    with pytest.raises(SystemExit) as status:
        main(arguments)
    said = capsys.readouterr().err
    assert status.value.code == 2, said
    assert "Traceback" not in said
    return said


def fill_memory(monkeypatch: pytest.MonkeyPatch, *, training: bool) -> None:
    encode = Branch.encode

    def full(branch: Branch, elements: Jagged, **options: Any) -> Jagged:
        if branch.training == training:
            torch.zeros(10**17)
        return encode(branch, elements, **options)

    monkeypatch.setattr(Branch, "encode", full)


@pytest.mark.parametrize("command", ["evaluate", "diagnose", "stress"])
def test_a_batch_that_is_too_large_to_look_at_is_told_with_its_samples_and_sizes(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_memory(monkeypatch, training=False)
    said = status_of([command, str(run)], capsys)
    where = {"evaluate": "evaluation", "diagnose": "diagnosis", "stress": "stress"}[command]
    assert f"fusionkit: {where}: a batch of " in said
    assert " elements, the most in " in said
    assert "does not fit into the memory of cpu; lower data.batch_size or data.budget, or the chunk" in said


@pytest.mark.parametrize("training", [True, False])
def test_a_step_that_is_too_large_is_told_with_its_batch(
    training: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "stage joint, epoch 0, step 0" if training else "validation"
    remedy = "and raise train.accumulate instead" if training else "or the chunk of a modality with long clips"
    fill_memory(monkeypatch, training=training)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(select="best")))
    said = status_of(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")], capsys)
    assert f"fusionkit: {where}: a batch of " in said
    assert " (motion: " in said
    assert remedy in said


def test_a_network_that_is_too_large_is_told_with_the_part_that_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = {"type": "mlp", "hidden": [], "out": 10**15}
    spec = {
        "modalities": {"a": {"shape": [4], "encoder": wide}, "b": {"shape": [4], "encoder": "mlp"}},
        "targets": {"age": {"type": "regression"}},
    }
    with pytest.raises(RecipeError, match=r"model\.modalities\.a: its weights do not fit into this machine's memory"):
        build(spec)
    with pytest.raises(RecipeError, match=r"model\.fusion: its weights do not fit into this machine's memory"):
        build({**spec, "modalities": {"b": spec["modalities"]["b"]}, "fused_hidden": 10**15})  # type: ignore[index]
    given = recipe(model={"fused_hidden": 10**15})
    (tmp_path / "recipe.yaml").write_text(json.dumps(given))
    for command in ("check", "train"):
        more = ["--out", str(tmp_path / "out")] if command == "train" else []
        assert "its weights do not fit into this machine's memory" in status_of(
            [command, str(tmp_path / "recipe.yaml"), *more], capsys
        )


def test_a_clip_over_which_memory_runs_out_has_no_record_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    films = Films({"a": Clip(tmp_path / "a.mp4")})
    asked = []

    def full(*_: Any) -> Any:
        asked.append(1)
        torch.zeros(10**17)

    monkeypatch.setattr(preparation, "prepare_clip", full)
    for _ in range(2):
        done = preparation.prepare(films, spec_for(tmp_path / "cache"), kind="films", processes=1)
        assert not done.records
        assert "memory is full; prepare with fewer --processes" in done.failed["a"]
    assert len(asked) == 2


def test_memory_that_runs_out_anywhere_else_ends_a_command_without_a_traceback(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fusionkit.evaluation.predictions.gather_predictions", FULL["numpy"])
    monkeypatch.setattr("fusionkit.evaluation.predictions.predict_test_part", lambda *_: np.zeros(10**16))
    monkeypatch.setattr("fusionkit.evaluation.card.predict_test_part", lambda *_: np.zeros(10**16))
    assert "fusionkit: this machine's memory is full; take smaller batches" in status_of(["evaluate", str(run)], capsys)
