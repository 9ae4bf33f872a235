"""What the comparisons of the literature read, derived once from real data: log-mel columns, action units and faces.

A comparison trains thousands of small networks, and most of each would be spent on the same Fourier transforms. So the
columns of every clip are computed once, by the library's own encoder, and stand in a table that `manifest` reads.

Usage: FUSIONKIT_DATA=... python benchmarks/literature/derive.py runs/literature
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.datasets.ravdess_action_units import RavdessActionUnits
from fusionkit.data.datasets.ravdess_fer2013 import RavdessFer2013
from fusionkit.interfaces import Dataset
from fusionkit.models.encoders.log_mel import LogMel
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.files import replace_file

BANDS, HOP = 64, 800  # twenty columns a second at 16 kHz
FACES = 2


def columns_of(wave: Tensor) -> np.ndarray:
    """The log-mel columns of a clip, ``(time, bands)``."""
    encoder = LogMel((), bands=BANDS, window=HOP, hop=HOP)
    return encoder(Jagged.from_list([wave])).values.numpy()


def derive(dataset: Dataset, out: Path, others: Mapping[str, Callable[[Tensor], np.ndarray]]) -> Path:
    """Writes an array per clip and modality and the table that lists them, and returns the table."""
    made: dict[str, Callable[[Tensor], np.ndarray]] = {"audio": columns_of, **others}
    for name in made:
        (out / name).mkdir(parents=True, exist_ok=True)
    table, written = out / "table.csv", set[Path]()
    lines: list[Sequence[str]] = [("id", "actor", "part", "emotion", *made)]
    for index, row in enumerate(dataset.rows):
        sample = dataset.load(index)
        cells = []
        for name, convert in made.items():
            if name not in sample:
                cells.append("")  # a missing modality
                continue
            # The two samples of a clip with other faces share one sound.
            stem = row.id.split("/")[0] if name == "audio" else row.id.replace("/", "_")
            file = out / name / f"{stem}.npy"
            if file not in written:
                np.save(file, convert(sample[name]))
                written.add(file)
            cells.append(file.relative_to(out).as_posix())
        lines.append((row.id, str(row.group), row.part or "", str(row.targets["emotion"]), *cells))
    rows = [",".join(line) for line in lines]
    assert all(len(fields) == len(lines[0]) for fields in csv.reader(rows)), "a name holds a comma"
    replace_file(table, ("\n".join(rows) + "\n").encode())
    return table


def main(out: Path) -> None:
    """Derives both sets."""
    data = os.environ.get("FUSIONKIT_DATA")
    if data is None:
        sys.exit("FUSIONKIT_DATA names no folder; it holds ravdess/ and fer2013.tar")
    torch.set_num_threads(1)
    units = RavdessActionUnits(root=f"{data}/ravdess")
    print(derive(units, out / "action_units", {"action_units": lambda values: values.numpy().reshape(-1)}))
    faces = RavdessFer2013(sound=f"{data}/ravdess/audio", faces_root=f"{data}/fer2013.tar", faces=FACES)
    print(derive(faces, out / "faces_and_voices", {"face": lambda values: values.numpy() / np.float32(255)}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
