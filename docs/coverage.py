"""The pages' tables of calibration: how often sets hold the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def calibration_lines(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """Lists by data and modalities the coverage of sets for groups that nobody saw, and the size of the sets."""
    lines = []
    for case, of in results["cases"].items():
        runs, level = of["runs"], f"{100 * of['level']:g} %"
        aside, before = runs[0]["aside"]["groups"], of["as_trained"]
        lines += [
            f"`{of['recipe']}` ({case}), {len(runs)} runs, about {aside} groups set aside in each: sets of {level}\n",
            "| modalities of a sample | covered | 95 % interval over runs | classes in a set | runs |",
            "| --- | ---: | --- | ---: | ---: |",
        ]
        for subset, held in of["subsets"].items():
            covered, low, high = (f"{100 * held[key]:.1f} %" for key in ("coverage", "low", "high"))
            lines.append(f"| {subset} | {covered} | {low} to {high} | {held['size']:.2f} | {held['runs']} |")
        lines += [
            f"\nThe most probable classes until they add up to {level}, without calibration, cover "
            f"{100 * before['coverage']:.1f} % with {before['size']:.2f} classes. Temperature takes the negative "
            f"log-likelihood from {of['nll'][0]:.3f} to {of['nll'][1]:.3f}, the calibration error from "
            f"{100 * of['ece'][0]:.1f} to {100 * of['ece'][1]:.1f} %.\n"
        ]
    return lines
