"""Streams: whatever the portions, the scores are those of the last elements, and every element is encoded once."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import fusionkit
from fusionkit import DataError, FusionKitError, FusionModel, Jagged, ShapeError, Stream
from fusionkit.config.components.registry import OPTIMIZERS, TRANSFORMS
from fusionkit.interfaces import ModelOutput

#: By modality the shape of an element, its chain, and how many encoders of it take every element by itself.
CHAINS: dict[str, tuple[tuple[int, ...], list[Any], int]] = {
    "face": ((1, 8, 8), [{"type": "conv2d", "channels": [3, 4]}], 1),
    "sensor": (
        (3,),
        ["feature_norm", {"type": "mlp", "hidden": [5], "out": 4}, {"type": "conv1d", "channels": [6]}, "mlp"],
        2,
    ),
    "voice": ((), [{"type": "log_mel", "bands": 4, "window": 32, "hop": 16}, {"type": "mlp", "out": 5}], 0),
    "person": ((4,), ["identity"], 1),
}
LONGER = {"voice": 40}
"""Elements of a wave for each of another modality."""


def network(*names: str, **options: Any) -> FusionModel:
    """A network in float64 and evaluation mode whose every parameter and statistic is a number of its own."""
    model = fusionkit.build(
        {
            "modalities": {
                name: {"shape": list(CHAINS[name][0]), "encoder": CHAINS[name][1], "aggregator": {"type": "lstm"}}
                for name in names or CHAINS
            },
            "targets": {"mood": {"type": "classification", "classes": ["low", "high"]}, "age": "regression"},
            **options,
        }
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / 2
                tensor.copy_(drawn.square() + 0.5 if name.endswith("running_var") else drawn)
    return model.eval()


def recording(name: str, elements: int, seed: int = 0) -> Tensor:
    """So many elements of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(elements, *CHAINS[name][0], generator=generator, dtype=torch.float64)


def assert_same(found: ModelOutput, expected: ModelOutput) -> None:
    """Equal in all that a network says."""

    def tensors(output: ModelOutput) -> dict[str, Tensor]:
        said = {f"fused {target}": scores for target, scores in output.fused.items()}
        said |= {f"{name} {target}": of[target] for name, of in output.unimodal.items() for target in of}
        said |= {f"features {name}": values for name, values in output.features.items()}
        said |= {f"present {name}": mask for name, mask in output.present.items()}
        return said | {f"sequence {name}": sequence.values for name, sequence in output.sequences.items()}

    found_tensors, expected_tensors = tensors(found), tensors(expected)
    assert found_tensors.keys() == expected_tensors.keys()
    for what, values in expected_tensors.items():
        torch.testing.assert_close(
            found_tensors[what], values, rtol=1e-12, atol=1e-12, msg=lambda m, w=what: f"{w}: {m}"
        )


MODELS = {fusion: network(fusion=fusion) for fusion in ("mrpn", "bottleneck")}  # vectors, and sequences


@given(
    fusion=st.sampled_from(sorted(MODELS)),
    window=st.fixed_dictionaries({}, optional=dict.fromkeys(CHAINS, st.none() | st.integers(1, 7))).filter(bool),
    portions=st.lists(st.tuples(st.sampled_from(sorted(CHAINS)), st.integers(0, 11)), min_size=1, max_size=8),
)
def test_however_elements_are_portioned_the_scores_are_those_of_the_last_of_them(
    fusion: str, window: dict[str, int | None], portions: list[tuple[str, int]]
) -> None:
    window = {name: most and most * LONGER.get(name, 1) for name, most in window.items()}
    model = MODELS[fusion]
    stream = Stream(model, window=window)
    pushed = {name: recording(name, 0) for name in window}
    for turn, (name, count) in enumerate(portions):
        if name not in window:
            continue
        portion = recording(name, count * LONGER.get(name, 1), seed=turn)
        stream.push(name, portion)
        pushed[name] = torch.cat([pushed[name], portion])
        last = {each: values[-(window[each] or len(values)) :] for each, values in pushed.items() if len(values)}
        assert stream.counts == {each: len(last.get(each, ())) for each in window}
        if last:
            with torch.no_grad():
                expected = model({each: values[None] for each, values in last.items()}, unimodal=True)
            assert_same(stream.predict(unimodal=True), expected)


