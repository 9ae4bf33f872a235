"""Folds of whole groups, such as actors: no group is on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field

from fusionkit.config.components.registry import FOLDS
from fusionkit.config.schema import Seed
from fusionkit.data.splits import group_ids, make_sort_key, split_off
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Folds, RawTarget, Row, Split

FoldCount = Annotated[int, Field(ge=2)]


@FOLDS.register("actor_pairs")
class ActorPairs(Folds):
    """One fold per pair of groups: (1, 2), (3, 4), ..., named ``A1,2``, as the paper reports RAVDESS.

    Groups that are numbers, zero-padded or not, pair by number, so that 3 and 4 stay a pair where the data lack 2;
    a group whose partner the data lack is a fold of its own. Groups of other names pair in natural order.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 5.1.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {}, "") for n in range(1, 5)]
        >>> [fold.name for fold in ActorPairs().split(rows)]
        ['A1,2', 'A3,4']
    """

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """Splits into one fold per pair."""
        members = group_ids(rows)
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
        groups: The groups of every fold, as published; every group of the data must stand in exactly one of them.
        absent: What happens where `groups` names a group that the data lack: ``error``, or ``drop``, which leaves it
            out of its fold, and leaves out a fold that is left empty.

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
        """Splits into one fold per set of groups, named ``fold1``, ``fold2``, ... ."""
        members = group_ids(rows)
        sets = self._draw_sets(members) if self.groups is None else self._read_sets(members, self.groups)
        return tuple(
            split_off(f"fold{position}", rows, [name for group in chosen for name in members[group]])
            for position, chosen in enumerate(sets, start=1)
            if chosen
        )

    def _draw_sets(self, members: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
        names = list(members)
        if len(names) < self.folds:
            groups = "1 group" if len(names) == 1 else f"{len(names)} groups"
            remedy = f"give data of {self.folds} groups or more, or ask for fewer folds"
            raise DataError([Problem("group_kfold", f"{groups} cannot fill {self.folds} folds", remedy)])
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.seed)).tolist()
        sets: list[list[str]] = [[] for _ in range(self.folds)]
        sizes = [0] * self.folds
        for position in sorted(order, key=lambda position: -len(members[names[position]])):
            smallest = sizes.index(min(sizes))
            sets[smallest].append(names[position])
            sizes[smallest] += len(members[names[position]])
        return sets

    def _read_sets(self, members: Mapping[str, tuple[str, ...]], given: list[list[str | int]]) -> list[list[str]]:
        at_hand = {make_sort_key(_strip_zeros(group)): group for group in members}
        problems, seen = [], set()
        sets: list[list[str]] = [[] for _ in given]
        for position, groups in enumerate(given):
            for group in map(str, groups):
                place, key = f"group_kfold, groups[{position}]", make_sort_key(_strip_zeros(group))
                if key in seen:
                    problems.append(Problem(place, f"group {group!r} is named twice"))
                seen.add(key)
                if key in at_hand:
                    sets[position].append(at_hand[key])
                elif self.absent == "error":
                    remedy = f"{suggest_names(group, members)}; or set absent: drop"
                    problems.append(Problem(place, f"group {group!r} is not in the data", remedy))
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
        """Splits into one fold per group."""
        return tuple(split_off(group, rows, names) for group, names in group_ids(rows).items())


@FOLDS.register("balanced_groups")
class BalancedGroups(Folds):
    """Folds of whole groups that are alike in a target of the groups, such as the sex of the actors.

    The groups of each class are drawn in an order that the seed decides, and dealt to the folds in turn, class after
    class: so folds differ by one group at most in each class, and by one group at most altogether.

    Args:
        by: The target that the folds are balanced in; all samples of a group state the same.
        folds: How many folds; each group is in the test part of exactly one.
        seed: Which groups share a fold.

    Source:
        After Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 5.1, who hold about a tenth of
        CREMA-D's actors out with balanced sexes, nine times; which actors, they do not say.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {"sex": "fm"[n % 2]}, "") for n in range(1, 9)]
        >>> [len(fold.test) for fold in BalancedGroups(folds=4).split(rows)]
        [2, 2, 2, 2]
    """

    def __init__(self, *, by: str = "sex", folds: FoldCount = 9, seed: Seed = 0) -> None:
        self.by, self.folds, self.seed = by, folds, seed

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """Splits into folds named ``S1``, ``S2``, ... ."""
        members = group_ids(rows)
        classes = self._find_classes(rows)
        if len(members) < self.folds:
            raise DataError([Problem("balanced_groups", f"{len(members)} groups cannot fill {self.folds} folds")])
        names = list(members)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.seed)).tolist()
        dealt = sorted((names[position] for position in order), key=lambda name: make_sort_key(classes[name]))
        return tuple(
            split_off(f"S{fold + 1}", rows, [name for group in dealt[fold :: self.folds] for name in members[group]])
            for fold in range(self.folds)
        )

    def _find_classes(self, rows: Sequence[Row]) -> Mapping[str, str]:
        """Finds the class of every group."""
        stated: dict[str, dict[RawTarget | None, None]] = {}
        for row in rows:
            stated.setdefault(str(row.group), {})[row.targets.get(self.by)] = None
        unknown = [group for group, values in stated.items() if None in values]
        mixed = [group for group, values in stated.items() if len(values) > 1 and None not in values]
        problems = []
        if unknown:
            message = f"{self.by} is not known of {len(unknown)} of {len(stated)} groups, such as {unknown[0]}"
            known = {name for row in rows for name, value in row.targets.items() if value is not None}
            problems.append(Problem("balanced_groups", message, f"targets: {', '.join(sorted(known)) or 'none'}"))
        if mixed:
            given = " and ".join(map(str, stated[mixed[0]]))
            message = f"{len(mixed)} groups have several values of {self.by}, such as {mixed[0]}: {given}"
            problems.append(Problem("balanced_groups", message, "balance by a target that is one per group"))
        if problems:
            raise DataError(problems)
        return {group: str(next(iter(values))) for group, values in stated.items()}


def _strip_zeros(group: str) -> str:
    """Strips leading zeros off a group's name."""
    return str(int(group)) if group.isdecimal() else group
