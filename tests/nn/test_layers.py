"""The paper's blocks against torch and against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, config
from torch import Tensor, nn

from fusionkit.errors import ShapeError
from fusionkit.nn.distributed import mean_over_union, sum_over_processes, world_size
from fusionkit.nn.layers import FeatureNorm, ResidualPerceptron, Scoring, make_scoring

EPS = 1e-5


def normal(*shape: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift


def norm_of(features: int, seed: int = 1) -> FeatureNorm:
    norm = FeatureNorm(features).double()
    with torch.no_grad():
        norm.weight.copy_(normal(features, seed=seed))
        norm.bias.copy_(normal(features, seed=seed + 1))
        norm.running_mean.copy_(normal(features, seed=seed + 2))
        norm.running_var.copy_(normal(features, seed=seed + 3).square() + 0.5)
    return norm


def normalised(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, norm: FeatureNorm) -> np.ndarray:
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    return (x - mean) / np.sqrt(variance + EPS) * weight + bias


def close(given: Tensor, reference: np.ndarray, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(given.detach().numpy(), reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("masked", [False, True])
def test_feature_norm_in_training_is_the_formula_and_moves_the_running_statistics(masked):
    norm, x = norm_of(3), normal(7, 3, scale=2.0, shift=5.0)
    mean, variance = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    y = norm(x, torch.ones(7, dtype=torch.bool) if masked else None)
    rows = x.numpy()
    close(y, normalised(rows, rows.mean(0), rows.var(0), norm))
    close(norm.running_mean, 0.9 * mean + 0.1 * rows.mean(0))
    close(norm.running_var, 0.9 * variance + 0.1 * rows.var(0, ddof=1))


@pytest.mark.parametrize("masked", [False, True])
def test_feature_norm_follows_torch_over_several_steps_and_into_evaluation(masked):
    ours, theirs = FeatureNorm(4).double(), nn.BatchNorm1d(4).double()
    everyone = torch.ones(6, dtype=torch.bool) if masked else None
    for step in range(5):
        x = normal(6, 4, seed=step, scale=3.0)
        torch.testing.assert_close(ours(x, everyone), theirs(x), rtol=1e-12, atol=1e-12)
    ours.eval(), theirs.eval()
    x = normal(6, 4, seed=9)
    torch.testing.assert_close(ours(x, everyone), theirs(x), rtol=1e-12, atol=1e-12)


@given(st.lists(st.booleans(), min_size=2, max_size=8).filter(lambda mask: sum(mask) >= 2))
def test_only_present_rows_enter_the_statistics(mask):
    norm, x, present = norm_of(3), normal(len(mask), 3), torch.tensor(mask)
    alone = norm_of(3)
    expected = alone(x[present])
    x[~present] = float("nan")
    torch.testing.assert_close(norm(x, present)[present], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_mean, alone.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_var, alone.running_var, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "present"), [(1, None), (1, [True]), (3, [False, True, False]), (3, [False] * 3), (0, None), (0, [])]
)
def test_fewer_than_two_present_rows_use_the_running_statistics_and_leave_them(rows, present):
    norm, x = norm_of(3), normal(rows, 3)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    y = norm(x, None if present is None else torch.tensor(present, dtype=torch.bool))
    close(y, normalised(x.numpy(), norm.running_mean.numpy(), norm.running_var.numpy(), norm))
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def test_in_evaluation_no_row_depends_on_another():
    norm, x = norm_of(3).eval(), normal(5, 3)
    whole = norm(x, torch.tensor([True, False, True, True, False]))
    for row in range(5):
        torch.testing.assert_close(norm(x[row : row + 1])[0], whole[row], rtol=0, atol=1e-15)


def test_half_precision_statistics_are_computed_in_the_precision_of_the_running_ones():
    norm, x = FeatureNorm(2), normal(1000, 2, shift=3.0).to(torch.bfloat16)
    y = norm(x, torch.ones(1000, dtype=torch.bool))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(norm.running_mean, 0.1 * x.float().mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.float().var(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("present", [None, [True, True, False, True]])
@pytest.mark.parametrize("make", [norm_of, lambda width: ResidualPerceptron(width).double()])
def test_gradients_agree_with_finite_differences(make, present):
    module, x = make(3), normal(4, 3).requires_grad_()
    mask = None if present is None else torch.tensor(present)
    parameters = tuple(module.parameters())

    def outputs(x: Tensor, *_: Tensor) -> Tensor:
        return module(x, mask)

    assert torch.autograd.gradcheck(outputs, (x, *parameters))


def test_the_residual_perceptron_is_the_formula_of_equation_6():
    perceptron, f = ResidualPerceptron(3).double(), normal(5, 3)
    weight, bias = perceptron.dense.weight.detach().numpy(), perceptron.dense.bias.detach().numpy()
    bent = 1 / (1 + np.exp(-(f.numpy() @ weight.T + bias)))
    close(perceptron(f), f.numpy() + normalised(bent, bent.mean(0), bent.var(0), perceptron.norm))


def test_scoring_is_the_formula_of_equation_2():
    module, x = Scoring(3, 6, 2).double(), normal(5, 3)
    first, _, norm, second = module
    weights = [layer.weight.detach().numpy() for layer in (first, second)]
    biases = [layer.bias.detach().numpy() for layer in (first, second)]
    hidden = np.maximum(x.numpy() @ weights[0].T + biases[0], 0)
    hidden = normalised(hidden, hidden.mean(0), hidden.var(0), norm)
    close(module(x), hidden @ weights[1].T + biases[1])


def test_scoring_without_a_hidden_width_is_one_dense_unit():
    assert type(make_scoring(3, None, 2)) is nn.Linear
    assert type(make_scoring(3, 4, 2)) is Scoring


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_an_input_of_another_shape_is_refused_with_both(shape, monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # the message that users see
    with pytest.raises(ShapeError, match=r"FeatureNorm: input \(.*\) is not \(rows, 3\)"):
        FeatureNorm(3)(torch.zeros(shape))


def test_shapes_that_annotations_state_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        FeatureNorm(3)(torch.zeros(2, 3, 1))


def test_one_process_is_its_own_union():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    assert world_size() == 1
    assert sum_over_processes(values) is values
    assert mean_over_union(values).item() == 3.0
    assert mean_over_union(values, torch.tensor([1.0, 0.0, 2.0])).item() == pytest.approx(13 / 3)
    (gradient,) = torch.autograd.grad(mean_over_union(values), values)
    torch.testing.assert_close(gradient, torch.full((3,), 1 / 3))


def test_the_mean_of_nothing_is_zero():
    assert mean_over_union(torch.zeros(0)).item() == 0.0


def test_half_precision_values_are_counted_and_summed_exactly():
    assert mean_over_union(torch.ones(1001, dtype=torch.bfloat16)).item() == 1.0
