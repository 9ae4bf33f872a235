"""The columns that are neither inputs nor targets: groups, names of samples, parts; and the folds that follow."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fusionkit.errors import Problem, suggest_names
from fusionkit.experiments.drafts.columns import Column
from fusionkit.experiments.drafts.vocabulary import GROUPS, IDS, PARTS, TIMES

_LEAST_PER_GROUP = 2
_MANY_ROWS = 20_000
_FEW_GROUPS, _FOLDS = 5, 5
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Roles:
    """The columns with a role of their own.

    Args:
        group: The column of the group.
        id: The column of unique names.
        part: The column of train and test.
        others: Columns that are no inputs, and why not.
        remarks: What was assumed, in sentences.
    """

    group: Column | None
    id: Column | None
    part: Column | None
    others: dict[str, str]
    remarks: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that have a role."""
        return tuple(column.name for column in (self.group, self.id, self.part) if column is not None)


@dataclass(frozen=True)
class Protocol:
    """The division of samples.

    Args:
        folds: The component of the recipe.
        comment: Why, and what else there is.
        share: The share of samples that a fold trains on.
    """

    folds: Mapping[str, Any] | str
    comment: str
    share: float


def find_roles(
    columns: Sequence[Column], taken: Collection[str], asked_group: str | None, problems: list[Problem]
) -> Roles:
    """Finds group, names and parts among the columns that are no targets.

    Args:
        columns: The columns of the table.
        taken: Names of targets and of columns that give them away.
        asked_group: The column of the group that the user names.
        problems: Receives that no column is called so, or that a group is named that is none.
    """
    free = [column for column in columns if column.name not in taken and column.kind not in ("empty", "files")]
    group, remarks = _find_group(columns, free, asked_group, problems)
    free = [column for column in free if column is not group]
    part, part_remark = _find_part(free, group)
    others = {
        column.name: "states parts or folds"
        for column in free
        if column is not part and column.words and column.words[-1] in PARTS and len(column.counts) <= 20
    }
    names = [column for column in free if column.name.lower() in IDS or "id" in column.words]
    id = next((column for column in names if column.is_unique and column is not part), None)
    id = id or _find_names(columns, [column for column in free if column is not part])
    for column in free:
        if column in (id, part) or column.name in others:
            continue
        if column in names:
            twice = "" if column.is_unique else ", some of them in several rows"
            others[column.name] = f"holds names of samples{twice}"
        elif set(GROUPS[:-2]) & set(column.words[:1]) and column.kind == "words":
            others[column.name] = "has another value in every row" if column.is_unique else "names groups too"
        elif column.is_whole and column.is_unique and _is_row_number(column):
            others[column.name] = "counts the rows"
        elif TIMES & set(column.words):
            others[column.name] = "is a time of day or a date"
    if id is not None and id not in names:
        remarks.append(f"Samples are named by column {id.name}: it comes first, and every row has another word there.")
    if part_remark:
        remarks.append(part_remark)
    return Roles(group, id, part, others, tuple(remarks))


def _find_names(columns: Sequence[Column], free: Sequence[Column]) -> Column | None:
    """Takes the first column of the table for names where its cells are one word each, and no two the same."""
    first = columns[0]
    if first not in free or first.kind != "words" or not first.is_unique or {*TIMES, *GROUPS} & set(first.words):
        return None
    short = all(name and len(name) <= _LONGEST_NAME and not any(map(str.isspace, name)) for name in first.names)
    return first if short else None


def choose_protocol(roles: Roles, rows: int) -> Protocol:
    """Chooses the folds: parts that the table states, else whole groups, else single rows."""
    if roles.part is not None:
        share = sum(name == "train" for name in roles.part.names) / rows
        return Protocol("given", "The training and the test part are those that the table states.", share)
    if roles.group is not None:
        groups = len(roles.group.counts)
        if groups <= _FEW_GROUPS:
            comment = f"Each of the {groups} groups is tested on once, by networks that have not seen it."
            return Protocol("leave_one_group_out", comment, 1 - 1 / groups)
        comment = (
            "Whole groups are held out. More folds train on more, and take longer; leave_one_group_out is the most."
        )
        return Protocol({"type": "group_kfold", "folds": _FOLDS}, comment, 1 - 1 / _FOLDS)
    if rows >= _MANY_ROWS:
        return Protocol({"type": "holdout", "test": 0.2, "of": "samples"}, "A fifth of the rows is held out.", 0.8)
    folds = min(_FOLDS, rows)
    comment = "Single rows are drawn. Rows of one person or machine need `group` above, and {type: group_kfold} here."
    return Protocol({"type": "random_kfold", "folds": folds}, comment, 1 - 1 / folds)


