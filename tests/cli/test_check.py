"""What `fusionkit check` says of memory, of weights that are not there yet, and of what it cannot measure."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_runs import recipe
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from fusionkit.cli import main
from fusionkit.cli.check import _print_speed
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError
from fusionkit.models.build import build
from fusionkit.models.cost import measure
from fusionkit.models.random_inputs import draw_noise
from fusionkit.training.profiling.speed import RecipeSpeed, StageSpeed
from fusionkit.training.trainer import make_fabric

FACE = {"shape": [1, 16, 16], "encoder": {"type": "conv2d", "channels": [4, 8]}}


def faces(**changes: Any) -> dict[str, Any]:
    """A recipe of one modality of images that states all that a check asks for."""
    targets = {"label": {"type": "classification", "classes": ["a", "b"]}}
    document: dict[str, Any] = recipe(model={"modalities": {"face": {**FACE, **changes}}, "targets": targets})
    return document


def pretrained(path: Path) -> dict[str, Any]:
    return faces(encoder={**FACE["encoder"], "weights": str(path)})


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs ``fusionkit check`` on a recipe; gives status, what was printed in one line, and the errors in one."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(document: Any, *arguments: str) -> tuple[int, str, str]:
        file = tmp_path / "recipe.yaml"
        file.write_text(json.dumps(document))
        with pytest.raises(SystemExit) as ended:
            main(["check", str(file), *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out if "--json" in arguments else " ".join(out.split()), err

    return run


def test_a_network_is_checked_before_its_pretraining_is_done_and_the_note_names_the_file(
    check: Any, tmp_path: Path
) -> None:
    path = tmp_path / "pretrain_fer2013" / "encoder_face.safetensors"

    status, said, err = check(pretrained(path), "--device", "cpu")

    assert status == 0, err
    assert said.count("does not exist yet: checked with fresh weights") == 1  # it is built twice, to count and to time
    assert "make it with `fusionkit train aver/pretrain_fer2013" in said
    notes = json.loads(check(pretrained(path), "--no-timing", "--json")[1])["notes"]
    assert [note.split(" does")[0] for note in notes] == [str(path)]


def test_weights_that_are_there_must_be_the_networks_own_even_in_a_check(check: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"network.weight": torch.zeros(2)}, path)

    status, _, err = check(pretrained(path), "--no-timing")

    assert status == 2
    assert "does not hold this network's tensors" in err


def test_a_training_still_refuses_weights_that_are_not_there(check: Any, tmp_path: Path) -> None:
    absent = load_recipe(pretrained(tmp_path / "absent.safetensors"))
    assert check(pretrained(tmp_path / "absent.safetensors"), "--no-timing")[0] == 0

    with pytest.raises(RecipeError, match=r"absent\.safetensors do not exist"):
        build(absent)


@pytest.mark.parametrize("length", [99_999_999_999, 10**24])
def test_a_sample_that_no_memory_holds_is_refused_in_words(check: Any, length: int) -> None:
    status, _, err = check(faces(), "--length", f"face={length}", "--no-timing")

    assert status == 2
    assert "Traceback" not in err
    assert err.startswith("fusionkit: length: ")
    assert ("face 99,999,999,999; give fewer, such as --length face=" in err) == (length < 10**12)
    assert ("at most 1,000,000,000,000" in err) == (length > 10**12)


def kept_by(document: Any, length: int) -> int:
    """Bytes of distinct memory that a forward pass of two samples keeps, its weights aside; a restatement."""
    given = load_recipe(document)
    model = build(given).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, Tensor] = {}
    with saved_tensors_hooks(lambda tensor: kept.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda _: _):
        output = model(draw_noise(model, {"face": length}, 2))
    assert output.fused
    return sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in own)


def test_activations_that_are_computed_again_are_not_counted_and_the_check_says_what_that_leaves_out(
    check: Any,
) -> None:
    costs = {again: measure(of := load_recipe(faces(recompute=again)), build(of)) for again in (True, False)}

    assert costs[True].recomputed == ("face",)
    assert costs[False].recomputed == ()
    assert costs[True].memory.activations < costs[False].memory.activations / 4
    for again, cost in costs.items():
        expected = kept_by(faces(recompute=again), cost.modalities["face"].length) * cost.batch_size // 2
        assert cost.memory.activations == expected
    said = "Of face (recompute: true) it counts the activations that are kept; those that the backward pass computes"
    assert said in check(faces(recompute=True), "--no-timing")[1]
    assert "recompute" not in check(faces(), "--no-timing")[1]
    assert json.loads(check(faces(recompute=True), "--no-timing", "--json")[1])["recomputed"] == ["face"]


def test_a_peak_of_fewer_clips_than_a_batch_says_of_how_many(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    stages = (StageSpeed("teacher", 1.0, 32, 32, 3 << 30), StageSpeed("joint", 9.0, 32, 8, 5 << 30))

    _print_speed(RecipeSpeed("cuda:0", 32, stages, 100.0, 32, False))
    few = capsys.readouterr().out
    _print_speed(RecipeSpeed("cuda:0", 32, stages[:1], 100.0, 32, False))
    whole = capsys.readouterr().out

    assert max(map(len, few.splitlines())) <= 80
    assert "5.0 GiB of 8 clips" in few
    assert "3.0 GiB of" not in few
    assert "The peak memory of fewer is not: a batch takes more." in " ".join(few.split())
    assert "of 32 clips" not in whole
    assert "a batch takes more" not in whole


def test_fabric_says_nothing_of_the_precision_and_its_other_words_are_left() -> None:
    logger, said = logging.getLogger("lightning_fabric.utilities.rank_zero"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        make_fabric(load_recipe(recipe(precision="bf16-mixed")), "cpu")
        logger.info("something else")
    finally:
        logger.removeHandler(handler)

    assert said == ["something else"]
    assert not logger.filters
