"""Two processes learn what one process learns from the union of their batches."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import epochs_of, recipe, same_bits, steps_of, weights_of
from torch import Tensor, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from fusionkit.cli import main
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.models.build import build
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

CASES: dict[str, dict[str, Any]] = {
    # half of the samples lack a modality, so that some batches of a process have it in no sample
    "end_to_end": {"strategy": "end_to_end", "select": "best", "clip_norm": 1.0},
    "late_fusion": {"strategy": "late_fusion", "select": "inner", "accumulate": 2},
}
#: What they compare and remember is of the union of the batches.
OF_UNION: dict[str, dict[str, Any]] = {
    "agm": {"balancer": "agm"},
    "g_blend_online": {"balancer": {"type": "g_blend_online", "every": 2}, "select": "inner"},
    "ogm_ge": {"balancer": {"type": "ogm_ge", "noise": False}},
    "pmr": {"balancer": {"type": "pmr", "mu": 0.1}},
    "relearning": {"balancer": {"type": "relearning", "every": 1}, "select": "inner"},
    "sample_valuation": {"balancer": {"type": "sample_valuation", "warmup": 0}, "epochs": 1},
    "umt": {"balancer": "umt"},
}
#: Each process integrates the gradients of its own batch, or draws for itself: all that is asked is an end.
LOCAL: dict[str, dict[str, Any]] = {
    name: {"balancer": name} for name in ("cml", "gradnorm", "lfm", "mcr", "mmpareto", "opm", "pcgrad")
}


def options_of(case: str, batch_size: int) -> Any:
    given = recipe(
        data={"batch_size": batch_size}, model={"dropout": 0.0}, precision="64-true", **(CASES | OF_UNION | LOCAL)[case]
    )
    given["train"]["optimizer"] = {"type": "sgd", "lr": 0.01}
    return given


#: Loops of a user's own around plain `DistributedDataParallel`: what plays no part in a batch, and what is waited for.
OWN_LOOPS: dict[str, dict[str, Any]] = {
    "no sample lacks anything": {"optimizer": torch.optim.AdamW},
    "one process lacks a modality": {"lacking": [(1, 0), (1, 1)]},
    "all lack a modality": {"lacking": [(0, 1), (1, 1)]},
    "what was missing before is there": {"lacking": [(0, 0)], "wrapper": {"find_unused_parameters": True}}
    | {"optimizer": torch.optim.AdamW},
    "fused scores alone": {"loss": lambda output, targets: cross_entropy(output.fused["mood"], targets)},
    "own scores alone": {"loss": lambda output, targets: cross_entropy(output.unimodal["audio"]["mood"], targets)},
    "features alone": {"loss": lambda output, targets: output.features["video"].square().mul(targets[:, None]).mean()},
    "heads not asked": {"asked": {"unimodal": False}},
    "one modality asked": {"asked": {"modalities": ("audio",), "fused": False}},
    "frozen encoder": {"frozen": True},
    "a graph that never changes": {"wrapper": {"static_graph": True}, "optimizer": torch.optim.AdamW},
    "a graph that never changes, of elements alone": {"wrapper": {"static_graph": True}}
    | {"loss": lambda output, targets: output.sequences["video"].values.square().mean()},
    "elements alone": {"loss": lambda output, targets: output.sequences["video"].values.square().mean()},
    "elements fused": {"fusion": {"type": "bottleneck", "width": 4, "heads": 2, "dropout": 0.0}},
}


def of_own_loop(case: str, rank: int | None) -> dict[str, Tensor]:
    """The weights after three steps: of one of two processes, or of one process on the union of their batches."""
    given = OWN_LOOPS[case]
    torch.manual_seed(0)
    modalities = {
        name: {"shape": [3], "encoder": {"type": "mlp", "hidden": [4], "out": 4}, "aggregator": "mean"}
        for name in ("audio", "video")
    }
    targets = {"mood": {"type": "classification", "classes": ["a", "b", "c"]}}
    model = build({"modalities": modalities, "targets": targets, "fusion": given.get("fusion", "mrpn")}).double()
    model.branch("video").encoders.requires_grad_(not given.get("frozen"))
    network: nn.Module = model
    if rank is not None:
        network = DistributedDataParallel(model, **given.get("wrapper", {}))
    optimizer = given.get("optimizer", torch.optim.SGD)(model.parameters(), lr=0.05)
    for step in range(3):
        ranks = [rank] if rank is not None else [0, 1]
        inputs = {
            name: Jagged.from_list([values for of in ranks for values in _own_samples(given, step, of, name)])
            for name in modalities
        }
        wanted = torch.cat([torch.tensor([0, 1, 2, of]) for of in ranks])
        output = network(inputs, **given.get("asked", {}))
        optimizer.zero_grad()
        if "loss" in given:
            given["loss"](output, wanted).backward()
        else:
            torch.stack(tuple(model.losses(output, {"mood": wanted}).values())).sum().backward()
        optimizer.step()
    return {key: value.clone() for key, value in model.state_dict().items()}


def _own_samples(given: dict[str, Any], step: int, rank: int, name: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(10 * step + rank + (5 if name == "audio" else 0))
    length = 0 if name == "audio" and (rank, step) in given.get("lacking", ()) else 2
    return list(torch.randn(4, length, 3, generator=generator, dtype=torch.float64))


def train_as_one_of_two(rank: int, port: int, folder: str) -> None:
    """What torchrun does for each process."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }
    torch.set_num_threads(1)
    try:
        for case in (*CASES, *OF_UNION, *LOCAL):
            train(json.loads(json.dumps(options_of(case, 2))), Path(folder) / case, accelerator="cpu")
        for case in OWN_LOOPS:
            torch.save(of_own_loop(case, rank), Path(folder) / f"{case}.{rank}")
        train_by_command(rank, Path(folder))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def train_by_command(rank: int, folder: Path) -> None:
    """The command that a user starts, another one, and one with a mistake; what they print goes to a file."""
    recipe_file = folder / f"recipe{rank}.json"
    recipe_file.write_text(json.dumps(options_of("end_to_end", 2)))
    with (folder / f"said{rank}.txt").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        command = ["train", str(recipe_file), "--out", str(folder / "command"), "train.epochs=1"]
        for given in (command, ["evaluate", str(folder / "command")], [*command, "train.epoch=1"]):
            with suppress(SystemExit):
                main(given)


