"""Fusions against restatements in NumPy, with and without absent modalities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.errors import RecipeError
from fusionkit.models.fusions import Concat, Mrpn
from fusionkit.nn.jagged import Jagged

WIDTHS = {"audio": 3, "video": 4, "text": 2}
EVERYBODY = dict.fromkeys(WIDTHS)
OF_VECTORS = [c.name for c in FUSIONS if not c.cls.reads_sequences] + ["mrpn"]


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


@pytest.mark.parametrize("name", OF_VECTORS)
def test_the_order_of_the_modalities_given_does_not_matter(name):
    features, fusion = example(), FUSIONS.build(name, WIDTHS, **options_of(name)).double()
    turned = dict(reversed(features.items()))
    assert torch.equal(fusion(features, EVERYBODY), fusion(turned, dict(reversed(EVERYBODY.items()))))


@pytest.mark.parametrize("name", OF_VECTORS)
def test_modalities_may_be_called_like_methods_of_a_mapping(name):
    fusion = FUSIONS.build(name, {"values": 2, "key.with.dots": 1})
    features = {"values": torch.zeros(3, 2), "key.with.dots": torch.zeros(3, 1)}
    assert fusion(features, dict.fromkeys(features)).shape == (3, fusion.out_features)


@pytest.mark.parametrize("name", OF_VECTORS)
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    fusion, features = FUSIONS.build(name, WIDTHS, **options_of(name)).double(), example(5)
    present = {**EVERYBODY, "video": torch.tensor([True, False, True, True, True])}
    names = tuple(features)

    def fused(*values):
        return fusion(dict(zip(names, values, strict=True)), present)

    assert torch.autograd.gradcheck(fused, tuple(value.requires_grad_() for value in features.values()))


def options_of(name):
    return {
        "tensor": {"features": 2},
        "low_rank": {"features": 5, "rank": 3},
        "mixture": {"largest": 2},
        "attention": {"heads": 1, "dropout": 0.0},
    }.get(name, {})


def by_rows(name, absent_video=()):
    """A fusion in double precision, features, presence of video, and what it gives."""
    torch.manual_seed(0)
    features = example()
    here = torch.tensor([row not in absent_video for row in range(7)])
    present = {**EVERYBODY, "video": here if absent_video else None}
    fusion = FUSIONS.build(name, WIDTHS, **options_of(name)).double()
    return fusion, {m: array(f) for m, f in features.items()}, here.numpy(), array(fusion(features, present))


def dense(unit, x):
    return x @ array(unit.weight).T + (0 if unit.bias is None else array(unit.bias))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_sum_adds_projections_of_all_modalities_placeholders_among_them(absent):
    fusion, features, _, fused = by_rows("sum", absent)
    expected = sum(dense(unit, features[m]) for m, unit in zip(WIDTHS, fusion.projections, strict=True))
    np.testing.assert_allclose(fused, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_a_weighted_sum_shares_the_weight_of_what_is_absent_among_the_others(absent):
    fusion, features, here, _ = by_rows("weighted_sum", absent)
    with torch.no_grad():
        fusion.logits.copy_(torch.tensor([0.3, -0.2, 1.1], dtype=torch.float64))
    fused = array(fusion({m: torch.from_numpy(f) for m, f in features.items()}, presence(here, absent)))
    for row in range(7):
        weights = np.exp([0.3, -0.2, 1.1]) * [1, here[row], 1]
        parts = [dense(unit, features[m][row]) for m, unit in zip(WIDTHS, fusion.projections, strict=True)]
        np.testing.assert_allclose(fused[row], weights @ np.stack(parts) / weights.sum(), rtol=0, atol=1e-12)


def presence(here, absent):
    return {**EVERYBODY, "video": torch.from_numpy(here) if absent else None}


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_gates_of_three_modalities_are_independent_and_shut_where_one_is_absent(absent):
    fusion, features, here, fused = by_rows("gated", absent)
    everything = np.concatenate([features[m] for m in WIDTHS], axis=1)
    expected = 0
    for m, value, gate in zip(WIDTHS, fusion.values, fusion.gates, strict=True):
        mask = here[:, None] if m == "video" else 1
        expected = expected + mask * sigmoid(dense(gate, everything)) * np.tanh(dense(value, features[m]))
    np.testing.assert_allclose(fused, expected, rtol=0, atol=1e-12)


def test_gates_of_two_modalities_sum_to_one_and_the_only_one_present_passes_whole():
    torch.manual_seed(0)
    fusion = FUSIONS.build("gated", {"audio": 3, "video": 4}).double()
    features = {m: f for m, f in example(4).items() if m != "text"}
    heard, seen = torch.tensor([True, False, True, False]), torch.tensor([True, True, False, False])

    fused = array(fusion(features, {"audio": heard, "video": seen}))

    audio, video = (np.tanh(dense(unit, array(features[m]))) for m, unit in zip(features, fusion.values, strict=True))
    gate = sigmoid(dense(fusion.gates[0], np.concatenate([array(features[m]) for m in features], axis=1)))
    assert len(fusion.gates) == 1
    np.testing.assert_allclose(fused[0], (gate * audio + (1 - gate) * video)[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fused[1], video[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fused[2], audio[2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fused[3], 0.0, rtol=0, atol=0)


@pytest.mark.parametrize("modulated", [None, "video"])
def test_film_scales_and_shifts_each_feature_as_the_other_modalities_say(modulated):
    torch.manual_seed(0)
    fusion = FUSIONS.build("film", WIDTHS, modulated=modulated).double()
    features = example()
    fused = array(fusion(features, EVERYBODY))
    blocks = []
    for name, condition in zip([modulated] if modulated else WIDTHS, fusion.conditions, strict=True):
        others = np.concatenate([array(features[m]) for m in WIDTHS if m != name], axis=1)
        said = dense(condition, others)
        change, shift = said[:, : WIDTHS[name]], said[:, WIDTHS[name] :]
        blocks.append((1 + change) * array(features[name]) + shift)
    np.testing.assert_allclose(fused, np.concatenate(blocks, axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [None, 2])
def test_a_tensor_holds_every_product_of_features_one_of_each_modality_or_none(width):
    torch.manual_seed(0)
    fusion = FUSIONS.build("tensor", WIDTHS, features=width).double()
    features = example()
    fused = array(fusion(features, EVERYBODY))
    for row in range(7):
        parts = [array(features[m][row]) for m in WIDTHS]
        if width:
            parts = [dense(unit, part) for unit, part in zip(fusion.projections, parts, strict=True)]
        expected = np.einsum("i,j,k->ijk", *(np.append(part, 1.0) for part in parts)).reshape(-1)
        np.testing.assert_allclose(fused[row], expected, rtol=0, atol=1e-12)


def test_a_tensor_that_explodes_is_refused_with_the_size_it_would_take():
    widths = {"audio": 64, "video": 64, "text": 64}
    with pytest.raises(RecipeError, match=r"65 x 65 x 65 = 274,625 numbers a sample, above 16,384; features: 24, or"):
        FUSIONS.build("tensor", widths)
    assert FUSIONS.build("tensor", widths, features=24).out_features == 25**3


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_low_rank_is_the_dense_unit_on_the_tensor_whose_weights_are_made_of_its_factors(absent):
    fusion, features, _, fused = by_rows("low_rank", absent)
    factors = [array(factor) for factor in fusion.factors]
    weights = np.einsum("rio,rjo,rko->ijko", *factors)
    with torch.no_grad():
        fusion.bias.fill_(0.5)
    for row in range(7):
        parts = [np.append(features[m][row], 1.0) for m in WIDTHS]
        np.testing.assert_allclose(fused[row], np.einsum("i,j,k,ijko->o", *parts, weights), rtol=0, atol=1e-12)
    shifted = array(fusion({m: torch.from_numpy(f) for m, f in features.items()}, EVERYBODY))
    np.testing.assert_allclose(shifted, fused + 0.5, rtol=0, atol=1e-12)


def test_a_bilinear_fusion_adds_the_forms_of_all_pairs():
    fusion, features, _, fused = by_rows("bilinear")
    pairs = [("audio", "video"), ("audio", "text"), ("video", "text")]
    expected = sum(
        np.einsum("ni,oij,nj->no", features[a], array(form.weight), features[b])
        for (a, b), form in zip(pairs, fusion.forms, strict=True)
    )
    np.testing.assert_allclose(fused, expected, rtol=0, atol=1e-12)


def test_a_bilinear_fusion_that_explodes_is_refused_with_the_size_it_would_take():
    with pytest.raises(RecipeError, match=r"134,217,728 weights are above 16,777,216"):
        FUSIONS.build("bilinear", {"audio": 512, "video": 512})


@pytest.mark.parametrize("name", ["film", "bilinear"])
def test_what_needs_two_modalities_says_so(name):
    with pytest.raises(RecipeError, match=f"{name}: there is no second modality"):
        FUSIONS.build(name, {"audio": 3})


@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_a_mixture_weighs_the_experts_that_miss_nothing(absent):
    fusion, features, here, fused = by_rows("mixture", absent)
    subsets = [("audio",), ("video",), ("text",), ("audio", "video"), ("audio", "text"), ("video", "text")]
    assert list(fusion.subsets) == subsets
    for row in range(7):
        gate = np.exp(dense(fusion.gate, np.concatenate([features[m][row] for m in WIDTHS])))
        gate *= [here[row] or "video" not in subset for subset in subsets]
        said = [
            np.maximum(0, dense(expert[0], np.concatenate([features[m][row] for m in subset])))
            for subset, expert in zip(subsets, fusion.experts, strict=True)
        ]
        np.testing.assert_allclose(fused[row], gate @ np.stack(said) / gate.sum(), rtol=0, atol=1e-12)


def test_a_mixture_of_too_many_experts_is_refused():
    with pytest.raises(RecipeError, match="7 modalities have 127 subsets, above 64; set largest: 2"):
        FUSIONS.build("mixture", {f"m{n}": 2 for n in range(7)})
    assert len(FUSIONS.build("mixture", {f"m{n}": 2 for n in range(7)}, largest=2).subsets) == 28


@pytest.mark.parametrize("inner", ["concat", "sum", "gated", "film", "tensor", "low_rank", "bilinear", "mixture"])
def test_residual_perceptrons_in_front_of_a_fusion_are_their_formula_and_then_the_fusion(inner):
    torch.manual_seed(0)
    features, here = example(), torch.tensor([True, False, True, True, False, True, True])
    present = {**EVERYBODY, "video": here}
    fusion = FUSIONS.build("mrpn", WIDTHS, of={"type": inner, **options_of(inner)}).double()

    fused = fusion(features, present)

    rows = {"audio": list(range(7)), "video": here.nonzero().flatten().tolist(), "text": list(range(7))}
    bent = {
        m: torch.from_numpy(perceptron(array(features[m]), block, rows[m]))
        for m, block in zip(WIDTHS, fusion.perceptrons, strict=True)
    }
    torch.testing.assert_close(fused, fusion.fusion(bent, present), rtol=0, atol=1e-12)


# Attention. What torch's layers compute is restated for one sample, without padding.


def layer_norm(x, unit):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * array(unit.weight) + array(unit.bias)


def attend(unit, queries, keys):
    width = queries.shape[1]
    size, values = width // unit.num_heads, keys
    parts = zip(np.split(array(unit.in_proj_weight), 3), np.split(array(unit.in_proj_bias), 3), strict=True)
    q, k, v = (x @ w.T + b for x, (w, b) in zip((queries, keys, values), parts, strict=True))
    seen = []
    for head in range(unit.num_heads):
        own = slice(head * size, (head + 1) * size)
        scores = np.exp(q[:, own] @ k[:, own].T / np.sqrt(size))
        seen.append(scores / scores.sum(1, keepdims=True) @ v[:, own])
    return dense(unit.out_proj, np.concatenate(seen, axis=1))


def transformer_layer(unit, x):
    normed = layer_norm(x, unit.norm1)
    x = x + attend(unit.self_attn, normed, normed)
    return x + dense(unit.linear2, np.maximum(0, dense(unit.linear1, layer_norm(x, unit.norm2))))


def positions(time, width):
    angle = np.arange(time)[:, None] / 10_000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle))


ELEMENTS = {"audio": 4, "video": 5, "text": 3}
SIZES = {"audio": [3, 1, 2], "video": [2, 0, 4], "text": [1, 2, 3]}


def sequences_of():
    generator = torch.Generator().manual_seed(1)
    return {
        m: Jagged.from_sizes(torch.randn(sum(SIZES[m]), width, generator=generator, dtype=torch.float64), SIZES[m])
        for m, width in ELEMENTS.items()
    }


def test_attention_lets_the_modalities_that_are_present_attend_to_each_other():
    torch.manual_seed(0)
    features, here = example(3), [True, False, True]
    fusion = FUSIONS.build("attention", WIDTHS, width=6, heads=2).double().eval()
    fused = array(fusion(features, {**EVERYBODY, "video": torch.tensor(here)}))
    for row in range(3):
        pairs = zip(WIDTHS, fusion.projections, strict=True)
        tokens = [dense(unit, array(features[m][row])) for m, unit in pairs if m != "video" or here[row]]
        z = transformer_layer(fusion.layers.layers[0], np.stack([array(fusion.token), *tokens]))
        np.testing.assert_allclose(fused[row], layer_norm(z[0], fusion.layers.norm), rtol=0, atol=1e-12)


def tokens_of(fusion, place, m, sample):
    return dense(fusion.tokens[place].dense, sample) + positions(len(sample), fusion.tokens[place].dense.out_features)


def test_cross_attention_enriches_every_sequence_by_all_others():
    torch.manual_seed(0)
    sequences, features = sequences_of(), example(3)
    fusion = FUSIONS.build("cross_attention", WIDTHS, ELEMENTS, width=4, heads=2, layers=2).double().eval()
    with torch.no_grad():
        fusion.absent[1].copy_(torch.arange(4.0))
    fused = array(fusion(features, {**EVERYBODY, "video": torch.tensor([True, False, True])}, sequences))
    for row in range(3):
        given = [
            tokens_of(fusion, place, m, array(sequences[m][row]))
            if SIZES[m][row]
            else array(fusion.absent[place])[None]
            for place, m in enumerate(ELEMENTS)
        ]
        summaries = []
        for target in range(3):
            enriched = []
            for source in (place for place in range(3) if place != target):
                z = given[target]
                for layer in fusion.crossings[fusion.ways.index((target, source))].layers:
                    z = z + attend(
                        layer.attention, layer_norm(z, layer.norm), layer_norm(given[source], layer.source_norm)
                    )
                    hidden = np.maximum(0, dense(layer.dense[0], layer_norm(z, layer.dense_norm)))
                    z = z + dense(layer.dense[3], hidden)
                enriched.append(z)
            y = np.concatenate(enriched, axis=1)
            for layer in fusion.transformers[target].layers:
                y = transformer_layer(layer, y)
            summaries.append(layer_norm(y[-1], fusion.transformers[target].norm))
        np.testing.assert_allclose(fused[row], np.concatenate(summaries), rtol=0, atol=1e-12)


def test_a_bottleneck_is_all_that_passes_between_the_sequences_of_what_is_present():
    torch.manual_seed(0)
    sequences, features = sequences_of(), example(3)
    fusion = FUSIONS.build("bottleneck", WIDTHS, ELEMENTS, width=4, heads=2, layers=2, bottlenecks=3).double().eval()
    fused = array(fusion(features, {**EVERYBODY, "video": torch.tensor([True, False, True])}, sequences))
    for row in range(3):
        here = [place for place, m in enumerate(ELEMENTS) if SIZES[m][row]]
        states = {
            place: np.concatenate(
                [array(fusion.class_tokens)[place][None], tokens_of(fusion, place, m, array(sequences[m][row]))]
            )
            for place, m in enumerate(ELEMENTS)
            if place in here
        }
        shared = array(fusion.bottleneck)
        for depth in range(2):
            said = []
            for place in here:
                z = transformer_layer(fusion.layers[2 * place + depth], np.concatenate([states[place], shared]))
                states[place], bent = z[:-3], z[-3:]
                said.append(bent)
            shared = np.mean(said, axis=0)
        expected = np.mean([layer_norm(states[place][0], fusion.norms[place]) for place in here], axis=0)
        np.testing.assert_allclose(fused[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inner", ["cross_attention", "bottleneck"])
def test_residual_perceptrons_bend_the_elements_of_sequences_that_a_fusion_reads(inner):
    torch.manual_seed(0)
    sequences, features = sequences_of(), example(3)
    present = {**EVERYBODY, "video": torch.tensor([True, False, True])}
    fusion = FUSIONS.build(
        "mrpn", WIDTHS, ELEMENTS, of={"type": inner, "width": 4, "heads": 2, "dropout": 0.0}
    ).double()
    bent = {
        m: sequences[m].with_values(
            torch.from_numpy(perceptron(array(sequences[m].values), block, list(range(sequences[m].total))))
        )
        for m, block in zip(WIDTHS, fusion.perceptrons, strict=True)
    }
    expected = fusion.fusion(features, present, bent)
    torch.testing.assert_close(fusion(features, present, sequences), expected, rtol=0, atol=1e-12)


def test_a_modality_that_a_balancer_takes_away_is_not_read_from_its_sequence():
    torch.manual_seed(0)
    sequences, features = sequences_of(), example(3)
    for inner in ("cross_attention", "bottleneck"):
        fusion = FUSIONS.build(inner, WIDTHS, ELEMENTS, width=4, heads=2).double().eval()
        taken = {**EVERYBODY, "audio": torch.tensor([False, True, True])}
        other = sequences | {"audio": sequences["audio"].with_values(sequences["audio"].values.flip(0))}
        assert torch.equal(fusion(features, taken, sequences)[0], fusion(features, taken, other)[0])
        assert not torch.equal(fusion(features, taken, sequences)[1], fusion(features, taken, other)[1])


@pytest.mark.parametrize("name", ["attention", "bottleneck", "cross_attention"])
def test_a_width_that_the_heads_do_not_divide_is_refused(name):
    wired = (WIDTHS,) if name == "attention" else (WIDTHS, ELEMENTS)
    with pytest.raises(RecipeError, match="width: 10 is not a multiple of heads 4; a multiple of 4, such as 12"):
        FUSIONS.build(name, *wired, width=10)
