"""The page on performance: its tables say what the result files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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

    added = [each["measured"] for each in rows["R_loop"]["measurements"] if each["unit"] == "ms"]
    assert all(value <= 0.3 if "added" in what else value <= 1.03 for what, value in figures("R_loop").items())
    assert "{:.2f} and {:.2f} ms added to a step".format(*(of["median"] for of in added)) in page
    assert "intervals reach to {:.1f} and {:.1f} ms".format(*(of["high"] for of in added)) in page
    for workers in (0, 1):
        assert f"{one('R_data', f'films), {workers}'):.2f}" == "1.06" in page
        assert f"{one('R_data', f'ResNet-18 in both branches, {workers}'):.2f}" == "1.00" in page
    prepared = [value - 1.25 for value in figures("R_prep").values()]  # large, smaller; each in colour, in grey
    assert prepared[1] < 0
    assert [f"{over:.2f}" for over in (prepared[0], prepared[3], prepared[2])] == ["0.02", "0.06", "0.20"]
    assert "by 0.02 for large films in colour, by 0.06 and 0.20 for smaller ones" in page
    assert all(value > 1 for what, value in figures("peers").items() if "memory" not in what)
    by_hand = [value for what, value in figures("peers").items() if "by hand" in what and "memory" not in what]
    assert "{:.2f} in batches of 32 and {:.2f} in batches of 512".format(*by_hand) in page
    assert 1 < one("R_fuse", "ResNet-18") < 1.01
    assert 1 < one("R_miss", "ResNet-18") < 1.05
    assert all("with bfloat16" in row["made"]["processor"] for row in rows.values())
    assert f"pays most, {one('O', 'bf16-mixed'):.2f} of the time" in page
    assert one("O", "bf16-mixed") < one("O", "channels last") < 1
    assert f"padded sequences ({one('O', 'LSTM'):.2f} of the packed path" in page
    assert f"holds {one('O', 'largest batch'):.2f} of what the largest by number does" in page
    assert f"`train.compile` loses on that CPU, {one('C', 'compiled / not'):.2f} of the time" in page
    assert one("C", "of each of two encoders") == 4
    assert "each encoder is compiled four times, one more than the target" in page
    memory, time = one("O", "memory of the same two"), one("O", "time of recompute")
    assert f"{memory:.2f} of the memory for {time:.2f} of the time" in page
    assert f"In pieces of 128 frames predictions take {one('O', 'chunk: 128'):.2f} of the time" in page
    assert f"in pieces of 32 {one('O', 'chunk: 32'):.2f}." in page
    assert f"takes {one('O', 'stream'):.2f} of a prediction of its whole window" in page
    assert one("S_N", "N2") <= 1.02
    assert one("S_T", "N2") < 1
    assert one("S_B", "N2") > 1
    assert one("R_pad", "ResNet-18") < 1 / 1.5
