"""The certificate of TLS and its key, checked before a server starts."""

from __future__ import annotations

import ssl
from pathlib import Path

from fusionkit.errors import FusionKitError


def check_certificate(certificate: Path, key: Path) -> None:
    """Refuses a certificate that no server can use.

    Args:
        certificate: The file of the certificate, and of those that vouch for it.
        key: The file of its private key.

    Raises:
        FusionKitError: A file cannot be read or holds something else, the key needs a password, or is another's.
    """
    for option, file in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise FusionKitError(f"{option} {file}: cannot be read ({error.strerror})") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (ssl.SSLError, OSError):
        raise FusionKitError(f"--tls-cert {certificate}: holds no certificate in the form of PEM") from None
    asked = False

    def note_password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, note_password)
    except (ssl.SSLError, OSError) as error:
        if asked:
            remedy = "give one without, which this user alone may read"
            raise FusionKitError(f"--tls-key {key}: needs a password; {remedy}") from None
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            remedy = "give the key that the certificate was made with"
            raise FusionKitError(f"--tls-key {key}: is not the key of {certificate}; {remedy}") from None
        raise FusionKitError(f"--tls-key {key}: holds no private key in the form of PEM") from None
