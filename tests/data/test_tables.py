"""Numbers, words, missing values and paths in tables of samples."""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.documents import read_document
from fusionkit.config.model_completion import complete_model
from fusionkit.config.recipe import check_document
from fusionkit.config.schema import ModelSpec
from fusionkit.data.loading.samples import encode_targets
from fusionkit.data.readers.tables import read_table
from fusionkit.errors import DataError, RecipeError
from fusionkit.interfaces import Dataset
from fusionkit.interfaces.written_numbers import WrittenNumber, class_names, is_number, is_whole
from fusionkit.models.loss_heads.classification import Classification
from fusionkit.models.loss_heads.number_metrics import encode_numbers
from fusionkit.testing import check_dataset


def table(folder: Path, *cells: object, ending: str = "csv", **options: Any) -> Dataset:
    """A table of the target ``y`` and of the modality ``m``, the numbers from 1 on."""
    file = folder / f"t.{ending}"
    if ending == "jsonl":
        file.write_text("".join(json.dumps({"x": row, "y": cell}) + "\n" for row, cell in enumerate(cells, 1)))
    else:
        lines = [f'{row},"{cell}"' for row, cell in enumerate(cells, 1)]
        file.write_text("\n".join(["x,y", *lines]) + "\n")
    given = {"modalities": {"m": ["x"]}, "targets": ["y"], **options}
    return DATASETS.build("manifest", path=str(file), **given)


def classes_of(data: Dataset, kind: str = "classification", **options: Any) -> list[str]:
    """The classes that a recipe ends up with."""
    model = {
        "modalities": {"m": {"encoder": "mlp"}},
        "targets": {"y": {"type": kind, **options}},
    }
    completed = complete_model(check_document(ModelSpec, read_document(model)[0]), data)
    return list(completed.targets["y"].options["classes"])


def indices_of(data: Dataset, classes: list[str]) -> list[int]:
    head = Classification(4, None, classes=tuple(classes))
    return [int(head.encode(row.targets["y"])) for row in data.rows]


NUMBERS = {
    "0": 0,
    "-0": 0,
    "7": 7,
    "+1": 1,
    "-12.50": -12.5,
    "1e1": 10,
    "1E-05": 1e-5,
    ".5": 0.5,
    "5.": 5,
    "2.e3": 2000,
}
WORDS = [
    *(
        "1_1",
        "1_000",
        "007",
        "00.5",
        "-07",
        "0x1F",
        "0b1",
        "inf",
        "-inf",
        "Infinity",
        "1,5",
        "1,234.5",
        "1 000",
        "1'000",
    ),
    *(
        "\u0661\u0662",
        "\uff11",
        "\u00bd",
        "\u22121",
        "1e",
        "e1",
        "1e1.5",
        "--1",
        "+",
        ".",
        "1e999",
        "1f",
        "1j",
        "12%",
        "$1",
    ),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_a_number_of_the_grammar_is_read_and_keeps_its_text(text: str, value: float) -> None:
    number = WrittenNumber(text)
    assert (number, number.text, is_number(text)) == (value, text, True)
    for again in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):
        assert (again, again.text) == (value, text)


