"""The Dockerfile and the unit of systemd start a server as the command understands it, and give it time to end."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from served_networks import draw_sensor_network, served

from fusionkit.serving.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "examples/serve/Dockerfile").read_text()
UNIT_TEXT = (ROOT / "examples/serve/fusionkit.service").read_text()
UNIT = configparser.RawConfigParser(strict=False)
UNIT.optionxform = str  # type: ignore[assignment,method-assign]
UNIT.read_string(UNIT_TEXT)

ENTRYPOINT = json.loads(re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[1])  # type: ignore[index]


def understand(words: list[str], token: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Settings]:
    """The run and the settings that the command makes of its words, with the token from a file that is there."""
    given: list[Any] = []

    def serve(predictor: Any, settings: Settings, where: Path, **_: Any) -> Any:
        given.extend((where, settings))
        return type("Counted", (), {"taken": 0, "answered": 0})

    monkeypatch.setattr("fusionkit.serving.server.serve", serve)
    monkeypatch.setattr("fusionkit.load", lambda *_, **__: None)
    token.write_text("0123456789abcdef\n")
    ended = command(*[str(token) if word in ("/token", "%d/token") else word for word in words])
    assert ended.status == 0, ended.err
    return given[0], given[1]


def test_the_image_starts_a_server_that_others_reach_with_the_token(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ENTRYPOINT[0] == "fusionkit"
    run, settings = understand(ENTRYPOINT[1:], tmp_path / "token", command, monkeypatch)

    assert (run, settings.host, settings.token) == (Path("/run"), "0.0.0.0", b"0123456789abcdef")
    assert f"EXPOSE {settings.port}" in DOCKERFILE
    for mounted in ("/runs/first:/run:ro", "/token:/token:ro", f"-p {settings.port}:{settings.port}"):
        assert mounted in DOCKERFILE


def test_the_unit_starts_a_server_for_this_machine_with_the_credential(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, *words = shlex.split(UNIT["Service"]["ExecStart"])
    run, settings = understand(words, tmp_path / "token", command, monkeypatch)

    assert program.endswith("/bin/fusionkit")
    assert (run.is_absolute(), settings.is_loopback, settings.token) == (True, True, b"0123456789abcdef")
    name, _, file = UNIT["Service"]["LoadCredential"].partition(":")
    assert f"%d/{name}" in words
    assert f"token {file}" in UNIT_TEXT


def test_both_wait_longer_for_the_end_than_the_server_does() -> None:
    docker = re.search(r"docker stop --time (\d+)", DOCKERFILE)
    assert docker is not None
    assert min(int(docker[1]), int(UNIT["Service"]["TimeoutStopSec"])) > Settings.stop_seconds


def test_a_mistake_of_the_user_is_not_tried_again(command: Any, tmp_path: Path) -> None:
    ended = command("serve", tmp_path / "nothing")
    assert UNIT["Service"]["RestartPreventExitStatus"] == str(ended.status)


def test_the_image_looks_after_the_health_of_its_server() -> None:
    found = re.search(r"^HEALTHCHECK .* CMD python -c \"(.*)\"$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    with served(draw_sensor_network(), token=b"0123456789abcdef") as running:
        exec(found[1].replace("127.0.0.1:8000", f"127.0.0.1:{running.port}"))


def test_the_image_installs_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = re.findall(r'"([a-z-]+)(\[[a-z,]+\])?([<>=0-9.,]*)"', "\n".join(re.findall(r"pip install.*", DOCKERFILE)))
    assert [name for name, _, _ in asked] == ["torch", "torchaudio", project["name"]]
    assert {f"{name}{limits}" for name, _, limits in asked[:2]} <= set(project["dependencies"])
    assert set(asked[2][1].strip("[]").split(",")) <= set(project["optional-dependencies"])
