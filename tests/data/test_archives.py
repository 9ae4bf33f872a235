"""Archives and tables that would fill the memory, or lead to files outside of them."""

import io
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from fusionkit.data.datasets.fer2013_files import find_faces
from fusionkit.data.datasets.film_files import find_media
from fusionkit.data.readers.archives import list_members, open_member
from fusionkit.data.readers.tables import read_table
from fusionkit.data.readers.ts import read_ts
from fusionkit.errors import DataError


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["/etc/passwd.mp4", "../../film.mp4", "a/../../film.mp4", "..\\film.mp4", "\\film.mp4"]
)
def test_an_archive_with_a_name_that_leads_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "films.zip", {"good.mp4": b"film", name: b"film"})

    with pytest.raises(
        DataError, match=r"films\.zip: holds 1 files whose names lead out of it, such as '.*film|passwd"
    ):
        list_members(archive)

    tree = find_media(str(tmp_path), "films")
    assert not tree.files
    assert [problem.place for problem in tree.problems] == ["films.zip"]


def test_dots_within_a_name_lead_nowhere(tmp_path: Path) -> None:
    archive = packed(tmp_path / "films.zip", {"a..b/film...mp4": b"film"})

    assert list(list_members(archive)) == ["a..b/film...mp4"]


def test_a_member_larger_than_the_limit_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "films.zip", {"zeros.mp4": bytes(100_000)})
    assert archive.stat().st_size < 1000
    with open_member(archive / "zeros.mp4") as file:
        assert file.read() == bytes(100_000)
    monkeypatch.setenv("FUSIONKIT_MAX_BYTES", "99999")

    with pytest.raises(DataError, match=r"zeros\.mp4: holds 100,000 bytes, more than the limit of 99,999"):
        open_member(archive / "zeros.mp4")


def test_a_large_member_is_unpacked_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.data.readers.archives._IN_MEMORY", 1000)
    archive = packed(tmp_path / "films.zip", {"small.mp4": bytes(1000), "large.mp4": bytes(1001)})

    for name, on_disk in (("small.mp4", False), ("large.mp4", True)):
        with open_member(archive / name) as file:
            assert isinstance(file, tempfile.SpooledTemporaryFile)
            assert file._rolled is on_disk
            assert file.seek(5) == 5


def test_a_member_that_states_fewer_bytes_than_it_holds_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "films.zip", {"a.mp4": bytes(5000)})
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<I", 5000), struct.pack("<I", 10)))

    with pytest.raises(DataError, match=r"a\.mp4: cannot be unpacked \(Bad CRC-32"):
        open_member(archive / "a.mp4")


def test_an_archive_of_more_files_than_the_limit_is_refused_by_what_stands_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "films.zip", {f"{i}.mp4": b"" for i in range(6)})
    assert len(list_members(archive)) == 6
    monkeypatch.setenv("FUSIONKIT_MAX_MEMBERS", "5")
    archive.touch()
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda self: pytest.fail("its list was read"))

    with pytest.raises(DataError, match=r"films\.zip: holds 6 members, more than the limit of 5"):
        list_members(archive.rename(tmp_path / "other.films.zip"))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(50), b"PK\x05\x06" + b"\xff" * 18, b"PK\x06\x06" + bytes(80)]
)
def test_whatever_is_wrong_with_an_archive_is_said_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "films.zip").write_bytes(content)

    with pytest.raises(DataError, match=r"films\.zip: (is no whole zip archive|holds [\d,]+ bytes)"):
        list_members(tmp_path / "films.zip")


def test_a_tar_of_faces_is_held_against_the_limits_and_its_names_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("/etc/passwd", "../train/happy/Training_1.jpg", "train/../Training_1.jpg", "."):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"face"))

    with pytest.raises(DataError, match=r"files are no part/emotion/Usage_N\.jpg"):
        find_faces(str(path))
    monkeypatch.setenv("FUSIONKIT_MAX_MEMBERS", "3")
    with pytest.raises(DataError, match=r"faces\.tar: holds 4 members, more than the limit of 3"):
        find_faces(str(path))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.ts", "fer2013.csv"])
def test_a_text_larger_than_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(12_000_000_000)  # takes no room on the disk
    read = {".ts": read_ts}.get((tmp_path / name).suffix, find_faces if name == "fer2013.csv" else read_table)

    with pytest.raises(DataError, match=rf"{name}: holds 12,000,000,000 bytes, .*FUSIONKIT_MAX_TABLE_BYTES"):
        read(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.ts"])
@pytest.mark.parametrize("content", [bytes(range(256)) * 4, b"\x00" * 64, b"PAR1" + bytes(32) + b"PAR1", b"[" * 20_000])
def test_binary_noise_is_no_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=rf"{name}"):
        (read_ts if name == "a.ts" else read_table)(str(tmp_path / name))


def test_a_parquet_that_is_large_once_it_is_unpacked_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"label": ["calm"] * 100_000}), path)
    assert path.stat().st_size < 10_000
    monkeypatch.setenv("FUSIONKIT_MAX_TABLE_BYTES", "50000")

    with pytest.raises(DataError, match=r"a\.parquet: holds 100,000 bytes, more than the limit of 50,000"):
        read_table(str(path))


def test_a_parquet_whose_pages_ask_for_more_memory_than_there_is_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"label": ["calm"]}), tmp_path / "a.parquet")

    def full(*_: object) -> None:
        raise pyarrow.lib.ArrowMemoryError("malloc of size 2147483584 failed")

    monkeypatch.setattr(parquet, "read_table", full)
    with pytest.raises(DataError, match=r"a\.parquet: asks for more memory than there is \(malloc of size 2147483584"):
        read_table(str(tmp_path / "a.parquet"))
