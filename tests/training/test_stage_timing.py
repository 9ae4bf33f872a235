"""What an experiment is said to cost: counts that hold, and times that come from its own steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe
from typer.testing import CliRunner

from fusionkit.cli import app, main
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.sources import Datasets
from fusionkit.experiments import open_experiment
from fusionkit.experiments.budget import time_epoch
from fusionkit.interfaces import Batch, Stage
from fusionkit.models.build import build
from fusionkit.storage.files import as_json
from fusionkit.training.profiling import stage_timing
from fusionkit.training.profiling.rehearsal import Rehearsal
from fusionkit.training.profiling.speed import estimate_speed
from fusionkit.training.profiling.stage_timing import StageTime, time_stages
from fusionkit.training.step.learner import Learner
from fusionkit.training.step.teacher import Teacher
from fusionkit.training.trainer import make_fabric

EXPERIMENT = {
    "schema": 1,
    "recipe": "recipe.yaml",
    "variants": {"late": {"overrides": ["train.strategy=late_fusion"]}, "joint": {}},
    "seeds": [0, 1],
}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_bytes(as_json(recipe(epochs=2)))
    path = tmp_path / "experiment.yaml"
    path.write_bytes(as_json(EXPERIMENT))
    return path


def test_stages_are_those_of_the_strategy_and_their_steps_are_epochs_times_batches() -> None:
    assembly = assemble(load_recipe(recipe(epochs=3), ["train.strategy=late_fusion", "train.accumulate=2"]))

    times = time_stages(assembly, rounds=1, accelerator="cpu")

    batches = assembly.feed(assembly.train_ids, training=True).count(0)
    assert [stage.name for stage in times] == [*assembly.recipe.model.modalities, "fusion"]
    assert [stage.steps for stage in times] == [3 * -(-batches // 2)] * len(times)
    assert all(stage.seconds > 0 for stage in times)


def test_teachers_of_a_balancer_are_timed_as_stages_and_look_on_in_the_stage_after_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assembly = assemble(load_recipe(recipe(epochs=3), ["train.balancer=umt"]))
    looked: list[tuple[str, ...]] = []
    look = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, batch: looked.append(self.modalities) or look(self, batch))

    times = time_stages(assembly, rounds=1, accelerator="cpu")

    modalities = tuple(assembly.recipe.model.modalities)
    batches = assembly.feed(assembly.train_ids, training=True).count(0)
    assert [stage.name for stage in times] == [*(f"teacher_{name}" for name in modalities), "joint"]
    assert [stage.steps for stage in times] == [3 * batches] * len(times)
    assert set(looked) == {modalities}


def test_the_run_of_a_recipe_with_teachers_is_the_sum_of_all_its_stages_and_shares_a_budget_of_minutes(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_of(assembly: Assembly, rehearsal: object, stage: Stage, **of: Any) -> StageTime:
        return StageTime(stage.name, assembly.recipe.train.epochs, 6.0, 1, 0.0)

    monkeypatch.setattr(stage_timing, "_time_stage", time_of)

    cost = open_experiment(experiment, tmp_path, ["train.balancer=umt", "train.strategy=end_to_end"]).cost()

    assert {each.run_hours for each in cost.variants if each.variant == "joint"} == {3 * 2 * 6 / 3600}
    assert time_epoch(load_recipe(recipe(epochs=2), ["train.balancer=umt"]), Datasets()) == 3 * 6
    assert time_epoch(load_recipe(recipe(epochs=2)), Datasets()) == 6


def test_a_long_step_is_timed_once_on_few_samples_and_scaled_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 8))  # every look at the clock is 8 seconds after the one before
    monkeypatch.setattr("fusionkit.nn.timer.time.perf_counter", lambda: float(next(clock)))
    assembly = assemble(load_recipe(recipe(epochs=1), ["data.batch_size=6"]))

    (stage,) = time_stages(assembly, samples=2, accelerator="cpu")

    batches = assembly.feed(assembly.train_ids, training=True).count(0)
    assert stage.timed_samples == 2
    assert stage.step_seconds == pytest.approx(8 / 2 * len(assembly.train_ids) / batches)


def test_steps_are_timed_on_targets_that_are_scaled_as_in_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(epochs=1)
    given["data"]["dataset"]["regression"] = True
    given["model"]["targets"] = {"strength": "regression"}
    assembly = assemble(load_recipe(given))
    for row in assembly.dataset.rows:
        monkeypatch.setitem(row.targets, "strength", 1e21 * row.targets["strength"])

    assert all(stage.seconds > 0 for stage in time_stages(assembly, rounds=1, accelerator="cpu"))


@pytest.mark.parametrize("balancer", ["multi_term", "pcgrad"])
def test_rehearsed_steps_move_no_weight(balancer: str) -> None:
    assembly = assemble(load_recipe(recipe(epochs=1), [f"train.balancer={balancer}"]))
    model = build(assembly.recipe, assembly.dataset)
    rehearsal = Rehearsal(assembly.recipe, make_fabric(assembly.recipe, "cpu"), model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    with rehearsal.learn(rehearsal.stages[0]) as learn:
        outcome = learn(next(assembly.loader(assembly.train_ids, training=True)))

    assert outcome.loss > 0
    assert any(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_steps_are_timed_in_the_precision_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assembly = assemble(load_recipe(recipe(epochs=1, precision="64-true")))
    seen = set[torch.dtype]()
    step = Learner.__call__

    def look(self: Learner, batches: Sequence[Batch], *given: Any) -> Any:
        seen.update(value.dtype for batch in batches for value in batch.inputs.values())
        seen.update(parameter.dtype for parameter in self._model.parameters())
        return step(self, batches, *given)

    monkeypatch.setattr(Learner, "__call__", look)
    time_stages(assembly, rounds=1, accelerator="cpu")
    lengths = dict.fromkeys(assembly.recipe.model.modalities, 4)
    estimate_speed(assembly.recipe, build(assembly.recipe, assembly.dataset), lengths, torch.device("cpu"), rounds=1)

    assert seen == {torch.float64}


def test_timing_draws_nothing_from_the_generator_of_the_process() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    time_stages(assemble(load_recipe(recipe(epochs=1))), rounds=1, accelerator="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_runs_that_are_finished_cost_nothing_any_more(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folds = "folds=[0]"
    before = open_experiment(experiment, out, [folds]).cost(processes=1)
    assert {each.variant: each.runs for each in before.variants} == {"late": 2, "joint": 2}
    assert before.hours == pytest.approx(sum(each.runs * each.run_hours for each in before.variants))
    assert not out.exists()

    open_experiment(experiment, out, [folds]).run(processes=1)
    after = open_experiment(experiment, out, [folds]).cost(processes=1)
    assert (after.runs, after.hours) == (0, 0)


def test_a_dry_run_says_clips_runs_and_time_and_trains_nothing(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = CliRunner().invoke(app, ["experiment", str(experiment), "--out", str(out), "--dry-run", "--processes", "1"])
    assert said.exit_code == 0, said.output
    assert "from timed steps" in said.output
    assert "clips with" in said.output
    assert all(len(line) <= 80 for line in said.output.splitlines())
    assert not out.exists()

    as_data = CliRunner().invoke(app, ["experiment", str(experiment), "--out", str(out), "--dry-run", "--json"])
    record = json.loads(as_data.stdout)
    assert record["runs"] == sum(each["runs"] for each in record["variants"])
    assert record["clips"] > 0


@pytest.mark.parametrize("place", ["file", "file/runs"])
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_runs_that_would_lie_in_a_file_are_refused_before_anything_is_timed(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, options: list[str]
) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(SystemExit) as ended:
        main(["experiment", str(experiment), "--out", str(tmp_path / place), *options])

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "file: is a file, so no runs can be in it; name another folder" in " ".join(said.err.split())
    assert "timed steps" not in said.out
    assert (tmp_path / "file").read_text() == "mine"


def test_steps_are_timed_on_one_thread_as_runs_take_them(experiment: Path, tmp_path: Path) -> None:
    seen = list[int]()

    def watched(*given: object, **options: object) -> list[StageTime]:
        seen.append(torch.get_num_threads())
        return [StageTime("all", 1, 1.0, 1, 0.0)]

    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_timing, "time_stages", watched)
        torch.set_num_threads(2)
        open_experiment(experiment, tmp_path / "out").cost(processes=2)
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
