"""Diagnoses of several folds and seeds to one, whose intervals are over folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.errors import RunError
from fusionkit.evaluation.diagnosis.diagnosis import OF_FEW_GROUPS
from fusionkit.evaluation.statistics import estimate_mean
from fusionkit.storage.files import guard_write
from fusionkit.storage.records.diagnosis import Diagnosis
from fusionkit.storage.records.document import save_document
from fusionkit.storage.run_folder import RunFolder

KEPT = ("format", "modalities", "commit", "device", "platform", "command", "versions", "time")
MOST_NAMED = 3
FIGURE = {"value", "low", "high"}
MERGED = ("selection", "notes", "gradients", "cost", "targets")


def merge(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """Returns the mean of diagnoses of one recipe; of a single one, itself.

    A figure becomes the mean over folds of the mean over seeds, with Student's interval over folds; of one fold it has
    no interval, unless there is one run. Counts add up. Text that differs becomes None, lists are joined. What some
    runs lack is left out. ``each`` says of every run whether fusing helped. A note says in which options the recipes
    differ, as those of a comparison do, which tunes every fold by itself.

    Raises:
        RunError: The runs are of other components or data, or one stands there twice.
    """
    if len(diagnoses) == 1:
        return diagnoses[0]
    _check_belong_together(diagnoses)
    plain = [each.plain() for each in diagnoses]  # figures are merged wherever they stand
    folds, first = [each["protocol"]["fold"] for each in plain], plain[0]
    merged = {key: _merged([each[key] for each in plain], folds) for key in MERGED}
    notes = [note for note in merged.pop("notes") if note != OF_FEW_GROUPS]  # these intervals are over folds
    if differing := check_recipes({each["run"]: each["recipe"] for each in plain}):
        notes.append(
            f"The runs differ in {', '.join(differing)}, as those of a comparison do that tunes every fold: figures "
            "are means over these settings. The recipe below is that of the first run."
        )
    document = {
        **{key: first[key] for key in KEPT},
        "each": [
            {
                "run": each["run"],
                "fold": each["protocol"]["fold"],
                "seed": each["seed"],
                "fusing": {target: of["fusing"] for target, of in each["targets"].items()},
            }
            for each in plain
        ],
        "alone": _merged([each["alone"] for each in plain], folds),
        "protocol": {
            "folds": list(dict.fromkeys(folds)),
            "label": _merged([each["protocol"]["label"] for each in plain], folds),
        },
        "recipe": first["recipe"],
        **merged,
        "notes": notes,
    }
    return Diagnosis.model_validate(document)


def check_recipes(recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Finds the options in which recipes differ, fold and seed apart.

    Args:
        recipes: By run, its recipe as plain data.

    Raises:
        RunError: They differ in more than values of options: in data, modalities, targets or components.

    Example:
        >>> recipe = {"data": {}, "model": {"dropout": 0.1}, "train": {"seed": 0}}
        >>> check_recipes({"a": recipe, "b": recipe | {"model": {"dropout": 0.2}, "train": {"seed": 1}}})
        ['model.dropout']
    """
    first, *others = recipes
    own, found = _leaves(recipes[first]), dict[str, None]()
    for other in others:
        theirs = _leaves(recipes[other])
        different = [key for key in dict.fromkeys([*own, *theirs]) if own.get(key, ...) != theirs.get(key, ...)]
        kinds = [key for key in different if key not in own or key not in theirs or _is_of_kind(key)]
        if kinds:
            raise RunError(
                f"{other}: is of another recipe than {first} (other {', '.join(kinds[:MOST_NAMED])}); runs that are "
                f"diagnosed together differ in data.fold, train.seed and values of options alone{_advise(recipes)}"
            )
        found |= dict.fromkeys(different)
    return list(found)


def _advise(runs: Iterable[str]) -> str:
    """Says what to name instead of an experiment's folder: the runs of one variant."""
    homes = [Path(run).parents for run in runs]
    variants = dict.fromkeys(str(above[1]) for above in homes if len(above) > 2 and above[2].name == "runs")
    return f"; name the runs of one variant: {' or '.join(list(variants)[:MOST_NAMED])}" if variants else ""


def write_merged(folder: Path, diagnosis: Diagnosis) -> Path:
    """Writes ``diagnosis.json`` into a folder that is not the diagnosed run's own, and returns its path.

    Raises:
        RunError: It cannot be written.
    """
    run = RunFolder(folder)
    guard_write(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
    save_document(run.diagnosis_file, diagnosis)
    return run.diagnosis_file


def _merged(values: Sequence[Any], folds: Sequence[str]) -> Any:
    first = values[0]
    if any(type(value) is not type(first) for value in values):
        return None
    if isinstance(first, Mapping):
        if first.keys() == FIGURE and not isinstance(first["value"], Mapping):  # classes may have these names
            return _mean(values, folds)
        return {key: _merged([each[key] for each in values], folds) for key in first if all(key in v for v in values)}
    if isinstance(first, list):
        return list(dict.fromkeys(item for value in values for item in value))
    if isinstance(first, int) and not isinstance(first, bool):
        return sum(values)
    return first if all(value == first for value in values) else None


def _mean(figures: Sequence[Mapping[str, float | None]], folds: Sequence[str]) -> dict[str, float | None]:
    by_fold: dict[str, list[float]] = {}
    for of, fold in zip(figures, folds, strict=True):
        if of["value"] is not None:
            by_fold.setdefault(fold, []).append(of["value"])
    if not by_fold:
        return {"value": None, "low": None, "high": None}
    interval = estimate_mean([sum(of) / len(of) for of in by_fold.values()])
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def _check_belong_together(diagnoses: Sequence[Diagnosis]) -> None:
    seen: dict[tuple[str | None, int | None], str | None] = {}
    for each in diagnoses:
        key = (each.protocol.split_hash, each.seed)
        if key in seen:
            raise RunError(
                f"{each.run}: is of the same fold and seed as {seen[key]}; give runs of one variant, each once"
            )
        seen[key] = each.run


def _is_of_kind(key: str) -> bool:
    return key.startswith("data.") or key.rpartition(".")[2] == "type"


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    """Returns every value of a recipe that is no mapping by its dotted place, but for fold and seed."""
    if not isinstance(value, Mapping):
        return {} if place in ("data.fold", "train.seed") else {place: value}
    return {
        key: of
        for name, each in value.items()
        for key, of in _leaves(each, f"{place}.{name}" if place else str(name)).items()
    }
