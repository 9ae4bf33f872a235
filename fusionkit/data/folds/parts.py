"""Another protocol's folds, within which the dataset's own parts hold as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fusionkit.config.components.registry import FOLDS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Folds, Row, Split


@FOLDS.register("with_parts")
class WithParts(Folds):
    r"""The folds of another protocol, where training keeps the dataset's train part and testing its test part.

    .. math::
        \mathrm{train}' = \mathrm{train} \cap \{\mathrm{part} = \mathrm{train}\}, \qquad
        \mathrm{test}' = \mathrm{test} \cap \{\mathrm{part} = \mathrm{test}\}

    For samples that are put together of two sources, each with a split of its own that no fold may break: voices that
    are divided by actor, and faces that were divided by who published them.

    Args:
        folds: The name of the other protocol.
        options: Its options.

    Example:
        >>> rows = [Row(f"{n}/{part}", f"{n}", part, {}, "") for n in range(1, 5) for part in ("train", "test")]
        >>> [(fold.name, fold.test, len(fold.train)) for fold in WithParts().split(rows)]
        [('A1,2', ('1/test', '2/test'), 2), ('A3,4', ('3/test', '4/test'), 2)]
    """

    def __init__(
        self, *, folds: str = "actor_pairs", options: Annotated[dict[str, Any] | None, ANY_ORDER] = None
    ) -> None:
        self.folds = FOLDS.build(folds, **(options or {}))

    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """Splits into the other protocol's folds, under its names.

        Raises:
            DataError: A sample is in no part, or a fold has no sample of a part.
        """
        part_of = {row.id: row.part for row in rows}
        without = [row for row in rows if row.part not in ("train", "test")]
        if without:
            message = f"{len(without)} of {len(rows)} samples are in no part, train or test, such as {without[0].id!r}"
            raise DataError([Problem("with_parts", message, "take the other protocol itself")])
        splits = tuple(
            Split(
                fold.name,
                tuple(name for name in fold.train if part_of[name] == "train"),
                tuple(name for name in fold.test if part_of[name] == "test"),
            )
            for fold in self.folds.split(rows)
        )
        empty = [fold.name for fold in splits if not (fold.train and fold.test)]
        if empty:
            raise DataError([Problem("with_parts", f"folds without training or test samples: {', '.join(empty)}")])
        return splits
