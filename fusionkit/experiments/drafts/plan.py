"""The plan of a recipe: what the columns of a table are, how samples are divided, which network suits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.tables import Table, read_table
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.experiments.drafts.columns import Column, list_kinds, make_name
from fusionkit.experiments.drafts.dataset import (
    Films,
    choose_rate,
    describe_films,
    find_root,
    write_dataset,
    write_inputs,
    write_marks,
)
from fusionkit.experiments.drafts.inputs import Input, find_files, find_films, group_numbers, set_rates
from fusionkit.experiments.drafts.network import choose_branch, choose_film_branches, choose_schedule, count_numbers
from fusionkit.experiments.drafts.recipe_text import Plan
from fusionkit.experiments.drafts.remarks import say_inputs, say_left_out
from fusionkit.experiments.drafts.roles import choose_protocol, find_roles
from fusionkit.experiments.drafts.targets import (
    DraftTarget,
    describe_target,
    find_leaks,
    find_targets,
    list_named_as_targets,
)
from fusionkit.interfaces.written_numbers import is_number

_FITS_IN_MEMORY = 250_000_000
"""Numbers of all samples, of four bytes each, up to which they are kept in memory."""


_MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Wishes:
    """The words of a user about a table.

    Args:
        targets: The columns that are targets; none to look for them.
        group: The column of the group; None to look for it.
        ignore: Columns that are left out.
        root: The folder that paths in the table start from; None to look for it.
    """

    targets: tuple[str, ...] = ()
    group: str | None = None
    ignore: tuple[str, ...] = ()
    root: str | None = None

    def of_folder(self, folder: str) -> Wishes:
        """Returns the same for the table of a folder, whose files start there."""
        return replace(self, root=folder)


def read_own_table(path: str) -> Table:
    """Reads a table, and refuses what is none though it can be read.

    Raises:
        DataError: It cannot be read, has one row, no names of columns, too many columns, or is not divided into cells.
    """
    table = read_table(path)
    name, problems = table.path.name, list[Problem]()
    if all(is_number(column) for column in table.columns):
        remedy = "write a first line with the name of each column"
        problems.append(Problem(f"{name}, line 1", "holds numbers instead of the names of columns", remedy))
    if len(table.rows) < 2:
        problems.append(Problem(name, "has one row", "training and testing take two at least"))
    if (count := len(table.columns)) > _MOST_COLUMNS:
        # A recipe names each of them, and is read by people.
        remedy = "keep the numbers of a row in an array file (.npy), and its path in a column"
        problems.append(Problem(name, f"has {count:,} columns; a draft takes {_MOST_COLUMNS:,} at most", remedy))
    if problems:
        raise DataError(problems)
    return table


def make_plan(
    source: str, table: Table, wishes: Wishes, remarks: Sequence[str] = (), drafted_from: str | None = None
) -> Plan:
    """Makes the plan of a recipe from a table.

    Args:
        source: The table, as the recipe is to name it.
        table: What it holds.
        wishes: What the user says of it.
        remarks: What was assumed before.
        drafted_from: What the user named; the table when left out.

    Raises:
        DataError: Its files are wrong, its target is not recognised, or there is nothing to learn from; every problem
            is listed.
    """
    problems = [
        Problem("--ignore", f"no column {name!r}", suggest_names(name, table.columns))
        for name in wishes.ignore
        if name not in table.columns
    ]
    columns = [column for column in list_kinds(table) if column.name not in wishes.ignore]
    targets, columns_of = _plan_targets(columns, wishes.targets, problems)
    aims = {column.name for group in columns_of.values() for column in group}
    apart = find_leaks(columns, columns_of)
    roles = find_roles(columns, {*aims, *apart}, wishes.group, problems)
    free = [column for column in columns if column.name not in {*aims, *apart, *roles.others, *roles.named}]
    # What else is called like a target may be known only when the target is.
    apart |= {
        column.name: "is called like a target; list it under modalities to use it"
        for column in list_named_as_targets(free)
    } | roles.others
    free = [column for column in free if column.name not in apart and not column.is_constant]
    root = find_root(free, table.path.parent, wishes.root)
    inputs, films = _plan_inputs(free, table.path.parent if root is None else expand_path(root), problems)
    if not inputs and films is None and not problems:
        reasons = " ".join(say_left_out(columns, apart, {*aims, *roles.named})).rstrip(".")
        said = ". ".join(filter(None, ["no column holds numbers or files that could be inputs", reasons]))
        problems.append(Problem("", said, "give columns of numbers, or of paths of sounds, arrays, images"))
    if problems:
        raise DataError(problems, source=drafted_from or str(table.path))
    inputs, rate_columns = set_rates(inputs, columns)
    rate = choose_rate(inputs)
    options = write_inputs(inputs, films, rate)
    dataset = write_dataset(source, root, options, targets, roles)
    dataset |= write_marks([column for column in columns if column.name not in apart])
    rows = len(table.rows)
    protocol = choose_protocol(roles, rows)
    branches = choose_film_branches(films) if films else [choose_branch(each, rows, rate) for each in inputs]
    inputs_said = say_inputs(inputs, films, rows, rate, dataset)
    left_out = say_left_out(columns, apart, {*aims, *roles.named, *rate_columns})
    return Plan(
        source=drafted_from or source,
        remarks=[*remarks, *(target.remark for target in targets), *roles.remarks, *inputs_said, *left_out],
        dataset=dataset,
        prepare=films.prepare if films else None,
        protocol=protocol,
        branches=branches,
        targets=targets,
        schedule=choose_schedule(max(1, round(rows * protocol.share))),
        cache=not films and sum(map(count_numbers, inputs)) * rows < _FITS_IN_MEMORY,
    )


def _plan_targets(
    columns: Sequence[Column], asked: Sequence[str], problems: list[Problem]
) -> tuple[list[DraftTarget], Mapping[str, Sequence[Column]]]:
    """Plans the targets; returns them, and by target its columns."""
    targets, columns_of = list[DraftTarget](), dict[str, Sequence[Column]]()
    for group in find_targets(columns, asked, problems):
        said = group[0].words[0] if len(group) > 1 else group[0].name
        name = make_name(said, columns_of, "target")
        columns_of[name] = group
        target = describe_target(name, group, problems)
        targets += [target] if target is not None else []
    return targets, columns_of


def _plan_inputs(free: Sequence[Column], root: Path, problems: list[Problem]) -> tuple[list[Input], Films | None]:
    """Plans the modalities: prepared films, or columns of files and of numbers."""
    for column in free:
        if column.kind == "commas":
            comma = next(str(cell) for cell in column.stated if "," in str(cell))
            remedy = "write a decimal point; or leave it out: --ignore"
            message = f"holds numbers with a decimal comma, such as {comma!r}"
            problems.append(Problem(f"column {column.name!r}", message, remedy))
    found = find_films(free)
    if found is not None:
        return [], describe_films(*found, root, problems)
    files = find_files([column for column in free if column.kind == "files"], root, problems)
    numbers = [column for column in free if column.kind == "numbers"]
    return [*files, *group_numbers(numbers, {each.name for each in files})], None
