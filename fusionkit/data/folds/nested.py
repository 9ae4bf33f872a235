"""Folds within the training part of another protocol's fold."""

from __future__ import annotations

from collections.abc import Sequence

from fusionkit.config.components.registry import FOLDS
from fusionkit.config.components.specs import FoldsSpec
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Folds, Row, Split

_ONE_FIFTH = FoldsSpec(type="holdout")


@FOLDS.register("nested")
class Nested(Folds):
    r"""A protocol inside the training part of one fold of another, for choosing settings without the test part.

    .. math::
        \mathrm{train}' \cup \mathrm{test}' \subseteq \mathrm{train}_k

    k is the outer fold. Its test part is on neither side of any inner fold, so whatever is chosen by the inner test
    parts is chosen without it. `fusionkit compare` tunes by it.

    Args:
        folds: The outer protocol.
        fold: The outer fold, by position or name.
        within: The protocol that divides its training part.

    Raises:
        RecipeError: One of the protocols has wrong options.

    Example:
        >>> rows = [Row(f"clip{n}", f"{n:02}", None, {}, "") for n in range(1, 7)]
        >>> outer = FoldsSpec(type="actor_pairs")
        >>> inner = FoldsSpec.model_validate({"type": "group_kfold", "folds": 2})
        >>> [(fold.name, fold.test) for fold in Nested(folds=outer, fold="A1,2", within=inner).split(rows)]
        [('fold1', ('clip3', 'clip6')), ('fold2', ('clip4', 'clip5'))]
    """

    def __init__(self, *, folds: FoldsSpec, fold: int | str = 0, within: FoldsSpec = _ONE_FIFTH) -> None:
        self.outer: Folds = FOLDS.build(folds.type, **folds.options)
        self.inner: Folds = FOLDS.build(within.type, **within.options)
        self.fold = fold

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """Splits into the inner folds, under their own names.

        Raises:
            DataError: The outer protocol has no such fold, or its training part cannot be divided so.
        """
        outer = self.outer.split(rows)
        by_name = {split.name: split for split in outer}
        if isinstance(self.fold, int) and 0 <= self.fold < len(outer):
            chosen = outer[self.fold]
        elif self.fold in by_name:
            chosen = by_name[str(self.fold)]
        else:
            remedy = f"a position from 0 to {len(outer) - 1}, or a name; {suggest_names(str(self.fold), by_name)}"
            raise DataError([Problem("nested.fold", f"the outer protocol has no fold {self.fold!r}", remedy)])
        training = frozenset(chosen.train)
        return self.inner.split([row for row in rows if row.id in training])
