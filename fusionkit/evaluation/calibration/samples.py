"""The samples of a calibration: groups that the training set aside, or those of a labelled table."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.data.assembly import Assembly
from fusionkit.data.duplicates import find_copies
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import make_sort_key
from fusionkit.errors import RunError
from fusionkit.evaluation.card import assemble_run, require_same_data
from fusionkit.evaluation.new_data import find_groups, name_some, open_table
from fusionkit.inference.calibration.conformal import count_needed_groups
from fusionkit.interfaces import Dataset, Split
from fusionkit.storage.records.calibration import CalibrationTable
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class CalibrationSamples:
    """The samples that a calibration is learned on, and those that show what it is worth.

    Args:
        learned: The recipe and the data of the samples that it is learned on.
        learned_ids: These samples.
        known: The recipe and the data of the training; None where they are not here.
        test_ids: Samples of the test part, of groups that it is not learned on.
        table: The table that it is learned on; None for groups of the training part.
        notes: What a reader must know of them.
    """

    learned: Assembly
    learned_ids: tuple[str, ...]
    known: Assembly | None
    test_ids: tuple[str, ...]
    table: CalibrationTable | None = None
    notes: tuple[str, ...] = ()


def take_inner_groups(run: RunFolder, level: float, datasets: Datasets | None = None) -> CalibrationSamples:
    """Takes the groups that a training set aside, which trained no weight.

    Args:
        run: The run.
        level: The level that they shall be enough for.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: It set none aside, or too few for the level, groups stand on both sides of the split, or its data have
            changed.
    """
    recipe = run.recipe
    if recipe.train.select != "inner":
        why = {
            "last": "set no groups aside (train.select: last)",
            "best": "selected its epoch on the test part (train.select: best)",
        }[recipe.train.select]
        remedy = "calibrate it on other samples with --data, or train it with train.select=inner"
        raise RunError(f"{run.path}: {why}, so that there is nothing to learn a calibration on; {remedy}")
    assembly = assemble_run(run, datasets)
    require_same_data(run, assembly)
    if assembly.overlap_label.endswith("-dependent"):
        message = f"its split is {assembly.overlap_label}: groups of the test part, or their files, were trained on"
        remedy = "coverage of new groups cannot be measured on it; train on a split without allow_group_overlap"
        raise RunError(f"{run.path}: {message}; {remedy}")
    _require_inner_groups(run, assembly, level)
    return CalibrationSamples(
        assembly,
        assembly.validation_ids,
        assembly,
        assembly.test_ids,
        notes=("The epoch was selected on the same samples that the calibration was learned on.",),
    )


def take_table(
    run: RunFolder, table: Path, level: float, *, group: str | None = None, root: Path | None = None
) -> CalibrationSamples:
    """Takes a labelled table, of groups that the training did not see.

    Args:
        run: The run.
        table: The table, with the columns of the training's.
        level: The level that its groups shall be enough for.
        group: Its column of groups; that of the training when left out.
        root: The folder that relative paths start from; that of the table when left out.

    Raises:
        RunError: Its groups or files were trained on, samples lack the group, or its groups are too few for the level.
        DataError: The table or its files are wrong, or it states no target of the network.
    """
    new = open_table(run, table, group=group, root=root)
    dataset, known, ids = new.assembly.dataset, new.known, new.assembly.test_ids
    _require_stated_groups(table, dataset)
    found = _count_groups(dataset, ids)
    needed, kind = count_needed_groups(level), _name_groups(new.assembly)
    if found < needed:
        remedies = [*_list_levels(found), f"bring more {kind}"]
        raise RunError(f"{table}: has {found} {kind}, and level {level:g} needs {needed}; {', or '.join(remedies)}")
    about = CalibrationTable(
        name=table.name, sha256=hashlib.sha256(table.read_bytes()).hexdigest(), compared=known is not None
    )
    if known is None:
        note = (
            f"The data of the training are not here. Whether any {kind} of {table.name} were trained on is not known, "
            "and how often sets and intervals hold the truth was not measured."
        )
        return CalibrationSamples(new.assembly, ids, None, (), about, (note,))
    _refuse_known(table, dataset, known)
    test_ids, notes = _leave_out(known, find_groups(dataset, ids), table)
    return CalibrationSamples(new.assembly, ids, known, test_ids, about, notes)


def _require_inner_groups(run: RunFolder, assembly: Assembly, level: float) -> None:
    """Refuses a part set aside that is of too few groups for a level."""
    found, trained = (_count_groups(assembly.dataset, ids) for ids in (assembly.validation_ids, assembly.train_ids))
    needed, kind = count_needed_groups(level), _name_groups(assembly)
    if found >= needed:
        return
    remedies = _list_levels(found)
    if needed < found + trained:
        share = math.ceil(100 * needed / (found + trained)) / 100
        remedies.append(f"train with train.inner_fraction={share:g}, which sets {needed} of {found + trained} aside")
    else:
        remedies.append(f"bring more {kind}: there are {found + trained} to train on and to set aside")
    message = f"{found} {kind} were set aside, and level {level:g} needs {needed}"
    raise RunError(f"{run.path}: {message}; {', or '.join(remedies)}")


def _require_stated_groups(table: Path, dataset: Dataset) -> None:
    """Refuses samples without a group where a column states it: each would count as a group of its own."""
    lacking = [row.id for row in dataset.rows if row.group is None]
    if lacking and dataset.columns.group is not None:
        message = f"{len(lacking)} of {len(dataset.rows)} samples have no {dataset.group_name}"
        raise RunError(f"{table}: {message}: {name_some(lacking)}; fill the column in, or leave them out")


def _refuse_known(table: Path, dataset: Dataset, known: Assembly) -> None:
    """Refuses a table with groups, or with files, of the training part."""
    trained, own = find_groups(known.dataset, known.split.train), find_groups(dataset, _list_ids(dataset))
    if both := sorted(trained & own, key=make_sort_key):
        message = f"{len(both)} of its {len(own)} groups were trained on: {name_some(both)}"
        raise RunError(f"{table}: {message}; leave their samples out")
    files = {f"old {name}": of for name, of in known.dataset.sources.items()}
    files |= {f"new {name}": of for name, of in dataset.sources.items()}
    sides = (tuple(f"old {name}" for name in known.split.train), tuple(f"new {name}" for name in _list_ids(dataset)))
    if copies := find_copies(Split("", *sides), files):
        named = name_some([path.name for _, _, _, path in copies])
        raise RunError(f"{table}: {len(copies)} of its files were trained on: {named}; leave their samples out")


def _leave_out(known: Assembly, groups: set[str], table: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the test samples whose groups a table does not hold, and what a reader must know of them."""
    if known.overlap_label.endswith("-dependent"):
        return (), (
            f"The split of the training is {known.overlap_label}: how often sets and intervals hold the truth in new "
            "groups was not measured.",
        )
    group_of = {row.id: row.group for row in known.dataset.rows}
    kept = tuple(name for name in known.test_ids if group_of[name] not in groups)
    notes = []
    if kept != known.test_ids:
        gone = find_groups(known.dataset, known.test_ids) & groups
        notes.append(f"{len(gone)} groups of the test part are in {table.name}, and were not measured on.")
    if known.recipe.train.select == "best":
        notes.append("The epoch was selected on the test part, on which coverage was measured.")
    return kept, tuple(notes)


def _list_ids(dataset: Dataset) -> list[str]:
    return [row.id for row in dataset.rows]


def _count_groups(dataset: Dataset, ids: Sequence[str]) -> int:
    """Counts groups; a sample without one counts as one."""
    rows = {row.id: row for row in dataset.rows}
    return len({rows[name].group or name for name in ids})


def _name_groups(assembly: Assembly) -> str:
    return "groups" if any(row.group is not None for row in assembly.dataset.rows) else "samples"


def _list_levels(groups: int) -> list[str]:
    return [f"give --level {math.floor(100 * groups / (groups + 1)) / 100:g} or less"] if groups else []
