"""Exact resume: stopped anywhere and however, a training ends with the bits of one that was not stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe, same_bits, steps_of, weights_of
from torch import Tensor

from fusionkit.errors import RunError
from fusionkit.interfaces import Balancer, GradientScale, Step
from fusionkit.registry import BALANCERS
from fusionkit.runs import RunFolder
from fusionkit.training import Interrupted, train
from fusionkit.training.journal import Journal
from fusionkit.training.loop import _Fit

CASES: dict[str, dict[str, Any]] = {
    "late fusion with selection and a plateau": {
        "strategy": "late_fusion",
        "select": "inner",
        "scheduler": {"type": "plateau", "patience": 1},
        "optimizer": {"type": "adamw", "lr": 0.1},
    },
    "an early epoch that is selected": {"optimizer": {"type": "sgd", "lr": 0.3}, "select": "inner", "epochs": 8},
    "accumulation, momentum, warm-up and cosine": {
        "accumulate": 2,
        "optimizer": {"type": "sgd", "lr": 0.1},
        "scheduler": "cosine",
        "warmup": 0.3,
    },
    "teachers, a balancer with a memory, and noise": {"balancer": "remembering", "select": "best", "patience": 2},
}


class Killed(BaseException):
    """Stands for a process that is gone."""


@pytest.fixture(autouse=True)
def remembering() -> Iterator[None]:
    """A balancer with a teacher, a running mean, a learned weight and noisy gradients."""

    class Remembering(Balancer):
        teachers = ("posture",)

        def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))
            self.log_weight = torch.nn.Parameter(torch.zeros(()))

        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            assert step.teacher is not None
            with torch.no_grad():
                self.mean += 0.1 * (terms["fused/label"] - self.mean)
            taught = step.teacher.unimodal["posture"]["label"].mean()
            weight = self.log_weight.exp() * (1.0 + self.mean + 0.01 * taught)
            return {**terms, "fused/label": weight * terms["fused/label"]}

        def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
            return {"motion": GradientScale(0.5, 0.1), "features/posture": GradientScale(1.0, 0.1)}

    BALANCERS.names()
    BALANCERS.register("remembering")(Remembering)
    yield
    del BALANCERS._components["remembering"]


def train_until(monkeypatch: pytest.MonkeyPatch, step: int, options: Any, out: Path) -> None:
    """Trains until a step is in the log; then the process is gone, before anything else can happen."""
    told = Journal.step

    def tell(journal: Journal, record: Mapping[str, Any]) -> None:
        told(journal, record)
        if record["step"] == step:
            journal.flush()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "step", tell)
        with pytest.raises(Killed):
            train(options, out, accelerator="cpu")


def told_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that trainings tell from now on."""
    told, steps = Journal.step, list[int]()

    def tell(journal: Journal, record: Mapping[str, Any]) -> None:
        steps.append(record["step"])
        told(journal, record)

    monkeypatch.setattr(Journal, "step", tell)
    return steps


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("every", [0.0, 1e9], ids=["a checkpoint per step", "a checkpoint per stage"])
def test_stopped_anywhere_and_resumed_the_bits_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, every: float
) -> None:
    options = recipe(checkpoint_seconds=every, **CASES[case])
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    steps = len(steps_of(whole))
    stops = {1, steps, *random.Random(steps).sample(range(2, steps), 3)}

    for stop in stops:
        train_until(monkeypatch, stop, options, tmp_path / str(stop))
        resumed = train(options, tmp_path / str(stop), accelerator="cpu")

        assert same_bits(weights_of(resumed), weights_of(whole)), f"stopped after step {stop} of {steps}"
        assert (resumed.path / "log.jsonl").read_bytes() == (whole.path / "log.jsonl").read_bytes()
        assert resumed.sha256_of_weights() == whole.sha256_of_weights()


