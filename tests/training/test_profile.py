"""Watching a training: it says where the time goes, adds up, and changes nothing."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import RECIPE, recipe, run_of, same_bits, weights_of
from torch import nn

from fusionkit.cli import main
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import Feed, assemble
from fusionkit.interfaces import Batch
from fusionkit.models import network
from fusionkit.models.build import build
from fusionkit.nn.timer import REST, Timer
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import Interrupted, Profile, train
from fusionkit.training.profiling.step_profile import Calls, Operator, StageProfile
from fusionkit.training.profiling.watch import Watch
from fusionkit.training.step.learner import Learner
from fusionkit.training.step.part_names import BACKWARD, DATA, FUSION, LOSSES, MOVE, OPTIMIZER

NOTHING = Batch({}, {}, tuple(map(str, range(16))))


def profiled(out: Path, **options: Any) -> tuple[RunFolder, Profile]:
    profile = Profile()
    return train(recipe(**options), out, accelerator="cpu", profile=profile), profile


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def watch_of(*, left: int, fills: int = 0, seconds: float | None = None, traced: Any = None) -> Watch:
    """A watch over steps of nothing, with clock and traces of our own where they are given."""
    model = build(assembly_of(recipe()).recipe)
    watch = Watch("joint", left, model, batches=10, fills=fills)
    for _ in watch.steps(iter(lambda: [NOTHING], None)):
        pass
    watch.close()
    if seconds is not None:
        watch._durations = [seconds] * len(watch._durations)
    if traced is not None:
        watch._traces = [SimpleNamespace(calls=lambda of=of: of) for of in traced]
    return watch


def test_a_profiled_training_has_the_weights_and_the_log_of_any_other(tmp_path: Path) -> None:
    plain = run_of(tmp_path / "plain", epochs=8)
    watched, profile = profiled(tmp_path / "watched", epochs=8)

    assert profile.stages
    assert same_bits(weights_of(plain), weights_of(watched))
    assert plain.log.read() == watched.log.read()


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


def test_a_slow_loader_shows_as_waiting_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Feed.read_epoch

    def slow(self: Feed, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in fast(self, epoch, start):
            time.sleep(0.2)
            yield batch

    monkeypatch.setattr(Feed, "read_epoch", slow)
    _, profile = profiled(tmp_path / "run", epochs=2)

    (waiting,) = (each for each in profile.stages[0].parts if each.part == DATA)
    assert waiting.seconds >= 0.2


def test_what_a_forward_pass_does_beside_its_components_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = network.pack_inputs

    def slow(*given: Any) -> Any:
        time.sleep(0.1)
        return pack(*given)

    monkeypatch.setattr(network, "pack_inputs", slow)
    _, profile = profiled(tmp_path / "run", epochs=2)

    seconds = {each.part: each.seconds for each in profile.stages[0].parts if each.modality is None}
    assert seconds[REST] >= 0.1 > seconds[LOSSES]


def test_without_a_profile_there_is_no_hook_and_no_watched_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[type, int]]()
    step = Learner.__call__

    def look(self: Learner, *args: Any) -> Any:
        seen.append((type(self), hooks_of(self._model)))
        return step(self, *args)

    monkeypatch.setattr(Learner, "__call__", look)
    monkeypatch.setattr(Timer, "__init__", lambda *_: pytest.fail("a step was timed"))
    monkeypatch.setattr("torch.profiler.record_function", lambda *_: pytest.fail("a part was labelled"))
    run_of(tmp_path / "run", epochs=2)

    assert set(seen) == {(Learner, 0)}


def test_hooks_stand_on_the_network_only_while_steps_are_watched() -> None:
    model = build(assembly_of(recipe()).recipe)
    watch = Watch("joint", 100, model, batches=10)
    seen = [hooks_of(model) > 0 for _ in watch.steps(iter(lambda: [NOTHING], None))]
    watch.close()

    assert seen == [False] * 5 + [True] * 22
    assert watch.is_over
    assert hooks_of(model) == 0


def test_what_begins_at_the_end_of_an_epoch_is_no_step_and_is_traced_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = list[str]()

    class Noted:
        def __init__(self, device: torch.device) -> None:
            done.append("start")

        def stop(self) -> None:
            done.append("stop")

        def calls(self) -> list[tuple[str, float]]:
            return []

    monkeypatch.setattr("fusionkit.training.profiling.watch.Trace", Noted)
    watch = Watch("joint", 100, build(assembly_of(recipe()).recipe), batches=1)
    epochs = 0
    while not watch.is_over:
        epochs += sum(1 for _ in watch.steps(iter([[NOTHING]])))
        assert not watch.is_over or epochs == 27
        with watch.label("validation"):
            pass
    watch.close()
    found = watch.summarise()

    assert done == ["start", "stop"] * 4  # two traced steps, and before each the end of an epoch
    assert found is not None
    assert (found.steps, found.step_samples) == (20, 16)


@pytest.mark.parametrize("left", [1, 2, 3, 4, 7, 10, 27, 1000])
def test_of_few_steps_fewer_are_skipped_and_at_least_one_is_timed(left: int) -> None:
    watch, asked = Watch("joint", left, build(assembly_of(recipe()).recipe), batches=10), itertools.count()
    steps = sum(1 for _ in watch.steps([NOTHING] for _ in asked))
    watch.close()
    found = watch.summarise()

    assert steps == next(asked) == min(left, 27)  # no batches are taken but of watched steps
    assert found is not None
    assert found.steps >= 1
    assert found.skipped <= 5


def test_summary_and_trace_stand_in_the_run_folder(tmp_path: Path) -> None:
    run, profile = profiled(tmp_path / "run", epochs=8)

    summary = json.loads(run.profile_file.read_text())
    assert run.profile_file == tmp_path / "run" / "profile" / "summary.json"
    assert [stage["stage"] for stage in summary["stages"]] == ["joint"]
    assert summary["stages"][0]["step_seconds"] == profile.stages[0].step_seconds
    assert summary["stages"][0]["calls"]["count"] > 0
    assert summary["stages"][0]["step_samples"] == 8
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


@pytest.mark.parametrize(("left", "fills", "skipped", "filling"), [(100, 0, 5, 0), (100, 9, 9, 0), (18, 9, 6, 3)])
def test_steps_that_fill_the_cache_warm_up_where_enough_are_left(
    left: int, fills: int, skipped: int, filling: int
) -> None:
    found = watch_of(left=left, fills=fills).summarise()

    assert found is not None
    assert (found.skipped, found.filling) == (skipped, filling)


def test_a_first_epoch_that_is_long_is_not_waited_for_and_all_its_timed_steps_fill_the_cache() -> None:
    found = watch_of(left=1000, fills=500).summarise()

    assert found is not None
    assert (found.skipped, found.steps, found.filling) == (5, 20, 20)


def test_a_call_that_was_interrupted_in_one_traced_step_makes_no_operator_heavy() -> None:
    usual = [("aten::mm", 0.3), ("aten::mm", 0.2), ("aten::split", 40e-6), ("aten::add", 0.02)]
    interrupted = [("aten::mm", 0.4), ("aten::mm", 0.3), ("aten::split", 7.0), ("aten::add", 0.01), ("aten::sum", 0.9)]

    found = watch_of(left=100, seconds=1.0, traced=[interrupted, usual]).summarise()

    assert found is not None
    assert found.operators == (Operator("aten::mm", 2, 0.5),)  # the rest is less than a twentieth of the step
    assert found.calls == Calls(4, pytest.approx(0.52 + 40e-6), pytest.approx(0.52))


def test_clips_per_second_are_those_of_the_timed_steps_all_batches_of_a_step_included(tmp_path: Path) -> None:
    _, profile = profiled(tmp_path / "run", epochs=8, accumulate=2, data={"batch_size": 2})

    (stage,) = profile.stages
    assert stage.step_samples == 4
    assert stage.clips_per_second == pytest.approx(4 / stage.step_seconds)


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
        "clips/s.",
    ):
        assert said in first
    assert all(len(line) <= 80 for line in first.splitlines() if str(tmp_path) not in line)
    assert "nothing to profile" not in first
    assert "There was nothing to profile: no step of this run is left." in second


def assembly_of(document: Any) -> Any:
    return assemble(load_recipe(document))
