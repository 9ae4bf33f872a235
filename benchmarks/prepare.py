"""Speed of preparation beside bare decoding of the same films, and with several processes, as a result file.

Usage: python benchmarks/prepare.py benchmarks/results/prepare.json

Every round decodes a film with nothing else done, prepares it, and decodes it again, on one thread each: picture and
sound, which is what preparation decodes, and the picture alone. So each preparation stands between two decodings of
its own, and the two decodings of a round say what noise there is. Decoding with nothing but libav's cutting and
scaling of every frame says how much of the rest could be gained at most. Preparation is all from the film to its new
file in the cache, without detection: picture and sound decoded, paced, cut, scaled, converted, hashed and written.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.components.specs import DetectorSpec
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import FaceSpec, PrepareSpec
from fusionkit.data.films import prepare
from fusionkit.data.films.cache import describe_sources, write_clip
from fusionkit.data.films.clips import prepare_clip
from fusionkit.data.films.frames import Reader, Region
from fusionkit.data.films.records import ClipRecord
from fusionkit.interfaces import Clip
from fusionkit.nn.timer import time_work
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file

CPU = torch.device("cpu")
ROUNDS = 11
SCALING_ROUNDS = 3
COPIES = 200
SECONDS = 6
RATE = 30
SIZE = 112
LEVEL = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Films:
    """Films that are timed together.

    Args:
        title: What they are.
        paths: Where they are.
        frame_rate: Frames per second that they are prepared with: their own.
        grey: Prepare brightness alone, as the recipes for films of emotion do.
    """

    title: str
    paths: tuple[Path, ...]
    frame_rate: float
    grey: bool = False


def write_film(path: Path, width: int, height: int, seconds: float = SECONDS) -> None:
    """Writes a film of a textured scene that pans behind a moving face-sized disc, with grain and a stereo sound."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 8 + 40, width // 8 + 40, 3), dtype=np.uint8)
    scene = coarse.repeat(8, axis=0).repeat(8, axis=1)
    for axis in (0, 1):  # means over neighbours: edges as soft as a lens makes them
        scene = np.mean([np.roll(scene, shift, axis) for shift in range(-4, 5)], axis=0).astype(np.uint8)
    rows, columns = np.ogrid[:height, :width]
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for index in range(round(seconds * RATE)):
            shift = index % 240
            image = scene[shift // 2 : shift // 2 + height, shift : shift + width].copy()
            x, y = width / 2 + width / 8 * np.sin(index / 15), height / 2 + height / 10 * np.cos(index / 11)
            image[(columns - x) ** 2 + (rows - y) ** 2 < (height / 5) ** 2] = (200, 160, 130)
            image[::2] += generator.integers(0, 4, (height + 1) // 2 * width * 3, dtype=np.uint8).reshape(-1, width, 3)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        instants = np.arange(round(seconds * 48000)) / 48000
        wave = 0.2 * np.sin(2 * np.pi * (200 + 40 * instants) * instants).astype(np.float32)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(np.stack([wave[start : start + 1024]] * 2), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48000, start
            container.mux(sound.encode(frame))
        for stream in (picture, sound):
            container.mux(stream.encode(None))


def decode(films: Films, *, sound: bool) -> int:
    """Decodes films on one thread and does nothing with them; the number of frames of the picture."""
    frames = 0
    for path in films.paths:
        with av.open(str(path)) as container:
            picture = container.streams.video[0]
            picture.thread_type = "NONE"
            picture.codec_context.thread_count = 1
            for frame in container.decode() if sound else container.decode(picture):
                frames += isinstance(frame, av.VideoFrame)
    return frames


def scale(films: Films) -> None:
    """Decodes picture and sound and cuts and scales every frame of the picture, which is all libav's work."""
    for path in films.paths:
        with av.open(str(path)) as container:
            picture = container.streams.video[0]
            picture.thread_type = "NONE"
            picture.codec_context.thread_count = 1
            side = min(picture.width, picture.height)
            region = Region((picture.width - side) // 2, (picture.height - side) // 2, side, side)
            read = Reader("grey" if films.grey else "planes", region, SIZE)
            for frame in container.decode():
                if isinstance(frame, av.VideoFrame):
                    read(frame)


def spec_of(films: Films, cache: Path) -> PrepareSpec:
    """Preparation without detection."""
    face = FaceSpec(size=SIZE, grey=films.grey, detector=DetectorSpec(type="center"))
    return PrepareSpec(cache=str(cache), frame_rate=films.frame_rate, face=face)


def prepare_each(films: Films, folder: Path) -> None:
    """Prepares films in this process, each to its file in an empty folder."""
    spec = spec_of(films, folder)
    detector = build_component(spec.face.detector)
    for path in films.paths:
        clip = Clip(path)
        outcome = prepare_clip(clip, spec, detector)
        if set(outcome.tensors) != {"video", "audio"}:
            sys.exit(f"{path.name} was not prepared: {outcome.reason}")
        lengths = {name: len(values) for name, values in outcome.tensors.items()}
        record = ClipRecord(path.stem, "prepared", "", detector.version, describe_sources(clip), lengths, ())
        write_clip(folder / f"{path.stem}.safetensors", record, outcome.tensors)


def interval(values: Sequence[float]) -> dict[str, float]:
    """The median with its percentile-bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"median": statistics.median(values), "low": float(low), "high": float(high)}


def one_round(films: Films, folder: Path) -> dict[str, float]:
    """Seconds of one preparation between two decodings of each kind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("picture", lambda: decode(films, sound=False)),
        ("film", lambda: decode(films, sound=True)),
        ("prepared", lambda: prepare_each(films, folder)),
        ("scaled", lambda: scale(films)),
        ("film_again", lambda: decode(films, sound=True)),
        ("picture_again", lambda: decode(films, sound=False)),
    )
    return {name: time_work(do, CPU) for name, do in steps}


def against_decoding(films: Films, folder: Path, rounds_wanted: int = ROUNDS) -> dict[str, Any]:
    """Rate of preparation as a share of the rate of decoding, and the noise of the measurement."""
    frames = decode(films, sound=True)
    one_round(films, folder)  # brings films and code into memory
    rounds = [one_round(films, folder) for _ in range(rounds_wanted)]
    seconds = {
        "decoding": [(each["film"] + each["film_again"]) / 2 for each in rounds],
        "decoding_picture": [(each["picture"] + each["picture_again"]) / 2 for each in rounds],
        "decoding_and_scaling": [each["scaled"] for each in rounds],
        "preparation": [each["prepared"] for each in rounds],
    }
    shares = {
        name: interval([one / own for one, own in zip(seconds[name], seconds["preparation"], strict=True)])
        for name in ("decoding", "decoding_picture")
    }
    alone = [one / own for one, own in zip(seconds["decoding"], seconds["decoding_and_scaling"], strict=True)]
    return {
        "films": f"{films.title}, {'grey' if films.grey else 'colour'}",
        "frames": frames,
        "frames_per_second": {name: frames / statistics.median(values) for name, values in seconds.items()},
        "share_of_rate": shares,
        "share_with_scaling_alone": interval(alone),
        "noise": interval([each["film"] / each["film_again"] for each in rounds]),
        "rounds": rounds,
    }


def prepare_all(films: Films, folder: Path, processes: int) -> None:
    """Prepares films as `fusionkit prepare` does, into an empty cache."""
    table = folder / "films.csv"
    table.write_text("film\n" + "".join(f"{path}\n" for path in films.paths))
    dataset = DATASETS.build("manifest", path=str(table), film="film")
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    done = prepare(dataset, spec_of(films, cache), kind="manifest", processes=processes)
    if done.count("prepared") != len(films.paths):
        sys.exit(f"{dict(done.failed)}")


def scaling(films: Films, tiny: Films, folder: Path) -> dict[str, Any]:
    """Seconds for copies of a film with one and two processes; the same for two tiny films, which is the start-up."""
    seconds: dict[str, list[float]] = {}
    for _ in range(SCALING_ROUNDS):
        for processes in (1, 2):
            for what, given in (("all", films), ("start", tiny)):
                taken = time_work(lambda given=given, processes=processes: prepare_all(given, folder, processes), CPU)
                seconds.setdefault(f"{what} {processes}", []).append(taken)
    rounds = list(zip(*(seconds[name] for name in ("all 1", "start 1", "all 2", "start 2")), strict=True))
    return {
        "films": f"{len(films.paths)} copies of: {films.title}",
        "seconds": {str(processes): statistics.median(seconds[f"all {processes}"]) for processes in (1, 2)},
        "start_up": {str(processes): statistics.median(seconds[f"start {processes}"]) for processes in (1, 2)},
        "speed_up": interval([one / two for one, _, two, _ in rounds]),
        "speed_up_without_start_up": interval([(one - first) / (two - second) for one, first, two, second in rounds]),
        "rounds": seconds,
    }


def result_of(folder: Path) -> dict[str, Any]:
    """Everything that the result file says."""
    films = []
    for width, height in ((1280, 720), (640, 480)):
        path = folder / f"{height}.mp4"
        write_film(path, width, height)
        films.append(Films(f"{width}x{height} H.264, {SECONDS} s at {RATE} frames/s", (path,), RATE))
    tiny = folder / "tiny.mp4"
    write_film(tiny, 64, 64, 0.2)
    copies = []
    for index in range(COPIES):
        copies.append(folder / f"copy{index}.mp4")
        shutil.copy(films[1].paths[0], copies[-1])
    several = Films(films[1].title, tuple(copies), RATE)
    twice = (tiny, folder / "tiny2.mp4")
    shutil.copy(*twice)
    given = os.environ.get("FUSIONKIT_DATA")
    if given and (real := tuple(sorted(Path(given).glob("grid/*.mpg")))):
        films.append(Films(f"{len(real)} films of GRID, 360x288 MPEG-1, 3 s at 25 frames/s", real, 25))
    environment: Mapping[str, Any] = describe_environment("cpu")
    load = os.getloadavg()[0]
    both = [replace(each, grey=grey) for each in films for grey in (False, True)]
    rows = [against_decoding(each, folder / "prepared") for each in both]
    scaled = scaling(several, Films("", twice, RATE), folder)
    return {
        "format": 1,
        "kind": "preparation",
        "command": "python benchmarks/prepare.py benchmarks/results/prepare.json",
        "device": "cpu",
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "load": {"before": load, "after": os.getloadavg()[0]},
        "commit": environment["commit"],
        "uncommitted_changes": environment.get("uncommitted_changes"),
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")} | {"av": av.__version__},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "intervals": {"method": "percentile bootstrap of the median of rounds", "level": LEVEL},
        "preparation": {"detector": "center", "size": SIZE, "sound": True, "threads": 1},
        "against_decoding": rows,
        "scaling": scaled,
        "failures": [],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        write_file(Path(sys.argv[1]), as_json(result_of(Path(name))))
