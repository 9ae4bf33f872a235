"""What optimizers promise: the fused update is the plain one, also under a loss scaler and for late gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from small_runs import recipe
from torch import Tensor, nn

from fusionkit.config.components.registry import OPTIMIZERS
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.interfaces import OptimizerRecipe, Stage
from fusionkit.models.build import FusionModel, build
from fusionkit.nn.jagged import Jagged
from fusionkit.training.step.gradients import accumulate, find_flaw, measure_norm
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.outcome import fetch_terms
from fusionkit.training.step.parts import Parts

JOINT = Stage("joint", ("motion", "posture", "fusion"), ("motion", "posture", "fused"))


def trained(name: str, *, steps: int = 20, **options: Any) -> list[Tensor]:
    """A matrix, a vector whose first gradient comes late and one that never has any, after steps in float64."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator).double()) for shape in ((5, 3), (4,), (2,))]
    optimizer_recipe: OptimizerRecipe = OPTIMIZERS.build(name, **options)
    optimizer = optimizer_recipe.make(parameters)
    for step in range(steps):
        for parameter in parameters[: 2 if step > 3 else 1]:
            parameter.grad = torch.randn(parameter.shape, generator=generator).double()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_the_fused_update_is_the_plain_one_to_rounding() -> None:
    start = trained("adamw", steps=0)
    fused, plain = (trained("adamw", fused=fused, lr=0.01, weight_decay=0.1) for fused in (True, False))

    for place in range(2):
        torch.testing.assert_close(fused[place], plain[place], rtol=1e-12, atol=1e-14)
        assert (fused[place] - start[place]).abs().min() > 0
    assert torch.equal(fused[2], start[2])


LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("weights", LAYOUTS)
@pytest.mark.parametrize("gradients", LAYOUTS)
def test_the_fused_update_goes_by_places_and_not_by_memory(
    weights: torch.memory_format, gradients: torch.memory_format
) -> None:
    def updated(fused: bool) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(4, 3, 2, 2, generator=generator).double() for _ in range(3)]
        parameter = nn.Parameter(drawn[0].contiguous(memory_format=weights))
        optimizer = OPTIMIZERS.build("adamw", fused=fused, lr=0.1).make([parameter])
        for values in drawn[1:]:
            parameter.grad = values.contiguous(memory_format=gradients)
            optimizer.step()
            # as a checkpoint does it: what it keeps has no strides
            kept = optimizer.state_dict()
            plain = {key: {name: of.contiguous() for name, of in state.items()} for key, state in kept["state"].items()}
            optimizer.load_state_dict({**kept, "state": plain})
        return parameter.detach()

    torch.testing.assert_close(updated(True), updated(False), rtol=1e-12, atol=1e-14)


def test_adamw_is_fused_unless_a_recipe_says_otherwise() -> None:
    parameters = [nn.Parameter(torch.zeros(2, 2))]

    assert OPTIMIZERS.build("adamw").make(parameters).defaults["fused"] is True
    assert OPTIMIZERS.build("adamw", fused=False).make(parameters).defaults["fused"] is False


@pytest.mark.parametrize("options", [{}, {"nesterov": True}, {"momentum": 0.0}])
def test_sgd_goes_on_when_the_first_gradient_of_a_parameter_comes_late(options: Mapping[str, Any]) -> None:
    start, end = trained("sgd", steps=0, **options), trained("sgd", **options)

    assert (end[1] - start[1]).abs().min() > 0


def learner_of(
    stage: Stage = JOINT, *, fused: bool = True, scaler: torch.amp.GradScaler | None = None
) -> tuple[Assembly, FusionModel, Learner]:
    """What takes the steps of a stage, and its data and network; in half precision where losses are scaled."""
    assembly = assemble(load_recipe(recipe(model={"dropout": 0.0})))
    torch.manual_seed(0)
    model = build(assembly.recipe, assembly.dataset)
    plugins = [] if scaler is None else [MixedPrecision("16-mixed", "cpu", scaler)]
    fabric = Fabric(accelerator="cpu", devices=1, plugins=plugins)
    fabric.launch()
    parts = Parts(model)
    learner = Learner(
        fabric,
        model,
        stage,
        assembly.recipe.train.model_copy(update={"precision": "32-true" if scaler is None else "16-mixed"}),
        balancer=None,
        parts=parts,
        optimizer=OPTIMIZERS.build("adamw", fused=fused).make(parts.parameters(stage.trains)),
        initial=None,
        teacher=None,
    )
    return assembly, model, learner


