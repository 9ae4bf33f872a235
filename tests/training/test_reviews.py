"""What a balancer may see and do between two epochs, through trainings of a fraction of a second."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe, same_bits, steps_of, weights_of

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Batch, EpochPlan, Repeat, Review
from fusionkit.models.build import FusionModel, build
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train
from fusionkit.training.balancers import GBlendOnline
from fusionkit.training.interruption import Interrupted
from fusionkit.training.log import Journal
from fusionkit.training.loop import _Fit
from fusionkit.training.step.learner import Learner
from fusionkit.training.step.parts import Parts

Hook = Callable[[GBlendOnline, Review], EpochPlan]


def given(**more: Any) -> Any:
    return recipe(balancer="g_blend_online", select="inner", data={"batch_size": 3}, **more)


def trained(out: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook, **more: Any) -> RunFolder:
    """A training whose balancer does before each epoch what it is told."""
    with monkeypatch.context() as patched:
        patched.setattr(GBlendOnline, "before_epoch", hook)
        return train(given(**more), out, accelerator="cpu")


def nothing(balancer: GBlendOnline, review: Review) -> EpochPlan:
    return EpochPlan()


def test_a_walk_shows_every_sample_once_as_evaluation_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = {}
    assembly = assemble(load_recipe(given()))

    def walk(balancer: GBlendOnline, review: Review) -> EpochPlan:
        if review.epoch == 0:
            assert review.branches == ("motion", "posture", "fused")
            assert review.trains == ("motion", "posture", "fusion")
            for samples in ("training", "held_out"):
                seen[samples] = list(review.walk(samples))
                for step in seen[samples]:
                    both = step.scores_of(("motion", "posture"))
                    assert torch.equal(both["label"], step.output.fused["label"])
                    loss = step.loss_of("fused/label", both["label"])
                    logarithm = -both["label"].log_softmax(dim=1)
                    expected = logarithm[torch.arange(len(loss)), step.targets["label"]]
                    torch.testing.assert_close(loss, expected)
                    said = step.distribution_of("fused/label", both["label"])
                    torch.testing.assert_close(said, both["label"].softmax(dim=1))
                    assert set(step.output.unimodal) == {"motion", "posture"}
                    assert not both["label"].requires_grad
        return EpochPlan()

    trained(tmp_path / "run", monkeypatch, walk, epochs=1)

    ids = {name: [row for step in of for row in step.sample_ids] for name, of in seen.items()}
    assert ids == {"training": list(assembly.train_ids), "held_out": list(assembly.validation_ids)}
    assert not {*ids["training"]} & {*ids["held_out"]}
    groups = {row.id: row.group for row in assembly.dataset.rows}
    assert not {groups[name] for name in ids["training"]} & {groups[name] for name in ids["held_out"]}
    assert not all(step.output.present["motion"].all() for step in seen["training"])


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_walks_and_trials_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    found: dict[str, dict[str, float]] = {}

    def look(balancer: GBlendOnline, review: Review) -> EpochPlan:
        before = losses_by_branch(review)
        torch.rand(3)
        for branch in review.branches:
            with review.trial(branch, 2):
                found[branch] = losses_by_branch(review)
            assert losses_by_branch(review) == before
        found["before"] = before
        return EpochPlan()

    looked = trained(tmp_path / "looked", monkeypatch, look, precision=precision, epochs=2)
    plain = trained(tmp_path / "plain", monkeypatch, nothing, precision=precision, epochs=2)

    assert same_bits(weights_of(looked), weights_of(plain))
    assert steps_of(looked) == steps_of(plain)
    before = found["before"]
    for branch in ("motion", "posture"):  # alone: only it has learned
        other = {"motion": "posture", "posture": "motion"}[branch]
        assert found[branch][branch] < before[branch]
        assert found[branch][other] == before[other]
    assert found["fused"]["fused"] < before["fused"]


def losses_by_branch(review: Review) -> dict[str, float]:
    sums = Counter[str]()
    for step in review.walk("training"):
        for branch in review.branches:
            scores = step.output.fused if branch == "fused" else step.output.unimodal[branch]
            sums[branch] += float(step.loss_of(f"{branch}/label", scores["label"]).nansum())
    return dict(sums)


def test_a_trial_is_the_training_of_one_branch_alone_with_the_recipes_optimizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[str, tuple[str, ...], float, float]] = []
    call = Learner.__call__

    def told(learner: Learner, batches: Any, moment: Any, signal: int) -> Any:
        outcome = call(learner, batches, moment, signal)
        rows.append((learner._stage.name, tuple(outcome.terms), moment.lr, moment.epoch))
        return outcome

    def once(balancer: GBlendOnline, review: Review) -> EpochPlan:
        if review.epoch == 1:
            with review.trial("posture", 2):
                pass
        return EpochPlan()

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "__call__", told)
        trained(
            tmp_path / "run",
            monkeypatch,
            once,
            epochs=2,
            warmup=0.9,
            optimizer={"type": "sgd", "lr": 0.5},
            scheduler="cosine",
        )

    trial = [row for row in rows if row[0] != "joint"]
    assert {row[1] for row in trial} == {("posture/label",)}
    assert {row[2] for row in trial} == {0.25}  # the cosine half way, without the warm-up
    joint = [row for row in rows if row[0] == "joint"]
    assert len(trial) == len(joint) > 0
    assert [row[3] for row in trial] == [1] * (len(trial) // 2) + [2] * (len(trial) // 2)


def test_an_encoder_relearns_from_part_of_the_way_back_and_its_heads_stay() -> None:
    model = build(assemble(load_recipe(recipe())).recipe)
    parts = Parts(model)
    initial = parts.snapshot((*model.modalities, "fusion"))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    before = {key: value.clone() for key, value in model.state_dict().items()}

    parts.relearn(initial, "posture", 0.25)

    parameters = dict(model.named_parameters())
    moved = 0
    for key, value in model.state_dict().items():
        encoder = key.startswith("branches.posture.") and ".heads." not in key and key in parameters
        expected = 0.75 * before[key] + 0.25 * initial[key] if encoder else before[key]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6 if encoder else 0)
        moved += encoder
    assert moved >= 4


def test_a_plan_takes_encoders_back_that_the_stage_trains_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(Parts, "relearn", lambda parts, initial, name, share: asked.append((name, share)))

    def back(balancer: GBlendOnline, review: Review) -> EpochPlan:
        return EpochPlan(relearn={"motion": 0.1 * review.epoch, "posture": 0.5})

    trained(tmp_path / "run", monkeypatch, back, epochs=2, strategy="late_fusion")

    own = [("motion", 0.0), ("motion", 0.1), ("posture", 0.5), ("posture", 0.5)]
    assert asked == own  # and none while the fusion learns on frozen encoders


def test_an_epoch_has_every_sample_and_its_repeats_with_the_modalities_that_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = assemble(load_recipe(given())).train_ids
    drawn: dict[int, list[tuple[str, bool, bool]]] = {}
    call = Learner.__call__

    def told(learner: Learner, batches: list[Batch], moment: Any, signal: int) -> Any:
        for batch in batches:
            here = [[size > 0 for size in batch.inputs[name].sizes] for name in ("motion", "posture")]
            drawn.setdefault(moment.epoch, []).extend(zip(batch.sample_ids, *here, strict=True))
        return call(learner, batches, moment, signal)

    def again(balancer: GBlendOnline, review: Review) -> EpochPlan:
        repeats = (Repeat(ids[0], ("posture",)), Repeat(ids[0], ("posture",)), Repeat(ids[1], ("motion",)))
        return EpochPlan(repeats=repeats if review.epoch == 1 else ())

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "__call__", told)
        run = trained(tmp_path / "run", monkeypatch, again)

    whole = Counter(drawn[0])
    assert Counter(name for name, _, _ in drawn[0]) == Counter(ids)
    assert Counter(drawn[2]) == whole
    extra = Counter(drawn[1]) - whole
    has_motion = next(motion for name, motion, _ in drawn[0] if name == ids[1])
    assert extra == Counter({(ids[0], False, True): 2, (ids[1], has_motion, False): 1})
    assert any(motion for name, motion, _ in drawn[0] if name == ids[0])
    counts = Counter(record["epoch"] for record in steps_of(run))
    assert counts[1] == counts[0] + 1


def test_a_signal_within_a_review_leaves_a_checkpoint_from_which_the_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def review_once(balancer: GBlendOnline, review: Review) -> EpochPlan:
        balancer.weights[0].add_(0.25)
        with review.trial("posture", 1):
            list(review.walk("training"))
        return EpochPlan(relearn={"motion": 0.5})

    whole = trained(tmp_path / "whole", monkeypatch, review_once)
    seed = _Fit._seed

    def send(fit: _Fit, stage: Any, step: int) -> None:
        if "1/trial" in stage.name and step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        seed(fit, stage, step)

    with monkeypatch.context() as patched:
        patched.setattr(_Fit, "_seed", send)
        with pytest.raises(Interrupted):
            trained(tmp_path / "run", monkeypatch, review_once)
    stopped = RunFolder.open(tmp_path / "run")
    assert {record["epoch"] for record in steps_of(stopped)} == {0}

    resumed = trained(tmp_path / "run", monkeypatch, review_once)

    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()


def test_a_training_that_dies_in_an_epoch_goes_on_with_its_plan_and_does_not_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = assemble(load_recipe(given())).train_ids
    asked: list[int] = []

    def plan(balancer: GBlendOnline, review: Review) -> EpochPlan:
        asked.append(review.epoch)
        balancer.weights[0].add_(0.25)
        repeats = [Repeat(name, ("posture",)) for name in ids] if review.epoch == 1 else []
        return EpochPlan(relearn={"posture": 0.3}, repeats=tuple(repeats))

    class Died(BaseException):
        """Stands for a process that is gone."""

    whole = trained(tmp_path / "whole", monkeypatch, plan, checkpoint_seconds=0.0)
    told = Journal.step

    def die(journal: Journal, record: Any) -> None:
        told(journal, record)
        if [each["epoch"] for each in records if each["step"] <= record["step"]].count(1) == 3:
            journal.flush()
            raise Died

    records = steps_of(whole)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "step", die)
        with pytest.raises(Died):
            trained(tmp_path / "run", monkeypatch, plan, checkpoint_seconds=0.0)
    asked.clear()
    resumed = trained(tmp_path / "run", monkeypatch, plan, checkpoint_seconds=0.0)

    assert asked == [2]
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert resumed.log.read() == whole.log.read()


def test_a_balancer_that_compares_with_held_out_samples_is_refused_where_none_are_held_out(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train.select: 'last' holds no samples out, .*'relearning'.*select: inner"):
        train(recipe(balancer="relearning"), tmp_path / "run", accelerator="cpu")


def test_a_balancer_without_the_hook_is_never_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a review was made")

    monkeypatch.setattr(_Fit, "_make_reviewer", refuse)
    monkeypatch.setattr(FusionModel, "loss_of", refuse)
    run = train(recipe(epochs=1), tmp_path / "run", accelerator="cpu")

    assert run.finished
