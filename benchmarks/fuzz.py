"""Tries damaged files and drawn recipes for some minutes, and writes how many were tried, read and refused.

Usage: python benchmarks/fuzz.py benchmarks/results/fuzz.json [--minutes 60] [--seed 0]

What is tried, and the promise that each case is held to, stands in tests/fuzz; needs the extra `test`.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file

TESTS = Path(__file__).parents[1] / "tests" / "fuzz"


class Figures:
    """What the tests note of their cases, and which of them failed."""

    def __init__(self) -> None:
        self.tests: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Takes what a finished test notes."""
        if report.when == "teardown":
            self.tests += [figures for name, figures in report.user_properties if name == "fuzz"]
        if report.failed:
            self.failures.append(report.nodeid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    # The tests read them when they are imported.
    os.environ |= {"FUSIONKIT_FUZZ_MINUTES": str(given.minutes), "FUSIONKIT_FUZZ_SEED": given.seed}
    import pytest

    figures = Figures()
    pytest.main(["-q", "-p", "no:cacheprovider", str(TESTS)], plugins=[figures])
    environment = describe_environment("cpu")
    result = {
        "kind": "fuzz",
        "command": f"python benchmarks/fuzz.py {given.file} --minutes {given.minutes:g} --seed {given.seed}",
        **{name: environment[name] for name in ("commit", "uncommitted_changes", "device", "platform")},
        "versions": {
            **{name: environment[name] for name in ("fusionkit", "torch", "python")},
            **{name: version(name) for name in ("av", "soundfile", "pillow", "numpy", "pyarrow", "PyYAML")},
        },
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": given.minutes,
        "seed": given.seed,
        "failures": figures.failures,
        **{name: round(sum(test[name] for test in figures.tests), 1) for name in ("tried", "refused", "seconds")},
        "longest": max((test["longest"] for test in figures.tests), default=0.0),
        "tests": sorted(figures.tests, key=lambda test: (str(test["file"]), str(test["name"]))),
    }
    write_file(given.file, as_json(result))
    print(f"{result['tried']:,} cases, {result['refused']:,} refused, {len(figures.failures)} tests failed")


if __name__ == "__main__":
    main()
