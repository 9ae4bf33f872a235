"""Exact resume: stopped anywhere and however, a training ends with the bits of one that was not stopped."""

from __future__ import annotations

import copy
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
from small_runs import recipe, same_bits, steps_of, told_steps, train_until, weights_of
from torch import Tensor
from torch.utils.data import DataLoader

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.recipe import load_recipe
from fusionkit.data.loading.loader import _begin_worker
from fusionkit.errors import FusionKitWarning, RunError
from fusionkit.execution.workers import STOPPING
from fusionkit.interfaces import Balancer, GradientScale, Step
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors, write_tensors
from fusionkit.training import Interrupted, train
from fusionkit.training.checkpoint import Checkpoint, Position, load_optimizer_state, pack_optimizer_state
from fusionkit.training.interruption import Listener
from fusionkit.training.loop import _Fit
from fusionkit.training.state import TrainingState

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
    assert often.log.read() == whole.log.read()


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


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    file.write_bytes(whole[:middle] if how == "truncated" else flipped)


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options = recipe(checkpoint_seconds=0.0)
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    train_until(monkeypatch, 5, options, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoint.safetensors", how)

    repeated = told_steps(monkeypatch)
    with pytest.warns(FusionKitWarning, match=r"checkpoint\.safetensors: is damaged.*from the checkpoint before"):
        resumed = train(options, tmp_path / "run", accelerator="cpu")

    assert repeated[0] == 4  # step 5 was told and not saved, step 4 saved last
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one_before(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", load_recipe(recipe()))
    run.checkpoints.save({"w": torch.tensor(1)}, {})
    run.checkpoints.save({"w": torch.tensor(2)}, {})
    damage(run.path / "checkpoint.safetensors", "flipped")
    again = RunFolder.open(run.path)
    with pytest.warns(FusionKitWarning):
        state = again.checkpoints.load()
    assert state is not None
    assert state[0]["w"] == 1

    again.checkpoints.save({"w": torch.tensor(3)}, {})

    assert [read_tensors(file)[0]["w"].item() for file in checkpoints(run)] == [3, 1]
    again.checkpoints.save({"w": torch.tensor(4)}, {})
    assert [read_tensors(file)[0]["w"].item() for file in checkpoints(run)] == [4, 3]


def checkpoints(run: RunFolder) -> tuple[Path, Path]:
    """The last one, and the one before."""
    return run.path / "checkpoint.safetensors", run.path / "checkpoint.earlier.safetensors"


def test_where_every_checkpoint_is_damaged_each_is_named_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 4, options, tmp_path)
    for file in checkpoints(RunFolder(tmp_path)):
        damage(file, "truncated")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    with pytest.raises(
        RunError, match=r"checkpoint\.safetensors: is damaged.*checkpoint\.earlier\.safetensors: is damaged"
    ):
        train(options, tmp_path, accelerator="cpu")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_process_that_is_killed_between_two_checkpoints_leaves_the_one_before_to_resume_from(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", load_recipe(recipe()))
    run.checkpoints.save({"w": torch.tensor(1)}, {})
    last, earlier = checkpoints(run)
    last.rename(earlier)

    state = run.checkpoints.load()

    assert state is not None
    assert state[0]["w"] == 1


def test_a_checkpoint_that_is_named_is_taken_or_refused_and_no_other_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 5, options, tmp_path / "run")
    last, earlier = checkpoints(RunFolder(tmp_path / "run"))
    (tmp_path / "elsewhere.safetensors").write_bytes(last.read_bytes())
    damage(last, "flipped")

    with pytest.raises(RunError, match=r"checkpoint\.safetensors: is damaged"):
        train(options, tmp_path / "run", resume=last, accelerator="cpu")
    with pytest.raises(RunError, match=r"elsewhere\.safetensors: is no checkpoint of .*run; name one that lies in"):
        train(options, tmp_path / "run", resume=tmp_path / "elsewhere.safetensors", accelerator="cpu")
    repeated = told_steps(monkeypatch)
    run = train(options, tmp_path / "run", resume=earlier, accelerator="cpu")

    assert repeated[0] == 4
    assert run.finished
    assert not any(file.exists() for file in checkpoints(run))


def test_modalities_in_another_order_are_another_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = recipe(checkpoint_seconds=0.0)
    train_until(monkeypatch, 3, options, tmp_path)
    turned = recipe(
        model={"modalities": dict(reversed(options["model"]["modalities"].items()))}, checkpoint_seconds=0.0
    )
    log = (tmp_path / "log.jsonl").read_bytes()

    with pytest.raises(
        RunError, match=r"model\.modalities \(motion, posture in this order there, posture, motion given"
    ):
        train(turned, tmp_path, accelerator="cpu")

    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_samples_in_another_order_are_refused_while_a_training_of_them_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "samples.csv"
    rows = [f"{index},g{index % 4},{index / 8},{1 - index / 8},{'ab'[index % 2]}" for index in range(8)]
    header = "id,group,left,right,label"
    dataset = {"type": "manifest", "path": str(table), "group": "group", "targets": ["label"]}
    dataset |= {"id": "id", "modalities": {"motion": ["left"], "posture": ["right"]}}
    options = recipe(data={"dataset": dataset, "batch_size": 4}, checkpoint_seconds=0.0)
    table.write_text("\n".join([header, *rows]), encoding="utf-8")
    train_until(monkeypatch, 2, options, tmp_path / "run")

    table.write_text("\n".join([header, *reversed(rows)]), encoding="utf-8")
    with pytest.raises(RunError, match="the samples stand in another order than when its training began"):
        train(options, tmp_path / "run", accelerator="cpu")
    table.write_text("\n".join([header, *rows]), encoding="utf-8")

    assert train(options, tmp_path / "run", accelerator="cpu").finished


FREE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DataSpec.workers": ({"data": {"workers": 0}}, {"data": {"workers": 1}}),
    "DataSpec.timeout_seconds": ({"data": {"timeout_seconds": 600.0}}, {"data": {"timeout_seconds": None}}),
    "DataSpec.cache": ({"data": {"cache": True}}, {"data": {"cache": False}}),
    "TrainSpec.checkpoint_seconds": ({"checkpoint_seconds": 0.0}, {"checkpoint_seconds": 30.0}),
}
"""By field that changes no result, two values of it."""


