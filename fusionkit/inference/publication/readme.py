"""The README of a shared network: what it is, what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusionkit.config.yaml import write_yaml
from fusionkit.data.recordings.vectors import describe_vector
from fusionkit.inference.branches import CONSTANT
from fusionkit.interfaces import Metric
from fusionkit.storage.records.calibration import Calibration
from fusionkit.storage.records.card import Card, CardTarget
from fusionkit.storage.records.document import Figure
from fusionkit.storage.records.inputs import InputModality, Inputs

TO_FILL_IN = "*to be filled in by the author*"
"""The mark of a fact that only the author knows."""

_TABLE = "manifest"
"""The dataset that is anybody's table, whose name tells a recipient nothing."""


@dataclass(frozen=True)
class Shared:
    """The facts that a README is written from.

    Args:
        recipe: The recipe as plain data, without paths.
        inputs: What the network is given.
        branch: The branch that answers.
        cards: The cards of the networks that were evaluated.
        calibration: The calibration, if there is one.
        networks: How many networks answer together.
    """

    recipe: dict[str, Any]
    inputs: Inputs
    branch: str
    cards: Sequence[Card]
    calibration: Calibration | None
    networks: int


def write_readme(shared: Shared) -> str:
    """Writes the README, with the metadata of a model hub above it."""
    parts = [
        f"---\n{write_yaml(_describe_metadata(shared))}# license: choose one, such as mit or cc-by-nc-4.0\n---",
        f"# {_name(shared)}",
        _introduce(shared),
        "## Use\n\n```python\nimport fusionkit\n\n"
        'predictor = fusionkit.load("hf://OWNER/NAME@REVISION")  # or the path of this folder\n'
        f"predictor.predict({{{', '.join(f'{chr(34)}{name}{chr(34)}: ...' for name in shared.inputs.modalities)}}})\n"
        f"```\n\nA modality that is left out is missing, which the network allows. {_describe_code(shared)}",
        _describe_inputs(shared),
        _describe_data(shared),
        _describe_figures(shared),
        *([_describe_calibration(shared.calibration)] if shared.calibration else []),
        _describe_limits(shared),
        f"## Licence\n\n- Weights: {TO_FILL_IN}\n- Data that they were trained on: {TO_FILL_IN}\n- Intended use, and "
        f"uses that are ruled out: {TO_FILL_IN}",
    ]
    return "\n\n".join(parts) + "\n"


def _name(shared: Shared) -> str:
    return f"{' and '.join(shared.recipe['model']['targets'])} from {', '.join(shared.inputs.modalities)}"


def _describe_metadata(shared: Shared) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": "fusionkit",
        "tags": ["fusionkit", "multimodal", *shared.inputs.modalities],
    }
    if len(shared.cards) == 1:
        (card,) = shared.cards
        name = "own data" if _name_data(shared) == _TABLE else _name_data(shared)
        dataset = {"name": name, "type": name}
        results = [
            {
                "task": {"type": "other", "name": target},
                "dataset": dataset,
                "metrics": [{"type": of.score, "value": value, "name": f"{of.score} of {target}"}],
            }
            for target, of in card.targets.items()
            if (value := _find_score(of, shared.branch).value) is not None
        ]
        if results:
            metadata["model-index"] = [{"name": _name(shared), "results": results}]
    return metadata


def _introduce(shared: Shared) -> str:
    model = shared.recipe["model"]
    fusion = model.get("fusion")
    named = fusion.get("type") if isinstance(fusion, dict) else fusion
    together = f" {shared.networks} networks of the same recipe answer together, by their mean." * (shared.networks > 1)
    return (
        f"A network of {len(shared.inputs.modalities)} modalities, fused by `{named}`; its branch `{shared.branch}` "
        f"answers.{together} Trained with [fusionkit](https://pypi.org/project/fusionkit-multimodal/); `recipe.yaml` "
        "is all of it."
    )


def _describe_code(shared: Shared) -> str:
    if plugins := shared.recipe.get("plugins"):
        return (
            f"It needs components of the Python modules {', '.join(plugins)}, which this folder does not hold: install "
            "them, and allow them by name, `fusionkit.load(..., plugins=[...])`."
        )
    return "Nothing in this folder is run: it holds no pickle and no Python."


def _describe_inputs(shared: Shared) -> str:
    rows = ["## Inputs and targets", "", "| modality | one element | per second |", "| --- | --- | --- |"]
    for name, of in shared.inputs.modalities.items():
        rate = "-" if of.rate is None else f"{of.rate:g}"
        element = describe_vector(of) if of.of_numbers else " x ".join(map(str, of.shape)) or "one number"
        rows.append(f"| {name} | {element} | {rate} |")
    rows += ["", *_describe_vectors(shared.inputs)]
    for name, target in shared.recipe["model"]["targets"].items():
        classes = target.get("classes") if isinstance(target, dict) else None
        rows.append(f"- {name}: {', '.join(classes) if classes else 'numbers'}")
    return "\n".join(rows)


