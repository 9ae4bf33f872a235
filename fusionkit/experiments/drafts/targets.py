"""The targets of a table: found by their names, or named by the user, each with the loss head that suits its values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusionkit.data.readers.tables import read_float
from fusionkit.errors import Problem, suggest_names
from fusionkit.experiments.drafts.columns import Column
from fusionkit.experiments.drafts.vocabulary import ORDERED, ORDERS, TARGETS, WHOLE_TARGETS
from fusionkit.interfaces.written_numbers import is_number

_MOST_ORDERED, _MOST_COUNTED = 10, 20
_MOST_NAMED = 8


@dataclass(frozen=True)
class DraftTarget:
    """A target of a recipe.

    Args:
        name: Its name in the recipe.
        columns: The column, or of labels one column each.
        head: The loss head.
        classes: The classes or labels, in order; empty where the dataset says them or the target is a number.
        remark: What was assumed of it, in a sentence, and what to change.
    """

    name: str
    columns: tuple[str, ...]
    head: str
    classes: tuple[str, ...]
    remark: str


def find_targets(columns: Sequence[Column], asked: Sequence[str], problems: list[Problem]) -> list[list[Column]]:
    """Finds the columns of every target; several columns of one target are labels.

    Args:
        columns: The columns of the table.
        asked: The columns that the user names; none to look for them by their names.
        problems: Receives names that no column has, and that no target is recognised.
    """
    by_name = {column.name: column for column in columns}
    missing = [name for name in asked if name not in by_name]
    problems += [Problem("--target", f"no column {name!r}", suggest_names(name, by_name)) for name in missing]
    if missing:
        return []
    if asked:
        return _join_labels([by_name[name] for name in dict.fromkeys(asked)])
    able = [column for column in columns if column.kind not in ("empty", "files")]
    found = list_named_as_targets(able)
    # Of two that say the same, such as label and label_id, the one in words is the target.
    by_words = sorted(found, key=lambda column: column.kind != "words")
    found = [
        column for column in found if not any(_find_leak(column, other) for other in by_words[: by_words.index(column)])
    ]
    if not found:
        remedy = f"name it: --target COLUMN; columns that may be one: {_list_candidates(able)}"
        problems.append(Problem("", "no column is recognised as a target by its name", remedy))
    return _join_labels(found)


def list_named_as_targets(columns: Sequence[Column]) -> list[Column]:
    """Lists the columns that are called as targets are."""
    strong = [column for column in columns if TARGETS & set(column.words)]
    return strong or [column for column in columns if column.name.lower() in WHOLE_TARGETS]


def describe_target(name: str, columns: Sequence[Column], problems: list[Problem]) -> DraftTarget | None:
    """Chooses the loss head of a target by its values; None where there is none."""
    if len(columns) > 1:
        labels = tuple(_cut_prefix(column.name) for column in columns)
        remark = f"Target {name}: the labels {', '.join(labels)}, any number of them at once (0 and 1 in each column)."
        return DraftTarget(name, tuple(column.name for column in columns), "multilabel", labels, remark)
    (column,) = columns
    place, values = f"column {column.name!r}", list(column.counts)
    problem = _find_problem(column)
    if problem is not None:
        problems.append(Problem(place, *problem))
        return None
    order = _find_order(column)
    if order:
        said = f"{', '.join(order)}, in this order: ordinal"
        other = f"write {name}: classification where they have none"
        return DraftTarget(name, (column.name,), "ordinal", order, f"Target {name}: {said}; {other}.")
    if column.kind == "numbers" and not _is_counted(column):
        least, most = min(column.numbers), max(column.numbers)
        kind = f"numbers from {least:g} to {most:g}: regression, in their own unit"
        other = f"write {name}: classification where they are names"
        return DraftTarget(name, (column.name,), "regression", (), f"Target {name}: {kind}; {other}.")
    by_number = all(map(is_number, values))
    classes = tuple(sorted(values, key=float)) if by_number else tuple(sorted(values))
    shown = ", ".join(classes[:6]) + (f", and {len(classes) - 6} more" if len(classes) > 6 else "")
    other = f" Write {name}: regression where they are amounts." if by_number else ""
    several = [value for value in values if re.search(r"\w\s*[;|]\s*\w", value)]
    if several:
        other = (
            f" Each text such as {several[0]!r} is one class; for several labels at once give each a column of 0, 1."
        )
    remark = f"Target {name}: {len(classes)} classes ({shown}).{other}"
    return DraftTarget(name, (column.name,), "classification", classes, remark)


def find_leaks(columns: Sequence[Column], targets: Mapping[str, Sequence[Column]]) -> dict[str, str]:
    """Finds the columns that give a target away, and says how: in other words, or in another unit."""
    found = {}
    of_targets = [column for group in targets.values() for column in group]
    for column in columns:
        for target in of_targets:
            if column.name not in found and column not in of_targets and (how := _find_leak(column, target)):
                found[column.name] = how
    return found


def _find_leak(column: Column, target: Column) -> str:
    pairs = [pair for pair in zip(column.names, target.names, strict=True) if None not in pair]
    if len(pairs) < 3 or column.kind in ("empty", "files", "commas"):
        return ""
    if column.kind == target.kind == "numbers" and len(set(target.counts)) > 2:
        return f"is {target.name} in another unit" if _are_one_line(column, target) else ""
    different, firsts, seconds = set(pairs), {one for one, _ in pairs}, {other for _, other in pairs}
    one_to_one = len(different) == len(firsts) == len(seconds) and 1 < len(firsts) < len(pairs)
    return f"says {target.name} in other words" if one_to_one else ""


def _are_one_line(column: Column, target: Column) -> bool:
    """Tells whether two columns of numbers are each other's up to a factor and an offset."""
    import numpy as np

    pairs = zip(column.cells, target.cells, strict=True)
    read = [(read_float(one), read_float(other)) for one, other in pairs if one is not None and other is not None]
    x, y = np.array(read, dtype=float).T
    x, y = x / max(np.abs(x).max(), 1e-300), y / max(np.abs(y).max(), 1e-300)  # else squares may overflow
    if x.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9)


