"""The page on performance: its tables say what the result files say."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from repository_scripts import load_script

ROOT = Path(__file__).parents[2]
MADE = {
    "device": "cpu",
    "platform": "Linux",
    "torch": "2.14",
    "threads": 1,
    "processor": "EPYC",
    "rounds": 11,
    "commit": "0123456789ab",
    "time": "2026-11-25T10",
}


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    return load_script("docs/speed")


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
    assert "C, T: cpu, 1 threads of EPYC, Linux, torch 2.14, 11 rounds, commit 0123456789, 2026-11-25." in text


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


def test_what_the_page_says_of_targets_and_options_is_what_was_measured() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "speed_cpu.json").read_text())["rows"]

    def figures(name: str) -> dict[str, float]:
        found = {each["what"]: each["measured"] for each in rows[name]["measurements"]}
        return {what: of.get("median", of.get("value")) for what, of in found.items()}

    def one(name: str, words: str) -> float:
        (value,) = (value for what, value in figures(name).items() if words in what)
        return value

    assert all(value <= 0.3 if "added" in what else value <= 1.03 for what, value in figures("R_loop").items())
    for network in ("films)", "ResNet-18 in both branches"):  # the page gives one figure for both
        assert f"{one('R_data', f'{network}, 0'):.2f}" == f"{one('R_data', f'{network}, 1'):.2f}"
    large_colour, large_grey, colour, grey = (value - 1.25 for value in figures("R_prep").values())
    assert large_grey < 0 < min(large_colour, colour, grey)
    assert all(value > 1 for what, value in figures("peers").items() if "memory" not in what)
    assert 1 < one("R_fuse", "ResNet-18") < 1.01
    assert 1 < one("R_miss", "ResNet-18") < 1.05
    assert all("with bfloat16" in row["made"]["processor"] for row in rows.values())
    assert one("O", "bf16-mixed") < one("O", "channels last") < 1
    assert one("C", "of each of two encoders") == 4
    assert one("C", "compiled / not") > 1
    assert one("O", "memory of the same two") < 1 < one("O", "time of recompute")
    assert one("S_N", "N2") <= 1.02
    assert one("S_T", "N2") < 1
    assert one("S_B", "N2") > 1
    assert one("R_pad", "ResNet-18") < 1 / 1.5