def _find_group(
    columns: Sequence[Column], free: Sequence[Column], asked: str | None, problems: list[Problem]
) -> tuple[Column | None, list[str]]:
    if asked is not None:
        named = {column.name: column for column in columns}
        if asked not in named:
            problems.append(Problem("--group", f"no column {asked!r}", suggest_names(asked, named)))
            return None, []
        if named[asked] not in free or len(named[asked].counts) < 2:
            message = f"column {asked!r} does not tell groups apart"
            problems.append(Problem("--group", message, "a group's name stands in several rows, and there are several"))
            return None, []
        return named[asked], [f"Groups are those of column {asked}: none stands on both sides of a split."]
    return _recognise_group(free)


def _recognise_group(free: Sequence[Column]) -> tuple[Column | None, list[str]]:
    repeated = [column for column in free if 1 < len(column.counts) <= len(column.stated) / _LEAST_PER_GROUP]
    repeated = [
        column
        for column in repeated
        if (column.kind == "words" or column.is_whole) and not (PARTS & set(column.words[-1:]))
    ]
    for word in GROUPS:
        for column in repeated:
            if word in column.words[:1] or (word in column.words and "id" in column.words):
                return column, [_say_group(column, "by its name")]
    for column in repeated:
        if len(column.counts) > 2 and ("id" in column.words or _is_code(column)):
            return column, [_say_group(column, "for its values are codes that stand in several rows each")]
        if len(column.counts) > 2 and column.kind == "words" and _is_in_blocks(column):
            return column, [_say_group(column, "for each of its values stands in one block of rows")]
    return None, [
        "No column names groups. If several rows come from one person or machine, name its column: --group COLUMN. "
        "Figures are too good where one person stands on both sides of a split."
    ]


def _say_group(column: Column, why: str) -> str:
    return (
        f"Groups are those of column {column.name} ({len(column.counts)}), {why}: none stands on both sides of a "
        "split. Another: --group COLUMN."
    )


def _is_code(column: Column) -> bool:
    """Tells whether its values are codes of one kind, such as s01, s02."""
    found = [re.fullmatch(r"([A-Za-z]+)[-_ ]?[0-9]+", str(cell)) for cell in column.stated]
    return all(found) and len({match[1] for match in found if match}) == 1


def _is_in_blocks(column: Column) -> bool:
    runs = sum(1 for before, now in zip([None, *column.names], column.names, strict=False) if before != now)
    return None not in column.names and runs == len(column.counts)


def _is_row_number(column: Column) -> bool:
    numbers = column.numbers
    return numbers[0] in (0, 1) and all(later - earlier == 1 for earlier, later in pairwise(numbers))


def _find_part(free: Sequence[Column], group: Column | None) -> tuple[Column | None, str]:
    for column in free:
        if not (PARTS & set(column.words)) or column.kind != "words":
            continue
        values = set(column.counts)
        if values == {"train", "test"} and None not in column.names:
            shared = _find_shared(column, group)
            if shared:
                return None, (
                    f"Column {column.name} states train and test, but {shared} stands in both; folds keep groups apart "
                    "instead."
                )
            return column, f"Column {column.name} states the training and the test part: they are taken as they are."
        if "train" in {value.lower() for value in values}:
            return None, (
                f"Column {column.name} holds {', '.join(sorted(values))}. Only train and test, in every row, are "
                "understood, so folds are drawn instead."
            )
    return None, ""


def _find_shared(part: Column, group: Column | None) -> str:
    if group is None:
        return ""
    sides: dict[str, set[str | None]] = {}
    for name, side in zip(group.names, part.names, strict=True):
        if name is not None:
            sides.setdefault(name, set()).add(side)
    return next((name for name, both in sides.items() if len(both) > 1), "")