def test_stopped_again_and_again_it_still_arrives_at_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = recipe(checkpoint_seconds=0.0, **CASES["late fusion with selection and a plateau"])
    whole = train(options, tmp_path / "whole", accelerator="cpu")

    for stop in range(2, len(steps_of(whole)) + 1, 3):  # what a try told last is lost: it is after its checkpoint
        train_until(monkeypatch, stop, options, tmp_path / "often")
    often = train(options, tmp_path / "often", accelerator="cpu")

    assert same_bits(weights_of(often), weights_of(whole))
    assert often.read_log() == whole.read_log()


def test_a_resume_repeats_only_what_came_after_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 5, options, tmp_path)

    repeated = told_steps(monkeypatch)
    train(options, tmp_path, accelerator="cpu")

    assert repeated[0] == 5


def test_without_resume_a_stopped_training_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 5, options, tmp_path)

    repeated = told_steps(monkeypatch)
    run = train(options, tmp_path, accelerator="cpu", resume=False)

    assert repeated[0] == 1
    assert [record["step"] for record in steps_of(run)] == repeated


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 5, options, tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    whole = file.read_bytes()
    log = (tmp_path / "log.jsonl").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    file.write_bytes(whole[:middle] if damage == "truncated" else flipped)

    with pytest.raises(RunError, match=r"checkpoint\.safetensors: is damaged"):
        train(options, tmp_path, accelerator="cpu")

    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_a_full_disk_stops_the_training_and_leaves_the_last_good_checkpoint_to_resume_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = recipe(checkpoint_seconds=0.0)
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    saves = 0
    replace_file = os.replace

    def fill_up(source: Any, target: Any) -> None:
        nonlocal saves
        saves += str(target).endswith("checkpoint.safetensors")
        if saves == 4:
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fill_up)
        with pytest.raises(RunError, match=r"checkpoint.*No space left on device\); the previous file is intact"):
            train(options, tmp_path / "full", accelerator="cpu")
    checkpoint = RunFolder.open(tmp_path / "full").load_checkpoint()
    assert checkpoint is not None
    assert json.loads(checkpoint[1]["state"])["position"]["total_steps"] == 3

    resumed = train(options, tmp_path / "full", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_writes_a_checkpoint_and_is_told_by_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    options = recipe(checkpoint_seconds=1e9)
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    before = signal.getsignal(signum)
    seed = _Fit._seed

    def send(fit: _Fit, stage: Any, step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signum)
        seed(fit, stage, step)

    with monkeypatch.context() as patched:
        patched.setattr(_Fit, "_seed", send)
        with pytest.raises(Interrupted) as caught:
            train(options, tmp_path / "run", accelerator="cpu")

    assert caught.value.status == caught.value.code == 128 + signum
    assert signal.getsignal(signum) == before
    assert len(steps_of(RunFolder.open(tmp_path / "run"))) == 5
    resumed = train(options, tmp_path / "run", accelerator="cpu")
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.read_log() == whole.read_log()


SCRIPT = """
import json, os, sys
from fusionkit.training import train
from fusionkit.training.journal import Journal
told, (options, out, step, signum) = Journal.step, json.loads(sys.argv[1])
def tell(journal, record):
    told(journal, record)
    if record["step"] == step:
        os.kill(os.getpid(), signum)
Journal.step = tell
train(options, out, accelerator="cpu")
"""


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_or_asked_to_go_leaves_a_run_that_resumes_to_the_same_bits(
    tmp_path: Path, signum: signal.Signals
) -> None:
    options = recipe(checkpoint_seconds=0.0, **CASES["late fusion with selection and a plateau"])
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    step = random.Random(int(signum)).randrange(2, len(steps_of(whole)))

    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([options, str(tmp_path / "run"), step, int(signum)])],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum), process.stderr
    assert "Traceback" not in process.stderr
    assert not RunFolder.open(tmp_path / "run").finished
    resumed = train(options, tmp_path / "run", accelerator="cpu")
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.read_log() == whole.read_log()
