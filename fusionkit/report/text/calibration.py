"""A calibration in words and rows: how often sets hold the truth, how large they are, what temperature does."""

from __future__ import annotations

from fusionkit.interfaces import TargetKind
from fusionkit.report.text.significance import TOO_FEW, has_interval, holds_zero
from fusionkit.storage.records.calibration import Calibration, Held
from fusionkit.storage.records.document import Figure

_UNTOLD = "too few"
"""The coverage of test samples of fewer groups than tell it."""


def rows_of(calibration: Calibration, target: str, branch: str | None = None) -> list[list[str]]:
    """Returns a row per subset of modalities, all samples first; the coverage of too few groups is not told.

    Args:
        calibration: The calibration.
        target: The target.
        branch: The branch; the main one when left out.
    """
    held = calibration.held[branch or calibration.main][target]
    return [
        [
            subset if of.own or subset == "all" else f"{subset} *",
            str(of.samples),
            str(of.groups),
            _percent(of.coverage) if calibration.tells(of) else _UNTOLD,
            " ".join(f"{size:.3g}" for size in of.size),
            *([" to ".join(f"{value:.3f}" for value in of.nll)] if of.nll else []),
            *([" to ".join(f"{100 * value:.1f}" for value in of.ece)] if of.ece else []),
        ]
        for subset, of in held.items()
    ]


def sentences(calibration: Calibration) -> list[str]:
    """Says what was found of every target in the main branch, and under which assumption it holds."""
    said = []
    for target, held in calibration.held[calibration.main].items():
        if "all" not in held:
            said.append(f"{target}: no test sample states it, so nobody knows what its calibration is worth.")
            continue
        said.append(_judge_coverage(target, held["all"], calibration))
        if held["all"].gain is not None:
            said.append(_judge_temperature(target, held["all"], calibration))
    few = [
        subset
        for held in calibration.held[calibration.main].values()
        for subset, of in held.items()
        if subset != "all" and not of.own
    ]
    if few:
        names = ", ".join(dict.fromkeys(few))
        said.append(
            f"* Of samples with {names} alone the calibration has too few groups: their sets are those of all samples, "
            "and hold on average over all, not for them."
        )
    untold = [
        subset
        for held in calibration.held[calibration.main].values()
        for subset, of in held.items()
        if subset != "all" and calibration.tells(held["all"]) and not calibration.tells(of)
    ]
    if untold:
        names = ", ".join(dict.fromkeys(untold))
        said.append(
            f"Fewer than {calibration.told_from} test groups have samples with {names} alone, "
            f"{TOO_FEW} how often their sets hold the truth."
        )
    if calibration.unfamiliar:
        shares = ", ".join(f"{100 * (of.value or 0):.1f} % by {name}" for name, of in calibration.unfamiliar.items())
        chance = 100 / (calibration.aside.groups + 1)
        said.append(
            f"Unlike the training, farther than every sample of the calibration, are {shares} of the test samples; "
            f"of groups like its own at most {chance:.0f} % are by chance."
        )
    low, high = calibration.expected.limits or (0.0, 1.0)
    said.append(
        f"Learned on {calibration.describe_origin()}. A calibration on so many groups covers between {100 * low:.0f} "
        f"and {100 * high:.0f} % in nine of ten cases, if each group has "
        "one sample; more samples of a group narrow that."
    )
    return [*said, *calibration.notes]


def _judge_coverage(target: str, of: Held, calibration: Calibration) -> str:
    level = calibration.level
    what, share = "sets" if of.nll else "intervals", 100 * (of.coverage.value or 0)
    if not calibration.tells(of):
        return (
            f"{target}: the test part has {of.groups} groups, {TOO_FEW} how often {what} of {100 * level:g} % hold it."
        )
    said = f"{target}: {what} of {100 * level:g} % hold {share:.1f} % of the truth in new groups"
    if of.coverage.high is not None and of.coverage.high < level:
        return f"{said}: less than they say. The test groups differ from its own; do not rely on the level."
    return f"{said}."


def _judge_temperature(target: str, of: Held, calibration: Calibration) -> str:
    nll, gain = of.nll or [0.0, 0.0], of.gain
    said = f"{target}: temperature takes the negative log-likelihood from {nll[0]:.3f} to {nll[1]:.3f}"
    if gain is None or not calibration.tells(of):
        return f"{said}; {TOO_FEW}."
    return f"{said}, {'within' if not has_interval(gain) or holds_zero(gain) else 'beyond'} noise."


def _percent(figure: Figure) -> str:
    value = f"{100 * (figure.value or 0):.1f}"
    if not has_interval(figure):
        return value
    return f"{value} [{100 * (figure.low or 0):.1f}, {100 * (figure.high or 0):.1f}]"


def headings_of(kind: TargetKind) -> list[str]:
    """Returns the headings of `rows_of`; the width of an interval is in the unit of the target."""
    first = ["modalities", "samples", "groups", "covered %"]
    more = {"classes": ["size", "NLL", "ECE %"], "labels": ["size", "NLL"], "numbers": ["width"]}
    return [*first, *more[kind]]
