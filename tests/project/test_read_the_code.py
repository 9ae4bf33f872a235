"""The walk through the code is the way that a training takes."""

from __future__ import annotations

import importlib
import re
import sys
from functools import reduce
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from small_runs import recipe

from fusionkit.cli import main
from fusionkit.config.yaml import write_yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "read_the_code.md"


def stops() -> list[tuple[str, str, str]]:
    """Returns the file, the function and the caption of every stop."""
    pattern = r"```\{literalinclude\} \.\./\.\./(\S+)\n:pyobject: (\S+)\n:caption: (\S+)\n```"
    return re.findall(pattern, PAGE.read_text(encoding="utf-8"))


def code_of(file: str, name: str) -> CodeType:
    """Returns the code of a function that a page names."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found: Any = reduce(getattr, name.split("."), module)
    code: CodeType = getattr(found, "__wrapped__", found).__code__
    return code


def test_there_are_ten_stops_each_under_a_heading_and_under_its_own_name() -> None:
    headings = re.findall(r"^## (\d+)\. ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert [int(number) for number in headings] == list(range(1, 11))
    assert len(stops()) == 10
    assert all(file == caption for file, _, caption in stops())


def test_a_training_passes_the_stops_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(recipe(epochs=1)), encoding="utf-8")
    wanted = {code_of(file, name): f"{file}: {name}" for file, name, _ in stops()}
    passed: dict[str, None] = {}

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in wanted:
            passed.setdefault(wanted[frame.f_code])

    sys.setprofile(watch)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["train", str(file), "--out", str(tmp_path / "run"), "--device", "cpu"])
    finally:
        sys.setprofile(None)

    assert not ended.value.code, capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert list(passed) == list(wanted.values())
