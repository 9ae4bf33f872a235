"""Test parts that are drawn: of groups or of single samples, a share or a number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field

from fusionkit.config.components.registry import FOLDS
from fusionkit.config.schema import Seed
from fusionkit.data.splits import draw_units, split_off
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Folds, Row, Split

FoldCount = Annotated[int, Field(ge=2)]


@FOLDS.register("holdout")
class Holdout(Folds):
    """One drawn test part or several that have nothing in common; all other samples are trained on.

    Args:
        test: How much is in a test part: a share, below 1, or a number of groups (or samples).
        folds: How many test parts. They need not cover everything, but nothing is in two of them.
        of: What is drawn: whole ``groups`` (samples where there are none), or single ``samples``, whatever their group.
            Then groups stand on both sides, the recipe must say ``allow_group_overlap: true``, and results are labelled
            speaker-dependent.
        seed: Which of them.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {}, "") for n in range(1, 11)]
        >>> [len(fold.test) for fold in Holdout(test=3, folds=3).split(rows)]
        [3, 3, 3]
    """

    def __init__(
        self,
        *,
        test: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = 0.2,
        folds: Annotated[int, Field(ge=1)] = 1,
        of: Literal["groups", "samples"] = "groups",
        seed: Seed = 0,
    ) -> None:
        self.test, self.folds, self.of, self.seed = test, folds, of, seed

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """Splits into folds named ``holdout``, or ``holdout1``, ``holdout2``, ... where there are several."""
        drawn = draw_units(rows, self.test, self.seed, place="holdout", parts=self.folds, groups=self.of == "groups")
        return tuple(
            split_off("holdout" if self.folds == 1 else f"holdout{number}", rows, part)
            for number, part in enumerate(drawn, start=1)
        )


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
        """Splits into folds named ``fold1``, ``fold2``, ... ."""
        if len(rows) < self.folds:
            raise DataError([Problem("random_kfold", f"{len(rows)} samples cannot fill {self.folds} folds")])
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed)).tolist()
        return tuple(
            split_off(f"fold{fold + 1}", rows, [rows[position].id for position in order[fold :: self.folds]])
            for fold in range(self.folds)
        )