def given_to(module: torch.nn.Module) -> list[int]:
    """How many elements a module is given, call by call."""
    counts: list[int] = []
    module.register_forward_pre_hook(lambda _, values: counts.append(values[0].total))
    return counts


def test_every_element_is_encoded_once_by_encoders_that_see_no_neighbour_and_anew_behind_one_that_does() -> None:
    model = network("sensor")
    calls = [given_to(encoder) for encoder in model.branch("sensor").encoders]
    stream = Stream(model, window={"sensor": 10})
    for turn in range(4):
        stream.push("sensor", recording("sensor", 4, seed=turn))
        stream.predict()
        stream.predict()
    assert calls[0] == calls[1] == [4, 4, 4, 4]
    assert calls[2] == [4, 4, 8, 8, 10, 10, 10, 10]
    assert [len(CHAINS[name][1]) - MODELS["mrpn"].branch(name).element_encoders for name in CHAINS] == [0, 2, 2, 0]


def test_what_will_fall_out_of_the_window_is_not_encoded() -> None:
    model = network("face")
    encoded = given_to(model.branch("face").encoders[0])
    stream = Stream(model, window={"face": 5})
    stream.push("face", recording("face", 200))
    assert encoded == [5]
    assert_same(stream.predict(), model({"face": recording("face", 200)[None, -5:]}))


def test_a_long_stream_takes_the_memory_of_its_window() -> None:
    model = network("face", "voice")
    stream = Stream(model, window={"face": 6, "voice": 1000})

    def bytes_held() -> int:
        gc.collect()
        tensors = [each for each in gc.get_objects() if type(each) is Tensor]
        return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())

    before = bytes_held()
    held = []
    for turn in range(1, 101):
        stream.push("face", recording("face", 1 + turn % 4))
        stream.push("voice", recording("voice", 160 + turn))
        stream.predict()
        if turn % 25 == 0:
            held.append(bytes_held() - before)
    assert held == [8 * (6 * 4 + 1000)] * 4  # vectors of frames, and samples, of eight bytes a number


def test_a_stream_copies_what_it_is_given_and_what_it_gives() -> None:
    model = network("person")
    stream, buffer = Stream(model, window={"person": 2}), recording("person", 2)
    stream.push("person", buffer)
    expected = model({"person": buffer[None].clone()})
    buffer.zero_()
    first = stream.predict()
    assert_same(first, expected)
    stream.push("person", buffer)
    stream.predict()
    assert_same(first, expected)


def test_predictions_are_made_without_gradients_even_where_gradients_are_on() -> None:
    stream = Stream(network("face"), window={"face": None})
    stream.push("face", recording("face", 3))
    assert stream.predict().fused["mood"].is_inference()


def test_bytes_of_images_are_pushed_as_bytes() -> None:
    model = network("face")
    frames = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8)
    stream = Stream(model, window={"face": 4})
    stream.push("face", frames[:5])
    stream.push("face", frames[5:])
    assert_same(stream.predict(), model({"face": frames[None, -4:]}))


def test_after_a_reset_modalities_are_missing_until_they_are_pushed_again() -> None:
    model = network("face", "sensor")
    stream = Stream(model, window={"face": 3, "sensor": 3})
    face, sensor = recording("face", 3), recording("sensor", 3)
    stream.push("face", face)
    stream.push("sensor", sensor)
    stream.reset("face")
    assert stream.counts == {"face": 0, "sensor": 3}
    assert_same(stream.predict(), model({"sensor": sensor[None]}))
    stream.reset()
    with pytest.raises(ShapeError, match="predict: nothing was pushed yet; push elements of any of face, sensor"):
        stream.predict()
    stream.push("face", face.to(torch.uint8))  # another dtype than before
    assert stream.counts == {"face": 3, "sensor": 0}


