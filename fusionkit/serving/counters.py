"""Counts of what a server did so far, as Prometheus reads them."""

from __future__ import annotations

import threading
from collections import Counter

_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds of the histogram of requests."""

_PATHS = frozenset({"/predict", "/timeline", "/stream", "/health", "/card", "/metrics", "/docs", "/openapi.json", "/"})


class Counters:
    """Counts what a server does; from any thread.

    Attributes:
        at_work: Requests that are worked on.
        streams: Streams that are open.
        waiting: Samples that wait for the network.
        buffered: Bytes of bodies, and of samples prepared from them, that are held.
    """

    def __init__(self) -> None:
        self.at_work = self.streams = self.waiting = self.buffered = 0
        self.taken = self.answered = 0
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[float] = Counter()
        self._total = self._compute = 0.0
        self._received = self._batches = self._samples = self._stream_answers = 0

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        with self._lock:
            # Paths that clients invent would each become a line, without end.
            self._requests[path if path in _PATHS else "other", status] += 1
            self._seconds[next((edge for edge in _EDGES if seconds <= edge), float("inf"))] += 1
            self._total += seconds

    def count_batch(self, samples: int, seconds: float) -> None:
        """Counts a batch that the network computed."""
        with self._lock:
            self._batches += 1
            self._samples += samples
            self._compute += seconds

    def count_received(self, size: int) -> None:
        """Counts bytes of bodies."""
        self._received += size

    def count_stream_answer(self) -> None:
        """Counts an answer of a stream."""
        self._stream_answers += 1

    def write(self) -> str:
        """Writes all of it in the text format of Prometheus."""
        with self._lock:
            lines = [
                *_describe("requests_total", "counter", "Requests that were answered."),
                *(
                    f'fusionkit_requests_total{{path="{path}",status="{status}"}} {count}'
                    for (path, status), count in sorted(self._requests.items())
                ),
                *_describe("request_seconds", "histogram", "Seconds from the head of a request to its answer."),
                *self._write_histogram(),
            ]
            values = [
                ("batches_total", "counter", "Batches that the network computed.", self._batches),
                ("samples_total", "counter", "Samples that the network computed.", self._samples),
                ("compute_seconds_total", "counter", "Seconds that the network computed.", self._compute),
                ("received_bytes_total", "counter", "Bytes of bodies.", self._received),
                ("stream_answers_total", "counter", "Answers of streams.", self._stream_answers),
                ("requests_at_work", "gauge", "Requests that are worked on.", self.at_work),
                ("samples_waiting", "gauge", "Samples that wait for the network.", self.waiting),
                ("streams_open", "gauge", "Streams that are open.", self.streams),
                ("buffered_bytes", "gauge", "Bytes of bodies and prepared samples that are held.", self.buffered),
            ]
        for name, kind, text, value in values:
            lines += [*_describe(name, kind, text), f"fusionkit_{name} {value}"]
        return "\n".join(lines) + "\n"

    def _write_histogram(self) -> list[str]:
        lines, below = [], 0
        for edge in (*_EDGES, float("inf")):
            below += self._seconds[edge]
            text = "+Inf" if edge == float("inf") else f"{edge:g}"
            lines.append(f'fusionkit_request_seconds_bucket{{le="{text}"}} {below}')
        return [*lines, f"fusionkit_request_seconds_sum {self._total}", f"fusionkit_request_seconds_count {below}"]


def _describe(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP fusionkit_{name} {text}", f"# TYPE fusionkit_{name} {kind}"]
