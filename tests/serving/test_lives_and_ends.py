"""A server under load: batches, back-pressure, slow clients, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_runs import drawn_run
from served_networks import Served, draw_sensor_network, served

from fusionkit.errors import FusionKitError
from fusionkit.serving.server import serve
from fusionkit.serving.settings import Settings, read_token


def sample(seed: int = 0) -> dict[str, Any]:
    return {"motion": np.random.default_rng(seed).normal(size=(5, 3)).tolist()}


class Slow:
    """A predictor that takes its time over every batch."""

    def __init__(self, predictor: Any, seconds: float) -> None:
        self._predictor, self._seconds = predictor, seconds
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def answer_batch(self, batch: Any, **options: Any) -> Any:
        self.sizes.append(len(batch.sample_ids))
        time.sleep(self._seconds)
        return self._predictor.answer_batch(batch, **options)


def load(running: Served, requests: int, clients: int) -> list[httpx.Response]:
    with running.client() as client, ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda seed: client.post("/predict", json=sample(seed)), range(requests)))


def test_requests_that_come_together_go_through_the_network_together_and_each_gets_its_own() -> None:
    slow: Any = Slow(draw_sensor_network(), 0.05)
    with served(slow, batch_size=8) as running:
        answers = load(running, 40, 16)

    assert {each.status_code for each in answers} == {200}
    assert max(slow.sizes) > 1
    assert max(slow.sizes) <= 8
    assert len(slow.sizes) < 25
    for seed, answer in enumerate(answers):
        wanted = slow.predict(sample(seed))[0].targets["mood"].probabilities
        assert answer.json()["targets"]["mood"]["probabilities"] == pytest.approx(dict(wanted), abs=1e-5)


def test_a_client_that_is_alone_does_not_wait_for_others() -> None:
    with served(draw_sensor_network(), batch_seconds=0.5) as running, running.client() as client:
        client.post("/predict", json=sample())
        begin = time.perf_counter()
        for seed in range(4):
            assert client.post("/predict", json=sample(seed)).status_code == 200
        assert time.perf_counter() - begin < 1.0


def test_more_than_can_wait_is_asked_to_come_again() -> None:
    slow: Any = Slow(draw_sensor_network(), 0.3)
    with served(slow, batch_size=1, most_waiting=3) as running:
        answers = load(running, 12, 12)

    statuses = Counter(each.status_code for each in answers)
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 3
    assert all(each.headers["retry-after"] == "1" for each in answers if each.status_code == 429)


def test_work_that_takes_too_long_is_given_up() -> None:
    slow: Any = Slow(draw_sensor_network(), 0.6)
    with served(slow, request_seconds=0.2) as running, running.client() as client:
        answer = client.post("/predict", json=sample())

    assert answer.status_code == 503
    assert "longer" in answer.json()["error"]


def test_files_that_take_too_long_to_look_at_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: Any) -> None:
        time.sleep(0.6)

    monkeypatch.setattr("fusionkit.serving.service.join_uploads", look)
    monkeypatch.setattr("fusionkit.serving.service.read_samples", look)
    with served(draw_sensor_network(), request_seconds=0.2) as running, running.client() as client:
        assert client.post("/predict", files={"motion": ("x.npy", b"0")}).status_code == 503
        assert client.post("/predict", json=sample() | {"more": "x" * 70_000}).status_code == 503


def test_samples_that_became_large_count_among_the_bytes_that_are_held() -> None:
    with served(draw_sensor_network(), most_buffered_bytes=30_000) as running, running.client() as client:
        many, few = ({"motion": [[0, 0, 0]] * rows} for rows in (1500, 500))  # 9 bytes of JSON and 12 of numbers a row
        assert client.post("/predict", json=many).status_code == 429
        assert client.post("/predict", json=few).status_code == 200
        assert "fusionkit_buffered_bytes 0\n" in client.get("/metrics").text


def talk(running: Served, *parts: bytes, pause: float = 0.0) -> bytes:
    """What a server says to bytes that are sent with a pause between them, until it ends the connection."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        said = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while received := connection.recv(65536):
                said += received
        except (ConnectionError, BrokenPipeError):
            pass
        return said


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_slow_heads_and_bodies_are_ended_and_good_clients_served_meanwhile() -> None:
    with (
        served(draw_sensor_network(), header_seconds=0.6, body_seconds=0.6) as running,
        ThreadPoolExecutor(8) as pool,
        running.client() as client,
    ):
        begin = time.perf_counter()
        heads = [
            pool.submit(talk, running, *[b"GET / HTTP/1.1\r\nX-%d: " % n, *[b"a"] * 20], pause=0.1) for n in (1, 2)
        ]
        silent = [pool.submit(talk, running) for _ in range(2)]
        again = pool.submit(talk, running, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /he", pause=0.1)
        bodies = [pool.submit(talk, running, HEAD + b"Content-Length: 100\r\n\r\n{", b" ", pause=0.1) for _ in range(2)]
        while time.perf_counter() - begin < 1.0:
            assert client.post("/predict", json=sample()).status_code == 200
        said = [each.result() for each in (*heads, *silent, *bodies)]

        assert time.perf_counter() - begin < 5
        assert said[:4] == [b""] * 4
        assert all(each.startswith(b"HTTP/1.1 408") for each in said[4:])
        assert again.result().startswith(b"HTTP/1.1 200")


def test_bytes_are_counted_as_they_arrive_whatever_was_stated() -> None:
    with served(draw_sensor_network(), most_bytes=10_000, most_json_bytes=5_000) as running:
        stated = talk(running, HEAD + b"Content-Length: 999999999999\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (4000, b" " * 4000)
        chunked = talk(running, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk + chunk)
        head = talk(running, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: %s\r\n" % (b"a" * 300_000))
        with running.client() as client:
            buffered = client.get("/metrics").text

    assert stated.startswith(b"HTTP/1.1 413")
    assert chunked.startswith(b"HTTP/1.1 413")
    assert b" 200 " not in head
    assert "fusionkit_buffered_bytes 0" in buffered


def test_no_more_connections_than_the_limit() -> None:
    with served(draw_sensor_network(), most_connections=4) as running:
        held = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(4)]
        time.sleep(0.2)
        assert talk(running, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        for each in held:
            each.close()
        time.sleep(0.2)
        with running.client() as client:
            assert client.get("/health").status_code == 200


def test_a_stop_finishes_what_was_taken() -> None:
    slow: Any = Slow(draw_sensor_network(), 0.3)
    with served(slow, batch_size=2) as running, ThreadPoolExecutor(6) as pool, running.client() as client:
        waiting = [pool.submit(client.post, "/predict", json=sample()) for _ in range(6)]
        time.sleep(0.15)
        running.stop()
        statuses = [each.result().status_code for each in waiting]

    assert statuses == [200] * 6


def test_settings_that_open_the_server_to_strangers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FusionKitError, match="needs a token"):
        Settings(host="0.0.0.0").check()
    with pytest.raises(FusionKitError, match="fewer than 16"):
        Settings(token=b"short").check()
    with pytest.raises(FusionKitError, match="both --tls-cert and --tls-key"):
        Settings(certificate=tmp_path).check()
    (tmp_path / "token").write_text("a b")
    with pytest.raises(FusionKitError, match="2 words"):
        read_token(tmp_path / "token")
    Settings(host="0.0.0.0", token=b"x" * 16).check()


def start(run: Path, *options: str, **environment: str) -> tuple[subprocess.Popen[str], int]:
    """The command, and the port it listens on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fusionkit", "serve", str(run), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, int(line.partition("127.0.0.1:")[2].partition("/")[0])


def test_sigterm_under_load_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    process, port = start(drawn_run(tmp_path / "run", missing=0.0).path)
    given = {"motion": np.ones((5, 3)).tolist(), "posture": np.ones((1, 4)).tolist()}
    answered, lost, stopped = Counter[int](), [], threading.Event()

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            while not stopped.is_set():
                try:
                    answered[(await client.post("/predict", json=given)).status_code] += 1
                except httpx.ConnectError:
                    return  # nobody accepted it
                except httpx.ReadError as error:
                    lost.append(error)  # the end of an idle connection crossed the request: it was not read
                    return
                except httpx.RemoteProtocolError as error:
                    lost.append(error)
                    return

    async def ask_all() -> None:
        tasks = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*tasks), 30)

    with process:
        asyncio.run(ask_all())
        assert process.stdout is not None
        said = process.stdout.read()

    assert process.returncode == 0
    assert set(answered) == {200}
    assert answered[200] > 20
    taken, done = (int(word) for word in said.split() if word.isdigit())
    assert taken == done == answered[200], lost


def test_without_its_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    without = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fastapi", "starlette", "uvicorn"):
            raise ModuleNotFoundError(f"no module {name}", name=name)
sys.meta_path.insert(0, Missing())
from fusionkit.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", without, "serve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 2
    assert "pip install 'fusionkit-multimodal[serve]'" in done.stderr


def test_help_and_the_library_import_nothing_of_it() -> None:
    look = "print([each for each in ('fastapi', 'starlette', 'uvicorn', 'fusionkit.serving') if each in sys.modules])"
    script = f"import sys, fusionkit, fusionkit.cli; fusionkit.load; {look}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "needs a token"),
        (["--token-file", "nowhere"], "nowhere: cannot be read"),
        (["--tls-cert", "nowhere"], "both --tls-cert and --tls-key"),
        ([], "is no folder"),
    ],
)
def test_a_mistake_ends_the_command_with_its_message(
    command: Any, tmp_path: Path, options: list[str], said: str
) -> None:
    ended = command("serve", tmp_path / "nothing", *options)

    assert ended.status == 2
    assert said in ended.err


def test_a_port_that_is_taken_is_told(command: Any, tmp_path: Path) -> None:
    run = drawn_run(tmp_path / "run").path
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = command("serve", run, "--port", taken.getsockname()[1])

    assert ended.status == 2
    assert "cannot listen there" in ended.err


def test_a_certificate_is_used(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = [
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    command = ["openssl", "req", *options, "-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no openssl that makes a certificate")
    with (
        served(draw_sensor_network(), certificate=certificate, key=key) as running,
        httpx.Client(base_url=f"https://127.0.0.1:{running.port}", verify=False, trust_env=False) as client,
    ):
        assert client.post("/predict", json=sample()).status_code == 200


def test_what_a_server_keeps_until_its_end_is_not_searched_for_garbage_meanwhile() -> None:
    kept = list[int]()

    def stop(port: int) -> None:
        kept.append(gc.get_freeze_count())
        signal.raise_signal(signal.SIGTERM)

    serve(draw_sensor_network(), Settings(port=0), started=stop)

    assert kept[0] > 10_000
    assert gc.get_freeze_count() == 0
