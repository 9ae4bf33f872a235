"""Any table, list of folds, series or archive is read or refused with its name, whatever became of its bytes."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from damage import altered, damaged
from PIL import Image
from pyarrow import parquet
from trials import Trials

from fusionkit.config.components.registry import DATASETS, FOLDS
from fusionkit.data.datasets.fer2013_files import EMOTIONS, USAGES
from fusionkit.data.readers.archives import open_member
from fusionkit.experiments.drafts.draft import make_draft
from fusionkit.experiments.drafts.plan import Wishes
from fusionkit.interfaces import Dataset, Row

RECORDS = [
    {"id": f"c{n}", "x": n, "y": n / 4, "label": "calm" if n % 2 else "happy", "age": 20 + n, "who": f"{n % 3:02}"}
    for n in range(8)
]
SERIES = "".join(
    f"{','.join(str(n + t) for t in range(6))}:{','.join(str(n * t) for t in range(6))}:{'ab'[n % 2]}\n"
    for n in range(4)
)
TS = "@problemName made\n@missing true\n@dimensions 2\n@equalLength true\n@seriesLength 6\n@classLabel true a b\n"


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, limit in (("PIXELS", 10**6), ("BYTES", 10**7), ("TABLE_BYTES", 10**6), ("MEMBERS", 10**4)):
        monkeypatch.setenv(f"FUSIONKIT_MAX_{kind}", str(limit))


def everything(dataset: Dataset) -> None:
    for index in range(len(dataset.rows)):
        assert dataset.load(index) is not None


def manifest(file: Path) -> None:
    everything(
        DATASETS.build(
            "manifest", path=str(file), modalities={"xy": ["x", "y"]}, targets=["label", "age"], group="who", id="id"
        )
    )


def series(file: Path) -> None:
    everything(DATASETS.build("ts", train=str(file), missing="interpolate", modalities={"one": [0], "two": [1]}))


def faces(file: Path) -> None:
    everything(DATASETS.build("fer2013", root=str(file)))


def member(file: Path) -> None:
    with open_member(file / "clips" / "a.wav") as opened:
        opened.read()


def folds(file: Path) -> None:
    rows = [Row(f"c{n}", None, None, {}, f"row {n}") for n in range(4)]
    FOLDS.build("given", file=str(file)).split(rows)


def as_csv(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(RECORDS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(RECORDS)
    return text.getvalue().encode()


def as_parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(RECORDS), file)
    return file.getvalue()


def as_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clips/a.wav", bytes(range(256)) * 4)
        archive.writestr("clips/b.wav", b"b" * 100)
    return file.getvalue()


def as_tar() -> bytes:
    """A face of each emotion in each set."""
    file, image, number = io.BytesIO(), io.BytesIO(), 0
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(image, "jpeg", quality=30)
    with tarfile.open(fileobj=file, mode="w") as archive:
        for usage, part in USAGES.items():
            for emotion in EMOTIONS:
                info = tarfile.TarInfo(f"{part}/{emotion}/{usage}_{(number := number + 1)}.jpg")
                info.size = len(image.getvalue())
                archive.addfile(info, io.BytesIO(image.getvalue()))
    return file.getvalue()


def as_faces() -> bytes:
    pixels = " ".join(str(n % 10) for n in range(48 * 48))
    lines = [f"{number},{pixels},{usage}" for usage in USAGES for number in range(len(EMOTIONS))]
    return "\n".join(["emotion,pixels,Usage", *lines]).encode()


@pytest.mark.parametrize(
    ("name", "whole", "reader", "count"),
    [
        ("rows.csv", as_csv(","), manifest, 100),
        ("rows.tsv", as_csv("\t"), manifest, 50),
        ("rows.jsonl", b"\n".join(json.dumps(each).encode() for each in RECORDS), manifest, 100),
        ("rows.parquet", as_parquet(), manifest, 150),
        ("cases.ts", f"{TS}@data\n{SERIES}".encode(), series, 100),
        ("films.zip", as_zip(), member, 150),
        ("faces.tar", as_tar(), faces, 100),
        ("fer2013.csv", as_faces(), faces, 50),
        ("folds.csv", b"id,fold\nc0,a morning\nc1,a morning\nc2,an evening\nc3,an evening\n", folds, 60),
        ("folds.json", b'{"c0": "a morning", "c1": "a morning", "c2": "an evening", "c3": "night"}', folds, 60),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_files_are_read_or_refused_with_their_name(
    trials: Trials, tmp_path: Path, *, name: str, whole: bytes, reader: Callable[[Path], None], count: int
) -> None:
    file = tmp_path / name
    file.write_bytes(whole)
    reader(file)
    for chance in trials.cases(count):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(lambda: reader(file), names=name)
    assert 0 < trials.refused < trials.tried


def test_rows_in_which_anything_is_altered_are_read_or_refused_with_the_table_s_name(
    trials: Trials, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    for chance in trials.cases(100):
        rows = altered(RECORDS, chance, chance.choice((1, 2, 5)))
        file.write_text("\n".join(json.dumps(each) for each in rows))
        trials.attempt(lambda: manifest(file), names=file.name)
    assert 0 < trials.refused < trials.tried


HEADS = (
    *("label", "y", "class_id", "id", "subject", "acc_x", "acc_y", "gyro x", "Größe (mm)", "split", "rating", "rate"),
    *("label_a", "label_b", "date", "", "constant", "fused", "path", "年齢", "a\nb", "1", "x" * 200, "#c", "a: b"),
)


def drawn_column(chance: Random) -> Callable[[int], Any]:
    """What a column holds by row: numbers, words, codes, marks, parts, paths, gaps."""
    return chance.choice(
        [
            lambda row: round(chance.gauss(0, 1), 3),
            lambda row: row,
            lambda row: chance.choice("abc"),
            lambda row: chance.randrange(3),
            lambda row: "",
            lambda row: 7,
            lambda row: f"s{row // 3:02}",
            lambda row: chance.choice(["1,5", "2"]),
            lambda row: chance.choice(["?", 1.5, 2]),
            lambda row: chance.choice(["train", "test"]),
            lambda row: chance.choice(["", 1.5, 2.25]),
            lambda row: chance.choice([1e30, 1e300, -5, "nan"]),
            lambda row: f"{chance.choice('ab')}.{chance.choice(['wav', 'npy'])}",
        ]
    )


def test_of_any_table_a_recipe_is_drafted_or_the_table_is_refused_with_its_name(trials: Trials, tmp_path: Path) -> None:
    file = tmp_path / "drawn.csv"
    for chance in trials.cases(120):
        header = chance.sample(HEADS, chance.randint(2, 7))
        columns = [drawn_column(chance) for _ in header]
        with file.open("w", newline="", encoding="utf-8") as written:
            rows = range(chance.choice([0, 1, 3, 12, 12, 30, 30, 30]))
            csv.writer(written).writerows([header, *([column(row) for column in columns] for row in rows)])
        wishes = Wishes(
            (chance.choice(header),) if chance.random() < 0.5 else (),
            chance.choice(header) if chance.random() < 0.2 else None,
        )
        trials.attempt(lambda wishes=wishes: make_draft(str(file), tmp_path, wishes), names=file.name)
    assert 0 < trials.refused < trials.tried
