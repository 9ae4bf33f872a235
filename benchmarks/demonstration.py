"""How long the demonstration takes from nothing to its page, as a result file.

Usage: python benchmarks/demonstration.py benchmarks/results/demonstration.json
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file


def result_of(out: Path) -> dict[str, Any]:
    """Runs the demonstration in a process of its own, as its user does, and says what it took."""
    environment = describe_environment("cpu")
    load = os.getloadavg()[0]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fusionkit", "demo", "--out", str(out)], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {
        "format": 1,
        "kind": "demonstration",
        "command": "python benchmarks/demonstration.py benchmarks/results/demonstration.json",
        "device": "cpu",
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "load": {"before": load, "after": os.getloadavg()[0]},
        "commit": environment["commit"],
        "uncommitted_changes": environment["uncommitted_changes"],
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "wall_seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "films": len(list((out / "films").rglob("*.mp4"))),
        "runs": len(list((out / "runs").glob("*/*/*/metrics.json"))),
        "mean_accuracy": {name: column["mean"] for name, column in results["summary"].items()},
        "page_bytes": (out / "report.html").stat().st_size,
        "failures": results["failures"],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        write_file(Path(sys.argv[1]), as_json(result_of(Path(name) / "demo")))
