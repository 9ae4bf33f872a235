"""Aggregators against restatements in NumPy, and their two paths against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusionkit.config.components.registry import AGGREGATORS
from fusionkit.errors import RecipeError
from fusionkit.models.aggregators import AttentionPooling, BiLstm, Gru, Lstm, Transformer
from fusionkit.models.aggregators.final_state import FinalState
from fusionkit.nn.jagged import Jagged


def sequences(*lengths, features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Jagged.from_sizes(torch.randn(sum(lengths), features, generator=generator, dtype=torch.float64), lengths)


def array(tensor):
    return tensor.detach().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_loops(x, w_in, w_state, b_in, b_state):
    h = c = np.zeros(w_state.shape[1])
    states = []
    for element in x:
        i, f, g, o = np.split(w_in @ element + b_in + w_state @ h + b_state, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states)


def gru_by_loops(x, w_in, w_state, b_in, b_state):
    h = np.zeros(w_state.shape[1])
    states = []
    for element in x:
        given, kept = np.split(w_in @ element + b_in, 3), np.split(w_state @ h + b_state, 3)
        r, z = sigmoid(given[0] + kept[0]), sigmoid(given[1] + kept[1])
        h = (1 - z) * np.tanh(given[2] + r * kept[2]) + z * h
        states.append(h)
    return np.stack(states)


def final_state_by_loops(x, network, cell):
    for layer in range(network.num_layers):
        directions = 2 if network.bidirectional else 1
        weights = [[array(w) for w in ws] for ws in network.all_weights[directions * layer : directions * (layer + 1)]]
        forwards = cell(x, *weights[0])
        if directions == 1:
            x, final = forwards, forwards[-1]
        else:
            backwards = cell(x[::-1], *weights[1])[::-1]
            x, final = np.concatenate([forwards, backwards], axis=1), np.concatenate([forwards[-1], backwards[0]])
    return final


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("cls", "options", "cell"),
    [
        (Lstm, {}, lstm_by_loops),
        (BiLstm, {}, lstm_by_loops),
        (Gru, {}, gru_by_loops),
        (Gru, {"bidirectional": True}, gru_by_loops),
    ],
)
def test_a_recurrent_summary_is_the_final_state_of_each_sample_alone(cls, options, cell, layers):
    aggregator = cls(3, hidden=4, layers=layers, **options).double()
    batch = sequences(5, 1, 7)

    summary = array(aggregator(batch))

    for sample, result in zip(batch.unbind(), summary, strict=True):
        expected = final_state_by_loops(array(sample), aggregator.state.network, cell)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_padded_and_the_packed_path_agree_in_values_and_gradients(cell, bidirectional, layers):
    state = FinalState(cell, 3, 4, layers=layers, dropout=0.0, bidirectional=bidirectional).double()
    found = []
    for path in (state.read_padded, state.read_packed):
        batch = sequences(5, 1, 7, 2)
        values = batch.values.requires_grad_()
        output = path(batch)
        gradients = torch.autograd.grad((output * output).sum(), [values, *state.parameters()])
        found.append([output, *gradients])
    for padded, packed in zip(*found, strict=True):
        torch.testing.assert_close(padded, packed, rtol=0, atol=1e-12)


def test_the_dropout_of_a_single_layer_acts_on_the_final_state_in_training_only():
    torch.manual_seed(0)
    aggregator = Lstm(3, hidden=64, dropout=0.5)
    batch = sequences(4).to(torch.float32)
    assert 10 < int((aggregator(batch) == 0).sum()) < 54
    assert int((aggregator.eval()(batch) == 0).sum()) == 0


def test_mean_max_and_last_are_those_of_each_sample():
    batch = sequences(4, 1, 6)
    for name, restated in (("mean", lambda x: x.mean(0)), ("max", lambda x: x.max(0)), ("last", lambda x: x[-1])):
        expected = np.stack([restated(array(sample)) for sample in batch.unbind()])
        np.testing.assert_allclose(array(AGGREGATORS.build(name, 3)(batch)), expected, rtol=0, atol=1e-14)


def test_attention_is_a_softmax_over_the_samples_own_elements():
    aggregator = AttentionPooling(3, hidden=5).double()
    batch = sequences(4, 1, 6)

    summary = array(aggregator(batch))

    weight, bias = array(aggregator.dense.weight), array(aggregator.dense.bias)
    query = array(aggregator.query.weight)[0]
    for sample, result in zip(batch.unbind(), summary, strict=True):
        x = array(sample)
        alpha = np.exp(np.tanh(x @ weight.T + bias) @ query)
        np.testing.assert_allclose(result, alpha @ x / alpha.sum(), rtol=0, atol=1e-12)


def test_attention_stays_finite_for_scores_whose_exponential_does_not():
    aggregator = AttentionPooling(3, hidden=5)
    with torch.no_grad():
        aggregator.query.weight.fill_(1e4)
    batch = sequences(4, 2).to(torch.float32)
    torch.testing.assert_close(aggregator.weights(batch)[:4].sum(), torch.tensor(1.0))
    assert aggregator(batch).isfinite().all()


@pytest.mark.parametrize("name", ["mean", "max", "attention", "lstm", "bilstm", "transformer"])
def test_gradients_are_those_of_finite_differences(name):
    options = {"transformer": {"width": 4, "heads": 2, "dropout": 0.0}}.get(name, {})
    torch.manual_seed(0)
    aggregator = AGGREGATORS.build(name, 3, **options).double()
    batch = sequences(3, 1, 2)
    assert torch.autograd.gradcheck(lambda v: aggregator(batch.with_values(v)), (batch.values.requires_grad_(),))


def transformer_by_loops(x, aggregator):
    state = {key: array(value) for key, value in aggregator.state_dict().items()}
    width, heads = aggregator.out_features, 2

    def norm(v, key):
        centred = v - v.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * state[f"{key}.weight"]
            + state[f"{key}.bias"]
        )

    def dense(v, key):
        return v @ state[f"{key}.weight"].T + state[f"{key}.bias"]

    z = dense(x, "dense")
    for t in range(len(z)):
        for k in range(width):
            angle = t / 10_000 ** (2 * (k // 2) / width)
            z[t, k] += np.sin(angle) if k % 2 == 0 else np.cos(angle)
    if "token" in state:
        z = np.concatenate([state["token"][None], z])
    layer = "layers.layers.0"
    v = norm(z, f"{layer}.norm1")
    q, k, u = np.split(
        v @ state[f"{layer}.self_attn.in_proj_weight"].T + state[f"{layer}.self_attn.in_proj_bias"], 3, 1
    )
    size = width // heads
    seen = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = np.exp(q[:, own] @ k[:, own].T / np.sqrt(size))
        seen.append(scores / scores.sum(1, keepdims=True) @ u[:, own])
    z = z + dense(np.concatenate(seen, axis=1), f"{layer}.self_attn.out_proj")
    z = z + dense(np.maximum(dense(norm(z, f"{layer}.norm2"), f"{layer}.linear1"), 0), f"{layer}.linear2")
    z = norm(z, "layers.norm")
    return z[0] if "token" in state else z.mean(0)


@pytest.mark.parametrize("summary", ["average", "class_token"])
def test_a_transformer_lets_each_sample_alone_attend_to_itself(summary):
    torch.manual_seed(0)
    aggregator = Transformer(3, width=6, heads=2, summary=summary).double().eval()
    batch = sequences(5, 1, 8)

    result = array(aggregator(batch))

    expected = np.stack([transformer_by_loops(array(sample), aggregator) for sample in batch.unbind()])
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_a_width_that_the_heads_do_not_divide_is_refused_with_one_that_they_do():
    with pytest.raises(RecipeError, match="width: 10 is not a multiple of heads 4; a multiple of 4, such as 12"):
        Transformer(3, width=10, heads=4)