def test_a_transform_sees_the_window_as_its_clip() -> None:
    standardize = TRANSFORMS.build("standardize", (3,), None)

    def of_window(window: Tensor) -> Tensor:
        return standardize(window, torch.Generator(), training=False)

    model = network("sensor", "face")
    stream = Stream(model, window={"sensor": 8, "face": 2}, transforms={"sensor": of_window})
    rows, frames = recording("sensor", 21), recording("face", 3)
    for portion in rows.split(5):
        stream.push("sensor", portion)
    stream.push("face", frames)
    clip = {"sensor": of_window(rows[-8:])[None], "face": frames[None, -2:]}
    assert_same(stream.predict(), model(clip))


def test_a_transform_that_changes_the_shape_of_elements_is_refused() -> None:
    stream = Stream(network("sensor"), window={"sensor": 8}, transforms={"sensor": lambda window: window[:, :2]})
    stream.push("sensor", recording("sensor", 4))
    with pytest.raises(ShapeError, match=r"sensor: elements of shape \(4, 2\) are not \(new, 3\)"):
        stream.predict()


def test_a_network_in_training_mode_is_refused_and_left_as_it_is() -> None:
    model = network("face")
    stream = Stream(model, window={"face": 3})
    stream.push("face", recording("face", 3))
    model.train()
    sentence = r"the network is in training mode; call its eval\(\) before you use it in a stream"
    with pytest.raises(FusionKitError, match=sentence):
        stream.push("face", recording("face", 3))
    with pytest.raises(FusionKitError, match=sentence):
        stream.predict()
    assert model.training


@pytest.mark.parametrize("name", ["face", "person"])
def test_a_part_in_training_mode_is_refused_under_a_network_in_evaluation_mode(name: str) -> None:
    model = network("face", "person")
    stream = Stream(model, window={name: 3})
    stream.push(name, recording(name, 3))
    model.branch(name).train()
    assert not model.training
    sentence = rf"branches\.{name} of the network is in training mode; call its eval\(\) before you use it in a stream"
    for use in (stream.predict, lambda: stream.push(name, recording(name, 1))):
        with pytest.raises(FusionKitError, match=sentence):
            use()
    model.eval()
    model.fusion.train()
    stream.push(name, recording(name, 1))  # what encodes it is in evaluation mode
    with pytest.raises(FusionKitError, match="fusion of the network is in training mode"):
        stream.predict()


@pytest.mark.parametrize("first", [True, False])
def test_elements_that_were_encoded_in_another_precision_by_autocast_are_refused_until_a_reset(first: bool) -> None:
    model = network("face").float()
    stream = Stream(model, window={"face": 300})

    def push(half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            stream.push("face", recording("face", 20).float())

    push(first)
    with pytest.raises(FusionKitError, match=r"under autocast to torch\.bfloat16.*; reset the stream and push anew"):
        push(not first)
    stream.reset()
    push(not first)
    with torch.autocast("cpu", torch.bfloat16, enabled=not first):
        assert stream.predict().fused


@pytest.mark.parametrize("name", ["face", "person", "voice"])
def test_elements_that_a_network_of_another_precision_encoded_are_refused_until_a_reset(name: str) -> None:
    model = network(name).float()
    stream = Stream(model, window={name: 300})
    stream.push(name, recording(name, 200).float())
    model.double()
    single, double = recording(name, 1).float(), recording(name, 1)
    for use in (stream.predict, lambda: stream.push(name, single), lambda: stream.push(name, double)):
        with pytest.raises(FusionKitError) as caught:
            use()
        assert str(caught.value) == (
            f"{name}: the network was torch.float32 on cpu when elements were pushed, now it is torch.float64 on cpu; "
            "reset the stream and push anew"
        )
    stream.reset()
    stream.push(name, recording(name, 200))
    assert_same(stream.predict(), model({name: recording(name, 200)[None]}))


@pytest.mark.parametrize("change", ["adamw", "sgd", "plain", "load", "assign", "statistics"])
def test_elements_that_other_weights_encoded_are_refused_until_a_reset(change: str) -> None:
    model = network("face")
    stream = Stream(model, window={"face": 3})
    stream.push("face", recording("face", 3))
    encoder = model.branch("face").encoders[0]
    if change in ("adamw", "sgd", "plain"):
        parameters = list(encoder.parameters())
        plain = torch.optim.SGD(parameters, lr=0.1)
        optimizer = plain if change == "plain" else OPTIMIZERS.build(change).make(parameters)
        sum(each.sum() for each in parameters).backward()
        optimizer.step()
    elif change == "load":
        model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    elif change == "assign":
        model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()}, assign=True)
    else:
        model.train()({"face": recording("face", 8)[None]})
        model.eval()
    for use in (stream.predict, lambda: stream.push("face", recording("face", 1))):
        with pytest.raises(FusionKitError, match=r"face: the weights of its encoders changed .* reset the stream"):
            use()
    stream.reset()
    stream.push("face", recording("face", 2))
    assert_same(stream.predict(), model({"face": recording("face", 2)[None]}))


