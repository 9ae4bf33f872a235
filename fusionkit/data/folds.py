"""Protocols: how a dataset is divided into training and test samples, as often as the protocol says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from fusionkit.data.files import existing_file, read_text
from fusionkit.data.part_folds import WithParts  # noqa: F401 - it registers itself
from fusionkit.data.splits import by_group, draw_units, natural_order, split_off, unknown_samples
from fusionkit.errors import DataError, Problem, did_you_mean
from fusionkit.interfaces import Folds, Row, Split
from fusionkit.registry import FOLDS
from fusionkit.spec import Seed

FoldCount = Annotated[int, Field(ge=2)]


@FOLDS.register("actor_pairs")
class ActorPairs(Folds):
    """One fold per pair of groups: (1, 2), (3, 4), ..., named ``A1,2``, as the paper reports RAVDESS.

    Groups that are numbers, zero-padded or not, pair by number, so that 3 and 4 stay a pair where 2 is not at hand;
    a group whose partner is not at hand is a fold of its own. Groups of other names pair in natural order.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 5.1.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {}, "") for n in range(1, 5)]
        >>> [fold.name for fold in ActorPairs().split(rows)]
        ['A1,2', 'A3,4']
    """

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """One fold per pair."""
        members = by_group(rows)
        numbered = all(group.isdecimal() for group in members)
        pairs: dict[int, list[str]] = {}
        for position, group in enumerate(members):
            pairs.setdefault((int(group) - 1) // 2 if numbered else position // 2, []).append(group)
        return tuple(
            split_off(
                "A" + ",".join(str(int(group)) if numbered else group for group in pair),
                rows,
                [name for group in pair for name in members[group]],
            )
            for pair in pairs.values()
        )


@FOLDS.register("group_kfold")
class GroupKFold(Folds):
    """Folds of whole groups: balanced in size by chance, or exactly the groups that a publication names.

    Drawn folds take the groups in an order shuffled by the seed, larger groups first, each into the fold with the
    fewest samples. Numbers name the same group with and without leading zeros.

    Args:
        folds: How many folds, where they are drawn.
        seed: Which groups share a fold, where they are drawn.
        groups: The groups of every fold, as published; every group at hand must stand in exactly one of them.
        absent: What happens where `groups` names a group that is not at hand: ``error``, or ``drop``, which leaves it
            out of its fold, and leaves out a fold of which nothing is at hand.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {}, "") for n in range(1, 5)]
        >>> [fold.test for fold in GroupKFold(groups=[["1", "4"], ["2", "3", "9"]], absent="drop").split(rows)]
        [('clip1', 'clip4'), ('clip2', 'clip3')]
    """

    def __init__(
        self,
        *,
        folds: FoldCount = 5,
        seed: Seed = 0,
        groups: list[list[str | int]] | None = None,
        absent: Literal["error", "drop"] = "error",
    ) -> None:
        self.folds, self.seed, self.groups, self.absent = folds, seed, groups, absent

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """One fold per set of groups, named ``fold1``, ``fold2``, ... ."""
        members = by_group(rows)
        sets = self._drawn(members) if self.groups is None else self._named(members, self.groups)
        return tuple(
            split_off(f"fold{position}", rows, [name for group in chosen for name in members[group]])
            for position, chosen in enumerate(sets, start=1)
            if chosen
        )

    def _drawn(self, members: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
        names = list(members)
        if len(names) < self.folds:
            raise DataError([Problem("group_kfold", f"{len(names)} groups cannot fill {self.folds} folds")])
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.seed)).tolist()
        sets: list[list[str]] = [[] for _ in range(self.folds)]
        sizes = [0] * self.folds
        for position in sorted(order, key=lambda position: -len(members[names[position]])):
            smallest = sizes.index(min(sizes))
            sets[smallest].append(names[position])
            sizes[smallest] += len(members[names[position]])
        return sets

    def _named(self, members: Mapping[str, tuple[str, ...]], given: list[list[str | int]]) -> list[list[str]]:
        at_hand = {natural_order(_plain(group)): group for group in members}
        problems, seen = [], set()
        sets: list[list[str]] = [[] for _ in given]
        for position, groups in enumerate(given):
            for group in map(str, groups):
                place, key = f"group_kfold, groups[{position}]", natural_order(_plain(group))
                if key in seen:
                    problems.append(Problem(place, f"group {group!r} is named twice"))
                seen.add(key)
                if key in at_hand:
                    sets[position].append(at_hand[key])
                elif self.absent == "error":
                    remedy = f"{did_you_mean(group, members)}; or set absent: drop"
                    problems.append(Problem(place, f"group {group!r} is not at hand", remedy))
        left = [group for key, group in at_hand.items() if key not in seen]
        if left:
            problems.append(Problem("group_kfold", f"groups in no fold: {', '.join(left)}", "name each of them once"))
        if problems:
            raise DataError(problems)
        return sets


@FOLDS.register("leave_one_group_out")
class LeaveOneGroupOut(Folds):
    """One fold per group, named after it."""

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """One fold per group."""
        return tuple(split_off(group, rows, names) for group, names in by_group(rows).items())


@FOLDS.register("holdout")
class Holdout(Folds):
    """One fold whose test part is a random share of the groups; of the samples where there are no groups.

    Args:
        test: The share of the groups (or samples) in the test part.
        seed: Which of them.
    """

    def __init__(self, *, test: Annotated[float, Field(gt=0, lt=1)] = 0.2, seed: Seed = 0) -> None:
        self.test, self.seed = test, seed

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """The one fold, named ``holdout``."""
        return (split_off("holdout", rows, draw_units(rows, self.test, self.seed, place="holdout")),)


@FOLDS.register("random_kfold")
class RandomKFold(Folds):
    """Folds of single samples, whatever their group: the speaker-dependent protocol of many publications.

    Where the samples have groups, the recipe must say ``allow_group_overlap: true``, and results are labelled.

    Args:
        folds: How many folds; their sizes differ by one sample at most.
        seed: Which samples share a fold.
    """

    def __init__(self, *, folds: FoldCount = 10, seed: Seed = 0) -> None:
        self.folds, self.seed = folds, seed

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """The folds, named ``fold1``, ``fold2``, ... ."""
        if len(rows) < self.folds:
            raise DataError([Problem("random_kfold", f"{len(rows)} samples cannot fill {self.folds} folds")])
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed)).tolist()
        return tuple(
            split_off(f"fold{fold + 1}", rows, [rows[position].id for position in order[fold :: self.folds]])
            for fold in range(self.folds)
        )


@FOLDS.register("given")
class Given(Folds):
    """The division that the dataset itself states, or a file.

    Args:
        file: A JSON object, or a CSV file with the columns ``id`` and ``fold``, that gives every sample's fold; the
            words ``train`` and ``test`` make one split, any other words one fold each. Without it the dataset's own
            train and test parts are the split.
    """

    def __init__(self, *, file: str | None = None) -> None:
        self.file = file

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """One split named ``given``, or one per fold of the file."""
        if self.file is None:
            remedy = "choose another protocol, or name a file that gives them"
            without = [row for row in rows if row.part not in ("train", "test")]
            problems = [Problem(row.place, f"sample {row.id!r} is in no part, train or test") for row in without[:20]]
            if problems:
                problems.append(Problem("given", f"{len(without)} of {len(rows)} samples are in no part", remedy))
                raise DataError(problems)
            return (split_off("given", rows, [row.id for row in rows if row.part == "test"]),)
        path = existing_file(self.file)
        folds = _read_folds(path)
        _check_ids(folds, rows, path)
        names = sorted(set(folds.values()), key=natural_order)
        if set(names) <= {"train", "test"}:
            return (split_off("given", rows, [name for name, fold in folds.items() if fold == "test"]),)
        if {"train", "test"} & set(names):
            raise DataError(
                [Problem(str(path), f"mixes parts and folds: {', '.join(names)}", "train and test, or names of folds")]
            )
        return tuple(split_off(fold, rows, [name for name in folds if folds[name] == fold]) for fold in names)


def _plain(group: str) -> str:
    """A group's name without leading zeros."""
    return str(int(group)) if group.isdecimal() else group


