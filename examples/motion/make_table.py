"""Makes a table of one's own from the motion data of the UEA archive (BasicMotions): arrays, and what was done.

Usage: python make_table.py FOLDER_OF_BASICMOTIONS motion

The files are at https://www.timeseriesclassification.com. People with a watch stand, walk, run or play badminton for
ten seconds, at ten values per second. `samples.csv` has all training cases and every other test case. `later.csv` has
the other test cases, which stand for recordings that come later; the last two have no gyroscope. `day_*.npy` are four
of these in a row.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from fusionkit import DATASETS

SENSORS = {"accelerometer": [0, 1, 2], "gyroscope": [3, 4, 5]}


def write_table(file: Path, rows: list[dict[str, str]]) -> None:
    """Writes rows, with the names of columns above them."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def main(source: Path, folder: Path) -> None:
    """Writes the arrays and both tables."""
    files = {part: str(source / f"BasicMotions_{part.upper()}.ts") for part in ("train", "test")}
    cases = DATASETS.build("ts", modalities=SENSORS, rate=10.0, **files)
    folder.mkdir(parents=True, exist_ok=True)
    known, later = list[dict[str, str]](), list[dict[str, str]]()
    for index, row in enumerate(cases.rows):
        cells = {"name": row.id}
        for sensor, values in cases.load(index).items():
            cells[sensor] = f"{row.id}_{sensor}.npy"
            np.save(folder / cells[sensor], values.numpy())
        cells |= {"rate": "10", "activity": str(row.targets["label"]), "split": str(row.part)}
        (later if row.part == "test" and index % 2 else known).append(cells)
    day = [next(row for row in later if row["activity"] == name) for name in cases.classes["label"]]
    for sensor in SENSORS:
        np.save(folder / f"day_{sensor}.npy", np.concatenate([np.load(folder / row[sensor]) for row in day]))
    for row in later[-2:]:
        row["gyroscope"] = ""
    write_table(folder / "samples.csv", known)
    write_table(folder / "later.csv", [{name: row[name] for name in row if name != "split"} for row in later])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
