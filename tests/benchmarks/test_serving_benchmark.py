"""The measured server, and what the documentation says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from repository_scripts import load_script

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "serving.json").read_text(encoding="utf-8"))


def test_the_page_on_serving_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    figures = load_script("docs/sentences").figures_of_pages(ROOT / "benchmarks" / "results")
    page = (ROOT / "docs" / "how_to" / "serve.md").read_text(encoding="utf-8")
    text = " ".join(re.sub(r"\{\{ (\w+) \}\}", lambda name: figures[name[1]], page).split())
    throughput, memory = RESULTS["throughput"], RESULTS["memory"]
    ratios = {clients: f"{of['ratio']:.2f}" for clients, of in throughput["clients"].items()}

    assert f"a network of {throughput['processor_ms_of_one_sample']:.1f} ms a sample" in text
    assert f"eight clients get {ratios['8']} of what" in text
    assert f"one client {ratios['1']} and 64 clients {ratios['64']}" in text
    assert f"grew by {100 * (memory['growth'] - 1):.2f} % over {memory['requests']:,} requests" in text


def test_memory_is_flat_and_medians_are_those_of_their_rounds() -> None:
    assert RESULTS["memory"]["growth"] < 1.01
    for of in RESULTS["throughput"]["clients"].values():
        assert of["ratio"] == sorted(of["rounds"])[len(of["rounds"]) // 2]
        assert of["p50_ms"] <= of["p90_ms"] <= of["p99_ms"]