def _find_problem(column: Column) -> tuple[str, str] | None:
    """Says what is wrong with a column as a target, and what would be right."""
    if column.kind in ("empty", "files"):
        return f"holds {'nothing' if column.kind == 'empty' else 'files'}, so it is no target", "name another: --target"
    if column.is_constant:
        return f"has one value only, {next(iter(column.counts))!r}: there is nothing to tell apart", "give more data"
    if column.kind == "commas":
        return f"holds numbers with a decimal comma, such as {_find_comma(column)!r}", "write a decimal point"
    if column.kind == "words":
        decimals = [value for value in column.counts if is_number(value) and "." in value]
        words = [value for value in column.counts if not is_number(value)]
        if len(decimals) > len(words):
            said = f"holds numbers such as {decimals[0]} and words such as {words[0]!r}"
            return said, "empty the cells with words, or write numbers"
        if len(column.stated) > 3 and len(column.counts) == len(column.stated):
            return f"has another word in every row, such as {words[0]!r}", "classes stand in several rows each"
    return None


def _find_comma(column: Column) -> str:
    return next(str(cell) for cell in column.stated if "," in str(cell))


def _find_order(column: Column) -> tuple[str, ...]:
    """Finds the order of classes that have one: known words, or a few whole numbers of a name such as rating."""
    values = list(column.counts)
    if column.kind == "words" and len(values) > 2:
        lower = {value.lower(): value for value in values}
        for order in ORDERS:
            if set(lower) <= set(order) and len(lower) == len(values):
                return tuple(lower[word] for word in order if word in lower)
    if column.is_whole and ORDERED & set(column.words) and 2 < len(values) <= _MOST_ORDERED:
        return tuple(sorted(values, key=float))
    return ()


def _is_counted(column: Column) -> bool:
    """Tells whether numbers are names of classes: two of them, or few whole ones that stand in many rows each."""
    values = column.counts
    if len(values) == 2 and column.is_whole:
        return True
    few = len(values) <= _MOST_COUNTED and len(column.stated) >= 3 * len(values)
    spread = column.is_whole and max(column.numbers) - min(column.numbers) < 2 * len(values)
    return few and spread


def _join_labels(columns: Sequence[Column]) -> list[list[Column]]:
    """Joins columns of zeros and ones with a common first word: labels, of which a sample has any number."""
    groups: dict[str, list[Column]] = {}
    for column in columns:
        binary = column.kind == "numbers" and set(column.counts) <= {"0", "1"}
        first = column.words[0] if binary and len(column.words) > 1 else None
        groups.setdefault(f"{first} " if first else column.name, []).append(column)
    return list(groups.values())


def _cut_prefix(name: str) -> str:
    rest = re.sub(r"^[^\W_]+?[\W_]+", "", name)
    return rest or name


def _list_candidates(columns: Sequence[Column]) -> str:
    able = [column for column in columns if not column.is_constant]
    # Words that repeat themselves are likely classes; numbers that do not, amounts.
    likely = sorted(able, key=lambda column: (column.is_unique, column.kind != "words"))
    more = f" and {len(likely) - _MOST_NAMED} more" if len(likely) > _MOST_NAMED else ""
    return ", ".join(repr(column.name) for column in likely[:_MOST_NAMED]) + more or "none"
