"""Arrays whose headers say what no memory holds, or what is no array of numbers."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fusionkit.data.readers.arrays import read_array
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.errors import DataError, RunError, ShapeError
from fusionkit.models.encoders.weights import load_weights

PLAIN = ReadOptions()


def npy(shape: object, kind: str = "<f4", numbers: bytes = b"") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + numbers


def safetensors(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def tensor(kind: str, shape: list[int], size: int) -> dict[str, object]:
    return {"x": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}


REFUSED = {
    "npy of 10^12 numbers": (
        "a.npy",
        npy((10**12,)),
        "holds 4,000,000,000,000 bytes, more than the limit",
    ),
    "npy of 10^30 numbers": ("a.npy", npy((10**15, 10**15)), r"holds 4(,000){10} bytes, more than the limit"),
    "npy of bytes that become numbers": ("a.npy", npy((2 * 10**9,), "|u1"), "holds 8,000,000,000 bytes"),
    "npy that was cut": ("a.npy", npy((3,), numbers=b"12345678"), "is truncated: it holds 8 of 12 bytes of numbers"),
    "npy of objects": ("a.npy", npy((1,), "|O", b"cos\nsystem\n."), "holds object, not real numbers"),
    "npy of fields": ("a.npy", npy((1,), "[('a', '<f4')]"), "cannot be read as npy"),
    "npy of complex numbers": ("a.npy", npy((1,), "<c8", bytes(8)), "holds complex64, not real numbers"),
    "npy of dates": ("a.npy", npy((1,), "<M8[s]", bytes(8)), r"holds datetime64\[s\], not real numbers"),
    "npy of a negative length": ("a.npy", npy((-5,)), r"states the shape \(-5,\)"),
    "npy of a sum": ("a.npy", npy("(2**3,)"), "cannot be read as npy"),
    "npy of no shape": ("a.npy", npy("None"), "cannot be read as npy"),
    "npy without its header": ("a.npy", npy((1,))[:9], "cannot be read as npy"),
    "npy nested deep": ("a.npy", npy("(" * 9000), "cannot be read as npy"),
    "npy that is an archive": ("a.npy", b"PK\x03\x04" + bytes(40), "cannot be read as npy"),
    "npy of a version to come": ("a.npy", npy((1,)).replace(b"Y\x01", b"Y\x09"), r"cannot be .* \(its version 9.0 is"),
    "npy of nothing": ("a.npy", b"", "cannot be read as npy"),
    "tensor of 10^12 numbers": ("a.safetensors", safetensors(tensor("F32", [10**12], 4 * 10**12)), "cannot be read as"),
    "tensor of complex numbers": ("a.safetensors", safetensors(tensor("C64", [1], 8), bytes(8)), "holds C64, not real"),
    "tensor of half bytes": ("a.safetensors", safetensors(tensor("F4", [8], 4), bytes(4)), "holds F4, not real"),
    "tensor of an unknown kind": ("a.safetensors", safetensors(tensor("F99", [1], 4), bytes(4)), "cannot be read as"),
    "header of lists": ("a.safetensors", safetensors(b"[" * 9000), "cannot be read as safetensors"),
    "header of 10^15 bytes": ("a.safetensors", struct.pack("<Q", 10**15), "cannot be read as safetensors"),
    "no tensor": ("a.safetensors", safetensors({}), "holds 0 tensors"),
    "nothing": ("a.safetensors", b"", "cannot be read as safetensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_array_is_refused_by_its_header_with_its_name(tmp_path: Path, what: str) -> None:
    name, content, message = REFUSED[what]
    (tmp_path / name).write_bytes(content)

    for read in (describe_media, read_media):
        with pytest.raises(DataError, match=rf"{name}: {message}"):
            read(tmp_path / name, PLAIN)


def test_a_tensor_larger_than_the_limit_is_refused_and_its_neighbour_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"large": torch.ones(1000), "small": torch.ones(3)}, path)
    monkeypatch.setenv("FUSIONKIT_MAX_BYTES", "3999")

    assert read_media(path, ReadOptions(tensor="small")).tolist() == [[1.0, 1.0, 1.0]]
    with pytest.raises(DataError, match=r"holds 4,000 bytes, more than the limit of 3,999"):
        read_media(path, ReadOptions(tensor="large"))


@pytest.mark.parametrize("what", [what for what, (name, *_) in REFUSED.items() if name == "a.safetensors"])
def test_weights_of_an_encoder_are_refused_with_their_name_whatever_is_wrong(tmp_path: Path, what: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(REFUSED[what][1])

    with pytest.raises((RunError, ShapeError), match=r"^cnn: .*weights\.safetensors"):
        load_weights(torch.nn.Linear(1, 1), str(path), source="cnn")


@pytest.mark.parametrize("shape", [(0,), (0, 5), (4, 0)])
def test_an_array_of_no_numbers_is_described_as_it_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    save_file({"x": torch.zeros(shape)}, tmp_path / "a.safetensors")

    for name in ("a.npy", "a.safetensors"):
        found = describe_media(tmp_path / name, ReadOptions(layout="sequence"))
        assert (found.length, *found.shape) == shape
        assert tuple(read_media(tmp_path / name, ReadOptions(layout="sequence")).shape) == shape


@pytest.mark.parametrize("kind", [">f4", "<f8", "<f2", ">i4", "|u1", "|b1"])
def test_an_array_is_the_same_numbers_in_any_type_and_byte_order(tmp_path: Path, kind: str) -> None:
    array = np.array([[0, 1], [1, 1]]).astype(kind)
    np.save(tmp_path / "a.npy", np.asfortranarray(array))

    assert read_media(tmp_path / "a.npy", PLAIN).tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_a_header_that_is_said_to_end_behind_the_file_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{'descr': '<f4'")

    with pytest.raises(DataError, match=r"a\.npy: cannot be read as npy \(its header ends behind the file\)"):
        read_array(file, None)
