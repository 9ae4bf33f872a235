"""A checkpoint is whole or not there: killed at any point of its writing, a training goes on to the same bits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import Killed, recipe, same_bits, steps_of, told_steps, weights_of

from fusionkit.storage import files, tensor_files
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import loop, train

OPTIONS: dict[str, Any] = {"checkpoint_seconds": 0.0}
CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A training that nobody stopped."""
    return train(recipe(**OPTIONS), tmp_path_factory.mktemp("whole") / "run", accelerator="cpu")


def torn(call: Callable[..., Any], *given: Any) -> None:
    """Writes a file and leaves half of it."""
    call(*given)
    file = Path(given[0])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


PLACES: dict[str, tuple[Any, str, Callable[[Any], bool], Callable[..., None]]] = {
    # whose function, its name, which call of it, and what is done of it before the kill
    "half of the file is written": (tensor_files, "_save", lambda path: CHECKPOINT in path.name, torn),
    "the file is written and not on the disk": (
        files,
        "sync",
        lambda path: path.name == f".{CHECKPOINT}.partial",
        lambda call, *given: None,
    ),
    "the one before is set aside": (
        os,
        "replace",
        lambda path: str(path).endswith(f".{CHECKPOINT}.partial"),
        lambda call, *given: None,
    ),
    "the new one is in its place": (
        os,
        "replace",
        lambda path: str(path).endswith(f".{CHECKPOINT}.partial"),
        lambda call, *given: call(*given),
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("save", [1, 2, 5])
def test_a_kill_while_a_checkpoint_is_written_loses_no_step_but_the_last(
    place: str, save: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunFolder
) -> None:
    owner, name, counts, do = PLACES[place]
    call, calls = getattr(owner, name), 0

    def killed(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += counts(given[0])
        if counts(given[0]) and calls == save:
            do(call, *given)
            raise Killed
        return call(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            train(recipe(**OPTIONS), tmp_path / "run", accelerator="cpu")

    steps = told_steps(monkeypatch)
    resumed = train(recipe(**OPTIONS), tmp_path / "run", accelerator="cpu")
    assert steps[0] >= save - 1
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()
    assert len(steps_of(resumed)) > save
    assert not list(resumed.path.glob(".*.partial"))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder in which nobody may make another one")
def test_a_folder_that_nobody_may_write_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr(loop._Fit, "_seed", lambda *_: pytest.fail("a step was taken"))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe()))

    said = refused("train", tmp_path / "recipe.json", "--out", "/sys/kernel/run")

    assert "/sys/kernel/run: cannot be made (" in said
