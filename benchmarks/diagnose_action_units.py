"""Do the gradients of uni-modal and fused losses conflict? N0, N1, N2 and late fusion, diagnosed, as a result file.

Usage: python benchmarks/diagnose_action_units.py benchmarks/results/diagnosis_action_units.json
       [--folds 0 1] [--seeds 0] [--runs runs/diagnosis] [--every 1]

N0 is trained with heads that only watch (the balancer `fused_only`), so that it has a uni-modal gradient to compare.
A run that has finished is kept; the same command goes on where it was stopped. Needs FUSIONKIT_DATA with ravdess/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.sources import Datasets
from fusionkit.evaluation.diagnosis import Diagnosis, diagnose, merge, open_separate
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

RECIPE = "aver/ravdess_action_units"
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "late fusion": ("model.fusion=concat", "train.strategy=late_fusion"),
    "N0": ("model.fusion=concat", "train.balancer=fused_only"),
    "N1": ("model.fusion=concat",),
    "N2": ("model.fusion=mrpn",),
}
LEFT_OUT = ("recipe", "run", "each", "alone", "weights_sha256", "command", "versions", "commit", "platform", "device")
"""Of every diagnosis, what the result file says once."""


def run_of(folder: Path, variant: str, fold: int, seed: int, *, every: int, datasets: Datasets) -> RunFolder:
    """A variant's run of a fold and seed, trained unless it is there."""
    run = RunFolder(folder / variant.replace(" ", "_") / str(fold) / str(seed))
    if not (run.begun and run.finished):
        overrides = (*VARIANTS[variant], f"data.fold={fold}", f"train.seed={seed}", f"train.gradient_cosines={every}")
        begin = time.monotonic()
        train(find_recipe(RECIPE), run.path, overrides, progress=False, accelerator="cpu", datasets=datasets)
        print(f"{variant}, fold {fold}, seed {seed}: {time.monotonic() - begin:.0f} s", flush=True)
    return run


def result_of(folder: Path, folds: Sequence[int], seeds: Sequence[int], every: int) -> dict[str, Any]:
    """Everything that the result file says."""
    diagnoses: dict[str, list[Diagnosis]] = {}
    datasets = Datasets()
    for fold in folds:
        for seed in seeds:
            runs = {name: run_of(folder, name, fold, seed, every=every, datasets=datasets) for name in VARIANTS}
            separate = [open_separate(runs["late fusion"], datasets)]
            for variant, run in runs.items():
                own = () if variant == "late fusion" else separate
                diagnoses.setdefault(variant, []).append(diagnose(run, own, device="cpu", datasets=datasets))
    first = next(iter(diagnoses.values()))
    splits = {each.protocol.fold: each.protocol.split_hash for each in first}
    environment = describe_environment("cpu")
    return {
        "format": 1,
        "kind": "diagnosis",
        "command": " ".join(
            [
                "python benchmarks/diagnose_action_units.py benchmarks/results/diagnosis_action_units.json",
                f"--folds {' '.join(map(str, folds))} --seeds {' '.join(map(str, seeds))} --every {every}",
            ]
        ),
        **{name: environment[name] for name in ("commit", "device", "platform")},
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")},
        "time": first[0].time,
        "recipe": RECIPE,
        "overrides": {variant: list(of) for variant, of in VARIANTS.items()},
        "every": every,
        "folds": [{"name": name, "split_hash": value} for name, value in splits.items()],
        "seeds": list(seeds),
        "intervals": "Student's t over folds" if len(splits) > 1 else "bootstrap over groups",
        "variants": {
            variant: {key: value for key, value in without_samples(merge(of).plain()).items() if key not in LEFT_OUT}
            for variant, of in diagnoses.items()
        },
        "fusing_by_fold": {
            variant: {f"{each.protocol.fold}/{each.seed}": fusing_of(each) for each in of}
            for variant, of in diagnoses.items()
        },
        "failures": [],
    }


def fusing_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """What a single run gained over the best single modality, and which that was."""
    (target,) = diagnosis.targets.values()
    fusing = target.fusing
    return {"best_single": fusing.best_single, "gain": fusing.over_best_single and fusing.over_best_single.value}


def without_samples(value: Any) -> Any:
    """The figures without the names of single samples."""
    if isinstance(value, Mapping):
        return {key: without_samples(item) for key, item in value.items() if not key.endswith("_samples")}
    return value


def main() -> None:
    """Parses, trains what is missing, diagnoses, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/diagnosis"))
    parser.add_argument("--every", type=int, default=1, help="steps from one comparison of gradients to the next")
    given = parser.parse_args()
    write_file(given.result, as_json(result_of(given.runs, given.folds, given.seeds, given.every)))


if __name__ == "__main__":
    main()
