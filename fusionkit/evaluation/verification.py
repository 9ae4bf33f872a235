"""The verification of a card's figures and predictions: the stored weights are evaluated again."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.config.validation import find_value
from fusionkit.errors import RunError
from fusionkit.evaluation.bootstrap import RESAMPLES
from fusionkit.evaluation.card import OtherDataError, make_card
from fusionkit.evaluation.predictions import Predictions
from fusionkit.inference.branches import CONSTANT, ENSEMBLE_LOG
from fusionkit.interfaces import LOSS
from fusionkit.storage.files import read_json
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.document import EARLIER, check_format
from fusionkit.storage.run_folder import RunFolder

TOLERANCE = 1e-5
LARGEST = 1e300
"""Larger whole numbers of a card have no difference from a figure; they are compared as they stand."""

CHECKED = (
    "recipe_sha256",
    "weights_sha256",
    "protocol",
    "selection",
    "seed",
    "recipe",
    "training",
    "intervals",
    "targets",
)
"""Keys of a card whose statements follow from the run folder and its data."""


@dataclass(frozen=True)
class Finding:
    """One statement of a card, and what was found instead.

    Args:
        what: Its place in the card.
        stated: What the card says.
        found: What the evaluation gives.
        holds: Whether the two agree.
    """

    what: str
    stated: Any
    found: Any
    holds: bool


@dataclass(frozen=True)
class Verification:
    """Every statement of a card, and all predictions, that were checked.

    Args:
        card: The card.
        run: The run folder.
        tolerance: How far two numbers may lie apart and still agree; all else agrees exactly.
        findings: What was checked: hashes first, then figures, predictions last.
    """

    card: Path
    run: Path
    tolerance: float
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """True where every statement holds."""
        return all(finding.holds for finding in self.findings)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The statements that do not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)

    def plain(self) -> dict[str, Any]:
        """Returns the verification as plain data."""
        return {
            "card": str(self.card),
            "run": str(self.run),
            "tolerance": self.tolerance,
            "holds": self.holds,
            "findings": [vars(finding) for finding in self.findings],
        }


def verify(
    card: str | Path, run: str | Path | None = None, *, tolerance: float = TOLERANCE, device: str | None = None
) -> Verification:
    """Evaluates the stored weights of a card again and says which statements hold.

    Checked are all statements about protocol, selection, seed, recipe and training, the hashes, and every figure with
    its interval and its confusion matrix; and the predictions that are stored in the run folder, sample by sample. Only
    what a card says of the evaluation that made it (time, commit, versions and device) cannot be made again. On the
    machine that made the card figures agree to the last bit; another processor or a GPU adds in another order, which
    the tolerance allows for.

    Args:
        card: A ``metrics.json``, or the run folder that holds one.
        run: The run folder; that of the card when left out.
        tolerance: How far two figures may lie apart, absolutely.
        device: Where to compute; a GPU where there is one, when left out.

    Raises:
        RunError: The card or the run cannot be read, or the card is of another format.
    """
    path = Path(card)
    path = RunFolder(path).card_file if os.path.isdir(path) else path
    stated = _read(path)
    folder = RunFolder.open(path.parent if run is None else run)
    check_format(Card, stated, str(path))
    if find_value(stated, ("protocol", "new_data")) is True:
        remedy = "`fusionkit evaluate RUN --data TABLE` makes it again"
        raise RunError(f"{path}: is a card of new data, which no run folder names; {remedy}")
    try:
        found, predictions = make_card(folder, device=device, resamples=_resamples(stated))
    except OtherDataError as error:
        damage = Finding("training.data", find_value(stated, ("training", "data")), str(error), holds=False)
        return Verification(path, folder.path, tolerance, (damage,))
    except RunError as error:
        damage = Finding("weights", stated.get("weights_sha256"), str(error), holds=False)
        return Verification(path, folder.path, tolerance, (damage,))
    said, again = (dict(_statements({key: card.get(key) for key in CHECKED})) for card in (stated, found.plain()))
    if stated["format"] == Card.formats[0]:  # an earlier version made fewer statements; those that it made must hold
        again = {what: value for what, value in again.items() if what in said or _had_to_say(what, stated)}
    findings = [_compare(what, said.get(what), again.get(what), tolerance) for what in {**said, **again}]
    findings += _compare_predictions(folder, predictions, stated["targets"], tolerance)
    return Verification(path, folder.path, tolerance, tuple(findings))


def _compare_predictions(
    run: RunFolder, predictions: Predictions, targets: Mapping[str, Any], tolerance: float
) -> list[Finding]:
    """Compares the predictions of a run folder with those of the evaluation.

    A branch needs no predictions where the card, as one of an older version, says nothing of it.
    """
    tensors, metadata = predictions.tensors(), predictions.metadata()
    try:
        said, about = run.read_predictions()
    except RunError as error:
        return [Finding("predictions", f"{len(tensors)} tensors", str(error), holds=False)]
    findings = [_compare(f"predictions: {name}", about.get(name), text, tolerance) for name, text in metadata.items()]
    unsaid = {
        f"distribution/{target}/{branch}"
        for target in predictions.targets
        for branch in predictions.distributions
        if branch not in _branches(targets, target)
    }
    names = {**said, **{name: tensor for name, tensor in tensors.items() if name not in unsaid}}
    return findings + [_compare_tensors(name, said.get(name), tensors.get(name), tolerance) for name in names]


def _branches(targets: Mapping[str, Any], target: str) -> frozenset[str]:
    branches = find_value(targets, (target, "branches"))
    return frozenset(branches) if isinstance(branches, Mapping) else frozenset()


def _compare_tensors(name: str, stated: Tensor | None, found: Tensor | None, tolerance: float) -> Finding:
    what = f"predictions: {name}"
    if stated is None or found is None or (stated.shape, stated.dtype) != (found.shape, found.dtype):
        told = [None if each is None else f"{each.dtype} of shape {tuple(each.shape)}" for each in (stated, found)]
        return Finding(what, told[0], told[1], holds=False)
    # A number of half precision may be rounded to its neighbour where the computation differs in the last bit.
    relative = 2 * torch.finfo(stated.dtype).eps if stated.dtype == torch.float16 else 0.0
    same = torch.isclose(stated.double(), found.double(), rtol=relative, atol=tolerance, equal_nan=True)
    other = int((~same).sum())
    if not other:
        return Finding(what, "as found", "as stated", holds=True)
    furthest = (stated.double() - found.double()).abs()[~same].nan_to_num(math.inf).max().item()
    said = f"{other} of {stated.numel()} numbers differ, by up to {furthest:.3g}"
    return Finding(what, f"{stated.numel()} numbers", said, holds=False)


def _statements(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields by place whatever a card says there; lists, such as a confusion matrix, are one statement."""
    if not isinstance(value, Mapping) or not value:
        yield place, value
        return
    for key, item in value.items():
        yield from _statements(item, f"{place}.{key}" if place else str(key))


