"""A training that is asked to end goes on to the same bits, wherever it was and whatever the clock says."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import recipe, same_bits, weights_of

from fusionkit.storage import checkpoints
from fusionkit.training import Interrupted, train
from fusionkit.training.loop import _Fit

OPTIONS: dict[str, Any] = {"select": "inner", "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The weights of a training that nobody stopped."""
    return weights_of(train(recipe(**OPTIONS), tmp_path_factory.mktemp("whole"), accelerator="cpu"))


def third_call_of(function: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    """A function that does something more in the middle of its third call."""
    calls = itertools.count(1)

    def called(*given: Any, **named: Any) -> Any:
        if next(calls) == 3:
            then()
        return function(*given, **named)

    return called


@pytest.mark.parametrize(
    ("owner", "name"),
    [(_Fit, "_validate"), (checkpoints, "write_tensors")],
    ids=["while it validates", "while it saves"],
)
def test_a_request_to_end_leaves_a_run_that_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Any, owner: Any, name: str
) -> None:
    with monkeypatch.context() as patched:
        called = third_call_of(getattr(owner, name), lambda: os.kill(os.getpid(), signal.SIGTERM))
        patched.setattr(owner, name, called)
        with pytest.raises(Interrupted) as caught:
            train(recipe(**OPTIONS), tmp_path, accelerator="cpu")
    assert caught.value.status == 128 + signal.SIGTERM

    assert same_bits(weights_of(train(recipe(**OPTIONS), tmp_path, accelerator="cpu")), whole)


def test_a_clock_that_goes_back_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Any) -> None:
    now = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(now)))

    assert same_bits(weights_of(train(recipe(**OPTIONS), tmp_path, accelerator="cpu")), whole)
    assert next(now) < 2_000_000_000, "nobody asked for the time"
