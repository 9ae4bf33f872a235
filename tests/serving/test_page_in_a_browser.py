"""The page in a real Chromium: files, hidden modalities, and a camera and a microphone that play a rendered film."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_networks import Served, draw_calibrated_network, draw_film_network, draw_sensor_network, served
from written_films import steps, tone, write_film

TOKEN = "0123456789abcdef-token"
WINDOW = 1.4
ROOT = os.environ.get("FUSIONKIT_SCREENSHOTS", "")

pytestmark = pytest.mark.slow


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered film, and the same as a camera and a microphone play it."""
    import av
    import soundfile

    from fusionkit.data.readers.sound.audio import read_audio
    from fusionkit.rendering import FilmSettings, render_ravdess

    folder = tmp_path_factory.mktemp("rendered")
    settings = FilmSettings(size=(320, 240), seconds=3.0)
    render_ravdess(
        folder / "films",
        actors=[1],
        emotions=["happy"],
        statements=[1],
        intensities=[2],
        repetitions=[1],
        settings=settings,
    )
    film = next((folder / "films").rglob("01-*.mp4"))
    shutil.copy(film, folder / "film.mp4")
    with av.open(str(film)) as source, av.open(str(folder / "camera.mjpeg"), "w", format="mjpeg") as camera:
        stream = camera.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for frame in source.decode(video=0):
            camera.mux(stream.encode(frame.reformat(320, 240, "yuvj420p")))
        camera.mux(stream.encode(None))
    soundfile.write(folder / "microphone.wav", read_audio(film, rate=48_000).numpy(), 48_000, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def browser(rendered: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={rendered / 'camera.mjpeg'}",
        f"--use-file-for-fake-audio-capture={rendered / 'microphone.wav'}",
    ]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def films() -> Iterator[Served]:
    with served(draw_film_network("dlib_hog", every=5), token=TOKEN.encode(), window=WINDOW) as running:
        yield running


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens pages, and holds that nothing went wrong in any of them and nothing was loaded from elsewhere."""
    wrong: list[str] = []
    contexts = []

    def open_page(address: str, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: wrong.append(asked.url) if is_foreign(asked.url, address) else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def is_foreign(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def enter(page: Any) -> None:
    page.get_by_role("textbox", name="Token").fill(TOKEN)
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("heading", name="The network").wait_for()


def wait(page: Any, condition: str, seconds: float = 30.0) -> None:
    """Waits for a condition; playwright's own way evaluates text in the page, which its policy forbids."""
    until = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < until, f"{condition}: {page.locator('#message').inner_text()}"
        page.wait_for_timeout(100)


def shoot(page: Any, name: str) -> None:
    """Keeps a picture, where it is said where."""
    if ROOT:
        page.screenshot(path=f"{ROOT}/{name}.png", full_page=True)


def test_a_wrong_token_is_told_and_the_right_one_opens_the_page(opened: Any, films: Served) -> None:
    page = opened(films.address)
    page.get_by_role("textbox", name="Token").fill("a-token-that-is-wrong")
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("The token is wrong.").wait_for()
    shoot(page, "token")
    enter(page)
    assert page.get_by_role("switch").count() == 2


def test_a_film_is_answered_over_time_and_a_modality_can_be_hidden(opened: Any, films: Served, rendered: Path) -> None:
    page = opened(films.address)
    enter(page)
    page.set_input_files("#files", rendered / "film.mp4")
    wait(page, "state.answers.length > 5")
    expected = films.predictor.timeline(rendered / "film.mp4", every=0.2, window=WINDOW)
    assert page.evaluate("state.answers.length") == len(expected)
    last = page.evaluate("state.answers[state.answers.length - 1].answer.targets.mood.probabilities")
    assert last == pytest.approx(dict(expected[-1].answer.targets["mood"].probabilities), abs=1e-6)
    shoot(page, "film")

    page.get_by_role("switch", name="audio").click()
    wait(page, "state.answers.length > 5 && state.answers[5].answer.present.length === 1")
    assert page.evaluate("state.answers[5].answer.present") == ["video"]
    assert page.get_by_role("switch", name="video").is_disabled()
    assert page.get_by_text("Dashed: with all modalities.").is_visible()
    shoot(page, "film-hidden")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_camera_and_microphone_are_answered_as_they_play(opened: Any, films: Served, width: int, dark: bool) -> None:
    page = opened(films.address, viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    enter(page)
    page.get_by_role("button", name="Open camera and microphone").click()
    wait(page, "state.answers.length > 15")
    wait(page, "state.answers.at(-1).answer.present.length === 2")
    wait(page, "!document.getElementById('overlay').hidden")
    shoot(page, f"live-{width}-{'dark' if dark else 'light'}")
    page.get_by_role("switch", name="video").click()
    wait(page, "state.answers.at(-1).answer.present.join() === 'audio'")
    assert page.evaluate("state.whole.at(-1).answer.present.length") == 2
    shoot(page, f"live-hidden-{width}-{'dark' if dark else 'light'}")
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_network_of_sensors_takes_files_and_numbers(opened: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "motion.npy", np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32))
    np.save(tmp_path / "posture.npy", np.ones(4, np.float32))
    with served(draw_sensor_network()) as running:
        page = opened(running.address, viewport={"width": 390, "height": 800})
        page.get_by_role("heading", name="The network").wait_for()
        assert page.get_by_role("button", name="Open camera").count() == 0
        page.set_input_files("#files", [tmp_path / "motion.npy", tmp_path / "posture.npy"])
        wait(page, "state.answers.length === 20")
        shoot(page, "sensors-390")
        page.get_by_text("Send numbers").click()
        page.get_by_role("button", name="Answer").click()
        wait(page, "state.answers.length === 1")
        page.get_by_label("One sample as JSON").fill('{"motion": [[1, 2, 3]], "posture": [1, 2, 3, 4]}')
        page.get_by_role("button", name="Answer").click()
        wait(page, "state.answers.length === 1 && state.answers[0].answer.present.length === 2")
        page.get_by_role("switch", name="posture").click()
        wait(page, "state.answers.length === 1 && state.answers[0].answer.present.join() === 'motion'")
        page.get_by_label("One sample as JSON").fill('{"motion": "text"}')
        page.get_by_role("button", name="Answer").click()
        page.get_by_text("no array").wait_for()


def test_every_control_is_reached_and_seen_by_the_keyboard(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        seen.append(
            (page.evaluate("document.activeElement.id || document.activeElement.tagName"), page.evaluate(outline))
        )
    names = [name for name, _ in seen]
    assert {"choose", "open"} <= set(names)
    assert names.count("INPUT") >= 2
    assert all(outline != "none" for name, outline in seen if name not in ("BODY", "HTML"))


def test_a_film_that_cannot_be_read_is_told(opened: Any, films: Served, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", steps(20), wave=tone(2.0))
    film.write_bytes(film.read_bytes()[:2000])
    page = opened(films.address)
    enter(page)
    page.set_input_files("#files", film)
    page.locator("#message.wrong").wait_for()
    assert "fusionkit-serve" not in page.locator("#message").inner_text()


def test_the_focus_goes_on_to_the_page_once_the_token_was_entered(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    assert page.evaluate("document.activeElement.id") == "choose"


COLLECT = """() => {
  window.streams = [];
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = wanted =>
    open(wanted).then(given => { streams.push(given); return given; });
}"""
REFUSE = """name => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wanted => {
    if (wanted.video) throw new DOMException("no camera for you", name);
    return open(wanted);
  };
}"""
ENDED = "streams.every(each => each.getTracks().every(track => track.readyState === 'ended'))"


def test_two_clicks_open_one_camera_and_a_switch_may_move_while_it_connects(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    page.evaluate(COLLECT)
    page.evaluate(
        """() => {
          const Socket = WebSocket;
          window.WebSocket = function (address) {
            const made = new Socket(address);
            queueMicrotask(() => document.querySelector("[data-name=video]").click());
            return made;
          };
          document.getElementById("open").click();
          document.getElementById("open").click();
        }"""
    )
    wait(page, "state.answers.length > 2")
    assert page.evaluate("state.answers.at(-1).answer.present") == ["audio"]
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("streams.length") == 1
    assert page.evaluate(ENDED)


def test_a_camera_that_is_refused_is_told_and_nothing_is_left_open(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    page.evaluate(REFUSE, "NotAllowedError")
    page.get_by_role("button", name="Open camera and microphone").click()
    page.get_by_text("Camera and microphone cannot be opened: no camera for you").wait_for()
    assert page.get_by_role("button", name="Open camera and microphone").is_enabled()
    assert page.evaluate("state.live") is None


def test_a_machine_without_a_camera_is_heard(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    page.evaluate(REFUSE, "NotFoundError")
    page.get_by_role("button", name="Open camera and microphone").click()
    wait(page, "state.answers.length > 2")
    assert page.evaluate("state.answers.at(-1).answer.present") == ["audio"]


def test_a_camera_that_is_unplugged_is_missing_and_a_message_is_read_out_once(opened: Any, films: Served) -> None:
    page = opened(films.address)
    enter(page)
    page.get_by_role("button", name="Open camera and microphone").click()
    wait(page, "state.answers.length > 2 && state.answers.at(-1).answer.present.length === 2")
    page.evaluate(
        """() => {
          window.told = 0;
          const message = document.getElementById("message");
          new MutationObserver(seen => told += seen.length).observe(message, { childList: true });
          state.live.media.getVideoTracks()[0].stop();
        }"""
    )
    wait(page, "state.answers.at(-1).answer.present.join() === 'audio'")
    assert page.evaluate("told") == 0


def test_a_server_that_stops_is_told_and_camera_and_microphone_are_closed(opened: Any) -> None:
    with served(draw_film_network()) as running:
        page = opened(running.address)
        page.get_by_role("heading", name="The network").wait_for()
        page.evaluate(COLLECT)
        page.get_by_role("button", name="Open camera and microphone").click()
        wait(page, "state.answers.length > 2")
        running.stop()
        page.get_by_text("The stream ended.").wait_for()
        assert page.evaluate(ENDED)
    page.get_by_role("button", name="Open camera and microphone").click()
    page.get_by_text("The connection to the server was lost.").wait_for()


def test_the_classes_of_the_set_are_marked_and_told_in_words(opened: Any) -> None:
    with served(draw_calibrated_network()) as running:
        page = opened(running.address)
        page.get_by_role("heading", name="The network").wait_for()
        page.get_by_text("Send numbers").click()
        page.get_by_role("textbox", name="One sample as JSON").fill('{"posture": [1, 2, 3, 4]}')
        page.get_by_role("button", name="Answer").click()
        page.get_by_text("of cases what is true is among").wait_for()
        (expected,) = running.predictor.predict({"posture": [1, 2, 3, 4]}, level=0.857)
        held = list(expected.targets["mood"].set or ())
        assert page.locator("#bars .held .name").all_inner_texts() == held
        assert (
            page.locator("#held").inner_text() == f"\u2713 In 86 % of cases what is true is among: {', '.join(held)}."
        )
        shoot(page, "set")


def test_the_box_of_the_face_lies_over_a_film(opened: Any, films: Served, rendered: Path) -> None:
    page = opened(films.address)
    enter(page)
    page.set_input_files("#files", rendered / "film.mp4")
    wait(page, "state.answers.length > 5 && document.getElementById('film').videoWidth > 0")
    wait(page, "!document.getElementById('overlay').hidden")
    box = page.evaluate("state.answers[state.answers.length - 1].answer.box")
    assert len(box) == 4
    shoot(page, "box")
