"""Files over HTTP keep their clients' names in messages; messages of a stream with unknown keys are refused by name."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_networks import Served, draw_sensor_network, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(draw_sensor_network()) as each:
        yield each


def npy(width: int) -> bytes:
    held = io.BytesIO()
    np.save(held, np.zeros((5, width), "float32"))
    return held.getvalue()


@pytest.mark.parametrize("way", ["/predict", "/timeline?every=0.5"])
@pytest.mark.parametrize(
    ("field", "content", "said"),
    [
        ("motion", npy(7), "walk 3 \u00e9.npy: elements of shape (7,), the network takes (3,)"),
        ("motion", b"damaged", "motion: walk 3 \u00e9.npy: "),
        ("file", npy(7), "walk 3 \u00e9.npy: is of no modality of the network"),
        ("file", b"damaged", "walk 3 \u00e9.npy: is of no modality of the network"),
    ],
)
def test_a_file_is_named_as_its_client_named_it(field: str, content: bytes, said: str, way: str, running: Served):
    with running.client() as client:
        answer = client.post(way, files={field: ("walk 3 \u00e9.npy", content)})

    told = answer.json()["error"]
    assert answer.status_code == 422
    assert said in told
    assert "fusionkit-serve" not in told
    assert told.count(".npy: ") == 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/x.npy", "motion: x.npy: "),
        (r"C:\Users\ann\x.npy", "motion: x.npy: "),
        ("a" * 500 + ".npy", f"motion: {'a' * 76}.npy: "),
        ("\u202ex.npy", "motion: x.npy: "),
    ],
)
def test_a_name_is_cut_to_what_can_be_shown_and_never_opened(
    given: str, shown: str, running: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("x.npy").write_bytes(npy(3))  # which would be an answer
    with running.client() as client:
        answer = client.post("/predict", files={"motion": (given, b"damaged")})

    assert answer.status_code == 422
    assert shown in answer.json()["error"]
    assert "/" not in answer.json()["error"].partition(": ")[0]


def test_two_files_of_one_name_are_told_apart_by_their_modality(running: Served):
    with running.client() as client:
        files = {"motion": ("x.npy", npy(3)), "posture": ("x.npy", npy(9))}
        told = client.post("/predict", files=files).json()["error"]

    assert "posture: x.npy: elements of shape (9,)" in told


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"windw": 2.0}, "windw: no option; did you mean 'window'?"),
        ({"Branches": True}, "Branches: no option; did you mean 'branches' or 'rates'?"),
        ({"colour": 1}, "colour: no option; known: branches, every, rates, token, window, without"),
        ({"branches": "yes"}, "branches: yes; true or false"),
    ],
)
def test_a_first_message_with_an_unknown_key_ends_the_stream_by_its_name(
    hello: dict[str, Any], said: str, running: Served
):
    with connect(f"ws://127.0.0.1:{running.port}/stream", proxy=None) as socket:
        socket.send(json.dumps(hello))
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(timeout=20)

    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1008, said)


def test_later_messages_with_unknown_keys_are_told_and_the_stream_goes_on(running: Served):
    rows = np.zeros((10, 3), "float32")
    head: dict[str, Any] = {"modality": "motion", "at": 0.0, "dtype": "float32", "shape": [10, 3]}
    with connect(f"ws://127.0.0.1:{running.port}/stream", proxy=None) as socket:
        socket.send("{}")
        assert json.loads(socket.recv(timeout=20))["ready"] is True
        for message, said in (
            (json.dumps({"predcit": True}), "predcit: no option; did you mean 'predict'?"),
            (json.dumps({"reset": 1}), "reset: 1; true or false"),
            (json.dumps({**head, "tiem": 0.0}).encode() + b"\n" + rows.tobytes(), "tiem: no option; known: at, dtype"),
        ):
            socket.send(message)
            assert said in json.loads(socket.recv(timeout=20))["error"]
        socket.send(json.dumps(head).encode() + b"\n" + rows.tobytes())
        assert "answer" in json.loads(socket.recv(timeout=20))
