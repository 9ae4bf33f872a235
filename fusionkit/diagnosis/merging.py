"""Diagnoses of several folds and seeds to one, whose intervals are over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.errors import RunError
from fusionkit.experiments.statistics import mean_interval
from fusionkit.runs import RunFolder
from fusionkit.whole_files import guarded

KEPT = ("format", "modalities", "commit", "device", "platform", "command", "versions", "time")
MERGED = ("selection", "notes", "gradients", "cost", "targets")


def merge(diagnoses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of diagnoses of one recipe; of a single one, itself.

    A figure becomes the mean over folds of the mean over seeds, with Student's interval over folds; of one fold it has
    no interval, unless there is one run. Counts add up. Text that differs becomes None, lists are joined. What some
    runs lack is left out. ``each`` says of every run whether fusing helped.

    Raises:
        RunError: The runs are of different recipes, or one stands there twice.
    """
    if len(diagnoses) == 1:
        return dict(diagnoses[0])
    _check_belong_together(diagnoses)
    folds = [each["protocol"]["fold"] for each in diagnoses]
    first = diagnoses[0]
    return {
        **{key: first[key] for key in KEPT},
        "each": [
            {
                "run": each["run"],
                "fold": each["protocol"]["fold"],
                "seed": each["seed"],
                "fusing": {target: of["fusing"] for target, of in each["targets"].items()},
            }
            for each in diagnoses
        ],
        "alone": _merged([each["alone"] for each in diagnoses], folds),
        "protocol": {
            "folds": list(dict.fromkeys(folds)),
            "label": _merged([each["protocol"]["label"] for each in diagnoses], folds),
        },
        "recipe": first["recipe"],
        **{key: _merged([each[key] for each in diagnoses], folds) for key in MERGED},
    }


def write_merged(folder: Path, diagnosis: Mapping[str, Any]) -> Path:
    """Writes ``diagnosis.json`` into a folder that is not the diagnosed run's own, and returns its path.

    Raises:
        RunError: It cannot be written.
    """
    run = RunFolder(folder)
    guarded(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
    run.write_diagnosis(diagnosis)
    return run.diagnosis_file


def _merged(values: Sequence[Any], folds: Sequence[str]) -> Any:
    first = values[0]
    if any(type(value) is not type(first) for value in values):
        return None
    if isinstance(first, Mapping):
        if "value" in first:
            return _mean(values, folds)
        return {key: _merged([each[key] for each in values], folds) for key in first if all(key in v for v in values)}
    if isinstance(first, list):
        return list(dict.fromkeys(item for value in values for item in value))
    if isinstance(first, int) and not isinstance(first, bool):
        return sum(values)
    return first if all(value == first for value in values) else None


def _mean(figures: Sequence[Mapping[str, float | None]], folds: Sequence[str]) -> dict[str, float | None]:
    by_fold: dict[str, list[float]] = {}
    for of, fold in zip(figures, folds, strict=True):
        if of["value"] is not None:
            by_fold.setdefault(fold, []).append(of["value"])
    if not by_fold:
        return {"value": None, "low": None, "high": None}
    interval = mean_interval([sum(of) / len(of) for of in by_fold.values()])
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def _check_belong_together(diagnoses: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for each in diagnoses:
        key = (each["protocol"]["split_hash"], each["seed"])
        if key in seen:
            raise RunError(
                f"{each['run']}: is of the same fold and seed as {seen[key]}; give runs of one variant, each once"
            )
        seen[key] = each["run"]
    first = diagnoses[0]
    for each in diagnoses[1:]:
        if different := [key for key in ("data", "model", "train") if _bare(each, key) != _bare(first, key)]:
            raise RunError(
                f"{each['run']}: is of another recipe than {first['run']} (under {', '.join(different)}); runs that "
                "are diagnosed together differ in data.fold and train.seed alone"
            )


def _bare(diagnosis: Mapping[str, Any], key: str) -> dict[str, Any]:
    own = {"data": "fold", "train": "seed"}
    return {name: value for name, value in diagnosis["recipe"][key].items() if name != own.get(key)}
