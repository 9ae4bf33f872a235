"""The doctor: what is installed, missing and broken, told where packages fail, kill the process or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from fusionkit.cli import main
from fusionkit.execution.doctor import Check, examine, is_well
from fusionkit.execution.doctor.display import show_examination
from fusionkit.execution.doctor.packages import PACKAGES, Package, satisfies
from fusionkit.execution.doctor.probes import Probe, probe_packages

ROOT = Path(__file__).parents[2]
TORCH = """
__version__ = "2.14.0+cu126"
zeros = lambda count: [0.0] * count
class cuda:
    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
class version:
    cuda, hip = "12.6", None
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
"""
FAKES = {
    "torch": TORCH,
    "fine": "__version__ = '1.5'; print('printed while it is imported')",
    "raises": "raise OSError('undefined symbol: _ZN3c10')",
    "leaves": "raise SystemExit('no licence')",
    "aborts": "import os; os.abort()",
    "hangs": "import time; time.sleep(60)",
    "old": "__version__ = '0.9'",
    "other_cuda": "__version__ = '2.11.0+cu130'",
    "same_cuda": "__version__ = '2.11.0+cu129'",
    "own_bounds": "__version__ = '0.23.0'",
    "upon": "import raises",
}


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are found before any real one."""
    for name, text in FAKES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    bounds = {"fusionkit-multimodal": {"old": ">=1.0,<2"}, "own_bounds": {"torch": "==2.8.0"}}
    monkeypatch.setattr("fusionkit.execution.doctor.packages.read_bounds_of", lambda name: bounds.get(name, {}))
    monkeypatch.setattr("fusionkit.execution.doctor.examination.read_bounds_of", lambda name: bounds.get(name, {}))


def examined(*packages: Package, patience: float = 60.0) -> dict[str, Check]:
    return {check.name: check for check in examine(packages, patience)}


def test_one_package_that_fails_leaves_kills_or_hangs_stops_no_other(fakes: None) -> None:
    found = list(probe_packages(["raises", "aborts", "fine", "leaves"])) + list(probe_packages(["hangs"], patience=0.5))

    assert found == [
        Probe("raises", "OSError: undefined symbol: _ZN3c10"),
        Probe("aborts", "ends the process (SIGABRT)"),
        Probe("fine", facts={"version": "1.5"}),
        Probe("leaves", "SystemExit: no licence"),
        Probe("hangs", "is not imported within 0.5 s"),
    ]


def test_every_package_is_told_with_what_needs_it_and_what_to_do(fakes: None) -> None:
    found = examined(
        *(Package(name, name, f"what {name} does") for name in ("fine", "raises", "old", "not_there")),
        Package("upon", "upon", "more", beside=("raises",)),
        Package("extra_one", "extra_one", "balancer x", "extra"),
        Package("torch", "torch", "everything"),
        Package("other_cuda", "other_cuda", "sounds", beside=("torch",)),
        Package("same_cuda", "same_cuda", "sounds", beside=("torch",)),
        Package("own_bounds", "own_bounds", "images", beside=("torch",)),
    )
    told = {name: (check.status, check.found, check.remedy) for name, check in found.items()}

    assert told["fine"] == ("ok", "1.5", "")
    assert found["raises"].needed_for == "what raises does"
    again = "pip install --force-reinstall --no-deps raises"
    assert told["raises"] == ("broken", "cannot be imported: OSError: undefined symbol: _ZN3c10", again)
    assert told["upon"][2] == "mend raises first"
    assert told["old"] == ("broken", "0.9, where >=1.0,<2 is asked for", 'pip install "old>=1.0,<2"')
    assert told["not_there"] == ("broken", "is not installed", 'pip install "not_there"')
    assert told["extra_one"] == ("absent", "is not installed", 'pip install "fusionkit-multimodal[extra]"')
    assert told["same_cuda"][0] == "ok"
    assert told["other_cuda"][1] == "2.11.0+cu130 is built for CUDA 13, and torch 2.14.0+cu126 for CUDA 12"
    assert told["own_bounds"][1] == "0.23.0 asks for torch==2.8.0, and torch is 2.14.0+cu126"
    assert all("one index" in told[name][2] for name in ("other_cuda", "own_bounds"))
    assert not is_well(found.values())
    assert is_well([found["fine"], found["extra_one"], found["GPU"]])


