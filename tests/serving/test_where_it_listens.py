"""Where a server listens, its certificate and its token: what cannot be used is named, with what would be right."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_runs import drawn_run

from fusionkit.errors import FusionKitError
from fusionkit.serving.http import sockets
from fusionkit.serving.http.sockets import open_sockets
from fusionkit.serving.http.tls import check_certificate
from fusionkit.serving.settings import Settings, read_token


def test_a_port_that_is_taken_is_one_line_with_what_to_give(command: Any, tmp_path: Path):
    run = drawn_run(tmp_path / "run").path
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = command("serve", run, "--port", port)

    remedy = "give another --port, or 0 for any that is free"
    assert ended.status == 2
    assert ended.err == f"fusionkit: 127.0.0.1:{port}: cannot listen there, the port is taken; {remedy}\n"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("nowhere.invalid", "nowhere.invalid: cannot listen there, no such host is known; give --host an address"),
        ("999.1.1.1", "999.1.1.1: cannot listen there, no such host is known; give --host an address"),
        ("a" * 300, "no such host is known"),
        ("192.0.2.7", "192.0.2.7:0: cannot listen there, it is no address of this machine; give --host one of its own"),
    ],
)
def test_a_host_that_is_not_this_machine_is_told(host: str, said: str):
    with pytest.raises(FusionKitError) as refused:
        open_sockets(host, 0)

    assert said in str(refused.value)


def test_a_port_of_the_system_is_told_to_a_user_who_may_not_take_it(monkeypatch: pytest.MonkeyPatch):
    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sockets.socket, "socket", Refusing)

    with pytest.raises(FusionKitError, match=r"127.0.0.1:80: .* below 1024 are not for this user; give a --port from"):
        open_sockets("127.0.0.1", 80)


def test_every_address_of_a_name_is_listened_on_at_one_port():
    opened = open_sockets("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in opened}) == 1
        assert {each.getsockname()[0] for each in opened} <= {"127.0.0.1", "::1"}
    finally:
        for each in opened:
            each.close()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    try:
        for name, protection in (("a", ["-nodes"]), ("b", ["-nodes"]), ("locked", ["-passout", "pass:secret"])):
            files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
            command = ["openssl", "req", "-x509", *curve, *protection, "-days", "1", "-subj", "/CN=localhost", *files]
            subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl that makes a certificate")
    (folder / "junk").write_text("junk\n")
    (folder / "folder").mkdir()
    return lambda name: folder / name


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("gone", "a.key", "--tls-cert .*gone: cannot be read .No such file"),
        ("folder", "a.key", "--tls-cert .*folder: cannot be read .Is a directory"),
        ("a.pem", "gone", "--tls-key .*gone: cannot be read"),
        ("junk", "a.key", "--tls-cert .*junk: holds no certificate in the form of PEM"),
        ("a.key", "a.pem", "--tls-cert .*a.key: holds no certificate"),
        ("a.pem", "junk", "--tls-key .*junk: holds no private key in the form of PEM"),
        ("a.pem", "a.pem", "--tls-key .*a.pem: holds no private key"),
        ("a.pem", "b.key", "--tls-key .*b.key: is not the key of .*a.pem; give the key that"),
        ("locked.pem", "locked.key", "--tls-key .*locked.key: needs a password; give one without"),
    ],
)
def test_a_certificate_and_a_key_that_cannot_be_used_are_told_apart(
    certificate: str, key: str, said: str, pem: Callable[[str], Path]
):
    with pytest.raises(FusionKitError, match=said):
        Settings(certificate=pem(certificate), key=pem(key)).check()


def test_a_certificate_and_its_key_are_taken(pem: Callable[[str], Path]):
    check_certificate(pem("a.pem"), pem("a.key"))


def test_a_token_that_is_empty_or_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "token"
    for content, said in (
        (b"", r"token: is empty; make one with `python -c "),
        (b" \n", r"token: is empty; "),
        (b"two words", r"token: holds 2 words; a token is one word of ASCII"),
        (b"\xff\xfe", r"token: holds other characters than those of ASCII"),
    ):
        file.write_bytes(content)
        with pytest.raises(FusionKitError, match=said):
            read_token(file)
    with pytest.raises(FusionKitError, match=r"cannot be read .Is a directory"):
        read_token(tmp_path)
    with pytest.raises(FusionKitError, match=r"cannot be read .No such file"):
        read_token(tmp_path / "gone")
    monkeypatch.setenv("FUSIONKIT_TOKEN", "")  # an operator wanted one: without it the server would be open
    with pytest.raises(FusionKitError, match="FUSIONKIT_TOKEN: is empty; "):
        read_token(None)
    monkeypatch.delenv("FUSIONKIT_TOKEN")
    assert read_token(None) is None
