"""Fusions against restatements in NumPy, with and without absent modalities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit.fusions import Concat, Mrpn
from fusionkit.registry import FUSIONS

WIDTHS = {"audio": 3, "video": 4, "text": 2}
EVERYBODY = dict.fromkeys(WIDTHS)


def example(batch=7):
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(batch, width, generator=generator, dtype=torch.float64) for m, width in WIDTHS.items()}


def array(tensor):
    return tensor.detach().numpy()


def normalised(x, rows):
    return (x - x[rows].mean(0)) / np.sqrt(x[rows].var(0) + 1e-5)


def perceptron(f, block, rows):
    corrected = 1 / (1 + np.exp(-(f @ array(block.dense.weight).T + array(block.dense.bias))))
    bent = f.copy()
    bent[rows] += normalised(corrected, rows)[rows]
    return bent


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_concat_normalises_each_block_by_the_rows_that_have_it(absent):
    features, rows = example(), [row for row in range(7) if row not in absent]
    present = {**EVERYBODY, "video": torch.tensor([row in rows for row in range(7)])} if absent else EVERYBODY

    fused = array(Concat(WIDTHS).double()(features, present))

    here = {"audio": range(7), "video": rows, "text": range(7)}
    expected = np.concatenate([normalised(array(features[m]), list(here[m])) for m in WIDTHS], axis=1)
    np.testing.assert_allclose(fused, expected, rtol=0, atol=1e-12)


def test_concat_equals_batch_norm_of_the_concatenation_where_all_are_present():
    features, fusion, reference = example(), Concat(WIDTHS).double(), nn.BatchNorm1d(9).double()
    for _ in range(2):
        torch.testing.assert_close(
            fusion(features, EVERYBODY), reference(torch.cat([*features.values()], dim=1)), rtol=0, atol=1e-12
        )
    fusion.eval(), reference.eval()
    torch.testing.assert_close(
        fusion(features, EVERYBODY), reference(torch.cat([*features.values()], dim=1)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_mrpn_corrects_what_is_present_and_leaves_placeholders_alone(absent):
    torch.manual_seed(0)
    features, rows = example(), [row for row in range(7) if row not in absent]
    present = {**EVERYBODY, "video": torch.tensor([row in rows for row in range(7)])} if absent else EVERYBODY
    fusion = Mrpn(WIDTHS).double()

    fused = array(fusion(features, present))

    here = {"audio": list(range(7)), "video": rows, "text": list(range(7))}
    blocks = [
        normalised(perceptron(array(features[m]), block, here[m]), here[m])
        for m, block in zip(WIDTHS, fusion.perceptrons, strict=True)
    ]
    np.testing.assert_allclose(fused, np.concatenate(blocks, axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["concat", "mrpn"])
def test_the_order_of_the_modalities_given_does_not_matter(name):
    features, fusion = example(), FUSIONS.build(name, WIDTHS).double()
    turned = dict(reversed(features.items()))
    assert torch.equal(fusion(features, EVERYBODY), fusion(turned, dict(reversed(EVERYBODY.items()))))


@pytest.mark.parametrize("name", ["concat", "mrpn"])
def test_modalities_may_be_called_like_methods_of_a_mapping(name):
    fusion = FUSIONS.build(name, {"values": 2, "key.with.dots": 1})
    features = {"values": torch.zeros(3, 2), "key.with.dots": torch.zeros(3, 1)}
    assert fusion(features, dict.fromkeys(features)).shape == (3, 3)


@pytest.mark.parametrize("name", ["concat", "mrpn"])
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    fusion, features = FUSIONS.build(name, WIDTHS).double(), example(5)
    present = {**EVERYBODY, "video": torch.tensor([True, False, True, True, True])}
    names = tuple(features)

    def fused(*values):
        return fusion(dict(zip(names, values, strict=True)), present)

    assert torch.autograd.gradcheck(fused, tuple(value.requires_grad_() for value in features.values()))
