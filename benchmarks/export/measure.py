"""How near exported networks are to the networks, how fast they are, and how small what runs them is.

Usage: python benchmarks/export/measure.py benchmarks/results/export.json

Speed is a ratio of times on one core, in turns: onnxruntime over the network in PyTorch, both from raw elements to
probabilities. The runtime is installed from PyPI into a fresh environment of NumPy and onnxruntime. The accuracy of
weights of 8 bits is that of a network trained on synthetic samples. Needs the extra `export`, PyPI, and ten minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from networks import TYPICAL, build_network

from fusionkit.inference.export import TrainedNetwork, export_onnx, export_torch
from fusionkit.inference.export.onnx_file import OnnxSession
from fusionkit.inference.export.proof import answer, pad_for
from fusionkit.inference.export.run import open_network
from fusionkit.inference.export.trials import draw_elements
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.records.export import ExportCard, Proof
from fusionkit.training import train

ROUNDS, SECONDS = 7, 0.3
BATCHES = (1, 8)
QUANTIZED = ("action units and sound", "films and sound")
RECIPE: Mapping[str, Any] = {
    "schema": 1,
    "data": {
        "dataset": {
            "type": "synthetic",
            "groups": 20,
            "samples": 5,
            "modalities": {
                "motion": {"features": 6, "min_length": 10, "max_length": 40, "noise": 1.0, "missing": 0.2},
                "posture": {"features": 8, "min_length": 1, "max_length": 1, "noise": 1.0},
            },
        },
        "cache": True,
    },
    "model": {
        "modalities": {
            "motion": {"encoder": "conv1d", "aggregator": {"type": "lstm", "hidden": 64}},
            "posture": {"encoder": "mlp"},
        },
        "targets": {"label": "classification"},
    },
    "train": {"epochs": 15},
}


def compare_in_turns(first: Callable[[], object], second: Callable[[], object]) -> dict[str, Any]:
    """Returns the time of the first over that of the second: the median of ratios of rounds, and their range."""
    ratios, times = [], ([], [])
    for _ in range(ROUNDS):
        pair = []
        for run, kept in ((first, times[0]), (second, times[1])):
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS or not count:
                run()
                count += 1
            pair.append((time.perf_counter() - start) / count)
            kept.append(pair[-1])
        ratios.append(pair[0] / pair[1])
    seconds = {"onnxruntime": median(times[0]), "torch": median(times[1])}
    return {"ratio": median(ratios), "low": min(ratios), "high": max(ratios), "seconds": seconds}


def measure_speed(network: TrainedNetwork, session: OnnxSession) -> dict[str, Any]:
    """Measures batches of samples of usual lengths."""
    found = {}
    for size in BATCHES:
        samples = [
            {
                name: draw_elements(network, name, network.longest_of(name), seed=row)
                for name in network.model.modalities
            }
            for row in range(size)
        ]
        arrays = pad_for(network, samples)
        found[str(size)] = compare_in_turns(lambda: session(arrays), lambda: answer(network, samples))  # noqa: B023
    return found


def describe_proof(proof: Proof) -> dict[str, Any]:
    """Returns what a table says of a proof."""
    return {
        "largest": max(each.largest for each in proof.differences.values()),
        "relative": proof.largest,
        "samples": proof.samples,
        "subsets": proof.subsets,
        "lengths": proof.lengths,
        "by_output": {name: each.plain() for name, each in proof.differences.items()},
    }


def describe_quantization(card: ExportCard) -> dict[str, Any]:
    """Returns what weights of 8 bits save and cost."""
    assert card.quantization is not None
    return {**card.quantization.plain(), "relative": card.proofs[1].largest}


def measure_network(name: str, folder: Path) -> dict[str, Any]:
    """Exports a network, and measures what became of it."""
    network = build_network(name)
    start = time.perf_counter()
    card = export_onnx(network, folder / "onnx", quantized="int8" if name in QUANTIZED else None)
    seconds = time.perf_counter() - start
    program = export_torch(network, folder / "torch", compiled=False)
    session = OnnxSession(folder / "onnx" / "model.onnx", threads=1)
    return {
        "onnx": describe_proof(card.proofs[0]),
        "torch.export": describe_proof(program.proofs[0]),
        "bytes": (folder / "onnx" / "model.onnx").stat().st_size,
        "export_seconds": seconds,
        "speed": measure_speed(network.freeze(), session),
        **({"int8": describe_quantization(card)} if card.quantization else {}),
    }


def measure_accuracy(folder: Path) -> dict[str, Any]:
    """Trains a network, exports it, and returns what weights of 8 bits cost on its test part."""
    run = train(RECIPE, folder / "run", accelerator="cpu")
    return describe_quantization(export_onnx(open_network([run]), folder / "out", quantized="int8"))


def measure_runtime(exported: Path, folder: Path) -> dict[str, Any]:
    """Installs NumPy and onnxruntime into an environment of their own; measures its size and the time of importing."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    before = _size(folder)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "numpy", "onnxruntime"]
    subprocess.run(install, check=True)
    loads = f"import sys; sys.path.insert(0, {str(exported)!r}); from fusionkit_runtime import Model"
    answers = f"{loads}; import numpy; m = Model({str(exported)!r}, threads=1); x = numpy.zeros((9, 6), 'float32')"
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {
        "megabytes": (_size(folder) - before) / 1e6,
        "packages": {each["name"]: each["version"] for each in json.loads(listed.stdout) if each["name"] != "pip"},
        "seconds": {
            "python": _time([python, "-c", "pass"]),
            "import": _time([python, "-c", f"{loads}; import onnxruntime"]),
            "import, load and answer": _time([python, "-c", f"{answers}; m.predict({{'motion': x}})"]),
            "import torch": _time([sys.executable, "-c", "import torch"]),
        },
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def _time(command: list[str]) -> float:
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return median(taken)


def main() -> None:
    """Parses, measures, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(TYPICAL), help="names of networks")
    out, only = (vars(parser.parse_args())[name] for name in ("out", "only"))
    torch.set_num_threads(1)
    environment = describe_environment("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        networks = {}
        for place, name in enumerate(only):
            networks[name] = measure_network(name, folder / str(place))
            print(name, networks[name]["onnx"]["relative"], networks[name]["speed"], flush=True)
        accuracy = measure_accuracy(folder)
        runtime = measure_runtime(folder / "out", folder / "environment")
    import onnxruntime

    results = {
        "format": 1,
        "kind": "export",
        "command": f"python benchmarks/export/measure.py {out}",
        "commit": environment["commit"],
        "device": "cpu",
        "platform": environment["platform"],
        "versions": {
            **{name: environment[name] for name in ("fusionkit", "torch", "python")},
            "onnxruntime": onnxruntime.__version__,
        },
        "failures": [],
        "networks": networks,
        "int8 of a trained network": accuracy,
        "runtime": runtime,
    }
    write_file(out, as_json(results))


if __name__ == "__main__":
    main()