def _read_folds(path: Path) -> Mapping[str, str]:
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError as error:
            raise DataError([Problem(str(path), f"is no JSON ({error})")]) from error
    else:
        reader = csv.DictReader(io.StringIO(text))
        if not {"id", "fold"} <= set(reader.fieldnames or ()):
            given = f"has the columns {', '.join(reader.fieldnames or ())}"
            raise DataError([Problem(str(path), given, "a CSV file of folds has the columns id and fold")])
        pairs = [(row["id"], row["fold"]) for row in reader]
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise DataError([Problem(str(path), "is no JSON object", 'an object such as {"clip1": "train"}')])
    folds: dict[str, str] = {}
    problems = []
    for name, fold in pairs:
        if name in folds:
            problems.append(Problem(str(path), f"names sample {name!r} twice"))
        if not isinstance(fold, (str, int)) or fold == "":
            problems.append(Problem(str(path), f"sample {name!r} has the fold {fold!r}", "a word or a number"))
        folds[name] = str(fold)
    if problems:
        raise DataError(problems)
    return folds


def _check_ids(folds: Mapping[str, str], rows: Sequence[Row], path: Path) -> None:
    known = {row.id for row in rows}
    problems = unknown_samples([name for name in folds if name not in known], known, str(path))
    problems += [Problem(str(path), f"sample {row.id!r} is in no fold") for row in rows if row.id not in folds]
    if problems:
        raise DataError(problems)
