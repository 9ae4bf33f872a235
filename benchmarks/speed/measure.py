"""Measures how fast fusionkit is, row by row, and writes speed_cpu.json or speed_cuda.json.

Usage: python benchmarks/speed/measure.py [--device cpu|cuda] [--rounds N] [--minutes N] [--out FOLDER] [ROW ...]

All rows are measured when none is named. A line is written as soon as it is measured, and rows that are not measured
stay in the file as they are: after a stop, name the rows that are left, and the one that says `"complete": false`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
from records import Measurement, Row, SpeedResult
from rows.registry import ROWS as REGISTERED
from rows.registry import Entry, NotMeasuredError, Place

from fusionkit.errors import FusionKitError
from fusionkit.storage.environment import choose_device, describe_environment, describe_processor
from fusionkit.storage.files import replace_file

RESULTS = Path(__file__).parent.parent / "results"
ROUNDS = 11
SEED = 0
ORDER = (
    *("R_fuse", "F_fuse", "R_pad", "F_pad", "R_miss", "R_loop", "R_data", "R_spec", "R_prep"),
    *("S_N", "S_T", "S_B", "M_peak", "C", "O", "peers", "T_gpu"),
)
"""The rows as the table has them."""

ON_CUDA = ("T_gpu", "R_fuse", "R_pad", "R_miss", "M_peak", "C", "O", "S_N", "S_T", "S_B", "F_fuse", "F_pad")
"""The rows that a GPU is borrowed for, first; the others follow in the order of the table."""

MINUTES = {"cpu": 120.0, "cuda": 9.5}
"""After so many no further row is begun: a borrowed GPU has to be given back."""

ROWS = {name: REGISTERED[name] for name in ORDER}


def measure_row(entry: Entry, place: Place) -> Iterator[Row]:
    """Measures one row and gives it after each of its lines; what cannot be measured here says why."""
    torch.manual_seed(SEED)
    start = time.perf_counter()
    measurements: list[Measurement] = []
    made = {
        **describe_environment(_name_of(place.device)),
        "processor": describe_processor(),
        "threads": torch.get_num_threads(),
        "rounds": place.rounds,
        "seed": SEED,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }

    def found(reason: str = "") -> Row:
        seconds = time.perf_counter() - start
        return Row(title=entry.title, measurements=list(measurements), not_measured=reason, seconds=seconds, made=made)

    made["complete"] = False
    try:
        for measurement in entry.measure(place):
            measurements.append(measurement)
            yield found()
    except NotMeasuredError as why:
        made["stopped"] = str(why)
        yield found("" if measurements else str(why))
        return
    made["complete"] = True
    yield found()


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


def describe(measurement: Measurement) -> str:
    """Returns a line for the terminal."""
    figure = measurement.measured.model_dump()
    value = figure.get("median", figure.get("value"))
    between = f" [{figure['low']:.4g}, {figure['high']:.4g}]" if "low" in figure else ""
    verdict = {None: "", True: "  met", False: "  MISSED"}[measurement.met]
    target = measurement.target
    limit = f" (target {target.sign} {target.limit:g})" if target else ""
    return f"  {value:.4g}{between} {measurement.unit}{limit}{verdict}  {measurement.what}"


def _name_of(device: torch.device) -> str:
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def rows_for(device: str, wanted: Sequence[str]) -> dict[str, Entry]:
    """Returns the rows that are wanted, all when none is named, in the order in which a device measures them.

    Raises:
        SystemExit: A row is unknown, or says nothing about such a device.
    """
    if unknown := sorted(set(wanted) - set(ROWS)):
        sys.exit(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if others := [name for name in wanted if device not in ROWS[name].devices]:
        sys.exit(f"{', '.join(others)}: not measured on {device}; name other rows, or another --device")
    order = dict.fromkeys([*(ON_CUDA if device == "cuda" else ()), *ROWS])
    return {name: ROWS[name] for name in order if device in ROWS[name].devices and (name in wanted or not wanted)}


def measure_all(rows: Mapping[str, Entry], place: Place, folder: Path) -> None:
    """Measures rows, and writes and tells every line as soon as it is there."""
    for name, entry in rows.items():
        if place.is_late():
            print(f"{name}: not begun, since {place.minutes:g} minutes are over: name it to measure it", flush=True)
            continue
        print(f"{name}: {entry.title}", flush=True)
        for row in measure_row(entry, place):
            write_row(name, row, place.device.type, folder)
            if not row.made["complete"]:
                reason = row.not_measured or row.made.get("stopped")
                print(f"  not measured: {reason}" if reason else describe(row.measurements[-1]), flush=True)
    print(folder / f"speed_{place.device.type}.json")


def main(arguments: list[str] | None = None) -> None:
    """Measures the rows that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the table; all when none is named")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one, when left out")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of every comparison ({ROUNDS})")
    parser.add_argument("--minutes", type=float, help="begin no row after so many (cuda 9.5, cpu 120)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the result file")
    parser.add_argument("--list", action="store_true", help="name the rows and measure none")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least one")
    if given.list:
        print("\n".join(f"{name:10} {entry.title}" for name, entry in ROWS.items()))
        return
    try:
        device = choose_device(given.device)
    except FusionKitError as error:
        parser.error(str(error))
    rows = rows_for(device.type, given.rows)
    given.out.mkdir(parents=True, exist_ok=True)
    minutes = MINUTES[device.type] if given.minutes is None else given.minutes
    measure_all(rows, Place(device, given.rounds, minutes), given.out)


if __name__ == "__main__":
    main()
