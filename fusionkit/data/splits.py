"""The promises of a split: its hash, the groups on both sides, and validation samples set aside from training."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch

from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Row, Split

SplitLabel = str
"""``<group>-independent``, ``<group>-dependent``, or ``no groups``; ``<group>`` is what a dataset calls its groups."""


def hash_split(split: Split) -> str:
    """Hashes a split's name and its sorted training and test ids, as the 64 hexadecimal digits of a sha256.

    Two splits have one hash if, and only if, they name the same samples on the same sides, in whatever order.

    Example:
        >>> hash_split(Split("A1,2", ("c", "b"), ("a",))) == hash_split(Split("A1,2", ("b", "c"), ("a",)))
        True
    """
    content = {"name": split.name, "test": sorted(split.test), "train": sorted(split.train)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_data(split: Split, rows: Sequence[Row], contents: Mapping[str, str]) -> str:
    """Hashes a split, what its rows state, and what is known of their content, by sha256.

    Args:
        split: The split.
        rows: The rows of the dataset.
        contents: By row id, a hash of what the sample holds; what is left out is not known.
    """
    chosen = {*split.train, *split.test}
    stated = sorted(
        [row.id, row.group, sorted((name, str(value)) for name, value in row.targets.items()), contents.get(row.id)]
        for row in rows
        if row.id in chosen
    )
    return hashlib.sha256(json.dumps([hash_split(split), stated]).encode()).hexdigest()


def find_overlapping_groups(split: Split, rows: Sequence[Row]) -> tuple[str, ...]:
    """Finds the groups that have samples on both sides, in natural order."""
    by_id = {row.id: row for row in rows}
    train, test = (
        {group for name in side if (group := by_id[name].group) is not None} for side in (split.train, split.test)
    )
    return tuple(sorted(train & test, key=make_sort_key))


def check_split(
    split: Split, rows: Sequence[Row], allow_group_overlap: bool = False, group_name: str = "group"
) -> SplitLabel:
    """Checks that a split can be trained and reported on, and says what its results may be called.

    Args:
        split: The split.
        rows: The rows of the dataset that it divides.
        allow_group_overlap: Accept groups on both sides, at the price of the label.
        group_name: What one group is, such as speaker or pump.

    Returns:
        ``"speaker-independent"`` where no group is on both sides and a group is a speaker, ``"speaker-dependent"``
        where one is, or where some samples have no group, and ``"no groups"`` where no sample of the split has one.

    Raises:
        DataError: A side is empty, an id is unknown, stands twice or on both sides, or a group stands on both sides
            (or cannot be ruled out, since samples lack theirs) and `allow_group_overlap` is false.
    """
    problems = _check_ids(split, rows)
    if problems:
        raise DataError(problems)
    by_id = {row.id: row for row in rows}
    chosen = [by_id[name] for name in (*split.train, *split.test)]
    without = [row for row in chosen if row.group is None]
    if len(without) == len(chosen):
        return "no groups"
    shared = find_overlapping_groups(split, rows)
    if (shared or without) and not allow_group_overlap:
        where = f"fold {split.name}"
        remedy = f"divide by groups, or set allow_group_overlap: true, which labels every result {group_name}-dependent"
        if shared:
            problems.append(Problem(where, f"groups on both sides: {', '.join(shared)}", remedy))
        if without:
            message = f"{len(without)} samples have no group, such as {without[0].id!r}, while others have one"
            problems.append(Problem(where, message, remedy))
        raise DataError(problems)
    return f"{group_name}-{'dependent' if shared or without else 'independent'}"


def split_inner(
    split: Split, rows: Sequence[Row], fraction: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sets groups of the training part aside for validation; samples where there are no groups.

    The test part plays no role in it: the same training part, fraction and seed give the same division.

    Args:
        split: The split whose training part is divided.
        rows: The rows of the dataset.
        fraction: The share of the groups (or samples) to set aside, between 0 and 1; at least one is, and one stays.
        seed: Which of them.

    Returns:
        The ids to train on and the ids to validate on, each in the order of `split.train`.

    Raises:
        DataError: The training part has fewer than two groups (or samples).
    """
    by_id = {row.id: row for row in rows}
    training = [by_id[name] for name in split.train]
    place = f"fold {split.name}, training part"
    if not 0 < fraction < 1:
        raise DataError([Problem(place, f"the fraction {fraction} is not between 0 and 1")])
    (chosen,) = draw_units(training, fraction, seed, place=place)
    train = tuple(name for name in split.train if name not in chosen)
    return train, tuple(name for name in split.train if name in chosen)


