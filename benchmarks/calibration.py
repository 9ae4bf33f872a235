"""Do sets of 90 % hold 90 %, for people that neither training nor calibration saw, and for each subset of modalities?

Usage: python benchmarks/calibration.py benchmarks/results/calibration.json [--only synthetic]

Two recipes, each fold for itself: some of the training people are set aside, select the epoch and are calibrated on,
and coverage is measured on the people of the test part. `synthetic` is the quickstart's data with 60 people, samples
of which lack parts; `action_units` is RAVDESS speech, sound and facial action units, under five published folds, and
needs FUSIONKIT_DATA. Beside the calibrated sets stand those of the probabilities as trained: the most probable
classes until they add up to the level.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.calibration import calibrate
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

INNER = "train.select=inner"
MISSING = tuple(f"data.dataset.modalities.{name}.missing=0.25" for name in ("motion", "sound", "posture"))
CASES: Mapping[str, tuple[str, str, tuple[str, ...], tuple[int, ...], int, float]] = {
    "synthetic": (
        "quickstart/recipe",
        "label",
        (INNER, "train.inner_fraction=0.5", *MISSING, "data.dataset.groups=60"),
        (0, 1),
        6,
        0.9,
    ),
    # 15 or 16 people train in a fold, so that a level of 0.9 would take 9 of them away.
    "action_units": (
        "aver/ravdess_action_units_five_folds",
        "emotion",
        (INNER, "train.inner_fraction=0.4"),
        (0,),
        5,
        0.8,
    ),
}
"""By name the recipe, its target, what is changed, the seeds, the number of folds, and the level."""


def cover_without(run: RunFolder, target: str, level: float) -> tuple[float, float]:
    """Coverage and size of the sets that the probabilities themselves make; coverage is the mean over groups."""
    stored, about = run.read_predictions()
    said, truth = stored[f"distribution/{target}/fused"].double().numpy(), stored[f"target/{target}"].numpy()
    order = np.argsort(-said, axis=1)
    before = np.take_along_axis(said, order, axis=1).cumsum(axis=1) - np.take_along_axis(said, order, axis=1)
    held = np.zeros_like(said, dtype=bool)
    np.put_along_axis(held, order, before < level, axis=1)
    right, groups = held[np.arange(len(truth)), truth], np.array(json.loads(about["groups"]))
    means = [right[groups == group].mean() for group in np.unique(groups)]
    return float(np.mean(means)), float(held.sum(axis=1).mean())


def measure_run(name: str, seed: int, fold: int, folder: Path) -> dict[str, Any]:
    """One network: trained, evaluated, calibrated."""
    recipe, target, changes, _, _, level = CASES[name]
    run = train(find_recipe(recipe), folder, (*changes, f"data.fold={fold}", f"train.seed={seed}"), accelerator="cpu")
    card = evaluate(run, device="cpu", resamples=200)
    calibration = calibrate(run, level, device="cpu")
    plain, size = cover_without(run, target, level)
    held = {subset: of.plain() for subset, of in calibration.held["fused"][target].items()}
    learned = calibration.branches["fused"][target].everything
    return {
        "fold": card.protocol.fold,
        "seed": seed,
        "split_hash": card.protocol.split_hash,
        "aside": calibration.aside.plain(),
        "test": calibration.test.plain(),
        "temperature": learned.temperature,
        "accuracy": card.targets[target].branches["fused"].metrics["accuracy"].value,
        "held": held,
        "curves": calibration.curves[target].plain(),
        "as_trained": {"coverage": plain, "size": size},
    }


def pool_bins(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The bins of several runs together, each weighted by the answers in it."""
    counts = np.array([part["counts"] for part in parts])
    total = counts.sum(axis=0)

    def average(name: str) -> list[float | None]:
        sums = (np.array([[each or 0.0 for each in part[name]] for part in parts]) * counts).sum(axis=0)
        return [float(of / count) if count else None for of, count in zip(sums, total, strict=True)]

    return {"counts": total.tolist(), "said": average("said"), "observed": average("observed")}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over runs by subset of modalities, weighted by groups, with a bootstrap over runs."""
    by_subset = defaultdict(list)
    for run in runs:
        for subset, held in run["held"].items():
            by_subset[subset].append((held["coverage"]["value"], held["groups"], held["size"][0], held["own"]))
    draw, summary = np.random.default_rng(0), {}
    for subset, rows in by_subset.items():
        values, groups, sizes, own = map(np.array, zip(*rows, strict=True))
        chosen = draw.integers(len(values), size=(2000, len(values)))
        drawn = (values * groups)[chosen].sum(axis=1) / groups[chosen].sum(axis=1)
        summary[subset] = {
            "runs": len(rows),
            "coverage": float((values * groups).sum() / groups.sum()),
            "low": float(np.quantile(drawn, 0.025)),
            "high": float(np.quantile(drawn, 0.975)),
            "size": float(sizes.mean()),
            "runs_with_a_threshold_of_their_own": int(own.sum()),
        }
    first = [run["held"]["all"] for run in runs]
    return {
        "subsets": summary,
        "curves": {name: pool_bins([run["curves"][name] for run in runs]) for name in ("before", "after")},
        "as_trained": {
            name: float(np.mean([run["as_trained"][name] for run in runs])) for name in ("coverage", "size")
        },
        "nll": [float(np.mean([of["nll"][place] for of in first])) for place in (0, 1)],
        "ece": [float(np.mean([of["ece"][place] for of in first])) for place in (0, 1)],
        "accuracy": float(np.mean([run["accuracy"] for run in runs])),
    }


def measure(folder: Path, names: list[str]) -> dict[str, Any]:
    """Everything that the result file says."""
    environment, cases, folds = describe_environment("cpu"), {}, {}
    for name in names:
        recipe, target, changes, seeds, count, level = CASES[name]
        runs = []
        for seed in seeds:
            for fold in range(count):
                runs.append(measure_run(name, seed, fold, folder / name / f"{seed}_{fold}"))
                print(name, seed, fold, runs[-1]["held"]["all"]["coverage"], flush=True)
        folds |= {f"{name}, {run['fold']}": run["split_hash"] for run in runs}
        of = {"recipe": recipe, "target": target, "overrides": list(changes), "seeds": list(seeds), "level": level}
        cases[name] = {**of, **summarise(runs), "runs": runs}
    return {
        "format": 1,
        "kind": "calibration",
        "command": "python benchmarks/calibration.py benchmarks/results/calibration.json",
        **{name: environment[name] for name in ("commit", "device", "platform")},
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "folds": [{"name": name, "split_hash": value} for name, value in folds.items()],
        "cases": cases,
        "failures": [],
    }


def main() -> None:
    """Parses, trains, calibrates, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--only", choices=CASES, help="one of the cases")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), [arguments.only] if arguments.only else list(CASES))
    if arguments.only and arguments.result.exists():  # the other case, of a run of its own
        before = json.loads(arguments.result.read_text(encoding="utf-8"))
        found["cases"] = before["cases"] | found["cases"]
        found["folds"] = [each for each in before["folds"] if each not in found["folds"]] + found["folds"]
    write_file(arguments.result, as_json(found))


if __name__ == "__main__":
    main()