def _had_to_say(what: str, stated: Mapping[str, Any]) -> bool:
    """Tells whether a card of format 1 had to make a statement.

    Such cards state neither the groups of the test part nor kinds and measures of targets. Earlier ones of them have
    neither the constant answer nor the ensemble by logarithms, and no metric that loss heads were given later.
    """
    if what == "protocol.test_groups":
        return False
    if not (match := _OF_TARGET.fullmatch(what)):
        return True
    key, branch, metric = match["key"], match["branch"], match["metric"]
    if key != "branches":
        return key not in ("kind", "measures")
    if branch in (CONSTANT, ENSEMBLE_LOG) and branch not in _branches(stated["targets"], match["target"]):
        return False
    return metric is None or metric in (*EARLIER, LOSS.name)


_OF_TARGET = re.compile(
    r"targets\.(?P<target>\w+)\.(?P<key>\w+)"
    r"(\.(?P<branch>[^.]+)(\.(where\.\w+\.)?metrics\.(?P<metric>[^.]+))?)?(\..*)?"
)
"""The place of a statement about a target; of a branch of it, and a metric of that, where it is about one."""


def _compare(what: str, stated: Any, found: Any, tolerance: float) -> Finding:
    numbers = all(type(value) in (int, float) and abs(value) < LARGEST for value in (stated, found))
    holds = abs(stated - found) <= tolerance if numbers else stated == found or _is_old_label(what, stated, found)
    return Finding(what, stated, found, holds=holds)


def _is_old_label(what: str, stated: Any, found: Any) -> bool:
    """Says whether a card has the label that earlier versions gave, which called every group a speaker."""
    return what == "protocol.label" and "-" in str(found) and stated == f"speaker-{str(found).rpartition('-')[2]}"


def _resamples(card: Mapping[str, Any]) -> int:
    """Returns how many resamples the card's intervals are of, so that they can be made again."""
    intervals = card.get("intervals")
    stated = intervals.get("resamples") if isinstance(intervals, Mapping) else None
    return stated if type(stated) is int and 0 < stated <= 10 * RESAMPLES else RESAMPLES


def _read(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        remedy = "name a run folder that holds one, or the file; `fusionkit train` and `evaluate` write it"
        raise RunError(f"{path}: there is no card; {remedy}")
    card = read_json(path)
    if not isinstance(card.get("targets"), dict):
        raise RunError(f"{path}: is no card; a card is the metrics.json of a run")
    return card
