"""Any number of modalities, lengths, gaps and samples: finite, and no sample depends on another."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import recipe, steps_of
from torch import Tensor

from fusionkit import Jagged, build
from fusionkit.config.components import registry
from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.config.recipe import load_recipe
from fusionkit.models.build import FusionModel
from fusionkit.training import train

KINDS: list[dict[str, Any]] = [
    {"shape": [3], "encoder": {"type": "mlp", "hidden": [4], "out": 4}, "aggregator": "mean"},
    {"shape": [2], "encoder": {"type": "conv1d", "channels": [4], "kernel": 3}, "aggregator": "max"},
    {"shape": [4], "encoder": "feature_norm", "aggregator": {"type": "gru", "hidden": 4}},
    {"shape": [], "encoder": {"type": "mlp", "hidden": [3], "out": 3}, "aggregator": "last"},
    {"shape": [3], "encoder": "identity", "aggregator": {"type": "attention", "hidden": 3}},
    {"shape": [5], "encoder": {"type": "mlp", "hidden": [3], "out": 2}, "aggregator": "mean"},
]
FUSIONS = ("mrpn", "concat", "gated", "attention", "mixture", "sum")


@cache
def network(count: int, fusion: str) -> FusionModel:
    """A network of so many modalities."""
    torch.manual_seed(count)
    modalities = {f"m{place}": copy.deepcopy(KINDS[place]) for place in range(count)}
    targets = {"mood": {"type": "classification", "classes": ["calm", "happy"]}}
    return build({"modalities": modalities, "targets": targets, "fusion": fusion, "dropout": 0.0})


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, str, list[list[int]]]:
    """How many modalities, which fusion, and by sample the lengths of each modality; 0 is a missing one."""
    count, samples = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    length = st.one_of(st.just(0), st.integers(1, 12), st.integers(1, 200))
    lengths = draw(st.lists(st.lists(length, min_size=count, max_size=count), min_size=samples, max_size=samples))
    return count, draw(st.sampled_from(FUSIONS)), lengths


def inputs_of(count: int, lengths: list[list[int]]) -> dict[str, Jagged]:
    made = {}
    for place in range(count):
        generator = torch.Generator().manual_seed(place)
        drawn = torch.randn(9, 200, *KINDS[place]["shape"], generator=generator)
        made[f"m{place}"] = Jagged.from_list([drawn[row, : each[place]] for row, each in enumerate(lengths)])
    return made


@settings(max_examples=25)
@given(batches(), st.randoms(use_true_random=False))
def test_in_evaluation_a_sample_is_the_same_alone_and_in_any_company(
    batch: tuple[int, str, list[list[int]]], chance: Any
) -> None:
    count, fusion, lengths = batch
    model, inputs = network(count, fusion).eval(), inputs_of(count, lengths)
    together = model(inputs).fused["mood"]
    assert together.isfinite().all()

    order = list(range(len(lengths)))
    chance.shuffle(order)
    shuffled = model({name: value[order] for name, value in reversed(inputs.items())}).fused["mood"]
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-5)
    for place in order[:2]:
        alone = model({name: value[[place]] for name, value in inputs.items()}).fused["mood"]
        torch.testing.assert_close(alone, together[[place]], rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(batches())
def test_in_training_losses_gradients_and_statistics_are_finite_whatever_is_missing(
    batch: tuple[int, str, list[list[int]]],
) -> None:
    count, fusion, lengths = batch
    model = copy.deepcopy(network(count, fusion)).train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}

    terms = model.losses(model(inputs_of(count, lengths)), {"mood": torch.arange(len(lengths)) % 2})
    torch.stack(tuple(terms.values())).sum().backward()

    assert all(term.isfinite() for term in terms.values())
    gradients: list[Tensor] = [each.grad for each in model.parameters() if each.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    for name, tensor in model.named_buffers():
        assert tensor.isfinite().all()
        present = sum(bool(each[int(name.split("m")[1][0])]) for each in lengths) if name.startswith("branches") else 1
        if not present:
            assert torch.equal(tensor, before[name]), f"{name} learned from samples that lack it"


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_of_one_and_a_last_one_that_is_smaller_train_to_finite_losses(tmp_path: Path, batch_size: int) -> None:
    run = train(recipe(data={"batch_size": batch_size}, epochs=1), tmp_path, accelerator="cpu")

    assert all(torch.tensor(list(each["terms"].values())).isfinite().all() for each in steps_of(run))


@pytest.mark.parametrize("fusion", sorted(registry.FUSIONS.names()))
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_nobody_has_no_scores_and_no_loss(fusion: str, training: bool) -> None:
    model = network(3, fusion).train(training)

    output = model({name: value[[]] for name, value in inputs_of(3, [[1, 1, 1]]).items()})

    assert output.fused["mood"].shape == (0, 2)
    terms = model.losses(output, {"mood": torch.zeros(0, dtype=torch.long)})
    assert all(term == 0 for term in terms.values())


def test_a_set_that_is_said_twice_has_the_same_metrics() -> None:
    head = LOSS_HEADS.build("classification", 3, None, classes=["a", "b", "c"])
    generator = torch.Generator().manual_seed(0)
    said = torch.randn(20, 3, generator=generator).softmax(dim=1)
    targets = torch.randint(0, 3, (20,), generator=generator)

    once, twice = head.metrics(said, targets), head.metrics(said.repeat(2, 1), targets.repeat(2))

    assert len(once) > 1
    assert twice == pytest.approx(once, abs=1e-12)
    assert load_recipe(recipe()).data.batch_size == 8
