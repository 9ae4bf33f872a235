"""The example that goes from a table to a served network runs as its page shows it."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "motion"
PAGE = ROOT / "docs" / "tutorials" / "ten_commands.md"
DATA = os.environ.get("FUSIONKIT_DATA", "")


def list_commands(text: str) -> list[str]:
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    return [line.removesuffix(' "$@"') for line in lines if line.startswith("fusionkit ")]


def test_the_script_runs_the_ten_commands_of_the_page() -> None:
    shown = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    ran = list_commands((FOLDER / "ten_commands.sh").read_text(encoding="utf-8"))

    assert ran == list_commands(shown)
    assert len(ran) == 10
    assert (ran[0].split()[1], ran[-1].split()[1]) == ("init", "serve")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder in which the script ran, and the address at which it serves."""
    if not (Path(DATA) / "sensors" / "BasicMotions_TRAIN.ts").is_file():
        pytest.skip("BasicMotions is not there; set FUSIONKIT_DATA to the folder that holds sensors/")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (pip install '.[export]')")
    sensors = Path(DATA) / "sensors"
    subprocess.run([sys.executable, FOLDER / "make_table.py", sensors, "motion"], cwd=tmp_path, check=True)
    command = tmp_path / "bin" / "fusionkit"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fusionkit "$@"\n')
    command.chmod(0o755)
    with subprocess.Popen(
        ["sh", FOLDER / "ten_commands.sh", "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            assert running.stdout is not None
            said = ""
            while "serving runs/motion" not in said:
                line = running.stdout.readline()
                assert line, f"the script ended before it served: {said}"
                said += line
            yield tmp_path, said.split(" at ")[-1].split(";")[0]
            os.killpg(running.pid, signal.SIGINT)
            assert "4 requests were taken and 4 answered" in running.stdout.read()
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.data
def test_the_ten_commands_lead_from_a_table_to_a_server_that_answers(served: tuple[Path, str]) -> None:
    folder, address = served
    with (folder / "answers.csv").open(encoding="utf-8") as file:
        answers = {row["id"]: row for row in csv.DictReader(file)}
    with (folder / "motion" / "later.csv").open(encoding="utf-8") as file:
        truth = {row["name"]: row["activity"] for row in csv.DictReader(file)}

    assert sum(answers[name]["activity"] == activity for name, activity in truth.items()) >= 18
    assert {row["present"] for row in answers.values()} == {"accelerometer+gyroscope", "accelerometer"}
    lines = (folder / "day.vtt").read_text(encoding="utf-8").splitlines()
    assert list(dict.fromkeys(line.split()[0] for line in lines if line.endswith("%"))) == [
        *("Standing", "Running", "Walking", "Badminton"),
    ]
    assert (folder / "motion_onnx" / "model.onnx").is_file()
    assert (folder / "shared_motion" / "README.md").is_file()

    from fusionkit.inference.export.fusionkit_runtime import Model

    runtime = Model(folder / "motion_onnx")
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        for name in ("test-2", "test-20", "test-36", "test-40"):
            arrays = {sensor: folder / "motion" / f"{name}_{sensor}.npy" for sensor in ("accelerometer", "gyroscope")}
            arrays = {sensor: file for sensor, file in arrays.items() if sensor in answers[name]["present"]}
            sent = {sensor: (file.name, file.read_bytes()) for sensor, file in arrays.items()}
            said = client.post("/predict", files=sent).json()["targets"]["activity"]["probabilities"]
            stated = {label: float(answers[name][f"activity.{label}"]) for label in said}
            exported = runtime.predict({sensor: np.load(file) for sensor, file in arrays.items()})
            assert said == pytest.approx(stated, abs=1e-5)
            assert exported["targets"]["activity"]["probabilities"] == pytest.approx(stated, abs=1e-5)
