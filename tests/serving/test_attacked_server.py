"""A server under attack: no failure of its own, no growth, and good clients are served meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_predictors import make_predictor
from test_lives_and_ends import start

from fusionkit.storage.records.document import save_document
from fusionkit.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow

MODALITIES = {
    "motion": {"shape": [3], "encoder": {"type": "mlp", "out": 6}, "aggregator": "gru"},
    "voice": {"shape": [], "encoder": [{"type": "log_mel", "bands": 4, "window": 64, "hop": 32}], "aggregator": "mean"},
    "photo": {"shape": [3, 8, 8], "encoder": [{"type": "conv2d", "channels": [3]}], "aggregator": "mean"},
}
RATES = {"motion": 20.0, "voice": 8000.0, "photo": None}
GOOD = json.dumps({"motion": [[0.1, 0.2, 0.3]] * 5}).encode()


def served_run(folder: Path) -> Path:
    """A run of drawn weights, as `fusionkit.load` opens it."""
    predictor = make_predictor(MODALITIES, RATES)
    run = RunFolder.create(folder, predictor.recipe)
    run.save_weights(predictor.networks[0].state_dict(), {})
    save_document(run.inputs_file, predictor.inputs)
    return folder


def ask(body: bytes, kind: str = "application/json", path: str = "/predict", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def upload(content: bytes, name: str, field: str = "file", end: bytes = b"\r\n--x--\r\n") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return ask(head + content + end, "multipart/form-data; boundary=x")


def png_bomb(side: int) -> bytes:
    """An image of so many pixels that are all the same, a few bytes in size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def wav_head(seconds: int) -> bytes:
    size = seconds * 16_000
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + bytes(1000)


