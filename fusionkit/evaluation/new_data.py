"""A finished run on a labelled table that its training did not know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusionkit.config.components.specs import DatasetSpec
from fusionkit.config.schema import DataSpec, PrepareSpec
from fusionkit.data.assembly import Assembly, assemble, build_heads
from fusionkit.data.films.preparation import prepare
from fusionkit.data.loading.samples import check_targets, encode_targets
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_split, make_sort_key
from fusionkit.errors import DataError, RecipeError
from fusionkit.evaluation.bootstrap import RESAMPLES
from fusionkit.evaluation.card import describe_run
from fusionkit.evaluation.predictions import Predictions
from fusionkit.inference.trained import find_inputs
from fusionkit.interfaces import Dataset, Split
from fusionkit.storage.records.card import Card, CardProtocol
from fusionkit.storage.records.inputs import Inputs
from fusionkit.storage.run_folder import RunFolder

UNKNOWN_OVERLAP = "overlap with the training not known"
"""The label of samples of which nobody can tell whether they were trained on."""

_NAMED = 5


def evaluate_on(
    run: RunFolder,
    table: Path,
    *,
    group: str | None = None,
    root: Path | None = None,
    device: str | None = None,
    resamples: int = RESAMPLES,
) -> tuple[Card, Predictions]:
    """Evaluates a finished run on all samples of a labelled table, without touching its folder.

    The table has the columns of the training's: those of the modalities, targets and groups. Its samples may be of
    people, pumps or days that the training saw; where the data of the training are there, the card says so, and where
    they are not, that nobody knows. Only there it has the constant answer.

    Args:
        run: The run.
        table: The table.
        group: The column of groups; that of the training when left out.
        root: The folder that relative paths start from; that of the table when left out.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of the bootstrap intervals.

    Raises:
        RunError: The run has not finished, or its weights are damaged or of another network.
        DataError: The table or its files are wrong, or it states no target of the network.
    """
    new = open_table(run, table, group=group, root=root)
    dataset, known = new.assembly.dataset, new.known
    label, note = _compare_groups(dataset, known)
    split = new.assembly.split
    protocol = CardProtocol(
        folds={},
        fold=table.name,
        split_hash=hash_split(split),
        label=f"new data ({label})",
        train=0,
        validation=0,
        test=len(split.test),
        test_groups=sorted({row.group for row in dataset.rows if row.group is not None}, key=make_sort_key),
        new_data=True,
    )
    trained_on = {} if known is None else known.training_targets
    notes = [*dataset.cautions, note]
    assembly = replace(new.assembly, overlap_label=label)
    return describe_run(run, assembly, protocol, notes=notes, trained_on=trained_on, device=device, resamples=resamples)


@dataclass(frozen=True)
class NewTable:
    """A labelled table as a network reads it, and the data that the network was trained on.

    Args:
        assembly: The recipe with the table as its data; all samples are its test part.
        known: The recipe and the data of the training; None where they are not here.
    """

    assembly: Assembly
    known: Assembly | None


def open_table(run: RunFolder, table: Path, *, group: str | None = None, root: Path | None = None) -> NewTable:
    """Opens a labelled table that a finished run did not know, with the columns of the training's.

    Args:
        run: The run.
        table: The table.
        group: The column of groups; that of the training when left out.
        root: The folder that relative paths start from; that of the table when left out.

    Raises:
        DataError: The table or its files are wrong, or it states no target of the network.
    """
    inputs = find_inputs(run)
    data = DataSpec(
        dataset=DatasetSpec(type="manifest", **_describe_table(run, inputs, table, group, root)),
        prepare=run.recipe.data.prepare if inputs.films else None,
        batch_size=run.recipe.data.batch_size,
        budget=run.recipe.data.budget,
        workers=run.recipe.data.workers,
    )
    dataset = _open(data)
    recipe = run.recipe.model_copy(update={"data": data})
    heads = build_heads(recipe)
    encoders = {name: head.encode for name, head in heads.items()}
    encode_targets(dataset.rows, encoders)
    check_targets(dataset.rows, heads, dataset.origins)
    split = Split(table.name, (), tuple(row.id for row in dataset.rows))
    assembly = Assembly(recipe, dataset, split, UNKNOWN_OVERLAP, (), (), split.test, encoders)
    return NewTable(assembly, _assemble_training(run))


def _describe_table(
    run: RunFolder, inputs: Inputs, table: Path, group: str | None, root: Path | None
) -> dict[str, object]:
    """Describes a table as the options of a manifest."""
    columns = {name: inputs.targets.get(name, [name]) for name in run.recipe.model.targets}
    options: dict[str, object] = {
        "path": str(table),
        "targets": {name: of[0] if len(of) == 1 else of for name, of in columns.items()},
        "group": group or inputs.group,
        "id": inputs.id,
        "root": None if root is None else str(root),
        "missing": inputs.missing,
    }
    if inputs.films:
        return options | {"film": inputs.film, "sound": inputs.sound}
    rates = {round(of.rate) for of in inputs.modalities.values() if of.rate is not None and not of.shape}
    return options | {
        "modalities": {
            name: {"column": of.columns, "fill": of.fill}
            if of.of_numbers
            else {"column": of.columns[0], "rate": of.rate, "tensor": of.tensor}
            for name, of in inputs.modalities.items()
        },
        "sample_rate": rates.pop() if len(rates) == 1 else None,
    }


def _open(data: DataSpec) -> Dataset:
    datasets = Datasets()
    source = datasets.source(data)
    if source.clips:
        prepare(source, data.prepare or PrepareSpec(), kind=data.dataset.type)
    return datasets.open(data)


def _assemble_training(run: RunFolder) -> Assembly | None:
    """Opens the data of the training; None where they are not here."""
    try:
        return assemble(run.recipe)
    except (DataError, RecipeError):
        return None


def _compare_groups(dataset: Dataset, known: Assembly | None) -> tuple[str, str]:
    """Says whether groups of new samples were trained on, as a label and as a sentence."""
    if known is None:
        return UNKNOWN_OVERLAP, (
            "The data of the training are not here: whether any of these samples, or groups, were trained on is not "
            "known, and there is no constant answer to compare with."
        )
    groups = find_groups(known.dataset, known.split.train)
    own = {row.group for row in dataset.rows if row.group is not None}
    if not groups or not own:
        return "no groups", "Groups are not stated on both sides: samples of one recording may have been trained on."
    name = known.dataset.group_name
    if both := sorted(groups & own, key=make_sort_key):
        return f"{name}-dependent", f"{len(both)} of {len(own)} groups were trained on: {name_some(both)}."
    return f"{name}-independent", f"None of these {len(own)} groups was trained on."


def find_groups(dataset: Dataset, ids: Iterable[str]) -> set[str]:
    """Finds the groups that some samples state."""
    chosen = set(ids)
    return {row.group for row in dataset.rows if row.id in chosen and row.group is not None}


def name_some(names: Sequence[str]) -> str:
    """Names the first of many things, and counts the others.

    Example:
        >>> name_some(["p1", "p2", "p3", "p4", "p5", "p6"])
        'p1, p2, p3, p4, p5 and 1 more'
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
