"""Compares the fusions and balancers of the literature on three sets, and writes a result file of each.

Usage: python benchmarks/literature/measure.py runs/literature [SET ...]

The sets are action_units, bar (few methods in more folds of it), bar_longer (fewer, with twice the epochs),
faces_and_voices, and five settings of views; all of them when none is named. It goes on where it was stopped. What
`derive.py` makes must stand in the same folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.config.components.registry import DATASETS
from fusionkit.experiments import open_comparison
from fusionkit.report.pages.experiment import write_report
from fusionkit.storage.files import replace_file

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
SETS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "action_units": ("action_units_comparison.yaml", ()),
    "bar": ("bar_comparison.yaml", ()),
    "bar_longer": ("bar_longer_comparison.yaml", ()),
    **{
        f"views_imbalance_{ratio:g}": ("views_comparison.yaml", (f"data.dataset.imbalance={ratio:g}",))
        for ratio in (0.25, 1.0, 4.0)
    },
    **{
        f"views_fuzziness_{share:g}": ("views_comparison.yaml", (f"data.dataset.fuzziness={share:g}",))
        for share in (0.25, 0.5)
    },
    "faces_and_voices": ("faces_and_voices_comparison.yaml", ()),
}
"""By name, the comparison and what is changed in it; no fuzziness at all is imbalance 1."""

KEPT = (
    *("experiment", "target", "metric", "higher_is_better", "folds", "seeds", "protocol", "selection", "device"),
    *("commit", "versions", "platform", "time", "columns", "summary", "failures"),
)


def shortened(name: str, results: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs of a comparison: without every card's figures, and with one recipe instead of all."""
    summary = {
        name: {key: column[key] for key in ("by_fold", "mean", "low", "high")}
        for name, column in results["summary"].items()
    }
    comparison = dict(results["comparison"])
    # What differs by chance alone is not listed; how many pairs there were, `pairs_compared` says.
    comparison["pairs"] = [pair for pair in comparison["pairs"] if pair["p"] is not None and pair["p"] < 0.05]
    return {
        "kind": "comparison",
        **{key: results[key] for key in KEPT},
        "command": f"python benchmarks/literature/measure.py runs/literature {name}",
        "summary": summary,
        "recipe": recipe,
        "comparison": comparison,
    }


def best_accuracies(recipe: Mapping[str, Any]) -> dict[str, float]:
    """Of views, the best accuracy of each and of both."""
    options = dict(recipe["data"]["dataset"])
    dataset = DATASETS.build(options.pop("type"), **options)
    return {
        **{name: dataset.compute_best_accuracy([name]) for name in dataset.modalities},
        "fused": dataset.compute_best_accuracy(),
    }


def measure(name: str, folder: Path, processes: int | None = None) -> Path:
    """Runs a comparison and writes its result file."""
    file, overrides = SETS[name]
    out = folder / name
    results = open_comparison(HERE / file, out, overrides).run(progress=True, processes=processes).plain()
    write_report(out)
    recipe = next(recipe for variant, recipe in results["recipes"].items() if variant != "ensemble")
    short = shortened(name, results, recipe)
    if recipe["data"]["dataset"]["type"] == "gaussian_views":
        short["best"] = best_accuracies(recipe)
    target = RESULTS / f"literature_{name}.json"
    replace_file(target, (json.dumps(short, separators=(",", ":"), allow_nan=False) + "\n").encode())
    return target


if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - set(SETS):
        sys.exit(__doc__)
    for chosen in sys.argv[2:] or SETS:
        print(measure(chosen, Path(sys.argv[1])))