@pytest.mark.parametrize("field", FREE)
def test_a_training_goes_on_with_another_value_of_what_changes_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    before, after = (recipe(**{"checkpoint_seconds": 0.0, **keys}) for keys in FREE[field])
    whole = train(before, tmp_path / "whole", accelerator="cpu")
    train_until(monkeypatch, 4, before, tmp_path / "run")

    repeated = told_steps(monkeypatch)
    resumed = train(after, tmp_path / "run", accelerator="cpu")

    assert repeated[0] == 4
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()
    part, key = field.removesuffix("Spec").partition("Spec.")[::2]
    assert resumed.recipe.plain()[part.lower()][key] == load_recipe(after).plain()[part.lower()][key]


def test_the_optimizers_state_follows_the_names_of_parameters_and_not_their_places() -> None:
    first, second = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))
    names = {first: "model.first", second: "model.second"}
    adam = torch.optim.Adam([first, second])
    first.grad, second.grad = torch.full((2,), 1.0), torch.full((3,), 10.0)
    adam.step()
    checkpoint = Checkpoint(Position(), {}, pack_optimizer_state(adam, names), {})

    turned = torch.optim.Adam([second, first])
    load_optimizer_state(turned, names, Checkpoint.unpack(*checkpoint.pack()))

    for parameter in (first, second):
        for key, value in adam.state[parameter].items():
            assert torch.equal(turned.state[parameter][key], value)
    with pytest.raises(
        RunError, match=r"of another network: its optimizer trains model\.second, which are not trained now"
    ):
        load_optimizer_state(torch.optim.Adam([first]), names, checkpoint)