def one_step(*, fused: bool, scale: float) -> dict[str, Tensor]:
    """The weights after a step of a learner whose losses are scaled."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    assembly, model, learner = learner_of(fused=fused, scaler=scaler)
    learner([next(assembly.loader(assembly.train_ids, training=True))], Moment(0, 0, 1, 0.1), 0)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_under_a_loss_scaler_the_fused_update_is_the_plain_one() -> None:
    fused, plain = one_step(fused=True, scale=2.0**8), one_step(fused=False, scale=2.0**8)

    for name, weights in plain.items():
        torch.testing.assert_close(fused[name], weights, rtol=1e-5, atol=1e-6)


def test_a_fused_update_is_skipped_where_scaled_gradients_overflow() -> None:
    usual, skipped = one_step(fused=True, scale=2.0**8), one_step(fused=True, scale=2.0**60)
    plain = one_step(fused=False, scale=2.0**60)

    assert any(not torch.equal(usual[name], weights) for name, weights in skipped.items())
    assert all(torch.equal(plain[name], weights) for name, weights in skipped.items())


def test_the_norm_of_the_gradient_is_that_of_all_its_numbers_whatever_their_sizes_and_layouts() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (8, 5, 3, 3), (200, 200), ()]
    parameters = [nn.Parameter(torch.randn(shape, generator=generator).double()) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator).double()
    parameters[1].grad = parameters[1].grad.to(memory_format=torch.channels_last)
    parameters.append(nn.Parameter(torch.zeros(2)))  # it has no gradient
    expected = math.sqrt(math.fsum(float(g.square().sum()) for p in parameters if (g := p.grad) is not None))
    assert float(measure_norm(parameters)) == pytest.approx(expected, rel=1e-12)
    assert float(find_flaw(parameters)) == 0
    held = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    for parameter, gradient in zip(parameters, held, strict=False):
        for number in (math.nan, math.inf, -math.inf):
            parameter.grad[(-1,) * gradient.ndim] = number
            assert not math.isfinite(float(measure_norm(parameters)))
            assert float(find_flaw(parameters)) != 0
        parameter.grad = gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_looking_for_numbers_that_are_not_finite_changes_none(dtype: torch.dtype) -> None:
    parameters = [nn.Parameter(torch.ones(4, 3, 5, 5)), nn.Parameter(torch.ones(7, dtype=dtype))]
    parameters[0].grad = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    parameters[1].grad = torch.randn(7).to(dtype)
    held = [parameter.grad.clone() for parameter in parameters]
    assert float(find_flaw(parameters)) == 0
    assert all(torch.equal(parameter.grad, before) for parameter, before in zip(parameters, held, strict=True))


def test_sparse_and_complex_gradients_are_looked_through_as_well() -> None:
    rows, waves = nn.Embedding(5, 3, sparse=True), nn.Parameter(torch.ones(2, dtype=torch.complex64))
    (rows(torch.tensor([0, 4])).sum() + waves.abs().sum()).backward()
    parameters = [rows.weight, waves]
    assert float(find_flaw(parameters)) == 0
    waves.grad[1] = complex(0, math.inf)
    assert float(find_flaw(parameters)) != 0


def test_loss_terms_of_both_infinities_are_told_by_name() -> None:
    rows = [{"total": torch.tensor(sign * math.inf)} for sign in (1, -1)]
    terms, flawed, _ = fetch_terms(rows, torch.zeros(()), 0, torch.float32)
    assert math.isnan(terms["total"])
    assert not flawed


def test_a_gradient_of_one_number_for_many_is_one_of_numbers_of_their_own() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    accumulate([weight], torch.autograd.grad(weight.sum(), [weight]), [None])
    assert float(find_flaw([weight])) == 0
    assert torch.equal(weight.grad, torch.ones(3, 2))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_update_counts_in_the_versions_of_the_weights(name: str) -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = OPTIMIZERS.build(name).make([weight])
    before = weight._version
    optimizer.step()
    assert weight._version > before


def test_without_any_gradient_the_norm_is_zero_where_the_weights_are() -> None:
    norm = measure_norm([nn.Parameter(torch.ones(3, device="meta"))])
    assert norm.device.type == "meta"
    assert float(measure_norm([nn.Parameter(torch.ones(3))])) == 0


def test_a_batch_without_what_a_stage_trains_changes_nothing_and_stops_nothing() -> None:
    stage = Stage("alone", ("motion",), ("motion",))
    assembly, model, learner = learner_of(stage, scaler=torch.amp.GradScaler("cpu"))
    batch = next(assembly.feed(assembly.train_ids, training=True).read_epoch(0))
    nothing = {key: Jagged.empty(len(of), of.element_shape, like=of.values) for key, of in batch.inputs.items()}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    outcome = learner([replace(batch, inputs=nothing)], Moment(0, 0, 1, 1e-3), 0)
    assert outcome.loss == 0
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
