"""Two processes learn what one process learns from the union of their batches."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import epochs_of, recipe, steps_of, weights_of
from torch import multiprocessing

from fusionkit.assembly import assemble
from fusionkit.recipe import load_recipe
from fusionkit.runs import RunFolder
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
    finally:
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(train_as_one_of_two, args=(port, str(folder)), nprocs=2)
    return folder


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
        for pair in zip(*(feed.epoch(0) for feed in feeds), strict=True)
    ]

    assert {(True, False), (False, True)} & set(totals)
