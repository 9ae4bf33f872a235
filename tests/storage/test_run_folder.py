"""The run folder: what is written is whole or not there, and what is read is what was written."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeout
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from report_folders import card_of
from small_runs import recipe

from fusionkit.config.recipe import load_recipe
from fusionkit.config.yaml import write_yaml
from fusionkit.errors import RunError
from fusionkit.storage.locks import lock_folder, refuse_if_taken
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import content_hash, read_tensors, write_tensors
from fusionkit.training import train

TENSORS = {
    "weights": torch.arange(6.0).reshape(2, 3),
    "count": torch.tensor(3),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", load_recipe(recipe()))


def test_a_folder_with_a_copied_recipe_alone_is_no_run(tmp_path: Path) -> None:
    given = load_recipe(recipe())
    (tmp_path / "recipe.yaml").write_text(write_yaml(given.plain()))
    with pytest.raises(RunError, match="exists and is no run; take a new or empty folder"):
        RunFolder.create(tmp_path, given)
    with pytest.raises(RunError, match=r"is no run; a run holds recipe\.yaml and environment\.json"):
        RunFolder.open(tmp_path)


def test_a_run_that_was_killed_before_its_recipe_was_written_is_begun_anew(tmp_path: Path) -> None:
    given = load_recipe(recipe())
    RunFolder.create(tmp_path, given)
    (tmp_path / "recipe.yaml").unlink()
    assert RunFolder.create(tmp_path, given).begun


def test_tensors_and_text_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS, {"note": "é\n1"})

    tensors, metadata = read_tensors(tmp_path / "file")

    assert metadata == {"note": "é\n1"}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_tensors_that_share_memory_or_are_views_are_written_too(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)

    write_tensors(tmp_path / "file", {"a": matrix, "b": matrix, "row": matrix[0], "turned": matrix.T}, {})

    tensors, _ = read_tensors(tmp_path / "file")
    assert torch.equal(tensors["b"], matrix)
    assert torch.equal(tensors["row"], matrix[0])
    assert torch.equal(tensors["turned"], matrix.T)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write_tensors(tmp_path / "whole", {"w": torch.arange(3.0)}, {"note": "text"})
    whole = (tmp_path / "whole").read_bytes()

    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        (tmp_path / "flipped").write_bytes(flipped)
        with pytest.raises(RunError, match="flipped"):
            read_tensors(tmp_path / "flipped")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    write_tensors(tmp_path / "whole", {"w": torch.arange(3.0)}, {})
    whole = (tmp_path / "whole").read_bytes()

    for length in range(len(whole)):
        (tmp_path / "short").write_bytes(whole[:length])
        with pytest.raises(RunError, match="short"):
            read_tensors(tmp_path / "short")


def test_a_safetensors_file_of_someone_else_is_refused_for_its_missing_hash(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "foreign")

    with pytest.raises(RunError, match="carries no sha256"):
        read_tensors(tmp_path / "foreign")


def test_every_file_of_a_run_has_the_mode_that_the_umask_leaves(run: RunFolder, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run.save_weights(TENSORS, {})
        run.write_card(Card.model_validate(card_of("y")))
        left = tmp_path / "run" / ".predictions.safetensors.partial"
        left.touch(0o600)  # by a process that was killed
        run.write_predictions(TENSORS, {})
    finally:
        os.umask(before)

    for file in ("weights.safetensors", "metrics.json", "predictions.safetensors"):
        assert (run.path / file).stat().st_mode & 0o777 == 0o640, file


def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(RunError, match=r"weights\.safetensors: cannot be read \(Permission denied\)$"):
        read_tensors(tmp_path / "weights.safetensors")


def test_the_hash_tells_names_shapes_types_and_text_apart() -> None:
    zeros = torch.zeros(4)

    hashes = {
        content_hash({"a": zeros}, {}),
        content_hash({"b": zeros}, {}),
        content_hash({"a": zeros.reshape(2, 2)}, {}),
        content_hash({"a": zeros.int()}, {}),
        content_hash({"a": zeros}, {"note": ""}),
    }

    assert len(hashes) == 5


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_tensors(tmp_path / "file", {"w": torch.zeros(2)}, {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(RunError, match=r"file: cannot be written \(No space left on device\); the previous file is"):
        write_tensors(tmp_path / "file", {"w": torch.ones(2)}, {})

    assert torch.equal(read_tensors(tmp_path / "file")[0]["w"], torch.zeros(2))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_stops_half_way_leaves_the_previous_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", {"w": torch.zeros(2)}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RunError, match="the previous file is intact"):
            write_tensors(tmp_path / "file", {"w": torch.ones(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)

    assert torch.equal(read_tensors(tmp_path / "file")[0]["w"], torch.zeros(2))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_run_holds_the_complete_recipe_and_its_environment(run: RunFolder) -> None:
    assert run.recipe == load_recipe(recipe())
    assert "patience" in (run.path / "recipe.yaml").read_text(encoding="utf-8")
    assert {"fusionkit", "torch", "python", "commit", "device", "platform", "command"} <= run.environment.plain().keys()
    assert not run.finished


def test_the_same_recipe_finds_its_run_again(run: RunFolder) -> None:
    assert RunFolder.create(run.path, load_recipe(recipe())).path == run.path


def test_another_recipe_is_refused_with_the_keys_that_differ(run: RunFolder) -> None:
    other = load_recipe(recipe(epochs=7, optimizer={"type": "adamw", "lr": 0.5}))

    with pytest.raises(RunError) as caught:
        RunFolder.create(run.path, other)

    assert "train.epochs (3 there, 7 given)" in str(caught.value)
    assert "train.optimizer.lr (0.001 there, 0.5 given)" in str(caught.value)
    assert "data" not in str(caught.value)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")

    with pytest.raises(RunError, match="is no run"):
        RunFolder.create(tmp_path, load_recipe(recipe()))

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_opening_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        RunFolder.open(tmp_path / "nothing")


def test_weights_finish_a_run_and_take_the_checkpoint_away(run: RunFolder) -> None:
    run.checkpoints.save({"w": torch.zeros(1)}, {})
    with pytest.raises(RunError, match="has not finished"):
        run.load_weights()

    run.save_weights({"w": torch.ones(1)}, {"stage": "joint"})

    assert run.finished
    assert run.checkpoints.load() is None
    assert run.load_weights()[1] == {"stage": "joint"}
    assert run.sha256_of_weights() == content_hash({"w": torch.ones(1)}, {"stage": "joint"})


def test_the_log_goes_back_to_what_a_checkpoint_counted(run: RunFolder) -> None:
    run.log.append([{"step": step} for step in range(5)])
    with (run.path / "log.jsonl").open("a") as file:
        file.write('{"step": 5')  # what a killed process leaves

    run.log.truncate(3)

    assert run.log.read() == [{"step": 0}, {"step": 1}, {"step": 2}]
    with pytest.raises(RunError, match="holds 3 records, the checkpoint counts 4"):
        run.log.truncate(4)


def test_metrics_are_json_that_every_program_reads(run: RunFolder) -> None:
    run.write_card(Card.model_validate(card_of("y") | {"recipe": {"low": float("nan"), "high": (0.5, float("inf"))}}))

    text = (run.path / "metrics.json").read_text(encoding="utf-8")

    assert json.loads(text, parse_constant=pytest.fail)["recipe"] == {"low": None, "high": [0.5, None]}
    assert run.read_card().plain() == json.loads(text)


def test_predictions_come_back_as_they_were_written(run: RunFolder) -> None:
    run.write_predictions({"fused/label": torch.eye(2)}, {"ids": '["a", "b"]'})

    tensors, metadata = run.read_predictions()

    assert torch.equal(tensors["fused/label"], torch.eye(2))
    assert metadata == {"ids": '["a", "b"]'}


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_a_file_system_knows_no_locks_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with lock_folder(tmp_path):
        done = True

    assert done


def test_a_folder_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads, ExitStack() as held:
        held.enter_context(lock_folder(tmp_path))
        with pytest.raises(RunError, match="another process is working in it"):
            refuse_if_taken(tmp_path)
        waiting = threads.submit(refuse_if_taken, tmp_path, wait=30.0)
        with pytest.raises(FuturesTimeout):
            waiting.result(timeout=0.1)
        held.close()
        waiting.result(timeout=30.0)
    refuse_if_taken(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", train(recipe(), tmp_path / "first").recipe)
    run.checkpoints.save({"w": torch.zeros(1)}, {})
    for resume in (True, False):
        with (
            lock_folder(run.path),
            pytest.raises(RunError, match="run: another process is working in it; wait until it ends"),
        ):
            train(recipe(), run.path, resume=resume)
    assert not run.finished
    assert not run.log.read()
    assert run.checkpoints.load() is not None
    train(recipe(), run.path, resume=False)
    assert run.finished


def test_the_log_is_on_the_disk_before_the_checkpoint_that_counts_its_lines(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr("fusionkit.storage.run_log.sync", lambda file: happened.append(file.name))
    monkeypatch.setattr(
        "fusionkit.storage.checkpoints.write_tensors", lambda file, *_, **__: happened.append(file.name)
    )
    run.checkpoints.save({}, {})
    run.log.append([{"step": 0}])
    run.checkpoints.save({}, {})

    assert happened == ["checkpoint.safetensors", "log.jsonl", "checkpoint.safetensors"]