def draw_units(
    rows: Sequence[Row], size: float, seed: int, *, place: str, parts: int = 1, groups: bool = True
) -> tuple[frozenset[str], ...]:
    """Draws the ids of random parts of the groups (of the samples where no row has a group) that share no unit.

    Args:
        rows: The rows.
        size: How much is in a part: a share of the units, below 1 (at least one unit is, and one is left), or their
            number.
        seed: Which units.
        place: What draws, for messages.
        parts: How many parts.
        groups: Draw groups where there are some; otherwise always samples.

    Raises:
        DataError: The size is no share and no number, there are too few units, or only some rows have a group.
    """
    grouped = groups and any(row.group is not None for row in rows)
    units = group_ids(rows) if grouped else {row.id: (row.id,) for row in rows}
    names, kind = sorted(units, key=make_sort_key), "groups" if grouped else "samples"
    if size <= 0 or (size >= 1 and size != int(size)):
        raise DataError([Problem(place, f"{size} is neither a share between 0 and 1 nor a number of {kind}")])
    if len(names) < 2:
        raise DataError([Problem(place, f"{len(names)} {kind} cannot be divided in two", f"at least two {kind}")])
    count = int(size) if size >= 1 else min(max(1, round(size * len(names))), len(names) - 1)
    if count >= len(names) or count * parts > len(names):
        wanted = f"{parts} parts of {count}" if parts > 1 else str(count)
        message = f"{wanted} {kind} cannot be set aside of {len(names)}"
        raise DataError([Problem(place, message, f"fewer, so that {kind} to train on are left")])
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    return tuple(
        frozenset(name for position in order[part * count : (part + 1) * count] for name in units[names[position]])
        for part in range(parts)
    )


def group_ids(rows: Sequence[Row]) -> Mapping[str, tuple[str, ...]]:
    """Groups the ids of rows, groups in natural order.

    Raises:
        DataError: Rows have no group.
    """
    without = [row for row in rows if row.group is None]
    if without or not rows:
        message = f"{len(without)} of {len(rows)} samples have no group" if rows else "there are no samples"
        place = without[0].place if without else ""
        raise DataError([Problem(place, message, "this protocol divides by groups; name the column that holds them")])
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(str(row.group), []).append(row.id)
    return {group: tuple(members[group]) for group in sorted(members, key=make_sort_key)}


def split_off(name: str, rows: Sequence[Row], test: Iterable[str]) -> Split:
    """Splits the given ids off as the test part, both sides in the order of the rows."""
    chosen = frozenset(test)
    train = tuple(row.id for row in rows if row.id not in chosen)
    return Split(name, train, tuple(row.id for row in rows if row.id in chosen))


def refuse_unknown_samples(names: Sequence[str], known: Collection[str], place: str) -> list[Problem]:
    """Returns the problems of ids that no sample has: the first twenty one by one, and how many there are."""
    problems = []
    for name in names[:20]:
        hint = suggest_names(name, known)
        problems.append(Problem(place, f"unknown sample {name!r}", hint if hint.startswith("did") else ""))
    if len(names) > 20:
        problems.append(Problem(place, f"{len(names)} unknown samples altogether"))
    return problems


def make_sort_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Makes a sorting key by which ``"2"`` and ``"02"`` stand before ``"10"``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def _check_ids(split: Split, rows: Sequence[Row]) -> list[Problem]:
    where, known = f"fold {split.name}", {row.id for row in rows}
    problems = [
        Problem(where, f"the {side} part is empty")
        for side, names in (("training", split.train), ("test", split.test))
        if not names
    ]
    for side, names in (("training", split.train), ("test", split.test)):
        unknown = [name for name in names if name not in known]
        problems += refuse_unknown_samples(unknown, known, where)
        if len(set(names)) != len(names):
            problems.append(Problem(where, f"the {side} part names a sample twice"))
    both = sorted(set(split.train) & set(split.test))
    if both:
        problems.append(Problem(where, f"{len(both)} samples on both sides, such as {both[0]!r}"))
    return problems
