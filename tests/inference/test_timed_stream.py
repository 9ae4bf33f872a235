"""Streams of seconds: elements of different clocks, with gaps, out of order and doubled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_predictors import make_film_predictor, make_predictor
from torch import Tensor

import fusionkit
from fusionkit import DataError, FusionKitError, ShapeError, Stream
from fusionkit.data.films.sounds import convert_to_int16
from fusionkit.inference.timeline.elements import TimedElements

MODALITIES: dict[str, Any] = {
    "motion": {"shape": [3], "encoder": [{"type": "mlp", "out": 4}], "aggregator": "gru"},
    "wave": {"shape": [], "encoder": [{"type": "log_mel", "bands": 4, "window": 32, "hop": 16}], "aggregator": "gru"},
    "person": {"shape": [2], "encoder": "mlp", "aggregator": "mean"},
}
RATES = {"motion": 10.0, "wave": 200.0, "person": None}


@pytest.fixture(scope="module")
def model() -> fusionkit.FusionModel:
    return make_predictor(MODALITIES, RATES, double=True).networks[0]


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def predict(model: fusionkit.FusionModel, **inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        scores: Tensor = model({name: values[None] for name, values in inputs.items()}).fused["mood"]
        return scores


def test_scores_are_of_the_last_seconds_before_the_newest_element_of_any_modality(model: fusionkit.FusionModel) -> None:
    stream, motion, wave = Stream(model, window=2.0, rates=RATES), rows(30), torch.randn(700, dtype=torch.float64)

    stream.push("person", torch.ones(1, 2, dtype=torch.float64), at=0.0)
    stream.push("motion", motion, at=0.0)
    stream.push("wave", wave, at=0.0)  # to 3.5 s, so the window begins at 1.5

    assert stream.counts == {"motion": 15, "wave": 400, "person": 1}
    expected = predict(model, motion=motion[15:], wave=wave[300:], person=torch.ones(1, 2, dtype=torch.float64))
    assert torch.allclose(stream.predict().fused["mood"], expected, atol=1e-10)


def test_a_modality_that_stopped_falls_out_of_the_window(model: fusionkit.FusionModel) -> None:
    stream, wave = Stream(model, window=1.0, rates=RATES), torch.randn(600, dtype=torch.float64)
    stream.push("motion", rows(10), at=0.0)
    stream.push("wave", wave[:400], at=0.0)
    assert stream.counts["motion"] == 0  # its last element is of 0.9 s, the window begins at 1.0

    assert torch.allclose(stream.predict().fused["mood"], predict(model, wave=wave[200:400]), atol=1e-10)
    assert not stream.predict().present["motion"][0]


def test_elements_around_a_gap_stand_beside_each_other(model: fusionkit.FusionModel) -> None:
    stream, motion = Stream(model, window=3.0, rates=RATES), rows(20)
    stream.push("motion", motion[:10], at=0.0)
    stream.push("motion", motion[10:], at=2.0)

    assert stream.counts["motion"] == 20
    assert torch.allclose(stream.predict().fused["mood"], predict(model, motion=motion), atol=1e-10)
    assert torch.allclose(stream.predict(at=4.5).fused["mood"], predict(model, motion=motion[10:]), atol=1e-10)


def test_stamps_that_are_nearly_right_follow_and_others_are_cut_or_refused(model: fusionkit.FusionModel) -> None:
    stream, motion = Stream(model, window=9.0, rates=RATES), rows(40)
    stream.push("motion", motion[:10], at=0.0)
    stream.push("motion", motion[10:20], at=1.04)  # a clock that trembles
    stream.push("motion", motion[15:30], at=1.5)  # five of them were there

    assert stream.cut["motion"] == 5
    assert torch.allclose(stream.predict().fused["mood"], predict(model, motion=motion[:30]), atol=1e-10)
    with pytest.raises(DataError) as caught:
        stream.push("motion", motion[:10], at=0.0)
    assert str(caught.value).startswith("motion: 10 elements from 0.000 s on come after those up to 3.000 s; push")
    assert stream.counts["motion"] == 30


@pytest.mark.parametrize("live", [False, True])
def test_what_is_pushed_is_copied_so_that_a_buffer_may_be_reused(live: bool) -> None:
    predictor = make_predictor({"motion": MODALITIES["motion"]}, {"motion": 10.0})
    first, second = torch.randn(4, 3), torch.randn(5, 3)
    both = {"motion": torch.cat([first, second])}
    stream: Any = predictor.stream(9.0) if live else Stream(predictor.networks[0], window=9.0, rates={"motion": 10.0})
    buffer = first.clone()
    given: Any = buffer.numpy() if live else buffer
    stream.push("motion", given, at=0.0)
    buffer.copy_(second[:4])
    stream.push("motion", given, at=0.4)
    buffer[:1] = second[4:]
    stream.push("motion", given[:1], at=0.8)
    buffer.zero_()

    if live:
        expected = predictor.predict(both)[0].targets["mood"].probabilities
        assert stream.predict().targets["mood"].probabilities == pytest.approx(dict(expected), abs=1e-6)
    else:
        assert torch.allclose(stream.predict().fused["mood"], predict(predictor.networks[0], **both), atol=1e-5)


def test_a_transform_may_write_into_its_window(model: fusionkit.FusionModel) -> None:
    def centre_in_place(window: Tensor) -> Tensor:
        return window.sub_(window.mean(dim=0))

    def centre(window: Tensor) -> Tensor:
        return window - window.mean(dim=0)

    scores = []
    for transform in (centre_in_place, centre):
        stream = Stream(model, window=1.0, rates={"motion": 10.0}, transforms={"motion": transform})
        for step in range(4):
            stream.push("motion", rows(5, seed=step), at=step / 2)
            last = stream.predict().fused["mood"]
        scores.append(last)

    assert torch.allclose(*scores, atol=1e-12)


@pytest.mark.parametrize("start", [0.0, 1.7e9])
@pytest.mark.parametrize("rate", [44_100.0, 48_000.0])
def test_seconds_since_1970_hold_as_many_elements_as_any(start: float, rate: float) -> None:
    elements, size = TimedElements("wave", rate), 1024
    for step in range(400):
        elements.push(torch.zeros(size), start + step * size / rate if step % 3 else None if step else start)
        elements.drop_before(start + (step + 1) * size / rate - 0.3)
        if step > 20:
            assert elements.end is not None
            assert elements.count(elements.end - 0.25, elements.end) == 0.25 * rate

    assert elements.cut == 0
    assert elements.end == pytest.approx(start + 400 * size / rate, abs=2.4e-7)  # one rounding, not 400


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.floats(0.3, 5.0))
def test_portions_play_no_part(portions: list[int], window: float) -> None:
    model = make_predictor({"motion": MODALITIES["motion"]}, RATES, double=True).networks[0]
    motion = rows(sum(portions))
    stream = Stream(model, window=window, rates={"motion": 10.0})
    done = 0
    for size in portions:
        stream.push("motion", motion[done : done + size], at=done / 10)
        stream.predict()
        done += size

    kept = min(len(motion), stream.counts["motion"])
    assert abs(kept - min(len(motion), window * 10)) <= 1
    assert torch.allclose(stream.predict().fused["mood"], predict(model, motion=motion[-kept:]), atol=1e-10)


def test_memory_is_that_of_the_window() -> None:
    elements = TimedElements("motion", 100.0)
    elements.push(torch.zeros(10_000, 3), 0.0)  # to 100 s
    for step in range(200):
        elements.push(torch.zeros(50, 3), 100 + step * 0.5)
        elements.drop_before(99.25 + step * 0.5)
        stored = sum(block.values.untyped_storage().nbytes() for block in elements._blocks)
        assert stored <= 175 * 3 * 4  # a second and a quarter, and the block that is just there


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"window": 3.0},
            "window: a mapping is expected, given 3.0; give one by modality: {'motion': 90}, or a number",
        ),
        ({"window": 0, "rates": {"motion": 1.0}}, "window is 0; give a number above 0: seconds"),
        ({"window": float("nan"), "rates": {"motion": 1.0}}, "window is nan; give a number above 0"),
        ({"window": 3.0, "rates": {"motion": -1}}, "rates: 'motion' is -1; give a number above 0: elements per second"),
        ({"window": 3.0, "rates": {"motio": 1}}, "rates: unknown modality 'motio'; did you mean 'motion'"),
        ({"window": 3.0, "rates": {}}, "rates: no modality is given; known: motion, wave, person"),
        ({"window": {"motion": 3}, "rates": {"motion": 1}}, "rates: are for windows in seconds, and this window is in"),
    ],
)
def test_options_of_seconds_are_checked(model: fusionkit.FusionModel, options: Any, sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        Stream(model, **options)
    assert str(caught.value).startswith(sentence)


def test_time_stamps_are_for_windows_in_seconds(model: fusionkit.FusionModel) -> None:
    with pytest.raises(ShapeError, match="at is given, but the window of 'motion' is in elements; give the stream"):
        Stream(model, window={"motion": 5}).push("motion", rows(2), at=1.0)
    timed = Stream(model, window=2.0, rates={"motion": 10.0})
    with pytest.raises(ShapeError, match="motion: at is nan; give the seconds of the first element"):
        timed.push("motion", rows(2), at=float("nan"))
    with pytest.raises(ShapeError, match="push: 'wave' has no window; state one when the stream is made"):
        timed.push("wave", torch.zeros(3))


def test_changed_weights_and_training_are_refused() -> None:
    model = make_predictor({"motion": MODALITIES["motion"]}, RATES, double=True).networks[0]
    stream = Stream(model, window=2.0, rates={"motion": 10.0})
    stream.push("motion", rows(5))
    stream.predict()
    with torch.no_grad():
        next(model.branch("motion").encoders[0].parameters()).add_(1)

    with pytest.raises(FusionKitError, match="the weights of its encoders changed since elements were encoded"):
        stream.predict()
    stream.reset()
    stream.push("motion", rows(5))
    stream.predict()
    model.train()
    with pytest.raises(FusionKitError, match="in training mode"):
        stream.predict()


def test_a_live_stream_at_its_end_says_what_predict_says() -> None:
    predictor = make_film_predictor()
    generator = np.random.default_rng(0)
    video = generator.integers(0, 256, (30, 1, 16, 16), dtype=np.uint8)  # crops, as they are prepared
    audio = (generator.standard_normal(48000) * 3000).astype(np.int16)
    stream = predictor.stream(window=3.0)
    for step in range(15):
        stream.push("video", video[2 * step : 2 * step + 2], at=step * 0.2)
        stream.push("audio", audio[3200 * step : 3200 * (step + 1)], at=step * 0.2)
        answer = stream.predict()

    expected = predictor.predict({"video": video, "audio": audio})[0]
    assert answer.present == expected.present == ("video", "audio")
    found, wanted = (torch.tensor(list(each.targets["mood"].probabilities.values())) for each in (answer, expected))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_sound_of_films_is_rounded_as_it_is_stored() -> None:
    predictor = make_film_predictor()
    wave = torch.randn(8000, generator=torch.Generator().manual_seed(0)) / 2000  # near the step of 16 bits
    stream = predictor.stream(window=3.0)
    stream.push("audio", wave)

    expected = predictor.predict({"audio": convert_to_int16(wave)[0]})[0].targets["mood"].probabilities
    assert stream.predict().targets["mood"].probabilities == pytest.approx(dict(expected), abs=1e-7)


def test_what_a_live_stream_cannot_take_is_said() -> None:
    predictor = make_film_predictor()
    stream = predictor.stream()

    assert "holds nothing that the network answers by (video, audio)" in stream.predict().failure
    with pytest.raises(ShapeError, match="push: unknown modality 'vide'; did you mean 'video'"):
        stream.push("vide", np.zeros(3))
    with pytest.raises(DataError, match="samples of uint8; give int16, or floating-point numbers"):
        stream.push("audio", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match=r"video: an array of shape \(2, 8, 8\); one element is \(1, 16, 16\)"):
        stream.push("video", np.zeros((2, 8, 8)))
    with pytest.raises(DataError, match="video: at is nan; give the seconds"):
        stream.push("video", np.zeros((2, 8, 8, 3), np.uint8), at=float("nan"))
    for end in (float("inf"), float("nan"), "now", True):
        with pytest.raises(DataError, match=f"predict: at is {end!r}; give the seconds at which the window ends"):
            stream.predict(at=end)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="without: no modality 'vide'; did you mean 'video'"):
        stream.predict(without=["vide"])
    with pytest.raises(ShapeError, match="rates: unknown modality 'sound'"):
        predictor.stream(rates={"sound": 1.0})
    sensors = make_predictor(MODALITIES, RATES)
    with pytest.raises(
        ShapeError, match="rates: 'motion' comes at 20 elements a second, the network was trained on 10"
    ):
        sensors.stream(rates={"motion": 20})
    with pytest.raises(ShapeError, match="window is -1; give a number above 0"):
        predictor.stream(-1)
