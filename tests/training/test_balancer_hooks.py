"""Every hook of a balancer, through one optimizer step whose outcome is known in closed form.

Plain gradient descent at rate one: what a weight loses in a step is its gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from small_runs import recipe, run_of, steps_of
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.interfaces import Balancer, Batch, GradientScale, Plan, Stage, Step
from fusionkit.models.build import FusionModel, build
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.outcome import Outcome
from fusionkit.training.step.parts import Parts

MODALITIES = ("motion", "posture")
JOINT = Stage("joint", (*MODALITIES, "fusion"), (*MODALITIES, "fused"))
Gradients = dict[str, Tensor]


class Sum(Balancer):
    """The plain sum."""

    def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
        super().__init__()

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        return terms


class Case:
    """A network, a batch that some samples enter with one modality only, and the gradients of its loss terms."""

    def __init__(self) -> None:
        loaded = load_recipe(recipe(model={"dropout": 0.0}, precision="64-true"))
        assembly = assemble(loaded)
        torch.manual_seed(0)
        self.model = build(assembly.recipe).double()
        batch = next(assembly.loader(assembly.train_ids, training=False))
        self.batch = Batch({n: v.to(torch.float64) for n, v in batch.inputs.items()}, batch.targets, batch.sample_ids)
        assert not self.batch.inputs["motion"].present.all()
        self.spec = loaded.train

    def gradients(self, loss: Callable[[Mapping[str, Tensor], FusionModel], Tensor]) -> Gradients:
        """The gradients of a function of the loss terms, zero where there is none."""
        model = copy.deepcopy(self.model).train()
        terms = model.losses(model(self.batch.inputs), self.batch.targets)
        named = dict(model.named_parameters())
        found = torch.autograd.grad(loss(terms, model), list(named.values()), allow_unused=True)
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), found, strict=True)}

    def learner(self, balancer: Balancer, **spec: Any) -> tuple[Learner, FusionModel, Parts, torch.optim.Optimizer]:
        """The steps of a joint stage, on a copy of the network."""
        fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
        fabric.launch()
        model = copy.deepcopy(self.model)
        parts = Parts(model)
        optimizer = torch.optim.SGD([*parts.parameters(JOINT.trains), *balancer.parameters()], lr=1.0)
        learner = Learner(
            fabric,
            model,
            JOINT,
            self.spec.model_copy(update=spec),
            balancer=balancer,
            parts=parts,
            optimizer=optimizer,
            initial=parts.snapshot((*MODALITIES, "fusion")),
            teacher=None,
        )
        return learner, model, parts, optimizer

    def step(
        self, balancer: Balancer, *, batches: Sequence[Batch] = (), **spec: Any
    ) -> tuple[Gradients, Outcome, FusionModel]:
        """What every weight loses in one step, what the step told, and the network after it."""
        learner, model, _, _ = self.learner(balancer, **spec)
        outcome = learner(batches or [self.batch], Moment(0, 0, 1, 1.0), 0)
        after = dict(model.named_parameters())
        return {n: p.detach() - after[n].detach() for n, p in self.model.named_parameters()}, outcome, model


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def assert_same(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")


def whole(terms: Mapping[str, Tensor], model: FusionModel) -> Tensor:
    return terms["fused/label"] + terms["motion/label"] + terms["posture/label"]


def of(modality: str, name: str) -> bool:
    return name.startswith(f"branches.{modality}.")


def test_without_hooks_a_step_follows_the_gradient_of_the_sum_of_terms(case: Case) -> None:
    found, outcome, _ = case.step(Sum(MODALITIES, ("label",)))

    assert_same(found, case.gradients(whole))
    assert outcome.loss == pytest.approx(sum(outcome.terms.values()), abs=1e-12)
    assert set(outcome.terms) == {"fused/label", "motion/label", "posture/label"}


def test_the_terms_are_weighed_and_may_be_dropped(case: Case) -> None:
    class Twice(Sum):
        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            return {"motion/label": 2.0 * terms["motion/label"], "extra": terms["fused/label"].square()}

    found, outcome, _ = case.step(Twice(MODALITIES, ("label",)))

    assert_same(found, case.gradients(lambda t, _: 2.0 * t["motion/label"] + t["fused/label"].square()))
    assert set(outcome.terms) == {"fused/label", "motion/label", "posture/label"}


def test_parameters_of_the_balancer_are_trained(case: Case) -> None:
    class Learned(Sum):
        def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
            super().__init__(modalities, targets)
            self.log_weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            return {"fused/label": terms["fused/label"] * self.log_weight.exp()}

    balancer = Learned(MODALITIES, ("label",))

    _, outcome, _ = case.step(balancer)

    assert -balancer.log_weight.item() == pytest.approx(outcome.terms["fused/label"], abs=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_gradients_of_a_branch_are_scaled_and_made_noisy(case: Case, noise: float) -> None:
    class Scaled(Sum):
        def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
            assert step.output is not None
            return {"motion": GradientScale(0.25, noise)}

    torch.manual_seed(3)
    found, _, _ = case.step(Scaled(MODALITIES, ("label",)))

    expected = case.gradients(whole)
    torch.manual_seed(3)
    for name, gradient in expected.items():
        if of("motion", name):
            expected[name] = 0.25 * gradient
            if noise:
                expected[name] += noise * gradient.std(correction=0) * torch.randn_like(gradient)
    assert_same(found, expected)


def test_gradients_of_features_are_scaled_per_sample_and_reach_what_lies_below_them(case: Case) -> None:
    share = torch.linspace(0.0, 1.0, len(case.batch.sample_ids), dtype=torch.float64)[:, None]

    class Scaled(Sum):
        def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
            return {"features/posture": GradientScale(share)}

    found, _, _ = case.step(Scaled(MODALITIES, ("label",)))

    model = copy.deepcopy(case.model).train()
    output = model(case.batch.inputs)
    output.features["posture"].register_hook(lambda gradient: gradient * share)
    sum(model.losses(output, case.batch.targets).values()).backward()
    expected = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    assert_same(found, expected)
    plain = case.gradients(whole)
    heads = [name for name in plain if name.startswith("branches.posture.heads")]
    assert_same({name: found[name] for name in heads}, {name: plain[name] for name in heads})
    assert not torch.allclose(plain["branches.posture.norm.weight"], found["branches.posture.norm.weight"])


def test_replaced_features_reach_the_fusion_only(case: Case) -> None:
    class Dropped(Sum):
        def replace_features(
            self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
        ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
            assert step.sample_ids == case.batch.sample_ids
            return features, {**present, "posture": torch.zeros_like(present["posture"])}

    found, outcome, _ = case.step(Dropped(MODALITIES, ("label",)))

    without = copy.deepcopy(case.model).train()
    fused = without.losses(without({"motion": case.batch.inputs["motion"]}), case.batch.targets)["fused/label"]
    assert outcome.terms["fused/label"] == pytest.approx(fused.item(), abs=1e-12)
    alone = case.gradients(lambda terms, _: terms["posture/label"])
    assert_same(
        {n: g for n, g in found.items() if of("posture", n)}, {n: g for n, g in alone.items() if of("posture", n)}
    )


def test_weights_of_samples_enter_the_term_that_they_name(case: Case) -> None:
    first = torch.zeros(len(case.batch.sample_ids), dtype=torch.float64)
    first[0] = 1.0

    class First(Sum):
        def sample_weights(self, step: Step) -> Mapping[str, Tensor]:
            return {"posture/label": first}

    _, outcome, _ = case.step(First(MODALITIES, ("label",)))

    output = copy.deepcopy(case.model).train()(case.batch.inputs)
    head = case.model.head("label", "posture")
    losses = head.loss(output.unimodal["posture"]["label"], case.batch.targets["label"])
    assert outcome.terms["posture/label"] == pytest.approx(losses[0].item() / len(losses), abs=1e-12)
    assert outcome.terms["fused/label"] == pytest.approx(case.step(Sum((), ()))[1].terms["fused/label"], abs=1e-12)


def test_a_plan_chooses_what_learns_and_from_which_terms(case: Case) -> None:
    class OnlyMotion(Sum):
        def plan(self, step: Step) -> Plan:
            return Plan(trains=("motion",), terms=("motion/label",))

    found, outcome, after = case.step(OnlyMotion(MODALITIES, ("label",)))

    expected = case.gradients(lambda terms, _: terms["motion/label"])
    assert_same(found, {n: g if of("motion", n) else torch.zeros_like(g) for n, g in expected.items()})
    assert set(outcome.terms) == {"motion/label"}
    before = case.model.state_dict()
    untouched = {key: value for key, value in after.state_dict().items() if not of("motion", key)}
    assert all(torch.equal(before[key], value) for key, value in untouched.items())


def test_a_plan_puts_parts_back_to_their_start(case: Case) -> None:
    class Reset(Sum):
        def plan(self, step: Step) -> Plan:
            return Plan(resets=("motion",), trains=("fusion",))

    learner, _, parts, optimizer = case.learner(Reset(MODALITIES, ("label",)))
    original = parts.snapshot(("motion",))
    first = parts.parameters(("motion",))[0]
    with torch.no_grad():
        for parameter in parts.parameters(("motion",)):
            parameter.add_(1.0)
    optimizer.state[first] = {"momentum_buffer": torch.ones(1)}

    learner([case.batch], Moment(0, 0, 1, 1.0), 0)

    assert all(torch.equal(value, original[key]) for key, value in parts.snapshot(("motion",)).items())
    assert first not in optimizer.state


def test_gradients_per_term_are_merged_by_the_balancer(case: Case) -> None:
    class Largest(Sum):
        def plan(self, step: Step) -> Plan:
            return Plan(separate_gradients=True)

        def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
            assert set(gradients) == {"fused/label", "motion/label", "posture/label"}
            columns = zip(*gradients.values(), strict=True)
            return [max((g for g in column if g is not None), key=torch.norm, default=None) for column in columns]

    found, _, _ = case.step(Largest(MODALITIES, ("label",)))

    separate = [
        case.gradients(lambda terms, _, name=name: terms[name])
        for name in ("fused/label", "motion/label", "posture/label")
    ]
    assert_same(found, {name: max((one[name] for one in separate), key=torch.norm) for name in separate[0]})


def test_gradients_per_term_merged_by_default_are_those_of_the_sum(case: Case) -> None:
    class Separate(Sum):
        def plan(self, step: Step) -> Plan:
            return Plan(separate_gradients=True)

    found, _, _ = case.step(Separate(MODALITIES, ("label",)))

    assert_same(found, case.gradients(whole))


def test_batches_are_accumulated_to_the_mean_of_their_gradients(case: Case) -> None:
    half = len(case.batch.sample_ids) // 2
    rows = [list(range(half)), list(range(half, 2 * half))]
    batches = [
        Batch(
            {name: value[row] for name, value in case.batch.inputs.items()},
            {name: value[row] for name, value in case.batch.targets.items()},
            tuple(case.batch.sample_ids[index] for index in row),
        )
        for row in rows
    ]

    found, outcome, _ = case.step(Sum(MODALITIES, ("label",)), batches=batches)

    singles = [case.step(Sum(MODALITIES, ("label",)), batches=[batch]) for batch in batches]
    assert_same(found, {name: (singles[0][0][name] + singles[1][0][name]) / 2 for name in found})
    assert outcome.loss == pytest.approx((singles[0][1].loss + singles[1][1].loss) / 2, abs=1e-12)


def test_clipping_shortens_the_gradient_to_the_given_norm(case: Case) -> None:
    plain, _, _ = case.step(Sum(MODALITIES, ("label",)))
    norm = torch.stack([g.square().sum() for g in plain.values()]).sum().sqrt()

    found, _, _ = case.step(Sum(MODALITIES, ("label",)), clip_norm=norm.item() / 4)

    for name in plain:
        torch.testing.assert_close(found[name], plain[name] / 4, rtol=1e-5, atol=1e-12)


def test_hooks_that_are_not_overridden_are_never_called(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: Any, **__: Any) -> Any:
        raise AssertionError("a hook that nobody wrote was called")

    for hook in ("gradient_scales", "replace_features", "sample_weights", "plan", "combine"):
        monkeypatch.setattr(Balancer, hook, called)

    gradients, _, _ = case.step(Sum(MODALITIES, ("label",)))
    assert gradients  # the step was taken, and nobody called


def test_teachers_are_trained_alone_first_and_stay_as_they_were_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    class Taught(Sum):
        teachers = ("posture",)

        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            assert step.teacher is not None
            assert set(step.teacher.unimodal) == {"posture"}
            order = sorted(range(len(step.sample_ids)), key=lambda index: step.sample_ids[index])
            seen.append(step.teacher.unimodal["posture"]["label"][order])
            return terms

    BALANCERS.names()  # loads the package's own, so that what is registered below can be taken away
    BALANCERS.register("taught")(Taught)
    try:
        options: Any = {"data": {"batch_size": 1000}, "model": {"dropout": 0.0}}
        run = run_of(tmp_path / "taught", balancer="taught", **options)
        alone = run_of(tmp_path / "alone", strategy={"type": "unimodal", "modality": "posture"}, **options)
    finally:
        del BALANCERS._components["taught"]

    assert [record["stage"] for record in steps_of(run)] == ["teacher_posture"] * 3 + ["joint"] * 3
    assert torch.equal(seen[0], seen[2])
    taught, separate = steps_of(run), steps_of(alone)
    assert [r["terms"] for r in taught[:3]] == [r["terms"] for r in separate]
    first_joint, first_alone = taught[3]["terms"]["posture/label"], separate[0]["terms"]["posture/label"]
    assert first_joint == pytest.approx(first_alone, abs=1e-6)  # the branch went back to its start


def test_a_balancer_may_ask_what_losses_scores_would_have_and_what_fewer_modalities_would_say(case: Case) -> None:
    seen: dict[str, Tensor] = {}

    class Curious(Sum):
        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            assert step.output is not None
            scores = step.output.unimodal["motion"]["label"]
            seen["same"] = step.loss_of("motion/label", scores)
            seen["other"] = step.loss_of("fused/label", torch.zeros_like(scores))
            seen["without"] = step.scores_of(("posture",))["label"]
            return terms

    before = copy.deepcopy(case.model)
    found, outcome, _ = case.step(Curious(MODALITIES, ("label",)))

    here = case.batch.inputs["motion"].present
    assert torch.equal(seen["same"].isnan(), ~here)
    assert seen["same"][here].mean().item() == pytest.approx(outcome.terms["motion/label"], abs=1e-12)
    classes = seen["without"].shape[1]
    torch.testing.assert_close(seen["other"], torch.full_like(seen["other"], classes).log(), rtol=0, atol=1e-12)
    before.train()(case.batch.inputs)  # the step's own pass, which moves the running statistics
    alone = before.eval()({"posture": case.batch.inputs["posture"]}).fused["label"]
    torch.testing.assert_close(seen["without"], alone, rtol=0, atol=1e-12)
    assert not seen["without"].requires_grad
    assert_same(found, case.gradients(whole))  # asking changed nothing: mode, statistics, gradients


def test_a_balancer_may_fuse_other_features_with_gradients_and_leaves_every_statistic_as_it_is(case: Case) -> None:
    seen: dict[str, Any] = {}

    class Fuser(Sum):
        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            assert step.output is not None
            nothing = torch.zeros_like(step.output.present["motion"])
            seen["same"] = step.fuse(step.output.features, step.output.present)["label"], step.output.fused["label"]
            less = step.fuse(step.output.features, {**step.output.present, "motion": nothing})["label"]
            doubled = step.fuse({n: 2.0 * f for n, f in step.output.features.items()}, step.output.present)["label"]
            seen["less"], seen["told"] = less, step.distribution_of("fused/label", less)
            seen["doubled"] = doubled
            return {"less": step.loss_of("fused/label", less).nanmean()}

    found, _, after = case.step(Fuser(MODALITIES, ("label",)))

    torch.testing.assert_close(*seen["same"], rtol=0, atol=1e-13)
    torch.testing.assert_close(seen["told"], seen["less"].softmax(dim=1), rtol=0, atol=1e-15)
    assert (seen["doubled"] - seen["same"][1]).abs().max() > 1e-3
    model = copy.deepcopy(case.model).train()
    with torch.no_grad():
        model(case.batch.inputs)  # the step's own pass, which moves the running statistics
    expected = model({"posture": case.batch.inputs["posture"]})
    torch.testing.assert_close(seen["less"], expected.fused["label"], rtol=0, atol=1e-13)
    term = model.losses(expected, case.batch.targets)["fused/label"]
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True)
    wanted = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), gradients, strict=True)}
    assert_same(found, wanted)
    assert found["placeholders.of_motion"].abs().max() > 0
    once = copy.deepcopy(case.model).train()
    once(case.batch.inputs)  # what the balancer asked for moves none
    assert_same(dict(after.named_buffers()), dict(once.named_buffers()))


def test_before_the_forward_pass_there_is_nothing_to_ask(case: Case) -> None:
    class TooEarly(Sum):
        def plan(self, step: Step) -> Plan:
            step.scores_of(("posture",))
            return Plan()

    with pytest.raises(RuntimeError, match="this hook runs before the forward pass"):
        case.step(TooEarly(MODALITIES, ("label",)))
