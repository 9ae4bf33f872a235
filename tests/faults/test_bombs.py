"""Files of a few bytes that state more than any memory holds are refused by their headers, whatever names them."""

from __future__ import annotations

import io
import json
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import recipe

from fusionkit.data.readers.promised_lengths import _is_matroska_stated


def png(width: int, height: int) -> bytes:
    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(99))) + part(b"IEND", b"")


def jpeg(folder: Path) -> bytes:
    """One whose header states the largest size that there is."""
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "small.jpg")
    content = bytearray((folder / "small.jpg").read_bytes())
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    return bytes(content)


def wav(hours: int, *, present: int) -> bytes:
    """One at 48 kHz that states so many hours."""
    size = min(hours * 3600 * 48000 * 2, 2**32 - 2**18)
    form = struct.pack("<HHIIHH", 1, 1, 48000, 96000, 2, 16)
    head = b"RIFF" + struct.pack("<I", 2**32 - 2**17) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + bytes(present)


def npy(*shape: int) -> bytes:
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(800)


def test_a_film_of_millions_of_empty_parts_is_given_up_soon() -> None:
    segment, nothing = b"\x18\x53\x80\x67\x01" + b"\xff" * 7, b"\xec\x80"
    began = time.process_time()

    promise = _is_matroska_stated(io.BytesIO(b"\x1a\x45\xdf\xa3\x80" + segment + nothing * 5_000_000))

    assert not promise
    assert time.process_time() - began < 1


BOMBS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a.png": (lambda folder: png(100_000, 100_000), "holds 10,000,000,000 pixels, more than the limit of 100,000,000"),
    "a.jpg": (jpeg, "holds 4,294,836,225 pixels, more than the limit of 100,000,000"),
    "a.wav": (lambda folder: wav(100, present=96_000), "it holds 96000 of 4294705152 bytes of sound"),
    "a.npy": (lambda folder: npy(10**6, 10**6), "limit of 4,000,000,000"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_table_that_names_it_is_refused_by_the_check_with_row_and_file_in_little_memory(
    name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    content, told = BOMBS[name]
    (tmp_path / name).write_bytes(content(tmp_path))
    rows = [json.dumps({"x": name, "label": label, "who": n}) for n, label in enumerate("abab")]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    dataset = {"type": "manifest", "path": str(tmp_path / "rows.jsonl"), "modalities": {"x": "x"}}
    options = recipe(
        data={"dataset": {**dataset, "targets": ["label"], "group": "who"}},
        model={"modalities": {"x": {"encoder": "mlp"}}},
    )
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    said = refused("check", tmp_path / "recipe.json")

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # half a GiB, the imports included
    assert "rows.jsonl, line 1: x: " in said
    assert name in said
    assert told in said
