"""What is installed, and what importing it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median

import pytest

import fusionkit

ROOT = Path(__file__).parent.parent


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

    assert command.value == "fusionkit.cli:main"


def test_the_package_lightning_is_never_depended_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]

    assert not [each for each in wanted if each.replace(" ", "").startswith(("lightning>", "lightning=", "lightning<"))]
    assert not [each for each in project["dependencies"] if each.startswith("pytorch-lightning")]


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
        [sys.executable, "-c", "from fusionkit.shipped import shipped_recipes; print(*shipped_recipes().values())"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert len(found.stdout.split()) == len(shipped)
    assert str(tmp_path / "installed" / "fusionkit" / "_recipes") in found.stdout
