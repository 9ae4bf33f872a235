"""Timelines: what is said at an instant is what is predicted of the recording cut to its window."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_predictors import make_film_predictor, make_predictor
from torch import Tensor
from written_films import steps, tone, write_film

from fusionkit import DataError, Predictor, ShapeError
from fusionkit.data.readers.decoder import Film
from fusionkit.data.recordings import find_recordings
from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.timeline import overlay
from fusionkit.inference.timeline.encoded import EncodedElements
from fusionkit.inference.timeline.records import Instant, Timeline
from fusionkit.inference.timeline.subtitles import make_subtitles
from fusionkit.inference.timeline.whole import read_sample
from fusionkit.inference.timeline.window_answers import make_windows

SENSORS: dict[str, Any] = {
    "face": {
        "shape": [3],
        "transforms": [{"type": "subsample", "every": 5}],
        "encoder": ["feature_norm", {"type": "mlp", "out": 4}],
        "aggregator": {"type": "gru", "hidden": 4},
    },
    "motion": {
        "shape": [2],
        "encoder": [{"type": "mlp", "out": 3}, {"type": "conv1d", "channels": [4]}],
        "aggregator": "mean",
    },
    "wave": {"shape": [], "encoder": [{"type": "log_mel", "bands": 4, "window": 32, "hop": 16}], "aggregator": "max"},
    "level": {"shape": [2], "transforms": ["standardize"], "encoder": "mlp", "aggregator": "mean"},
    "person": {"shape": [4], "encoder": "mlp", "aggregator": "mean"},
}
RATES = {"face": 25.0, "motion": 12.5, "wave": 400.0, "level": 5.0, "person": None}


def make_recording(seconds: float = 4.0, without: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {name: 1 if rate is None else round(seconds * rate) for name, rate in RATES.items()}
    return {
        name: torch.randn(size, *SENSORS[name]["shape"], generator=generator)
        for name, size in sizes.items()
        if name != without
    }


def cut(recording: dict[str, Tensor], start: float, stop: float) -> dict[str, Tensor]:
    """The elements of a time, by the definition: n / r in [start, stop)."""
    cut = {}
    for name, values in recording.items():
        rate = RATES[name]
        times = [math.nan if rate is None else n / rate for n in range(len(values))]
        kept = [n for n, t in enumerate(times) if rate is None or start - 1e-9 <= t < stop - 1e-9]
        cut[name] = values[kept]
    return cut


def list_probabilities(answer: Answer) -> Tensor:
    return torch.tensor(list(answer.targets["mood"].probabilities.values()), dtype=torch.float64)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor(SENSORS, RATES, double=True)  # in single precision rounding depends on the processor


@pytest.mark.parametrize(("every", "window"), [(0.2, 1.0), (0.28, 0.9), (1.0, 10.0)])
def test_an_answer_is_that_to_the_recording_cut_to_its_window(
    predictor: Predictor, every: float, window: float
) -> None:
    recording = make_recording()

    timeline = predictor.timeline(recording, every=every, window=window)

    assert timeline.duration == 4.0
    assert [round(each.time / every, 6) for each in timeline[:3]] == [1, 2, 3]
    assert timeline[-1].time == 4.0
    for instant in timeline:
        expected = predictor.predict(cut(recording, instant.time - window, instant.time))[0]
        assert instant.answer.present == expected.present
        found = list_probabilities(instant.answer)
        assert torch.allclose(found, list_probabilities(expected), rtol=0, atol=1e-10), instant.time


def test_where_encoders_are_given_the_same_elements_at_once_it_is_that_to_the_bit() -> None:
    predictor, recording = make_predictor(SENSORS, RATES), make_recording()
    whole = predictor.timeline(recording, every=4.0, window=4.0)
    anew = make_predictor({name: SENSORS[name] for name in ("wave", "level")}, RATES)
    parts = {name: recording[name] for name in ("wave", "level")}

    assert list_probabilities(whole[0].answer).equal(list_probabilities(predictor.predict(recording)[0]))
    for instant in anew.timeline(parts, every=0.5, window=1.5):  # nothing of it is encoded ahead
        expected = anew.predict(cut(parts, instant.time - 1.5, instant.time))[0]
        assert list_probabilities(instant.answer).equal(list_probabilities(expected))


def test_every_element_is_encoded_once(predictor: Predictor) -> None:
    windows, recording = make_windows(predictor, 2.0), make_recording()
    for step in range(20):  # steps of 5 frames: the same fifth of them is taken every time
        for name, values in recording.items():
            rate = RATES[name]
            if rate is not None:
                begin, end = math.ceil(step * 0.2 * rate - 1e-6), math.ceil((step + 1) * 0.2 * rate - 1e-6)
                windows.push(name, values[begin:end], begin / rate)
        windows.encode((step + 1) * 0.2)
        assert windows.count()["face"] <= 50

    assert {name: of[0].encoded for name, of in windows.encoders.items() if isinstance(of[0], EncodedElements)} == {
        "face": 20,
        "motion": 50,
        "wave": 0,
        "level": 0,
        "person": 0,
    }


def test_several_networks_answer_together_and_branches_are_answered_by() -> None:
    several = make_predictor(SENSORS, RATES, networks=2, double=True)
    recording = make_recording(without="motion")

    timeline = several.timeline(recording, every=0.5, window=1.0, branches=True)
    expected = several.predict(cut(recording, 1.0, 2.0), branches=True)[0]

    assert set(timeline[3].answer.branches) == set(expected.branches) == {"face", "wave", "level", "person"}
    assert torch.allclose(list_probabilities(timeline[3].answer), list_probabilities(expected), atol=1e-10)
    assert set(timeline.spans) == {"face", "wave", "level", "person"}
    assert "motion/mood" in timeline.rows()[0]


def test_the_last_answer_of_a_film_is_its_prediction(tmp_path: Path) -> None:
    predictor = make_film_predictor()
    film = write_film(tmp_path / "film.mp4", steps(25), wave=tone(2.5))

    timeline = predictor.timeline(film, every=0.5, window=10)
    expected = predictor.predict(film)[0]

    assert torch.allclose(list_probabilities(timeline[-1].answer), list_probabilities(expected), atol=1e-5)
    assert timeline.film == film
    assert timeline.faces is not None
    assert timeline.faces.boxes is None  # the middle is taken, no face is looked for
    assert timeline.id == expected.id == "film"


def test_a_timeline_keeps_some_faces_of_a_film_and_not_all_of_them(tmp_path: Path) -> None:
    predictor = make_film_predictor()
    write_film(tmp_path / "long.mp4", steps(100))
    write_film(tmp_path / "short.mp4", steps(5), wave=tone(2.0))
    prepared = read_sample(predictor, find_recordings(tmp_path / "long.mp4", predictor.inputs)[0]).inputs["video"]

    long, short = (predictor.timeline(tmp_path / f"{name}.mp4", every=0.5).faces for name in ("long", "short"))

    assert long is not None
    assert short is not None
    assert long.crops.untyped_storage().nbytes() == 14 * prepared[0].nbytes
    assert long.times == pytest.approx([10.0 * (place + 0.5) / 14 for place in range(14)])
    for crop, at in zip(long.crops, long.times, strict=True):
        assert torch.equal(crop, prepared[round(at * 10)])
    assert short.times == pytest.approx([0.2, 0.6], abs=0.02)  # its sound goes on for two seconds


def test_an_overlay_of_a_film_whose_sound_has_no_decoder_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(Film):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.sound = SimpleNamespace(codec_context=None, type="audio")

    timeline = make_film_predictor().timeline(write_film(tmp_path / "film.mp4", steps(6), wave=tone(0.6)), every=0.2)
    monkeypatch.setattr(overlay, "Film", Deaf)

    overlay.write_overlay(timeline, tmp_path / "said.mp4")

    with Film(tmp_path / "said.mp4") as written:
        assert written.sound is None
        assert len(list(written.decode(picture=True, sound=False))) == 6


def test_what_lies_before_the_first_element_is_an_answer_with_its_reason(predictor: Predictor) -> None:
    timeline = predictor.timeline({"level": torch.randn(10, 2)}, every=0.1, window=0.1)

    said = [bool(each.answer.failure) for each in timeline]
    assert said[:4] == [False, True, False, True]  # rows come every 0.2 seconds
    assert "holds nothing that the network answers by" in timeline[1].answer.failure
    assert timeline.rows()[1]["mood"] is None


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        ({"person": torch.zeros(4)}, {}, "inputs: has no modality with a rate, so it does not last; call predict"),
        (
            {"person": torch.zeros(3, 4), "level": torch.zeros(5, 2)},
            {},
            "inputs: person: 3 elements without a rate have no time; state the rate",
        ),
        ([{"level": torch.zeros(5, 2)}] * 2, {}, "inputs: hold 2 samples; a timeline is of one"),
        ({"level": torch.zeros(5, 2)}, {"every": 0}, "every is 0; give a number above 0: seconds"),
        ({"level": torch.zeros(5, 2)}, {"window": -1.0}, "window is -1.0; give a number above 0: seconds"),
        ({"level": torch.zeros(5, 2)}, {"without": ["levle"]}, "without: no modality 'levle'; did you mean 'level'"),
        ({"level": torch.zeros(5, 2)}, {"without": "level"}, "without: 'level' is no list of modalities; give ['level"),
        ({"level": torch.zeros(5, 2)}, {"every": 1e-9}, "every: 1,000,000,000 instants in 1 s are more than"),
    ],
)
def test_what_has_no_timeline_is_refused(
    predictor: Predictor, inputs: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((DataError, ShapeError)) as caught:
        predictor.timeline(inputs, **options)
    assert str(caught.value).startswith(sentence)


def test_a_timeline_is_a_table(predictor: Predictor, tmp_path: Path) -> None:
    timeline = predictor.timeline(make_recording(1.0), every=0.5)

    timeline.to_csv(tmp_path / "answers.csv")

    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "time,id,mood,mood.calm,mood.happy,mood.sad,present,notes,failure"
    assert [line.split(",")[0] for line in lines[1:]] == ["0.5", "1.0"]
    assert timeline.plain()[0]["time"] == 0.5
    assert np.isclose(sum(timeline.rows()[0][f"mood.{name}"] for name in ("calm", "happy", "sad")), 1)


def answer_class(name: str, probability: float) -> Answer:
    return Answer("film", {"mood": TargetAnswer(name, {name: probability, "other": 1 - probability})}, ("video",))


def test_subtitles_join_what_says_the_same_and_leave_out_what_failed() -> None:
    answers = [answer_class("calm", 0.6), answer_class("calm", 0.8), Answer("film", failure="nothing")]
    answers += [answer_class("a <b> & --> c\n\nd", 1.0)]
    instants = tuple(Instant(0.2 * (place + 1), answer) for place, answer in enumerate(answers))
    timeline = Timeline("film", instants, (), 0.2, 3.0, 0.8, {}, {"mood": ("calm", "other")})

    assert make_subtitles(timeline).split("\n") == [
        "WEBVTT",
        "",
        "00:00:00.200 --> 00:00:00.600",
        "calm 70 %",
        "",
        "00:00:00.800 --> 00:00:01.000",
        "a &lt;b&gt; &amp; --&gt; c d 100 %",
        "",
    ]


def test_subtitles_give_the_mean_of_numbers_while_a_class_stays() -> None:
    told = [("calm", 990.0), ("calm", 1010.0), ("sad", 1040.0)]
    answers = [
        Answer("film", {"mood": TargetAnswer(name, {name: 1.0}), "force": TargetAnswer(force)}, ("video",))
        for name, force in told
    ]
    instants = tuple(Instant(float(place), answer) for place, answer in enumerate(answers))
    timeline = Timeline("film", instants, (), 1.0, 3.0, 2.0, {}, {"mood": ("calm", "sad"), "force": ()})

    assert make_subtitles(timeline).split("\n")[2:] == [
        "00:00:00.000 --> 00:00:02.000",
        "mood: calm 100 %",
        "force: 1000",
        "",
        "00:00:02.000 --> 00:00:03.000",
        "mood: sad 100 %",
        "force: 1040",
        "",
    ]


def test_subtitles_name_targets_and_numbers(tmp_path: Path) -> None:
    predictor = make_predictor(
        {"level": SENSORS["level"]},
        RATES,
        targets={"mood": {"type": "classification", "classes": ["calm", "sad"]}, "age": "regression"},
    )

    predictor.timeline({"level": torch.randn(10, 2)}, every=1.0).to_vtt(tmp_path / "said.vtt")

    text = (tmp_path / "said.vtt").read_text()
    assert re.search(
        r"\n\nmood: (calm|sad) \d+ %\nage: -?[\d.e+-]+\n".replace(r"\n\n", r"\n00:00:01.000 --> 00:00:0\d.000\n"), text
    )