def test_weights_behind_what_is_kept_may_change() -> None:
    model = network("face", "voice")
    stream = Stream(model, window={"face": 3, "voice": 500})
    stream.push("face", recording("face", 3))
    stream.push("voice", recording("voice", 400))
    with torch.no_grad():
        for module in (model.fusion, model.branch("face").aggregator, model.branch("voice")):
            for parameter in module.parameters():
                parameter.mul_(1.5)
    assert_same(stream.predict(), model({"face": recording("face", 3)[None], "voice": recording("voice", 400)[None]}))


@pytest.mark.parametrize(
    ("window", "sentence"),
    [
        ({}, "window: no modality is given; known: face, sensor"),
        ({"faces": 3}, "window: unknown modality 'faces'; did you mean 'face'?"),
        ({"face": 0}, "window: 'face' has 0 elements; give a whole number of at least 1, or None for all elements"),
        ({"face": 2.5}, "window: 'face' has 2.5 elements; give a whole number"),
        ({"face": True}, "window: 'face' has True elements; give a whole number"),
    ],
)
def test_a_window_that_cannot_be_is_refused(window: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        Stream(network("face", "sensor"), window=window)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 100}, "window: a mapping is expected, given 100; give one by modality: {'face': 90}"),
        ({"window": ["face"]}, "window: a mapping is expected, given ['face']; give one by modality: {'face': 90}"),
        (
            {"window": {"face": 2}, "transforms": abs},
            f"transforms: a mapping is expected, given {abs!r}; give one by modality: {{'face': function}}",
        ),
        (
            {"window": {"face": 2}, "transforms": {"face": "standardize"}},
            "transforms: 'face' is 'standardize'; give a function of the window's elements",
        ),
        (
            {"window": {"sensor": 2}, "transforms": {"sensor": TRANSFORMS.build("standardize", (3,), None)}},
            "transforms: 'sensor' is the Standardize of a recipe itself; give lambda window: transform(window, torch.",
        ),
    ],
)
def test_options_of_a_wrong_kind_are_refused_when_a_stream_is_made(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        Stream(network("face", "sensor"), **options)
    assert str(caught.value).startswith(sentence)


def test_the_path_of_a_run_is_no_network() -> None:
    path: Any = "runs/a"
    with pytest.raises(FusionKitError, match=r"model: a FusionModel is expected, given str; build one from the recipe"):
        Stream(path, window={"face": 3})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_change_nothing(wrong: float) -> None:
    model = network("person", "voice")
    stream = Stream(model, window={"person": 3, "voice": None})
    stream.push("person", recording("person", 3))
    before = stream.predict()
    rows, wave = recording("person", 5), recording("voice", 10)
    rows[2, 1] = wave[4] = wrong
    with pytest.raises(DataError, match="person: 1 of 12 numbers are NaN or infinite"):
        stream.push("person", rows)
    with pytest.raises(DataError, match="voice: 1 of 10 numbers are NaN or infinite"):
        stream.push("voice", wave)
    assert_same(stream.predict(), before)
    rows[0, 0], rows[2, 1] = wrong, 0.0
    stream.push("person", rows)  # which is behind the window already
    assert_same(stream.predict(), model({"person": rows[None, -3:]}))


def test_a_transform_may_take_another_dtype_than_the_network() -> None:
    model = network("voice")
    samples = (recording("voice", 300).clamp(-3, 3) * 10_000).to(torch.int16)
    stream = Stream(model, window={"voice": 200}, transforms={"voice": lambda window: window.double() / 32768})
    stream.push("voice", samples)
    assert_same(stream.predict(), model({"voice": samples[None, -200:].double() / 32768}))
    unchanged = Stream(model, window={"voice": 200}, transforms={"voice": lambda window: window})
    unchanged.push("voice", samples)
    with pytest.raises(ShapeError, match=r"voice: numbers are torch\.int16, its first encoder takes torch\.float64"):
        unchanged.predict()


@pytest.mark.parametrize(
    ("modality", "elements", "sentence"),
    [
        ("fcae", torch.zeros(2, 1, 8, 8), "push: unknown modality 'fcae'; did you mean 'face'?"),
        ("sensor", torch.zeros(2, 3), "push: 'sensor' has no window; state one when the stream is made"),
        ("face", [[0.0]], "face: a tensor is expected, given list"),
        ("face", torch.zeros(2, 8, 8), "face: elements of shape (2, 8, 8) are not (new, 1, 8, 8)"),
        ("face", torch.zeros(1, 8, 8), "face: elements of shape (1, 8, 8) are not (new, 1, 8, 8); a single element is"),
        ("voice", torch.zeros(4, 1), "voice: elements of shape (4, 1) are not (new,)"),
        (
            "voice",
            torch.zeros(4),
            "voice: numbers are torch.float32, those of the network torch.float64; convert them with .to(torch.float64",
        ),
        (
            "face",
            torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
            "face: elements are torch.uint8, those before torch.float64; push elements of one dtype, or reset",
        ),
        (
            "voice",
            torch.zeros(4, dtype=torch.int16),
            "voice: numbers are torch.int16, its first encoder takes torch.float64; divide 16-bit sound by 32768",
        ),
        (
            "face",
            torch.zeros(2, 1, 8, 8, dtype=torch.int64),
            "face: numbers are torch.int64, its first encoder takes torch.uint8 or torch.float64; convert them as for",
        ),
    ],
)
def test_elements_that_do_not_fit_are_refused_and_change_nothing(modality: str, elements: Any, sentence: str) -> None:
    model = network("face", "sensor", "voice")
    stream = Stream(model, window={"face": 3, "voice": 500})
    stream.push("face", recording("face", 2))
    before = stream.predict()
    with pytest.raises(ShapeError) as caught:
        stream.push(modality, elements)
    assert str(caught.value).startswith(sentence)
    assert_same(stream.predict(), before)


def test_transforms_and_resets_of_unknown_modalities_are_refused() -> None:
    model = network("face")
    with pytest.raises(ShapeError, match="transforms: unknown modality 'farce'; did you mean 'face'"):
        Stream(model, window={"face": 3}, transforms={"farce": lambda window: window})
    with pytest.raises(ShapeError, match="transforms: 'face' has no window"):
        Stream(network("face", "sensor"), window={"sensor": 3}, transforms={"face": lambda window: window})
    with pytest.raises(ShapeError, match="reset: unknown modality 'farce'; did you mean 'face'"):
        Stream(model, window={"face": 3}).reset("farce")


def test_a_batch_that_is_encoded_already_is_scored_as_the_elements_were() -> None:
    model = MODELS["bottleneck"]
    sizes = {"face": (2, 0, 5), "sensor": (0, 4, 3), "voice": (90, 200, 0), "person": (1, 1, 1)}
    inputs = {name: Jagged.from_sizes(recording(name, sum(of)), of) for name, of in sizes.items()}
    with torch.no_grad():
        output = model(inputs, unimodal=True)
        assert_same(model.score_sequences(output.sequences, unimodal=True), output)
        assert not model.score_sequences(output.sequences).unimodal
