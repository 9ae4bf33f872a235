"""A folder appears in one piece, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.errors import RunError
from fusionkit.storage.new_folder import appear_at_the_end


def write_half(out: Path) -> None:
    with appear_at_the_end(out) as folder:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError


@pytest.mark.parametrize("is_there", [False, True])
def test_what_fails_leaves_what_was_there(is_there: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if is_there:
        out.mkdir()
    with pytest.raises(ZeroDivisionError):
        write_half(out)

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == (["out"] if is_there else [])


def test_the_current_folder_is_filled_and_stays_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with appear_at_the_end(Path()) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text("a")

    assert Path("inner/a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_link_and_a_folder_that_holds_something_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("full", "dangling"):
        with (
            pytest.raises(RunError, match=f"{name}: exists and is not empty; take a new or empty folder"),
            appear_at_the_end(tmp_path / name),
        ):
            pass
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "dangling").is_symlink()
