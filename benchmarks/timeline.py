"""Answers over time: what a stream saves, and how far it comes from the whole film, as a result file.

Usage: python benchmarks/timeline.py RUN FILMS benchmarks/results/timeline.json

RUN is a trained network of rendered films, such as the N2 of `fusionkit demo`, and FILMS a folder of films: the first
of each actor's are taken, and the six of `shared/data/grid` where FUSIONKIT_DATA says where these are.

A step of a stream, 0.2 s of crops and sound and an answer, stands between two answers to its window of 3 s anew; a
timeline stands beside `predict` of each of its windows. A film that is pushed as a camera and a microphone would give
it is compared with the film: boxes of the face as shares of their side, and probabilities at the end.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fusionkit
from fusionkit.config.recipe import build_component
from fusionkit.data.live.pictures import PictureStream
from fusionkit.data.live.sounds import Resampler
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.sound.tracks import SoundTrack, resample
from fusionkit.data.recordings import find_recordings
from fusionkit.inference.timeline.encoded import EncodedElements
from fusionkit.inference.timeline.whole import read_sample
from fusionkit.inference.timeline.windows import Windows
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file

WINDOW, EVERY, ROUNDS = 3.0, 0.2, 15
RATES = [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (22_050, 16_000)]


def measure_step(model: fusionkit.FusionModel, rates: Mapping[str, float], inputs: Mapping[str, Tensor]) -> Any:
    """Times steps of a stream beside the network on the whole window, turn by turn."""
    encoders = {name: [EncodedElements(name, model.branch(name))] for name in model.modalities}
    windows, step = Windows(encoders, rates, WINDOW, {}), 0

    def push(until: float) -> None:
        for name, rate in rates.items():
            begin, end = (round(at * rate) for at in (until - EVERY, until))
            values = inputs[name]
            windows.push(name, values[torch.arange(begin, end) % len(values)], begin / rate)

    def advance() -> None:
        nonlocal step
        step += 1
        push(step * EVERY)
        with torch.inference_mode():
            model.score_sequences(windows.encode()[0])

    def answer_anew() -> None:
        with torch.inference_mode():
            model({name: inputs[name][None, : round(WINDOW * rate)] for name, rate in rates.items()})

    for _ in range(round(WINDOW / EVERY) + 2):
        advance()
    ratios, steps = [], []
    answer_anew()
    for _ in range(ROUNDS):
        before, stepped, after = measure(answer_anew), measure(advance), measure(answer_anew)
        ratios.append(stepped / (0.5 * (before + after)))
        steps.append(stepped)
    return {
        "step_by_window_anew": round(statistics.median(ratios), 4),
        "low": round(min(ratios), 4),
        "high": round(max(ratios), 4),
        "step_milliseconds": round(1000 * statistics.median(steps), 2),
    }


def measure(work: Callable[[], object]) -> float:
    """Times work, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_timeline(predictor: fusionkit.Predictor, film: Path) -> Any:
    """Times a timeline of prepared inputs beside an answer to each of its windows."""
    sample = read_sample(predictor, find_recordings(film, predictor.inputs)[0])
    repeated = {name: torch.cat([values] * 10) for name, values in sample.inputs.items()}
    rates = {name: float(predictor.inputs.modalities[name].rate or 0) for name in repeated}
    made = predictor.timeline(repeated, every=EVERY, window=WINDOW)
    whole = measure(lambda: predictor.timeline(repeated, every=EVERY, window=WINDOW))

    def answer_each() -> list[float]:
        apart = []
        for instant in made:
            cut = {}
            for name, values in repeated.items():
                start = max(0, int(np.ceil((instant.time - WINDOW) * rates[name] - 1e-3)))
                cut[name] = values[start : int(np.ceil(instant.time * rates[name] - 1e-3))]
            said = predictor.predict({name: values for name, values in cut.items() if len(values)})[0]
            apart.append(compare(instant.answer, said))
        return apart

    apart = list[float]()
    anew = measure(lambda: apart.extend(answer_each()))
    return {
        "instants": len(made),
        "timeline_by_predict_of_each_window": round(whole / anew, 3),
        "instant_milliseconds": round(1000 * whole / len(made), 2),
        "largest_difference_of_a_probability": max(apart),
    }


def compare(first: Any, second: Any) -> float:
    """Finds the largest difference of a probability between two answers."""
    return max(
        abs(of.probabilities[name] - second.targets[target].probabilities[name])
        for target, of in first.targets.items()
        for name in of.probabilities
    )


