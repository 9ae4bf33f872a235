"""The benchmark that asks whether gradients conflict, on a small recipe, and every result of it that is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from repository_scripts import load_script
from small_runs import recipe

from fusionkit.config.yaml import write_yaml

ROOT = Path(__file__).parents[2]
JOINT = ("N0", "N1", "N2")
MEASURED = [
    path
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    if json.loads(path.read_text(encoding="utf-8")).get("kind") == "diagnosis"
]


def check(results: dict[str, Any], generated: Path) -> None:
    """What every result must hold, and the tables that are written from it."""
    assert list(results["variants"]) == ["late fusion", *JOINT]
    assert all(re.fullmatch("[0-9a-f]{64}", fold["split_hash"]) for fold in results["folds"])
    for variant, of in results["variants"].items():
        (target,) = of["targets"].values()
        whole = target["shapley"]["all"]["value"] - target["shapley"]["empty"]["value"]
        assert sum(share["value"] for share in target["shapley"]["shares"].values()) == pytest.approx(whole)
        if variant not in JOINT:
            assert of["gradients"] is None
            continue
        for modality, found in of["gradients"].items():
            assert list(found["thirds"]) == ["first", "middle", "last"]
            assert all(-1 <= each["value"] <= 1 for each in found["thirds"].values())
            assert 0 <= found["negative"]["value"] <= 1
            probe = target["probe"][modality]
            expected = probe["score"]["value"] - probe["alone_probe"]["value"]
            assert probe["kept"]["value"] == pytest.approx(expected)
    lines = load_script("docs/literature").diagnosis_lines(results, "diagnosis", generated)
    for variant in JOINT:
        for modality in results["variants"][variant]["gradients"]:
            assert sum(line.startswith(f"| {variant} | {modality} |") for line in lines) == 2


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_measured_diagnosis_says_of_every_joint_network_whether_its_gradients_conflict(
    path: Path, tmp_path: Path
) -> None:
    check(json.loads(path.read_text(encoding="utf-8")), tmp_path)


def test_the_benchmark_trains_what_is_missing_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = load_script("benchmarks/diagnose_action_units")
    small = tmp_path / "small.yaml"
    folds = {"folds": {"type": "group_kfold", "folds": 2}, "batch_size": 4}
    small.write_text(write_yaml(recipe(data=folds, epochs=2)))
    monkeypatch.setattr(benchmark, "find_recipe", lambda _: small)

    results = json.loads(json.dumps(benchmark.result_of(tmp_path / "runs", (0, 1), (0,), 1)))

    check(results, tmp_path)
    assert len(results["folds"]) == 2
    assert results["seeds"] == [0]
    assert set(results["fusing_by_fold"]["N2"]) == {f"{fold['name']}/0" for fold in results["folds"]}
    monkeypatch.setattr(benchmark, "train", lambda *_, **__: pytest.fail("trained again"))
    again = json.loads(json.dumps(benchmark.result_of(tmp_path / "runs", (0, 1), (0,), 1)))
    for variant in JOINT:
        assert again["variants"][variant]["gradients"] == results["variants"][variant]["gradients"]
        assert again["variants"][variant]["targets"] == results["variants"][variant]["targets"]
