"""The time of `predict` beside that of the bare network on the same batches, as a result file.

Usage: python benchmarks/predict.py --out benchmarks/results/predict.json [--rounds 9] [--commands 5] [--only NAME ...]

Every round lets the network alone score batches that lie in memory, then lets `predict` find, read, prepare and answer
the same samples and write their answers to a file, then the network alone again. The figure of a round is the second
by the mean of the two others, as wall clock and as time of all processors. Weights are drawn, since speed does not
depend on training; one thread computes. Beside these, the command is timed from the start of its process to its end,
and so is `import torch`, which it cannot do without.

The rows: a ResNet-18 on prepared clips, which are read as arrays, and on the films themselves, which are decoded and
cut by processes; action units and sounds, in files of their own; sensors, few samples and many.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from differences import Samples, action_unit_recipe, film_recipe, read_samples, sensor_recipe, write_samples

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.data.recordings import describe_inputs
from fusionkit.execution.workers import count_processors
from fusionkit.inference.answer_file import AnswerFile
from fusionkit.inference.scoring import score_batch
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.records.document import save_document
from fusionkit.storage.run_folder import RunFolder

ROUNDS, COMMANDS = 9, 5
MANY = 400
"""Samples of a large table of sensors."""
SHORTEST = 0.2
"""Seconds that the bare network is timed for; what is shorter is repeated."""


def draw_run(recipe: Mapping[str, Any], folder: Path) -> RunFolder:
    """Makes a run whose weights are drawn."""
    torch.manual_seed(0)
    assembly = assemble(fusionkit.load_recipe(recipe))
    run = RunFolder.create(folder, assembly.recipe)
    run.save_weights(fusionkit.build(assembly.recipe).state_dict(), {})
    save_document(run.inputs_file, describe_inputs(assembly.dataset, assembly.recipe.model.modalities))
    return run


def write_clips(samples: Samples, folder: Path) -> Path:
    """Writes prepared clips as arrays, in folders that are named after their modalities."""
    for place, sample in enumerate(samples):
        for name, values in sample.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{place:03}.npy", values.numpy())
    return folder


def prepare_films(folder: Path) -> tuple[RunFolder, dict[str, Path]]:
    """Renders films, and prepares them."""
    run = draw_run(film_recipe(folder), folder / "run")
    dataset = assemble(run.recipe).dataset
    clips = write_clips([dict(dataset.load(place)) for place in range(len(dataset.rows))], folder / "clips")
    return run, {"ResNet-18, prepared clips": clips, "ResNet-18, films": folder / "films"}


def write_action_units(folder: Path) -> tuple[RunFolder, dict[str, Path]]:
    """Writes the action units and sounds of the test part of RAVDESS."""
    run = draw_run(action_unit_recipe(folder), folder / "run")
    samples = read_samples(run)
    predictor = fusionkit.load(run.path, device="cpu")
    return run, {"action units and sound": write_samples(samples, folder / "new", predictor, sounds_as_wav=True)}


def write_sensors(folder: Path) -> tuple[RunFolder, dict[str, Path]]:
    """Writes sensors of 200 and 5 Hz with a vector, few samples and many."""
    run = draw_run(sensor_recipe(folder, numbers=False), folder / "run")
    samples = read_samples(run)
    predictor = fusionkit.load(run.path, device="cpu")
    tables = {
        count: write_samples(samples, folder / f"new{count}", predictor, count=count) for count in (len(samples), MANY)
    }
    return run, {f"sensors, {count} samples": table for count, table in tables.items()}


NETWORKS: Mapping[str, Callable[[Path], tuple[RunFolder, dict[str, Path]]]] = {
    "films": prepare_films,
    "action units": write_action_units,
    "sensors": write_sensors,
}


def measure(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Measures the seconds of work, and those of the processors, of processes that it started too."""
    begin, used = time.perf_counter(), read_used()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times, (read_used() - used) / times


def read_used() -> float:
    """Reads the processor seconds of this process and of those that it started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def describe(values: Sequence[float]) -> dict[str, Any]:
    """Describes rounds by median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "quartiles": [low, high], "rounds": list(values)}


def measure_row(predictor: fusionkit.Predictor, run: Path, given: Path, rounds: int, commands: int) -> dict[str, Any]:
    """Measures `predict` on what is given beside the network alone."""
    batches = [batch.inputs for batch in predictor.request(given).read()]
    out = given.parent / "answers.csv"

    def score() -> None:
        with torch.inference_mode():
            for inputs in batches:
                score_batch(predictor.networks[0], predictor.branches, inputs)

    def predict() -> None:
        requests = predictor.request(given, workers=None)
        file = AnswerFile(out, predictor.list_columns(), {"samples": requests.identity})
        file.begin(file.count_kept())
        for answers in predictor.answer(requests):
            file.append(answers)
        if file.finish():
            raise SystemExit(f"{given}: some samples were not answered, see {out}")

    predict()
    score()
    times = math.ceil(SHORTEST / measure(score)[0])
    wall, used, alone, noise = [], [], [], []
    for _ in range(rounds):
        before, whole, after = measure(score, times), measure(predict, times), measure(score, times)
        wall.append(2 * whole[0] / (before[0] + after[0]))
        used.append(2 * whole[1] / (before[1] + after[1]))
        alone.append((before[0] + after[0]) / 2)
        noise.append(before[0] / after[0])
    command = [sys.executable, "-m", "fusionkit", "predict", str(run), str(given), "--out", str(out), "--overwrite"]
    started = [time_process([*command, "--json", "--device", "cpu"]) for _ in range(commands)]
    return {
        "samples": sum(len(next(iter(inputs.values()))) for inputs in batches),
        "bare_seconds": describe(alone),
        "predict_over_bare": describe(wall),
        "processors_over_bare": describe(used),
        "noise": describe(noise),
        "command_seconds": describe(started),
    }


def time_process(command: Sequence[str]) -> float:
    """Times a process from its start to its end."""
    return measure(lambda: subprocess.run(command, check=True, capture_output=True))[0]


def main() -> None:
    """Measures all networks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--commands", type=int, default=COMMANDS)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    environment, load = describe_environment("cpu"), os.getloadavg()[0]
    rows = {}
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            run, tables = NETWORKS[name](Path(folder))
            predictor = fusionkit.load(run.path, device="cpu")
            for row, given in tables.items():
                rows[row] = measure_row(predictor, run.path, given, asked.rounds, asked.commands)
                print(row, {key: of["median"] for key, of in rows[row].items() if key != "samples"}, flush=True)
    torch_alone = [time_process([sys.executable, "-c", "import torch"]) for _ in range(asked.commands)]
    result = {
        "kind": "prediction",
        **environment,
        "versions": {name: environment[name] for name in ("torch", "python", "fusionkit")},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/predict.py --out benchmarks/results/predict.json",
        "processors": count_processors(),
        "load_average": [load, os.getloadavg()[0]],
        "failures": [],
        "import_torch_seconds": describe(torch_alone),
        "rows": rows,
    }
    write_file(asked.out, as_json(result))


if __name__ == "__main__":
    main()
