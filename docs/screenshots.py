"""Makes the pictures of a trained network at work: answers over time, and the page of `fusionkit serve`.

`make demo`, then `make shots`, or `python docs/screenshots.py runs/demo docs/pictures`. It trains the network of
the demonstration once more, with modalities left out at random, so that it knows what to say without one. An actor of
the test part then shows three emotions in a film whose sound ends before the third, and one before the camera.
"""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fusionkit
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import RunError
from fusionkit.experiments.prerequisites import prepare_films
from fusionkit.rendering.codecs import encode_film, encode_wave
from fusionkit.rendering.films import FilmSettings
from fusionkit.rendering.layouts import make_ravdess_scene
from fusionkit.report.figures.timeline import save_timeline
from fusionkit.serving.server import make_server
from fusionkit.serving.settings import Settings
from fusionkit.training import train

RECIPE = "quickstart/films"
CHANGES = ("train.balancer=modality_dropout", "train.epochs=24")
ACTOR = 1  # of the recipe's test part
OF_FILM, OF_CAMERA = ("happy", "angry", "sad"), ("angry", "angry", "angry")
SETTINGS = FilmSettings(size=(320, 240), head=0.33, seconds=2.5, ambiguity=0.3)
EVERY, WINDOW = 0.2, 1.5
SEEN, HIDDEN = 45, 30
"""Answers of the page with all modalities, and then without the sound."""

COLOURS = 96
"""Colours of the film in the picture of the page."""

PATIENCE = 120.0
"""Seconds after which the page has failed."""


@dataclass(frozen=True)
class Recording:
    """The same performance as a film whose sound ends early, and as a camera and a microphone give it.

    Args:
        film: The film.
        camera: Its pictures, as Chromium's fake camera takes them.
        microphone: All of its sound, as Chromium's fake microphone takes it.
    """

    film: Path
    camera: Path
    microphone: Path


def record_film(folder: Path, emotions: Sequence[str], settings: FilmSettings = SETTINGS) -> Recording:
    """Records an actor who shows one emotion after another."""
    rate, frames, waves = settings.frame_rate, list[np.ndarray](), list[np.ndarray]()
    for emotion in emotions:
        take = make_ravdess_scene(ACTOR, emotion, 2, 1, 1).play(settings)
        drawn = list(take.draw_frames())
        frames += drawn
        wave, length = take.speech.wave, len(drawn) * settings.sound_rate // rate
        waves.append(np.pad(wave[:length], (0, max(0, length - len(wave)))))
    made = Recording(folder / "film.mp4", folder / "camera.mjpeg", folder / "microphone.wav")
    made.film.write_bytes(encode_film(frames, rate, np.concatenate(waves[:-1]), settings.sound_rate, "mp4"))
    pictures = [io.BytesIO() for _ in frames]
    for frame, picture in zip(frames, pictures, strict=True):
        Image.fromarray(frame).save(picture, "jpeg", quality=50)
    made.camera.write_bytes(b"".join(picture.getvalue() for picture in pictures))
    made.microphone.write_bytes(encode_wave(np.concatenate(waves), settings.sound_rate))
    return made


def train_network(demo: Path, out: Path) -> fusionkit.Predictor:
    """Trains the network on the films that `make demo` has rendered and prepared."""
    if not (demo / "films").is_dir():
        raise RunError(f"{demo}: holds no films; run `make demo OUT={demo}` first")
    data = {"dataset.root": demo / "films", "prepare.cache": demo / "prepared"}
    where = (f"data.{key}={json.dumps(str(path))}" for key, path in data.items())
    recipe, datasets = fusionkit.load_recipe(find_recipe(RECIPE), [*where, *CHANGES]), Datasets()
    prepare_films([recipe], datasets, processes=1, progress=True)
    return fusionkit.load(train(recipe, out, datasets=datasets).path)


def draw_answers(predictor: fusionkit.Predictor, film: Path, out: Path) -> Path:
    """Draws the figure of `fusionkit timeline`, and writes its subtitles beside the film."""
    timeline = predictor.timeline(film, every=EVERY, window=WINDOW)
    timeline.to_vtt(film.with_suffix(".vtt"))
    return save_timeline(timeline, out)


def shoot_page(
    predictor: fusionkit.Predictor,
    recording: Recording,
    out: Path,
    *,
    where: Path | None = None,
    seen: int = SEEN,
    hidden: int = HIDDEN,
) -> Path:
    """Shoots the page while camera and microphone run and the sound is hidden.

    Args:
        predictor: What is served.
        recording: What stands for the devices.
        out: The picture.
        where: The run that is served, for its name.
        seen: Answers with all modalities.
        hidden: Answers without the sound.
    """
    with _serve(predictor, where) as address, _browse(recording) as browser:
        page = browser.new_page(viewport={"width": 1120, "height": 900})
        page.goto(address)
        page.get_by_role("button", name="Open camera and microphone").click()
        _wait(page, lambda: page.evaluate("state.answers.length") >= seen)
        page.get_by_role("switch", name="audio").click()
        before = page.evaluate("state.answers.length")
        _wait(page, lambda: page.evaluate("state.answers.length") >= before + hidden)
        bottom = page.locator("#chart-section").bounding_box()
        clip = {"x": 0, "y": 0, "width": 1120, "height": bottom["y"] + bottom["height"] + 16}
        return _save(page.screenshot(clip=clip, full_page=True), page.locator("#film").bounding_box(), out)


@contextmanager
def _serve(predictor: fusionkit.Predictor, where: Path | None) -> Iterator[str]:
    begun, ports = threading.Event(), list[int]()

    def note(port: int) -> None:
        ports.append(port)
        begun.set()

    server = make_server(predictor, Settings(port=0, window=WINDOW), where, started=note)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        if not begun.wait(PATIENCE):
            raise RunError("the server does not start")
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _browse(recording: Recording) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise RunError("no Chromium is installed")
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={recording.camera}",
        f"--use-file-for-fake-audio-capture={recording.microphone}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


def _wait(page: Any, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > until:
            raise RunError(f"the page does not get there; it says: {page.locator('#message').inner_text()}")
        page.wait_for_timeout(100)


def _save(png: bytes, film: Mapping[str, float], out: Path) -> Path:
    """Saves a picture of the page, whose film is given fewer colours, for they take most of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    left, top = round(film["x"]), round(film["y"])
    box = (left, top, left + round(film["width"]), top + round(film["height"]))
    picture.paste(picture.crop(box).quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB"), box)
    picture.save(out, optimize=True)
    return out


def main(demo: Path, folder: Path) -> list[Path]:
    """Writes both pictures and the subtitles and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        predictor, film = train_network(demo, Path(name) / "films"), record_film(Path(name), OF_FILM).film
        timeline = draw_answers(predictor, film, folder / "timeline.png")
        print(film.with_suffix(".vtt").read_text(encoding="utf-8"))
        camera = record_film(Path(name), OF_CAMERA)
        return [timeline, shoot_page(predictor, camera, folder / "page.png", where=Path(name) / "films")]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for path in main(*map(Path, sys.argv[1:])):
        print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
