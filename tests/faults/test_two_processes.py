"""Where one of several processes fails or dies, all of them end, soon and with a status that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import recipe, same_bits, steps_of, weights_of

from fusionkit.storage.run_folder import RunFolder

SCRIPT = """
import os, signal, sys, time
from fusionkit.cli import main
from fusionkit.training.log import Journal
from fusionkit.training.loop import _Fit
how, seed = os.environ.pop("FAULT", ""), _Fit._seed
open(f"{sys.argv[3]}.{os.environ['RANK']}", "w").write(str(os.getpid()))
def fail(fit, stage, step):
    if step == 5 and os.environ["RANK"] == how[-1:]:
        if how.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a mistake of the user's code")
    seed(fit, stage, step)
_Fit._seed = fail
main(["train", sys.argv[1], "--out", sys.argv[2]])
"""


def train_on_two(folder: Path, out: str, fault: str = "") -> tuple[int, str]:
    """Trains on two processes; one may fail. Gives the status and what was said."""
    options: Any = recipe(data={"batch_size": 2}, epochs=4, checkpoint_seconds=0.0, precision="64-true")
    (folder / "recipe.json").write_text(json.dumps(options))
    (folder / "script.py").write_text(SCRIPT)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(folder / "script.py")]
    process = subprocess.Popen(
        [sys.executable, *command, str(folder / "recipe.json"), str(folder / out), str(folder / out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FAULT": fault},
    )
    try:
        said, _ = process.communicate(timeout=60)  # its pipe is closed once none of the processes is left
    finally:
        process.terminate()  # torchrun takes its processes with it
    return process.returncode, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A training on two processes that nothing befell."""
    folder = tmp_path_factory.mktemp("whole")
    status, said = train_on_two(folder, "run")
    assert status == 0, said
    return RunFolder.open(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raises 0", "raises 1", "killed 0", "killed 1"])
def test_where_one_of_two_processes_fails_or_dies_both_end_and_the_run_goes_on_to_the_same_bits(
    fault: str, tmp_path: Path, whole: RunFolder
) -> None:
    status, said = train_on_two(tmp_path, "run", fault)

    assert status != 0, said
    if fault.startswith("raises"):
        assert "a mistake of the user's code" in said
    for rank in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"run.{rank}").read_text()), 0)
    assert not RunFolder.open(tmp_path / "run").finished
    status, said = train_on_two(tmp_path, "run")
    assert status == 0, said
    run = RunFolder.open(tmp_path / "run")
    assert len(steps_of(run)) == len(steps_of(whole)) > 5
    assert same_bits(weights_of(run), weights_of(whole))
