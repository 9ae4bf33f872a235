"""What is installed, and what importing it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path
from statistics import median

import pytest

import fusionkit

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(program: str) -> float:
    """Runs a program in a fresh interpreter and returns its processor seconds: waiting for others does not count."""
    before = os.times()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_import_loads_neither_fabric_nor_figures_nor_media() -> None:
    python(
        "import fusionkit, sys\n"
        "fusionkit.build, fusionkit.load_recipe, fusionkit.Jagged, fusionkit.ENCODERS\n"
        "heavy = {'lightning_fabric', 'matplotlib', 'timm', 'torchaudio', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


@pytest.mark.slow
def test_import_costs_at_most_1_3_times_torch() -> None:
    pairs = [(python("import torch"), python("import fusionkit; fusionkit.build")) for _ in range(5)]

    assert median(ours / torchs for torchs, ours in pairs) <= 1.3


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(fusionkit, name) is not None for name in fusionkit.__all__)


def test_the_command_is_called_fusionkit() -> None:
    (command,) = entry_points(group="console_scripts", name="fusionkit")

    assert command.value == "fusionkit.__main__:main"


def test_the_package_lightning_is_never_depended_on() -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]

    assert not [each for each in wanted if each.replace(" ", "").startswith(("lightning>", "lightning=", "lightning<"))]
    assert not [each for each in PROJECT["dependencies"] if each.startswith("pytorch-lightning")]


# Those may not be installed.
NOT_NAMED_AS_IMPORTED = {
    "dlib": "dlib-bin",
    "torchjd": "torchjd",
    "pyarrow": "pyarrow",
    "pandas": "pandas",
    "onnxruntime": "onnxruntime",
    "onnx": "onnx",
}
HOMES = packages_distributions()
IMPORTED_BY_TORCH = {"tensorboard": "torch.utils.tensorboard", "onnxscript": "torch.onnx"}
FOR_USERS = ("parquet", "tables", "faces", "hub", "torchjd", "export", "serve")
#: Rooms whose modules import an extra at once: nothing but a command imports them, and says what is missing.
ROOMS_OF_EXTRAS = ("fusionkit/serving/",)


def declared(*extras: str) -> set[str]:
    """The distributions that the project asks for, with those of extras."""
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in PROJECT["optional-dependencies"][extra])]
    return {re.split(r"[^A-Za-z0-9_.-]", each)[0].lower() for each in wanted}


SHOTS = "docs/screenshots.py"
IMPORT = re.compile(r"^( *)(?:from ([\w.]+) import|import ([\w.]+)(?: as \w+)?$)", re.MULTILINE)


def imports(folder: str) -> list[tuple[str, str, bool]]:
    """Every module of others that files import, with the file, and whether it is imported with the file itself."""
    files = sorted((ROOT / folder).rglob("*.py"))
    # Scripts beside each other import each other by their bare names; a module of the package never does.
    beside = set() if folder == "fusionkit" else {name for path in files for name in (path.stem, path.parent.name)}
    own = {"fusionkit", *sys.stdlib_module_names, *beside}
    found = [
        (first or second, str(file.relative_to(ROOT)), not indent)
        for file in files
        for indent, first, second in IMPORT.findall(file.read_text())
        if top(first or second) not in own
    ]
    assert found
    return found


def top(module: str) -> str:
    return module.partition(".")[0]


def homes(module: str) -> set[str]:
    """The distributions that a module may come with."""
    named = HOMES.get(top(module), [NOT_NAMED_AS_IMPORTED.get(top(module), top(module))])
    return {each.lower().replace("_", "-") for each in named}


def undeclared(folder: str, known: set[str], *, at_once: bool = False) -> list[str]:
    """What is imported and comes with none of the known distributions."""
    asked = [(name, file) for name, file, first in imports(folder) if first or not at_once]
    return [f"{file}: {name}" for name, file in asked if not homes(name) & known]


def test_what_is_imported_is_declared_and_an_extra_is_imported_where_it_is_used() -> None:
    assert not undeclared("fusionkit", declared(*FOR_USERS))
    at_once = undeclared("fusionkit", declared(), at_once=True)
    assert not [each for each in at_once if not each.startswith(ROOMS_OF_EXTRAS)]


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("tests", ["test"]), ("examples", ["examples"]), ("docs", ["docs"]), ("benchmarks", ["test"])],
)
def test_tests_examples_and_benchmarks_import_what_their_extras_bring(folder: str, extras: list[str]) -> None:
    # Of folders that are put on the path.
    beside = {"rows", *(path.stem for of in ("benchmarks", "docs") for path in (ROOT / of).rglob("*.py"))}
    # `make shots` sets up the environment of the tests.
    lacking = undeclared(folder, declared(*extras))
    lacking = [each for each in lacking if not each.startswith(SHOTS)]
    lacking += [each for each in undeclared(folder, declared("test")) if each.startswith(SHOTS)]

    assert not [each for each in lacking if top(each.split(": ")[1]) not in beside]


def test_what_is_declared_is_imported() -> None:
    modules = {name for name, _, _ in imports("fusionkit")}
    through_torch = {each for each, by in IMPORTED_BY_TORCH.items() if by in modules}

    assert declared(*FOR_USERS) - set().union(*map(homes, modules)) == through_torch


@pytest.mark.slow
def test_wheel_holds_the_recipes_and_the_marker_of_types_and_finds_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("the build backend cannot be fetched here")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("fusionkit_multimodal-*.whl")

    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(tmp_path / "installed")

    shipped = {path.relative_to(ROOT / "recipes").as_posix() for path in (ROOT / "recipes").rglob("*.yaml")}
    assert shipped
    assert {f"fusionkit/_recipes/{name}" for name in shipped} <= names
    assert "fusionkit/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import fusionkit.config.shipped_recipes as shipped; print(*shipped.list_shipped_recipes().values())",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert len(found.stdout.split()) == len(shipped)
    assert str(tmp_path / "installed" / "fusionkit" / "_recipes") in found.stdout