@pytest.mark.parametrize("text", WORDS)
def test_what_is_not_of_the_grammar_is_a_word_in_inputs_and_targets_alike(tmp_path: Path, text: str) -> None:
    assert not is_number(text)
    assert classes_of(table(tmp_path, text, "other")) == sorted([text, "other"])
    with pytest.raises(DataError) as caught:
        table(tmp_path, text, modalities={"m": ["y"]}, targets=["x"])
    assert f"t.csv, line 2: m: column 'y': {text!r} is no " in str(caught.value)
    with pytest.raises(DataError, match=r"t\.csv, line 2: v: column 'y'"):
        table(tmp_path, text, targets={"v": ["x", "y"]})
    with pytest.raises(ValueError, match=r"is no (finite )?number.*; a number is wanted"):
        encode_numbers(text, 1)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1,5", "write a decimal point"),
        ("1_000", "no separators"),
        ("1 000", "no separators"),
        ("1,234.5", "no separators"),
        ("007", "leading zeros make it a code"),
        ("\u22121", "write the sign as -"),
        ("\u0661\u0662", "digits from 0 to 9"),
        ("one", "'one' is no number$"),
    ],
)
def test_a_word_that_is_nearly_a_number_is_refused_with_what_would_be_one(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        WrittenNumber(text)


@given(st.integers())
def test_whole_numbers_are_those_that_an_integer_writes_back(value: int) -> None:
    assert is_whole(str(value)) == (abs(value) < 10**18)
    assert not any(is_whole(text) for text in (f"+{value}", f"0{value}", f"{value}.0", f"{value}e0", f" {value}"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_of_a_float_is_read_as_it(value: float) -> None:
    assert WrittenNumber(repr(value)) == value


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["1_1", "1_2", "2_1", "1_1"], ["1_1", "1_2", "2_1"]),
        (["1e1", "2e1"], ["1e1", "2e1"]),
        (["1e1", "10"], ["10", "1e1"]),
        (["+1", "-1"], ["-1", "+1"]),
        (["2", "10", "1"], ["1", "2", "10"]),
        (["0.0", "1.0", "2.0"], ["0", "1", "2"]),
        (["1.0", "1", "2"], ["1", "2"]),
        (["-1.0", "-0.0", "1."], ["-1", "0", "1"]),
        (["007", "08"], ["007", "08"]),
        (["1", "2", "unknown"], ["1", "2", "unknown"]),
        (["1.0", "2", "unknown"], ["1.0", "2", "unknown"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
        (["9" * 5000, "1"], ["1", "9" * 5000]),
        (["inf", "1"], ["1", "inf"]),
    ],
)
def test_classes_are_named_as_they_are_written(tmp_path: Path, cells: list[str], classes: list[str]) -> None:
    data = table(tmp_path, *cells)
    assert classes_of(data) == classes
    names = [text if text in classes else str(int(float(text))) for text in cells]
    assert indices_of(data, classes) == [classes.index(name) for name in names]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_whole_numbers_with_a_point_are_the_classes_that_the_recipe_lists_without_one(
    tmp_path: Path, ending: str
) -> None:
    cells = ["0.0", "1.0", "2.0"] if ending == "csv" else [0.0, 1.0, 2.0]
    data = table(tmp_path, *cells, ending=ending)
    assert classes_of(data, classes=["0", "1", "2"]) == ["0", "1", "2"]
    assert indices_of(data, ["2", "1", "0"]) == [2, 1, 0]
    assert indices_of(data, ["0.0", "1.0", "2.0"]) == [0, 1, 2]
    assert [encode_numbers(row.targets["y"], 1).item() for row in data.rows] == [0.0, 1.0, 2.0]
    check_dataset(type(data), {"path": str(tmp_path / f"t.{ending}"), "modalities": {"m": ["x"]}, "targets": ["y"]})


def test_classes_that_differ_in_their_writing_only_stay_apart_where_they_are_listed(tmp_path: Path) -> None:
    data = table(tmp_path, "1.1", "1.10", "2")
    assert indices_of(data, ["1.1", "1.10", "2"]) == [0, 1, 2]
    with pytest.raises(RecipeError) as caught:
        classes_of(data)
    assert str(caught.value) == (
        f"model.targets.y: the dataset's target 'y' holds numbers such as 1.1, 1.10 ({tmp_path}/t.csv, column 'y'), "
        "which are not taken for classes; list the classes as they are written, classes: [1.1, 1.10, ...], or take "
        "regression"
    )
    with pytest.raises(ValueError, match=r"'1\.10' is none of the 2 classes"):
        Classification(4, None, classes=("1", "2")).encode(data.rows[1].targets["y"])


def test_a_regression_reads_every_number_of_a_column_and_refuses_its_words(tmp_path: Path) -> None:
    data = table(tmp_path, "+1", "1e1", ".5", "3")
    assert [encode_numbers(row.targets["y"], 1).item() for row in data.rows] == [1.0, 10.0, 0.5, 3.0]
    with pytest.raises(ValueError, match=r"'1,5' is no number: write a decimal point.*; a number is wanted"):
        encode_numbers(table(tmp_path, "1,5").rows[0].targets["y"], 1)
    with pytest.raises(ValueError, match="'1_1' is no number"):
        encode_numbers(table(tmp_path, "1_1").rows[0].targets["y"], 1)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_true_and_false_are_classes_by_the_words_that_the_file_holds(tmp_path: Path, ending: str) -> None:
    data = table(tmp_path, *((True, False) if ending == "jsonl" else ("true", "false")), ending=ending)
    assert classes_of(data) == ["false", "true"]
    head = Classification(4, None, classes=("true", "false"))
    assert [int(head.encode(row.targets["y"])) for row in data.rows] == [0, 1]


def test_true_and_false_are_1_and_0_in_inputs_and_among_several_labels(tmp_path: Path) -> None:
    data = table(tmp_path, True, False, ending="jsonl", modalities={"m": ["x", "y"]}, targets={"v": ["x", "y"]})
    assert data.load(0)["m"].tolist() == [[1, 1]]
    assert data.load(1)["m"].tolist() == [[2, 0]]
    assert [row.targets["v"] for row in data.rows] == [(1.0, 1.0), (2.0, 0.0)]


def test_decimals_of_parquet_are_numbers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from decimal import Decimal

    from pyarrow import parquet

    columns = {"x": [Decimal("1.50"), Decimal("2.25")], "n": pyarrow.array([3, 4], pyarrow.int16()), "y": [0.0, 1.0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    options = {"path": str(tmp_path / "t.parquet"), "modalities": {"m": ["x"], "n": ["n"]}, "targets": ["y"]}
    data = DATASETS.build("manifest", **options)
    assert (data.load(1)["m"].tolist(), data.load(1)["n"].tolist()) == ([[2.25]], [[4]])
    assert data.load(1)["n"].dtype == torch.int64
    assert classes_of(data) == ["0", "1"]


MARKS = ["NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "-nan", "NaN", "NAN", "null", "NULL", "", "  "]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_usual_mark_is_a_missing_value_in_inputs_and_targets(tmp_path: Path, mark: str, ending: str) -> None:
    data = table(tmp_path, "1.5", mark, "2.5", ending=ending, modalities={"m": ["y"]}, targets=["y", "x"])
    assert data.rows[1].targets["y"] is None
    assert [data.has(index, "m") for index in range(3)] == [True, False, True]
    assert [data.length(index, "m") for index in range(3)] == [1, 0, 1]
    assert list(data.load(1)) == []
    told = [text for text in data.cautions if f"marks 1 of 3 values as missing by {mark!r}" in text]
    assert len(told) == bool(mark.strip())
    words = table(tmp_path, "calm", mark, ending=ending)
    assert (words.rows[1].targets["y"], words.classes["y"]) == (None, ("calm",))


@pytest.mark.parametrize("text", ["na", "none", "None", "-", "?", "missing"])
def test_other_words_are_classes_and_are_refused_as_numbers_unless_the_table_says_that_they_mark(
    tmp_path: Path, text: str
) -> None:
    assert table(tmp_path, "calm", text).classes["y"] == tuple(sorted(["calm", text]))
    with pytest.raises(DataError, match="is no number"):
        table(tmp_path, "1", text, modalities={"m": ["y"]}, targets=["x"])
    data = table(tmp_path, "1", text, modalities={"m": ["y"]}, targets=["x"], missing=[text])
    assert list(data.load(1)) == []


def test_a_table_may_say_that_no_text_marks_a_missing_value(tmp_path: Path) -> None:
    data = table(tmp_path, "NA", "EU", "", missing=[])
    assert (data.classes["y"], data.rows[2].targets["y"], data.cautions) == (("EU", "NA"), None, ())


def test_a_note_on_marks_says_how_to_keep_them_where_they_may_be_values(tmp_path: Path) -> None:
    numbers = table(tmp_path, "1", "nan", "2.5", modalities={"m": ["y"]}, targets=["x"])
    assert numbers.cautions == ("Column 'y' of t.csv marks 1 of 3 values as missing by 'nan'.",)
    words = table(tmp_path, "NA", "EU", "1")
    assert [caution.partition(". ")[2] for caution in words.cautions] == [
        "Where this is a value, such as a class, say which texts mark missing ones: missing: []."
    ]


def test_columns_that_are_empty_in_every_row_are_told_with_their_names(tmp_path: Path) -> None:
    data = table(tmp_path, "", "", modalities={"m": ["x"], "sensor": ["y"]}, targets=["x"])
    assert data.cautions == ("Every sample lacks sensor: column 'y' is empty in all 2 rows of t.csv.",)
    with pytest.raises(DataError, match="modality film: column 'y' is empty in every row"):
        table(tmp_path, "", "", modalities={"film": "y"}, targets=["x"])


@pytest.mark.parametrize("name", ["$take.npy", "${HOME}.npy", "~a.npy", "$", "a$b/c.npy", "%20.npy", "a b.npy"])
def test_names_of_files_in_tables_stand_for_themselves(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setenv("take", "elsewhere")
    file = tmp_path / "files" / f"{name.removesuffix('.npy')}.npy"

    (tmp_path / "files" / "a$b").mkdir(parents=True)
    np.save(file, np.ones((2, 3)))
    monkeypatch.setenv("ROOT_OF_FILES", str(tmp_path / "files"))
    data = table(tmp_path, file.relative_to(tmp_path / "files"), modalities={"m": "y"}, root="$ROOT_OF_FILES")
    assert data.load(0)["m"].shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "$DATA/a.npy",
            "names in tables stand for themselves: give $DATA as root",
        ),
        ("~/a.npy", "names in tables stand for themselves"),
        ("C:\\clips\\a.npy", "it looks like a path of Windows: write it with /"),
        ("clips\\a.npy", "it looks like a path of Windows"),
        ("D:/clips/a.npy", "it looks like a path of Windows"),
    ],
)
def test_a_file_that_is_not_there_is_refused_with_what_its_name_looks_like(
    tmp_path: Path, name: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, name, modalities={"m": "y"}, targets=["x"])
    assert hint in str(caught.value)
    with pytest.raises(DataError) as caught:
        table(tmp_path, name, modalities=None, film="y", targets=["x"])
    assert hint in str(caught.value)


def test_names_of_classes_are_those_that_stand_there() -> None:
    assert class_names("1.0") == ("1.0",)
    assert class_names(WrittenNumber("-0.0")) == ("-0.0", "0")
    assert class_names(math.pi) == ("3.141592653589793",)


def test_a_column_of_words_that_is_a_target_of_numbers_is_told_once_with_its_rows(tmp_path: Path) -> None:
    words = ["sad", "happy"] * 20
    data = table(tmp_path, *words)
    with pytest.raises(DataError) as told:
        encode_targets(data.rows, {"y": lambda value: encode_numbers(value, 1)})
    assert str(told.value) == (
        "target y: holds words, such as 'sad', in 40 of 40 rows, where numbers are wanted; "
        "make it a classification: model.targets.y=classification"
    )
    with pytest.raises(DataError, match=r"target y: column 'y' holds words, such as 'sad', in 40 of 40 rows; make"):
        table(tmp_path, *words, targets={"y": ["y"]})


def test_single_words_among_numbers_are_told_by_their_rows(tmp_path: Path) -> None:
    data = table(tmp_path, "sad", "1", "happy")
    with pytest.raises(DataError, match="line 4: y: 'happy' is no number"):
        encode_targets(data.rows, {"y": lambda value: encode_numbers(value, 1)})


def test_empty_cells_of_numbers_are_filled_and_marked_where_the_recipe_says_with_what(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,3\n,\n4,\n")
    filled = {"n": {"column": ["a", "b"], "fill": [2, 2.5]}}
    table = DATASETS.build("manifest", path=str(tmp_path / "t.csv"), modalities=filled)

    assert table.modalities["n"].shape == (4,)
    assert [table.load(row)["n"][0].tolist() for row in (0, 1, 3)] == [[1, 2, 0, 0], [2, 3, 1, 0], [4, 2.5, 0, 1]]
    assert not table.has(2, "n")
    for wrong, said in (
        ({"column": ["a", "b"], "fill": [1]}, "modalities.n.fill: 1 numbers for 2 columns; give one number for each"),
        ({"column": "a", "fill": [1]}, "modalities.n.fill: is of columns of numbers, not of files"),
        ({"column": ["a"], "rate": 4}, "modalities.n: rate, layout and tensor are of files"),
    ):
        with pytest.raises(DataError, match=said):
            DATASETS.build("manifest", path=str(tmp_path / "t.csv"), modalities={"n": wrong})


def test_dates_of_parquet_are_texts_as_in_csv_and_what_no_cell_can_be_is_told_once(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import datetime

    from pyarrow import parquet

    days = [datetime.date(2024, 1, day) for day in (1, 2, 3)]
    moments = [datetime.datetime(2024, 1, 1, hour) for hour in (1, 2, 3)]
    parquet.write_table(pyarrow.table({"day": days, "moment": moments}), tmp_path / "t.parquet")
    rows = [row.cells for row in read_table(tmp_path / "t.parquet").rows]
    assert rows[0] == {"day": "2024-01-01", "moment": "2024-01-01 01:00:00"}

    parquet.write_table(pyarrow.table({"x": [[1.0]] * 3, "y": [b"\xff"] * 3}), tmp_path / "wrong.parquet")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "wrong.parquet")
    assert [(each.place, each.message) for each in caught.value.problems] == [
        ("wrong.parquet, row 1", "column 'x' holds list"),
        ("wrong.parquet, row 1", "column 'y' holds bytes"),
    ]


def test_a_header_of_very_many_columns_is_read_in_time_that_grows_with_them(tmp_path):
    (tmp_path / "wide.csv").write_text(
        ",".join(f"c{number}" for number in range(30_000)) + "\n" + "1," * 29_999 + "1\n"
    )
    started = time.process_time()

    assert len(read_table(str(tmp_path / "wide.csv")).columns) == 30_000
    assert time.process_time() - started < 3