def test_the_machine_is_told_from_compiler_to_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fakes: None
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("fusionkit.execution.doctor.examination.has_nvidia_driver", lambda: True)
    monkeypatch.setattr("fusionkit.execution.doctor.examination.measure_small_memory", lambda: 64 * 2**20)

    found = examined(Package("torch", "torch", "everything"))

    assert found["C++ compiler"].status == "absent"
    assert found["C++ compiler"].found.startswith("none of no-such-compiler, g++")
    assert found["cache ~/.cache/fusionkit"].found == f"cannot be written ({tmp_path}/file is a file)"
    assert found["GPU"].found == "there is one of NVIDIA, and PyTorch's CUDA 12.6 cannot use it"
    assert found["shared memory"].remedy == "docker run --shm-size=8g, or data.workers=0"
    assert found["FUSIONKIT_DATA"].status == "broken"


def test_codecs_that_ffmpeg_lacks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("ffmpeg_version_info = '7.1'; codecs_available = {'h264', 'aac', 'mpeg4', 'flac'}")
    monkeypatch.syspath_prepend(str(tmp_path))

    found = examined(Package("av", "av", "films"))["FFmpeg in PyAV"]

    assert (found.status, found.found) == ("absent", "7.1 without hevc, vp9, mp3, vorbis, opus")


def test_what_is_told_fits_80_columns_and_the_status_says_whether_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("torchaudio", "broken", "words " * 400, "log_mel", "mend it " * 12), Check("numpy", "ok", "2.4")]
    monkeypatch.setattr("fusionkit.execution.doctor.display.examine", lambda: iter(checks))

    assert show_examination(as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 15
    assert lines[-1] == "1 broken, 0 absent, which only what they are for misses."

    def doctor() -> tuple[Any, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--json"])
        return ended.value.code, json.loads(capsys.readouterr().out)

    assert doctor()[0] == 1
    del checks[0]
    record = {"name": "numpy", "status": "ok", "found": "2.4", "needed_for": "", "remedy": ""}
    assert doctor() == (0, {"well": True, "checks": [record]})


def test_the_doctor_starts_where_no_package_of_others_can_be_imported_and_every_other_command_names_it(
    tmp_path: Path,
) -> None:
    for name in {package.module for package in PACKAGES}:
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken on purpose')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def fusionkit(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fusionkit", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    ended, other = fusionkit("doctor"), fusionkit("train", "quickstart/recipe")

    assert ended.returncode == 1, ended.stderr
    assert " ".join(ended.stdout.split()).count("broken on purpose") == len(PACKAGES)
    assert not ended.stderr
    assert other.returncode == 2
    assert other.stderr == (
        "fusionkit: the command line cannot be imported (broken on purpose); `fusionkit doctor` says why\n"
    )


def test_every_package_that_is_declared_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        extra: project["optional-dependencies"][extra]
        for extra in ("export", "faces", "hub", "parquet", "torchjd", "serve", "transformers")
    }
    wanted = {(each.split(">")[0].split("[")[0].split("=")[0], "") for each in project["dependencies"]}
    wanted |= {(each.split(">")[0].split("[")[0], extra) for extra, of in extras.items() for each in of}

    known = {(package.distribution, package.extra) for package in PACKAGES}

    assert known - wanted == {("torchvision", "")}  # which timm brings
    assert wanted <= known


@pytest.mark.parametrize(
    ("version", "bounds", "will_do"),
    [
        ("2.14.1+cu130", ">=2.11,<2.15", True),
        ("2.15.0", ">=2.11,<2.15", False),
        ("2.9", ">=2.11", False),
        ("0.10.0", ">=0.9", True),
        ("2.8.0+cpu", "==2.8.0", True),
        ("2.8.1", "==2.8.0", False),
        ("14", ">14", False),
        ("1.2.post1", "!=1.3", True),
        ("3.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, will_do: bool) -> None:
    assert satisfies(version, bounds) is will_do


def test_a_checkout_that_pip_did_not_install_compares_no_versions(monkeypatch: pytest.MonkeyPatch, fakes: None) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("fusionkit.execution.doctor.examination.version", unknown)

    assert "not installed by pip" in examined()["fusionkit"].found


@pytest.mark.slow
def test_an_environment_that_passes_these_tests_is_well() -> None:
    checks = list(examine())

    assert is_well(checks), [check for check in checks if check.status == "broken"]
