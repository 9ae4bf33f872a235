"""Preparation of films beside bare decoding of them, as `benchmarks/prepare.py` measures it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from records import Interval, Measurement, Target
from rounds import interval

from rows.registry import Place, row

sys.path.append(str(Path(__file__).parents[2]))
import prepare

SIZES = ((1280, 720), (640, 480))


@row("R_prep", "preparation without detection / bare decoding of picture and sound", devices=("cpu",))
def preparation_time(place: Place) -> Sequence[Measurement]:
    """Measures seconds of preparing films by those of decoding them, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            return [compare_preparation(films, Path(name), place.rounds) for films in write_films(Path(name))]
    finally:
        torch.set_num_threads(threads)


def write_films(folder: Path) -> Iterator[prepare.Films]:
    """Writes the films of `benchmarks/prepare.py`, in colour and in grey."""
    for width, height in SIZES:
        path = folder / f"{height}.mp4"
        prepare.write_film(path, width, height)
        title = f"{width}x{height} H.264, {prepare.SECONDS} s at {prepare.RATE} frames/s"
        for grey in (False, True):
            yield prepare.Films(title, (path,), prepare.RATE, grey)


def compare_preparation(films: prepare.Films, folder: Path, rounds: int) -> Measurement:
    """Measures rounds of one preparation between two decodings."""
    found = prepare.against_decoding(films, folder / "prepared", rounds)
    ratios = [2 * each["prepared"] / (each["film"] + each["film_again"]) for each in found["rounds"]]
    return Measurement(
        what=f"{found['films']}, faces of {prepare.SIZE} x {prepare.SIZE}",
        measured=Interval(**interval(ratios)),
        target=Target(figure="median", sign="<=", limit=1.25),
        more=found,
    )
