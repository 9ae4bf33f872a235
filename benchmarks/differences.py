"""The same samples through every way of using a network, and how far its answers lie apart, as a result file.

Usage: python benchmarks/differences.py benchmarks/results/differences.json [--only NAME ...]

Four networks are trained for an epoch, evaluated, and asked in every way: `Predictor.predict`, the command
`fusionkit predict`, a stream at its end, the exported graph by onnxruntime and by torch.export, HTTP and the WebSocket.
Stated is the largest difference from what the evaluation stored, relative to the spread for numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.evaluation import evaluate
from fusionkit.inference.answers import Answer
from fusionkit.inference.export import export_onnx, export_torch
from fusionkit.inference.export.run import open_network
from fusionkit.inference.predictor import Predictor
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

MOST = 12
"""Samples of the test part that are asked about in the slower ways."""
WINDOW = 30.0
"""Seconds of a window of the WebSocket, longer than any sample."""

Samples = Sequence[Mapping[str, Tensor]]


def sensor_table(folder: Path, *, numbers: bool) -> Path:
    """Writes a table of sensors of 200 and 5 Hz and a vector, with missing parts; a class, and a number."""
    folder.mkdir(parents=True)
    draw, rows = np.random.default_rng(0), []
    for place in range(48):
        kind = place % 3
        row: dict[str, Any] = {"person": f"p{place % 12}", "state": ("good", "worn", "broken")[kind]}
        if numbers:
            row["load"] = 4000 + 2500 * kind + draw.normal(0, 100)
        for name, width, rate in (("fast", 3, 200), ("slow", 2, 5)):
            if place % 7 != (3 if name == "fast" else 5):
                length = int(draw.integers(rate, 4 * rate))
                np.save(folder / f"{name}{place}.npy", draw.normal(kind, 1, (length, width)).astype(np.float32))
                row[name] = f"{name}{place}.npy"
        if place % 5 != 1:
            row |= {f"v{number}": round(float(draw.normal(kind, 1)), 3) for number in range(4)}
        rows.append(row)
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["person", "state", "load", "fast", "slow", "v0", "v1", "v2", "v3"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "samples.csv"


def sensor_recipe(folder: Path, *, numbers: bool) -> dict[str, Any]:
    """Describes a network on such a table."""
    columns = {
        "fast": {"column": "fast", "rate": 200.0},
        "slow": {"column": "slow", "rate": 5.0},
        "vector": ["v0", "v1", "v2", "v3"],
    }
    table = str(sensor_table(folder / "table", numbers=numbers))
    targets: dict[str, Any] = {"state": "classification"}
    return {
        "schema": 1,
        "data": {
            "dataset": {
                **{"type": "manifest", "path": table, "modalities": columns, "group": "person"},
                "targets": ["state", *(["load"] if numbers else [])],
            },
            "batch_size": 8,
        },
        "model": {
            "modalities": {
                "fast": {
                    "transforms": ["standardize"],
                    "encoder": {"type": "conv1d", "channels": [16, 32], "stride": 4},
                    "aggregator": "gru",
                },
                "slow": {"encoder": "mlp", "aggregator": {"type": "lstm", "hidden": 16}},
                "vector": {"encoder": "mlp"},
            },
            "fusion": "mrpn",
            "targets": {**targets, **({"load": "regression"} if numbers else {})},
        },
        "train": {"epochs": 2},
    }


def film_recipe(folder: Path) -> dict[str, Any]:
    """Describes a network on rendered films, and renders and prepares them."""
    from fusionkit.data.films.preparation import prepare
    from fusionkit.data.sources import Datasets
    from fusionkit.rendering import render_ravdess

    emotions = ("neutral", "happy", "angry")
    render_ravdess(folder / "films", actors=range(1, 5), emotions=emotions, intensities=(1,), repetitions=(1,))
    recipe = {
        "schema": 1,
        "data": {
            "dataset": {"type": "ravdess", "root": str(folder / "films")},
            "folds": "leave_one_group_out",
            "prepare": {"cache": str(folder / "cache"), "face": {"detector": {"type": "center"}, "size": 64}},
            "batch_size": 4,
        },
        "model": {
            "modalities": {
                "video": {
                    "transforms": [{"type": "subsample", "every": 3}],
                    "encoder": {"type": "timm", "model": "resnet18"},
                    "aggregator": {"type": "lstm", "hidden": 32},
                },
                "audio": {
                    "encoder": [
                        {"type": "spectrogram", "window": 256, "hop": 128},
                        {"type": "conv2d", "channels": [8, 16]},
                    ],
                    "aggregator": {"type": "lstm", "hidden": 32},
                },
            },
            "targets": {"emotion": "classification"},
        },
        "train": {"epochs": 1},
    }
    spec = fusionkit.load_recipe(recipe).data
    assert spec.prepare is not None
    prepare(Datasets().source(spec), spec.prepare, kind="ravdess")
    return recipe


def action_unit_recipe(folder: Path) -> dict[str, Any]:
    """Describes a network on the action units and the sound of RAVDESS."""
    recipe = fusionkit.load_recipe("aver/ravdess_action_units")
    changed: dict[str, Any] = recipe.plain()
    changed["train"]["epochs"] = 1
    return changed


NETWORKS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "action units and sound": action_unit_recipe,
    "rendered films": film_recipe,
    "sensors of 200 and 5 Hz, and a vector": lambda folder: sensor_recipe(folder, numbers=False),
    "two targets, one of them scaled": lambda folder: sensor_recipe(folder, numbers=True),
}


def rows_of(answers: Sequence[Mapping[str, Any] | Answer], target: str) -> np.ndarray:
    """Collects the probabilities or numbers of answers."""
    rows = []
    for answer in answers:
        plain = answer.plain() if isinstance(answer, Answer) else answer
        of = plain["targets"][target]
        rows.append(list(of["probabilities"].values()) if of.get("probabilities") else [of["prediction"]])
    return np.asarray(rows, np.float64)


@contextmanager
def serve(run: Path) -> Iterator[str]:
    """Serves a run from a process of its own; yields host and port."""
    command = [sys.executable, "-m", "fusionkit", "serve", str(run), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield "127.0.0.1:" + line.partition("127.0.0.1:")[2].partition("/")[0]
        finally:
            process.terminate()


def ask_http(host: str, sample: Mapping[str, Tensor]) -> dict[str, Any]:
    """Asks a server for one sample, as JSON."""
    body = json.dumps({name: values.tolist() for name, values in sample.items()}).encode()
    request = urllib.request.Request(f"http://{host}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.loads(answer.read()))


def ask_stream(host: str, sample: Mapping[str, Tensor]) -> dict[str, Any]:
    """Pushes one sample through the WebSocket, in portions, and returns the last answer."""
    from websockets.sync.client import connect

    with connect(f"ws://{host}/stream", max_size=None) as socket:
        socket.send(json.dumps({"token": "", "window": WINDOW, "every": WINDOW}))
        socket.recv()
        for name, values in sample.items():
            for part in values.split(max(1, len(values) // 3)):
                piece = np.ascontiguousarray(part.numpy())
                head = {"modality": name, "dtype": str(piece.dtype), "shape": list(piece.shape)}
                socket.send(json.dumps(head).encode() + b"\n" + piece.tobytes())
        socket.send('{"finish": true}')
        answers = [json.loads(message) for message in socket]
    if "answer" not in answers[-1]:
        raise SystemExit(f"the WebSocket says {answers}")
    return dict(answers[-1]["answer"])


def ask_live(predictor: Predictor, sample: Mapping[str, Tensor]) -> Answer:
    """Pushes one sample into a stream, in portions, and asks at its end."""
    stream = predictor.stream(window=None)
    for name, values in sample.items():
        for part in values.split(max(1, len(values) // 3)):
            stream.push(name, part)
    return stream.predict()


def read_samples(run: RunFolder) -> list[dict[str, Tensor]]:
    """Reads the samples of the test part."""
    assembly = assemble(run.recipe)
    place_of = {row.id: place for place, row in enumerate(assembly.dataset.rows)}
    return [dict(assembly.dataset.load(place_of[name])) for name in assembly.test_ids]


def write_samples(
    samples: Samples, folder: Path, predictor: Predictor, *, count: int | None = None, sounds_as_wav: bool = False
) -> Path:
    """Writes samples as files and a table of them, with the columns that the run goes by.

    Args:
        samples: The samples.
        folder: A new folder.
        predictor: The run's.
        count: How many, again from the first until there are enough; each once when left out.
        sounds_as_wav: Write waves as sounds; all are arrays otherwise.
    """
    folder.mkdir(parents=True)
    rows = []
    for place in range(len(samples) if count is None else count):
        row: dict[str, Any] = {}
        for name, values in samples[place % len(samples)].items():
            stated = predictor.inputs.modalities[name]
            if stated.of_numbers:
                row |= dict(zip(stated.columns, values[0].tolist(), strict=True))
                continue
            is_sound = sounds_as_wav and stated.rate is not None and not stated.shape
            file = folder / f"{name}{place}.{'wav' if is_sound else 'npy'}"
            if is_sound:
                soundfile.write(file, values.numpy(), round(stated.rate or 0), subtype="FLOAT")
            else:
                np.save(file, values.numpy())
            row[stated.columns[0]] = file.name
        rows.append(row)
    with (folder / "new.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "new.csv"


def ask_command(run: Path, given: Path, folder: Path) -> list[dict[str, Any]]:
    """Asks the command line for a table or a folder."""
    out = folder / "answers.jsonl"
    command = [sys.executable, "-m", "fusionkit", "predict", str(run), str(given), "--out", str(out), "--json"]
    subprocess.run(command, check=True, capture_output=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Measures one network."""
    from fusionkit.inference.export.fusionkit_runtime import Model

    torch.set_num_threads(1)
    run = train(NETWORKS[name](folder), folder / "run", accelerator="cpu")
    evaluate(run, device="cpu", resamples=10)
    predictor, samples = fusionkit.load(run.path, device="cpu"), read_samples(run)
    stored = {
        target: run.read_predictions()[0][f"distribution/{target}/{predictor.main}"].double().numpy()
        for target in predictor.targets
    }
    few = [place for place in range(len(samples)) if len(samples[place])][:MOST]
    table = write_samples(samples, folder / "new", predictor) if not predictor.inputs.films else None
    ways: dict[str, Callable[[], tuple[Sequence[int], Sequence[Any]]]] = {
        "predict": lambda: (range(len(samples)), list(predictor.predict(samples))),
        "stream at its end": lambda: (few, [ask_live(predictor, samples[place]) for place in few]),
    }
    if table is not None:
        ways["command predict"] = lambda: (range(len(samples)), ask_command(run.path, table, folder))
    exported = export_onnx(open_network([run]), folder / "onnx")
    network = Model(folder / "onnx")
    arrays = [{name: values.numpy() for name, values in samples[place].items()} for place in few]
    ways["onnxruntime"] = lambda: (few, network.predict(arrays))
    differences: dict[str, float] = {}
    with serve(run.path) as host:
        ways["HTTP"] = lambda: (few, [ask_http(host, samples[place]) for place in few])
        ways["WebSocket"] = lambda: (few, [ask_stream(host, samples[place]) for place in few])
        for way, ask in ways.items():
            places, answers = ask()
            for target, expected in stored.items():
                spread = max(1.0, float(expected.std())) if expected.shape[1] == 1 else 1.0
                found = rows_of(answers, target) - expected[list(places)]
                key = way if len(stored) == 1 else f"{way}, {target}"
                differences[key] = float(np.abs(found).max() / spread)
    proven = export_torch(open_network([run]), folder / "torch")
    differences["torch.export (its own proof, relative)"] = max(proof.largest for proof in proven.proofs)
    differences["ONNX (its own proof, relative)"] = max(proof.largest for proof in exported.proofs)
    return {"samples": len(samples), "asked": len(few), "differences": differences}


def main() -> None:
    """Measures all networks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    measured = {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = measure(name, Path(folder))
            print(name, json.dumps(measured[name], indent=2), flush=True)
    environment = describe_environment("cpu")
    result = {
        "kind": "differences",
        **environment,
        "versions": {name: environment[name] for name in ("torch", "python", "fusionkit")},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/differences.py benchmarks/results/differences.json",
        "failures": [],
        "networks": measured,
    }
    write_file(given.out, as_json(result))


if __name__ == "__main__":
    main()
