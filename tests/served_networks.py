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
import torch

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.inference.branches import TrainedBranches
from fusionkit.serving.server import Server, make_server
from fusionkit.serving.settings import Settings
from fusionkit.storage.records.inputs import InputModality, Inputs

SENSORS: Mapping[str, Any] = {
    "motion": {"shape": [3], "encoder": {"type": "mlp", "out": 6}, "aggregator": "gru"},
    "posture": {"shape": [4], "encoder": {"type": "mlp", "out": 6}, "aggregator": "mean"},
}
SENSOR_RATES = {"motion": 20.0, "posture": None}
FILMS: Mapping[str, Any] = {
    "video": {
        "shape": [1, 16, 16],
        "transforms": [{"type": "subsample", "every": 2}],
        "encoder": [{"type": "conv2d", "channels": [3, 4]}],
        "aggregator": {"type": "gru", "hidden": 5},
    },
    "audio": {
        "shape": [],
        "encoder": [{"type": "log_mel", "bands": 6, "window": 256, "hop": 160}, {"type": "mlp", "out": 5}],
        "aggregator": {"type": "gru", "hidden": 5},
    },
}
FILM_RATES = {"video": 10.0, "audio": 16000.0}
CLASSES = ["calm", "happy", "sad"]


def draw_network(
    modalities: Mapping[str, Any],
    rates: Mapping[str, float | None],
    *,
    prepare: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
) -> fusionkit.Predictor:
    """A predictor whose weights are drawn."""
    recipe = load_recipe(
        {
            "schema": 1,
            "data": {"dataset": {"type": "synthetic"}, **({"prepare": prepare} if prepare else {})},
            "model": {
                "modalities": modalities,
                "targets": targets or {"mood": {"type": "classification", "classes": CLASSES}},
                "unimodal_heads": True,
            },
        }
    )
    torch.manual_seed(0)
    network = fusionkit.build(recipe)
    with torch.no_grad():
        for name, tensor in sorted(network.state_dict().items()):
            if tensor.is_floating_point() and "running" not in name:
                tensor.copy_(torch.randn(tensor.shape) / 2)
    inputs = Inputs(
        format=Inputs.formats[-1],
        modalities={name: InputModality(shape=of["shape"], rate=rates[name]) for name, of in modalities.items()},
        films=prepare is not None,
    )
    branches = TrainedBranches(True, dict.fromkeys(modalities, "jointly"), False)
    return fusionkit.Predictor([network], branches, recipe, inputs, device="cpu")


def draw_sensor_network() -> fusionkit.Predictor:
    """A predictor of rows of sensors and a vector."""
    return draw_network(SENSORS, SENSOR_RATES)


def draw_film_network(detector: str = "center", **face: Any) -> fusionkit.Predictor:
    """A predictor of films: grey crops of 16 pixels, and sound."""
    face = {"size": 16, "grey": True, "detector": detector, **face}
    return draw_network(FILMS, FILM_RATES, prepare={"frame_rate": 10.0, "sample_rate": 16000, "face": face})


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