@pytest.fixture(scope="module")
def runs_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(train_as_one_of_two, args=(port, str(folder)), nprocs=2)
    return folder


def test_what_several_processes_say_is_said_once(runs_of_two: Path) -> None:
    said = [(runs_of_two / f"said{rank}.txt").read_text() for rank in range(2)]

    assert said[1] == ""
    assert said[0].count("unknown key") == said[0].count("train.epoch=1") == 1
    assert said[0].count("Target label, fold") == said[0].count("Learning curves: ") == 1
    assert said[0].count("2 processes were started, and only `fusionkit train` divides its work among them") == 1
    assert RunFolder.open(runs_of_two / "command").read_card().plain()["targets"].keys() == {"label"}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_are_those_of_one_process_on_the_union_of_the_batches(
    runs_of_two: Path, tmp_path: Path, case: str
) -> None:
    two = RunFolder.open(runs_of_two / case)
    one = train(options_of(case, 4), tmp_path, accelerator="cpu")

    assert len(steps_of(two)) == len(steps_of(one)) > 0
    for ours, theirs in zip(steps_of(two), steps_of(one), strict=True):
        # batch statistics of very few samples magnify the rounding of every step before
        assert ours["terms"] == pytest.approx(theirs["terms"], rel=1e-12 if ours["step"] <= 2 else 1e-7)
    for ours, theirs in zip(epochs_of(two), epochs_of(one), strict=True):
        assert ours["validation"] == pytest.approx(theirs["validation"], rel=1e-7)
    weights, expected = weights_of(two), weights_of(one)
    assert weights.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(weights[key], expected[key], rtol=1e-6, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("case", OF_UNION)
def test_balancers_see_the_union_of_the_batches(runs_of_two: Path, tmp_path: Path, case: str) -> None:
    two, one = RunFolder.open(runs_of_two / case), train(options_of(case, 4), tmp_path, accelerator="cpu")
    # two processes do not leave a last sample to itself, so an epoch with repeats may have a step less than of one
    steps = [[record for record in steps_of(run) if record["stage"] == "joint"][:8] for run in (two, one)]
    for ours, theirs in zip(*steps, strict=True):  # then the rounding is magnified beyond comparison
        assert ours["terms"] == pytest.approx(theirs["terms"], rel=1e-5)


@pytest.mark.parametrize("case", LOCAL)
def test_balancers_that_work_on_the_batch_of_a_process_come_to_an_end(runs_of_two: Path, case: str) -> None:
    steps = steps_of(RunFolder.open(runs_of_two / case))
    assert len(steps) > 3
    assert all(math.isfinite(record["loss"]) for record in steps)


def test_some_batches_of_one_process_lack_a_modality_that_the_other_has(tmp_path: Path) -> None:
    assembly = assemble(load_recipe(options_of("end_to_end", 2)))
    feeds = [assembly.feed(assembly.train_ids, training=True, rank=rank, world_size=2) for rank in range(2)]

    totals = [
        tuple(batch.inputs["motion"].total > 0 for batch in pair)
        for pair in zip(*(feed.read_epoch(0) for feed in feeds), strict=True)
    ]

    assert {(True, False), (False, True)} & set(totals)


@pytest.mark.parametrize("case", OWN_LOOPS)
def test_a_loop_of_ones_own_around_plain_ddp_learns_in_each_process_what_one_process_learns(
    runs_of_two: Path, case: str
) -> None:
    expected = of_own_loop(case, None)
    first, second = (torch.load(runs_of_two / f"{case}.{rank}", weights_only=True) for rank in range(2))

    for key in expected:
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], expected[key], rtol=1e-7, atol=1e-7, msg=lambda m, k=key: f"{k}: {m}")


