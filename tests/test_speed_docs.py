"""The page on performance: its tables say what the result files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
MADE = {
    "device": "cpu",
    "platform": "Linux",
    "torch": "2.14",
    "threads": 1,
    "commit": "0123456789ab",
    "time": "2026-11-25T10",
}


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_speed", ROOT / "docs" / "speed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measurement(**changed: Any) -> dict[str, Any]:
    return {
        "what": "small",
        "measured": {"median": 1.0234, "low": 1.01, "high": 1.06, "noise": {"median": 1.0, "low": 0.99, "high": 1.02}},
        "unit": "",
        "target": {"figure": "high", "sign": "<=", "limit": 1.05},
        **changed,
    }


def row(*measurements: dict[str, Any], not_measured: str = "") -> dict[str, Any]:
    return {"title": "ours / theirs", "measurements": list(measurements), "not_measured": not_measured, "made": MADE}


def test_a_figure_is_judged_by_the_end_of_its_interval_that_the_target_names(speed: ModuleType) -> None:
    lines = speed.speed_table({"rows": {"R": row(measurement())}}).splitlines()
    assert lines[3] == "| | small | 1.023 | 1.010 to 1.060 | 0.990 to 1.020 | <= 1.05 (high end) | **missed** |"
    target = {"figure": "median", "sign": "<=", "limit": 1.05}
    lines = speed.speed_table({"rows": {"R": row(measurement(target=target))}}).splitlines()
    assert lines[3].endswith("| <= 1.05 | met |")


def test_what_was_not_measured_says_why_and_what_has_no_target_says_nothing(speed: ModuleType) -> None:
    count = measurement(measured={"value": 3.0}, target=None, unit="graphs")
    rows = {"C": row(count), "T": row(not_measured="no compiler")}
    text = speed.speed_table({"rows": rows})
    assert "| | small | 3.000 graphs |  |  |  |  |" in text
    assert "| T | ours / theirs | not measured: no compiler |" in text
    assert "C, T: cpu, 1 threads, Linux, torch 2.14, commit 0123456789, 2026-11-25." in text


def test_every_row_of_the_result_files_is_in_its_table(speed: ModuleType, tmp_path: Path) -> None:
    results = ROOT / "benchmarks" / "results"
    speed.write_speed(results, tmp_path)
    for device in ("cpu", "cuda"):
        text, file = (tmp_path / f"speed_{device}.md").read_text(), results / f"speed_{device}.json"
        if not file.is_file():
            assert text.startswith("Not measured yet")
            continue
        found = json.loads(file.read_text())
        for name, of in found["rows"].items():
            assert f"| {name} | {of['title']} |" in text
            assert all(f"| | {each['what']} |" in text for each in of["measurements"])
