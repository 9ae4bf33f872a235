"""Watching a training: it says where the time goes, adds up, and changes nothing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import RECIPE, recipe, run_of, same_bits, weights_of
from torch import nn

from fusionkit.assembly import Feed, assemble
from fusionkit.cli import main
from fusionkit.interfaces import Batch
from fusionkit.model import FusionModel, build
from fusionkit.recipe import load_recipe
from fusionkit.runs import RunFolder
from fusionkit.spec import Recipe
from fusionkit.training import Interrupted, Profile, train
from fusionkit.training.advice import advice_on
from fusionkit.training.recorders import REST, Clock
from fusionkit.training.speed import estimate_speed
from fusionkit.training.steps import Learner
from fusionkit.training.watching import (
    BACKWARD,
    DATA,
    ENCODERS,
    FUSION,
    LOSSES,
    MOVE,
    OPTIMIZER,
    Share,
    StageProfile,
    Watch,
)


def profiled(out: Path, **options: Any) -> tuple[RunFolder, Profile]:
    profile = Profile()
    return train(recipe(**options), out, accelerator="cpu", profile=profile), profile


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def shares(**parts: float) -> StageProfile:
    """A profile of a step of a second whose parts, by the names of the constants, have these shares."""
    named = {"data": DATA, "move": MOVE, "optimizer": OPTIMIZER, "losses": LOSSES, "rest": REST, "backward": BACKWARD}
    found = [Share(ENCODERS, "motion", 1 - sum(parts.values()), 1 - sum(parts.values()))]
    found += [Share(named[name], None, share, share) for name, share in parts.items()]
    return StageProfile("joint", "cpu", 5, 20, 1.0, 1.0, tuple(found), ())


def test_a_profiled_training_has_the_weights_and_the_log_of_any_other(tmp_path: Path) -> None:
    plain = run_of(tmp_path / "plain", epochs=8)
    watched, profile = profiled(tmp_path / "watched", epochs=8)

    assert profile.stages
    assert same_bits(weights_of(plain), weights_of(watched))
    assert plain.read_log() == watched.read_log()


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 3},
        {"strategy": "late_fusion"},
        {"balancer": "cml"},
        {"balancer": "pcgrad"},
        {"balancer": {"type": "umt"}},
        {"select": "inner", "patience": 1, "accumulate": 2},
    ],
    ids=str,
)
def test_the_parts_of_a_step_add_up_to_it_whatever_a_step_is(tmp_path: Path, options: dict[str, Any]) -> None:
    run, profile = profiled(tmp_path / "watched", epochs=3, **options)

    assert [stage.stage for stage in profile.stages] == [
        stage["name"] for stage in json.loads(run.load_weights()[1]["stages"])
    ]
    for stage in profile.stages:
        assert stage.steps >= 1
        assert sum(each.seconds for each in stage.parts) == pytest.approx(stage.step_seconds)
        assert sum(each.share for each in stage.parts) == pytest.approx(1.0)
        assert {DATA, MOVE, LOSSES, BACKWARD, OPTIMIZER, REST} <= {each.part for each in stage.parts}
    assert same_bits(weights_of(run), weights_of(run_of(tmp_path / "plain", epochs=3, **options)))


def test_parts_are_told_of_every_modality_and_each_takes_time(tmp_path: Path) -> None:
    _, profile = profiled(tmp_path / "run", epochs=8)

    (stage,) = profile.stages
    found = {(each.part, each.modality): each.seconds for each in stage.parts}
    for modality in RECIPE["model"]["modalities"]:
        assert {part for part, name in found if name == modality} == {"encoders", "aggregator", "uni-modal heads"}
    assert (FUSION, None) in found
    assert all(seconds > 0 for seconds in found.values())


def test_the_time_of_a_part_is_that_of_the_innermost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    monkeypatch.setattr("fusionkit.training.recorders.time.perf_counter", lambda: next(now))

    clock = Clock(torch.device("cpu"))
    clock.enter((LOSSES, None))  # at 1
    clock.enter((FUSION, None))  # at 3
    clock.leave()  # at 6
    clock.leave()  # at 10
    clock.book()  # at 15

    assert clock.seconds == {(REST, None): 1.0 + 5.0, (LOSSES, None): 2.0 + 4.0, (FUSION, None): 3.0}


def test_a_slow_loader_shows_as_waiting_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Feed.epoch

    def slow(self: Feed, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in fast(self, epoch, start):
            time.sleep(0.2)
            yield batch

    monkeypatch.setattr(Feed, "epoch", slow)
    _, profile = profiled(tmp_path / "run", epochs=2)

    (waiting,) = (each for each in profile.stages[0].parts if each.part == DATA)
    assert waiting.seconds >= 0.2


def test_without_a_profile_there_is_no_hook_and_no_watched_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[type, int]]()
    step = Learner.__call__

    def look(self: Learner, *args: Any) -> Any:
        seen.append((type(self), hooks_of(self._model)))
        return step(self, *args)

    monkeypatch.setattr(Learner, "__call__", look)
    for name in ("Clock", "Tracer"):
        monkeypatch.setattr(f"fusionkit.training.watching.{name}.enter", lambda *_: pytest.fail("a part was told"))
    run_of(tmp_path / "run", epochs=2)

    assert set(seen) == {(Learner, 0)}


def test_hooks_stand_on_the_network_only_while_steps_are_watched() -> None:
    model = build(assembly_of(recipe()).recipe)
    watch = Watch("joint", 100, model, torch.optim.SGD(model.parameters(), lr=0.1))
    seen = []
    for _ in range(27):
        watch.begin()
        seen.append(hooks_of(model) > 0)
        watch.end()
    watch.close()

    assert seen == [False] * 5 + [True] * 22
    assert watch.is_over
    assert hooks_of(model) == 0


@pytest.mark.parametrize("left", [1, 2, 3, 4, 7, 10, 27, 1000])
def test_of_few_steps_fewer_are_skipped_and_at_least_one_is_timed(left: int) -> None:
    model = build(assembly_of(recipe()).recipe)
    watch = Watch("joint", left, model, torch.optim.SGD(model.parameters(), lr=0.1))
    steps = 0
    while not watch.is_over:
        watch.begin()
        watch.end()
        steps += 1
    watch.close()
    found = watch.found()

    assert steps == min(left, 27)
    assert found is not None
    assert found.steps >= 1
    assert found.skipped <= 5


def test_summary_and_trace_stand_in_the_run_folder(tmp_path: Path) -> None:
    run, profile = profiled(tmp_path / "run", epochs=8)

    summary = json.loads(run.profile_file.read_text())
    assert run.profile_file == tmp_path / "run" / "profile" / "summary.json"
    assert [stage["stage"] for stage in summary["stages"]] == ["joint"]
    assert summary["stages"][0]["step_seconds"] == profile.stages[0].step_seconds
    assert len(summary["stages"][0]["operators"]) == 3
    assert summary["stages"][0]["advice"]
    trace = json.loads((tmp_path / "run" / "profile" / "trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"motion: encoders", DATA, BACKWARD, OPTIMIZER} <= names
    assert any(str(name).startswith("aten::") for name in names)


def test_a_resumed_run_profiles_the_steps_that_are_left_and_a_finished_one_has_none(tmp_path: Path) -> None:
    whole = recipe(epochs=6)

    def stop(found: StageProfile) -> None:
        signal.raise_signal(signal.SIGINT)

    first = Profile(stop)
    with pytest.raises(Interrupted):
        train(recipe(epochs=60), tmp_path / "long", accelerator="cpu", profile=first)
    assert RunFolder.open(tmp_path / "long").profile_file.is_file()  # what is found is there before the training ends
    again = Profile()
    train(recipe(epochs=60), tmp_path / "long", accelerator="cpu", profile=again)
    assert again.stages[0].steps == first.stages[0].steps == 20

    train(whole, tmp_path / "short", accelerator="cpu")
    late = Profile()
    train(whole, tmp_path / "short", accelerator="cpu", profile=late)
    assert late.stages == []


@pytest.mark.parametrize(
    ("profile", "overrides", "said"),
    [
        (shares(data=0.4), [], "Waiting for data is 40% of a step: raise data.workers (now 0)"),
        (shares(data=0.4, rest=0.3), ["data.cache=false"], "or set data.cache: true"),
        (shares(move=0.3), [], "Moving to the device is 30% of a step"),
        (shares(optimizer=0.5), [], "data.batch_size or train.accumulate"),
        (shares(losses=0.5), ["train.balancer=pcgrad"], "a balancer that computes less than pcgrad"),
        (shares(rest=0.6), [], "raise data.batch_size or data.budget"),
        (shares(backward=0.6), [], "most of its forward pass motion's encoders"),
    ],
)
def test_advice_follows_from_the_largest_share_that_is_worth_a_word(
    profile: StageProfile, overrides: list[str], said: str
) -> None:
    assert said in advice_on(profile, load_recipe(recipe(), overrides))


def test_the_command_prints_a_table_in_80_columns_whose_shares_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe(epochs=8)))
    call = ["train", str(file), "--out", str(tmp_path / "run"), "--profile"]

    with pytest.raises(SystemExit) as ended:
        main(call)
    first = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(call)
    second = capsys.readouterr().out

    assert ended.value.code in (None, 0)
    for said in (
        "A step of the stage joint, on cpu",
        DATA,
        "motion: encoders",
        "100.0%",
        "Heaviest operators",
    ):
        assert said in first
    assert all(len(line) <= 80 for line in first.splitlines() if str(tmp_path) not in line)
    assert "nothing to profile" not in first
    assert "There was nothing to profile: no step of this run is left." in second


def assembly_of(document: Any) -> Any:
    return assemble(load_recipe(document))


def speed_of(document: Any, *overrides: str) -> Any:
    assembly = assemble(load_recipe(document, overrides))
    complete: Recipe = assembly.recipe
    lengths = dict.fromkeys(complete.model.modalities, 4)
    return estimate_speed(complete, build(complete, assembly.dataset), lengths, torch.device("cpu"), rounds=1)


HEADS = {
    "regression": {"type": "regression", "outputs": 2},
    "concordance": "concordance",
    "multilabel": {"type": "multilabel", "labels": ["a", "b"]},
    "ordinal": {"type": "ordinal", "classes": ["low", "mid", "high"]},
}


def shaped(**changes: Any) -> Recipe:
    """A recipe that states its shapes, so that no data are needed."""
    model = {"modalities": {n: {"shape": [3], "encoder": "mlp"} for n in ("motion", "posture")}}
    return load_recipe(recipe(model={**model, **changes}))


def estimated(given: Recipe) -> Any:
    lengths = dict.fromkeys(given.model.modalities, 4)
    return estimate_speed(given, build(given), lengths, torch.device("cpu"), rounds=1)


@pytest.mark.parametrize("head", HEADS)
def test_the_speed_of_every_kind_of_target_is_estimated_without_data(head: str) -> None:
    speed = estimated(shaped(targets={"label": HEADS[head]}))

    assert [stage.name for stage in speed.stages] == ["joint"]
    assert speed.stages[0].step_seconds > 0
    assert speed.stages[0].peak_memory is None
    assert speed.predicted_per_second > 0


def test_the_stages_of_a_speed_are_those_of_the_training_teachers_included() -> None:
    late = speed_of(recipe(), "train.strategy=late_fusion")
    taught = speed_of(recipe(balancer="umt"))

    assert [stage.name for stage in late.stages] == ["motion", "posture", "fusion"]
    assert [stage.name for stage in taught.stages] == ["teacher_motion", "teacher_posture", "joint"]


def test_a_step_accumulates_batches_and_a_budget_counts_elements_before_transforms() -> None:
    accumulated = speed_of(recipe(data={"batch_size": 4}, accumulate=3))
    budget = speed_of(
        recipe(
            data={"budget": 48},
            model={
                "modalities": {
                    "motion": {"encoder": "mlp", "transforms": {"type": "subsample", "every": 2}},
                    "posture": {"encoder": "mlp"},
                }
            },
        )
    )

    assert (accumulated.batch, accumulated.stages[0].step_samples) == (4, 12)
    assert budget.batch == 48 // (4 * 2)


def test_a_batch_that_does_not_fit_is_said_with_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Learner, *args: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Learner, "__call__", full)
    with pytest.raises(Exception, match=r"a batch of 8 samples does not fit .* lower data\.batch_size"):
        speed_of(recipe())


@pytest.mark.slow
def test_the_estimated_step_takes_what_a_step_of_a_training_takes(tmp_path: Path) -> None:
    motion = {"features": 3, "min_length": 50, "max_length": 50}
    posture = {"features": 4, "min_length": 50, "max_length": 50}
    dataset = {"type": "synthetic", "groups": 4, "samples": 8, "modalities": {"motion": motion, "posture": posture}}
    wide = {
        n: {"encoder": {"type": "conv1d", "channels": [64, 64]}, "aggregator": "gru"} for n in ("motion", "posture")
    }
    document = recipe(data={"dataset": dataset, "batch_size": 16}, model={"modalities": wide}, epochs=8)
    assembly = assemble(load_recipe(document))
    model: FusionModel = build(assembly.recipe, assembly.dataset)

    ratios = []
    for number in range(3):  # the machine may be busy with something else in one of the two
        speed = estimate_speed(assembly.recipe, model, {"motion": 50, "posture": 50}, torch.device("cpu"))
        profile = Profile()
        train(document, tmp_path / str(number), accelerator="cpu", profile=profile)
        ratios.append(speed.stages[0].step_seconds / profile.stages[0].median_seconds)

    assert speed.stages[0].timed_samples == 16
    assert 1 / 2 < sorted(ratios)[1] < 2
