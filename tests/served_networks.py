"""Networks of drawn weights behind a server that runs in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from small_predictors import CLASSES, FILM_MODALITIES, FILM_RATES, make_predictor

import fusionkit
from fusionkit.inference.calibration.calibrator import Calibrator
from fusionkit.serving.server import Server, make_server
from fusionkit.serving.settings import Settings
from fusionkit.storage.records.calibration import CalibratedTarget, Calibration, CalibrationTable, Learned, Samples
from fusionkit.storage.records.document import Interval

SENSORS: Mapping[str, Any] = {
    "motion": {"shape": [3], "encoder": {"type": "mlp", "out": 6}, "aggregator": "gru"},
    "posture": {"shape": [4], "encoder": {"type": "mlp", "out": 6}, "aggregator": "mean"},
}
SENSOR_RATES = {"motion": 20.0, "posture": None}


def draw_sensor_network() -> fusionkit.Predictor:
    """A predictor of rows of sensors and a vector."""
    return make_predictor(SENSORS, SENSOR_RATES)


def draw_calibrated_network(groups: int = 6) -> fusionkit.Predictor:
    """The same, calibrated on so many groups of one sample each, whose scores rise evenly."""
    drawn = draw_sensor_network()
    scores = [place / groups for place in range(groups)]
    learned = Learned(
        samples=groups, groups=groups, temperature=2.0, scores=scores, weights=[1 / (groups + 1)] * groups
    )
    of = CalibratedTarget(kind="classes", classes=CLASSES, spread=[], everything=learned, subsets={})
    calibration = Calibration(
        format=1,
        weights_sha256="",
        split_hash="",
        label="group-independent",
        level=0.8,
        main="fused",
        aside=Samples(samples=groups, groups=groups),
        test=Samples(samples=0, groups=0),
        expected=Interval(low=None, high=None),
        versions={},
        commit=None,
        time="",
        branches={name: {"mood": of} for name in ("fused", "motion", "posture")},
        held={},
        table=CalibrationTable(name="labelled.csv", sha256="", compared=True),
    )
    return fusionkit.Predictor(drawn.backend, drawn.steps, calibrator=Calibrator(calibration, "/home/ann/run"))


def draw_film_network(detector: str = "center", **face: Any) -> fusionkit.Predictor:
    """A predictor of films: grey crops of 16 pixels, and sound."""
    face = {"size": 16, "grey": True, "detector": detector, **face}
    return make_predictor(FILM_MODALITIES, FILM_RATES, prepare={"frame_rate": 10.0, "sample_rate": 16000, "face": face})


@dataclass(frozen=True)
class Served:
    """A server that runs, and its address."""

    port: int
    predictor: fusionkit.Predictor
    server: Server

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=30, trust_env=False)

    def stop(self) -> None:
        self.server.should_exit = True


@contextmanager
def served(predictor: fusionkit.Predictor, where: Path | None = None, **settings: Any) -> Iterator[Served]:
    """Serves a network from a thread, on a free port."""
    begun, port = threading.Event(), 0

    def note(given: int) -> None:
        nonlocal port
        port = given
        begun.set()

    server = make_server(predictor, Settings(port=0, **settings), where, started=note)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        assert begun.wait(30), "the server does not start"
        yield Served(port, predictor, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server does not stop"