@pytest.mark.parametrize(
    "case", ["accumulation, momentum, warm-up and cosine", "teachers, a balancer with a memory, and noise"]
)
def test_a_checkpoint_that_names_parameters_by_their_place_is_resumed_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options = recipe(checkpoint_seconds=0.0, **CASES[case])
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    states = list[dict[int, Any]]()
    save = TrainingState.save

    def note(kept: TrainingState, run: RunFolder) -> None:
        save(kept, run)
        states.append({} if kept.optimizer is None else copy.deepcopy(kept.optimizer.state_dict()["state"]))

    monkeypatch.setattr(TrainingState, "save", note)
    train_until(monkeypatch, len(steps_of(whole)) - 1, options, tmp_path / "run")
    monkeypatch.setattr(TrainingState, "save", save)
    run = RunFolder.open(tmp_path / "run")
    found = run.checkpoints.load()
    assert found is not None
    tensors = {key: value for key, value in found[0].items() if not key.startswith("optimizer/")}
    state = json.loads(found[1]["state"])
    del state["position"]["samples"]  # what the format before did not know
    state["optimizer"] = {str(place): {} for place in states[-1]}
    for place, kept in states[-1].items():
        for key, value in kept.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{place}/{key}"] = value
            else:
                state["optimizer"][str(place)][key] = value
    write_tensors(
        run.path / "checkpoint.safetensors", tensors, {"format": "fusionkit checkpoint 1", "state": json.dumps(state)}
    )

    resumed = train(options, run.path, accelerator="cpu")

    assert states[-1]
    assert same_bits(weights_of(resumed), weights_of(whole))


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
    checkpoint = RunFolder.open(tmp_path / "full").checkpoints.load()
    assert checkpoint is not None
    assert json.loads(checkpoint[1]["state"])["position"]["total_steps"] == 3

    resumed = train(options, tmp_path / "full", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
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
    assert resumed.log.read() == whole.log.read()


def test_a_second_request_to_end_takes_its_usual_course_and_an_echo_or_a_notice_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = list[int]()
    before = {signum: signal.signal(signum, lambda number, _: course.append(number)) for signum in STOPPING}
    try:
        with Listener() as listener:
            for signum in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
                signal.raise_signal(signum)  # a notice, again and again, and what it announced, on two ways at once
            assert (listener.received, course) == (signal.SIGUSR1, [])
            monkeypatch.setattr("fusionkit.training.interruption.ECHO_SECONDS", 0.0)
            signal.raise_signal(signal.SIGINT)
            assert course == [signal.SIGINT]
            signal.raise_signal(signal.SIGTERM)
            assert course == [signal.SIGINT, signal.SIGTERM]
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class Answers(torch.utils.data.Dataset[Tensor]):
    """How a process that loads data answers to signals."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        ignored = [signal.getsignal(signum) == signal.SIG_IGN for signum in STOPPING]
        return torch.tensor([*ignored, os.getpgrp() == os.getpid()])


def test_what_is_sent_to_all_processes_does_not_end_those_that_load_data() -> None:
    """Else a training would lose its data before it has finished the step and written its checkpoint."""
    loader = DataLoader(Answers(), num_workers=1, worker_init_fn=_begin_worker, batch_size=None)

    *ignored, alone = next(iter(loader)).tolist()

    assert dict(zip(STOPPING, ignored, strict=True)) == {
        signal.SIGINT: True,
        signal.SIGTERM: False,  # by which the loader itself ends them
        signal.SIGUSR1: True,
        signal.SIGUSR2: True,
    }
    assert alone


SCRIPT = """
import json, os, sys
from fusionkit.training import train
from fusionkit.training.log import Journal
told, (options, out, step, signum) = Journal.step, json.loads(sys.argv[1])
def tell(journal, record):
    told(journal, record)
    if record["step"] == step:
        os.kill(os.getpid(), signum) if signum == 9 else os.killpg(0, signum)
Journal.step = tell
train(options, out, accelerator="cpu")
"""


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_or_asked_to_go_leaves_a_run_that_resumes_at_once_to_the_same_bits(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """Processes that load data outlive a kill for seconds, and may not hold the lock; asked is the whole group."""
    options = recipe(checkpoint_seconds=0.0, **CASES["late fusion with selection and a plateau"])
    loading = {**options, "data": {**options["data"], "workers": 1}}
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    step = random.Random(int(signum)).randrange(2, len(steps_of(whole)))
    said = tmp_path / "said.txt"

    with said.open("w") as file:
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps([loading, str(tmp_path / "run"), step, int(signum)])],
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=file,  # no pipe: it would be waited for until the last process is gone
            stderr=file,
            check=False,
            timeout=120,
            start_new_session=True,
        )
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum), said.read_text()
    assert "Traceback" not in said.read_text()
    assert not RunFolder.open(tmp_path / "run").finished
    resumed = train(options, tmp_path / "run", accelerator="cpu")
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()
