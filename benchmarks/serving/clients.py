"""Clients that ask a server again and again, in one process of their own.

Usage: python benchmarks/serving/clients.py PORT CLIENTS SECONDS BODY_FILE [REQUESTS]

Prints one line of JSON: requests, seconds, and how long the answers took. The client is a few lines on sockets, so that
the load takes less of the machine than what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path


async def ask(port: int, request: bytes, until: float, left: list[int], took: list[float]) -> None:
    """Asks until the time or the requests are over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until and left[0] > 0:
        left[0] -= 1
        begin = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server says {head[:100]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - begin)
    writer.close()


async def main(port: int, clients: int, seconds: float, body: bytes, requests: int) -> None:
    """Lets all clients ask at once, and prints what came of it."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    took: list[float] = []
    begin, left = time.perf_counter(), [requests]
    await asyncio.gather(*(ask(port, request, begin + seconds, left, took) for _ in range(clients)))
    passed, took = time.perf_counter() - begin, sorted(took)
    quantiles = {f"p{share}_ms": 1000 * took[min(len(took) - 1, len(took) * share // 100)] for share in (50, 90, 99)}
    print(json.dumps({"requests": len(took), "seconds": passed, **quantiles}))


if __name__ == "__main__":
    given = sys.argv[1:]
    most = int(given[4]) if len(given) > 4 else sys.maxsize
    asyncio.run(main(int(given[0]), int(given[1]), float(given[2]), Path(given[3]).read_bytes(), most))
