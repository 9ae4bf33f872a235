"""Files of prepared clips, as training reads them: small ones at once, large ones mapped, damaged ones refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fusionkit.data.films.cache import read_clip, write_clip
from fusionkit.data.films.records import ClipRecord
from fusionkit.errors import DataError


def clip_in(folder: Path, frames: int, samples: int) -> tuple[Path, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(frames)
    tensors = {
        "video": torch.randint(0, 256, (frames, 3, 8, 8), dtype=torch.uint8, generator=generator),
        "audio": torch.randint(-(2**15), 2**15, (samples,), dtype=torch.int16, generator=generator),
    }
    file = folder / "clip.safetensors"
    write_clip(file, ClipRecord("a \N{SNOWMAN}", "prepared", "", "", (), {}, ()), tensors)
    return file, tensors


@pytest.mark.parametrize("frames", [1, 40, 8000])
@pytest.mark.parametrize("samples", [0, 1, 777])
def test_a_clip_is_read_as_it_was_written_and_as_safetensors_reads_it(
    frames: int, samples: int, tmp_path: Path
) -> None:
    file, written = clip_in(tmp_path, frames, samples)
    library = load_file(file)
    for whole in (True, False):
        found = read_clip(file, whole=whole)
        assert set(found) == set(written) == set(library)
        for name, tensor in written.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
            assert torch.equal(found[name], library[name])


@pytest.mark.parametrize(("frames", "mapped"), [(40, False), (8000, True)])
def test_large_clips_are_mapped_and_small_ones_are_read(frames: int, mapped: bool, tmp_path: Path) -> None:
    file, _ = clip_in(tmp_path, frames, 777)
    found = read_clip(file)
    address = found["video"].data_ptr()
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    assert any(first <= address < last for first, last in ranges) == mapped


@pytest.mark.parametrize("frames", [40, 8000])
def test_what_is_written_into_a_clip_in_memory_never_comes_to_its_file(frames: int, tmp_path: Path) -> None:
    file, written = clip_in(tmp_path, frames, 777)
    for tensor in read_clip(file).values():
        tensor.zero_()
    assert torch.equal(read_clip(file)["video"], written["video"])


@pytest.mark.parametrize("frames", [40, 8000])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 0.999])
def test_a_clip_that_was_cut_short_after_it_was_checked_is_refused(frames: int, share: float, tmp_path: Path) -> None:
    file, _ = clip_in(tmp_path, frames, 777)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"clip\.safetensors: is damaged: its content is not what was prepared; delete"):
        read_clip(file)


@pytest.mark.parametrize("header", [b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x04" + b"\0" * 7 + b'{"a"'])
def test_a_clip_whose_header_is_none_is_refused(header: bytes, tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    file.write_bytes(header + bytes(100))
    with pytest.raises(DataError, match="is damaged"):
        read_clip(file)
    with pytest.raises(DataError, match="is damaged"):
        read_clip(file.with_name("gone.safetensors"))
