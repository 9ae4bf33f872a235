"""The environment of a training, ``environment.json``: versions, commit, device, platform, command and data."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict

from fusionkit.config.documents import check_shape
from fusionkit.storage.files import read_json
from fusionkit.storage.records.document import Part, advise


class Environment(Part):
    """The environment that a result must carry to be made again; an earlier version wrote less of it.

    Args:
        device: Where it was computed.
        commit: The commit of fusionkit's own source; None of an installed package.
        data: The hash of the samples that it trains on and reports; None where that is not known.
    """

    model_config = ConfigDict(extra="allow")

    device: str
    commit: str | None
    uncommitted_changes: bool | None = None
    data: str | None = None
    fusionkit: str = ""
    torch: str = ""
    python: str = ""
    platform: str = ""
    command: str = ""


def load_environment(file: Path) -> Environment:
    """Reads the environment of a training.

    Raises:
        RunError: It cannot be read, or is damaged; then every wrong key is told.
    """
    with advise("restore it from a copy"):
        return check_shape(Environment, read_json(file), str(file))