def npy_head(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


MALFORMED = [
    ask(b'{"motion": [[NaN, 0, 0]]}'),
    ask(b'{"motion": [[1e400, 0, 0]]}'),
    ask(b'{"motion": [[1, 2], [3]]}'),
    ask(b'{"motion": [[[1, 2, 3]]]}'),
    ask(b'{"motion": "/etc/passwd"}'),
    ask(b'{"motion": {"__class__": 1}}'),
    ask(b'{"photo": [[1, 2, 3]], "face": 3}'),
    ask(b"[" * 50_000),
    ask(b'{"a":' * 5_000),
    ask(b'[{},[],3,null,true,{"motion":[]}]'),
    ask(b'{"motion": [[' + b"9" * 5000 + b", 0, 0]]}"),
    ask(b"\x00\xff\xfe" * 100),
    ask(b"", "application/json"),
    ask(b"a=b", "application/x-www-form-urlencoded"),
    ask(b"--y", "multipart/form-data"),
    ask(b"--x\r\n", "multipart/form-data; boundary=" + "x" * 400),
    ask(GOOD, path="/timeline?every=0&window=-3"),
    ask(GOOD, path="/timeline?every=1e-9"),
    ask(GOOD, path="/predict?without=motion,voice,photo"),
    ask(GOOD, path="/predict?branches=maybe"),
    ask(GOOD, path="/%2e%2e/%00/etc/passwd"),
    upload(b"", "a.npy"),
    upload(b"\x93NUMPY" + b"\xff" * 40, "a.npy"),
    upload(npy_head((10**9, 3)), "a.npy", "motion"),
    upload(npy_head((2**62, 3)), "a.npy", "motion"),
    upload(bytes(2000), "a.safetensors", "motion"),
    upload(b"\xff" * 8 + b"{}", "a.safetensors", "motion"),
    upload(wav_head(36_000), "a.wav", "voice"),
    upload(wav_head(1)[:30], "a.wav"),
    upload(png_bomb(60_000), "a.png"),
    upload(png_bomb(100_000), "../../a.png", "photo"),
    upload(png_bomb(8), "a.png"),
    upload(b"GIF89a" + bytes(20), "a.png"),
    upload(bytes(3000), "a.mp4", "voice"),
    upload(b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "a.mp4", "voice"),
    upload(b"\x1aE\xdf\xa3" + bytes(300), "a.mkv", "voice"),
    upload(b"OggS" + bytes(300), "a.ogg", "voice"),
    upload(b"fLaC" + b"\xff" * 300, "a.flac", "voice"),
    upload(b"abc", "a.npy", end=b""),
    upload(b"abc", "a.py"),
    upload(b"abc", "con.npy/\x00"),
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /card HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET /card HTTP/1.1\r\n\r\n",
    b"DELETE /predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
OVERSIZED = [
    ask(b"", length=10**15),
    ask(b"{" + b" " * 3_000_000),
    upload(bytes(3_000_000), "a.npy", "motion"),
    b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
]


async def send(port: int, message: bytes, seconds: float = 10.0) -> int:
    """The status of what a server says to a message; 0 where it ends the connection without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        line = await asyncio.wait_for(reader.readline(), seconds)
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()


async def drip(port: int, message: bytes, until: float) -> int:
    """Sends a byte at a time, as slowly as it may."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message[:60])
        for byte in message[60:]:
            if time.monotonic() > until or reader.at_eof():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
        writer.close()
    except ConnectionError:
        pass
    return 0


async def attack(port: int, messages: list[bytes], width: int) -> Counter[int]:
    statuses, left = Counter[int](), iter(messages)

    async def work() -> None:
        for message in left:
            statuses[await send(port, message)] += 1

    await asyncio.gather(*(work() for _ in range(width)))
    return statuses


async def be_good(port: int, stopped: asyncio.Event) -> list[float]:
    took = []
    while not stopped.is_set():
        begin = time.monotonic()
        assert await send(port, ask(GOOD)) == 200
        took.append(time.monotonic() - begin)
        await asyncio.sleep(0.05)
    return took


def read_memory(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_ten_thousand_malformed_and_a_thousand_oversized_or_slow_requests(tmp_path: Path) -> None:
    run = served_run(tmp_path / "run")
    process, port = start(run, "--max-megabytes", "2", "--max-seconds", "60")
    draw = random.Random(0)

    async def fight() -> dict[str, Any]:
        found: dict[str, Any] = {"warm": await attack(port, MALFORMED * 4, 8)}
        before = read_memory(process.pid)
        stopped = asyncio.Event()
        good = asyncio.create_task(be_good(port, stopped))
        until = time.monotonic() + 600
        slow = [
            asyncio.create_task(drip(port, draw.choice((ask(GOOD), upload(bytes(500), "a.npy"))), until))
            for _ in range(200)
        ]
        messages = [draw.choice(MALFORMED) for _ in range(10_000)]
        found["malformed"] = await attack(port, messages, 8)
        found["oversized"] = await attack(port, [draw.choice(OVERSIZED) for _ in range(800)], 8)
        await asyncio.gather(*slow)
        stopped.set()
        found["good"] = await good
        found["growth"] = read_memory(process.pid) / before
        return found

    with process:
        try:
            found = asyncio.run(fight())
        finally:
            process.terminate()
            process.communicate(timeout=60)

    assert process.returncode == 0
    for name in ("warm", "malformed", "oversized"):
        assert not [status for status in found[name] if status >= 500], found
        assert 200 not in found["oversized"]
    assert sum(found["malformed"].values()) == 10_000
    assert len(found["good"]) > 50
    assert found["growth"] < 1.1, found["growth"]
    print({**found, "good": (len(found["good"]), max(found["good"]))})


def test_the_messages_are_wrong_each_in_its_way_and_known_by_their_status(tmp_path: Path) -> None:
    process, port = start(served_run(tmp_path / "run"))
    with process:
        try:
            statuses = [asyncio.run(send(port, message)) for message in MALFORMED]
        finally:
            process.terminate()
            process.communicate(timeout=60)

    assert all(status == 0 or 400 <= status < 500 or status == 200 for status in statuses), list(enumerate(statuses))
    assert statuses.count(422) > 20
