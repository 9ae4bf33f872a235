"""Folders as an experiment leaves them, made by hand: any classes, folds and numbers, without a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusionkit.evaluation.statistics import compare, estimate_mean
from fusionkit.storage.records.results import Results
from fusionkit.storage.tensor_files import write_tensors

COLUMNS = {"late fusion": "fused", "AM": "audio", "VM": "video", "ensemble": "ensemble", "N2": "fused"}
RUNS = {name: "N2" if name == "N2" else "late fusion" for name in COLUMNS}
MODALITIES = ("audio", "video")
LEVELS = {"late fusion": 0.80, "AM": 0.60, "VM": 0.65, "ensemble": 0.75, "N2": 0.88}

Values = Mapping[str, Sequence[float]]
"""By column, a value per fold."""


def summarised(values: Mapping[str, Mapping[str, float]], *, higher: bool = True) -> dict[str, dict[str, Any]]:
    """A summary as experiments write it, from the values of every column by fold."""
    summary: dict[str, dict[str, Any]] = {}
    sign = 1 if higher else -1
    for name, by_fold in values.items():
        found = {other: compare(by_fold, values[other], 0.1) for other in summary}
        interval = vars(estimate_mean(list(by_fold.values()))) if by_fold else dict.fromkeys(("mean", "low", "high"))
        judged: dict[str, Any] = {"inferior": None, "compared_folds": None, "over_alone": None}
        if COLUMNS[name] in ("fused", "ensemble"):
            rivals = {COLUMNS[other]: values[other] for other in ("AM", "VM")}
            inferior = {
                fold: best
                for fold, value in by_fold.items()
                for best in [max(rivals, key=lambda rival: sign * rivals[rival].get(fold, -sign * np.inf))]
                if sign * (rivals[best].get(fold, value) - value) > 0
            }
            known = {rival: of for rival, of in rivals.items() if set(of) & set(by_fold)}
            means = {rival: float(np.mean([of[fold] for fold in of if fold in by_fold])) for rival, of in known.items()}
            best_rival = max(means, key=lambda rival: sign * means[rival], default=None)
            if best_rival is not None:
                comparison = compare(by_fold, rivals[best_rival], 0.1)
                assert comparison is not None
                judged = {
                    "inferior": inferior,
                    "compared_folds": len(by_fold),
                    "over_alone": {"modality": best_rival, "alone": means[best_rival], **comparison.plain()},
                }
        against = {other: each and each.plain() for other, each in found.items()}
        summary[name] = {"by_fold": dict(by_fold), **interval, "against": against, **judged}
    return summary


def results_of(
    values: Values | None = None,
    *,
    folds: Sequence[str] = ("A1,2", "A3,4", "A5,6"),
    metric: str = "accuracy",
    higher: bool = True,
    classes: Sequence[str] | None = ("calm", "happy", "sad"),
    paper: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
) -> dict[str, Any]:
    """The results of an experiment with late fusion, AM, VM, their ensemble and N2."""
    spread = 0.02 * np.random.default_rng(0).standard_normal((len(COLUMNS), len(folds)))
    drawn = {name: [level + each for each in spread[row]] for row, (name, level) in enumerate(LEVELS.items())}
    given = drawn if values is None else {name: list(values[name]) for name in COLUMNS}
    by_fold = {name: dict(zip(folds, of, strict=True)) for name, of in given.items()}
    rows = [
        {
            "variant": name,
            "branch": branch,
            "trained": {"audio": "alone", "video": "alone"}.get(branch, branch),
            "fold": fold,
            "seed": seed,
            "samples": 30,
            "value": by_fold[name][fold],
            "low": by_fold[name][fold] - 0.05,
            "high": by_fold[name][fold] + 0.05,
            "metrics": {metric: by_fold[name][fold], **({"ece": 0.1} if metric == "accuracy" else {})},
            "run": f"runs/{RUNS[name].replace(' ', '_')}/{fold_folder(fold)}/{seed}",
        }
        for name, branch in COLUMNS.items()
        for fold in folds
        for seed in seeds
        if fold in by_fold[name]
    ]
    matrix = [] if classes is None else (np.eye(len(classes), dtype=int) * 8 + 1).tolist()
    return {
        "format": 1,
        "experiment": {
            "paper": paper,
            "variants": {
                "late fusion": {"overrides": ["train.strategy=late_fusion"], "of": None, "branch": None},
                "AM": {"overrides": [], "of": "late fusion", "branch": "audio"},
            },
        },
        "recipes": {"late fusion": {"model": {"modalities": {name: {} for name in MODALITIES}}}},
        "target": "emotion",
        "metric": metric,
        "higher_is_better": higher,
        "folds": [{"name": fold, "split_hash": "0" * 64, "train": 90, "test": 30} for fold in folds],
        "seeds": list(seeds),
        "protocol": {"label": "speaker-independent", "folds": {"type": "actor_pairs"}},
        "selection": "last epoch",
        "device": "cpu",
        "commit": "0" * 40,
        "versions": {"fusionkit": "0", "torch": "0", "python": "3"},
        "platform": "Linux",
        "command": "fusionkit experiment e.yaml --out o",
        "time": "2026-01-02T03:04:05+00:00",
        "notes": [],
        "columns": [
            {"name": name, "branch": branch, "runs": RUNS[name], "alone": "late fusion", "automatic": False}
            for name, branch in COLUMNS.items()
        ],
        "rows": rows,
        "summary": summarised(by_fold, higher=higher),
        "confusion": {
            "classes": None if classes is None else list(classes),
            "matrices": {} if classes is None else dict.fromkeys(COLUMNS, matrix),
        },
        "failures": [],
    }


def record_of(results: Mapping[str, Any]) -> Results:
    """Results as a report reads them; what they do not state is that of `results_of`."""
    return Results.model_validate({**results_of(), **results}, strict=True)


def comparison_of(**stated: Any) -> dict[str, Any]:
    """What a comparison adds; what is not stated is that of one without any columns."""
    nothing: dict[str, Any] = {
        "budget": {"epochs": 1},
        "epochs": {},
        "tuning": None,
        "choices": [],
        "ranks": {"mean": {}, "folds": 0, "friedman_p": None, "critical_difference": None},
        "against_first": [],
        "pairs": [],
        "pairs_compared": 0,
        "cost": {},
    }
    return {**nothing, **stated}


def pair_of(column: str, other: str, **stated: Any) -> dict[str, Any]:
    """Two columns that are compared."""
    return {"column": column, "other": other, "difference": 0.0, "low": None, "high": None, "p": None, **stated}


def card_of(target: str, **stated: Any) -> dict[str, Any]:
    """The card of a run without any branches."""
    described = {"type": "classification", "kind": "classes", "classes": None, "score": "accuracy"}
    return {
        "format": 2,
        "protocol": {"folds": {}, "fold": "a", "split_hash": "0", "label": "", "train": 1, "validation": 0, "test": 1},
        "selection": {"rule": "last", "label": "last epoch"},
        "seed": 0,
        "recipe": {},
        **dict.fromkeys(("recipe_sha256", "weights_sha256", "commit", "device", "platform", "time"), "0"),
        "versions": {},
        "training": {"device": "cpu", "commit": None},
        "intervals": {"method": "", "level": 0.95, "units": 2, "resamples": 1, "seed": 0},
        "targets": {target: {**described, "higher_is_better": True, "branches": {}, **stated}},
    }


def fold_folder(fold: str) -> str:
    """A fold as a folder."""
    return "".join(each if each.isalnum() else "_" for each in fold)


def write_results(folder: Path, results: Mapping[str, Any]) -> Path:
    """Only ``results.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def write_experiment(
    folder: Path,
    results: Mapping[str, Any],
    *,
    samples: int = 24,
    width: int = 6,
    missing: bool = False,
    outputs: int = 0,
) -> Path:
    """``results.json`` and a run folder for each of its runs, with drawn predictions, features and logs.

    Args:
        folder: Where.
        results: Of `results_of`.
        samples: Samples of every test part.
        width: Width of every feature.
        missing: Every third sample lacks audio, and every fifth target is not known.
        outputs: Numbers instead of classes, so many a sample.
    """
    classes = results["confusion"]["classes"] or ()
    write_results(folder, results)
    for row in {row["run"]: row for row in results["rows"]}.values():
        run = folder / row["run"]
        run.mkdir(parents=True)
        rng = np.random.default_rng(abs(hash(row["run"])) % 2**32)
        targets = rng.normal(size=(samples, outputs)) if outputs else rng.integers(0, max(1, len(classes)), samples)
        present = np.ones((2, samples), bool)
        if missing:
            present[0, ::3] = False
            targets = targets.copy()
            targets[::5] = np.nan if outputs else -1
        tensors = {"target/emotion": torch.from_numpy(targets), "feature_rows": torch.arange(samples)}
        branches = {"N2": ("fused",)}.get(row["variant"], ("fused", "audio", "video", "ensemble"))
        for branch in branches:
            said = rng.normal(size=(samples, outputs or max(1, len(classes))))
            said = said if outputs else np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
            if branch == "audio":
                said[~present[0]] = np.nan
            tensors[f"distribution/emotion/{branch}"] = torch.from_numpy(said)
        for row_of, name in enumerate(MODALITIES):
            values = rng.normal(size=(samples, width))
            values[~present[row_of]] = np.nan
            tensors[f"feature/{name}"] = torch.from_numpy(values).half()
            if row["variant"] == "N2":
                tensors[f"adapted/{name}"] = torch.from_numpy(values + 0.1).half()
        tensors["feature/fused"] = torch.from_numpy(rng.normal(size=(samples, 2 * width))).half()
        write_tensors(run / "predictions.safetensors", tensors, {})
        (run / "environment.json").write_text("{}")
        (run / "recipe.yaml").write_text("plugins: [a_module_that_a_report_would_have_to_import]\n")
        kind = "numbers" if outputs else "classes"
        (run / "metrics.json").write_text(json.dumps(card_of("emotion", kind=kind, classes=list(classes) or None)))
        (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log(MODALITIES)))
    return folder


def log(modalities: Sequence[str], epochs: int = 3, validated: bool = True) -> list[dict[str, Any]]:
    """The log of a training of one stage."""
    records: list[dict[str, Any]] = []
    for epoch in range(epochs):
        terms = {f"{name}/emotion": 2.0 / (1 + epoch) + place for place, name in enumerate(("fused", *modalities))}
        records += [
            {"step": 2 * epoch + half, "stage": "joint", "epoch": epoch, "loss": 1.0, "terms": terms} for half in (0, 1)
        ]
        told = {name: 1.5 * value for name, value in terms.items()} if validated else None
        records.append(
            {
                "step": 2 * epoch + 2,
                "stage": "joint",
                "epoch": epoch,
                "training": sum(terms.values()),
                "validation": told and told["fused/emotion"],
                "validation_terms": told,
            }
        )
    return records
