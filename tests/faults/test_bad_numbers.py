"""A number that is not finite, or memory that runs out, stops a training at once and leaves what was learned before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import recipe, same_bits, weights_of

from fusionkit.config.components.registry import DATASETS
from fusionkit.errors import DataError, TrainingError
from fusionkit.models.branch import Branch
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

GOOD = recipe(checkpoint_seconds=0.0)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_one_bad_number_in_one_file_is_told_with_the_file_before_anything_is_learned(
    number: float, tmp_path: Path, refused: Callable[..., str]
) -> None:
    rows = []
    for sample in range(8):
        values = np.full((3, 4), sample / 8, np.float32)
        values[1, 2] = number if sample == 5 else 0
        np.save(tmp_path / f"{sample}.npy", values)
        rows.append(
            json.dumps({"id": f"clip_{sample}", "x": f"{sample}.npy", "who": sample % 4, "y": "ab"[sample % 2]})
        )
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    dataset = {"type": "manifest", "path": str(tmp_path / "rows.jsonl"), "id": "id", "targets": ["y"]}
    options = recipe(
        data={"dataset": {**dataset, "modalities": {"x": "x"}, "group": "who"}},
        model={"modalities": {"x": {"encoder": "mlp"}}, "targets": {"y": "classification"}},
    )
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    said = refused("train", tmp_path / "recipe.json", "--out", tmp_path / "run")

    assert "rows.jsonl, line 6: x: " in said
    assert "5.npy: 1 of 12 numbers are NaN or infinite" in said
    assert not RunFolder(tmp_path / "run").finished


def gradients_that_explode(monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    """From such an encoding on, values are finite and the gradients of one modality are not."""
    encode, calls = Branch.encode, 0

    class Exploding(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * torch.inf

    def explode(branch: Branch, elements: Jagged, **options: object) -> Jagged:
        nonlocal calls
        found = encode(branch, elements, **options)  # type: ignore[arg-type]
        calls += branch.training
        return found.with_values(Exploding.apply(found.values)) if branch.training and calls >= at else found

    monkeypatch.setattr(Branch, "encode", explode)


def test_gradients_that_are_not_finite_stop_within_the_step_and_leave_a_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(GOOD, tmp_path / "whole", accelerator="cpu")
    with monkeypatch.context() as patched:
        gradients_that_explode(patched, at=9)
        with pytest.raises(TrainingError, match=r"stage joint, epoch \d+, step \d+: .*samples of this step: "):
            train(GOOD, tmp_path / "run", accelerator="cpu")
    checkpoint = RunFolder.open(tmp_path / "run").checkpoints.load()
    assert checkpoint is not None
    assert all(tensor.isfinite().all() for tensor in checkpoint[0].values())

    resumed = train(GOOD, tmp_path / "run", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))


def test_memory_that_runs_out_in_a_step_leaves_a_checkpoint_to_go_on_from_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(GOOD, tmp_path / "whole", accelerator="cpu")
    encode, calls = Branch.encode, 0

    def full(branch: Branch, elements: Jagged, **options: object) -> Jagged:
        nonlocal calls
        calls += branch.training
        if calls == 10:
            torch.zeros(10**17)
        return encode(branch, elements, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Branch, "encode", full)
        with pytest.raises(TrainingError, match=r"a batch of \d+ samples .* does not fit into the memory of cpu"):
            train(GOOD, tmp_path / "run", accelerator="cpu")
    assert RunFolder.open(tmp_path / "run").checkpoints.load() is not None

    resumed = train(GOOD, tmp_path / "run", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()


@pytest.mark.parametrize("content", ["", "id,x,y\n", "\n\n"])
def test_a_table_without_a_row_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=r"rows\.csv"):
        DATASETS.build("manifest", path=str(tmp_path / "rows.csv"), modalities={"x": ["x"]}, targets=["y"])
