"""What the tests of faults share: a command that must refuse what it is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fusionkit.cli import main


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with status 2 and without a traceback, and gives what it says."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert left.value.code == 2, said
        assert "\nfusionkit: " in f"\n{said}"  # behind what is left of a bar
        assert "Traceback" not in said
        return said

    return run
