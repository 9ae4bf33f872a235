"""Measures how fast fusionkit is, row by row, and writes benchmarks/results/speed_cpu.json or speed_cuda.json.

Usage: python benchmarks/speed/measure.py [--device cpu|cuda] [--rounds N] [ROW ...]

All rows are measured when none is named. A row is written as soon as it is measured; the others of the file stay, so
that a stopped measurement goes on with the rows that are left. `--list` names the rows.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from pathlib import Path

import rows.data
import rows.encoders
import rows.gpu
import rows.memory
import rows.missing
import rows.options
import rows.padding
import rows.peers
import rows.preparation
import rows.scaling
import rows.spectrograms
import rows.training  # noqa: F401 - each registers its rows
import torch
from records import Row, SpeedResult
from rows.registry import ROWS as REGISTERED
from rows.registry import Entry, NotMeasuredError, Place

from fusionkit.environment import choose_device, describe_environment
from fusionkit.whole_files import replace_file

RESULTS = Path(__file__).parent.parent / "results"
ROUNDS = 11
SEED = 0
ORDER = (
    *("R_fuse", "F_fuse", "R_pad", "F_pad", "R_miss", "R_loop", "R_data", "R_spec", "R_prep"),
    *("S_N", "S_T", "S_B", "M_peak", "C", "O", "peers", "T_gpu"),
)
"""The rows as the table has them."""

ROWS = {name: REGISTERED[name] for name in ORDER}


def measure_row(entry: Entry, place: Place) -> Row:
    """Measures one row; what cannot be measured here says why."""
    torch.manual_seed(SEED)
    start = time.perf_counter()
    measurements, reason = [], ""
    try:
        measurements = list(entry.measure(place))
    except NotMeasuredError as why:
        reason = str(why)
    return Row(
        title=entry.title,
        measurements=measurements,
        not_measured=reason,
        seconds=time.perf_counter() - start,
        made={
            **describe_environment(_name_of(place.device)),
            "threads": torch.get_num_threads(),
            "seed": SEED,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )


def write_row(name: str, row: Row, device: str, folder: Path = RESULTS) -> Path:
    """Puts a row into the result file of its device."""
    path = folder / f"speed_{device}.json"
    before = {}
    if path.is_file():
        before = SpeedResult.model_validate_json(path.read_bytes()).rows
    found = {**before, name: row}
    ordered = {key: found[key] for key in (*ROWS, *found) if key in found}
    result = SpeedResult(device=device, rows=ordered)
    replace_file(path, (result.model_dump_json(indent=1) + "\n").encode())
    return path


def told(row: Row) -> str:
    """A row for the terminal."""
    if row.not_measured:
        return f"not measured: {row.not_measured}"
    lines = []
    for each in row.measurements:
        figure = each.measured.model_dump()
        value = figure.get("median", figure.get("value"))
        between = f" [{figure['low']:.4g}, {figure['high']:.4g}]" if "low" in figure else ""
        verdict = {None: "", True: "  met", False: "  MISSED"}[each.met]
        limit = f" (target {each.target.sign} {each.target.limit:g})" if each.target else ""
        lines.append(f"  {value:.4g}{between} {each.unit}{limit}{verdict}  {each.what}")
    return "\n".join(lines)


def _name_of(device: torch.device) -> str:
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def main(arguments: list[str] | None = None) -> None:
    """Measures the rows that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--device", help="cpu or cuda; a GPU where there is one, when left out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.rows) - set(ROWS)):
        sys.exit(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if given.list:
        print("\n".join(f"{name:10} {entry.title}" for name, entry in ROWS.items()))
        return
    place = Place(choose_device(given.device), given.rounds)
    for name, entry in ROWS.items():
        if (given.rows and name not in given.rows) or place.device.type not in entry.devices:
            continue
        print(f"{name}: {entry.title}", flush=True)
        row = measure_row(entry, place)
        path = write_row(name, row, place.device.type)
        print(told(row), flush=True)
    print(path)


if __name__ == "__main__":
    main()
