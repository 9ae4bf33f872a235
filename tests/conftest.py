"""What all tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes that annotations state are checked in tests, never at run time; so before fusionkit is imported.
CHECKED = (
    "models.aggregators",
    "training.balancers",
    "models.encoders",
    "models.fusions",
    "interfaces",
    "nn.layers",
    "models.loss_heads",
    "models.network",
    "nn.distributed",
)
install_import_hook([f"fusionkit.{module}" for module in CHECKED], "beartype.beartype")

# A shared machine may pause a test at any point: that is no failure.
settings.register_profile("fusionkit", deadline=None, max_examples=50)
settings.load_profile("fusionkit")


@pytest.fixture(scope="session", autouse=True)
def _no_file_in_the_home_of_who_runs_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that FUSIONKIT_DATA names; without it the test is skipped."""
    given = os.environ.get("FUSIONKIT_DATA")
    if not given:
        pytest.skip("FUSIONKIT_DATA is not set: it names the folder of real data")
    folder = Path(given)
    if not folder.is_dir():
        pytest.skip(f"FUSIONKIT_DATA names {folder}, which is no folder")
    return folder


class Ended:
    """How a command ended: status, and what it printed where."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def record(self) -> Any:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in this process."""
    monkeypatch.delenv("COLUMNS", raising=False)

    from fusionkit.cli import main

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run
