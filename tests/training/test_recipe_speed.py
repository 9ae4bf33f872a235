"""How fast a recipe is said to be: by steps of its own, on noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe

from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import assemble
from fusionkit.errors import TrainingError
from fusionkit.models.build import FusionModel, build
from fusionkit.training import Profile, train
from fusionkit.training.profiling.speed import estimate_speed
from fusionkit.training.step.learner import Learner


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


FULL = (torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"))


@pytest.mark.parametrize("error", FULL, ids=("gpu", "cpu"))
def test_a_batch_that_does_not_fit_is_said_with_what_to_lower(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def full(self: Learner, *args: Any) -> Any:
        raise error

    monkeypatch.setattr(Learner, "__call__", full)
    with pytest.raises(
        TrainingError, match=r"stage joint: a batch of 8 samples does not fit .* lower data\.batch_size"
    ):
        speed_of(recipe())


@pytest.mark.parametrize("error", FULL, ids=("gpu", "cpu"))
def test_a_prediction_that_does_not_fit_is_said_as_well(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    forward = FusionModel.forward

    def full(self: FusionModel, *args: Any, **options: Any) -> Any:
        if torch.is_inference_mode_enabled():
            raise error
        return forward(self, *args, **options)

    monkeypatch.setattr(FusionModel, "forward", full)
    said = r"prediction: a batch of 8 samples does not fit into the memory of cpu; lower data\.batch_size"
    with pytest.raises(TrainingError, match=said):
        speed_of(recipe())


def test_an_error_that_is_not_of_memory_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Learner, *args: Any) -> Any:
        raise RuntimeError("a mistake of a component")

    monkeypatch.setattr(Learner, "__call__", wrong)
    with pytest.raises(RuntimeError, match="a mistake of a component"):
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
