"""A vector of columns of a table over HTTP: by name or in order, as a file, and what the card says of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from served_networks import Served, served
from small_predictors import make_vector_predictor


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(make_vector_predictor()) as server:
        yield server


@pytest.fixture
def client(running: Served) -> Iterator[httpx.Client]:
    with running.client() as opened:
        yield opened


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, np.float32))
    return file.getvalue()


def test_the_card_names_the_columns_in_order_and_those_that_may_be_empty(client: httpx.Client) -> None:
    modalities = client.get("/card").json()["modalities"]

    assert modalities["numbers"]["columns"] == ["mass_kg", "height_cm", "speed"]
    assert modalities["numbers"]["may_be_empty"] == ["height_cm", "speed"]
    assert "columns" not in modalities["motion"]


def test_every_form_of_a_vector_is_answered_as_in_python(client: httpx.Client, running: Served) -> None:
    wanted = running.predictor.predict({"numbers": [65.4, None, 2]})[0].plain()["targets"]
    named = {"speed": 2, "mass_kg": 65.4, "height_cm": None}
    for given in ([65.4, None, 2], [[65.4, None, 2]], named):
        answer = client.post("/predict", json={"numbers": given})
        assert answer.status_code == 200, answer.text
        assert answer.json()["targets"] == wanted
    file = ("x.npy", npy([65.4, np.nan, 2]))
    assert client.post("/predict", files={"numbers": file}).json()["targets"] == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mass_kg": 1, "heigth_cm": 2, "speed": 3}, "no column 'heigth_cm'"),
        ({"mass_kg": 1}, "lacks 'height_cm', 'speed'"),
        ({"mass_kg": 1, "height_cm": 2, "speed": "3"}, "column 'speed': str that is no number"),
        ({"mass_kg": 1, "height_cm": 2, "speed": {"a": [1]}}, "column 'speed': dict that is no number"),
        ([1, 2], "one sample has one vector, of 3 numbers: mass_kg, height_cm, speed"),
        ([[1, 2, 3], [1, 2, 3]], "an array of shape (2, 3); one sample has one vector"),
        ({f"k{place}": 1 for place in range(30_000)}, "29,995 other names that are unknown"),
    ],
    ids=range(7),
)
def test_what_is_no_vector_is_refused_with_its_columns(client: httpx.Client, given: Any, said: str) -> None:
    answer = client.post("/predict", json={"numbers": given})

    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert len(answer.text) < 2000


def test_a_file_that_may_be_of_two_modalities_is_asked_for_by_name(client: httpx.Client) -> None:
    answer = client.post("/predict", files={"file": ("num.npy", npy([65.4, np.nan, 2]))})

    assert answer.status_code == 422
    assert answer.json()["error"] == "num.npy: may be motion or numbers; say which: its part is named 'file'"
