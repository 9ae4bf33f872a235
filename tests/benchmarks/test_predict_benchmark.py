"""The measured prediction: its figures are those of its rounds, and few of them are wanted."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "predict.json").read_text(encoding="utf-8"))


def test_every_figure_is_the_median_of_its_rounds_between_their_quartiles() -> None:
    described = [of for row in RESULTS["rows"].values() for of in row.values() if isinstance(of, dict)]

    assert len(described) == 5 * len(RESULTS["rows"]) == 25
    for of in (*described, RESULTS["import_torch_seconds"]):
        assert of["median"] == statistics.median(of["rounds"])
        assert of["quartiles"][0] <= of["median"] <= of["quartiles"][1]


def test_small_networks_pay_for_files_and_large_ones_do_not() -> None:
    ratios = {name: row["predict_over_bare"]["median"] for name, row in RESULTS["rows"].items()}

    assert min(ratios, key=lambda name: ratios[name]) == "ResNet-18, prepared clips"
    assert ratios["sensors, 400 samples"] < ratios["sensors, 8 samples"]


def test_the_pages_and_the_command_name_the_measurement() -> None:
    assert RESULTS["command"] in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for page in ("how_to/predict.md", "explanation/performance.md"):
        assert "{{ predict_clips }}" in (ROOT / "docs" / page).read_text(encoding="utf-8")
