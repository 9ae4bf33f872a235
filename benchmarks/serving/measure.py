"""Throughput of a server beside direct calls with the same batches, its latencies and its memory, as a result file.

Usage: python benchmarks/serving/measure.py benchmarks/results/serving.json [--seconds 4] [--rounds 5]

Every round lets 1, 8 and 64 clients of one other process ask a server for some seconds, reads from its metrics how
many samples its batches had, and then calls `Predictor.answer_batch` directly with batches of that size, for as long.
So each figure of the server stands beside one of direct calls of the same minute. The network takes about 5
milliseconds for one sample. Where other work loads the machine, wall clocks compare little; so the processor's time of
a request is stated beside that of a direct call too, which is the ratio of throughputs on a single core. Memory is that
of the server's process before and after 20,000 requests to a tiny network.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.collation import make_batch
from fusionkit.data.recordings.values import take_sample
from fusionkit.serving.intake import Intake
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.run_folder import RunFolder

HERE = Path(__file__).parent
CLIENTS = (1, 8, 64)
LENGTH = 150
REQUESTS = 20_000


def make_run(folder: Path, hidden: int, length: int) -> tuple[Path, bytes]:
    """Makes a run whose weights are drawn, and the body of a request to it."""
    modalities = {
        "motion": {"features": 6, "min_length": length, "max_length": length, "rate": 50.0},
        "posture": {"features": 4, "min_length": 1, "max_length": 1},
    }
    motion = {"encoder": {"type": "mlp", "out": 32}, "aggregator": {"type": "gru", "hidden": hidden}}
    recipe = fusionkit.load_recipe(
        {
            "schema": 1,
            "data": {"dataset": {"type": "synthetic", "modalities": modalities, "groups": 4, "samples": 1}},
            "model": {
                "modalities": {"motion": motion, "posture": {}},
                "targets": {"label": "classification"},
            },
        }
    )
    torch.manual_seed(0)
    run = RunFolder.create(folder, recipe)
    run.save_weights(fusionkit.build(assemble(recipe).recipe).state_dict(), {})
    draw = np.random.default_rng(0)
    sample = {
        "motion": draw.normal(size=(length, 6)).round(4).tolist(),
        "posture": draw.normal(size=4).round(4).tolist(),
    }
    return folder, json.dumps(sample).encode()


@contextmanager
def serve(run: Path) -> Iterator[tuple[int, int]]:
    """Serves a run from a process of its own; yields its port and process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fusionkit", "serve", str(run), "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield int(line.partition("127.0.0.1:")[2].partition("/")[0]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def load(port: int, clients: int, seconds: float, body: Path, requests: int | None = None) -> dict[str, Any]:
    """Loads a server from another process."""
    command = [sys.executable, str(HERE / "clients.py"), str(port), str(clients), str(seconds), str(body)]
    more = [] if requests is None else [str(requests)]
    return dict(json.loads(subprocess.run([*command, *more], check=True, capture_output=True, text=True).stdout))


def read_metrics(port: int) -> dict[str, float]:
    """Reads the counters of a server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def call_directly(predictor: fusionkit.Predictor, body: bytes, size: int, seconds: float) -> tuple[float, float]:
    """Measures samples per second, and processor seconds per sample, of direct calls with batches of a size."""
    (recording,) = take_sample(json.loads(body), predictor.inputs, "0")
    sample = Intake(predictor, 1e9).prepare(recording)
    shapes = {name: tuple(of.shape) for name, of in predictor.inputs.modalities.items()}
    samples = [type(sample)(str(place), sample.inputs, {}) for place in range(size)]
    predictor.answer_batch(make_batch(samples, shapes))
    begin, begin_used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        predictor.answer_batch(make_batch(samples, shapes))
        done += size
    return done / (time.perf_counter() - begin), (time.process_time() - begin_used) / done


def read_used(process: int) -> float:
    """Reads the processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_throughput(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Measures the server beside direct calls, round by round."""
    run, body = make_run(folder / "run", hidden=304, length=LENGTH)
    (folder / "body.json").write_bytes(body)
    predictor = fusionkit.load(run, device="cpu")
    _, alone = call_directly(predictor, body, 1, seconds)
    rows: dict[int, list[dict[str, float]]] = {clients: [] for clients in CLIENTS}
    with serve(run) as (port, process):
        load(port, 8, 1.0, folder / "body.json")
        for _ in range(rounds):
            for clients in CLIENTS:
                before, used = read_metrics(port), read_used(process)
                found = load(port, clients, seconds, folder / "body.json")
                after, used = read_metrics(port), read_used(process) - used
                names = ("fusionkit_samples_total", "fusionkit_batches_total")
                samples, batches = (after[name] - before[name] for name in names)
                direct, own = call_directly(predictor, body, max(1, round(samples / batches)), seconds)
                rate = found["requests"] / found["seconds"]
                row = {"requests_per_second": rate, "direct_per_second": direct, "ratio": rate / direct}
                row["processor_ratio"] = own / (used / found["requests"])
                rows[clients].append({**row, "batch": samples / batches, **{k: found[k] for k in found if k[0] == "p"}})
    return {
        "processor_ms_of_one_sample": 1000 * alone,
        "clients": {
            str(clients): {
                **{key: statistics.median(row[key] for row in of) for key in of[0]},
                "rounds": [row["ratio"] for row in of],
            }
            for clients, of in rows.items()
        },
    }


def read_memory(process: int) -> int:
    """Reads the bytes of a process that are in memory."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def measure_memory(folder: Path, requests: int) -> dict[str, Any]:
    """Measures the memory of a server of a tiny network over many requests."""
    run, body = make_run(folder / "tiny", hidden=8, length=10)
    (folder / "tiny.json").write_bytes(body)
    with serve(run) as (port, process):
        load(port, 8, 600, folder / "tiny.json", requests // 10)
        memory = [read_memory(process)]
        for _ in range(4):
            load(port, 8, 600, folder / "tiny.json", requests // 4)
            memory.append(read_memory(process))
    return {"requests": requests, "bytes": memory, "growth": memory[-1] / memory[0]}


def main() -> None:
    """Measures, and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    environment = describe_environment("cpu")
    with tempfile.TemporaryDirectory() as folder:
        throughput = measure_throughput(Path(folder), given.seconds, given.rounds)
        memory = measure_memory(Path(folder), given.requests)
    result = {
        "kind": "serving",
        **environment,
        "versions": {
            "torch": environment["torch"],
            "python": environment["python"],
            "fusionkit": environment["fusionkit"],
        },
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/serving/measure.py benchmarks/results/serving.json",
        "load_average": os.getloadavg()[0],
        "failures": [],
        "throughput": throughput,
        "memory": memory,
    }
    write_file(given.file, as_json(result))


if __name__ == "__main__":
    main()