def compare_films(predictor: fusionkit.Predictor, films: Sequence[Path]) -> Any:
    """Compares films that are pushed as they come with the films as a whole."""
    spec = predictor.steps.prepare
    assert spec is not None
    detector = build_component(spec.face.detector)
    boxes, answers, winners, missing = [], [], [], 0
    for path in films:
        timeline = predictor.timeline(path, every=1000.0, window=1000.0)
        assert timeline.faces is not None
        expected = timeline.faces.boxes
        frames, track = read_film(path)
        stream = predictor.stream(None, rates={"video": frames[1], "audio": float(track.rate or 16_000)})
        follower = PictureStream(spec, detector, frames[1])
        found = []
        for place, frame in enumerate(frames[0]):
            stream.push("video", [frame], at=place / frames[1])
            follower.push([frame], place / frames[1])
            box = follower.box
            found.append([np.nan] * 4 if box is None else [box.left, box.top, box.right, box.bottom])
        wave = track.finish()
        for start in range(0, len(wave), 960):
            stream.push("audio", wave[start : start + 960])
        assert expected is not None
        count = min(len(found), len(expected))
        held, whole = np.array(found)[:count], expected[:count].numpy()
        side = whole[:, 2] - whole[:, 0]
        apart = abs(held - whole).max(axis=1) / side
        missing += int(np.isnan(apart).sum())
        boxes.append(apart[~np.isnan(apart)])
        said, wanted = stream.predict(), timeline[-1].answer
        answers.append(compare(said, wanted))
        winners.append(all(said.targets[name].prediction == of.prediction for name, of in wanted.targets.items()))
    each = np.concatenate(boxes)
    return {
        "films": len(films),
        "frames": len(each),
        "frames_without_a_box": missing,
        "edges_apart_by_side": {
            "mean": round(float(each.mean()), 4),
            "95_per_cent": round(float(np.quantile(each, 0.95)), 4),
            "largest": round(float(each.max()), 4),
        },
        "difference_of_a_probability_at_the_end": {
            "median": round(statistics.median(answers), 4),
            "largest": round(max(answers), 4),
        },
        "same_winner": sum(winners),
    }


def read_film(path: Path) -> tuple[tuple[list[Any], float], SoundTrack]:
    """Reads the frames of a film, their rate, and its sound."""
    track, frames = SoundTrack(), []
    with Film(path) as film:
        rate = float(film.picture.average_rate)
        for frame in film.decode(picture=True, sound=True):
            if hasattr(frame, "sample_rate"):
                track.add(frame)
            else:
                frames.append(frame)
    return (frames, rate), track


def measure_resampling() -> Any:
    """Finds the largest difference of a wave that is resampled block by block from the whole, by rates."""
    found = {}
    for own, rate in RATES:
        wave = torch.randn(own * 2, generator=torch.Generator().manual_seed(0)) / 4
        resampler = Resampler(own, rate)
        parts = [resampler.push(block) for block in wave.split(own // 50)]
        apart = (torch.cat([*parts, resampler.finish()]) - resample(wave, own, rate)).abs().max()
        found[f"{own} to {rate}"] = float(apart)
    return found


def make_residual_network() -> tuple[fusionkit.FusionModel, dict[str, float], dict[str, Tensor]]:
    """Makes a network of a ResNet-18 on crops, and a spectrogram of sound, both into an LSTM."""
    model = fusionkit.build(
        {
            "modalities": {
                "video": {
                    "shape": [3, 112, 112],
                    "encoder": {"type": "timm", "model": "resnet18"},
                    "aggregator": "lstm",
                },
                "audio": {"shape": [], "encoder": {"type": "log_mel"}, "aggregator": "lstm"},
            },
            "targets": {"emotion": {"type": "classification", "classes": ["calm", "happy", "sad"]}},
        }
    )
    rates = {"video": 30.0, "audio": 16_000.0}
    inputs = {"video": torch.randint(0, 256, (90, 3, 112, 112), dtype=torch.uint8), "audio": torch.randn(48_000) / 9}
    return model.channels_last().eval(), rates, inputs


def main(run: str, folder: str, out: str) -> None:
    """Measures, and writes the results."""
    torch.set_num_threads(1)
    predictor = fusionkit.load(run, device="cpu")
    rendered = sorted(Path(folder).rglob("*.mp4"))
    rendered = [film for film in rendered if film.name[6:8] in ("03", "05") and film.name[9:11] == "02"][::2][:20]
    people = (
        sorted((Path(os.environ["FUSIONKIT_DATA"]) / "grid").glob("*.mpg")) if "FUSIONKIT_DATA" in os.environ else []
    )
    sample = read_sample(predictor, find_recordings(rendered[0], predictor.inputs)[0])
    rates = {name: float(predictor.inputs.modalities[name].rate or 0) for name in sample.inputs}
    longer = {name: torch.cat([values] * 4) for name, values in sample.inputs.items()}
    environment = describe_environment("cpu")
    beside = {"rendered films": compare_films(predictor, rendered)}
    if people:
        beside["films of people"] = compare_films(predictor, people)
    results = {
        "format": 1,
        "kind": "timeline",
        "command": "python benchmarks/timeline.py RUN FILMS benchmarks/results/timeline.json",
        "device": "cpu",
        "platform": environment["platform"],
        "commit": environment["commit"],
        "uncommitted_changes": environment.get("uncommitted_changes"),
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")},
        "window_seconds": WINDOW,
        "every_seconds": EVERY,
        "steps": {
            "demonstration": measure_step(predictor.networks[0], rates, longer),
            "ResNet-18 and log-mel": measure_step(*make_residual_network()),
        },
        "timeline": measure_timeline(predictor, rendered[0]),
        "streams_beside_films": beside,
        "resampling_in_blocks_largest_difference": measure_resampling(),
        "failures": [],
    }
    write_file(Path(out), as_json(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
