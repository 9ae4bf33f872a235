"""What a profile advises: it follows from what was measured, and fits the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_runs import recipe

from fusionkit.config.recipe import load_recipe
from fusionkit.nn.timer import REST
from fusionkit.training.profiling.advice import advise_on
from fusionkit.training.profiling.step_profile import Calls, Share, StageProfile
from fusionkit.training.step.part_names import BACKWARD, DATA, ENCODERS, LOSSES, MOVE, OPTIMIZER


def shares(**parts: float) -> StageProfile:
    """A profile of a step of a second whose parts, by the names of the constants, have these shares."""
    named = {"data": DATA, "move": MOVE, "optimizer": OPTIMIZER, "losses": LOSSES, "rest": REST, "backward": BACKWARD}
    found = [Share(ENCODERS, "motion", 1 - sum(parts.values()), 1 - sum(parts.values()))]
    found += [Share(named[name], None, share, share) for name, share in parts.items()]
    return StageProfile(
        stage="joint",
        device="cpu",
        batches=10,
        skipped=5,
        steps=20,
        filling=0,
        step_samples=16,
        step_seconds=1.0,
        median_seconds=1.0,
        parts=tuple(found),
        operators=(),
        calls=Calls(1000, 0.9, 0.8),
    )


def advice_of(profile: StageProfile, *overrides: str) -> str:
    return advise_on(profile, load_recipe(recipe(), overrides))


def with_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("fusionkit.training.profiling.advice.count_processors", lambda: count)


@pytest.mark.parametrize(
    ("profile", "overrides", "said"),
    [
        (shares(data=0.4), [], "Waiting for data is 40% of a step: the samples are in memory already"),
        (shares(data=0.4, rest=0.3), ["data.cache=false"], "or set data.cache: true"),
        (shares(move=0.3), [], "Moving to the device is 30% of a step"),
        (shares(optimizer=0.5), [], "data.batch_size or train.accumulate"),
        (shares(losses=0.5), ["train.balancer=pcgrad"], "a balancer that computes less than pcgrad"),
        (shares(rest=0.6), [], "raise data.batch_size"),
        (shares(rest=0.6), ["data.budget=100"], "raise data.budget"),
        (shares(backward=0.6), [], "most of its forward pass motion's encoders"),
    ],
)
def test_advice_follows_from_the_largest_share_that_is_worth_a_word(
    monkeypatch: pytest.MonkeyPatch, profile: StageProfile, overrides: list[str], said: str
) -> None:
    with_cores(monkeypatch, 4)
    assert said in advice_of(profile, *overrides)


@pytest.mark.parametrize(
    ("cores", "workers", "cache", "said"),
    [
        (2, 2, True, "try data.workers: 0 (now 2, on 2 cores): starting and feeding workers may cost more"),
        (16, 2, True, "try data.workers: 0 (now 2, on 16 cores)"),
        (2, 1, False, "try data.workers: 0 (now 1, on 2 cores)"),
        (2, 8, False, "loading here, or set data.cache: true"),
        (8, 2, False, "raise data.workers (now 2) up to 7, on 8 cores, or set data.cache: true"),
        (2, 0, False, "raise data.workers (now 0) up to 1, on 2 cores"),
        (1, 0, False, "set data.cache: true where the samples fit into memory; a worker would have no core"),
        (8, 0, True, "leave out transforms of them, or try data.workers (now 0) up to 7"),
        (1, 0, True, "leave out transforms of them."),
    ],
)
def test_no_more_workers_are_advised_than_there_are_cores_for_and_none_where_they_cost_more(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, cache: bool, said: str
) -> None:
    with_cores(monkeypatch, cores)
    overrides = [f"data.workers={workers}", f"data.cache={str(cache).lower()}"]

    assert said in advice_of(shares(data=0.4), *overrides)


@pytest.mark.parametrize("part", ["data", "backward", "optimizer"])
def test_nothing_definite_is_said_of_fewer_than_five_steps(part: str) -> None:
    said = advice_of(replace(shares(**{part: 0.6}), steps=4))

    assert said.startswith("Too few steps to tell what to change (4 timed); give it more, with train.epochs")
    assert "Too few" not in advice_of(replace(shares(**{part: 0.6}), steps=5))


def test_waiting_for_data_is_not_judged_while_the_cache_fills() -> None:
    filling = replace(shares(data=0.4), filling=20)

    assert "20 of the 20 steps are of epochs in which data.cache is filled: too early" in advice_of(filling)
    assert "raise data.workers" not in advice_of(filling)


def test_a_step_that_is_in_no_operator_is_not_blamed_on_them() -> None:
    elsewhere = replace(shares(backward=0.5, optimizer=0.001), calls=Calls(100, 0.001, 0.0))
    assert advice_of(elsewhere).startswith("Most of the step is spent outside of PyTorch's operators")
    fixed = replace(elsewhere, calls=Calls(200_000, 0.8, 0.1))
    assert advice_of(fixed).endswith("so that each computes more.")  # nothing of an optimizer that takes nothing


def test_many_short_calls_are_fixed_costs_that_larger_batches_spread_and_few_long_ones_are_arithmetic() -> None:
    fixed = replace(shares(backward=0.5, optimizer=0.1), calls=Calls(200_000, 0.8, 0.1))
    long = replace(fixed, calls=Calls(1000, 0.9, 0.6))

    said = advice_of(fixed)
    assert "its 200,000 calls of operators cost however little they compute (4 microseconds in the mean)" in said
    assert "raise data.batch_size" in said
    assert "train.accumulate spares some of the optimizer's 10%" in said
    assert "smaller component" not in said
    assert "raise data.budget" in advice_of(fixed, "data.budget=100")
    assert "raise" not in advice_of(replace(fixed, batches=1))
    assert "network's own arithmetic" in advice_of(long)


@pytest.mark.parametrize(("able", "offered"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)])
def test_bf16_is_offered_on_a_cpu_that_multiplies_it_with_the_caution_that_results_differ(
    monkeypatch: pytest.MonkeyPatch, able: str, offered: bool
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {able: True, "architecture": "x86_64"})

    said = "train.precision: bf16-mixed (which rounds, so results differ)"
    assert (said in advice_of(shares(backward=0.6))) == offered
    assert said not in advice_of(shares(backward=0.6), "train.precision=bf16-mixed")
