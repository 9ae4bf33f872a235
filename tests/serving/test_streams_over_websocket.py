"""A stream over a WebSocket answers as the predictor's own stream, and survives what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from served_networks import Served, draw_film_network, draw_sensor_network, served
from small_predictors import CLASSES
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

TOKEN = "0123456789abcdef-token"


@pytest.fixture(scope="module")
def sensors() -> Iterator[Served]:
    with served(draw_sensor_network(), most_streams=2) as running:
        yield running


@pytest.fixture(scope="module")
def films() -> Iterator[Served]:
    with served(draw_film_network()) as running:
        yield running


@contextmanager
def open_stream(running: Served, hello: dict[str, Any] | None = None, **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{running.port}/stream", proxy=None, **options) as socket:
        with suppress(ConnectionClosed):
            socket.send(json.dumps(hello or {}))
        yield socket


def message(payload: bytes, **described: Any) -> bytes:
    return json.dumps(described).encode() + b"\n" + payload


def rows(values: np.ndarray, modality: str = "motion", at: float | None = None) -> bytes:
    return message(values.tobytes(), modality=modality, at=at, dtype=str(values.dtype), shape=list(values.shape))


def read(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=20))


def read_answers(socket: ClientConnection) -> list[Any]:
    """All that comes until the end."""
    answers = []
    try:
        while True:
            answers.append(read(socket))
    except ConnectionClosed:
        return answers


def test_the_window_of_the_server_holds_where_a_client_states_none() -> None:
    motion = np.random.default_rng(0).normal(size=(60, 3)).tolist()  # three seconds
    with served(draw_sensor_network(), window=1.5) as running, running.client() as client:
        assert client.get("/card").json()["window"] == 1.5
        windows = [
            client.post(f"/timeline{way}", json={"motion": motion}).json()["window"] for way in ("", "?window=2")
        ]
        assert windows == [1.5, 2.0]
        for said, window in (({}, 1.5), ({"window": 2}, 2.0)):
            with open_stream(running, said) as socket:
                assert read(socket)["window"] == window


def test_answers_come_as_rows_do_and_are_those_of_the_predictor(sensors: Served) -> None:
    motion = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    posture = np.ones(4, np.float32)
    stream = sensors.predictor.stream(window=3.0)
    expected = []
    with open_stream(sensors, {"window": 3.0, "every": 0.5}) as socket:
        assert read(socket) == {"ready": True, "modalities": ["motion", "posture"], "window": 3.0, "every": 0.5}
        socket.send(rows(posture, "posture"))
        stream.push("posture", posture)
        for place in range(0, 40, 5):
            socket.send(rows(motion[place : place + 5], at=place / 20))
            stream.push("motion", motion[place : place + 5], at=place / 20)
            if place % 10 == 0:
                expected.append((stream.newest, stream.predict().plain()))
        socket.send('{"finish": true}')
        answers = read_answers(socket)

    assert [(each["at"], each["answer"]) for each in answers[:-1]] == expected
    whole = sensors.predictor.predict({"motion": motion, "posture": posture})[0].plain()
    shares = answers[-1]["answer"]["targets"]["mood"]["probabilities"]
    wanted = whole["targets"]["mood"]["probabilities"]
    assert [shares[name] for name in CLASSES] == pytest.approx([wanted[name] for name in CLASSES], abs=1e-5)


def test_a_hidden_modality_is_missing_at_once_and_what_all_say_is_told_beside_it(sensors: Served) -> None:
    motion = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    with open_stream(sensors) as socket:
        read(socket)
        socket.send(rows(np.ones(4, np.float32), "posture"))
        socket.send(rows(motion, at=0.0))
        both = read(socket)
        socket.send('{"without": ["posture"], "predict": true}')
        one = read(socket)

    assert both["answer"]["present"] == ["motion", "posture"]
    assert one["answer"]["present"] == ["motion"]
    assert one["whole"] == both["answer"]
    assert "whole" not in both


def test_frames_of_a_camera_and_blocks_of_a_microphone_are_prepared() -> None:
    from PIL import Image

    frames = [np.full((48, 64, 3), 40 + 10 * place, np.uint8) for place in range(10)]
    sound = (np.sin(np.arange(48_000) / 20) * 9000).astype(np.int16)
    predictor = draw_film_network()
    hello = {"window": 2.0, "every": 0.9, "rates": {"video": 10, "audio": 48_000}}
    stream = predictor.stream(window=2.0, rates={"video": 10.0, "audio": 48_000.0})
    with served(predictor) as running, open_stream(running, hello) as socket:
        read(socket)
        for place, frame in enumerate(frames):
            file = io.BytesIO()
            Image.fromarray(frame).save(file, format="PNG")
            block, at = sound[place * 4800 : (place + 1) * 4800], place / 10
            socket.send(message(block.tobytes(), modality="audio", at=at, dtype="int16", rate=48_000))
            socket.send(message(file.getvalue(), modality="video", at=at, dtype="png", rate=10))
            stream.push("audio", block, at=at)
            stream.push("video", frame[None], at=at)
        socket.send('{"finish": true}')
        last = read_answers(socket)[-1]

    expected = stream.predict()
    assert last["answer"]["present"] == ["video", "audio"]
    assert len(last["box"]) == 4
    shares = last["answer"]["targets"]["mood"]["probabilities"]
    assert shares == pytest.approx(dict(expected.targets["mood"].probabilities), abs=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        b"no json\n123",
        b"no line at all",
        b"{}\n",
        message(b"123", modality="face", dtype="float32"),
        message(b"123", modality="motion", dtype="float32"),
        message(b"1234", modality="motion", dtype="object", shape=[1]),
        message(bytes(12), modality="motion", dtype="float32", shape=[1, -3]),
        message(bytes(12), modality="motion", dtype="float32", shape=[2**62, 4]),
        message(bytes(12), modality="motion", dtype="float32", shape="x"),
        message(b"", modality="motion", dtype="float32", shape=[0, 10**30]),
        message(bytes(12), modality="motion", dtype="float32", shape=[1, 3], at="now"),
        message(bytes(12), modality="motion", dtype="float32", shape=[1, 3], at=1e300),
        message(bytes(12), modality="motion", dtype="float32", shape=[1, 3], rate=0),
        message(np.full((1, 3), np.nan, np.float32).tobytes(), modality="motion", dtype="float32", shape=[1, 3]),
        message(b"\x89PNG\r\n\x1a\n", modality="motion", dtype="png"),
        b'{"modality": NaN}\n',
    ],
    ids=range(16),
)
def test_a_wrong_message_is_told_and_the_stream_goes_on(sensors: Served, wrong: bytes) -> None:
    with open_stream(sensors, {"every": 0.02}) as socket:
        read(socket)
        socket.send(wrong)
        assert read(socket)["error"]
        socket.send(rows(np.ones((5, 3), np.float32), at=0.0))
        assert read(socket)["answer"]["present"] == ["motion"]


def test_many_wrong_messages_end_the_stream(sensors: Served) -> None:
    with open_stream(sensors) as socket:
        read(socket)
        for _ in range(30):
            socket.send(b"{}\n")
        answers = read_answers(socket)

    assert len(answers) == 20
    assert socket.close_code == 1008


@pytest.mark.parametrize(
    "hello",
    [
        "",
        "[]",
        "{",
        '{"window": 1e9}',
        '{"every": 0}',
        '{"without": ["face"]}',
        '{"rates": 3}',
        '{"rates": {"motion": 0}}',
        '{"rates": {}, "more": "' + "x" * 70_000 + '"}',
    ],
)
def test_a_first_message_that_is_wrong_ends_the_stream(sensors: Served, hello: str) -> None:
    with connect(f"ws://127.0.0.1:{sensors.port}/stream", proxy=None) as socket:
        socket.send(hello)
        assert read_answers(socket) == []
    assert socket.close_code == 1008


def test_the_token_comes_as_the_first_message(sensors: Served) -> None:
    with served(sensors.predictor, token=TOKEN.encode()) as running:
        for token in (None, "", 3, TOKEN[:-1], TOKEN.upper()):
            with open_stream(running, {"token": token}) as socket:
                assert read_answers(socket) == []
            assert socket.close_code == 1008
        with open_stream(running, {"token": TOKEN}) as socket:
            assert read(socket)["ready"]


def test_a_stream_of_a_stranger_s_page_is_not_opened(sensors: Served) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        with (
            pytest.raises((InvalidStatus, ConnectionClosed)),
            open_stream(sensors, additional_headers=headers) as socket,
        ):
            socket.recv(timeout=5)


def test_no_more_streams_than_the_limit(sensors: Served) -> None:
    with open_stream(sensors) as first, open_stream(sensors) as second:
        read(first), read(second)
        with open_stream(sensors) as third:
            assert read_answers(third) == []
        assert third.close_code == 1013


def test_strangers_without_a_token_take_no_place_of_a_stream(sensors: Served) -> None:
    with served(sensors.predictor, token=TOKEN.encode(), most_streams=1) as running:
        address = f"ws://127.0.0.1:{running.port}/stream"
        with (
            connect(address, proxy=None),
            connect(address, proxy=None),
            open_stream(running, {"token": TOKEN}) as client,
        ):
            assert read(client)["ready"]


def test_a_network_that_fails_ends_its_stream_in_words_and_is_logged(
    sensors: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of torch")

    monkeypatch.setattr("fusionkit.inference.timeline.live.answer_window", fail)
    with open_stream(sensors) as socket:
        read(socket)
        socket.send(rows(np.ones((5, 3), np.float32), at=0.0))
        assert read_answers(socket) == []
    assert (socket.close_code, socket.close_reason) == (1011, "the server failed; its log says why")
    assert "a fault of torch" in caplog.text


@pytest.mark.parametrize(
    "long",
    [
        message(bytes(3 * 20_000), modality="video", dtype="uint8", shape=[20_000, 1, 1, 3], rate=1),
        message(bytes(2 * 400_000), modality="audio", dtype="int16", rate=4000),
        message(bytes(3 * 31), modality="video", dtype="uint8", shape=[31, 1, 1, 3], rate=1),
    ],
    ids=["frames", "sound", "half a minute"],
)
def test_few_bytes_that_are_hours_of_signals_are_refused(films: Served, long: bytes) -> None:
    with open_stream(films) as socket:
        read(socket)
        socket.send(long)
        assert "s in one message; at most 30 s" in read(socket)["error"]


def test_frames_without_a_pixel_are_told_and_the_stream_goes_on(films: Served) -> None:
    with open_stream(films) as socket:
        read(socket)
        for shape in ([1, 0, 0, 3], [0, 0, 0, 3], [1, 0, 5, 3]):
            socket.send(message(b"", modality="video", dtype="uint8", shape=shape))
        socket.send('{"predict": true}')
        answers = [read(socket) for _ in range(3)]
        socket.send('{"finish": true}')
        read_answers(socket)
    assert all("error" in each for each in answers)
    assert socket.close_code == 1000


def test_a_client_that_says_nothing_is_sent_away(sensors: Served) -> None:
    with (
        served(sensors.predictor, header_seconds=0.3) as running,
        connect(f"ws://127.0.0.1:{running.port}/stream", proxy=None) as socket,
    ):
        assert read_answers(socket) == []
    assert socket.close_code == 1008


def test_a_stop_ends_streams_at_once_and_says_so(sensors: Served) -> None:
    with served(sensors.predictor) as running, open_stream(running) as socket:
        read(socket)
        running.stop()
        assert read_answers(socket) == []
        assert socket.close_code == 1012


def test_what_has_no_time_is_answered_to_at_the_end(sensors: Served) -> None:
    posture = np.ones(4, np.float32)
    with open_stream(sensors, {"window": 3.0, "every": 0.5}) as socket:
        read(socket)
        socket.send(rows(posture, "posture"))
        socket.send('{"finish": true}')
        (answer,) = read_answers(socket)
    expected = sensors.predictor.predict({"posture": posture})[0]
    assert answer["at"] is None
    assert answer["answer"]["targets"]["mood"] == expected.plain()["targets"]["mood"]
