"""A division that the dataset or a file states."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionkit.config.components.registry import FOLDS
from fusionkit.data.readers.files import find_existing, read_text
from fusionkit.data.splits import make_sort_key, refuse_unknown_samples, split_off
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Folds, Row, Split


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
        """Splits into one fold named ``given``, or one per fold of the file."""
        if self.file is None:
            remedy = "choose another protocol, or name a file that gives them"
            without = [row for row in rows if row.part not in ("train", "test")]
            problems = [Problem(row.place, f"sample {row.id!r} is in no part, train or test") for row in without[:20]]
            if problems:
                problems.append(Problem("given", f"{len(without)} of {len(rows)} samples are in no part", remedy))
                raise DataError(problems)
            return (split_off("given", rows, [row.id for row in rows if row.part == "test"]),)
        path = find_existing(self.file)
        folds = _read_folds(path)
        _check_ids(folds, rows, path)
        names = sorted(set(folds.values()), key=make_sort_key)
        if set(names) <= {"train", "test"}:
            return (split_off("given", rows, [name for name, fold in folds.items() if fold == "test"]),)
        if {"train", "test"} & set(names):
            raise DataError(
                [Problem(str(path), f"mixes parts and folds: {', '.join(names)}", "train and test, or names of folds")]
            )
        return tuple(split_off(fold, rows, [name for name in folds if folds[name] == fold]) for fold in names)


def _read_folds(path: Path) -> Mapping[str, str]:
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
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
    problems = refuse_unknown_samples([name for name in folds if name not in known], known, str(path))
    problems += [Problem(str(path), f"sample {row.id!r} is in no fold") for row in rows if row.id not in folds]
    if problems:
        raise DataError(problems)
