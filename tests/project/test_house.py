"""The house: what stands at the top, who imports whom, and a picture that shows it as it is."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))  # scripts of the documentation import each other
PACKAGE = ROOT / "fusionkit"

import house  # noqa: E402 - it lies there

FOLDERS = sorted(file.parent for file in PACKAGE.rglob("__init__.py"))
#: A registry has as many files as it has components.
REGISTRIES = {"training/balancers", "data/datasets"}


def rooms() -> list[str]:
    return [room for line in house.floors() for room in line]


def test_every_room_stands_on_one_floor_and_a_stranger_reads_the_list_once() -> None:
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}

    assert sorted(rooms()) == sorted(packages | modules)
    assert len(packages) <= 16
    assert len(modules) <= 3


def test_a_room_imports_only_from_floors_below_its_own() -> None:
    floor_of = {room: floor for floor, line in enumerate(house.floors()) for room in line}
    found = list(house.imports())

    assert len(found) > 500
    assert not [(upper, lower) for upper, lower in found if floor_of[upper] >= floor_of[lower]]


def test_the_contract_hides_no_cycle() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split('type = "layers"')[1].split("[[", 1)[0]

    assert " : " not in contract
    assert "ignore_imports" not in contract


def imports_of_siblings() -> dict[str, dict[str, set[str]]]:
    """By package, which of the packages directly below it import which others there."""
    found: dict[str, dict[str, set[str]]] = {}
    for file in PACKAGE.rglob("*.py"):
        own = file.parent.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "fusionkit":
                continue
            for alias in node.names:  # `from fusionkit.training import step` names a package too
                other = (*str(node.module).split(".")[1:], alias.name)
                depth = next((n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), len(own))
                package = (*own[:depth], other[depth]) if depth < min(len(own), len(other)) else ()
                if depth and package and PACKAGE.joinpath(*package).is_dir():
                    found.setdefault("/".join(own[:depth]), {}).setdefault(own[depth], set()).add(other[depth])
    return found


def test_packages_side_by_side_in_a_room_import_each_other_in_no_circle() -> None:
    found = imports_of_siblings()

    assert found["training"]["profiling"] == {"step"}
    assert sum(map(len, found.values())) > 5
    for room, graph in found.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"{room}: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_holds_more_than_one_file_and_no_more_than_fifteen(folder: Path) -> None:
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    within = [file.parent for file in folder.glob("*/__init__.py")]

    assert len(files) + len(within) > 1
    assert len(files) <= 15 or folder.relative_to(PACKAGE).as_posix() in REGISTRIES


def test_no_module_is_longer_than_300_lines() -> None:
    long = {
        file.relative_to(ROOT).as_posix(): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := file.read_text(encoding="utf-8").count("\n")) > 300
    }

    assert not long


def test_the_picture_shows_the_house_as_it_is() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "pictures" / "house.svg")
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    arcs = {each.get("id", "") for each in picture.iter("{http://www.w3.org/2000/svg}g")}

    assert [text for text in texts if text in rooms()] == rooms(), "run `make pictures`"
    assert {house.job_of(room).rstrip(".") for room in rooms()} <= set(texts), "run `make pictures`"
    assert {" · ".join(house.rooms_within(room)) for room in rooms()} - {""} <= set(texts), "run `make pictures`"
    drawn = {tuple(map(int, match.groups())) for arc in arcs if (match := re.fullmatch(r"imports (\d+) (\d+)", arc))}
    assert drawn == set(house.imports_between_floors()), "run `make pictures`"


def test_the_table_of_rooms_is_that_of_the_code() -> None:
    assert house.table_of_rooms() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "run `make pictures`"


def test_every_place_for_a_new_thing_is_there() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("<!-- where -->")[1].split("<!-- end of")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    places = [place for row in rows for place in re.findall(r"`([a-z_/.]+)`", row[1])]

    assert len(rows) > 15
    for place in set(places):
        folders = (PACKAGE, ROOT, *(PACKAGE / each for each in places if "/" in each and not each.endswith(".py")))
        assert any((folder / place).exists() for folder in folders), place


@pytest.mark.slow
def test_the_script_of_the_pictures_draws_every_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pictures

    page = tmp_path / "CONTRIBUTING.md"
    page.write_text(f"before\n{house.BEGINS}\nold\n{house.ENDS}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(pictures, "ROOT", tmp_path)  # the page that it writes, and no other, lies there

    written = pictures.main(tmp_path / "pictures")

    assert [path.name for path in written] == [
        *("faces.png", "network.png", "folds.png", "reliability.png", "house.svg", page.name)
    ]
    assert all(path.is_relative_to(tmp_path) and path.stat().st_size > 0 for path in written)
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n{house.BEGINS}\n{house.table_of_rooms()}{house.ENDS}\nafter\n"
