"""Sets of a level over HTTP are those of `Predictor.predict`, and a level that is not calibrated is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from served_networks import Served, draw_calibrated_network, draw_sensor_network, served
from small_predictors import CLASSES
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fusionkit.data.loading.collation import Sample
from fusionkit.serving.counters import Counters
from fusionkit.serving.engine import Engine


@pytest.fixture(scope="module")
def calibrated() -> Iterator[Served]:
    with served(draw_calibrated_network()) as running:
        yield running


@pytest.fixture
def client(calibrated: Served) -> Iterator[httpx.Client]:
    with calibrated.client() as opened:
        yield opened


def sample(seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {"motion": draw.normal(size=(5, 3)).tolist(), "posture": draw.normal(size=4).tolist()}


def test_sets_and_probabilities_of_a_level_are_those_of_predict(client: httpx.Client, calibrated: Served) -> None:
    plain = client.post("/predict?branches=1", json=sample()).json()
    answer = client.post("/predict?branches=1&level=0.8", json=sample())

    assert answer.status_code == 200, answer.text
    (expected,) = calibrated.predictor.predict(sample(), branches=True, level=0.8)
    assert answer.json() | {"id": ""} == expected.plain() | {"id": ""}
    said, before = answer.json()["targets"]["mood"], plain["targets"]["mood"]
    assert "set" not in before
    # A score of 4 / 6 is the least that five of seven weights reach, and five are more than 0.8 of a group's share.
    held = [name for name in CLASSES if 1 - before["probabilities"][name] <= 5 / 6 + 1e-12]
    assert said["set"] == sorted({*held, before["prediction"]}, key=CLASSES.index)
    softened = np.sqrt([before["probabilities"][name] for name in CLASSES])  # a temperature of 2
    assert [said["probabilities"][name] for name in CLASSES] == pytest.approx(softened / softened.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "/predict?level=0.95",
            "level: sets of level 0.95 need a calibration on 19 groups, this one had 6; the highest",
        ),
        ("/predict?level=90", "level: is a share between 0 and 1, such as 0.9"),
        ("/predict?level=much", "level: is a share between 0 and 1, such as 0.9"),
        ("/predict?level=nan", "level: is a share between 0 and 1, such as 0.9"),
        ("/timeline?level=0.8", "level: was calibrated for whole samples, not for their windows; ask /predict"),
    ],
)
def test_a_level_that_cannot_be_given_is_refused_with_words(client: httpx.Client, address: str, said: str) -> None:
    answer = client.post(address, json=sample())

    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert "/home" not in answer.text


def test_a_network_that_was_not_calibrated_says_so(client: httpx.Client) -> None:
    with served(draw_sensor_network()) as running, running.client() as other:
        answer = other.post("/predict?level=0.8", json=sample())
        card = other.get("/card").json()

    assert answer.status_code == 422
    assert answer.json() == {"error": "level: the network was not calibrated; `fusionkit calibrate` does it"}
    assert card["calibration"] is None
    learned_on = "6 samples of 6 groups of labelled.csv"
    assert client.get("/card").json()["calibration"] == {"learned_on": learned_on, "highest_level": 0.857}


def test_the_documentation_has_the_option_where_it_is(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    options = {
        path: {each["name"]: each["schema"]["type"] for each in paths[path]["post"]["parameters"]}
        for path in ("/predict", "/timeline")
    }
    assert options["/predict"]["level"] == "number"
    assert "level" not in options["/timeline"]
    assert "<dt><code>level</code></dt>" in client.get("/docs").text


def test_a_stream_refuses_a_level(calibrated: Served) -> None:
    with connect(f"ws://127.0.0.1:{calibrated.port}/stream", proxy=None) as socket:
        socket.send(json.dumps({"level": 0.8}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason[:38]) == (1008, "level: was calibrated for whole sample")


def test_requests_of_several_levels_that_wait_together_have_their_own() -> None:
    predictor = draw_calibrated_network()
    engine = Engine(predictor, Counters(), batch_size=8, batch_seconds=0.0, most_waiting=8)
    taken = Sample("0", {name: torch.tensor(of, dtype=torch.float32) for name, of in wrapped(sample()).items()}, {})
    levels = [None, 0.8, 0.8, 0.5, None]

    async def ask() -> list[Any]:
        engine.start()
        try:
            busy = asyncio.ensure_future(engine.call(lambda: time.sleep(0.1)))
            await asyncio.sleep(0)
            found = await asyncio.gather(*(engine.answer([taken], level=level) for level in levels))
            await busy
            return found
        finally:
            engine.stop()

    for level, (answer,) in zip(levels, asyncio.run(ask()), strict=True):
        (expected,) = predictor.predict(sample(), level=level)
        assert answer.targets["mood"].set == expected.targets["mood"].set
        assert answer.targets["mood"].probabilities == pytest.approx(expected.targets["mood"].probabilities, abs=1e-6)


def wrapped(given: dict[str, Any]) -> dict[str, Any]:
    """A vector is a sequence of one element."""
    return {**given, "posture": [given["posture"]]}