def test_a_single_process_reaches_nothing_that_plays_no_part() -> None:
    """As ever: an optimizer leaves a parameter without a gradient alone, its momentum and decay included."""
    model = build({"modalities": {"a": {"shape": [2], "encoder": "mlp"}}, "targets": {"age": {"type": "regression"}}})
    model(dict.fromkeys("a", torch.zeros(4, 2)), unimodal=False).fused["age"].sum().backward()

    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {
        "placeholders.of_a",
        *(n for n, _ in model.named_parameters() if n.startswith("branches.a.heads")),
    }


def command_in(page: str) -> list[str]:
    """How a page says to start several processes, up to the recipe."""
    text = (Path(__file__).parents[2] / "docs" / "how_to" / page).read_text(encoding="utf-8")
    written = text[text.index("torchrun --nproc_per_node") : text.index("train recipe.yaml")]
    return written.replace("\\\n", " ").replace("$(which fusionkit)", "-m fusionkit").split()[1:]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGTERM])
def test_processes_that_are_started_as_the_page_says_leave_together_and_go_on_to_the_same_bits(
    tmp_path: Path, signum: signal.Signals
) -> None:
    options = options_of("end_to_end", 2)
    options["train"] |= {"epochs": 40, "checkpoint_seconds": 1e9}
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    def start(out: str) -> subprocess.Popen[str]:
        command = [*command_in("stop_and_resume.md"), "train", str(tmp_path / "recipe.json")]
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *command, "--out", str(tmp_path / out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole = start("whole")
    said, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    assert said.count("Target label, fold") == 1
    stopped, log = start("run"), tmp_path / "run" / "log.jsonl"
    while not log.is_file() or not log.read_text():
        assert stopped.poll() is None
        time.sleep(0.01)
    stopped.send_signal(signum)
    said, _ = stopped.communicate(timeout=120)  # its pipe is closed once none of the processes is left

    assert stopped.returncode != 0
    run = RunFolder.open(tmp_path / "run")
    assert run.checkpoints.load() is not None, said
    assert said.count("fusionkit: stopped; the same command goes on where it was") == 1
    resumed = start("run")
    said, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert same_bits(weights_of(run), weights_of(RunFolder.open(tmp_path / "whole")))
    assert run.log.read() == RunFolder.open(tmp_path / "whole").log.read()