def _describe_vectors(inputs: Inputs) -> list[str]:
    """Says how vectors of columns of a table are given, and what happens to their empty cells."""
    rows = []
    for name, of in inputs.modalities.items():
        if not of.of_numbers:
            continue
        rows.append(
            f"`{name}` is given as a list of its numbers, in this order, or by their names. {_describe_fill(of)}"
        )
    return [*rows, ""] if rows else []


def _describe_fill(of: InputModality) -> str:
    if of.fill is None:
        return "None of them may be empty."
    filled = ", ".join(f"{column} with {fill:g}" for column, fill in zip(of.columns, of.fill, strict=True))
    unmarked = ", ".join(column for column in of.columns if column not in of.marked)
    told = f", but for {unmarked}, which never was in training" if unmarked else ""
    return f"Empty ones are filled ({filled}), and the network is told which were empty{told}."


def _describe_data(shared: Shared) -> str:
    gap = f": {TO_FILL_IN}" if _name_data(shared) == _TABLE else ""
    rows = ["## Data and protocol", "", f"- Data: {_describe_origin(shared)}{gap}"]
    for card in shared.cards:
        protocol = card.protocol
        rows.append(
            f"- Fold {protocol.fold}: {protocol.train} samples trained, {protocol.validation} selected the epoch, "
            f"{protocol.test} of {card.intervals.units} groups were tested; {protocol.label}; epoch: "
            f"{card.selection.label}; seed {card.seed}; hash of the split `{protocol.split_hash}`"
        )
    if not shared.cards:
        rows.append("- It was not evaluated: no figures are known.")
    rows += [f"- {note}" for note in dict.fromkeys(note for card in shared.cards for note in card.notes)]
    return "\n".join(rows)


def _describe_figures(shared: Shared) -> str:
    rows = ["## Figures", ""]
    if not shared.cards:
        return "\n".join([*rows, "None: it was not evaluated."])
    rows += ["| fold | target | branch | metric | value | 95 % interval |", "| --- | --- | --- | --- | --- | --- |"]
    for card in shared.cards:
        for target, of in card.targets.items():
            for branch in of.branches:
                figure, metric = _find_score(of, branch), of.main_metric
                name = "the constant answer" if branch == CONSTANT else branch
                interval = "-" if figure.limits is None else " to ".join(_write(metric, each) for each in figure.limits)
                value = "-" if figure.value is None else _write(metric, figure.value)
                rows.append(f"| {card.protocol.fold} | {target} | {name} | {of.score} | {value} | {interval} |")
    rows += ["", f"Intervals: {shared.cards[0].intervals.method}. `metrics.json` holds all figures."]
    if shared.networks > 1:
        rows.append("Each network was tested on its own fold; nobody measured their common answer.")
    return "\n".join(rows)


def _describe_calibration(calibration: Calibration) -> str:
    rows = [
        "## Calibration",
        "",
        f"Sets and intervals of level {calibration.level:g}, learned on {calibration.describe_origin()}, and how often "
        "they held the truth on the test part:",
        "",
        "| target | modalities | samples | groups | covered | size |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for target, held in calibration.held.get(calibration.main, {}).items():
        for subset, of in held.items():
            covered = "-" if of.coverage.value is None else f"{100 * of.coverage.value:.1f} %"
            if not calibration.tells(of):
                covered = "too few groups to tell"
            elif of.coverage.limits is not None:
                covered += f" ({' to '.join(f'{100 * each:.1f}' for each in of.coverage.limits)})"
            size = ", ".join(f"{each:.3g}" for each in of.size)
            rows.append(f"| {target} | {subset} | {of.samples} | {of.groups} | {covered} | {size} |")
    return "\n".join([*rows, "", *(f"- {note}" for note in calibration.notes)])


def _describe_limits(shared: Shared) -> str:
    rows = [
        "## What it was not tested on",
        "",
        f"- Other people, devices or places than those of {_describe_origin(shared)}.",
    ]
    if not shared.cards:
        rows = ["## What it was not tested on", "", "- Anything: it was not evaluated."]
    for card in shared.cards:
        if card.protocol.label.endswith("-dependent"):
            rows.append(f"- New groups: fold {card.protocol.fold} tested groups that were trained on.")
        if card.protocol.label == "no groups":
            rows.append("- New people, machines or days: the samples name no groups.")
    if shared.calibration is None:
        rows.append("- The honesty of its probabilities: it is not calibrated.")
    else:
        held = shared.calibration.held.get(shared.branch, {}).values()
        told = [name for by in held for name, of in by.items() if name != "all" and shared.calibration.tells(of)]
        rows.append(f"- Calibration on other modalities than: {', '.join(dict.fromkeys(told)) or 'none'}.")
    return "\n".join(rows)


def _describe_origin(shared: Shared) -> str:
    return "a table of the author's own" if _name_data(shared) == _TABLE else f"`{_name_data(shared)}`"


def _name_data(shared: Shared) -> str:
    return str(shared.recipe["data"]["dataset"]["type"])


def _find_score(target: CardTarget, branch: str) -> Figure:
    of = target.branches.get(branch)
    found = None if of is None else of.metrics.get(target.score)
    return Figure(value=None, low=None, high=None) if found is None else found


def _write(metric: Metric, value: float) -> str:
    return f"{100 * value:.1f} %" if metric.share else f"{value:.3g}"
