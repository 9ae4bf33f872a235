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
    "processor": "EPYC",
    "rounds": 11,
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
    page = " ".join((ROOT / "docs" / "explanation" / "performance.md").read_text(encoding="utf-8").split())
    rows = json.loads((ROOT / "benchmarks" / "results" / "speed_cpu.json").read_text())["rows"]

    def figures(name: str) -> dict[str, float]:
        found = {each["what"]: each["measured"] for each in rows[name]["measurements"]}
        return {what: of.get("median", of.get("value")) for what, of in found.items()}

    def one(name: str, words: str) -> float:
        (value,) = (value for what, value in figures(name).items() if words in what)
        return value

    films, sensors = one("R_loop", "films), added"), one("R_loop", "motions), added")
    ends = [each["measured"]["high"] for each in rows["R_loop"]["measurements"] if each["unit"] == "ms"]
    assert "intervals that reach to {:.1f} and {:.1f} ms".format(*ends) in page
    assert f"adds {films:.1f} ms to a step of small audio-video networks and {sensors:.1f} ms to one of tiny" in page
    for words in ("ResNet-18 in both branches, 0", "ResNet-18 in both branches, 1"):
        assert one("R_data", words) <= 1.05 < one("R_data", words.replace("ResNet-18 in both branches", "films)"))
    assert one("R_data", "films), 1") > one("R_data", "films), 0")
    prepared = figures("R_prep")
    assert [what for what, value in prepared.items() if value <= 1.25] == [
        what for what in prepared if "1280x720" in what and "grey" in what
    ]
    assert all(value > 1 for what, value in figures("peers").items() if "memory" not in what)
    for name in ("R_fuse", "R_miss"):
        assert all(1 < value < 1.05 for value in figures(name).values())
    assert f"`precision: bf16-mixed` pays most, {one('O', 'bf16-mixed'):.2f} of the time" in page
    assert one("O", "bf16-mixed") < one("O", "channels last") < 1
    assert f"`train.compile` loses there, {one('C', 'compiled / not'):.2f} of the time" in page
    memory, time = one("O", "memory of the same two"), one("O", "time of recompute")
    assert f"{memory:.2f} of the memory for {time:.2f} of the time" in page
    assert f"In pieces of 128 frames predictions take {one('O', 'chunk: 128'):.2f} of the time" in page
    assert one("O", "chunk: 32") > 1
    assert one("S_N", "N2") < 1
    assert one("S_T", "N2") < 1
    assert one("S_B", "N2") > 1
    assert one("R_pad", "ResNet-18") < 1 / 1.5
