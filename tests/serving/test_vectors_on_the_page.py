"""The page with a vector of columns of a table, in a real Chromium: example, files, notes, and no remains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from served_networks import Served, served
from small_predictors import make_predictor, make_vector_predictor
from test_page_in_a_browser import browser, opened, rendered, wait

from fusionkit.serving.page import read_page

__all__ = ["browser", "opened", "rendered"]

ERROR = '{"numbers": [1]}'


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(make_vector_predictor()) as server:
        yield server


@pytest.fixture
def page(opened: Any, running: Served) -> Any:
    shown = opened(running.address, viewport={"width": 390, "height": 800})
    shown.get_by_role("heading", name="The network").wait_for()
    return shown


def send(page: Any, text: str) -> None:
    if not page.locator("#numbers").is_visible():
        page.get_by_text("Send numbers").click()
    page.locator("#numbers").fill(text)
    page.get_by_role("button", name="Answer").click()


@pytest.mark.slow
def test_the_example_of_numbers_is_one_element_by_name_and_is_answered(page: Any) -> None:
    example = page.locator("#numbers").input_value()
    assert json.loads(example)["numbers"] == {"mass_kg": 0, "height_cm": 0, "speed": None}
    assert list(json.loads(example)["numbers"]) == ["mass_kg", "height_cm", "speed"]
    assert "3 numbers: mass_kg, height_cm, speed" in page.locator("#card").inner_text()
    send(page, example)
    wait(page, "state.answers.length === 1 && state.answers[0].answer.present.length === 2")


@pytest.mark.slow
def test_a_file_that_may_be_of_two_modalities_is_chosen(page: Any, running: Served, tmp_path: Path) -> None:
    np.save(tmp_path / "num.npy", np.array([65.4, np.nan, 2.0], np.float32))
    page.set_input_files("#files", [tmp_path / "num.npy"])
    page.get_by_text("num.npy: may be motion or numbers; say which").wait_for()
    page.get_by_label("num.npy is").select_option("numbers")
    wait(page, "state.answers.length === 1 && state.answers[0].answer.present.join() === 'numbers'")
    (wanted,) = running.predictor.predict({"numbers": [65.4, None, 2.0]})
    assert page.evaluate("state.answers[0].answer.targets.mood.probabilities") == pytest.approx(
        dict(wanted.targets["mood"].probabilities), abs=1e-6
    )


@pytest.mark.slow
def test_after_an_error_nothing_keeps_an_earlier_answer(page: Any) -> None:
    send(page, '{"numbers": [1, 2, 3]}')
    wait(page, "document.getElementById('spoken').textContent.startsWith('mood: ')")
    send(page, ERROR)
    page.locator("#message.wrong").wait_for()
    assert "3 numbers: mass_kg, height_cm, speed" in page.locator("#message").inner_text()
    shown = ["winner", "held", "notes", "spoken"]
    assert [page.locator(f"#{each}").text_content() for each in shown] == ["-", "", "", ""]
    assert page.evaluate("document.getElementById('chart').getAttribute('aria-label')") == "No answers yet"


@pytest.mark.slow
def test_notes_are_shown_and_numbers_close_the_player_of_a_file(opened: Any, tmp_path: Path) -> None:
    modalities = {
        "sound_of_the_machine": {"shape": [], "encoder": [{"type": "log_mel", "bands": 4}], "aggregator": "mean"},
        "motion": {"shape": [3], "encoder": "mlp", "aggregator": "mean"},
    }
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=44_100) / 10, 44_100)
    with served(make_predictor(modalities, {"sound_of_the_machine": 16_000.0, "motion": 10.0})) as running:
        page = opened(running.address)
        page.get_by_role("heading", name="The network").wait_for()
        page.set_input_files("#files", [tmp_path / "a.wav"])
        page.get_by_text("resampled from 44100 to 16000").wait_for()
        assert page.locator("#sound").is_visible()
        assert page.evaluate("measureLabels($('chart').getContext('2d'), ['sound_of_the_machine'], 1000)") > 90
        send(page, '{"motion": [[1, 2, 3]]}')
        wait(page, "state.answers.length === 1 && state.answers[0].answer.present.join() === 'motion'")
        assert page.locator("#sound").is_hidden()
        assert page.evaluate("$('sound').getAttribute('src')") is None
        assert page.locator("#notes").is_hidden()


def test_no_name_of_a_modality_is_cut() -> None:
    assert b'\\u2026" : name' not in read_page()
    assert b"name.slice(" not in read_page()
